from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioc.errors import LogUnsuitable
from ioc.log.mounts import Mount, find, mount_of, refuse_unsuitable
from ioc.log.sqlite import SqliteLog

TABLE = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv rw - nfs4 server:/export rw
31 30 8:2 / /srv/local rw - xfs /dev/sdb1 rw
32 21 0:41 / /srv/my\\040disk rw - fuse.sshfs host: rw
33 21 0:42 / /twice rw - ext4 /dev/sdc1 rw
34 33 0:43 / /twice rw - cifs //host/share rw
35 21 0:44 /var/log /mnt/bind rw - ext4 /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/var/lib/ioc", Mount("ext4", "/")),
        ("/srv", Mount("nfs4", "/srv")),
        ("/srv/data/log", Mount("nfs4", "/srv")),
        ("/srv/local/log", Mount("xfs", "/srv/local")),
        ("/srv/localhost", Mount("nfs4", "/srv")),
        ("/srv/my disk/log", Mount("fuse.sshfs", "/srv/my disk")),
        ("/twice/log", Mount("cifs", "/twice")),
        ("/mnt/bind/log", Mount("ext4", "/mnt/bind")),
    ],
)
def test_a_path_lies_on_the_mount_of_its_longest_prefix(path: str, mount: Mount) -> None:
    assert find(TABLE, Path(path)) == mount


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse", "fuseblk", "fuse.sshfs", "9p"])
def test_network_and_fuse_mounts_are_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LogUnsuitable, match=f"/mnt is a mount of kind {kind}.*local disk"):
        SqliteLog.open(tmp_path / "log", mount_of=lambda path: Mount(kind, "/mnt"))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", ""])
def test_local_disks_are_taken(kind: str, tmp_path: Path) -> None:
    refuse_unsuitable(tmp_path / "log", lambda path: Mount(kind, "/"))


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    asked: list[Path] = []

    def lookup(path: Path) -> Mount:
        asked.append(path)
        return Mount("ext4", "/")

    refuse_unsuitable(tmp_path / "link" / "log", lookup)
    assert asked == [(tmp_path / "real" / "log").resolve()]


def serve_fuse(fd: int) -> None:
    """An empty FUSE folder: enough of the protocol for a path on it to be looked up and found absent."""
    init, getattr_, forget, batch_forget = 26, 3, 2, 42
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError:
            return
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode in (forget, batch_forget):
            continue
        error, reply = 0, b""
        if opcode == init:
            reply = struct.pack("<IIIIHHIIHH32x", 7, 31, 0, 0, 1, 1, 1 << 16, 1, 0, 0)
        elif opcode == getattr_:
            attributes = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
            reply = struct.pack("<QII", 0, 0, 0) + attributes
        else:
            error = -errno.ENOENT
        os.write(fd, struct.pack("<IiQ", 16 + len(reply), error, unique) + reply)


@pytest.fixture
def fuse_mount(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    try:
        fd = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no /dev/fuse here: {error.strerror}")
    libc = ctypes.CDLL(None, use_errno=True)
    point = tmp_path / "fuse"
    point.mkdir()
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"ioc-test", bytes(point), b"fuse", 0, options) != 0:
        os.close(fd)
        pytest.skip(f"FUSE cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    server = threading.Thread(target=serve_fuse, args=(fd,), daemon=True)
    server.start()
    try:
        yield point
    finally:
        libc.umount2(bytes(point), 2)
        server.join(10)
        os.close(fd)


@pytest.mark.root
def test_a_real_fuse_mount_is_refused(fuse_mount: Path) -> None:
    assert mount_of(fuse_mount / "log") == Mount("fuse", str(fuse_mount))
    with pytest.raises(LogUnsuitable, match="kind fuse"):
        SqliteLog.open(fuse_mount / "log")


def test_the_kernel_names_a_mount_for_this_folder(tmp_path: Path) -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("needs Linux")
    mount = mount_of(tmp_path.resolve())
    assert mount.kind and tmp_path.resolve().is_relative_to(mount.point)
