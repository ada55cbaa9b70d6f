"""HTTP in: `POST /api/v1/readings` as a source. Owns what is under way: each request waits here for the log.

A request is answered once its readings are durable. Who is not answered in time is told that they may still be taken;
the same Idempotency-Key then finds them, so that trying again never doubles.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ioc.accounts import Token
from ioc.credentials import token_digest
from ioc.faults import Refusal, json_response
from ioc.ingest.decoder import Decoded, Decoder, Items, Unreadable, rejection
from ioc.ingest.receipts import Receipt, Receipts, digest_of, origin_of, receipt_of
from ioc.ingest.source import Sink
from ioc.ingest.unpack import UNPACK, Corrupt, TooLarge
from ioc.model import Body, Message, Reason, Scope, SourceState

T = TypeVar("T")

PATH: Final = "/api/v1/readings"
DURABLE_S: Final = 10.0
"""How long a request waits for the log."""
STALL_S: Final = 10.0
"""How long a body may stand still."""
LATER_S: Final = 5
"""When to come back, while the log cannot be written or the queue is long."""
INLINE_BYTES_MAX: Final = 256 * 1024
"""Some milliseconds of decoding. Beyond, it is worth a thread: the screens must not wait for it."""
INLINE_PACKED_MAX: Final = 32 * 1024
"""The same for what is still packed."""
SEPARATOR_WEIGHT: Final = 48
"""Bytes that a comma or a line's end counts for: a body of nothing but faults costs by its items, not its bytes."""
_KEY: Final = re.compile(r"[\x21-\x7e]{0,128}", re.ASCII)
_LINES: Final = re.compile(rb"\}[ \t\r]*\n\s*\{")
"""Where one object ends and another begins on a later line: NDJSON, whatever the Content-Type says."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the process that runs this source gives it.

    `token_of` finds a token by its digest; `crowded` says whether the queue is nearly full; `now_us` is the core's
    time. Where decoding `registers` new series it stays in the loop's thread.
    """

    sink: Sink
    decoder: Decoder
    receipts: Receipts
    token_of: Callable[[str], Token | None]
    writable: Callable[[], bool]
    crowded: Callable[[], bool]
    now_us: Callable[[], int]
    registers: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """What a body brings: for the log, at least one; and for its sender, once that is durable."""

    bodies: list[Body]
    answer: Response
    readable: bool


@dataclass(slots=True)
class _UnderWay:
    """Being read, or offered to the log and not yet durable. Without an answer at its end it has failed."""

    digest: str
    answer: Response | None = None
    durable: asyncio.Event = field(default_factory=asyncio.Event)


class HttpSource:
    """Readings over HTTP. `router` is mounted where the pages are; `run` makes the source one that is there."""

    kind: Final = "http"

    def __init__(
        self,
        name: str,
        given: Given,
        *,
        body_bytes_max: int,
        body_timeout_s: float,
        requests_max: int,
        generation: int = 0,
    ) -> None:
        self.name = name
        self.generation = generation
        self.connected = False
        self.last_error = ""
        self._given = given
        self._bytes_max, self._timeout_s = body_bytes_max, body_timeout_s
        self._requests_max = requests_max
        self._requests: Counter[str] = Counter()
        """Under way, by token."""
        self._under_way: dict[str, _UnderWay] = {}
        self.router = APIRouter()
        self.router.add_api_route(
            PATH,
            self.post,
            methods=["POST"],
            status_code=HTTPStatus.ACCEPTED,
            response_model=None,
            dependencies=[Depends(HTTPBearer(auto_error=False, description="A token of scope readings"))],
            openapi_extra=_OPENAPI,
        )

    async def run(self) -> None:
        """Be there until cancelled; requests come through the router."""
        self.connected = True
        self.generation += 1
        self._given.sink.offer(SourceState(self.name, True, self.generation))
        try:
            await asyncio.Event().wait()
        finally:
            self.connected = False

    def resume(self) -> None:
        """Nothing waits here for room: who finds none is told to come again."""

    def lag(self) -> int | None:
        """What clients have not sent yet, nobody knows."""
        return None

    async def post(self, request: Request) -> Response:
        """Take one reading, an array or NDJSON of `{"series", "t", "v", "q"}`."""
        sender = "?"
        try:
            token = self._token(request)
            sender = token.token
            return await self._take(request, token)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except Refusal as refusal:
            self.last_error = f"{sender}: {refusal.body['message']['en']}"
            raise

    async def _take(self, request: Request, token: Token) -> Response:
        key = request.headers.get("idempotency-key", "")
        if not _KEY.fullmatch(key):
            raise _invalid_key()
        receipt = receipt_of(token.token, key) if key else secrets.token_hex(12)
        with self._slot(token.token):
            # What is under way already is waited for, whatever stands in the way of others.
            self._admit(receipt)
            body = await self._body(request)
            digest = digest_of(body) if key else ""
            self._admit(receipt)
            under_way = self._under_way.get(receipt)
            taken = self._given.receipts.find(receipt, self._given.now_us()) if key else None
            known = under_way or taken
            if known is not None and known.digest != digest:
                raise _key_used()
            if under_way is None:
                read = partial(self._read, body, _is_ndjson(request, body), token, receipt)
                if taken is not None:
                    return (await self._apart(_weight(body), partial(read, taken))).answer
                under_way = self._under_way[receipt] = _UnderWay(digest)
                try:
                    self._offer(receipt, digest, await self._apart(_weight(body), read))
                except BaseException:
                    self._release(receipt)
                    raise
            return await _durable(receipt, under_way)

    def _token(self, request: Request) -> Token:
        """Whose request this is. A cookie counts for nothing here, so that no page can send readings in a user's name."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        token = self._given.token_of(token_digest(secret.strip())) if scheme.lower() == "bearer" else None
        if token is None:
            raise Refusal(
                HTTPStatus.UNAUTHORIZED,
                "unauthenticated",
                "Cần mã gửi số liệu: Authorization: Bearer …",
                "This needs a token of scope readings: Authorization: Bearer …",
                {"WWW-Authenticate": 'Bearer error="invalid_token"' if scheme else "Bearer"},
            )
        if token.scope is not Scope.READINGS:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                "Mã này không dùng để gửi số liệu.",
                "This token is not for sending readings.",
                {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="readings"'},
            )
        return token

    @contextlib.contextmanager
    def _slot(self, token: str) -> Iterator[None]:
        """Room for one more request: bodies under way are memory, and no sender may take all of it."""
        of_one_max = (self._requests_max + 1) // 2
        if self._requests.total() >= self._requests_max or self._requests[token] >= of_one_max:
            raise _later(1, "Quá nhiều yêu cầu cùng lúc.", "Too many requests at once.")
        self._requests[token] += 1
        try:
            yield
        finally:
            self._requests[token] -= 1
            if not self._requests[token]:
                del self._requests[token]

    def _admit(self, receipt: str) -> None:
        given = self._given
        if receipt in self._under_way:
            return
        if not given.writable():
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "log",
                "Nhật ký không ghi được; yêu cầu này CHƯA được nhận. Hãy gửi lại.",
                "The log cannot be written; nothing of this request was taken. Send it again.",
                {"Retry-After": str(LATER_S)},
            )
        if given.sink.full or given.crowded():
            raise _later(1, "Hàng đợi sắp đầy.", "The queue is nearly full.")

    async def _body(self, request: Request) -> bytes:
        """The whole body, unpacked."""
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        unpack = UNPACK.get(coding)
        if unpack is None and coding not in ("identity", ""):
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "encoding",
                "Content-Encoding phải là gzip hoặc zstd.",
                "Content-Encoding must be gzip or zstd.",
                {"Accept-Encoding": "gzip, zstd"},
            )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._bytes_max:
            raise self._too_large()
        data = await self._received(request)
        if unpack is None:
            return data
        try:
            if len(data) <= INLINE_PACKED_MAX:
                return unpack(data, self._bytes_max)
            return await asyncio.to_thread(unpack, data, self._bytes_max)
        except TooLarge as error:
            raise self._too_large() from error
        except Corrupt as error:
            raise _unreadable("encoding", str(error)) from error

    async def _received(self, request: Request) -> bytes:
        """The body as sent, if it comes in time and within the bound. Raises ClientDisconnect."""
        parts: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_s
        try:
            async with asyncio.timeout(min(STALL_S, self._timeout_s)) as patience:
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._bytes_max:
                        raise self._too_large()
                    more = message.get("more_body", False)
                    patience.reschedule(min(loop.time() + STALL_S, end))
        except TimeoutError as error:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT,
                "timeout",
                "Nội dung gửi lên quá chậm; chưa nhận gì.",
                "The body came too slowly; nothing was taken.",
                {"Connection": "close"},
            ) from error
        return b"".join(parts)

    async def _apart(self, size: int, work: Callable[[], T]) -> T:
        """Do what takes long in a thread, so that the screens need not wait for it."""
        if size <= INLINE_BYTES_MAX or self._given.registers:
            return work()
        return await asyncio.to_thread(work)

    def _read(
        self, body: bytes, ndjson: bool, token: Token, receipt: str, taken: Receipt | None = None
    ) -> _Read:
        """Decode a body; of one that was `taken` before, its count stands."""
        decoded = Decoded()
        received_us = self._given.sink.received_us()
        allowed = token.may_send if token.series else None
        try:
            items = self._given.decoder.feed_readings(
                self.name, body, ndjson, received_us, decoded, allowed=allowed
            )
            readable = True
            answer = _answer(receipt, taken.accepted if taken else items.accepted, items)
        except Unreadable as error:
            message = Message(self.name, "", body, received_us)
            decoded.rejected.append(rejection(message, Reason.NOT_JSON, error.detail))
            readable = False
            refusal = _unreadable(Reason.NOT_JSON, error.detail)
            answer = json_response(refusal.body, refusal.status_code)
        batch = decoded.batch(self.name)
        return _Read([*decoded.rejected, *([] if batch is None else [batch])], answer, readable)

    def _offer(self, receipt: str, digest: str, read: _Read) -> None:
        """Give to the log what there is; also what cannot be read, for the quarantine, but that uses up no key."""
        self._under_way[receipt].answer = read.answer
        origin = origin_of(receipt, digest if read.readable else "")
        self._given.sink.offer_all(read.bodies, origin, partial(self._release, receipt))

    def _release(self, receipt: str) -> None:
        self._under_way.pop(receipt).durable.set()

    def _too_large(self) -> Refusal:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"Nội dung quá lớn: tối đa {self._bytes_max} byte sau khi giải nén.",
            f"The body is too large: at most {self._bytes_max} bytes, unpacked.",
        )


async def _durable(receipt: str, under_way: _UnderWay) -> Response:
    """The answer, once the log has what it speaks of."""
    try:
        async with asyncio.timeout(DURABLE_S):
            await under_way.durable.wait()
    except TimeoutError as error:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "log",
            "Nhật ký chưa ghi được; số liệu có thể vẫn được nhận sau. Hãy gửi lại với cùng Idempotency-Key.",
            "The log has not taken this yet, and still may. Send it again with the same Idempotency-Key.",
            {"Retry-After": str(LATER_S)},
            receipt=receipt,
        ) from error
    if under_way.answer is None:
        raise _later(1, "Yêu cầu trước chưa xong.", "The request before this one was not finished.")
    return under_way.answer


def _answer(receipt: str, accepted: int, items: Items) -> Response:
    rejected = [
        {"index": index, "reason": reason, "detail": detail} for index, reason, detail in items.rejected
    ]
    status = HTTPStatus.ACCEPTED if accepted else HTTPStatus.UNPROCESSABLE_ENTITY
    return json_response({"receipt": receipt, "accepted": accepted, "rejected": rejected}, status)


def _is_ndjson(request: Request, body: bytes) -> bool:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        return True
    return body[:64].lstrip()[:1] == b"{" and _LINES.search(body) is not None


def _unreadable(reason: str, detail: str) -> Refusal:
    return Refusal(
        HTTPStatus.BAD_REQUEST,
        "invalid",
        f"Không đọc được nội dung: {detail}.",
        f"The body cannot be read: {detail}.",
        reason=reason,
        detail=detail,
    )


def _later(seconds: int, vi: str, en: str) -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too_many",
        f"{vi} Hãy gửi lại sau; chưa nhận gì.",
        f"{en} Send again later; nothing was taken.",
        {"Retry-After": str(seconds)},
    )


def _invalid_key() -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid",
        "Idempotency-Key không hợp lệ: tối đa 128 ký tự ASCII, không có khoảng trắng.",
        "Not a valid Idempotency-Key: at most 128 ASCII characters, no spaces.",
    )


def _key_used() -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency_key",
        "Idempotency-Key này đã được dùng cho một nội dung khác; lần này CHƯA nhận gì.",
        "This Idempotency-Key was used for another body; nothing was taken this time.",
    )


_OPENAPI: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
                "example": [
                    {"series": "disaster/lao_cai/water_level", "t": "2026-11-24T03:04:05Z", "v": 84.2}
                ],
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
}


def _weight(body: bytes) -> int:
    """How much decoding a body may cost, in bytes of a usual one."""
    return max(len(body), SEPARATOR_WEIGHT * (body.count(b",") + body.count(b"\n")))
