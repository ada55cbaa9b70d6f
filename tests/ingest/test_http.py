"""`POST /api/v1/readings`: who may send, what is taken, and what the sender is told."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from services.common import until
from support.feed import SECRET, URL, Feed
from support.screens import LEVEL, PM25, RAIN, T0, Centre, S, presenter

from ioc.ingest import http
from ioc.ingest.receipts import digest_of, origin_of, receipt_of
from ioc.model import Reason, Scope, SourceState
from ioc.presentation import Presenter

MakeFeed = Callable[..., Feed]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Presenter:
    return presenter(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def make(words: Presenter, tmp_path: Path) -> MakeFeed:
    return lambda **settings: Feed(Centre(words), tmp_path, **settings)


@pytest.fixture
def feed(make: MakeFeed) -> Feed:
    return make()


def reading(series: str = LEVEL, v: Any = 84.2, t: Any = T0 // 1_000, **more: Any) -> dict[str, Any]:
    return {"series": series, "t": t, "v": v, **more}


def item(index: int, reason: Reason, answer: httpx.Response) -> None:
    (told,) = [r for r in answer.json()["rejected"] if r["index"] == index]
    assert told["reason"] == reason
    assert told["detail"]


# What is taken


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (json.dumps(reading()), [(0, T0, 84.2)]),
        (json.dumps(reading(t="2026-11-24T09:20:00Z")), [(0, 1_795_512_000 * S, 84.2)]),
        (json.dumps([reading(), reading(RAIN, 3)]), [(0, T0, 84.2), (1, T0, 3.0)]),
        (json.dumps(reading()) + "\n" + json.dumps(reading(PM25, 1)) + "\n", [(0, T0, 84.2), (2, T0, 1.0)]),
        (json.dumps(reading(), indent=1), [(0, T0, 84.2)]),
    ],
    ids=["one", "rfc3339", "array", "lines", "one-indented"],
)
async def test_readings_are_taken_and_the_answer_says_how_many(
    feed: Feed, body: str, rows: list[tuple[int, int, float]]
) -> None:
    answer = await feed.post(body)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"receipt": answer.json()["receipt"], "accepted": len(rows), "rejected": []}
    assert feed.rows == rows
    assert feed.records[0][0] == origin_of(answer.json()["receipt"])


@pytest.mark.parametrize("media", ["application/x-ndjson", "Application/NDJSON; charset=utf-8"])
async def test_lines_may_be_named_as_such(feed: Feed, media: str) -> None:
    answer = await feed.post(json.dumps(reading()) + "\n\n" + json.dumps(reading(RAIN)), content_type=media)
    assert answer.json()["accepted"] == 2


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("zstd", zstandard.compress)]
)
async def test_packed_bodies_are_taken(feed: Feed, coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(json.dumps([reading(v=n, t=T0 // 1_000 + n) for n in range(2_000)]).encode())
    answer = await feed.post(body, content_encoding=coding)
    assert answer.json()["accepted"] == 2_000
    assert len(feed.rows) == 2_000


async def test_the_good_ones_are_kept_and_the_others_told_and_quarantined(feed: Feed) -> None:
    items = [reading(), reading("disaster/nowhere/water_level"), reading(v="84"), reading(RAIN, 1, q="bad")]
    answer = await feed.post(json.dumps(items))
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    item(1, Reason.UNKNOWN_SERIES, answer)
    item(2, Reason.WRONG_TYPE, answer)
    assert [(r.source, r.item, r.reason) for r in feed.rejected] == [
        ("http", 1, Reason.UNKNOWN_SERIES),
        ("http", 2, Reason.WRONG_TYPE),
    ]
    assert {origin for origin, _ in feed.records} == {origin_of(answer.json()["receipt"])}


async def test_with_none_good_the_answer_is_422_and_the_quarantine_has_them(feed: Feed) -> None:
    answer = await feed.post(json.dumps([reading(v=None), reading(t="yesterday")]))
    assert (answer.status_code, answer.json()["accepted"]) == (422, 0)
    assert len(feed.rejected) == 2
    assert not feed.rows


UNREADABLE = [
    "",
    "   ",
    "[",
    "[1,",
    "[{}}]",
    '[{"series": "x"}',
    "[" * 100_000,
    "x",
    "{",
    "{}{}",
    "\ufeff[]",
    "NaN",
]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_what_cannot_be_read_is_400_and_quarantined(feed: Feed, body: str) -> None:
    answer = await feed.post(body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid"), answer.text
    assert answer.json()["reason"] == Reason.NOT_JSON
    assert answer.json()["detail"]
    assert [(r.reason, r.length) for r in feed.rejected] == [(Reason.NOT_JSON, len(body.encode()))]


async def test_nothing_is_answered_before_it_is_durable(feed: Feed) -> None:
    feed.hold = True
    asking = asyncio.ensure_future(feed.post(json.dumps([reading(), reading(v="x")])))
    await until(lambda: bool(feed.held), "an offer")
    assert not asking.done()
    (bodies, _, _) = feed.held[0]
    assert len(bodies) == 2, "rejections and readings become durable together"
    feed.commit()
    assert (await asking).status_code == 202


async def test_a_large_body_is_read_beside_the_loop_and_taken_alike(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps([reading(v=n, t=T0 // 1_000 + n) for n in range(100)] + [reading(v="x")])
    threads: list[str] = []
    decode = feed.decoder.feed_readings

    def watched(*given: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        return decode(*given, **named)

    monkeypatch.setattr(feed.decoder, "feed_readings", watched)
    inline = await feed.post(body)
    monkeypatch.setattr(http, "INLINE_BYTES_MAX", 1_000)
    apart = await feed.post(body)
    assert threads[0] == threading.main_thread().name != threads[1]
    assert inline.json() | {"receipt": ""} == apart.json() | {"receipt": ""}
    assert feed.rows[:100] == feed.rows[100:]


# Who may send


async def test_a_request_without_a_token_is_told_what_it_needs(feed: Feed) -> None:
    answer = await feed.post(json.dumps(reading()), secret="")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"] == "unauthenticated"


@pytest.mark.parametrize(
    "value", ["Bearer wrong", "Bearer", "bearer  ", f"Basic {SECRET}", SECRET, "Bearer é"]
)
async def test_a_wrong_token_is_refused(feed: Feed, value: str) -> None:
    answer = await feed.post(json.dumps(reading()), secret="", authorization=value)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not feed.records


async def test_a_token_of_the_wall_and_a_session_send_nothing(feed: Feed) -> None:
    feed.allow("wall-1", "wall-token", Scope.WALL)
    answer = await feed.post(json.dumps(reading()), secret="wall-token")
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    async with feed.client("") as client:
        entered = await client.post(
            "/api/v1/login/token", json={"token": "wall-token"}, headers={"origin": URL}
        )
        assert entered.status_code == 204
        answer = await client.post(http.PATH, json=reading(), headers={"origin": URL})
    assert answer.status_code == 401
    assert not feed.records


async def test_a_senders_token_does_not_open_the_wall(feed: Feed) -> None:
    async with feed.client("") as client:
        answer = await client.post("/api/v1/login/token", json={"token": SECRET}, headers={"origin": URL})
    assert answer.status_code == 401


async def test_a_revoked_token_sends_nothing_more(feed: Feed) -> None:
    assert (await feed.post(json.dumps(reading()))).status_code == 202
    feed.revoke("gateway")
    assert (await feed.post(json.dumps(reading()))).status_code == 401


async def test_neither_a_cookie_nor_an_origin_is_needed(feed: Feed) -> None:
    answer = await feed.post(json.dumps(reading()), origin="https://elsewhere.example")
    assert answer.status_code == 202


async def test_a_token_for_some_series_sends_no_others(feed: Feed) -> None:
    feed.allow("river", "river-token", series=("disaster/*/water_level", "environment/*"))
    items = [reading(), reading(RAIN), reading(PM25), reading("energy/nowhere/power")]
    answer = await feed.post(json.dumps(items), secret="river-token")
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    item(1, Reason.NOT_ALLOWED, answer)
    item(3, Reason.NOT_ALLOWED, answer)
    assert [row[0] for row in feed.rows] == [0, 2]


# Bounds


async def test_a_body_beyond_the_bound_is_refused_packed_or_not(make: MakeFeed) -> None:
    feed = make(body_bytes_max=10_000)
    long = json.dumps([reading()] * 200).encode()
    bomb = gzip.compress(bytes(50 << 20))
    for body, headers in (
        (long, {}),
        (gzip.compress(long), {"content_encoding": "gzip"}),
        (zstandard.compress(long), {"content_encoding": "zstd"}),
        (bomb, {"content_encoding": "gzip"}),
    ):
        answer = await feed.post(body, **headers)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert not feed.records


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, zstd", "gzip,gzip", "é"])
async def test_an_unknown_encoding_is_refused_with_those_that_are_known(feed: Feed, coding: str) -> None:
    answer = await feed.post(b"{}", content_encoding=coding)
    assert (answer.status_code, answer.json()["error"]) == (415, "encoding")
    assert answer.headers["accept-encoding"] == "gzip, zstd"


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
async def test_a_damaged_or_cut_packed_body_is_400(
    feed: Feed, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    whole = pack(json.dumps([reading()] * 50).encode())
    for body in (whole[:-3], whole[: len(whole) // 2], b"nonsense", whole[:9] + b"\xff\xff" + whole[11:]):
        answer = await feed.post(body, content_encoding=coding)
        assert answer.status_code in (400, 413), answer.text
    assert not feed.rows


async def test_when_the_queue_is_nearly_full_the_sender_is_told_to_come_later(feed: Feed) -> None:
    for name in ("full", "crowded"):
        setattr(feed, name, True)
        answer = await feed.post(json.dumps(reading()))
        assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (
            429,
            "too_many",
            "1",
        )
        setattr(feed, name, False)
    assert not feed.records


async def test_while_the_log_cannot_be_written_nothing_is_taken(feed: Feed) -> None:
    feed.writable = False
    answer = await feed.post(json.dumps(reading()))
    assert (answer.status_code, answer.json()["error"]) == (503, "log")
    assert answer.headers["retry-after"]
    assert not feed.held
    assert not feed.records


async def test_no_sender_takes_all_the_room(feed: Feed) -> None:
    feed.allow("other", "other-token")
    feed.hold = True
    first = [asyncio.ensure_future(feed.post(json.dumps(reading(v=n)))) for n in range(2)]
    await until(lambda: len(feed.held) == 2, "two offers")
    assert (await feed.post(json.dumps(reading()))).status_code == 429
    more = [asyncio.ensure_future(feed.post(json.dumps(reading()), secret="other-token")) for _ in range(2)]
    await until(lambda: len(feed.held) == 4, "four offers")
    feed.commit()
    assert {answer.status_code for answer in await asyncio.gather(*first, *more)} == {202}
    feed.hold = False
    assert (await feed.post(json.dumps(reading()))).status_code == 202, "room comes back"


async def _asgi(feed: Feed, receive: Callable[[], Any], **headers: str) -> tuple[int, dict[str, str]]:
    """One request whose body comes as the test says."""
    told: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        told.append(message)

    named = {"authorization": f"Bearer {SECRET}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": http.PATH,
        "raw_path": http.PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("ioc.test", 80),
    }
    await feed.app(scope, receive, send)
    start = told[0]
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}


async def test_a_body_that_does_not_come_in_time_ends_the_request(make: MakeFeed) -> None:
    feed = make(body_timeout_s=0.05)
    parts = [b"[", b"1,"]

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    status, headers = await _asgi(feed, receive)
    assert (status, headers["connection"]) == (408, "close")
    assert not feed.records


async def test_a_trickling_body_ends_by_the_total_time(
    make: MakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make(body_timeout_s=0.1)
    count = 0

    async def receive() -> dict[str, Any]:
        nonlocal count
        count += 1
        await asyncio.get_running_loop().run_in_executor(None, asyncio.Event)
        return {"type": "http.request", "body": b" ", "more_body": True}

    status, _ = await _asgi(feed, receive)
    assert status in (408, 413)
    assert count > 1


async def test_a_sender_that_leaves_costs_nothing(feed: Feed) -> None:
    parts = [{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    status, _ = await _asgi(feed, receive)
    assert status == 400
    assert not feed.records


# Idempotency-Key


async def test_the_same_key_and_body_are_taken_once_and_answered_alike(feed: Feed) -> None:
    body = json.dumps([reading(), reading(v="x")])
    first = await feed.post(body, idempotency_key="k1")
    again = await feed.post(gzip.compress(body.encode()), idempotency_key="k1", content_encoding="gzip")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["receipt"] == receipt_of("gateway", "k1")
    assert len(feed.rows) == 1
    assert len(feed.rejected) == 1


async def test_one_that_brought_nothing_is_answered_alike_as_well(feed: Feed) -> None:
    body = json.dumps(reading(v="x"))
    answers = [await feed.post(body, idempotency_key="k1") for _ in range(2)]
    assert [a.status_code for a in answers] == [422, 422]
    assert answers[0].json() == answers[1].json()
    assert len(feed.rejected) == 1


async def test_a_key_outlives_a_crash_and_a_restart(feed: Feed, make: MakeFeed) -> None:
    first = await feed.post(json.dumps(reading()), idempotency_key="k1")
    later = make()
    later.receipts.restore(feed.receipts.state())
    again = await later.post(json.dumps(reading()), idempotency_key="k1")
    assert again.json() == first.json()
    assert not later.rows


async def test_another_body_under_a_used_key_is_refused(feed: Feed) -> None:
    await feed.post(json.dumps(reading()), idempotency_key="k1")
    answer = await feed.post(json.dumps(reading(v=99)), idempotency_key="k1")
    assert (answer.status_code, answer.json()["error"]) == (422, "idempotency_key")
    assert len(feed.rows) == 1


async def test_two_tokens_may_use_the_same_key(feed: Feed) -> None:
    feed.allow("other", "other-token")
    await feed.post(json.dumps(reading()), idempotency_key="k1")
    answer = await feed.post(json.dumps(reading(v=1)), secret="other-token", idempotency_key="k1")
    assert answer.status_code == 202
    assert len(feed.rows) == 2


async def test_without_a_key_each_request_is_its_own(feed: Feed) -> None:
    receipts = {(await feed.post(json.dumps(reading()))).json()["receipt"] for _ in range(2)}
    assert len(receipts) == 2
    assert len(feed.rows) == 2


async def test_a_second_request_while_the_first_is_under_way_waits_for_it(feed: Feed) -> None:
    feed.hold = True
    asking = [asyncio.ensure_future(feed.post(json.dumps(reading()), idempotency_key="k1")) for _ in range(2)]
    await until(lambda: bool(feed.held) and feed.source._requests["gateway"] == 2, "both to wait")
    other = asyncio.ensure_future(feed.post(json.dumps(reading(v=1)), secret=SECRET, idempotency_key="k2"))
    assert (await other).status_code == 429
    feed.commit()
    first, second = await asyncio.gather(*asking)
    assert first.json() == second.json()
    assert len(feed.rows) == 1


async def test_a_log_that_hangs_is_told_honestly_and_trying_again_does_not_double(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DURABLE_S", 0.02)
    feed.hold = True
    body = json.dumps(reading())
    answer = await feed.post(body, idempotency_key="k1")
    assert (answer.status_code, answer.json()["error"]) == (503, "log")
    assert answer.json()["receipt"] == receipt_of("gateway", "k1")
    feed.writable = False
    assert (await feed.post(body, idempotency_key="k1")).status_code == 503
    assert len(feed.held) == 1, "the second waits for what the first offered"
    wrong = await feed.post(json.dumps(reading(v=1)), idempotency_key="k1")
    assert wrong.json()["error"] == "idempotency_key"
    feed.writable = True
    feed.commit()
    feed.hold = False
    assert (await feed.post(body, idempotency_key="k1")).status_code == 202
    assert len(feed.rows) == 1


async def test_what_a_crash_lost_is_taken_at_the_next_try(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DURABLE_S", 0.02)
    feed.hold = True
    assert (await feed.post(json.dumps(reading()), idempotency_key="k1")).status_code == 503
    feed.crash()
    feed.hold = False
    assert (await feed.post(json.dumps(reading()), idempotency_key="k1")).status_code == 202
    assert len(feed.rows) == 1


async def test_a_fault_of_ours_leaves_the_key_free(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*given: Any, **named: Any) -> Any:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(feed.decoder, "feed_readings", fault)
        with pytest.raises(RuntimeError):
            await feed.post(json.dumps(reading()), idempotency_key="k1")
    assert not feed.source._under_way
    assert (await feed.post(json.dumps(reading()), idempotency_key="k1")).status_code == 202


async def test_an_unreadable_body_does_not_use_up_its_key(feed: Feed) -> None:
    assert (await feed.post("[", idempotency_key="k1")).status_code == 400
    assert (await feed.post(json.dumps(reading()), idempotency_key="k1")).status_code == 202


async def test_once_a_series_is_known_the_count_is_still_what_was_taken(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps([reading(), reading("disaster/sa_pa/water_level")])
    first = await feed.post(body, idempotency_key="k1")
    monkeypatch.setitem(feed.numbers, "disaster/sa_pa/water_level", 3)
    again = await feed.post(body, idempotency_key="k1")
    assert first.json()["accepted"] == again.json()["accepted"] == 1
    assert len(feed.rows) == 1


@pytest.mark.parametrize("key", ["a b", "x" * 129])
async def test_a_malformed_key_is_refused(feed: Feed, key: str) -> None:
    answer = await feed.post(json.dumps(reading()), idempotency_key=key)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert not feed.records


async def test_the_key_stands_in_the_log(feed: Feed) -> None:
    body = json.dumps(reading())
    await feed.post(body, idempotency_key="k1")
    assert feed.records[0][0] == origin_of(receipt_of("gateway", "k1"), digest_of(body.encode()))


# As a source


async def test_it_is_a_source_that_is_there_while_it_runs(feed: Feed) -> None:
    source = feed.source
    running = asyncio.ensure_future(source.run())
    await asyncio.sleep(0)
    assert (source.name, source.kind, source.connected, source.lag()) == ("http", "http", True, None)
    assert feed.records == [("", SourceState("http", True, 1))]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not source.connected


async def test_the_last_refusal_is_told_with_its_sender(feed: Feed) -> None:
    await feed.post(b"{}", content_encoding="br")
    assert feed.source.last_error.startswith("gateway: ")
    await feed.post(b"{}", secret="wrong")
    assert feed.source.last_error.startswith("?: ")
    assert "wrong" not in feed.source.last_error


async def test_machines_can_read_what_it_takes(feed: Feed) -> None:
    async with feed.client("") as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    post = document["paths"][http.PATH]["post"]
    assert {"application/json", "application/x-ndjson"} == set(post["requestBody"]["content"])
    (scheme,) = post["security"][0]
    assert document["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
