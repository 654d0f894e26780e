"""The client of the API: gets pages and posts commands, over a UNIX socket or TCP."""

from __future__ import annotations

import http.client
import json
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode

from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError, RefusedByProcess, Unreachable
from heartbeat.console.schema import of_json
from heartbeat.site.values import Api, Secret
from sip.io.unix_path import short_path

TIMEOUT: Final = 3.0
"""Seconds without an answer after which a process counts as unreachable (a stopped one accepts, but never
answers)."""
FETCHING: Final = 10.0
"""The same when a server passes the request on to an agent, whose answer may be long and its link slow. The server
itself gives up earlier on an agent that sends nothing."""
NODE: Final = "Holdfast-Node"
"""Header field of a request: the node that it is for; without it, the server that it is sent to."""
NO_ANSWER: Final = 504
"""HTTP status when the node that a request was passed on to does not answer (RFC 9110 section 15.6.5)."""
_MOST_BYTES: Final = 16 * 1024 * 1024
MOST_AT_ONCE: Final = 32
"""Concurrent requests; many of them may go through one server, whose API limits its connections."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Client:
    """A process of the site that requests are sent to. Each request has its own connection."""

    name: str
    """Name of the node in the site file."""
    api: Api
    token: Secret | None = None
    timeout: float = TIMEOUT
    is_agent: bool = False
    through: str = ""
    """The server that passes requests on to ``name``; empty: they are sent to ``name`` itself."""
    instead: tuple[Client, ...] = ()
    """Further ways to the same process, tried in order when those before fail; a command only if it cannot have been
    received before."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether its API is a UNIX socket of another machine: the directory of the socket does not exist here, which
        a process makes when it is started."""
        try:
            return bool(self.api.path) and not Path(self.api.path).parent.exists()
        except OSError:  # a missing permission is reported by the request
            return False

    def view(self, page: str, **params: str) -> Any:
        """The page, as JSON. Raises :class:`Unreachable` or :class:`RefusedByProcess`."""
        query = "?" + urlencode(params) if params else ""
        return self._ask("GET", f"/v1/{quote(page)}{query}", None)

    def see(self, kind: type[T], page: str, **params: str) -> tuple[Any, T]:
        """The page as JSON and as a view of ``kind``. Raises the same."""
        value = self.view(page, **params)
        return value, self.read(kind, value)

    def read(self, kind: type[T], value: Any) -> T:
        """JSON of this process as a view of ``kind``. Raises :class:`ConsoleError` if it does not fit."""
        try:
            return of_json(kind, value)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConsoleError(f"{self.name} is of another version: what it says has no {error}.") from None

    def command(self, verb: str, params: Mapping[str, str]) -> Progress:
        """Post a command; the process's answer. Raises the same."""
        return self.read(Progress, self._ask("POST", f"/v1/{quote(verb)}", json.dumps(dict(params)).encode()))

    def provision(self, change: bytes) -> Any:
        """Post a change of provisioned lines and routes; the process's answer as JSON. Raises the same."""
        return self._ask("POST", "/v1/provisioned", change)

    @property
    def _asked(self) -> str:
        return f"{self.through}, by which {self.name} is asked," if self.through else self.name

    def _ask(self, method: str, target: str, body: bytes | None) -> Any:
        ways = deque([self, *self.instead])
        while True:
            way = ways.popleft()
            try:
                return way._ask_once(method, target, body)
            except Unreachable as error:
                if not ways or (method != "GET" and error.heard):
                    raise

    def _ask_once(self, method: str, target: str, body: bytes | None) -> Any:
        connection, headers, heard = _Connection(self.api, self.timeout), self._headers(), False
        try:
            connection.connect()
            heard = True
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            data = response.read(_MOST_BYTES)
        except TimeoutError:
            said = f"{self._asked} does not answer at {self.api} (waited {self.timeout:g} s)."
            raise Unreachable(said, heard=heard) from None
        except (OSError, http.client.HTTPException) as error:
            died = bool(self.api.path) and not self.through and isinstance(error, ConnectionRefusedError)
            said = f"{self._asked} cannot be reached at {self.api}: {_reason(error)}."
            raise Unreachable(said, died, heard) from None
        finally:
            connection.close()
        try:
            value = json.loads(data)
        except ValueError:
            raise Unreachable(f"What answers at {self.api} is not {self.name}: it sent no JSON.") from None
        if response.status == NO_ANSWER and isinstance(value, dict) and "error" in value:
            raise Unreachable(f"{self.through or self.name}: {value['error']}")
        if response.status >= 400 and isinstance(value, dict) and "error" in value:
            if self.through and str(value["error"]).startswith(f"The site has no server {self.name!r}"):
                said = f"{self.through} is of an older version, which asks no agents: ask {self.name} on its machine."
                raise Unreachable(said, heard=False)
            raise RefusedByProcess(f"{self.name}: {value['error']}", response.status)
        return value

    def _headers(self) -> dict[str, str]:
        named = {"Content-Type": "application/json", **({NODE: self.name} if self.through else {})}
        if self.token is None or self.api.path:
            return named
        try:
            token = self.token.reveal().decode("latin-1")
        except LookupError as error:
            raise ConsoleError(str(error).strip("\"'")) from None
        return {**named, "Authorization": f"Bearer {token}"}


def near(clients: Iterable[Client]) -> list[Client]:
    """The clients whose APIs are on this machine; all, so that each reports why it fails, if there are none."""
    clients = list(clients)
    return [client for client in clients if not client.is_elsewhere] or clients


def ask_all(clients: Iterable[Client], page: str, **params: str) -> dict[str, Any]:
    """The page of each process by name, requested concurrently; for one that fails its :class:`ConsoleError`."""
    clients = list(clients)

    def ask(client: Client) -> Any:
        try:
            return client.view(page, **params)
        except ConsoleError as error:
            return error

    if len(clients) < 2:
        return {client.name: ask(client) for client in clients}
    with ThreadPoolExecutor(min(len(clients), MOST_AT_ONCE)) as pool:
        return dict(zip([client.name for client in clients], pool.map(ask, clients), strict=True))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket, so it is not running here: ask on its machine, or give it an API over TCP"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens, so it is not running here"
    if isinstance(error, PermissionError):
        return "permission denied; run this as the user that runs the process"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket, or over TCP."""

    def __init__(self, api: Api, timeout: float) -> None:
        super().__init__(api.host or "localhost", api.port or 80, timeout=timeout)
        self._api = api

    def connect(self) -> None:
        if not self._api.path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(cast(float, self.timeout))
        with short_path(Path(self._api.path)) as short:
            self.sock.connect(short)
