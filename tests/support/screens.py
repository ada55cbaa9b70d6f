"""A small centre for tests of the wall: a pack, a real book and a view, fed by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from ioc.accounts import Accounts
from ioc.alerts.book import Book
from ioc.credentials import token_digest
from ioc.model import (
    Acknowledge,
    AddToken,
    Batch,
    Change,
    ChangeKind,
    Input,
    Outcome,
    Rejected,
    Role,
    SetUser,
    SourceState,
    State,
    Transition,
)
from ioc.model.inputs import Body
from ioc.pack import Pack, Settings
from ioc.presentation import Presenter
from ioc.wall.given import Status
from ioc.wall.hub import Hub
from ioc.wall.view import View

S = 1_000_000
T0 = 1_795_500_000 * S
"""A moment in November 2026."""
LEVEL = "disaster/lao_cai/water_level"
RAIN = "disaster/lao_cai/rain_1h"
PM25 = "environment/sa_pa/pm2_5"

_FILES = {
    "pack.yaml": """
id: test
title: {vi: Trung tâm thử, en: Test centre}
organisation: {vi: Tỉnh Lào Cai, en: Lao Cai province}
groups:
  - {id: river, name: {vi: Sông, en: River}, quantities: [water_level, rain_1h]}
  - {id: air, name: {vi: Không khí, en: Air}, quantities: [pm2_5]}
trends: [disaster/lao_cai/water_level]
map: communes.geojson
""",
    "communes.geojson": """{"type":"FeatureCollection","features":[
  {"type":"Feature","properties":{"code":"02647"},"geometry":null},
  {"type":"Feature","properties":{"code":"03006"},"geometry":null}]}""",
    "quantities.yaml": """
quantities:
  water_level: {name: {vi: Mực nước, en: Water level}, unit: m, unit_text: m, resolution: 0.01, interval: 10min, range: [0, 100]}
  rain_1h: {name: {vi: Mưa 1 giờ, en: Rain 1 h}, unit: mm, unit_text: mm, resolution: 0.1, interval: 10min, range: [0, 300]}
  pm2_5: {name: {vi: Bụi PM2.5, en: PM2.5}, unit: ug/m3, unit_text: µg/m³, resolution: 0.1, interval: 1h, range: [0, 1000]}
""",
    "stations/all.yaml": """
stations:
  - id: lao_cai
    name: {vi: Lào Cai, en: Lao Cai}
    commune: "02647"
    lat: 22.49
    lon: 103.97
    series: [{quantity: water_level, domain: disaster}, {quantity: rain_1h, domain: disaster}]
  - id: sa_pa
    name: {vi: Sa Pa, en: Sa Pa}
    commune: "03006"
    lat: 22.33
    lon: 103.84
    series: [{quantity: pm2_5, domain: environment}]
""",
    "rules/all.yaml": """
rules:
  - id: river
    kind: limit
    title: {vi: Mực nước vượt báo động, en: Water level above alarm}
    guidance: {vi: Gọi xã., en: Call the commune.}
    series: {quantities: [water_level]}
    source: {text: "QĐ 05/2020", mark: F}
    levels:
      1: {name: {vi: Báo động 1, en: Alarm 1}, priority: 3, limit: 80.0}
      2: {name: {vi: Báo động 2, en: Alarm 2}, priority: 2, limit: 82.0}
      3: {name: {vi: Báo động 3, en: Alarm 3}, priority: 1, limit: 83.5}
    stations:
      lao_cai: {1: 80.0, 3: 83.5}
  - id: silent
    kind: no_data
    title: {vi: Mất dữ liệu, en: No data}
    priority: 3
    series: {}
""",
}
NUMBERS = {LEVEL: 0, RAIN: 1, PM25: 2}


def write_pack(folder: Path) -> Path:
    """The pack's files."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def presenter(folder: Path) -> Presenter:
    """The pack as screens see it, marked as simulated."""
    return Presenter(Pack.read(write_pack(folder), Settings(simulated=True)), NUMBERS)


class Centre:
    """Feeds a book and a view together, one record at a time."""

    def __init__(self, words: Presenter, epoch: str = "epoch-1") -> None:
        self.book = Book()
        self.view = View(words, epoch, self.book.alarms)
        self.hub = Hub(self.view)
        self.accounts = Accounts()
        self.now_us = T0
        self.outcomes: list[Outcome] = []
        self._number = itertools.count(1)

    def feed(self, body: Body, transitions: list[Transition] | None = None, **more: Any) -> Outcome:
        """One record and what the alarms made of it."""
        record = Input(next(self._number), self.now_us, body)
        outcome = Outcome(record, transitions=transitions or [], **more)
        self.outcomes.append(outcome)
        self.view.feed(outcome)
        self.hub.publish()
        return outcome

    def readings(self, series: str, *rows: tuple[int, float] | tuple[int, float, int]) -> None:
        """Readings of one series: event time in seconds after T0, value, flags."""
        number = NUMBERS[series]
        self.feed(
            Batch.of(
                "mqtt",
                [number] * len(rows),
                [T0 + row[0] * S for row in rows],
                [self.now_us] * len(rows),
                [row[1] for row in rows],
                [row[2] if len(row) > 2 else 0 for row in rows],
            )
        )

    def change(
        self,
        kind: ChangeKind,
        asset: str = LEVEL,
        priority: int = 1,
        *,
        rule: str = "river",
        level: int = 3,
        value: float = 84.2,
    ) -> list[Transition]:
        """A rule's verdict changed."""
        self.now_us += 1
        change = Change(kind, rule, asset, level, priority, value, 83.5, self.now_us, self.now_us)
        transitions = self.book.feed_change(change, 1)
        self.feed(
            SourceState("mqtt", True, 1) if not transitions else Batch.of("mqtt", [], [], [], []), transitions
        )
        return transitions

    def ack(self, alarm: str, version: int | None = None, actor: str = "truc.ban", key: str = "") -> Outcome:
        """An officer acknowledges."""
        self.now_us += 1
        known = self.book.remembered(alarm)
        seen = version if version is not None else known.version if known else 0
        command = Acknowledge(actor=actor, actor_name="Trực ban", key=key, alarm=alarm, version=seen)
        return self.command(command)

    def command(self, command: Acknowledge) -> Outcome:
        """A command as it came by REST."""
        self.now_us += 1
        answer, transitions = self.book.feed_command(command, self.now_us, 1)
        return self.feed(command, transitions, answer=answer)

    def reject(self, payload: bytes, reason: str = "not_json") -> None:
        """A payload that could not be taken."""
        from ioc.model import Reason

        self.feed(
            Rejected(
                "mqtt", "ioc/v1/x", Reason(reason), "why", self.now_us, payload[: 64 * 1024], len(payload)
            )
        )

    def second(
        self, status: Status | None = None, *, stale: tuple[str, ...] = (), bad: tuple[str, ...] = ()
    ) -> None:
        """A second passes."""
        self.now_us += S
        flags = [np.array([name in names for name in NUMBERS], np.bool_) for names in (stale, bad)]
        self.view.refresh(flags[0], flags[1], self.now_us, status or Status())
        self.hub.publish()

    def person(self, user: str, secret: str, role: Role = Role.OFFICER, name: str = "") -> None:
        """An account."""
        command = SetUser(actor="system", user=user, name=name or user, role=role, secret=secret)
        assert self.accounts.feed(command, self.now_us).verdict == "done"

    def kiosk(self, name: str, token: str) -> None:
        """A token."""
        command = AddToken(actor="system", token=name, digest=token_digest(token))
        assert self.accounts.feed(command, self.now_us).verdict == "done"

    def open_states(self) -> dict[str, State]:
        """State of every open alarm."""
        return {alarm.id: alarm.state for alarm in self.book.alarms.values()}
