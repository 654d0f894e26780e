"""The live page of a process: static files, and its data as server-sent events.

An event is made once a second for all connected pages. Like every connection, that of a page ends after half a
minute, upon which the browser reconnects; a page that does not read is disconnected.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from heartbeat.console.access import COOKIE, SESSION_S, AccessControl, ApiUser
from heartbeat.console.contract import Refused
from heartbeat.console.json_body import parse_json

MOST_LISTENERS: Final = 16
"""Pages connected at a time."""
EVERY: Final = 1.0
"""Seconds between two events."""
READ_WITHIN: Final = 5.0
"""Seconds in which a page must read an event."""
EVENTS: Final = 25
"""Events of one connection, which so ends before the API closes it; browsers reconnect at once."""
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Connection": "close",
}
UNBUFFERED: Final = {"X-Accel-Buffering": "no"}
"""Switches off the buffering of nginx."""
OPEN: Final = frozenset({"/", "/health", "/page/", "/page/page.css", "/page/page.js", "/page/login"})
"""Paths without authentication: they reveal nothing of the site."""


class Broadcast:
    """The event stream of all pages; ``make`` returns the data of an event as JSON."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._text = b""
        self._made_at = -EVERY
        self._listeners = 0
        self.ending = asyncio.Event()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if self._listeners >= MOST_LISTENERS:
            raise Refused(f"{MOST_LISTENERS} pages are open already: close one.", 503)
        response = web.StreamResponse(
            headers={
                **HEADERS,
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                **UNBUFFERED,
            }
        )
        self._listeners += 1
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            for _ in range(EVENTS):
                if self.ending.is_set():
                    break
                await asyncio.wait_for(response.write(self._latest()), READ_WITHIN)
                try:
                    await asyncio.wait_for(self.ending.wait(), EVERY)
                except TimeoutError:
                    continue
        except (ConnectionError, TimeoutError):
            pass  # the page was closed, or does not read
        finally:
            self._listeners -= 1
        return response

    def _latest(self) -> bytes:
        now = asyncio.get_running_loop().time()
        if now - self._made_at >= EVERY * 0.9:
            self._made_at = now
            self._text = b"data: " + json.dumps(self._make(), separators=(",", ":")).encode() + b"\n\n"
        return self._text


def read_files(directory: Path) -> Mapping[str, tuple[bytes, str]]:
    """The page's files by name, each with its content type."""
    return {
        path.name: (path.read_bytes(), TYPES[path.suffix]) for path in directory.iterdir() if path.suffix in TYPES
    }


def add_page(
    app: web.Application, files: Mapping[str, tuple[bytes, str]], gate: AccessControl, make: Callable[[], Any]
) -> None:
    """Add the page under ``/page/`` to ``app``."""
    broadcast = Broadcast(make)

    async def begin(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={**HEADERS, "Location": "page/"})

    async def file(request: web.Request) -> web.StreamResponse:
        body, kind = files[request.path.removeprefix("/page/") or "index.html"]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)

    async def session(request: web.Request) -> web.StreamResponse:
        return _told(gate.admit(request))

    async def login(request: web.Request) -> web.StreamResponse:
        try:
            token = str(parse_json(await request.read())["token"])
        except (ValueError, LookupError, TypeError):
            raise Refused('A login is {"token": "..."}.', 400) from None
        name, who = gate.login(request, token)
        response = _told(who)
        secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        response.set_cookie(
            COOKIE, name, max_age=int(SESSION_S), httponly=True, samesite="Strict", secure=secure, path="/"
        )
        return response

    async def logout(request: web.Request) -> web.StreamResponse:
        gate.logout(request)
        response = web.json_response({}, headers=HEADERS)
        response.del_cookie(COOKIE, path="/")
        return response

    async def end(app: web.Application) -> None:
        broadcast.ending.set()

    app.router.add_get("/", begin)
    for name in files:
        app.router.add_get("/page/" + ("" if name == "index.html" else name), file)
    app.router.add_get("/page/session", session)
    app.router.add_post("/page/login", login)
    app.router.add_post("/page/logout", logout)
    app.router.add_get("/page/events", broadcast.stream, allow_head=False)
    app.on_shutdown.append(end)


def _told(who: ApiUser) -> web.Response:
    value = {"user": who.user, "role": who.role, "csrf": who.csrf, "ends": who.ends}
    return web.json_response(value, headers={**HEADERS, "Cache-Control": "no-store"})
