"""The REST surface as a browser meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support.screens import LEVEL, PM25, RAIN, T0, Centre, S

from ioc.model import ChangeKind, Event, Flag
from ioc.wall.server import create_app

ORIGIN = {"origin": "http://ioc.test"}
PASSWORD = "mật-khẩu-thử"


def _client(desk: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(desk.services), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ioc.test", headers=ORIGIN)


async def _enter(client: httpx.AsyncClient, user: str = "truc.ban") -> None:
    answer = await client.post("/api/v1/login", json={"user": user, "password": PASSWORD})
    assert answer.status_code == 204, answer.text


@pytest.fixture
async def stranger(desk: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(desk) as client:
        yield client


@pytest.fixture
async def officer(desk: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(desk) as client:
        await _enter(client)
        yield client


async def test_login_gives_a_cookie_scripts_cannot_read(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/api/v1/login", json={"user": " Truc.Ban ", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
        assert word in cookie
    assert "Secure" not in cookie
    assert (await stranger.get("/api/v1/me")).json() == {
        "user": "truc.ban",
        "name": "Trực ban",
        "role": "officer",
    }


async def test_over_https_the_cookie_is_secure(desk: Any) -> None:
    transport = httpx.ASGITransport(app=create_app(desk.services))
    async with httpx.AsyncClient(
        transport=transport, base_url="https://ioc.test", headers={"origin": "https://ioc.test"}
    ) as client:
        answer = await client.post("/api/v1/login", json={"user": "lan", "password": PASSWORD})
        assert "Secure" in answer.headers["set-cookie"]


async def test_after_five_wrong_passwords_even_the_right_one_waits(stranger: httpx.AsyncClient) -> None:
    for _ in range(5):
        answer = await stranger.post("/api/v1/login", json={"user": "lan", "password": "wrong"})
        assert answer.status_code == 401
    answer = await stranger.post("/api/v1/login", json={"user": "lan", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many")


async def test_an_unknown_name_gets_the_same_answer_as_a_wrong_password(stranger: httpx.AsyncClient) -> None:
    answers = [
        await stranger.post("/api/v1/login", json={"user": user, "password": "wrong"})
        for user in ("lan", "nobody")
    ]
    assert answers[0].json() == answers[1].json()
    assert {a.status_code for a in answers} == {401}


async def test_logout_ends_the_session(officer: httpx.AsyncClient) -> None:
    cookie = officer.cookies["ioc_session"]
    assert (await officer.post("/api/v1/logout")).status_code == 204
    officer.cookies.clear()
    answer = await officer.get("/api/v1/me", headers={"cookie": f"ioc_session={cookie}"})
    assert answer.status_code == 401


async def test_a_kiosk_enters_by_token_and_only_looks(stranger: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    assert (await stranger.post("/api/v1/login/token", json={"token": "wrong"})).status_code == 401
    token = {"token": "kiosk-token-for-tests"}
    assert (await stranger.post("/api/v1/login/token", json=token)).status_code == 204
    assert (await stranger.get("/api/v1/me")).json()["role"] == "viewer"
    answer = await stranger.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert desk.commands == []


async def test_a_viewer_may_not_acknowledge(stranger: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    await _enter(stranger, "khach")
    assert (await stranger.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})).status_code == 403


DATA = [
    "/me",
    "/instance",
    "/alarms",
    "/alarms/0123456789abcdef",
    "/stations",
    f"/series/{LEVEL}/readings",
    "/rules",
    "/journal",
    "/quarantine",
    "/feeds",
    "/map",
]


@pytest.mark.parametrize("path", DATA)
async def test_data_is_not_public(stranger: httpx.AsyncClient, path: str) -> None:
    answer = await stranger.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")


EVERYTHING = [
    ("GET", "/"),
    ("GET", "/wall"),
    ("GET", "/console"),
    ("GET", "/static/0.1.0/nothing.js"),
    ("GET", "/nowhere"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/nowhere"),
    ("DELETE", "/api/v1/alarms"),
    ("POST", "/api/v1/login"),
    ("POST", "/api/v1/logout"),
    *(("GET", f"/api/v1{path}") for path in DATA),
]


@pytest.mark.parametrize("who", ["stranger", "officer"])
async def test_every_response_carries_the_policy_and_no_secret(who: str, stranger: httpx.AsyncClient) -> None:
    client = stranger
    if who == "officer":
        await _enter(client)
    for method, path in EVERYTHING:
        answer = await client.request(method, path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"], path
        for word in ("argon2", PASSWORD, "kiosk-token-for-tests"):
            assert word not in answer.text, path
        assert answer.status_code < 500 or path in ("/wall", "/console"), (path, answer.text)


async def test_a_bad_request_does_not_echo_the_password(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/api/v1/login", json={"user": ["x"], "password": PASSWORD, "more": 1})
    assert answer.status_code == 422
    assert PASSWORD not in answer.text
    assert answer.json()["error"] == "invalid"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://ioc.test"}, 200),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://ioc.test", "host": "["}, 403),
    ],
)
async def test_what_changes_something_must_come_from_our_pages(
    officer: httpx.AsyncClient, desk: Any, headers: dict[str, str], status: int
) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    del officer.headers["origin"]
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1}, headers=headers)
    assert answer.status_code == status
    assert len(desk.commands) == (status == 200)


async def test_an_acknowledgement_names_person_version_note_and_key(
    officer: httpx.AsyncClient, desk: Any
) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    answer = await officer.post(
        f"/api/v1/alarms/{onset.alarm}/ack",
        json={"version": 1, "note": "đã gọi xã"},
        headers={"Idempotency-Key": "key-1"},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["state"], body["version"], body["acked_by"], body["acked_by_name"], body["note"]) == (
        "ACKED",
        2,
        "truc.ban",
        "Trực ban",
        "đã gọi xã",
    )
    [command] = desk.commands
    assert (command.actor, command.key, command.version) == ("truc.ban", "key-1", 1)
    again = await officer.post(
        f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1}, headers={"Idempotency-Key": "key-1"}
    )
    assert again.status_code == 200, "the same key gets the same answer"
    assert again.json()["version"] == 2


async def test_a_key_that_was_used_on_one_alarm_acknowledges_no_other(
    officer: httpx.AsyncClient, desk: Any
) -> None:
    [first] = desk.centre.change(ChangeKind.ONSET)
    [second] = desk.centre.change(ChangeKind.ONSET, RAIN)
    answers = [
        await officer.post(
            f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1}, headers={"Idempotency-Key": "key-1"}
        )
        for onset in (first, second)
    ]
    assert [a.status_code for a in answers] == [200, 422]
    assert answers[1].json()["error"] == "idempotency_key"
    assert set(answers[1].json()["message"]) == {"vi", "en"}
    assert desk.centre.open_states()[second.alarm] == "UNACKED"


@pytest.mark.parametrize("version", ["1", True, 1.0, 0, -1, None])
async def test_a_version_is_an_integer_from_one_on(
    officer: httpx.AsyncClient, desk: Any, version: Any
) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": version})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert desk.commands == []


async def test_a_conflict_names_the_officer_who_was_first(officer: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    async with _client(desk) as other:
        await _enter(other, "lan")
        assert (await other.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})).status_code == 200
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    assert answer.status_code == 409
    body = answer.json()
    assert body["error"] == "version"
    assert body["current"]["acked_by_name"] == "Lan"
    assert "Lan đã xác nhận lúc" in body["message"]["vi"]
    assert "Lan acknowledged" in body["message"]["en"]


async def test_a_version_that_has_grown_is_a_conflict(officer: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET, LEVEL, 3, level=1)
    desk.centre.change(ChangeKind.LEVEL_UP, LEVEL, 1)
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    assert answer.status_code == 409
    assert answer.json()["current"]["version"] == 2


async def test_acknowledging_twice_is_refused_with_the_name(officer: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 2})
    assert (answer.status_code, answer.json()["error"]) == (409, "acknowledged")


async def test_an_alarm_that_closed_is_shown_but_cannot_be_acknowledged(
    officer: httpx.AsyncClient, desk: Any
) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    desk.centre.change(ChangeKind.CLEAR)
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 3})
    assert (answer.status_code, answer.json()["error"]) == (404, "closed")
    shown = (await officer.get(f"/api/v1/alarms/{onset.alarm}")).json()
    assert shown["alarm"]["state"] == "NORMAL"
    assert [step["kind"] for step in shown["timeline"]] == ["onset", "ack", "clear"]
    assert shown["guidance"]["vi"] == "Gọi xã."
    assert shown["rationalisation"] is None


async def test_unknown_alarms_are_not_found(officer: httpx.AsyncClient) -> None:
    assert (await officer.get("/api/v1/alarms/0123456789abcdef")).status_code == 404
    answer = await officer.post("/api/v1/alarms/0123456789abcdef/ack", json={"version": 1})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_a_log_that_cannot_be_written_is_said_so(officer: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)
    desk.disk_full = True
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    assert answer.status_code == 503
    assert set(answer.json()["message"]) == {"vi", "en"}


async def test_alarms_are_filtered_ordered_and_paged(officer: httpx.AsyncClient, desk: Any) -> None:
    centre: Centre = desk.centre
    [acked] = centre.change(ChangeKind.ONSET, LEVEL, 1)
    centre.ack(acked.alarm)
    [rain] = centre.change(ChangeKind.ONSET, RAIN, 3)
    [air] = centre.change(ChangeKind.ONSET, PM25, 2)
    expected = [air.alarm, rain.alarm, acked.alarm]
    got, cursor = [], ""
    while cursor is not None:
        page = (await officer.get("/api/v1/alarms", params={"limit": 1, "cursor": cursor or None})).json()
        got += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert got == expected

    async def ids(**params: Any) -> list[str]:
        return [i["id"] for i in (await officer.get("/api/v1/alarms", params=params)).json()["items"]]

    assert await ids(domain="environment") == [air.alarm]
    assert await ids(min_priority=2) == [air.alarm, acked.alarm]
    assert await ids(state="ACKED") == [acked.alarm]
    assert (await officer.get("/api/v1/alarms", params={"state": "NONE"})).status_code == 422
    assert (await officer.get("/api/v1/alarms", params={"cursor": "%%%"})).status_code == 422


async def test_an_alarm_says_all_a_screen_needs(officer: httpx.AsyncClient, desk: Any) -> None:
    desk.centre.change(ChangeKind.ONSET)
    [item] = (await officer.get("/api/v1/alarms")).json()["items"]
    assert item["title"]["vi"] == "Mực nước vượt báo động"
    assert item["level_name"] == {"vi": "Báo động 3", "en": "Alarm 3"}
    assert item["station_name"]["vi"] == "Lào Cai"
    assert (item["series"], item["station"], item["domain"], item["unit"]) == (
        LEVEL,
        "lao_cai",
        "disaster",
        "m",
    )
    assert (item["lat"], item["commune"], item["simulated"]) == (22.49, "02647", True)
    assert item["raised_at"].endswith("Z")


async def test_readings_come_from_memory_and_from_history_before_it(
    officer: httpx.AsyncClient, desk: Any
) -> None:
    path = f"/api/v1/series/{LEVEL}/readings"
    desk.centre.readings(LEVEL, (0, 1.0), (60, float("nan"), int(Flag.BAD)))
    body = (await officer.get(path, params={"since": str(T0 // 1000)})).json()
    assert body["source"] == "memory"
    assert body["points"] == [[T0 // 1000, 1.0, 0], [T0 // 1000 + 60_000, None, 2]]
    assert body["series"]["limits"][0] == {
        "level": 1,
        "limit": 80.0,
        "priority": 3,
        "name": {"vi": "Báo động 1", "en": "Alarm 1"},
        "rule": "river",
        "direction": "up",
    }
    desk.stored = [(T0 - 60 * S, 0.5, 0), (T0, 99.0, 0)]
    body = (await officer.get(path)).json()
    assert body["source"] == "history"
    assert [point[1] for point in body["points"]] == [0.5, 1.0, None]
    desk.stored = None
    body = (await officer.get(path)).json()
    assert (body["source"], len(body["points"])) == ("memory", 2)


async def test_readings_take_either_form_of_time(officer: httpx.AsyncClient, desk: Any) -> None:
    path = f"/api/v1/series/{LEVEL}/readings"
    assert (await officer.get(path, params={"since": "2026-11-24T03:04:05.678901Z"})).status_code == 200
    for bad in ("yesterday", "2026-11-24T03:04:05", "9" * 30, "²"):
        assert (await officer.get(path, params={"since": bad})).status_code in (200, 422)
    assert (await officer.get(path, params={"since": "yesterday"})).status_code == 422
    assert (await officer.get("/api/v1/series/a/b/c/readings")).status_code == 404


async def test_journal_pages_backwards(officer: httpx.AsyncClient, desk: Any) -> None:
    for asset in (LEVEL, RAIN, PM25):
        desk.centre.change(ChangeKind.ONSET, asset)
    first = (await officer.get("/api/v1/journal", params={"limit": 2})).json()
    rest = (await officer.get("/api/v1/journal", params={"limit": 2, "before": first["next"]})).json()
    assert [i["asset"] for i in first["items"] + rest["items"]] == [PM25, RAIN, LEVEL]
    assert rest["next"] is None


async def test_events_come_a_page_at_a_time(officer: httpx.AsyncClient, desk: Any) -> None:
    desk.events_stored = [
        (n, Event("mqtt", "energy", "sa_pa", "outage", f"A-{n}", 2, T0, end_us, T0 + 1, {"customers": n}))
        for n, end_us in ((9, 0), (7, T0 + 60 * S), (4, 0))
    ]
    first = (await officer.get("/api/v1/events", params={"limit": 2})).json()
    rest = (await officer.get("/api/v1/events", params={"limit": 2, "before": first["next"]})).json()
    assert [item["number"] for item in first["items"] + rest["items"]] == [9, 7, 4]
    assert (first["next"], rest["next"]) == (7, None)
    ended = first["items"][1]
    assert ended["end"] > ended["start"]
    assert first["items"][0] == {
        "number": 9, "domain": "energy", "station": "sa_pa", "kind": "outage", "id": "A-9", "revision": 2,
        "source": "mqtt", "start": ended["start"], "end": None, "received_at": ended["received_at"],
        "facts": {"customers": 9},
    }  # fmt: skip


async def test_events_are_asked_for_as_the_query_says(officer: httpx.AsyncClient, desk: Any) -> None:
    query = {"domain": "energy", "station": "sa_pa", "kind": "outage", "id": "A 1/ữ", "revisions": "true"}
    query |= {"since": str(T0 // 1000), "until": "2026-11-24T03:04:05Z"}
    assert (await officer.get("/api/v1/events", params=query)).status_code == 200
    assert desk.events_asked == {
        "domain": "energy", "station": "sa_pa", "kind": "outage", "id_": "A 1/ữ", "revisions": True,
        "since_us": T0, "until_us": 1_795_489_445_000_000,
    }  # fmt: skip
    assert (await officer.get("/api/v1/events")).status_code == 200
    assert not desk.events_asked["revisions"]
    assert all(desk.events_asked[name] is None for name in ("domain", "station", "kind", "id_"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("domain", "Energy"), ("station", ""), ("kind", "a\0"), ("id", "a\0"), ("since", "yesterday"), ("limit", "0"),
     ("limit", "1001"), ("before", "-1"), ("before", str(2**63)), ("revisions", "perhaps")],
)  # fmt: skip
async def test_a_query_for_events_that_is_none_is_refused(
    officer: httpx.AsyncClient, name: str, value: str
) -> None:
    answer = await officer.get("/api/v1/events", params={name: value})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")


async def test_events_without_a_database_are_told_so(
    officer: httpx.AsyncClient, stranger: httpx.AsyncClient, desk: Any
) -> None:
    desk.events_stored = None
    for _ in range(2):
        answer = await officer.get("/api/v1/events")
        assert (answer.status_code, answer.json()["error"]) == (503, "history")
        assert set(answer.json()["message"]) == {"vi", "en"}
        desk.services.history = None
    assert (await stranger.get("/api/v1/events")).status_code == 401


async def test_the_other_lists_have_their_forms(officer: httpx.AsyncClient, desk: Any) -> None:
    desk.centre.reject(b"{")
    desk.centre.second()
    quarantine = (await officer.get("/api/v1/quarantine")).json()
    assert (quarantine["total"], quarantine["items"][0]["payload_text"]) == (1, "{")
    feeds = (await officer.get("/api/v1/feeds")).json()
    assert feeds["items"][0]["rejected"] == 1
    assert feeds["history"]["state"] == "off"
    stations = (await officer.get("/api/v1/stations")).json()["items"]
    assert {s["id"] for s in stations} == {"lao_cai", "sa_pa"}
    rules = {r["id"]: r for r in (await officer.get("/api/v1/rules")).json()["items"]}
    assert rules["river"]["source"]["mark"] == "F"
    assert rules["river"]["stations"]["lao_cai"] == {"1": 80.0, "2": None, "3": 83.5}
    instance = (await officer.get("/api/v1/instance")).json()
    assert (instance["simulated"], instance["version"], instance["trends"]) == (True, "0.1.0", [LEVEL])


async def test_the_map_is_sent_once(officer: httpx.AsyncClient) -> None:
    first = await officer.get("/api/v1/map")
    assert first.json()["communes"]["type"] == "FeatureCollection"
    assert first.json()["river"] is None
    assert "immutable" in first.headers["cache-control"]
    again = await officer.get("/api/v1/map", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_pages_and_assets_of_this_version_only(desk: Any) -> None:
    static = desk.services.static
    (static / "assets").mkdir(parents=True)
    (static / "wall.html").write_text("<!doctype html>màn hình", "utf-8")
    (static / "assets" / "wall-1.js").write_text("1")
    (static.parent / "secret.js").write_text("secret")
    async with _client(desk) as client:
        page = await client.get("/wall")
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
        asset = await client.get("/static/0.1.0/assets/wall-1.js")
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-type"].startswith("text/javascript")
        assert (await client.get("/static/0.0.9/assets/wall-1.js")).status_code == 404
        for path in ("../secret.js", "%2e%2e/secret.js", "..%2fsecret.js"):
            assert (await client.get(f"/static/0.1.0/{path}")).status_code == 404


async def test_without_built_pages_the_server_says_how_to_build_them(stranger: httpx.AsyncClient) -> None:
    page = await stranger.get("/wall")
    assert page.status_code == 503
    assert "make ui" in page.text
    root = await stranger.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "/console")


async def test_liveness_and_readiness_differ(stranger: httpx.AsyncClient, desk: Any) -> None:
    desk.ready = False
    assert (await stranger.get("/healthz")).status_code == 200
    assert (await stranger.get("/readyz")).status_code == 503


async def test_a_body_too_large_is_refused(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/api/v1/login", json={"user": "lan", "password": "x" * 100_000})
    assert answer.status_code == 413


async def test_a_fault_of_ours_is_said_without_its_details(officer: httpx.AsyncClient, desk: Any) -> None:
    [onset] = desk.centre.change(ChangeKind.ONSET)

    async def broken(command: object) -> Any:
        raise RuntimeError("secret detail")

    desk.services.submit = broken
    answer = await officer.post(f"/api/v1/alarms/{onset.alarm}/ack", json={"version": 1})
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "secret detail" not in answer.text
    assert "content-security-policy" in answer.headers


async def test_an_old_session_is_renewed_by_being_used(
    officer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ioc.wall import desk as wall_desk

    now_us = wall_desk.wall_us()
    assert "set-cookie" not in (await officer.get("/api/v1/me")).headers
    monkeypatch.setattr(wall_desk, "wall_us", lambda: now_us + 3600 * S)
    assert "ioc_session=" in (await officer.get("/api/v1/me")).headers["set-cookie"]


async def test_parallel_guesses_are_counted_too(stranger: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(stranger.post("/api/v1/login", json={"user": "lan", "password": "wrong"}) for _ in range(8))
    )
    assert sorted(a.status_code for a in answers) == [401] * 5 + [429] * 3
