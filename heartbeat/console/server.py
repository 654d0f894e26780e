"""The HTTP API of a process: its pages and verbs, on a UNIX socket, or on TCP with a token.

``GET /v1/PAGE?param=..`` and ``POST /v1/VERB`` with a JSON object of strings answer JSON; a refusal is
``{"error": sentence}``. A server passes requests with a header ``Holdfast-Node`` on to that node. ``GET /health``
answers 200 or 503 and needs no token, since it reveals no more than an OPTIONS does. A page is made in the loop
without interruption, so pages are limited in length.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from heartbeat.console.access import AccessControl
from heartbeat.console.answers import Answers, on_wall
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.client import NODE
from heartbeat.console.contract import ConsoleProcess, Refused
from heartbeat.console.json_body import parse_json
from heartbeat.console.metrics import CONTENT_TYPE
from heartbeat.console.other_nodes import OtherNodes
from heartbeat.console.passed_on import GET, POST, Question
from heartbeat.console.provision_api import MOST_CHANGE, add_provisioning
from heartbeat.console.reload_orders import PROVISION
from heartbeat.console.schema import as_json
from heartbeat.console.web_page import OPEN, add_page

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 64 * 1024
"""Bytes of the body of a command."""
MOST_CONNECTIONS: Final = 64
LONGEST_CONNECTION: Final = 30.0
"""Seconds after which a connection is closed; clients need one request on each."""

CALLS_SHOWN: Final = MappingProxyType({"limit": "30"})
"""Parameters of ``calls`` for the live page."""

Metrics = Callable[[Any], str]


class Served:
    """An API in operation, until :meth:`close`."""

    def __init__(self, runner: web.AppRunner, servers: list[asyncio.Server], at: ApiSocket) -> None:
        self._runner = runner
        self._servers = servers
        self._at = at

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        await _turns(5)  # asyncio makes an accepted connection in the next turns of the loop
        await self._runner.cleanup()
        await _turns(5)  # and closes the socket of a closed one
        self._at.close()


async def serve(
    process: ConsoleProcess,
    pages: frozenset[str],
    verbs: frozenset[str],
    at: ApiSocket,
    clock: Callable[[], float],
    metrics: Metrics,
    files: Mapping[str, tuple[bytes, str]] = MappingProxyType({}),
    others: OtherNodes | None = None,
) -> Served:
    """Serve the API of ``process`` at the socket. ``clock`` is that of its core; ``metrics`` makes the text for
    Prometheus from its status; ``files`` are those of its live page; ``others`` passes requests on."""
    runner = web.AppRunner(application(process, pages, verbs, at, clock, metrics, files, others), access_log=None)
    await runner.setup()
    loop = asyncio.get_running_loop()
    web_server = runner.server
    assert web_server is not None  # after setup

    def connection() -> asyncio.Protocol:
        handler = web_server()
        # One too many is closed a little later, since it has no transport yet.
        full = len(web_server.connections) >= MOST_CONNECTIONS
        loop.call_later(0.01 if full else LONGEST_CONNECTION, handler.force_close)
        return handler

    make = loop.create_unix_server if at.api.path else loop.create_server
    return Served(runner, [await make(connection, sock=at.sock)], at)


async def _turns(count: int) -> None:
    """Let the loop run so many iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


def application(
    process: ConsoleProcess,
    pages: frozenset[str],
    verbs: frozenset[str],
    at: ApiSocket,
    clock: Callable[[], float],
    metrics: Metrics,
    files: Mapping[str, tuple[bytes, str]] = MappingProxyType({}),
    others: OtherNodes | None = None,
) -> web.Application:
    """The routes of a process's API, with middleware that authenticates requests and turns refusals into JSON."""

    answers = Answers(process, clock, lambda: at.audit)

    async def health(request: web.Request) -> web.Response:
        found = process.view("health", {}, clock())
        return _json(as_json(found), 200 if found.healthy else 503)

    async def measured(request: web.Request) -> web.Response:
        text = metrics(process.view("status", {}, clock()))
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def page(request: web.Request) -> web.Response:
        name, params = _name(request), dict(request.query)
        if node := _elsewhere(request):
            return await passed_on(node, Question(GET, name, params, gate.admit(request).user))
        return _json(await answers.page(name, params))

    async def verb(request: web.Request) -> web.Response:
        params = await _body(request)
        who, name = gate.admit(request), _name(request)
        if node := _elsewhere(request):
            return await passed_on(node, Question(POST, name, params, who.user))
        return _json(answers.order(name, params, who.user, request.remote or ""))

    def _elsewhere(request: web.Request) -> str:
        """The node that the request is for; ``""`` for this one."""
        node = request.headers.get(NODE, "")
        if not node:
            return ""
        if others is None:
            raise Refused("This process passes nothing on.", 404)
        return "" if others.is_here(node) else node

    async def passed_on(node: str, question: Question) -> web.Response:
        assert others is not None
        status, body = await others.ask(node, question)
        return web.Response(body=body, status=status, content_type="application/json", headers=_HEADERS)

    def _name(request: web.Request) -> str:
        return request.path.removeprefix("/v1/")

    def snapshot() -> Any:
        now = clock()
        offset = time.time() - now
        shown = {"status": process.view("status", {}, now), "calls": process.view("calls", CALLS_SHOWN, now)}
        return {**on_wall(as_json(shown), offset), "trend": process.view("trend", {}, now)["trend"]}

    gate = AccessControl(lambda: at.access, bool(at.api.path), at.token_bans, at.audit, clock)
    orders = sorted(verbs - {PROVISION})
    known = f"Under /v1/ there are {', '.join(sorted(pages))}; to be posted: {', '.join(orders)}."
    app = web.Application(middlewares=[_answering(known), _guarding(gate)], client_max_size=MOST_CHANGE)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", measured, allow_head=False)
    if files:
        add_page(app, files, gate, snapshot)
    for name in pages:
        app.router.add_get(f"/v1/{name}", page, allow_head=False)
    for name in orders:
        app.router.add_post(f"/v1/{name}", verb)
    if PROVISION in verbs:
        add_provisioning(app, process, gate, at.audit, clock)
    return app


def _answering(known: str) -> Middleware:
    """Middleware that answers refusals and errors with a sentence; ``known`` lists the pages and verbs."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refusal:
            return _json(refusal.answer, refusal.status)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _json({"error": f"There is no {request.method} {request.path} here. {known}"}, 404)
        except web.HTTPRequestEntityTooLarge:
            return _json({"error": f"A command has at most {MOST_BYTES:,} bytes, a change {MOST_CHANGE:,}."}, 413)
        except Exception:
            logger.exception("The API failed to answer %s %s.", request.method, request.path)
            return _json({"error": "The process failed to answer; its log says why."}, 500)

    return answer


def _guarding(gate: AccessControl) -> Middleware:
    """Middleware that authenticates all requests by `AccessControl`, except those of the paths `OPEN`."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN:
            gate.admit(request)
        elif request.body_exists and not 0 <= (request.content_length or -1) <= MOST_BYTES:
            raise web.HTTPRequestEntityTooLarge(MOST_BYTES, request.content_length or 0)
        return await handler(request)

    return guard


_HEADERS: Final = MappingProxyType({"Cache-Control": "no-store", "Connection": "close"})


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers=_HEADERS)


async def _body(request: web.Request) -> dict[str, str]:
    if (request.content_length or 0) > MOST_BYTES or len(text := await request.read()) > MOST_BYTES:
        raise web.HTTPRequestEntityTooLarge(MOST_BYTES, request.content_length or MOST_BYTES)
    try:
        value = parse_json(text or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Refused('The body of a command is a JSON object of strings, like {"to": "m2"}.', 400)
    return value
