"""Why, and rules that are only tried, over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from support.screens import T0, Centre, presenter
from wall.test_server import _client, _enter

from ioc.alerts.shadow import Day, Report, Standing, Would
from ioc.errors import PackError
from ioc.model import Role
from ioc.wall.wire import ShadowItem, TriedItem, WhyItem

RULES = {
    "rules/a.yaml": "rules:\n- {id: calm, kind: limit}\n",
    "rules/b.yaml": "# b\nrules:\n- id: river\n  mode: shadow # try\n",
    "derived/a.yaml": "derived: []\n",
}
DAY = T0 // 86_400_000_000
WOULD = Would(7, "onset", "disaster/lao_cai/water_level", 1, 3, 80.4, 80.0, T0, T0, 12)
REPORT = Report(
    rule="river",
    since_us=T0 - 2 * 86_400_000_000,
    counted_us=T0 - 2 * 86_400_000_000,
    until_us=T0,
    ended="",
    days={DAY: Day([0, 1, 2, 0], 1, 3_600_000_000)},
    made=1,
    joined=2,
    active_share=0.0208,
    would=[WOULD],
    standing=[Standing("disaster/lao_cai/water_level", 1, 3, 80.4, 80.0, T0, T0)],
)


class Trials:
    """One rule is tried."""

    def __init__(self, words: Any) -> None:
        self.words = words

    def rules(self) -> list[TriedItem]:
        return [self.words.tried("river", T0, "")]

    def record(self, rule: str, limit: int) -> ShadowItem | None:
        self.limit = limit
        return self.words.shadow(REPORT) if rule == "river" else None


class Posted:
    def plain(self, most: int) -> dict[str, Any]:
        return {"version": "f" * 64, "changed": True}


class Book:
    """Takes what is posted, or finds one fault in it."""

    def __init__(self) -> None:
        self.posted: list[tuple[Mapping[str, str] | None, str, str, bool]] = []
        self.fault: PackError | None = None

    def about(self) -> dict[str, Any]:
        return {}

    def versions(self) -> list[dict[str, Any]]:
        return []

    def files(self) -> Mapping[str, str]:
        return {"pack.yaml": "id: x\n", **RULES}

    async def post(
        self, files: Mapping[str, str] | None, actor: str, actor_name: str, *, dry_run: bool
    ) -> Posted:
        if self.fault:
            raise self.fault
        self.posted.append((files, actor, actor_name, dry_run))
        return Posted()


@pytest.fixture
def book(desk: Any, words: Any, centre: Centre, secret: str) -> Book:
    centre.person("quan.tri", secret, Role.ADMIN, "Quản trị")
    desk.services.trials = Trials(words)
    desk.services.rulebook = Book()
    return desk.services.rulebook


@pytest.fixture
async def admin(desk: Any, book: Book) -> AsyncIterator[httpx.AsyncClient]:
    async with _client(desk) as client:
        await _enter(client, "quan.tri")
        yield client


async def test_a_trial_is_told_by_day_with_what_it_would_have_done(admin: httpx.AsyncClient) -> None:
    told = (await admin.get("/api/v1/rules/river/shadow")).json()
    assert (told["alarms"], told["per_day"], told["beside"], told["alone"]) == (3, 1.5, 1, 2)
    assert (told["floods_made"], told["floods_joined"], told["active_share"]) == (1, 2, 0.0208)
    assert told["days"] == [{"day": "2026-11-24", "alarms": [0, 1, 2, 0], "beside": 1, "active_s": 3600.0}]
    (would,) = told["would"]
    assert (would["kind"], would["value"], would["unit"], would["duration_s"]) == ("onset", 80.4, "m", None)
    assert would["station_name"]["vi"] == "Lào Cai"
    assert told["standing"][0]["level_name"]["vi"] == "Báo động 1"


async def test_trials_are_listed_and_what_is_none_is_not_found(admin: httpx.AsyncClient) -> None:
    (one,) = (await admin.get("/api/v1/shadow")).json()["items"]
    assert (one["rule"], one["title"]["en"], one["ended"]) == ("river", "Water level above alarm", "")
    assert (await admin.get("/api/v1/rules/silent/shadow")).status_code == 404


async def test_a_promotion_posts_all_rules_with_one_word_changed_in_somebodys_name(
    admin: httpx.AsyncClient, book: Book
) -> None:
    answer = await admin.post("/api/v1/rules/river/promote")
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    changed = {**RULES, "rules/b.yaml": "# b\nrules:\n- id: river\n  mode: live # try\n"}
    del changed["derived/a.yaml"]
    assert book.posted == [(changed, "quan.tri", "Quản trị", False)]


async def test_what_is_not_in_shadow_cannot_be_promoted(admin: httpx.AsyncClient, book: Book) -> None:
    answer = await admin.post("/api/v1/rules/calm/promote")
    assert (answer.status_code, answer.json()["error"]) == (409, "not_in_shadow")
    assert book.posted == []


async def test_only_an_admin_may_promote(desk: Any, book: Book) -> None:
    async with _client(desk) as client:
        await _enter(client)
        assert (await client.post("/api/v1/rules/river/promote")).status_code == 403
    assert book.posted == []


async def test_a_pack_that_is_refused_tells_its_faults(admin: httpx.AsyncClient, book: Book) -> None:
    book.fault = PackError("rules/b.yaml", 3, "rules[0]", "no such thing")
    answer = await admin.post("/api/v1/rules/river/promote")
    assert (answer.status_code, answer.json()["faults"][0]["line"]) == (422, 3)


async def test_why_is_asked_of_a_step_and_not_found_where_nobody_knows(
    admin: httpx.AsyncClient, desk: Any, words: Any
) -> None:
    asked: list[tuple[str, int | None]] = []

    async def why(alarm: str, step: int | None) -> WhyItem | None:
        asked.append((alarm, step))
        return None

    desk.services.why = why
    assert (await admin.get("/api/v1/alarms/abc/why?step=2")).status_code == 404
    assert (await admin.get("/api/v1/alarms/abc/why?step=0")).status_code == 422
    await admin.get("/api/v1/alarms/abc/why")
    assert asked == [("abc", 2), ("abc", None)]


def test_a_rule_in_shadow_shows_no_limit_on_screens(tmp_path: Any) -> None:
    words = presenter(tmp_path)
    rule = words._pack.rules["river"]
    words._pack.rules["river"] = rule.model_copy(update={"mode": "shadow"})
    shown = type(words)(words._pack, words.numbers)
    assert shown.series["disaster/lao_cai/water_level"].limits == []
    assert words.series["disaster/lao_cai/water_level"].limits != []
