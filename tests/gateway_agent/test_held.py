"""The sockets that a relay keeps while its agent is away, with a relay as a real process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from gateway_agent.media import held
from gateway_agent.media.held import HeldSockets, received
from gateway_agent.media.ports import RelayPorts
from gateway_agent.media.process import RelayProcess

HOST = "127.0.57.1"
UDP, TCP = "udp:127.0.57.1:5060", "tcp:127.0.57.1:5060"


def run(story: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(story, 20.0)

    asyncio.run(limited())


def bound() -> dict[str, socket.socket]:
    """Where an agent listens; of any ports."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for sock in (udp, tcp):
        sock.bind((HOST, 0))
        sock.setblocking(False)
    tcp.listen()
    return {UDP: udp, TCP: tcp}


def closed(sockets: dict[str, socket.socket]) -> None:
    for sock in sockets.values():
        sock.close()


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def refused(at: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as phone:
        return phone.connect_ex(at) != 0


def test_what_devices_send_meanwhile_waits_for_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        path, sockets = tmp_path / "relay.sock", bound()
        at, stream_at = sockets[UDP].getsockname(), sockets[TCP].getsockname()
        first = RelayProcess(None, RelayPorts(), lambda notice: None, path, 1, 30.0)
        await first.start()
        pid = first.pid
        assert pid is not None and await first.sockets() == {}
        await first.hold(sockets, 30.0)
        await first.close()
        closed(sockets)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.connect(at)
            phone.send(b"INVITE")
            phone.send(b"INVITE once more")  # which fails when the first one brought an ICMP error back
            with socket.create_connection(stream_at) as stream:
                stream.send(b"OPTIONS")
                second = RelayProcess(None, RelayPorts(), lambda notice: None, path, 2, 30.0)
                await second.start()
                assert second.pid == pid
                found = await second.sockets()
                assert set(found) == {UDP, TCP}
                assert found[UDP].recvfrom(100) == (b"INVITE", phone.getsockname())
                assert found[UDP].recv(100) == b"INVITE once more"
                accepted, source = found[TCP].accept()
                assert source == stream.getsockname() and accepted.recv(100) == b"OPTIONS"
                accepted.close()
        await second.close(for_good=True)
        closed(found)
        await until(lambda: not lives(pid))
        assert refused(stream_at)

    run(story())


def test_an_agent_that_stays_away_is_not_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        sockets = bound()
        at = sockets[TCP].getsockname()
        relay = RelayProcess(None, RelayPorts(), lambda notice: None, tmp_path / "relay.sock", 1, 0.0)
        await relay.start()
        await relay.hold(sockets, 0.5)
        pid = relay.pid
        assert pid is not None
        await relay.close()
        closed(sockets)
        await until(lambda: refused(at))
        await until(lambda: not lives(pid))

    run(story())


def test_a_relay_that_was_started_again_keeps_them_too(tmp_path: Path) -> None:
    async def story() -> None:
        path, sockets = tmp_path / "relay.sock", bound()
        relay = RelayProcess(None, RelayPorts(), lambda notice: None, path, 1, 30.0)
        await relay.start()
        await relay.hold(sockets, 30.0)
        first = relay.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: relay.pid != first)
        found: dict[str, socket.socket] = {}
        while not found:  # it is spoken to before it is brought the sockets
            found = await relay.sockets()
        assert {name: sock.getsockname() for name, sock in found.items()} == {
            name: sock.getsockname() for name, sock in sockets.items()
        }
        closed(found)
        closed(sockets)
        await relay.close(for_good=True)
        second = relay.pid
        assert second is not None
        await until(lambda: not lives(second))

    run(story())


def test_a_former_start_gets_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        path, sockets = tmp_path / "relay.sock", bound()
        relay = RelayProcess(None, RelayPorts(), lambda notice: None, path, 7, 30.0)
        await relay.start()
        await relay.hold(sockets, 30.0)
        with pytest.raises(OSError, match="does not know of sockets"):
            await asyncio.to_thread(held.fetch, path, 6)
        for said in (b"{}\n", b'{"do":"hold","start":8,"names":["udp"],"for_s":1}\n', b'{"do":"fly","start":9}\n'):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(5.0)
                await asyncio.to_thread(stranger.connect, str(path))
                stranger.send(said)
                assert await asyncio.to_thread(stranger.recv, 100) == b""
        found = await relay.sockets()
        assert set(found) == {UDP, TCP}
        closed(found)
        closed(sockets)
        await relay.close(for_good=True)

    run(story())


def test_what_is_no_socket_is_closed() -> None:
    read, write = os.pipe()
    assert received([read, write]) == []
    for fd in (read, write):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.close(fd)


def test_those_brought_last_count() -> None:
    keeper, sockets, later = HeldSockets(), bound(), bound()
    keeper.put(list(sockets), list(sockets.values()), 5.0)
    keeper.put(list(later), list(later.values()), 5.0)
    assert [sock.fileno() for sock in sockets.values()] == [-1, -1]
    keeper.alone(4.9)
    assert len(keeper) == 2
    keeper.alone(5.0)
    assert not keeper
    with contextlib.closing(keeper):
        keeper.put([], [], 0.0)
