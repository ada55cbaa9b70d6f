"""The quarantine over REST: what could not be taken, and taking it up again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import Response

from ioc.answers import KEY_USED
from ioc.errors import LogWriteFailed
from ioc.faults import Refusal, json_response
from ioc.model import Reinject, Verdict
from ioc.model.command import SEVERAL
from ioc.wall.desk import Known, TheDesk, from_here

router = APIRouter(prefix="/api/v1/quarantine", dependencies=[Depends(from_here)])


@router.get("")
async def quarantine(
    desk: TheDesk, identity: Known, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> Response:
    """What could not be taken, newest first; `total` counts all since this process began to look."""
    view = desk.services.view
    return json_response({"items": view.quarantined(limit), "total": view.rejected})


@router.post("/{number}/reinject")
async def reinject(
    number: Annotated[int, Path(ge=1, le=1 << 53)],
    desk: TheDesk,
    identity: Known,
    idempotency_key: Annotated[str, Header(max_length=128, pattern=r"^[\x21-\x7e]*$")] = "",
) -> Response:
    """Take a payload up again, once what stood in its way is gone; its readings go the way of all others."""
    if not identity.may_act:
        raise Refusal(
            403,
            "forbidden",
            "Tài khoản này chỉ được xem, không được nạp lại bản tin.",
            "This account may look but not re-inject.",
        )
    assert desk.services.reinject is not None
    command = Reinject(actor=identity.user, actor_name=identity.name, key=idempotency_key, number=number)
    try:
        done = await desk.services.reinject(command)
    except LogWriteFailed as error:
        raise Refusal(
            503,
            "log",
            "Nhật ký không ghi được nên bản tin CHƯA được nạp lại. Hãy thử lại.",
            "The log cannot be written, so nothing was re-injected. Try again.",
        ) from error
    if done.answer.verdict is Verdict.DONE:
        return json_response({"number": number, "accepted": done.accepted, "rejected": done.rejected})
    raise _objection(done.answer.verdict, done.answer.reason)


def _objection(verdict: Verdict, reason: str) -> Refusal:
    if verdict is Verdict.NOT_FOUND:
        return Refusal(
            404,
            "not_found",
            "Nhật ký không còn bản tin cách ly này.",
            "The log holds no quarantined payload of this number.",
        )
    if verdict is Verdict.CONFLICT:
        return Refusal(
            409, "reinjected", "Bản tin này đã được nạp lại rồi.", "This payload was re-injected before."
        )
    if reason == KEY_USED:
        return Refusal(
            422,
            "idempotency_key",
            "Idempotency-Key này đã được dùng cho một yêu cầu khác; lần này CHƯA nạp lại gì.",
            "This Idempotency-Key was used for another request; nothing was re-injected this time.",
        )
    if reason == SEVERAL:
        return Refusal(
            422,
            "several",
            "Mục này gộp nhiều phần của một bản tin mà các phần khác đã được nhận; hãy gửi lại những phần còn thiếu.",
            "This entry stands for several items of a payload of which others were taken; send those that lack anew.",
        )
    return Refusal(
        422,
        "cut",
        "Chỉ phần đầu của bản tin được giữ lại, nên không thể nạp lại.",
        "Only the beginning of this payload was kept, so it cannot be re-injected.",
    )
