"""`Maps`: the pack's GeoJSON as one document, read once and kept with its ETag."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

_NOTHING = b'{"type":"FeatureCollection","features":[]}'


@dataclass(frozen=True, slots=True)
class MapDocument:
    """The document as it is sent, plain and compressed."""

    plain: bytes
    zipped: bytes
    etag: str


class Maps:
    """Reads files, so call it in a thread."""

    def __init__(self) -> None:
        self._kept: tuple[object, MapDocument] | None = None

    def read(self, folder: Path | None, files: tuple[str, str]) -> MapDocument:
        """Communes and river of a pack; a file that is missing or no JSON is an empty map, never a fault."""
        key = (folder, files)
        kept = self._kept
        if kept is not None and kept[0] == key:
            return kept[1]
        communes = _geojson(folder, files[0]) or _NOTHING
        river = _geojson(folder, files[1]) or b"null"
        plain = b'{"communes":' + communes + b',"river":' + river + b"}"
        etag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
        document = MapDocument(plain, gzip.compress(plain, 6, mtime=0), etag)
        self._kept = (key, document)
        return document


def _geojson(folder: Path | None, name: str) -> bytes | None:
    if folder is None or not name:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        content = path.read_bytes()
        msgspec.json.decode(content)
    except (OSError, msgspec.DecodeError):
        return None
    return content
