"""Why alarms fired, and what rules that are only tried would have done, over REST."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from ioc.faults import Refusal, json_response
from ioc.promote import NotPromotable, promoted
from ioc.wall.desk import Desk, Known, TheDesk, from_here
from ioc.wall.rules import DIFF_MAX, into_force, may_change
from ioc.wall.services import Trials

router = APIRouter(prefix="/api/v1", dependencies=[Depends(from_here)])


@router.get("/alarms/{alarm_id}/why")
async def why(
    alarm_id: str, desk: TheDesk, identity: Known, step: Annotated[int | None, Query(ge=1, le=1 << 53)] = None
) -> Response:
    """Why a step was taken: by default the last onset or worsening."""
    assert desk.services.why is not None
    found = await desk.services.why(alarm_id, step)
    if found is None:
        raise Refusal(
            404,
            "not_found",
            "Không còn biết báo động này, hoặc bước này của nó.",
            "This alarm, or this step of it, is not known any more.",
        )
    return json_response(found)


@router.get("/shadow")
async def shadow(desk: TheDesk, identity: Known) -> Response:
    """The rules that are only tried, then those that were."""
    return json_response({"items": list(_trials(desk).rules())})


@router.get("/rules/{rule}/shadow")
async def record(
    rule: str, desk: TheDesk, identity: Known, limit: Annotated[int, Query(ge=0, le=1_000)] = 200
) -> Response:
    """What one rule would have done, with its newest entries."""
    found = _trials(desk).record(rule, limit)
    if found is None:
        raise Refusal(
            404,
            "not_found",
            "Quy tắc này không chạy thử.",
            "There is no record of this rule in shadow.",
        )
    return json_response(found)


@router.post("/rules/{rule}/promote")
async def promote(rule: str, desk: TheDesk, identity: Known) -> Response:
    """Let a rule count that was only tried; its alarms that would be open are raised then."""
    may_change(identity)
    book = desk.services.rulebook
    assert book is not None
    files = await asyncio.to_thread(book.files)
    try:
        name, text = await asyncio.to_thread(promoted, files, rule)
    except NotPromotable as error:
        raise Refusal(
            409,
            "not_in_shadow",
            f"Quy tắc này không ở chế độ chạy thử, hoặc phải sửa tệp bằng tay. ({error})",
            f"This rule is not in shadow, or its file must be edited by hand. ({error})",
        ) from error
    rules = {file: body for file, body in files.items() if file.startswith("rules/")}
    posted = await into_force(book, {**rules, name: text}, identity)
    return json_response({"dry_run": False, **posted.plain(DIFF_MAX)})


def _trials(desk: Desk) -> Trials:
    assert desk.services.trials is not None
    return desk.services.trials
