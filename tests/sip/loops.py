"""Running a shell under test on each kind of loop, against plain sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from sip.actions import Flow
from sip.io.acceptor import Limits
from sip.io.codec import Codecs
from sip.io.transport import Transport

FACTORIES: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; it fails rather than hangs."""
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main, 20))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the loop has made something true; `run` bounds it."""
    while not condition():
        await asyncio.sleep(0.001)


class Recorder:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Flow]] = []
        self.changes: list[tuple[Flow, str]] = []
        self.names: dict[Flow, tuple[str, ...]] = {}
        self.flushes = 0
        self.waits: list[tuple[str, float]] = []
        self.on_receive: Callable[[bytes, Flow], None] = lambda data, flow: None

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self.received.append((data, flow))
        self.on_receive(data, flow)

    def flow_changed(self, flow: Flow, state: str, now: float, names: tuple[str, ...] = ()) -> None:
        if names:
            self.names[flow] = names
        self.changes.append((flow, state))

    def flush(self) -> None:
        self.flushes += 1

    def waited(self, source: str, wait: float, now: float) -> None:
        self.waits.append((source, wait))

    def bytes_of(self, flow: Flow) -> bytes:
        return b"".join(data for data, source in self.received if source == flow)


class Side:
    """A transport with its recorder."""

    def __init__(self, *listeners: str, limits: Limits | None = None, codecs: Codecs | None = None) -> None:
        self.seen = Recorder()
        self.transport = Transport(listeners, self.seen, asyncio.get_running_loop(), limits, codecs=codecs)
        self.transport.open()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()


def plain(kind: int = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> socket.socket:
    """A bound non-blocking socket of a peer."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock
