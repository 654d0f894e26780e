"""The agent's side of a media process, the relay or the WebRTC gateway: it is started, connected to, and
restarted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, cast

from gateway_agent.media import held
from gateway_agent.media.ports import Notice, Ready, RelaySettings
from sip.io.unix_path import short_path

logger = logging.getLogger(__name__)

START_S = 10.0
STOP_S = 2.0
CONNECT_S = 0.02
"""Seconds between two attempts to connect to a process that is starting."""
AGAIN_S = 0.05
"""Seconds before a process that ended is started again; doubled up to `AGAIN_MAX_S` while it keeps ending."""
AGAIN_MAX_S = 10.0


class RelayError(Exception):
    """The process cannot be started; the text says why."""


class Ports(Protocol):
    """The core's side: `gateway_agent.media.ports.RelayPorts` or `gateway_agent.webrtc.legs.WebrtcLegs`."""

    @property
    def in_use(self) -> int: ...

    def receive(self, line: bytes) -> Notice | None: ...

    def to_send(self) -> list[str]: ...

    def lost(self) -> None: ...

    def in_stock(self, address: str) -> int: ...

    def complaint(self, address: str) -> str: ...


class RelayProcess:
    """Connects to the media process of the agent, or starts one, and keeps it running for ``ports``, which handles
    its lines; ``notice`` is called with the resulting notices for the core. `flush` must be called after each input
    of the core; it sends the commands of `Ports.to_send`. ``module`` is run; ``name`` is its name in messages.
    """

    def __init__(
        self,
        settings: RelaySettings | None,
        ports: Ports,
        notice: Callable[[Notice], None],
        path: Path,
        start: int,
        grace_s: float,
        module: str = "gateway_agent.media.relay",
        name: str = "the relay",
        within_s: float = START_S,
    ) -> None:
        """``settings``: None when no media is relayed; the process then only keeps sockets. ``path``: UNIX socket of
        the process. ``start``: incarnation of the agent; the process obeys the highest one. ``grace_s``: seconds for
        which sessions go on without an agent. ``within_s``: seconds in which the process must start."""
        self._settings = settings
        self._ports = ports
        self._notice = notice
        self._path = path
        self._start = start
        self._grace_s = grace_s
        self._module = module
        self._name = name
        self._within_s = within_s
        self._lines: _Lines | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._held: dict[str, socket.socket] = {}
        self._held_for = 0.0
        self._handing: asyncio.Task[None] | None = None
        self.pid: int | None = None
        """Process id of the media process; None before it is ready."""

    async def start(self) -> None:
        """Connect or start; returns when every address has its stock of bound pairs. Raises `RelayError`."""
        try:
            async with asyncio.timeout(self._within_s):
                await self._connect()
                await self._stocked()
        except TimeoutError:
            await self.close()
            raise RelayError(f"{self._name}'s process said nothing useful for {self._within_s:g} s") from None
        except RelayError:
            await self.close()
            raise
        self._keeper = asyncio.create_task(self._keep())

    def flush(self) -> None:
        """Send the core's commands."""
        if lines := self._ports.to_send():
            assert self._lines is not None  # there are none before the relay was ready
            self._lines.write("\n".join(lines) + "\n")

    async def sockets(self) -> dict[str, socket.socket]:
        """The listening sockets of the agent's previous start, by name, as far as they were kept."""
        try:
            return await asyncio.to_thread(held.fetch, self._path, self._start)
        except OSError as error:
            logger.warning("the sockets of the start before this one are not to be had: %s", error)
            return {}

    def hold(self, sockets: dict[str, socket.socket], for_s: float) -> asyncio.Task[None]:
        """Have the process keep the sockets, for so many seconds without an agent, from the end of the task on."""
        self._held, self._held_for = sockets, for_s
        self._handing = asyncio.get_running_loop().create_task(self._hand())
        return self._handing

    async def _hand(self) -> None:
        try:
            await asyncio.to_thread(held.hand, self._path, self._start, self._held_for, self._held)
        except OSError as error:
            logger.warning("devices will be refused while the agent is away, its sockets are not kept: %s", error)

    async def close(self, for_good: bool = False) -> None:
        """Disconnect from the process, which keeps sessions and sockets for the next start of the agent. Without
        either it ends by itself; with ``for_good`` and without sessions it ends at once."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._handing is not None:
            await self._handing
        if self._lines is not None:
            if for_good and not self._ports.in_use:
                self._lines.write('{"do":"end"}\n')
                await asyncio.wait([self._lines.ended], timeout=STOP_S)
            self._lines.close()
        self._ports.lost()

    async def _connect(self) -> None:
        """Connect to the running process, or start one. Raises `RelayError`."""
        lines = _Lines(self._line, self._name)
        launched = False
        while True:
            try:
                with short_path(self._path) as short:
                    await asyncio.get_running_loop().create_unix_connection(lambda: lines, short)
                break
            except OSError:
                if not launched:
                    launched = True
                    await self._launch()
                await asyncio.sleep(CONNECT_S)
        self._lines = lines
        settings = asdict(self._settings) if self._settings is not None else None
        hello = {"do": "hello", "start": self._start, "grace_s": self._grace_s, "settings": settings}
        lines.write(json.dumps(hello, separators=(",", ":")) + "\n")

    async def _launch(self) -> None:
        """Start the process, which makes its own session so as not to end with the agent. Raises `RelayError`."""
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module, str(self._path), "detach"),
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        if await process.wait():  # it has forked; the child goes on
            raise RelayError(f"{self._name}'s process ended while it started; standard error says why")

    async def _stocked(self) -> None:
        """Wait until the stock of every address is full, or cannot be filled further. Raises `RelayError` for an
        empty one."""
        assert self._lines is not None
        while self.pid is None:
            await self._lines.progress()
            self._lines.check()
        if self._settings is None:
            return
        for address in self._settings.addresses:
            while self._ports.in_stock(address) < self._settings.ahead and not self._ports.complaint(address):
                self._lines.check()
                await self._lines.progress()
            if not self._ports.in_stock(address):
                raise RelayError(self._ports.complaint(address))

    def _line(self, line: bytes) -> None:
        notice = self._ports.receive(line)
        if isinstance(notice, Ready):
            self.pid = json.loads(line).get("pid")
        self.flush()
        if notice is not None:
            self._notice(notice)

    async def _keep(self) -> None:
        """Restart the process whenever it ends; `Ports` sends it what is in use."""
        wait = AGAIN_S
        loop = asyncio.get_running_loop()
        while True:
            assert self._lines is not None
            started_at = loop.time()
            await self._lines.ended
            self._ports.lost()
            wait = AGAIN_S if loop.time() - started_at > AGAIN_MAX_S else min(2 * wait, AGAIN_MAX_S)
            logger.warning("%s's process ended, media stops; it is started again in %.1f s", self._name, wait)
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(self._within_s):
                    await self._connect()
                    if self._held:
                        await self._hand()
            except (OSError, RelayError, TimeoutError) as error:
                logger.error("%s's process cannot be started: %s", self._name, error)


class _Lines(asyncio.Protocol):
    """Lines over a stream socket, as an asyncio protocol."""

    def __init__(self, line: Callable[[bytes], None], name: str) -> None:
        self._line = line
        self._name = name
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self._progress = loop.create_future()
        self.ended = loop.create_future()

    def check(self) -> None:
        """Raises `RelayError` if the connection has ended."""
        if self.ended.done():
            raise RelayError(f"{self._name}'s process ended while it started; standard error says why")

    async def progress(self) -> None:
        await asyncio.shield(self._progress)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not registered as such

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._progressed()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)
        self._progressed()

    def write(self, text: str) -> None:
        if self._transport is not None:
            self._transport.write(text.encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _progressed(self) -> None:
        progress, self._progress = self._progress, asyncio.get_running_loop().create_future()
        if not progress.done():
            progress.set_result(None)
