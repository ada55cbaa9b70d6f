"""The input log: the truth from which everything else follows.

`record` and `state` are pure and any package may use them; `sqlite`, `reader` and `checkpoint` touch the disk.
This module imports none of them, so that a pure stage may use `ioc.log.record` without loading sqlite3.
"""
