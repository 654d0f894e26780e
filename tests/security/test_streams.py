"""Streams of strangers: half-read messages, readers that do not read, and connections that take all the room."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sip import stream_reassembly
from sip.actions import Close, Flow, Send
from sip.io.acceptor import Limits
from sip.io.transport import Transport
from sip.wire.message import Request
from tests.sip.two_stacks import End

HEAD = b"MESSAGE sip:x SIP/2.0\r\nContent-Length: %d\r\n\r\n"


def stream(index: int, host: str = "127.0.0.66") -> Flow:
    return Flow("tcp", f"127.0.0.1:5060#{index}", (host, 30000 + index))


def closed(end: End) -> list[Flow]:
    return [action.flow for action in end.stack.to_do() if isinstance(action, Close)]


def test_a_stranger_may_not_announce_a_large_body_and_a_server_may() -> None:
    end = End("b", 5002)
    end.stack.receive(HEAD % (stream_reassembly.MOST_BODY + 1), stream(1), 0.0)
    assert closed(end) == [stream(1)]
    end.stack.site_flows.add(stream(2))
    end.stack.receive(HEAD % (stream_reassembly.MOST_BODY + 1), stream(2), 0.0)
    assert not closed(end)


def test_those_that_keep_us_waiting_longest_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reassembly, "MOST_HALF_READ", 1000)
    end = End("b", 5002)
    end.stack.site_flows.add(stream(0, "127.0.0.5"))
    end.stack.receive(HEAD % 500 + b"x" * 100, stream(0, "127.0.0.5"), 0.0)
    for index in range(1, 20):
        end.stack.receive(HEAD % 500 + b"x" * 100, stream(index), float(index))
    gone = closed(end)
    assert gone and gone == [stream(index) for index in range(1, len(gone) + 1)]
    end.stack.receive(b"x" * 400, stream(19), 20.0)
    for index in range(20):
        end.stack.flow_lost(stream(index, "127.0.0.66" if index else "127.0.0.5"))
    assert end.stack.receiver.streams.size == 0 and not end.stack.receiver.streams.framers


def test_who_sends_a_message_byte_by_byte_is_closed() -> None:
    end = End("b", 5002)
    end.stack.site_flows.add(stream(0, "127.0.0.5"))
    for index in (0, 1):
        end.stack.receive(HEAD % 500, stream(index, "127.0.0.5" if not index else "127.0.0.66"), 100.0)
    for step in range(29):
        end.stack.receive(b"x", stream(1), 101.0 + step)
    end.stack.receive(HEAD % 9, stream(2), 120.0)
    assert not closed(end)
    turn(end, 131.0)
    assert closed(end) == [stream(1)]
    assert end.stack.counters["half-read"] == 1
    turn(end, 149.0)
    assert not closed(end)
    turn(end, 151.0)
    assert closed(end) == [stream(2)]
    end.stack.flow_lost(stream(0, "127.0.0.5"))
    turn(end, 500.0)
    assert end.stack.get_timer() is None


def test_a_busy_stream_whose_last_message_is_never_whole_is_not() -> None:
    end = End("b", 5002)
    whole = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n"
    end.stack.receive(whole[:20], stream(1), 100.0)
    for second in range(101, 200):
        end.stack.receive(whole[20:] + whole[:20], stream(1), float(second))
        turn(end, float(second))
    assert not closed(end)


def turn(end: End, until: float) -> None:
    while (at := end.stack.get_timer()) is not None and at <= until:
        end.stack.handle_timer(at)


def test_a_message_on_which_we_fail_does_not_take_those_behind_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    end = End("b", 5002)
    told: list[str] = []

    def requested(transaction: object, request: Request, now: float) -> None:
        told.append(request.call_id)
        if request.call_id == "1":
            raise RuntimeError("a bug of ours")

    monkeypatch.setattr(end, "requested", requested)
    data = b"".join(
        b"INFO sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK%d\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\n"
        b"Call-ID: %d\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n" % (index, index)
        for index in range(3)
    )
    with pytest.raises(RuntimeError):
        end.stack.receive(data, stream(1), 0.0)
    assert told == ["0", "1", "2"]


class Deaf:
    """A core that is told and says nothing."""

    def __init__(self) -> None:
        self.flows: dict[Flow, str] = {}

    def receive(self, data: bytes, flow: Flow, now: float) -> None: ...

    def flow_changed(self, flow: Flow, state: str, now: float, names: tuple[str, ...] = ()) -> None:
        self.flows[flow] = state

    def flush(self) -> None: ...


def run(limits: Limits, act: object) -> None:
    async def main() -> None:
        core = Deaf()
        transport = Transport(["tcp:127.0.0.1:0"], core, asyncio.get_running_loop(), limits)
        transport.open()
        try:
            await act(transport, core)  # type: ignore[operator]
        finally:
            transport.close()

    asyncio.run(main())


async def until(true: object) -> None:
    for _ in range(500):
        if true():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


def test_who_does_not_read_pays_and_not_who_is_spoken_to() -> None:
    async def act(transport: Transport, core: Deaf) -> None:
        where = transport.address("tcp:127.0.0.1:0")
        with socket.create_connection(where), socket.create_connection(where) as good:
            await until(lambda: len(core.flows) == 2)
            deaf, ours = core.flows
            for _ in range(30):
                transport.send(Send(deaf, b"x" * 1_000_000))
            transport.flush()
            good.setblocking(False)
            transport.send(Send(ours, b"hello" * 200_000))
            transport.flush()
            await until(lambda: core.flows[deaf] == "lost")
            assert core.flows[ours] == "open"

    run(Limits(waiting_in_all=30_000_000), act)


def test_connections_of_strangers_leave_room_for_ours() -> None:
    async def act(transport: Transport, core: Deaf) -> None:
        from sip.actions import Open

        where = transport.address("tcp:127.0.0.1:0")
        strangers = [socket.create_connection(where) for _ in range(6)]
        await until(lambda: len(core.flows) == 4)
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = Flow("tcp", "ours", server.getsockname()[:2])
            transport.connect(Open(ours))
            await until(lambda: core.flows.get(ours) == "open")
        assert transport.counters.connections_refused == 2
        for each in strangers:
            each.close()

    run(Limits(connections=4), act)


def test_a_close_that_wants_to_be_told_is_told() -> None:
    async def act(transport: Transport, core: Deaf) -> None:
        with socket.create_connection(transport.address("tcp:127.0.0.1:0")) as stranger:
            await until(lambda: core.flows)
            flow = next(iter(core.flows))
            transport.disconnect(Close(flow, True))
            assert stranger.recv(1) == b""
        await until(lambda: core.flows[flow] == "lost")

    run(Limits(), act)


def test_the_streams_of_one_listener_leave_those_of_another_their_part() -> None:
    async def main() -> None:
        core = Deaf()
        specs = ["tcp:127.0.0.1:0", "tcp:127.0.0.2:0"]
        transport = Transport(specs, core, asyncio.get_running_loop(), Limits(connections=6))
        transport.open()
        try:
            devices, agents = map(transport.address, specs)
            strangers = [socket.create_connection(devices) for _ in range(8)]
            await until(lambda: transport.counters.connections_refused == 5)
            with socket.create_connection(agents):
                await until(lambda: len(core.flows) == 4)
            for each in strangers:
                each.close()
        finally:
            transport.close()

    asyncio.run(main())
