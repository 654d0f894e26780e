"""The relay as a real process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from gateway_agent.media.ports import Notice, Ready, RelayPorts, RelaySettings, Remote
from gateway_agent.media.process import RelayError, RelayProcess

HOST = "127.0.56.1"
SETTINGS = RelaySettings((HOST,), low=24000, high=25999, ahead=4)
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(loop: Callable[[], asyncio.AbstractEventLoop], story: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(story, 20.0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


def end(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock


async def crosses(sender: socket.socket, to: tuple[str, int], receiver: socket.socket) -> None:
    """Until a packet gets through; the relay obeys a moment after it was told."""
    got = asyncio.create_task(asyncio.get_running_loop().sock_recv(receiver, 2000))
    while not got.done():
        sender.sendto(b"media", to)
        await asyncio.wait([got], timeout=0.01)
    while True:  # what was sent meanwhile
        try:
            receiver.recv(2000)
        except BlockingIOError:
            return


@pytest.mark.parametrize("loop", LOOPS)
def test_sessions_outlive_the_process_and_end_with_close(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def story() -> None:
        ports = RelayPorts()
        notices: asyncio.Queue[Notice] = asyncio.Queue()
        relay = RelayProcess(SETTINGS, ports, notices.put_nowait, tmp_path / "relay.sock", 1, 30.0)
        await relay.start()
        assert await notices.get() == Ready(0)
        pid = relay.pid
        assert pid is not None
        a, b = ports.take(HOST), ports.take(HOST)
        assert a is not None and b is not None
        with end("127.0.56.2") as phone, end("127.0.56.3") as other:
            for pair, sock in ((a, phone), (b, other)):
                address, port = sock.getsockname()
                ports.set_remote(pair, Remote(address, port, port + 1))
            ports.connect(a, b)
            relay.flush()
            await crosses(phone, a, other)
            os.kill(pid, signal.SIGTERM)
            await crosses(other, b, phone)
            assert relay.pid == pid
            os.kill(pid, signal.SIGKILL)
            assert await notices.get() == Ready(1)
            assert relay.pid != pid
            await crosses(other, b, phone)
        await relay.close()
        assert ports.take(HOST) is None
        relay.flush()

    run(loop, story())


@pytest.mark.parametrize("loop", LOOPS)
def test_an_address_that_cannot_be_bound_stops_the_start(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def story() -> None:
        settings = RelaySettings(("192.0.2.77",), low=24000, high=25999)
        relay = RelayProcess(settings, RelayPorts(), lambda notice: None, tmp_path / "relay.sock", 1, 30.0)
        with pytest.raises(RelayError, match=r"cannot bind 192\.0\.2\.77"):
            await relay.start()

    run(loop, story())


@pytest.mark.parametrize("loop", LOOPS)
def test_sessions_outlive_the_agent(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    """The next start of it adopts those of its calls; the others are closed by an audit."""

    async def story() -> None:
        path = tmp_path / "relay.sock"
        ports = RelayPorts()
        first = RelayProcess(SETTINGS, ports, lambda notice: None, path, 1, 30.0)
        await first.start()
        pid = first.pid
        pairs = [pair for _ in range(4) if (pair := ports.take(HOST)) is not None]
        a, b, c, d = pairs
        with end("127.0.56.2") as phone, end("127.0.56.3") as other:
            for pair, sock in ((a, phone), (b, other), (c, phone), (d, other)):
                address, port = sock.getsockname()
                ports.set_remote(pair, Remote(address, port, port + 1))
            ports.connect(a, b)
            ports.connect(c, d)
            first.flush()
            await crosses(phone, a, other)
            await first.close()  # with sessions in use: as its death
            await crosses(other, b, phone)

            again = RelayPorts()
            second = RelayProcess(SETTINGS, again, lambda notice: None, path, 2, 30.0)
            await second.start()
            assert second.pid == pid, "it found the one that was there"
            assert again.in_stock(HOST) and a not in [again.take(HOST) for _ in range(again.in_stock(HOST))]
            again.adopt(a)
            again.adopt(b)
            again.audit()
            second.flush()
            await crosses(phone, a, other)
            loop = asyncio.get_running_loop()
            until = loop.time() + 5.0
            while loop.time() < until and not _is_free(c):
                await asyncio.sleep(0.01)
            assert _is_free(c), "nobody asked for it"
            third = RelayProcess(SETTINGS, RelayPorts(), lambda notice: None, path, 1, 30.0)
            with pytest.raises(RelayError):
                await third.start()
            await crosses(other, b, phone)
        for pair in list(again._uses):
            again.release(pair)
        second.flush()
        await second.close(for_good=True)
        assert pid is not None
        until = loop.time() + 5.0
        while loop.time() < until and _lives(pid):
            await asyncio.sleep(0.01)
        assert not _lives(pid), "there is nothing left to relay"

    run(loop, story())


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _is_free(pair: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(pair)
        except OSError:
            return False
    return True


PARENT = """
import asyncio, os, sys
from pathlib import Path
from gateway_agent.media.ports import RelayPorts, RelaySettings
from gateway_agent.media.process import RelayProcess

async def main():
    settings = RelaySettings(("127.0.56.1",), low=26000, high=26999)
    relay = RelayProcess(settings, RelayPorts(), lambda notice: None, Path(sys.argv[1]), 1, 1.0)
    await relay.start()
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def test_the_relay_ends_when_no_agent_comes_back(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    # The relay inherits standard error: reading it to its end waits for the relay too.
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "relay.sock")],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as parent:
        assert parent.communicate(timeout=20.0)[1] == b""
        assert parent.returncode == -signal.SIGKILL


def test_one_that_has_a_unit_of_its_own_ends_when_that_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    command = [sys.executable, "-m", "gateway_agent.media.relay", str(path), "stay"]
    with subprocess.Popen(command) as unit:
        while not path.exists():
            assert unit.poll() is None
        os.kill(unit.pid, signal.SIGTERM)
        assert unit.wait(10) == -signal.SIGTERM
