"""`create_app`: pages, REST and websocket on one port, out of the services that the process gives."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ioc.faults import Refusal, fault, json_response
from ioc.wall import entrance, explain, quarantine, rest, rules, socket
from ioc.wall.auth import Sessions
from ioc.wall.desk import Desk
from ioc.wall.guard import Guard
from ioc.wall.pages import Pages
from ioc.wall.services import Services

_HTTP_WORDS = {
    404: ("not_found", "Không có địa chỉ này.", "There is nothing at this address."),
    405: ("method", "Địa chỉ này không nhận kiểu yêu cầu đó.", "This address does not take that method."),
}


def create_app(services: Services, feeds: Sequence[APIRouter] = ()) -> FastAPI:
    """The whole surface of `docs/protocol.md`; `feeds` are routers of sources, who see to who comes and how much.

    FastAPI's own pages are off: they load scripts from elsewhere.
    """
    app = FastAPI(
        title="IOC monitor",
        version=services.version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
    )
    app.state.desk = Desk(services, Sessions(services.accounts, services.session_key))
    app.include_router(entrance.router)
    app.include_router(rest.router)
    app.include_router(rules.router)
    app.include_router(explain.router)
    app.include_router(quarantine.router)
    for feed in feeds:
        app.include_router(feed)
    app.add_api_websocket_route("/ws/v1", socket.endpoint)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return json_response({"status": "ok", "version": services.version})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if services.ready():
            return json_response({"status": "ready"})
        return json_response({"status": "starting"}, 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(services.metrics), media_type=CONTENT_TYPE_LATEST)

    app.router.routes.extend(Pages(services.static, services.version).routes())
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    paths = (route.path for feed in feeds for route in feed.routes if isinstance(route, APIRoute))
    app.add_middleware(Guard, unbounded=frozenset((rules.PATH, *paths)))
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return json_response(error.body, error.status_code, error.headers)
    assert isinstance(error, HTTPException)
    word = _HTTP_WORDS.get(error.status_code, ("refused", "Yêu cầu bị từ chối.", "The request was refused."))
    return fault(error.status_code, *word, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Names the field, never its value: it may be a password."""
    assert isinstance(error, RequestValidationError)
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    return fault(422, "invalid", f"Yêu cầu không hợp lệ: {where}.", f"Not a valid request: {where}.")
