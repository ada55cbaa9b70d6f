"""Hostile bodies over HTTP: taken or refused with a reason, all of it accounted for, and never a fault of ours."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.data import shared
from support.feed import Feed
from support.screens import LEVEL, T0, Centre, presenter

from ioc.model import Reason
from ioc.presentation import Presenter

GOOD = json.dumps({"series": LEVEL, "t": T0 // 1_000, "v": 84.2}).encode()
REASONS = {str(reason) for reason in Reason}
MALFORMED = ("data", "malformed")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Presenter:
    return presenter(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def feed(words: Presenter, tmp_path: Path) -> Feed:
    return Feed(Centre(words), tmp_path)


def accounted(feed: Feed, answer: httpx.Response, status: set[int]) -> dict[str, Any]:
    """The answer is one of those allowed, in the words that are documented, and the log has what it says."""
    assert answer.status_code in status, answer.text[:300]
    told: dict[str, Any] = answer.json()
    if answer.status_code in (202, 422) and "receipt" in told:
        assert (answer.status_code == 202) == (told["accepted"] > 0)
        assert told["accepted"] == len(feed.rows)
        assert {r["reason"] for r in told["rejected"]} <= REASONS
        assert bool(told["rejected"]) == bool(feed.rejected)
    else:
        assert set(told["message"]) == {"vi", "en"}
        assert not feed.rows
    feed.records.clear()
    return told


def files(*parts: str) -> list[Path]:
    return sorted(path for path in shared(*MALFORMED, *parts).iterdir() if path.is_file())


def naughty() -> list[str]:
    strings: list[str] = json.loads(shared(*MALFORMED, "blns", "blns_half.json").read_bytes())
    return strings


@pytest.mark.parametrize("folder", ["test_parsing", "test_transform"])
async def test_every_file_as_a_body(feed: Feed, folder: str) -> None:
    for path in files("JSONTestSuite", folder):
        accounted(feed, await feed.post(path.read_bytes()), {400, 422})


@pytest.mark.parametrize("folder", ["test_parsing", "test_transform"])
async def test_every_file_as_lines_keeps_the_good_line_beside_them(feed: Feed, folder: str) -> None:
    for path in files("JSONTestSuite", folder):
        body = path.read_bytes() + b"\n" + GOOD
        told = accounted(feed, await feed.post(body, content_type="application/x-ndjson"), {202})
        assert told["accepted"] == 1, path.name


@pytest.mark.parametrize("folder", ["test_parsing", "test_transform"])
async def test_every_file_as_one_item_of_an_array(feed: Feed, folder: str) -> None:
    for path in files("JSONTestSuite", folder):
        body = b"[" + GOOD + b"," + path.read_bytes() + b"]"
        told = accounted(feed, await feed.post(body), {202, 400})
        if path.name.startswith("y_"):
            assert told["accepted"] == 1, f"{path.name}: a sound item that is no reading spoils no other"


async def test_every_file_as_a_value_of_an_item(feed: Feed) -> None:
    for path in files("JSONTestSuite", "test_parsing"):
        for name in ("series", "t", "v", "q", "more"):
            body = b"[" + GOOD[:-1] + b', "' + name.encode() + b'": ' + path.read_bytes() + b"}]"
            accounted(feed, await feed.post(body), {202, 400, 422})


async def test_every_file_packed_and_as_if_it_were_packed(feed: Feed) -> None:
    for path in files("JSONTestSuite", "test_parsing"):
        body = path.read_bytes()
        accounted(feed, await feed.post(gzip.compress(body), content_encoding="gzip"), {400, 422})
        accounted(feed, await feed.post(zstandard.compress(body), content_encoding="zstd"), {400, 422})
        for coding in ("gzip", "zstd"):
            accounted(feed, await feed.post(body, content_encoding=coding), {400})


async def test_every_naughty_string_as_body_series_time_value_and_quality(feed: Feed) -> None:
    for text in naughty():
        accounted(feed, await feed.post(text.encode("utf-8", "surrogatepass")), {400, 422})
        for name in ("series", "t", "v", "q"):
            item = {"series": LEVEL, "t": T0 // 1_000, "v": 1.0, "q": "good"} | {name: text}
            accounted(feed, await feed.post(json.dumps(item)), {422})
            accounted(
                feed,
                await feed.post(json.dumps([item], ensure_ascii=False).encode("utf-8", "replace")),
                {422},
            )


async def test_every_naughty_string_as_a_token_and_a_key(feed: Feed) -> None:
    for text in naughty():
        sent = text.encode("utf-8", "replace").decode("latin-1")
        accounted(feed, await feed.post(GOOD, secret="", authorization=f"Bearer {sent}"), {401})
        accounted(feed, await feed.post(GOOD, idempotency_key=sent), {202, 422})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b",".join([b"{}"] * 100_000) + b"]", {422}),
        (b"[" + b",".join([b"1"] * 400_000) + b"]", {400}),
        (b"[" * 500_000, {400}),
        (b'{"a":' * 100_000, {400, 422}),
        (b"\n" * 900_000, {400}),
        (b'{"series":"' + b"x" * 900_000 + b'"}', {400, 422}),
        (b"9" * 900_000, {400, 422}),
        (b"}\n{" * 300_000, {400, 422}),
        (b"{}" + b"} \n" * 300_000, {400, 422}),
        (b"\x00" * 900_000, {400, 422}),
        (b"\xff\xfe" + b"a\x00" * 1_000, {400, 422}),
    ],
    ids=lambda value: repr(value[:8]) if isinstance(value, bytes) else "",
)
async def test_huge_and_deep_bodies_are_answered_soon(feed: Feed, body: bytes, status: set[int]) -> None:
    begun = time.monotonic()
    accounted(feed, await feed.post(body), status)
    assert time.monotonic() - begun < 5
    assert (await feed.post(GOOD)).status_code == 202


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "series": st.just(LEVEL) | _JSON,
        "t": st.integers(T0 // 1_000 - 1_000, T0 // 1_000) | _JSON,
        "v": st.floats(0, 100) | _JSON,
        "q": st.sampled_from(["good", "uncertain", "bad"]) | _JSON,
        "more": _JSON,
    },
)
_BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(_ITEMS, max_size=4).map(lambda items: json.dumps(items).encode()),
    st.lists(_ITEMS, max_size=4).map(lambda items: b"\n".join(json.dumps(i).encode() for i in items)),
    st.tuples(st.lists(_ITEMS, min_size=1, max_size=2), st.integers(0, 400), st.binary(max_size=3)).map(
        lambda cut: json.dumps(cut[0]).encode()[: cut[1]] + cut[2] + json.dumps(cut[0]).encode()[cut[1] :]
    ),
)
_PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("zstd", zstandard.compress),
]


class Sender:
    """Sends one body after the other into one feed, and looks whether each is accounted for."""

    def __init__(self, words: Presenter, folder: Path) -> None:
        self.feed = Feed(Centre(words), folder)
        self.runner = asyncio.Runner()

    def send(self, body: bytes, **headers: str) -> None:
        feed = self.feed
        feed.receipts.restore([])
        first = self.runner.run(feed.post(body, **headers))
        accounted(feed, first, {202, 400, 422})
        if headers.get("idempotency_key") and first.status_code != 400:
            again = self.runner.run(feed.post(body, **headers))
            assert again.json() == first.json()
            assert not feed.records, "taken twice"


@pytest.fixture(scope="module")
def sender(words: Presenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    sender = Sender(words, tmp_path_factory.mktemp("static"))
    yield sender
    sender.runner.close()


@given(
    body=_BODIES,
    packer=st.sampled_from(_PACKERS),
    media=st.sampled_from(["", "application/json", "application/x-ndjson", "text/plain"]),
    key=st.sampled_from(["", "k"]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_answered_and_accounted_for(
    sender: Sender, body: bytes, packer: tuple[str, Callable[[bytes], bytes]], media: str, key: str
) -> None:
    coding, pack = packer
    sender.send(pack(body), content_encoding=coding, content_type=media, idempotency_key=key)


def test_a_planted_fault_is_found(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender.feed.receipts, "find", lambda receipt, now_us: None)
    with pytest.raises(AssertionError, match="taken twice"):
        sender.send(GOOD, idempotency_key="k")
    sender.feed.records.clear()
