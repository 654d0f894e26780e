"""The supervisor with real children: what it tells, when, and to whom; what it never does."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbeat import deaths
from heartbeat.death import Death, commitment_of
from heartbeat.deaths import Ended
from heartbeat.supervisor import ENVIRONMENT, REVEALED_AT, rounds, shortest
from sip.wire.message import Request, parse
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0

CHILD = """
import asyncio, os, signal, sys
from heartbeat.supervised import Supervised
from sip.io.loop import loop_factory

async def main():
    loop = asyncio.get_running_loop()
    it = Supervised()
    ended = loop.create_future()
    def say(word):
        print(word, flush=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, say, signal.Signals(number).name)
    def orphaned():
        say("orphaned")
        if not ended.done():
            ended.set_result(0)
    it.watch(loop, orphaned)
    it.tell("paris", {watchdog}, node="m1", state={state!r}, local=["127.0.0.1", 0], to=[["127.0.0.1", {port}]])
    say(f"{{os.getpid()}} {{it.commitment}}")
    loop.add_reader(0, lambda: (ended.done() or ended.set_result(int(os.read(0, 9) or b"1"))))
    return await ended

sys.exit(asyncio.Runner(loop_factory=loop_factory()).run(main()))
"""


class Bench:
    """A supervisor, its child, and a socket where the other server would listen."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.other.bind(("127.0.0.1", 0))
        self.other.settimeout(PATIENCE)
        self.process: subprocess.Popen[str] | None = None

    def start(self, watchdog: float = 0.0, code: str = "", **more: Any) -> Bench:
        port = self.other.getsockname()[1]
        text = code or CHILD.format(watchdog=watchdog, state=str(self.directory), port=port)
        command = [sys.executable, "-m", "heartbeat.supervisor", sys.executable, "-c", text]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        if not code:
            pid, self.commitment = self.line().split()
            self.child = int(pid)
        return self

    def line(self) -> str:
        """The next line that the child says."""
        assert self.process is not None and self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, word: str) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(word)
        self.process.stdin.flush()

    def notice(self) -> Death:
        """The next one that comes."""
        message = parse(self.other.recv(2000))
        assert isinstance(message, Request) and message.method == "OPTIONS"
        return Death.parse(message.get("death") or "")

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        self.other.close()
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path)
    yield it
    it.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_is_killed_is_told_of_with_its_secret(bench: Bench, number: int) -> None:
    bench.start()
    os.kill(bench.child, number)
    death = bench.notice()
    assert (death.site, death.node, death.by) == ("paris", "m1", f"signal-{int(number)}")
    assert commitment_of(death.secret) == bench.commitment
    assert bench.ended() == 128 + number
    [left] = deaths.read(bench.directory)
    assert left.secret == death.secret and left.code == -number
    assert (bench.directory / deaths.FILE).stat().st_mode & 0o777 == 0o600
    bench.other.setblocking(False)
    more = [bench.notice() for _ in range(10)]
    assert more == [death] * 10, "and again, in case that one is lost"


@pytest.mark.parametrize("code, times", [(0, 5), (3, 15)])
def test_a_child_that_exits_is_told_of_and_its_status_is_ours(bench: Bench, code: int, times: int) -> None:
    bench.start().say(str(code))
    assert bench.ended() == code
    bench.other.setblocking(False)
    assert {bench.notice().by for _ in range(times)} == {f"status-{code}"}
    with pytest.raises(BlockingIOError):
        bench.notice()


def test_a_child_that_never_began_is_told_of_to_nobody(bench: Bench) -> None:
    bench.start(code="raise SystemExit(3)")
    assert bench.ended() == 3
    bench.other.setblocking(False)
    with pytest.raises(BlockingIOError):
        bench.other.recv(2000)
    assert deaths.read(bench.directory) == []


def test_to_end_is_forwarded_once_and_to_reload_each_time(bench: Bench) -> None:
    bench.start()
    assert bench.process is not None
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        bench.process.send_signal(number)
    heard = [bench.line() for _ in range(2)]
    bench.process.send_signal(signal.SIGHUP)
    assert sorted(heard) == ["SIGHUP", "SIGTERM"] and bench.line() == "SIGHUP"
    bench.say("0")
    assert bench.ended() == 0


def test_a_stopped_child_is_no_death(bench: Bench) -> None:
    bench.start()
    os.kill(bench.child, signal.SIGSTOP)
    bench.other.settimeout(0.5)
    with pytest.raises(TimeoutError):
        bench.notice()
    os.kill(bench.child, signal.SIGCONT)
    bench.say("0")
    assert bench.ended() == 0


def test_a_hang_becomes_a_crash_where_a_watchdog_is_wanted(bench: Bench) -> None:
    bench.start(watchdog=0.5)
    os.kill(bench.child, signal.SIGSTOP)
    assert bench.notice().by == "signal-9"
    assert bench.ended() == 137
    assert bench.process is not None and bench.process.stderr is not None
    assert "m1 gave no sign of life for 0.5 s: it is killed" in bench.process.stderr.read()


def test_a_child_that_gives_signs_of_life_is_left_alone(bench: Bench) -> None:
    bench.start(watchdog=2.0)
    bench.other.settimeout(3.0)
    with pytest.raises(TimeoutError):
        bench.notice()
    bench.say("0")
    assert bench.ended() == 0


def test_a_machine_that_slept_kills_nobody(bench: Bench) -> None:
    """Stopped, the supervisor's ticks stand still; what the child said meanwhile waits in the pipe."""
    bench.start(watchdog=2.0)
    assert bench.process is not None
    os.kill(bench.child, signal.SIGSTOP)
    bench.process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(bench.child, signal.SIGCONT)
    bench.process.send_signal(signal.SIGCONT)
    bench.other.settimeout(2.5)
    with pytest.raises(TimeoutError):
        bench.notice()
    bench.say("0")
    assert bench.ended() == 0


def test_a_child_learns_that_its_supervisor_is_gone(bench: Bench) -> None:
    bench.start()
    assert bench.process is not None
    bench.process.kill()
    assert bench.line() == "orphaned"
    bench.other.settimeout(0.3)
    with pytest.raises(TimeoutError):
        bench.notice()


def test_a_supervisor_whose_children_the_kernel_would_reap_still_sees_the_death(bench: Bench) -> None:
    bench.start(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    os.kill(bench.child, signal.SIGKILL)
    assert bench.notice().by == "signal-9"
    assert bench.ended() == 137


def test_a_child_whose_supervisor_is_gone_does_not_begin(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    told = {**os.environ, ENVIRONMENT: f"{theirs.fileno()} 1 {'0' * 32}"}
    done = subprocess.run(
        [sys.executable, "-c", "from heartbeat.supervised import *; Supervised()"],
        cwd=ROOT,
        env=told,
        pass_fds=[theirs.fileno()],
        capture_output=True,
        text=True,
        check=False,
    )
    ours.close(), theirs.close()
    assert "SupervisorGone: the supervisor of this server has ended; start the server anew" in done.stderr


PROTECTED = """
import ctypes
from heartbeat.supervised import Supervised
Supervised()
prctl, number = ctypes.CDLL(None).prctl, ctypes.c_int()
prctl(2, ctypes.byref(number))
print(number.value, prctl(3), flush=True)
"""


def test_a_child_hears_of_its_supervisor_s_death_by_the_kernel_and_dumps_no_core(bench: Bench) -> None:
    """PR_GET_PDEATHSIG and PR_GET_DUMPABLE (prctl(2)): a dump of some hundred MB would keep ``waitpid`` waiting."""
    bench.start(code=PROTECTED)
    assert bench.line() == f"{int(signal.SIGUSR1)} 0"
    assert bench.ended() == 0


OUTLIVED = CHILD.replace(
    '    say(f"{{os.getpid()}}',
    """    import subprocess
    say(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False).pid)
    say(f"{{os.getpid()}}""",
)


def test_a_death_is_told_though_a_program_that_the_child_had_started_lives_on(bench: Bench) -> None:
    """It inherits what may be inherited; the pipe to the supervisor may not."""
    code = OUTLIVED.format(watchdog=0.0, state=str(bench.directory), port=bench.other.getsockname()[1])
    bench.start(code=code)
    outlives = int(bench.line())
    try:
        os.kill(int(bench.line().split()[0]), signal.SIGKILL)
        assert bench.notice().by == "signal-9"
        assert bench.ended() == 137
    finally:
        os.kill(outlives, signal.SIGKILL)


def test_what_supervisors_leave_is_bounded_and_survives_nonsense(tmp_path: Path) -> None:
    for number in range(20):
        deaths.leave(tmp_path, Ended(f"{number:032x}", 1.5, -9))
    assert [one.secret for one in deaths.read(tmp_path)] == [f"{n:032x}" for n in range(12, 20)]
    assert deaths.read(tmp_path)[-1] == Ended(f"{19:032x}", 1.5, -9)
    for nonsense in (b"", b"a b\n", b"\xff\xfe", b"a b c d\n", b"a b c\n"):
        (tmp_path / deaths.FILE).write_bytes(nonsense)
        assert deaths.read(tmp_path) == []
    assert deaths.read(tmp_path / "none") == []


@pytest.mark.parametrize(
    "lives, wait",
    [
        ([], 0.0),
        ([1.0], 0.0),
        ([1.0, 1.0], 2.0),
        ([1.0, 1.0, 1.0], 4.0),
        ([1.0] * 8, 30.0),
        ([1.0, 1.0, 500.0], 0.0),
        ([500.0, 1.0, 1.0], 2.0),
    ],
)
def test_starts_back_off_after_deaths_that_came_soon(lives: list[float], wait: float) -> None:
    assert deaths.back_off([Ended("", lived, 1) for lived in lives]) == wait
    assert deaths.back_off([*(Ended("", lived, 1) for lived in lives), Ended("", 1.0, 0)]) == 0.0


TWO_SITES = CHILD.replace(
    '    say(f"{{os.getpid()}}',
    """    it.tell("lyon", 0.0, node="b1", state={lyon!r}, local=["127.0.0.1", 0], to=[["127.0.0.1", {port}]])
    say(f"{{os.getpid()}}""",
)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_death_is_told_by_a_stream_where_beats_go_by_streams(bench: Bench, tmp_path: Path, transport: str) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("m1", ["m1"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    server.load_verify_locations(authority.path)
    server.verify_mode = ssl.CERT_REQUIRED
    shown = [str(files.certificate), str(files.key)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        more = f"transport={transport!r}, shown={shown!r}, to=[["
        code = CHILD.replace("to=[[", more.replace("{", "{{").replace("}", "}}"))
        port = listener.getsockname()[1]
        bench.start(code=code.format(watchdog=0.0, state=str(bench.directory), port=port))
        pid, commitment = bench.line().split()
        os.kill(int(pid), signal.SIGKILL)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(PATIENCE)
            stream = server.wrap_socket(peer, server_side=True) if transport == "tls" else peer
            data = b""
            while piece := stream.recv(2000):
                data += piece
            message = parse(data)
            death = Death.parse(message.get("death") or "")
            assert commitment_of(death.secret) == commitment and death.by == "signal-9"
            assert message.get("via").startswith(f"SIP/2.0/{transport.upper()} ")
            if stream is not peer:
                stream.close()
        assert bench.ended() == 128 + signal.SIGKILL
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()  # it got there: once is enough


def test_one_death_is_told_in_every_site_of_the_child(bench: Bench, tmp_path: Path) -> None:
    lyon = tmp_path / "lyon"
    lyon.mkdir()
    port = bench.other.getsockname()[1]
    code = TWO_SITES.format(watchdog=0.0, state=str(bench.directory), lyon=str(lyon), port=port)
    bench.start(code=code)
    pid, commitment = bench.line().split()
    os.kill(int(pid), signal.SIGKILL)
    told = {(death.site, death.node): death.secret for death in (bench.notice(), bench.notice())}
    assert told.keys() == {("paris", "m1"), ("lyon", "b1")}
    assert {commitment_of(secret) for secret in told.values()} == {commitment}, "one start, one secret"
    assert bench.ended() == 128 + signal.SIGKILL
    assert deaths.read(lyon) == deaths.read(bench.directory) != []


@pytest.mark.parametrize("watchdogs, least", [((), 0.0), ((0.0, 0.0), 0.0), ((3.0, 0.0, 2.0), 2.0)])
def test_the_shortest_watchdog_of_all_sites_holds(watchdogs: tuple[float, ...], least: float) -> None:
    assert shortest(watchdogs) == least


@pytest.mark.parametrize(("takes", "told"), [(0.0, 15), (0.05, 15), (0.5, 3), (3.0, 1)])
def test_a_death_that_cannot_be_told_keeps_the_next_start_waiting_no_longer_than_one_that_can(
    takes: float, told: int
) -> None:
    """Each attempt takes so long, as where a connection is not answered: the other machine is gone as well."""
    slept, numbers = [100.0], []

    def clock() -> float:
        return sum(slept)

    for number in rounds(REVEALED_AT, clock, slept.append):
        numbers.append(number)
        slept.append(takes)
    assert numbers == list(range(told)) and min(slept) >= 0.0
    assert clock() - 100.0 <= REVEALED_AT[-1] + takes + 1e-9
