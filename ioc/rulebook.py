"""`Rulebook`: which pack is in force, from where, and how another one comes into force while the centre runs.

A pack comes from the folder of the settings, or somebody posts rules in place of the folder's. What was posted stays
in force, also through restarts, until somebody asks for the folder again (SIGHUP, or a post that says so) or the
folder has come to hold the same: an edit on disk never undoes it silently. Whatever comes is validated first,
refused as a whole, and enters by the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from ioc import pack as packs
from ioc.config import Config
from ioc.errors import LogWriteFailed, PackError, PackFaults
from ioc.health import DAY_US
from ioc.model import PackLoaded
from ioc.pack import Pack
from ioc.packdiff import Diff, diff
from ioc.spine import Spine
from ioc.versions import Version
from ioc.warm import warm

LOOK_S: Final = 2.0
"""Between two looks at the folder."""
QUIET_S: Final = 1.0
"""How long the files must have stood still: an editor writes several times, a deployment many files."""
WAIT_S: Final = 30.0
"""How long who posted waits for the log."""

log = structlog.get_logger()

Origin = Literal["folder", "posted"]
Stamp = tuple[tuple[str, int, int], ...]
"""(path, mtime_ns, bytes) of every file."""


def stamp_of(folder: Path) -> Stamp:
    """What the files of a pack look like from outside; a file that is being replaced counts as not there."""
    out = []
    for path in packs.paths_of(folder):
        try:
            about = path.stat()
        except OSError:
            continue
        out.append((path.as_posix(), about.st_mtime_ns, about.st_size))
    return tuple(out)


class Watch:
    """Told what the files look like from time to time; says when a change has come to rest."""

    def __init__(self, stamp: Stamp) -> None:
        self._settled = stamp
        self._last = stamp
        self._since_s = 0.0

    def look(self, stamp: Stamp, now_s: float) -> bool:
        """Whether the files differ from those taken last and have not moved for QUIET_S."""
        if stamp != self._last:
            self._last, self._since_s = stamp, now_s
        if self._last == self._settled or now_s - self._since_s < QUIET_S:
            return False
        self._settled = self._last
        return True

    @property
    def moving(self) -> bool:
        """Whether a change has been seen that has not come to rest."""
        return self._last != self._settled


@dataclass(frozen=True, slots=True)
class Posted:
    """What came of a pack: its hash, whether it differs from the one before, how, and the record it came in with."""

    hash: str
    changed: bool
    diff: Diff
    number: int = 0
    """0 where nothing was written."""

    def plain(self, most: int) -> dict[str, Any]:
        """As it is answered; of the series that change, at most so many of each kind."""
        return {
            "version": self.hash,
            "changed": self.changed,
            "number": self.number or None,
            "diff": self.diff.plain(most),
        }


class Rulebook:
    """The only one who brings packs into force. Reads and validates beside the loop."""

    def __init__(self, config: Config, spine: Spine) -> None:
        self._config = config
        self._spine = spine
        self._one_at_a_time = asyncio.Lock()
        self._coming: Pack | None = None
        """Held until it is in force, so that the pipeline need not build it again."""
        self.differs = False
        """The folder holds something else than the posted pack that is in force."""
        self.faults: tuple[PackError, ...] = ()
        """What is wrong with the folder, if the last look at it found something."""

    @property
    def pack(self) -> Pack | None:
        """The one in force."""
        return self._spine.pipeline.pack

    @property
    def version(self) -> Version | None:
        """How the one in force came about; None where a build that did not keep it loaded it."""
        return self._spine.pipeline.versions.in_force

    @property
    def origin(self) -> Origin:
        """Where the pack in force is from."""
        return self.version.loaded.origin if self.version else "folder"

    async def begin(self) -> None:
        """At the start: what is on disk, if it is new and sound and no posted pack stands against it.

        Raises PackError where there is no pack to go on with.
        """
        try:
            pack = await self._read()
        except PackError as error:
            if self.pack is None:
                raise
            self._refused(error)
            return
        if not self._stands_against(pack):
            self._offer(pack, "folder")
            return
        posted, version = self.pack, self.version
        assert posted is not None
        assert version is not None
        try:
            # The settings and the centre's own rules may have changed since it was posted.
            fresh = await asyncio.to_thread(self._build, merged(posted.files, {}))
        except PackError as error:
            self._refused(error)
            return
        if fresh.hash != posted.hash:
            self._write(fresh, version.loaded.actor, version.loaded.actor_name, origin="posted")

    async def reload(self) -> str:
        """Take the folder, also in place of a posted pack (SIGHUP). What came of it, as a sentence."""
        async with self._one_at_a_time:
            try:
                pack = await self._read()
            except PackError as error:
                self._refused(error)
                return str(error)
            self.differs = False
            changed = self._offer(pack, "folder")
            log.info("pack read again", changed=changed)
            return "the pack was loaded" if changed else "the pack is the one in force"

    async def watch(self) -> None:
        """Take up changes of the folder, for ever."""
        loop = asyncio.get_running_loop()
        folder = self._config.pack
        watch = Watch(await asyncio.to_thread(stamp_of, folder))
        while True:
            await asyncio.sleep(QUIET_S if watch.moving else LOOK_S)
            if watch.look(await asyncio.to_thread(stamp_of, folder), loop.time()):
                await self.changed()

    async def changed(self) -> None:
        """The folder has changed and come to rest."""
        async with self._one_at_a_time:
            try:
                pack = await self._read()
            except PackError as error:
                self._refused(error)
                return
            if not self._stands_against(pack):
                self._offer(pack, "folder")

    async def post(
        self, files: Mapping[str, str] | None, actor: str, actor_name: str, *, dry_run: bool
    ) -> Posted:
        """Rules in place of the folder's; None for the folder itself. Of each folder that `files` has something of,
        all files are replaced; every other file stays as it is in force.

        Raises PackError, and LogWriteFailed where the log does not take it.
        """
        async with self._one_at_a_time:
            before = self.pack
            assert before is not None, "nobody can post before there is a pack"
            if files is None:
                pack = await self._read()
            else:
                pack = await asyncio.to_thread(self._build, merged(before.files, files))
            found = await asyncio.to_thread(diff, before, pack)
            changed = pack.hash != before.hash
            back = files is None and self.origin == "posted"
            if dry_run or not (changed or back):
                return Posted(pack.hash, changed, found)
            if not self._spine.writable:
                raise LogWriteFailed(self._spine.trouble)
            done = asyncio.Event()
            origin: Origin = "folder" if files is None else "posted"
            self._write(pack, actor, actor_name, origin=origin, fed=done.set)
            try:
                async with asyncio.timeout(WAIT_S):
                    await done.wait()
            except TimeoutError as error:
                raise LogWriteFailed(
                    "the log has not answered; the rules may still come into force"
                ) from error
            if files is None:
                self.differs = False
            else:
                await self._look_at_folder()
            assert self.version is not None
            return Posted(pack.hash, changed, found, self.version.number)

    async def _look_at_folder(self) -> None:
        """Whether the folder still says what is in force, now that something was posted."""
        try:
            self._stands_against(await self._read())
        except PackError as error:
            self._refused(error)

    async def _read(self) -> Pack:
        config = self._config

        def read() -> Pack:
            return self._kept(Pack.read(config.pack, config.verdict, packs.cache_of(config.data)))

        return await asyncio.to_thread(read)

    def _build(self, files: Mapping[str, str]) -> Pack:
        return self._kept(Pack.of(files, self._config.verdict, packs.cache_of(self._config.data)))

    def _kept(self, pack: Pack) -> Pack:
        """The pack, unless it looks farther back than a restart could."""
        if faults := packs.beyond(pack, int(self._config.log.retention_days * DAY_US)):
            raise PackFaults(faults)
        warm(pack)
        return pack

    def _stands_against(self, pack: Pack) -> bool:
        """Whether a posted pack is in force that this one, of the folder, would undo."""
        self.faults = ()
        current = self.pack
        self.differs = current is not None and self.origin == "posted" and current.hash != pack.hash
        if self.differs and current is not None:
            log.warning(
                "the folder differs from the posted rules in force, which go on; SIGHUP takes the folder",
                in_force=current.hash[:12], folder=pack.hash[:12], **diff(current, pack).counts,
            )  # fmt: skip
        return self.differs

    def _refused(self, error: PackError) -> None:
        self.faults = error.faults
        log.error(
            "the pack on disk is refused, the one in force goes on",
            fault=str(error), faults=[str(one) for one in error.faults],
        )  # fmt: skip

    def _offer(self, pack: Pack, origin: Origin) -> bool:
        """Whether the pack differs from the one in force; then it is on its way."""
        self.faults = ()
        current = self.pack
        if current is not None and current.hash == pack.hash and self.origin == origin:
            self._spine.announce(list(pack.registry.series))
            return False
        self._write(pack, origin=origin)
        return current is None or current.hash != pack.hash

    def _write(
        self,
        pack: Pack,
        actor: str = "",
        actor_name: str = "",
        *,
        origin: Origin,
        fed: Callable[[], None] = lambda: None,
    ) -> None:
        """Log a pack, after the series that it adds."""
        counts = diff(self.pack, pack).counts if self.pack else {}
        self._coming = pack
        self._spine.announce(list(pack.registry.series))
        loaded = PackLoaded(pack.hash, pack.file.id, origin, actor, actor_name)

        def release() -> None:
            self._coming = None
            log.info("pack in force", version=pack.hash[:12], origin=origin, actor=actor, **counts)
            fed()

        self._spine.offer(loaded, release=release, blobs={pack.hash: pack.blob})

    def about(self) -> dict[str, Any]:
        """The version in force, for the API and for screens."""
        pack = self.pack
        about = _about(self.version) if self.version else {}
        return {
            **about,
            "version": pack.hash if pack else "",
            "name": pack.file.id if pack else "",
            "origin": self.origin,
            "at_us": about.get("at_us"),
            "folder_differs": self.differs,
            "folder_faults": [str(fault) for fault in self.faults],
        }

    def versions(self) -> list[dict[str, Any]]:
        """The last ones, newest first."""
        return [_about(version) for version in self._spine.pipeline.versions.newest_first]

    def files(self) -> Mapping[str, str]:
        """The texts in force by name."""
        return self.pack.files if self.pack else {}


def _about(version: Version) -> dict[str, Any]:
    loaded = version.loaded
    return {
        "version": loaded.hash,
        "name": loaded.name,
        "origin": loaded.origin,
        "number": version.number,
        "at_us": version.at_us,
        "actor": loaded.actor,
        "actor_name": loaded.actor_name,
    }


def merged(before: Mapping[str, str], posted: Mapping[str, str]) -> dict[str, str]:
    """The files of a pack with some of them posted, and the centre's own rules as this build has them.

    A folder of which one file is posted is replaced as a whole.
    """
    folders = {name.partition("/")[0] for name in posted if "/" in name}
    stay = {
        name: text
        for name, text in before.items()
        if name.partition("/")[0] not in folders or "/" not in name
    }
    return {**stay, **packs.system_files(), **posted}
