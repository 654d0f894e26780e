"""The HTTP side of the console: a process's pages and verbs on a UNIX socket, or on TCP behind a token.

``GET /v1/PAGE?param=..`` and ``POST /v1/VERB`` with a JSON object of strings answer JSON; what is refused answers
``{"error": sentence}``. ``GET /health`` answers 200 or 503 and needs no token, since it tells a stranger no more than
an OPTIONS does. A page is made inside the loop in one go, so pages are bounded in length.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from heartbeat.console.api_socket import short_path
from heartbeat.console.view import Process, Refused
from heartbeat.site.values import Api

logger = logging.getLogger(__name__)

MOST_ROWS: Final = 2000
"""Rows that one page may ask for."""
MOST_BYTES: Final = 64 * 1024
"""Longest body of a command."""
MOST_CONNECTIONS: Final = 64
LONGEST_CONNECTION: Final = 30.0
"""Seconds after which a connection is closed, whatever it does; commands need one request a connection."""

Metrics = Callable[[Mapping[str, Any]], str]


class ApiError(Exception):
    """The API cannot be offered; its text is the sentence that says why and what to do."""


class Served:
    """An API that is being offered, until :meth:`close`."""

    def __init__(self, runner: web.ServerRunner, server: asyncio.Server, path: Path | None) -> None:
        self._runner = runner
        self._server = server
        self._path = path
        self._inode = path.stat().st_ino if path else 0

    @property
    def port(self) -> int:
        """The TCP port that is listened at; 0 for a UNIX socket."""
        return 0 if self._path else int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        await _turns(5)  # a connection that was just accepted is made in the next turns of the loop
        await self._runner.cleanup()
        await _turns(5)  # and a closed one lets go of its socket
        if self._path is not None and self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink()


async def serve(
    process: Process,
    pages: frozenset[str],
    verbs: frozenset[str],
    api: Api,
    token: bytes | None,
    clock: Callable[[], float],
    metrics: Metrics,
) -> Served:
    """Offer ``process`` at ``api``. ``clock`` is the one that its core is told; ``metrics`` turns its status to text.

    Raises :class:`ApiError` when the address is taken, cannot be bound, or is TCP without a token.
    """
    if not api.path and not token:
        raise ApiError(f"The API at {api} needs an api_token in the site file: TCP is open to anyone who reaches it.")
    answering = _Answering(process, pages, verbs, None if api.path else token, clock, metrics)
    web_server = web.Server(answering.answer, access_log=None)
    runner = web.ServerRunner(web_server)
    await runner.setup()
    loop = asyncio.get_running_loop()

    def connection() -> asyncio.Protocol:
        handler = web_server()
        # One too many is closed as soon as it is made: here it has no transport to close yet.
        full = len(web_server.connections) >= MOST_CONNECTIONS
        loop.call_later(0.01 if full else LONGEST_CONNECTION, handler.force_close)
        return handler

    try:
        if api.path:
            path = Path(api.path)
            unix = await loop.create_unix_server(connection, sock=_unix_socket(path))
            return Served(runner, unix, path)
        return Served(runner, await loop.create_server(connection, api.host, api.port), None)
    except OSError as error:
        await runner.cleanup()
        raise ApiError(f"The API cannot listen at {api}: {error.strerror or error}.") from error
    except ApiError:
        await runner.cleanup()
        raise


async def _turns(count: int) -> None:
    """Let the loop do what is scheduled already."""
    for _ in range(count):
        await asyncio.sleep(0)


class _Answering:
    def __init__(
        self,
        process: Process,
        pages: frozenset[str],
        verbs: frozenset[str],
        token: bytes | None,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._process = process
        self._pages = pages
        self._verbs = verbs
        self._token = token
        self._clock = clock
        self._metrics = metrics

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refused as refusal:
            return _json({"error": refusal.sentence}, refusal.status)
        except Exception:
            logger.exception("The API failed to answer %s %s.", request.method, request.path)
            return _json({"error": "The process failed to answer; its log says why."}, 500)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/health" and request.method in ("GET", "HEAD"):
            health = self._process.view("health", {}, self._clock())
            return _json(health, 200 if health["healthy"] else 503)
        if self._token is not None and not _knows(request.headers.get("Authorization", ""), self._token):
            raise Refused("This API wants its bearer token.", 401)
        if request.path == "/metrics" and request.method == "GET":
            return web.Response(text=self._metrics(self._process.view("status", {}, self._clock())))
        name = request.path.removeprefix("/v1/")
        if request.method == "GET" and name in self._pages and name != request.path:
            return self._timed(self._process.view, name, _params(dict(request.query)))
        if request.method == "POST" and name in self._verbs and name != request.path:
            return self._timed(self._process.command, name, _params(await _body(request)))
        known = ", ".join(sorted(self._pages)) + "; to be posted: " + ", ".join(sorted(self._verbs))
        raise Refused(f"There is no {request.method} {request.path} here. Under /v1/ there are {known}.", 404)

    def _timed(
        self, ask: Callable[[str, Mapping[str, str], float], Mapping[str, Any]], name: str, params: Mapping[str, str]
    ) -> web.Response:
        now = self._clock()
        return _json(on_wall(ask(name, params, now), time.time() - now))


def on_wall(value: Any, offset: float) -> Any:
    """The same JSON with all instants (``at``, ``.._at``) moved by ``offset`` seconds, to the millisecond."""
    if isinstance(value, Mapping):
        return {
            key: round(item + offset, 3)
            if isinstance(item, int | float) and (key == "at" or key.endswith("_at"))
            else on_wall(item, offset)
            if isinstance(item, Mapping | list | tuple)
            else item
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [on_wall(item, offset) for item in value]
    return value


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store", "Connection": "close"})


def _knows(authorization: str, token: bytes) -> bool:
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token) and scheme.lower() == "bearer"


async def _body(request: web.BaseRequest) -> dict[str, str]:
    # BaseRequest.read has no limit of its own and waits as long as the connection lives.
    text = b""
    async for chunk in request.content.iter_any():
        text += chunk
        if len(text) > MOST_BYTES:
            raise Refused(f"A command has at most {MOST_BYTES} bytes.", 413)
    try:
        value = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Refused('The body of a command is a JSON object of strings, like {"to": "m2"}.', 400)
    return value


def _params(params: dict[str, str]) -> dict[str, str]:
    limit = params.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_ROWS):
        raise Refused(f"limit is a number from 1 to {MOST_ROWS}, not {limit[:40]!r}.", 400)
    return params


def _unix_socket(path: Path) -> socket.socket:
    """A bound socket that only its owner may use; one left by a dead process is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # On Linux the mode of an unbound socket becomes that of its file, so it is never open to others.
        os.fchmod(listener.fileno(), 0o600)
        with short_path(path) as short:
            listener.bind(short)
    except OSError:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ApiError(
                f"The API cannot listen at {path}: a file that is no socket is in its place; move it away."
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as short:
        probe.settimeout(1.0)
        try:
            probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):
                raise
    raise ApiError(f"Another process already listens at {path}; stop it first, or give this one another api address.")
