"""What an answer that refuses says: one word for programs, one sentence in each language for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response


class Refusal(HTTPException):
    """Ends a request with `{"error", "message", …}`; `headers` go with it."""

    def __init__(
        self, status: int, error: str, vi: str, en: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, headers=headers)
        self.body = {"error": error, "message": {"vi": vi, "en": en}, **more}


def json_response(item: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Anything that msgspec can encode."""
    return Response(msgspec.json.encode(item), status, headers, "application/json")


def fault(status: int, error: str, vi: str, en: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal as a response."""
    return json_response({"error": error, "message": {"vi": vi, "en": en}}, status, headers)
