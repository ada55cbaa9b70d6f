"""`Pages`: the built screens, read once at start, so that nothing else on the disk can ever be asked for."""

from __future__ import annotations

import functools
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ioc.faults import fault

NAMES = ("wall", "console")
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
_NOT_BUILT = """<!doctype html>
<html lang="vi"><head><meta charset="utf-8"><title>IOC</title></head><body>
<h1>Giao diện chưa được dựng</h1>
<p>Hệ thống đang chạy, nhưng bản này chưa có các trang màn hình.
Chạy <code>make ui</code> (hoặc <code>pip install .</code>) trong thư mục mã nguồn rồi khởi động lại.</p>
<h1 lang="en">The screens have not been built</h1>
<p lang="en">The monitor runs, but this copy has no pages.
Run <code>make ui</code> (or <code>pip install .</code>) in the source folder, then start it again.</p>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str


class Pages:
    """Pages are public and hold no data. Assets lie under the version, so browsers may keep them for ever."""

    def __init__(self, folder: Path, version: str) -> None:
        self._version = version
        self._files: dict[str, _File] = {}
        if folder.is_dir():
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self._files[path.relative_to(folder).as_posix()] = _File(path.read_bytes(), _type(path))

    def routes(self) -> list[Route]:
        """What the app mounts."""
        return [
            Route("/", self._root),
            *(Route(f"/{name}", functools.partial(self._page, name)) for name in NAMES),
            Route("/static/{version}/{path:path}", self._asset),
        ]

    async def _root(self, request: Request) -> Response:
        return RedirectResponse("/console", 307)

    async def _page(self, name: str, request: Request) -> Response:
        file = self._files.get(f"{name}.html")
        headers = {"Cache-Control": "no-cache"}
        if file is None:
            return Response(_NOT_BUILT, 503, headers, "text/html; charset=utf-8")
        return Response(file.content, headers=headers, media_type="text/html; charset=utf-8")

    async def _asset(self, request: Request) -> Response:
        file = self._files.get(request.path_params["path"])
        # Another version's asset of the same name is another file; it must not be kept under that name.
        if file is None or request.path_params["version"] != self._version:
            return _missing()
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.content, headers=headers, media_type=file.media_type)


def _missing() -> Response:
    return fault(404, "not_found", "Không có trang này.", "There is no such page.")


def _type(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
