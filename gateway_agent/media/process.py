"""The relay's process as the agent's shell sees it: started, spoken to, started again."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from gateway_agent.media.ports import Notice, RelayPorts, RelaySettings

logger = logging.getLogger(__name__)

START_S = 10.0
STOP_S = 2.0
AGAIN_S = 0.05
"""Wait before a relay that ended is started again; doubled up to `AGAIN_MAX_S` while it ends at once."""
AGAIN_MAX_S = 10.0


class RelayError(Exception):
    """The relay does not start; the text says why."""


class RelayProcess:
    """Keeps one relay running for ``ports``. What it says goes to ``ports``, and what of that the core should know to
    ``notice``. Call `flush` after the core was given an input: it sends what `RelayPorts.to_send` holds."""

    def __init__(self, settings: RelaySettings, ports: RelayPorts, notice: Callable[[Notice], None]) -> None:
        self._settings = settings
        self._ports = ports
        self._notice = notice
        self._process: asyncio.subprocess.Process | None = None
        self._lines: _Lines | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Returns when the pairs bound ahead are at hand on every address. Raises `RelayError`."""
        await self._launch()
        try:
            async with asyncio.timeout(START_S):
                await self._stocked()
        except TimeoutError:
            await self.close()
            raise RelayError(f"the relay's process said nothing useful for {START_S:g} s") from None
        except RelayError:
            await self.close()
            raise
        self._keeper = asyncio.create_task(self._keep())

    def flush(self) -> None:
        """Send the core's commands."""
        if lines := self._ports.to_send():
            assert self._lines is not None  # there are none before the relay was ready
            self._lines.write("\n".join(lines) + "\n")

    async def close(self) -> None:
        """End the process; sessions end with it."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._lines is not None:
            self._lines.close()
        if self._process is not None:
            await self._reap(self._process)
        self._ports.lost()

    async def _launch(self) -> None:
        ours, its = socket.socketpair()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        try:
            with its:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "gateway_agent.media.relay", str(its.fileno()), self._settings.to_json()),
                    pass_fds=[its.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                )
            ours.setblocking(False)
            self._lines = lines = _Lines(self._line)
            await asyncio.get_running_loop().create_unix_connection(lambda: lines, sock=ours)
        except BaseException:
            ours.close()
            raise

    async def _stocked(self) -> None:
        """Until the stock of every address is full, or as full as it gets. Raises `RelayError` for an empty one."""
        assert self._lines is not None
        for address in self._settings.addresses:
            while self._ports.in_stock(address) < self._settings.ahead and not self._ports.complaint(address):
                if self._lines.ended.done():
                    raise RelayError("the relay's process ended while it started; standard error says why")
                await self._lines.progress()
            if not self._ports.in_stock(address):
                raise RelayError(self._ports.complaint(address))

    def _line(self, line: bytes) -> None:
        notice = self._ports.receive(line)
        self.flush()
        if notice is not None:
            self._notice(notice)

    async def _keep(self) -> None:
        """Start the relay again whenever it ends; what is in use is told to the new one by `RelayPorts`."""
        wait = AGAIN_S
        loop = asyncio.get_running_loop()
        while True:
            assert self._lines is not None
            assert self._process is not None
            started_at = loop.time()
            await self._lines.ended
            self._ports.lost()
            await self._reap(self._process)
            wait = AGAIN_S if loop.time() - started_at > AGAIN_MAX_S else min(2 * wait, AGAIN_MAX_S)
            logger.warning("the relay's process ended, media stops; it is started again in %.1f s", wait)
            await asyncio.sleep(wait)
            try:
                await self._launch()
            except OSError as error:
                logger.error("the relay's process cannot be started: %s", error)

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


class _Lines(asyncio.Protocol):
    """Lines over a stream socket."""

    def __init__(self, line: Callable[[bytes], None]) -> None:
        self._line = line
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self._progress = loop.create_future()
        self.ended = loop.create_future()

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
