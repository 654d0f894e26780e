"""The pump: every verb of a core is driven, and nothing that a core does wrong stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sip.actions import Certified, Close, Flow, Flush, Open, Resolve, Send, Store
from sip.io.clock import boottime
from sip.io.pump import Pump
from sip.io.transport import Transport
from sip.io.udp import UdpListener
from sip.location import Place
from tests.sip.loops import FACTORIES, plain, run, until

pytestmark = pytest.mark.parametrize("factory", FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]
UDP = "udp:127.0.0.1:0"
TARGETS = [Place("udp", "127.0.0.1", 5060)]


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Echo:
    """A core that answers, fails on demand and keeps what it is told."""

    def __init__(self) -> None:
        self.actions: list[Any] = []
        self.events: deque[object] = deque()
        self.told: list[object] = []
        self.deadlines: list[float] = []
        self.woken: list[tuple[float, float]] = []  # (due at, now)
        self.rounds: list[int] = []

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        if data == b"fail":
            self.actions.append(Send(flow, b"half done"))
            raise KeyError("no such leg")
        self.actions.append(Send(flow, data))
        self.events.append(data)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        self.told.append((flow, state))

    def done(self, request: Any, result: Any, now: float) -> None:
        self.told.append((request, result))

    def handle_timer(self, now: float) -> None:
        due = sorted(at for at in self.deadlines if at <= now)
        assert due, "woken too early"
        self.deadlines = [at for at in self.deadlines if at > now]
        self.woken += [(at, now) for at in due]

    def get_timer(self) -> float | None:
        return min(self.deadlines, default=None)

    def to_do(self) -> list[Any]:
        actions, self.actions = self.actions, []
        if actions:
            self.rounds.append(len(actions))
        return actions

    def next_event(self) -> object | None:
        return self.events.popleft() if self.events else None

    def order(self, word: str, now: float) -> str:
        if word == "fail":
            raise ValueError("not a good order")
        self.events.append(word)
        return word.upper()


class Names:
    """A resolver that knows one name at once, and another later."""

    def look(self, uri: str, now: float) -> list[Place] | None:
        return TARGETS if uri == "sip:known" else None

    async def resolve(self, uri: str) -> list[Place]:
        await asyncio.sleep(0)
        return TARGETS if uri == "sip:asked" else []


class Running:
    """A pump that was started."""

    def __init__(self, **options: Any) -> None:
        self.core = Echo()
        self.events: list[Any] = []
        options.setdefault("on_event", self.events.append)
        self.pump = Pump(self.core, [UDP], asyncio.get_running_loop(), **options)
        self.pump.start()
        self.peer = plain()
        self.peer.connect(self.pump.transport.address(UDP))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.close()
        self.peer.close()

    async def answer(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.peer, 100)


def test_a_batch_is_answered_in_one_round(factory: Factory) -> None:
    async def main() -> None:
        with Running() as r:
            for number in range(200):
                r.peer.send(b"%d" % number)
            assert [await r.answer() for _ in range(200)] == [b"%d" % number for number in range(200)]
            assert r.events == [b"%d" % number for number in range(200)]
            assert max(r.core.rounds) > 1
            assert r.pump.figures()["inputs"] == 200
            assert r.pump.figures()["failures"] == 0

    run(factory, main())


def test_a_failing_input_costs_itself_only(factory: Factory, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with Running() as r:
            for _ in range(50):
                r.peer.send(b"fail")
            r.peer.send(b"good")
            assert [await r.answer() for _ in range(51)] == [b"half done"] * 50 + [b"good"]
            assert r.pump.failures == 50

    with caplog.at_level(logging.ERROR, "sip.io.pump"):
        run(factory, main())
    assert 20 <= len(caplog.records) < 25  # then one a second
    first = caplog.records[0].getMessage()
    assert first.startswith("receive failed (127.0.0.1:")
    assert "KeyError: 'no such leg' at " in first
    assert "test_pump.py:" in first
    assert "\n" not in first


def test_every_verb_may_fail(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("a bug")

    async def main() -> None:
        with Running(on_event=fail, others={str: fail}, names=Names()) as r:
            for verb in ("flow_changed", "done", "handle_timer", "get_timer", "to_do", "next_event"):
                with monkeypatch.context() as patch:
                    patch.setattr(r.core, verb, fail)
                    before = r.pump.failures
                    r.core.deadlines = [boottime()]
                    r.core.actions = [Resolve("sip:known"), Open(Flow("tcp", "x", ("nowhere", 1))), "other"]
                    r.pump.flush()
                    await until(lambda before=before: r.pump.failures > before)  # type: ignore[misc]
                r.core.deadlines = []
                r.core.actions = []
            r.peer.send(b"good")
            assert await r.answer() == b"good"

    run(factory, main())


def test_the_timer_is_the_earliest_and_never_early(factory: Factory) -> None:
    async def main() -> None:
        with Running() as r:
            now = boottime()
            deadlines = [now + 0.05, now + 0.1, now + 0.02, now - 5.0]
            for at in deadlines:
                r.core.deadlines.append(at)
                r.pump.flush()
            await until(lambda: len(r.core.woken) == 4)
            assert [at for at, _ in r.core.woken] == sorted(deadlines)
            assert all(woken >= at for at, woken in r.core.woken)
            assert r.pump.failures == 0

    run(factory, main())


def test_a_timer_that_fails_does_not_spin(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with Running() as r:
            calls: list[float] = []

            def fail(now: float) -> None:
                calls.append(now)
                raise RuntimeError("a bug")

            monkeypatch.setattr(r.core, "handle_timer", fail)
            r.core.deadlines = [boottime()]
            r.pump.flush()
            await until(lambda: len(calls) == 3)
            assert calls[2] - calls[0] >= 0.19

    run(factory, main())


def test_names_and_stores_come_back(factory: Factory) -> None:
    written: list[tuple[str, str, str]] = []

    def store(name: str, value: str) -> None:
        if name == "bad":
            raise OSError("disk full")
        written.append((name, value, threading.current_thread().name))

    async def main() -> None:
        with Running(names=Names(), store=store) as r:
            requests = [Resolve("sip:known"), Resolve("sip:asked"), Resolve("sip:none")]
            stores = [Store("epoch", str(number)) for number in range(20)]
            r.core.actions = [*requests, *stores, Store("bad", "x")]
            r.pump.flush()
            assert r.core.told == [(requests[0], TARGETS)]
            await until(lambda: len(r.core.told) == 24)
            assert (requests[1], TARGETS) in r.core.told
            assert (requests[2], []) in r.core.told
            assert [value for _, value, _ in written] == [str(number) for number in range(20)]
            assert all(thread.startswith("store") for _, _, thread in written)
            assert (Store("bad", "x"), "bad was not stored: disk full") in r.core.told

    run(factory, main())


def test_commands_ask_the_core(factory: Factory) -> None:
    async def main() -> None:
        seen: list[Any] = []

        def on_event(event: Any) -> None:
            seen.append(event)
            if event == "first":
                r.pump.ask(r.core.order, "second")  # from within an event

        with Running(on_event=on_event, others={str: seen.append}) as r:
            assert r.pump.ask(r.core.order, "first") == "FIRST"
            with pytest.raises(ValueError, match="not a good order"):
                r.pump.ask(r.core.order, "fail")
            r.core.actions = ["an action of another kind"]
            r.pump.flush()
            assert seen == ["first", "second", "an action of another kind"]
            assert r.pump.failures == 0

    run(factory, main())


def test_streams_are_opened_and_closed(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Running() as r, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            flow = Flow("tcp", "x", listener.getsockname())
            r.core.actions = [Open(flow), Send(flow, b"hello")]
            r.pump.flush()
            peer, _ = await loop.sock_accept(listener)
            with peer:
                assert await loop.sock_recv(peer, 100) == b"hello"
                assert r.core.told == [(flow, "open")]
                await loop.sock_sendall(peer, b"echo")
                assert await loop.sock_recv(peer, 100) == b"echo"
                r.core.actions = [Close(flow)]
                r.pump.flush()
                assert await loop.sock_recv(peer, 100) == b""

    run(factory, main())


def test_what_was_said_on_streams_may_have_to_leave_before_what_follows(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with Running() as r, socket.create_server(("127.0.0.1", 0)) as listener:
            told, written = Flow("tcp", "x", listener.getsockname()), []
            r.core.actions = [Open(told)]
            r.pump.flush()
            await until(lambda: bool(r.core.told))
            datagram = Flow("udp", UDP.partition(":")[2], r.peer.getsockname())
            write = Transport.flush
            monkeypatch.setattr(Transport, "flush", lambda transport: (write(transport), written.append("stream")))
            udp = UdpListener.send
            monkeypatch.setattr(UdpListener, "send", lambda *args: (udp(*args), written.append("datagram")))
            r.core.actions = [Send(told, b"first"), Flush(), Send(datagram, b"then")]
            r.pump.flush()
            assert written[:2] == ["stream", "datagram"]

    run(factory, main())


def test_stalls_are_measured(factory: Factory) -> None:
    async def main() -> None:
        with Running() as r:
            await asyncio.sleep(0)
            ended_at = boottime() + 0.15
            while boottime() < ended_at:
                pass
            await until(lambda: r.pump.take_longest_stall() > 0.1)
            assert r.pump.take_longest_stall() < 0.1

    run(factory, main())


def test_work_at_deadlines_is_a_stall_too(factory: Factory) -> None:
    async def main() -> None:
        with Running() as r:
            woken = r.core.handle_timer

            def slowly(now: float) -> None:
                woken(now)
                while boottime() < now + 0.15:
                    pass

            r.core.handle_timer = slowly  # type: ignore[method-assign]
            r.core.deadlines.append(boottime())
            await until(lambda: bool(r.core.woken))
            assert r.pump.take_longest_stall() > 0.1

    run(factory, main())


def test_a_core_hears_who_a_peer_is_before_its_stream_is_open(factory: Factory) -> None:
    async def main() -> None:
        core = Echo()
        pump = Pump(core, (), asyncio.get_running_loop())
        flow = Flow("tls", "x#1", ("127.0.0.1", 5061))
        pump.flow_changed(flow, "open", 0.0, ("a.example",))
        pump.flow_changed(flow, "lost", 0.0)
        assert core.told == [(Certified(flow), ("a.example",)), (flow, "open"), (flow, "lost")]

    run(factory, main())


def test_what_leaves_is_noted_but_for_what_is_urgent(factory: Factory) -> None:
    async def main() -> None:
        with Running() as running:
            noted: list[tuple[bytes, bool]] = []
            running.pump.note = lambda data, flow, now, sent: noted.append((data, sent))
            running.peer.send(b"first")
            assert await running.answer() == b"first"
            to = Flow("udp", "127.0.0.1:0", running.peer.getsockname()[:2])
            running.core.actions += [Send(to, b"beat", True), Send(to, b"message")]
            running.pump.flush()
            assert await running.answer() == b"beat" and await running.answer() == b"message"
            assert noted == [(b"first", True), (b"message", True)]

    run(factory, main())
