"""The rules over REST: what is in force, which versions there were, and others in their place, tried or for good."""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ioc.errors import LogWriteFailed, PackError
from ioc.faults import Refusal, json_response
from ioc.model import Role
from ioc.wall.auth import Identity
from ioc.wall.desk import Desk, Known, TheDesk, from_here
from ioc.wall.services import Posted, Rulebook
from ioc.wall.wire import stamp

PATH: Final = "/api/v1/rules"
BODY_BYTES_MAX: Final = 8 << 20
BODY_S: Final = 30.0
"""How long a body may take to arrive."""
UNPACKED_MAX: Final = 32 << 20
FILES_MAX: Final = 500
DIFF_MAX: Final = 1_000
"""Series of each kind that a diff lists; its counts have all."""
_NAME: Final = re.compile(r"(?:rules|derived)/[a-z0-9_][a-z0-9_.-]{0,99}\.yaml|quantities\.yaml")

router = APIRouter(prefix=PATH, dependencies=[Depends(from_here)])


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    files: dict[str, str]


def _rulebook(desk: Desk) -> Rulebook:
    assert desk.services.rulebook is not None
    return desk.services.rulebook


def _version(about: dict[str, Any]) -> dict[str, Any]:
    at_us = about.pop("at_us")
    return about | {"loaded_at": None if at_us is None else stamp(at_us)}


@router.get("")
async def rules(desk: TheDesk, identity: Known) -> Response:
    """The version in force, and every rule with its limits and their sources."""
    book = desk.services.rulebook
    about = _version(book.about()) if book else {}
    return json_response({**about, "items": desk.services.view.presenter.rules()})


@router.get("/versions")
async def versions(desk: TheDesk, identity: Known) -> Response:
    """The last 50 that came into force, newest first."""
    return json_response({"items": [_version(one) for one in _rulebook(desk).versions()]})


@router.get("/files")
async def files(desk: TheDesk, identity: Known) -> Response:
    """The texts in force, to be edited and posted again."""
    book = _rulebook(desk)
    found = await asyncio.to_thread(book.files)
    return json_response(
        {"version": book.about()["version"], "files": {n: t for n, t in found.items() if _NAME.fullmatch(n)}}
    )


@router.post("")
async def post(
    request: Request,
    desk: TheDesk,
    identity: Known,
    dry_run: bool = False,
    source: Literal["body", "folder"] = "body",
) -> Response:
    """Bring rules into force, or only say what they would change."""
    may_change(identity)
    given = None
    if source == "body":
        given = await asyncio.to_thread(_files, await _body(request))
    posted = await into_force(_rulebook(desk), given, identity, dry_run=dry_run)
    return json_response({"dry_run": dry_run, **posted.plain(DIFF_MAX)})


def may_change(identity: Identity) -> None:
    """Raises Refusal unless it is somebody who may change rules."""
    if identity.role is not Role.ADMIN:
        raise Refusal(
            403,
            "forbidden",
            "Chỉ tài khoản quản trị được thay quy tắc.",
            "Only an admin account may change the rules.",
        )


async def into_force(
    book: Rulebook, files: Mapping[str, str] | None, identity: Identity, *, dry_run: bool = False
) -> Posted:
    """Post rules in somebody's name. Raises Refusal with every fault, and where the log cannot be written."""
    try:
        return await book.post(files, identity.user, identity.name, dry_run=dry_run)
    except PackError as error:
        count = len(error.faults)
        raise Refusal(
            422,
            "pack",
            f"Bộ quy tắc có {count} lỗi nên KHÔNG được nhận; quy tắc đang dùng vẫn giữ nguyên.",
            f"The pack has {count} fault(s) and was NOT taken; the rules in force go on.",
            faults=[
                {"file": one.file, "line": one.line, "path": one.path, "reason": one.reason}
                for one in error.faults
            ],
        ) from error
    except LogWriteFailed as error:
        raise Refusal(
            503,
            "log",
            f"Nhật ký không ghi được nên quy tắc mới chưa có hiệu lực. Hãy thử lại. ({error})",
            f"The log cannot be written, so the new rules are not in force. Try again. ({error})",
        ) from error


async def _body(request: Request) -> bytes:
    parts, length = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                length += len(part)
                if length > BODY_BYTES_MAX:
                    raise Refusal(
                        413, "too_large", "Nội dung gửi lên quá lớn.", "The body is too large.",
                        {"Connection": "close"},
                    )  # fmt: skip
                parts.append(part)
    except TimeoutError as error:
        raise Refusal(
            408, "timeout", "Nội dung gửi lên quá chậm.", "The body came too slowly.", {"Connection": "close"}
        ) from error
    return b"".join(parts)


def _files(body: bytes) -> dict[str, str]:
    """The files of a zip or of JSON, by name. Raises Refusal."""
    found = _unzipped(body) if body.startswith(b"PK") else _of_json(body)
    if not found or len(found) > FILES_MAX:
        raise _invalid(f"1–{FILES_MAX} tệp", f"1 to {FILES_MAX} files")
    for name in found:
        if not _NAME.fullmatch(name):
            raise _invalid(
                f"tên tệp {name[:120]!r}; chỉ nhận rules/*.yaml, derived/*.yaml và quantities.yaml",
                f"file name {name[:120]!r}; rules/*.yaml, derived/*.yaml and quantities.yaml are taken",
            )
    return found


def _of_json(body: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(body, type=_Body).files
    except msgspec.MsgspecError as error:
        raise _invalid(
            'nội dung phải là zip hoặc {"files": {tên: văn bản}}',
            f'the body is a zip, or {{"files": {{name: text}}}}: {error}',
        ) from error


def _unzipped(body: bytes) -> dict[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > FILES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_MAX:
                raise Refusal(413, "too_large", "Tệp zip quá lớn.", "The zip is too large.")
            found: dict[str, str] = {}
            for entry in entries:
                with archive.open(entry) as file:
                    # What an entry says of its size need not be so.
                    found[entry.filename] = file.read(entry.file_size).decode("utf-8")
            return found
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _invalid(
            "tệp zip hỏng hoặc không phải UTF-8", f"a damaged zip, or not UTF-8: {error}"
        ) from error


def _invalid(vi: str, en: str) -> Refusal:
    return Refusal(422, "invalid", f"Giá trị không hợp lệ: {vi}.", f"Not a valid value: {en}.")
