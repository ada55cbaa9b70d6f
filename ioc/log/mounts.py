"""Where a log must not lie: on network and FUSE mounts, whose locks and durable writes cannot be relied on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from ioc.errors import LogUnsuitable

_NETWORK: Final = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "smb2",
        "fuse",
        "fuseblk",
        "9p",
        "afs",
        "ceph",
        "coda",
        "lustre",
        "gfs2",
        "ocfs2",
        "gpfs",
        "ncpfs",
    ]
)


class Mount(NamedTuple):
    """The file system that holds a path, and where it is mounted."""

    kind: str
    point: str


Lookup = Callable[[Path], Mount]


def mount_of(path: Path) -> Mount:
    """The mount that holds an absolute path, by `/proc/self/mountinfo`; of unknown kind where there is none."""
    try:
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return Mount("", "")
    return find(table, path)


def find(table: str, path: Path) -> Mount:
    """The mount of the longest prefix; of several on one point the last, which hides the others."""
    best = Mount("", "")
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _unescape(fields.split()[4])
        if path.is_relative_to(point) and len(point) >= len(best.point):
            best = Mount(rest.split()[0], point)
    return best


def refuse_unsuitable(folder: Path, lookup: Lookup = mount_of) -> None:
    """Raises LogUnsuitable if the folder, which need not exist yet, lies where a log must not lie."""
    mount = lookup(folder.resolve())
    if mount.kind in _NETWORK or mount.kind.startswith("fuse."):
        raise LogUnsuitable(
            f"the log cannot lie in {folder}: {mount.point} is a mount of kind {mount.kind}, "
            "where neither locks nor durable writes can be relied on; choose a folder on a local disk"
        )


def _unescape(text: str) -> str:
    for code, char in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", char)
    return text
