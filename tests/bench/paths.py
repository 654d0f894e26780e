"""Bad paths: what goes from one address to another passes here, and some of it is lost on its way."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any, Final

Address = tuple[str, int]

AGAIN: Final = 0.2
"""Seconds after which TCP sends a lost segment again: the least retransmission timeout of Linux."""


class BadPaths:
    """Forwards streams and datagrams in a thread of its own. ``loss`` is the share that is lost each way: a datagram
    for good; of a stream a piece, and all behind it, comes `AGAIN` later.
    """

    def __init__(self, loss: float, seed: int) -> None:
        self.loss = loss
        self.lost = 0
        self.passed = 0
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def streams(self, at: Address, to: Address) -> None:
        """Connections to ``at`` go to ``to``."""

        async def listen() -> None:
            await self._loop.create_server(lambda: _Near(self, to), *at)

        self._wait(listen())

    def datagrams(self, first: Address, second: Address, for_first: Address, for_second: Address) -> None:
        """What two talk to each other: each sends to the address that stands for the other one."""

        async def listen() -> None:
            near, far = _Datagrams(self, first), _Datagrams(self, second)
            near.other, far.other = far, near
            await self._loop.create_datagram_endpoint(lambda: near, local_addr=for_first)
            await self._loop.create_datagram_endpoint(lambda: far, local_addr=for_second)

        self._wait(listen())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def is_lost(self) -> bool:
        """Whether the next piece is."""
        self.passed += 1
        lost = self._chance.random() < self.loss
        self.lost += lost
        return lost

    def _wait(self, listening: Any) -> None:
        asyncio.run_coroutine_threadsafe(listening, self._loop).result(10.0)


class _Datagrams(asyncio.DatagramProtocol):
    """Stands for ``whom``: what comes here is for it, and leaves by the address that stands for the other one."""

    def __init__(self, paths: BadPaths, whom: Address) -> None:
        self.other: _Datagrams
        self.transport: asyncio.DatagramTransport
        self._paths = paths
        self._whom = whom

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, sender: Any) -> None:
        if not self._paths.is_lost():
            self.other.transport.sendto(data, self._whom)


class _End(asyncio.Protocol):
    """One end of a connection that passes here."""

    def __init__(self, paths: BadPaths) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._paths = paths
        self._free_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        late = AGAIN if self._paths.is_lost() else 0.0
        self._free_at = max(loop.time(), self._free_at) + late
        loop.call_at(self._free_at, self._pass, data)

    def _pass(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Near(_End):
    """The end of whoever connected."""

    def __init__(self, paths: BadPaths, to: Address) -> None:
        super().__init__(paths)
        self._to = to
        self._early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        far = _End(self._paths)
        far.other = self
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self._to)
        except OSError:
            if self.transport is not None:
                self.transport.close()
            return
        self.other = far
        for data in self._early:
            self._pass(data)

    def _pass(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            super()._pass(data)
