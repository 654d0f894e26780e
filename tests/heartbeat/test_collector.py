"""What a process sends to a HOMER collector, over a real socket."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from heartbeat.console.collector import collecting
from heartbeat.site.model import Site, Trace
from heartbeat.site.values import Endpoint
from sip.actions import Flow
from sip.io.clock import boottime
from sip.message_ring import Note
from tests.heartbeat.test_site_load import site
from tests.sip.test_hep import chunks
from tests.sip.two_stacks import End

FLOW = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))


class Pump:
    """What messages pass on their way out."""

    note: Note | None = None


def with_collector(port: int, memory: int = 0, lines: tuple[str, ...] = ()) -> Site:
    return replace(site(), trace=Trace(memory, Endpoint("udp", "127.0.0.1", port), lines))


def test_messages_go_to_the_collector_also_where_none_is_remembered() -> None:
    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
            ear.bind(("127.0.0.1", 0))
            ear.setblocking(False)
            loop, end, pump = asyncio.get_running_loop(), End("a", 5061), Pump()
            wanted = with_collector(ear.getsockname()[1])
            tracing = collecting(loop, "m1", end.stack, pump, lambda flow: "", wanted)
            assert pump.note is not None and tracing.collected() == {"sent": 0, "dropped": 0}
            end.stack.call_ids.join("c0ffee", "s1", "gw1", "left/1")
            pump.note(b"A\r\nCall-ID: s1\r\n\r\n", FLOW, boottime() - 10.0, True)
            datagram = await asyncio.wait_for(loop.sock_recv(ear, 65_535), 60)
            assert chunks(datagram)[17] == b"c0ffee" and chunks(datagram)[19] == b"m1"
            assert tracing.collected() == {"sent": 1, "dropped": 0}
            tracing.apply(site())
            assert tracing.collected() == {} and end.stack.call_ids.joined is None and tracing.ring.told is None

    asyncio.run(run())


def _no_descriptor(*_: object) -> socket.socket:
    raise OSError(errno.EMFILE, "Too many open files")


def test_what_cannot_be_sent_is_counted_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        loop, end, pump = asyncio.get_running_loop(), End("a", 5061), Pump()
        tracing = collecting(loop, "m1", end.stack, pump, lambda flow: "", with_collector(9))
        assert pump.note is not None
        monkeypatch.setattr("heartbeat.console.collector.socket.socket", _Full)
        for _ in range(3):
            pump.note(b"A\r\nCall-ID: s1\r\n\r\n", FLOW, boottime() - 10.0, True)
        while tracing.collected()["dropped"] < 3:
            await asyncio.sleep(0.01)
        assert tracing.collected() == {"sent": 0, "dropped": 3}
        monkeypatch.setattr("heartbeat.console.collector.socket.socket", _no_descriptor)
        pump.note(b"A\r\nCall-ID: s1\r\n\r\n", FLOW, boottime() - 10.0, True)
        while tracing.collected()["dropped"] < 4:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))


class _Full(socket.socket):
    """A socket without room."""

    def sendto(self, *_: object) -> int:  # type: ignore[override]
        raise BlockingIOError
