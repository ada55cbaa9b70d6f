"""The rules over REST: who may change them, in which form, and what is answered."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from support.screens import T0

from ioc.errors import LogWriteFailed, PackError, PackFaults
from ioc.model import Role
from ioc.wall import rules
from ioc.wall.server import create_app

PASSWORD = "mật-khẩu-thử"
FILES = {"rules/a.yaml": "rules: []\n"}


class Answered:
    def plain(self, most: int) -> dict[str, Any]:
        return {"version": "ab" * 32, "changed": True, "number": 7, "diff": {"counts": {}}}


class Book:
    """Remembers what was posted; refuses when told to."""

    def __init__(self) -> None:
        self.posted: list[tuple[Mapping[str, str] | None, str, str, bool]] = []
        self.refusal: Exception | None = None

    def about(self) -> dict[str, Any]:
        return {"version": "cd" * 32, "origin": "posted", "at_us": T0, "actor": "lan"}

    def versions(self) -> list[dict[str, Any]]:
        return [self.about(), self.about() | {"origin": "folder", "at_us": T0 - 1_000_000}]

    def files(self) -> dict[str, str]:
        return {
            "pack.yaml": "p",
            "stations/a.yaml": "s",
            "ioc:system.yaml": "i",
            "quantities.yaml": "q",
            **FILES,
        }

    async def post(
        self, files: Mapping[str, str] | None, actor: str, actor_name: str, *, dry_run: bool
    ) -> Answered:
        self.posted.append((files, actor, actor_name, dry_run))
        if self.refusal:
            raise self.refusal
        return Answered()


@pytest.fixture
def book(desk: Any) -> Book:
    desk.services.rulebook = book = Book()
    return book


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.fixture
async def admin(desk: Any, book: Book, secret: str) -> AsyncIterator[httpx.AsyncClient]:
    desk.centre.person("quan.tri", secret, Role.ADMIN, "Quản trị")
    async with client_of(desk) as client:
        await enter(client, "quan.tri")
        yield client


def client_of(desk: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(desk.services), raise_app_exceptions=False)
    return httpx.AsyncClient(
        transport=transport, base_url="http://ioc.test", headers={"origin": "http://ioc.test"}
    )


async def enter(client: httpx.AsyncClient, user: str) -> None:
    answer = await client.post("/api/v1/login", json={"user": user, "password": PASSWORD})
    assert answer.status_code == 204, answer.text


async def test_rules_come_with_the_version_in_force(admin: httpx.AsyncClient) -> None:
    answer = (await admin.get(rules.PATH)).json()
    assert (answer["version"], answer["origin"], answer["loaded_at"]) == (
        "cd" * 32, "posted", "2026-11-24T06:00:00.000000Z",
    )  # fmt: skip
    assert {"river", "no_data"} & {rule["id"] for rule in answer["items"]}


async def test_versions_and_the_files_in_force_are_told(admin: httpx.AsyncClient) -> None:
    items = (await admin.get(f"{rules.PATH}/versions")).json()["items"]
    assert [(one["origin"], one["loaded_at"][:19]) for one in items] == [
        ("posted", "2026-11-24T06:00:00"), ("folder", "2026-11-24T05:59:59"),
    ]  # fmt: skip
    answer = (await admin.get(f"{rules.PATH}/files")).json()
    assert answer == {"version": "cd" * 32, "files": {"quantities.yaml": "q", **FILES}}


@pytest.mark.parametrize("body", [json.dumps({"files": FILES}).encode(), zipped(FILES)], ids=["json", "zip"])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_an_admin_posts_json_or_a_zip(
    admin: httpx.AsyncClient, book: Book, body: bytes, dry_run: bool
) -> None:
    answer = await admin.post(rules.PATH, content=body, params={"dry_run": "1"} if dry_run else {})
    assert answer.status_code == 200
    assert (answer.json()["dry_run"], answer.json()["version"]) == (dry_run, "ab" * 32)
    assert book.posted == [(FILES, "quan.tri", "Quản trị", dry_run)]


async def test_the_folder_can_be_taken_again(admin: httpx.AsyncClient, book: Book) -> None:
    assert (await admin.post(rules.PATH, params={"source": "folder"})).status_code == 200
    assert book.posted == [(None, "quan.tri", "Quản trị", False)]


@pytest.mark.parametrize("user", ["truc.ban", "khach"])
async def test_nobody_else_may_post(desk: Any, book: Book, user: str) -> None:
    async with client_of(desk) as client:
        await enter(client, user)
        answer = await client.post(rules.PATH, json={"files": FILES})
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert book.posted == []


async def test_a_page_from_elsewhere_may_not_post(admin: httpx.AsyncClient, book: Book) -> None:
    answer = await admin.post(rules.PATH, json={"files": FILES}, headers={"origin": "http://evil.test"})
    assert answer.status_code == 403
    assert book.posted == []


async def test_every_fault_is_answered_with_its_place(admin: httpx.AsyncClient, book: Book) -> None:
    book.refusal = PackFaults(
        [PackError("rules/b.yaml", 3, "rules[0]", "x"), PackError("rules/a.yaml", 9, "", "y")]
    )
    answer = await admin.post(rules.PATH, json={"files": FILES})
    assert (answer.status_code, answer.json()["error"]) == (422, "pack")
    assert "2 lỗi" in answer.json()["message"]["vi"]
    assert answer.json()["faults"] == [
        {"file": "rules/a.yaml", "line": 9, "path": "", "reason": "y"},
        {"file": "rules/b.yaml", "line": 3, "path": "rules[0]", "reason": "x"},
    ]


async def test_a_log_that_cannot_be_written_is_said(admin: httpx.AsyncClient, book: Book) -> None:
    book.refusal = LogWriteFailed("no space left")
    answer = await admin.post(rules.PATH, json={"files": FILES})
    assert (answer.status_code, answer.json()["error"]) == (503, "log")


BAD: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 422, "invalid"),
    "no JSON": (b"{", 422, "invalid"),
    "no files": (b'{"files": {}}', 422, "invalid"),
    "another key": (b'{"files": {}, "x": 1}', 422, "invalid"),
    "a number for a text": (b'{"files": {"rules/a.yaml": 1}}', 422, "invalid"),
    "a station": (json.dumps({"files": {"stations/a.yaml": ""}}).encode(), 422, "invalid"),
    "a way out": (json.dumps({"files": {"rules/../../x.yaml": ""}}).encode(), 422, "invalid"),
    "the centre's own": (json.dumps({"files": {"ioc:system.yaml": ""}}).encode(), 422, "invalid"),
    "a damaged zip": (zipped(FILES)[:-30], 422, "invalid"),
    "a zip with a way out": (zipped({"../rules/a.yaml": ""}), 422, "invalid"),
    "a zip that is not UTF-8": (zipped({"rules/a.yaml": b"\xff\xfe"}), 422, "invalid"),
    "a zip that unfolds": (zipped({"rules/a.yaml": b" " * (33 << 20)}), 413, "too_large"),
    "too many files": (zipped({f"rules/a{i}.yaml": "" for i in range(501)}), 413, "too_large"),
    "too long": (b"x" * (rules.BODY_BYTES_MAX + 1), 413, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_what_cannot_be_taken_is_refused(admin: httpx.AsyncClient, book: Book, what: str) -> None:
    body, status, word = BAD[what]
    answer = await admin.post(rules.PATH, content=body)
    assert (answer.status_code, answer.json()["error"]) == (status, word)
    assert set(answer.json()["message"]) == {"vi", "en"}
    assert book.posted == []
