"""Whether a log is whole: quickly, by its numbers, and fully, by every checksum, chain and blob."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ioc.errors import LogDamaged
from ioc.log import segment
from ioc.log.reader import LogReader, SegmentGone, unpack_blob


def unbroken(reader: LogReader) -> None:
    """Raises LogDamaged unless every segment goes on where the one before ended. Decodes nothing."""
    next_number = next_seq = 0
    for number, path in segment.listing(reader.folder):
        if next_number and number != next_number:
            raise LogDamaged(next_number, f"is missing; the next segment begins with {number}")
        try:
            head = reader.head(number, path)
            if next_seq and head.first_seq != next_seq:
                raise LogDamaged(number, f"journal entry {next_seq} is missing before its segment")
            next_number, gap = _end(reader, number, path, "input", "number", number)
            if gap:
                raise LogDamaged(gap, "is missing")
            next_seq, gap = _end(reader, number, path, "output", "seq", head.first_seq)
            if gap:
                raise LogDamaged(number, f"journal entry {gap} is missing in its segment")
        except SegmentGone:
            # Retention deletes the oldest: the next segment is the first now.
            next_number = next_seq = 0


def contents(reader: LogReader, after: int = 0) -> Iterator[int]:
    """Decodes every record kept after `after`, yielding its number; then their journal and blobs.

    Records that retention has deleted are not missed. Raises LogDamaged at the first fault.
    """
    after = max(after, reader.first_number - 1)
    for item in reader.read(after):
        yield item.number
    segments = segment.listing(reader.folder)
    begun = [at for at, (number, _) in enumerate(segments) if number <= after + 1]
    journal = False
    for number, path in segments[begun[-1] :] if begun else segments:
        with suppress(SegmentGone):
            first_seq = reader.head(number, path).first_seq
            for (name,) in reader.query(number, path, "SELECT hash FROM blob"):
                for (body,) in reader.query(number, path, "SELECT body FROM blob WHERE hash = ?", name):
                    unpack_blob(number, name, body)
            if not journal:
                journal = True
                for _ in reader.outputs(first_seq - 1):
                    pass


def _end(reader: LogReader, number: int, path: Path, table: str, key: str, first: int) -> tuple[int, int]:
    """The key that follows a table's last row, and its first missing one (0 if none)."""
    ((low, high, count),) = reader.query(
        number,
        path,
        f"SELECT (SELECT min({key}) FROM {table}), (SELECT max({key}) FROM {table}), (SELECT count(*) FROM {table})",
    )
    if count == 0:
        return first, 0
    if low != first:
        return 0, first
    if high - low + 1 != count:
        ((gap,),) = reader.query(
            number,
            path,
            f"SELECT {key} + 1 FROM {table} AS here WHERE NOT EXISTS "
            f"(SELECT 1 FROM {table} WHERE {key} = here.{key} + 1) ORDER BY {key} LIMIT 1",
        )
        return 0, int(gap)
    return int(high) + 1, 0
