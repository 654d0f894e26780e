"""Sockets: what goes through, what is refused, and who is cut off."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
import time
from collections.abc import Callable

import pytest

from sip.actions import Close, Flow, Open, Send
from sip.endpoint import BadEndpoint, ListenerAddress
from sip.io.acceptor import Limits
from sip.io.clock import boottime
from sip.io.transport import TransportError
from tests.sip.loops import FACTORIES, Side, plain, run, until

pytestmark = pytest.mark.parametrize("factory", FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]
UDP = "udp:127.0.0.1:0"
TCP = "tcp:127.0.0.1:0"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_both_ways(factory: Factory, host: str) -> None:
    spec = f"udp:[{host}]:0" if ":" in host else f"udp:{host}:0"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Side(spec) as side, plain(host=host) as peer:
            await loop.sock_connect(peer, side.transport.address(spec))
            for number in range(100):
                peer.send(b"%d" % number)
            await until(lambda: len(side.seen.received) == 100)
            assert [data for data, _ in side.seen.received] == [b"%d" % number for number in range(100)]
            flow = side.seen.received[0][1]
            assert flow == Flow("udp", spec[4:], peer.getsockname()[:2])
            assert 25 <= side.seen.flushes < 100  # a few datagrams at once, and no more than four
            side.transport.send(Send(flow, b"answer"))
            assert await loop.sock_recv(peer, 100) == b"answer"

    run(factory, main())


def test_how_long_a_datagram_has_waited_is_told_by_the_kernel_s_clock(factory: Factory) -> None:
    async def main() -> None:
        with Side(UDP) as side, plain() as peer:
            sent_at = time.time()
            for _ in range(40):
                peer.sendto(b"hello", side.transport.address(UDP))
            while time.time() < sent_at + 0.2:  # the loop stands still
                pass
            await until(lambda: len(side.seen.received) == 40)
            source, wait = side.seen.waits[0]
            assert source == UDP[4:] and wait >= 0.19
            assert len(side.seen.waits) < 40  # a few are looked at

    run(factory, main())


def test_what_udp_cannot_send_is_counted(factory: Factory) -> None:
    async def main() -> None:
        with Side(UDP) as side, plain() as gone:
            local = UDP[4:]
            address = gone.getsockname()
            gone.close()
            for remote in (address, ("example.com", 5060), ("127.0.0.1", 70_000), ("::1", 9), ("127.0.0.1", 0)):
                side.transport.send(Send(Flow("udp", local, remote), b"x"))
            side.transport.send(Send(Flow("udp", local, ("127.0.0.1", 9)), b"x" * 70_000))
            side.transport.send(Send(Flow("udp", "other:1", address), b"x"))
            assert side.transport.counters.send_errors == 5
            assert side.transport.counters.unknown_flows == 1
            with plain() as peer:  # the listener lives on
                peer.sendto(b"hello", side.transport.address(UDP))
                await until(lambda: len(side.seen.received) == 1)

    run(factory, main())


def test_streams_connect_talk_and_close(factory: Factory) -> None:
    async def main() -> None:
        with Side(TCP) as server, Side() as client:
            flow = Flow("tcp", "to-m1@127.0.0.9", server.transport.address(TCP))
            client.transport.connect(Open(flow))
            client.transport.send(Send(flow, b"waits for the connect;"))
            client.transport.flush()
            await until(lambda: bool(server.seen.received))
            assert client.seen.changes == [(flow, "open")]
            theirs = server.seen.changes[0][0]
            assert theirs.remote[0] == "127.0.0.9"
            assert theirs.local == "127.0.0.1:0#1"
            server.transport.send(Send(theirs, b"answer"))
            server.transport.flush()
            await until(lambda: bool(client.seen.received))
            client.transport.send(Send(flow, b"last words"))
            client.transport.disconnect(Close(flow))
            await until(lambda: (theirs, "lost") in server.seen.changes)
            assert server.seen.bytes_of(theirs) == b"waits for the connect;last words"
            await until(lambda: client.transport.streams == 0)
            assert client.seen.changes == [(flow, "open")]  # it closed the flow itself
            server.transport.send(Send(theirs, b"too late"))
            assert server.transport.counters.unknown_flows == 1
            assert server.transport.counters.streams_lost == 1

    run(factory, main())


@pytest.mark.parametrize("remote", [("127.0.0.1", 0), ("example.com", 5060), ("127.0.0.1", 70_000)])
def test_a_connect_that_fails_is_reported(factory: Factory, remote: tuple[str, int]) -> None:
    async def main() -> None:
        with Side() as client, plain(socket.SOCK_STREAM) as deaf:  # bound, not listening
            flow = Flow("tcp", "x", remote if remote[1] else deaf.getsockname())
            client.transport.connect(Open(flow))
            assert client.seen.changes == []  # never from within the call
            await until(lambda: client.seen.changes == [(flow, "lost")])
            assert client.transport.streams == 0

    run(factory, main())


def test_urgent_messages_overtake(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Side() as client, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            flow = Flow("tcp", "x", listener.getsockname())
            client.transport.connect(Open(flow))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await until(lambda: bool(client.seen.changes))
                for _ in range(200):
                    client.transport.send(Send(flow, b"." * 100_000))
                client.transport.flush()
                client.transport.send(Send(flow, b"BEAT", urgent=True))
                client.transport.flush()
                waited = client.transport.waiting
                got = bytearray()
                while len(got) < 20_000_004:
                    got += await loop.sock_recv(peer, 1 << 20)
                at = got.index(b"BEAT")
                assert waited > 10_000_000
                # Ahead of all that the kernel and one piece did not hold yet.
                assert at <= 20_000_000 - waited + 4 + 400_000
                assert client.transport.waiting == 0

    run(factory, main())


def test_a_slow_reader_is_cut_off(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limits = Limits(waiting=8_000_000)
        with Side(limits=limits) as client, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            flow = Flow("tcp", "x", listener.getsockname())
            client.transport.connect(Open(flow))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await until(lambda: bool(client.seen.changes))
                for _ in range(1000):
                    client.transport.send(Send(flow, b"." * 100_000))
                    client.transport.flush()
                assert client.transport.waiting <= 8_000_000
                await until(lambda: (flow, "lost") in client.seen.changes)
                assert client.transport.waiting == 0

    run(factory, main())


def test_connections_are_limited(factory: Factory) -> None:
    async def main() -> None:
        limits = Limits(connections=3, connections_of_one=2)
        with Side(TCP, limits=limits) as server:
            at = server.transport.address(TCP)
            peers = [
                socket.create_connection(at, source_address=(host, 0))
                for host in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3")
            ]
            await until(lambda: server.transport.counters.connections_refused == 2)
            assert [flow.remote[0] for flow, _ in server.seen.changes] == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
            for peer in peers:
                peer.close()
            await until(lambda: server.transport.streams == 0)
            with socket.create_connection(at):  # there is room again
                await until(lambda: server.transport.streams == 1)

    run(factory, main())


def test_without_descriptors_none_is_taken_for_a_second_and_the_loop_does_not_spin(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with Side(TCP) as server, plain(socket.SOCK_STREAM) as early, plain(socket.SOCK_STREAM) as late:
            counters = server.transport.counters
            await loop.sock_connect(early, server.transport.address(TCP))
            await until(lambda: len(server.seen.changes) == 1)
            os.close(free := os.dup(0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                await loop.sock_connect(late, server.transport.address(TCP))
                await until(lambda: counters.connections_refused == 1)
                await loop.sock_sendall(early, b"who is there goes on")
                await until(lambda: len(server.seen.received) == 1)
                assert counters.connections_refused == 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await loop.sock_sendall(late, b"who waits is heard")
            await until(lambda: len(server.seen.received) == 2)

    run(factory, main())


def test_silent_strangers_and_dead_ends_are_closed(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sip.io.transport.TICK", 0.02)

    async def main() -> None:
        limits = Limits(first_byte_s=0.05, idle_s=0.15, stalled_s=0.05, linger_s=0.05)
        with Side(TCP, limits=limits) as server:
            at = server.transport.address(TCP)
            with socket.create_connection(at) as silent, socket.create_connection(at) as talker:
                talker.send(b"hello")
                await until(lambda: server.transport.streams == 1)  # the silent one
                await until(lambda: server.transport.streams == 0)  # then the idle one
                assert (silent.recv(1), talker.recv(1)) == (b"", b"")
            with socket.create_connection(at) as stuck:
                stuck.send(b"hello")
                await until(lambda: server.transport.streams == 1)
                flow = server.seen.changes[-1][0]
                server.transport.send(Send(flow, b"." * 20_000_000))
                server.transport.flush()
                while server.transport.streams:  # it goes on talking, and takes nothing
                    try:
                        stuck.send(b"hello")
                    except OSError:
                        pass
                    await asyncio.sleep(0.01)
            with socket.create_connection(at) as lingering:
                await until(lambda: server.transport.streams == 1)
                flow = server.seen.changes[-1][0]
                server.transport.send(Send(flow, b"HTTP is not spoken here"))
                server.transport.disconnect(Close(flow))
                assert lingering.recv(100) == b"HTTP is not spoken here"
                await until(lambda: server.transport.streams == 0)

    run(factory, main())


def test_a_reset_is_a_loss(factory: Factory) -> None:
    async def main() -> None:
        with Side(TCP) as server:
            peer = socket.create_connection(server.transport.address(TCP))
            await until(lambda: server.transport.streams == 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            await until(lambda: [state for _, state in server.seen.changes] == ["open", "lost"])
            assert server.transport.counters.streams_lost == 1

    run(factory, main())


def test_an_address_in_use_is_one_sentence(factory: Factory) -> None:
    async def main() -> None:
        with plain() as taken:
            port = taken.getsockname()[1]
            with pytest.raises(TransportError, match=f"cannot listen on udp:127.0.0.1:{port}: .* free the port"):
                Side(TCP, f"udp:127.0.0.1:{port}")

    run(factory, main())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("127.0.0.1:5060", "write udp:host:port"),
        ("sctp:127.0.0.1:5061", "write udp:host:port"),
        ("udp:example.com:5060", "needs a numeric host"),
        ("udp:127.0.0.1", "needs a numeric host"),
        ("udp:127.0.0.1:x", "needs a port"),
        ("tcp:127.0.0.1:65536", "needs a port"),
        ("tcp:[::1]:", "needs a port"),
    ],
)
def test_listeners_are_read_with_a_sentence(factory: Factory, text: str, sentence: str) -> None:
    with pytest.raises(BadEndpoint, match=sentence):
        ListenerAddress.parse(text)


def test_listeners_are_read(factory: Factory) -> None:
    assert ListenerAddress.parse("tcp:[::1]:5060") == ListenerAddress("tcp", "::1", 5060, "[::1]:5060")
    assert ListenerAddress.parse("udp:127.0.0.1:5060") == ListenerAddress("udp", "127.0.0.1", 5060, "127.0.0.1:5060")


def test_what_the_kernel_dropped_is_told(factory: Factory) -> None:
    async def main() -> None:
        with Side(UDP) as side, plain() as peer:
            at = side.transport.address(UDP)
            for _ in range(1000):
                peer.sendto(b"." * 60_000, at)  # more than the receive buffer, and nobody reads
            overflows = side.transport.figures()["udp_overflows"]
            await until(lambda: len(side.seen.received) + overflows >= 1000)
            assert 0 < overflows < 1000
            assert len(side.seen.received) + overflows == 1000

    run(factory, main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_icmp_says_who_cannot_be_reached_and_disturbs_nobody(factory: Factory, host: str) -> None:
    spec = f"udp:[{host}]:0" if ":" in host else f"udp:{host}:0"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Side(spec) as side, plain(host=host) as peer, plain(host=host) as gone:
            local, seen = spec[4:], side.seen
            await loop.sock_connect(peer, side.transport.address(spec))
            well = Flow("udp", local, peer.getsockname()[:2])
            dead = Flow("udp", local, gone.getsockname()[:2])
            gone.close()
            for turn in range(5):
                peer.send(b"before")
                await until(lambda turn=turn: len(seen.received) == 3 * turn + 1)
                side.transport.send(Send(dead, b"nobody"))
                side.transport.send(Send(well, b"to a peer, with the error pending"))
                peer.send(b"during")
                assert await loop.sock_recv(peer, 100) == b"to a peer, with the error pending"
                await until(lambda turn=turn: len(seen.changes) == turn + 1)
                peer.send(b"after")
                await until(lambda turn=turn: len(seen.received) == 3 * turn + 3)
            assert seen.changes == [(dead, "unreachable")] * 5
            assert side.transport.counters.send_errors == 0

    run(factory, main())


def test_a_flood_of_icmp_is_told_of_now_and_then(factory: Factory) -> None:
    async def main() -> None:
        with Side(UDP) as side, plain() as gone:
            dead = Flow("udp", UDP[4:], gone.getsockname())
            gone.close()
            began = boottime()
            for _ in range(1000):
                side.transport.send(Send(dead, b"nobody"))
                await asyncio.sleep(0)
            await until(lambda: len(side.seen.changes) >= 100)
            so_far, most = len(side.seen.changes), 100 + 100 * (boottime() - began)
            assert so_far <= most + 1, "a hundred at once, then a hundred a second"

    run(factory, main())
