"""The sockets of ``heartbeat ping`` and ``heartbeat watch``: UDP, TCP and TLS by asyncio."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from typing import cast

from heartbeat.console.ping import PingAnswer, PingTarget, Signer, Tally, read_answer, request
from sip.endpoint import is_numeric
from sip.io.tls import unverified_context
from sip.wire.framing import Framer


class PingProbe:
    """Pings one target. A ping is never retransmitted, so that a lost one is noticed."""

    def __init__(self, target: PingTarget, timeout: float, sign: Signer | None = None) -> None:
        self.tally = Tally(target)
        self._sign = sign
        self._timeout = timeout
        self._call_id = secrets.token_hex(16)
        self._cseq = 0
        self._line: _Line | None = None

    async def ping(self) -> None:
        """Send one OPTIONS and wait for its answer or the timeout; the result is added to the tally."""
        try:
            answer, trip = await self._once()
        except TimeoutError:
            self.tally.miss(f"no answer within {self._timeout:g} s")
        except OSError as error:
            self.close()
            self.tally.miss(_why(error))
        else:
            self.tally.hit(answer, trip)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _once(self) -> tuple[PingAnswer, float]:
        async with asyncio.timeout(self._timeout):
            if self._line is None or self._line.lost:
                self._line = await _open(self.tally.target)
            line = self._line
            self._cseq += 1
            branch = f"z9hG4bK{secrets.token_hex(8)}"
            data = request(self.tally.target, line.local, self._call_id, branch, self._cseq, self._sign)
            started = time.perf_counter()
            line.send(data)
            while True:
                message, arrived = await line.received.get()
                if isinstance(message, OSError):
                    raise message
                answer = read_answer(message, branch)
                if answer is not None:
                    return answer, arrived - started

    async def go_on(self, interval: float, count: int | None, told: Callable[[Tally], None]) -> None:
        """Send ``count`` pings (None: without end), one every ``interval`` seconds; ``told`` is called after each."""
        sent = 0
        while count is None or sent < count:
            begun = time.monotonic()
            await self.ping()
            sent += 1
            told(self.tally)
            if sent != count:
                await asyncio.sleep(max(0.0, interval - (time.monotonic() - begun)))


class _Line(asyncio.DatagramProtocol, asyncio.Protocol):
    """A socket to one target, with a queue of messages, or the error that ended it, and the time they came."""

    def __init__(self, datagrams: bool) -> None:
        self.received: asyncio.Queue[tuple[bytes | OSError, float]] = asyncio.Queue(100)
        self.local = ("", 0)
        self.lost = False
        self._datagrams = datagrams
        self._framer = Framer()
        self._transport: asyncio.BaseTransport | None = None

    def send(self, data: bytes) -> None:
        # Python 3.11's UDP transport is no instance of DatagramTransport, so its class cannot be asked.
        if self._datagrams:
            cast(asyncio.DatagramTransport, self._transport).sendto(data)
        else:
            cast(asyncio.Transport, self._transport).write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.local = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    def data_received(self, data: bytes) -> None:
        for message in self._framer.feed(data):
            self._put(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._put(exc if isinstance(exc, OSError) else ConnectionResetError(104, "the connection was closed"))

    def _put(self, item: bytes | OSError) -> None:
        if not self.received.full():
            self.received.put_nowait((item, time.perf_counter()))


async def _open(target: PingTarget) -> _Line:
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM if target.transport == "udp" else socket.SOCK_STREAM
    found = await loop.getaddrinfo(target.host, target.port, type=kind)
    remote = str(found[0][4][0]), int(found[0][4][1])
    if target.transport == "udp":
        return (await loop.create_datagram_endpoint(lambda: _Line(True), remote_addr=remote))[1]
    if target.transport == "tls":
        name = "" if is_numeric(target.host) else target.host
        opening = loop.create_connection(
            lambda: _Line(False), *remote, ssl=unverified_context(), server_hostname=name
        )
        return (await opening)[1]
    return (await loop.create_connection(lambda: _Line(False), *remote))[1]


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name is unknown"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return (error.strerror or str(error) or type(error).__name__).lower()
