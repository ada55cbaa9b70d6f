"""The REST surface under `/api/v1`, as `docs/protocol.md` has it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ioc.answers import KEY_USED
from ioc.errors import LogWriteFailed, StoreUnavailable
from ioc.faults import Refusal, json_response
from ioc.model import Acknowledge, Alarm, State, Verdict
from ioc.registry import ID
from ioc.wall.board import Order, order_of
from ioc.wall.desk import Desk, Known, TheDesk, from_here
from ioc.wall.recent import as_points
from ioc.wall.texts import acknowledged, at_local
from ioc.wall.wire import EventItem

READINGS_DEFAULT_US: Final = 6 * 3600 * 1_000_000

_SLUG: Final = f"^{ID.pattern}$"

router = APIRouter(prefix="/api/v1", dependencies=[Depends(from_here)])


class Ack(BaseModel):
    """The version that was seen, and a word on it."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(strict=True, ge=1, le=1 << 53)]
    note: Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True)] = ""


@router.get("/instance")
async def instance(desk: TheDesk, identity: Known) -> Response:
    """What this instance is."""
    return json_response(desk.services.view.presenter.instance(desk.services.version))


def _cursor(order: Order) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(order)).decode()


def _after(cursor: str) -> Order:
    try:
        order: Order = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Order)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _invalid("cursor") from error
    return order


def _invalid(what: str) -> Refusal:
    return Refusal(422, "invalid", f"Giá trị không hợp lệ: {what}.", f"Not a valid value: {what}.")


@router.get("/alarms")
async def alarms(
    desk: TheDesk,
    identity: Known,
    state: State | None = None,
    domain: Annotated[str | None, Query(max_length=32)] = None,
    min_priority: Annotated[int | None, Query(ge=1, le=4)] = None,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 500,
    cursor: Annotated[str | None, Query(max_length=256)] = None,
) -> Response:
    """The open alarms: unacknowledged first, by priority, then the longest waiting."""
    after = _after(cursor) if cursor else None
    view = desk.services.view
    found = [
        alarm
        for alarm in view.alarms()
        if (state is None or alarm.state is state)
        and (domain is None or alarm.asset.startswith(f"{domain}/"))
        and (min_priority is None or alarm.priority <= min_priority)
        and (after is None or order_of(alarm) > after)
    ]
    page = found[:limit]
    return json_response(
        {
            "items": [msgspec.Raw(view.alarm_text(alarm).encode()) for alarm in page],
            "next": _cursor(order_of(page[-1])) if len(found) > limit else None,
        }
    )


def _alarm(desk: Desk, alarm_id: str) -> Alarm:
    alarm = desk.services.alarm(alarm_id)
    if alarm is None:
        raise Refusal(404, "not_found", "Không có báo động này.", "There is no such alarm.")
    return alarm


@router.get("/alarms/{alarm_id}")
async def alarm(alarm_id: str, desk: TheDesk, identity: Known) -> Response:
    """One alarm with its life so far; also closed ones, while they are remembered."""
    found = _alarm(desk, alarm_id)
    view = desk.services.view
    return json_response(
        {
            "alarm": view.presenter.alarm(found),
            "timeline": [view.presenter.transition(step) for step in view.journal.of_alarm(alarm_id)],
            "guidance": view.presenter.guidance(found.rule),
            "rationalisation": view.presenter.rationalisation(found.rule),
        }
    )


@router.post("/alarms/{alarm_id}/ack")
async def acknowledge(
    alarm_id: str,
    body: Ack,
    desk: TheDesk,
    identity: Known,
    idempotency_key: Annotated[str, Header(max_length=128, pattern=r"^[\x21-\x7e]*$")] = "",
) -> Response:
    """Say that one has seen an alarm as it stood in a version."""
    if not identity.may_act:
        raise Refusal(
            403,
            "forbidden",
            "Tài khoản này chỉ được xem, không được xác nhận báo động.",
            "This account may look but not acknowledge.",
        )
    command = Acknowledge(
        actor=identity.user,
        actor_name=identity.name,
        key=idempotency_key,
        alarm=alarm_id,
        version=body.version,
        note=body.note,
    )
    try:
        outcome = await desk.services.submit(command)
    except LogWriteFailed as error:
        raise Refusal(
            503,
            "log",
            "Nhật ký không ghi được nên xác nhận CHƯA được nhận. Hãy thử lại.",
            "The log cannot be written, so the acknowledgement was NOT taken. Try again.",
        ) from error
    answer = outcome.answer
    assert answer is not None, "a command is always answered"
    if answer.verdict is Verdict.NOT_FOUND:
        raise _no_longer(desk, alarm_id)
    if answer.reason == KEY_USED:
        raise Refusal(
            422,
            "idempotency_key",
            "Idempotency-Key này đã được dùng cho một yêu cầu khác; lần này CHƯA xác nhận gì.",
            "This Idempotency-Key was used for another request; nothing was acknowledged this time.",
        )
    presenter = desk.services.view.presenter
    current = _alarm(desk, answer.alarm or alarm_id)
    if answer.verdict is Verdict.DONE:
        return json_response(presenter.alarm(current))
    zone = presenter.instance(desk.services.version).timezone
    if current.acked_us:
        word = acknowledged(current, zone)
    elif current.id != alarm_id:
        word = {
            "vi": "Báo động này đã kết thúc; một lần báo động mới đang mở.",
            "en": "This alarm is over; a newer occurrence is open.",
        }
    else:
        word = {
            "vi": "Báo động đã thay đổi sau khi bạn xem. Hãy xem lại rồi xác nhận.",
            "en": "The alarm has changed since you saw it. Look again, then acknowledge.",
        }
    reason = "version" if answer.verdict is Verdict.CONFLICT else "acknowledged"
    raise Refusal(409, reason, word["vi"], word["en"], current=presenter.alarm(current))


def _no_longer(desk: Desk, alarm_id: str) -> Refusal:
    closed = desk.services.alarm(alarm_id)
    if closed is None:
        return Refusal(404, "not_found", "Không có báo động này.", "There is no such alarm.")
    zone = desk.services.view.presenter.instance(desk.services.version).timezone
    if closed.acked_us:
        word = acknowledged(closed, zone)
        return Refusal(404, "closed", f"Báo động đã đóng. {word['vi']}", f"The alarm is closed. {word['en']}")
    at = at_local(closed.changed_us, zone)
    return Refusal(404, "closed", f"Báo động đã đóng lúc {at}.", f"The alarm closed at {at}.")


@router.get("/stations")
async def stations(desk: TheDesk, identity: Known) -> Response:
    """Every station with its series and limits."""
    return json_response({"items": desk.services.view.presenter.stations})


def _us(text: str | None, what: str) -> int | None:
    """RFC 3339 or epoch milliseconds as microseconds."""
    if text is None:
        return None
    try:
        if text.lstrip("-").isdigit():
            return int(text) * 1_000
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise _invalid(what)
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise _invalid(what) from error


@router.get("/series/{domain}/{station}/{quantity}/readings")
async def readings(
    domain: str,
    station: str,
    quantity: str,
    desk: TheDesk,
    identity: Known,
    since: Annotated[str | None, Query(max_length=40)] = None,
    until: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=20_000)] = 2_048,
) -> Response:
    """The newest readings of a stretch of time, in event order: from memory as far as it reaches, else stored ones."""
    services = desk.services
    presenter = services.view.presenter
    series_id = f"{domain}/{station}/{quantity}"
    series = presenter.series.get(series_id)
    if series is None:
        raise Refusal(404, "not_found", "Không có chuỗi số liệu này.", "There is no such series.")
    since_us = _us(since, "since")
    until_us = _us(until, "until")
    if until_us is None:
        until_us = 1 << 61
    if since_us is None:
        since_us = min(services.now_us(), until_us) - READINGS_DEFAULT_US
    since_us, until_us = max(since_us, -(1 << 61)), min(until_us, 1 << 61)
    number = presenter.numbers.get(series_id)
    points: list[Any] = []
    source: Literal["memory", "history"] = "memory"
    if number is not None:
        memory = services.view.recent
        points = as_points(*memory.read(number, since_us, until_us, limit))
        oldest_us = memory.oldest_us(number)
        before_us = until_us if oldest_us is None else min(until_us, oldest_us)
        missing = limit - len(points)
        if services.history is not None and since_us < before_us and missing > 0:
            try:
                stored = await services.history.readings(number, since_us, before_us, missing)
            except StoreUnavailable:
                stored = []
            if stored:
                points = [[t // 1_000, v if v == v else None, f] for t, v, f in stored] + points
                source = "history"
    return json_response({"series": series, "points": points, "source": source})


@router.get("/journal")
async def journal(
    desk: TheDesk,
    identity: Known,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    before: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """The last transitions, newest first."""
    view = desk.services.view
    entries = list(view.journal.newest(limit + 1, before))
    page = entries[:limit]
    return json_response(
        {
            "items": [view.presenter.transition(entry.step) for entry in page],
            "next": page[-1].place if len(entries) > limit else None,
        }
    )


@router.get("/events")
async def events(
    desk: TheDesk,
    identity: Known,
    domain: Annotated[str | None, Query(pattern=_SLUG)] = None,
    station: Annotated[str | None, Query(pattern=_SLUG)] = None,
    kind: Annotated[str | None, Query(pattern=_SLUG)] = None,
    id_: Annotated[str | None, Query(alias="id", max_length=120, pattern=r"^[^\x00]*$")] = None,
    since: Annotated[str | None, Query(max_length=40)] = None,
    until: Annotated[str | None, Query(max_length=40)] = None,
    revisions: bool = False,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    before: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
) -> Response:
    """Events that fall into a stretch of time, those told last first; each as it holds, or all its revisions."""
    history = desk.services.history
    since_us, until_us = _us(since, "since"), _us(until, "until")
    try:
        if history is None:
            raise StoreUnavailable("no database")
        found = await history.events(
            limit + 1,
            before,
            domain=domain,
            station=station,
            kind=kind,
            id_=id_,
            since_us=-(1 << 61) if since_us is None else max(since_us, -(1 << 61)),
            until_us=1 << 61 if until_us is None else min(until_us, 1 << 61),
            revisions=revisions,
        )
    except StoreUnavailable as error:
        raise Refusal(
            503,
            "history",
            "Cơ sở dữ liệu chưa trả lời nên chưa xem được sự kiện. Hãy thử lại.",
            "The database does not answer, so events cannot be shown. Try again.",
        ) from error
    page = found[:limit]
    return json_response(
        {
            "items": [EventItem.of(number, event) for number, event in page],
            "next": page[-1][0] if len(found) > limit else None,
        }
    )


@router.get("/feeds")
async def feeds(desk: TheDesk, identity: Known) -> Response:
    """Every source and what became of what it sent."""
    view = desk.services.view
    return json_response({"items": view.feeds(), "history": desk.services.status().history})


@router.get("/map")
async def map_(request: Request, desk: TheDesk, identity: Known) -> Response:
    """The communes and the river."""
    folder, files = desk.services.pack_folder, desk.services.view.presenter.map_files
    document = await asyncio.to_thread(desk.maps.read, folder, files)
    headers = {
        "ETag": document.etag,
        "Cache-Control": "private, max-age=86400, immutable",
        "Vary": "Accept-Encoding",
    }
    if document.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(document.zipped, headers=headers, media_type="application/json")
    return Response(document.plain, headers=headers, media_type="application/json")
