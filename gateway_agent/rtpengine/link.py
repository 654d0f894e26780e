"""The sockets towards the rtpengine daemons of one agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gateway_agent.media.ports import Notice
from gateway_agent.rtpengine.sessions import EngineSessions

logger = logging.getLogger("gateway_agent")

TICK: Final = 0.1
"""Seconds between two looks at what has become due."""


class EngineLink:
    """One connected UDP socket a daemon, so that nobody else is heard. `flush` must be called after each input of the
    core."""

    def __init__(
        self,
        sessions: EngineSessions,
        daemons: Sequence[tuple[str, int]],
        notice: Callable[[Notice], None],
        clock: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._daemons = daemons
        self._notice = notice
        self._clock = clock
        self._transports: list[asyncio.DatagramTransport] = []
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Open the sockets, and ask the daemons. Those that do not answer are asked on. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        for number, address in enumerate(self._daemons):
            transport, _ = await loop.create_datagram_endpoint(
                partial(_Daemon, number, self._received, self._refused), remote_addr=address
            )
            self._transports.append(transport)
        self._tick()

    def flush(self) -> None:
        """Send what the core wants."""
        if self._transports:
            for number, data in self._sessions.to_send(self._clock()):
                self._transports[number].sendto(data)

    def close(self) -> None:
        """Close, after what is to be sent yet. Sessions stay for the agent's next start."""
        if self._timer is not None:
            self._timer.cancel()
            self.flush()
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def _received(self, number: int, data: bytes) -> None:
        self._sessions.receive(number, data, self._clock())
        self._after()

    def _refused(self, number: int) -> None:
        self._sessions.refused(number, self._clock())
        self._after()

    def _tick(self) -> None:
        self._sessions.handle_timer(self._clock())
        self._after()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _after(self) -> None:
        for notice in self._sessions.notices():
            self._notice(notice)
        self.flush()


class _Daemon(asyncio.DatagramProtocol):
    def __init__(self, number: int, received: Callable[[int, bytes], None], refused: Callable[[int], None]) -> None:
        self._number = number
        self._received = received
        self._refused = refused

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._received(self._number, data)

    def error_received(self, exc: Exception) -> None:
        logger.debug("rtpengine %d: %s", self._number, exc)
        if isinstance(exc, ConnectionRefusedError):
            self._refused(self._number)
