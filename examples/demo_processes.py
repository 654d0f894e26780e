"""Real processes for the demo and the benchmarks: started, watched, asked, and ended by their process id."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Final

from heartbeat.console.client import Client
from heartbeat.console.errors import ConsoleError
from heartbeat.site.values import Api
from sip.io.unix_path import short_path

ROOT: Final = Path(__file__).parents[1]
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LAST_START: Final = 1 << 62


class Failed(Exception):
    """Something did not come true; the text says what, and what the logs say."""


def free_net() -> str:
    """The first three numbers, and a dot, of a /24 of loopback addresses at which nobody listens on SIP's port."""
    for _ in range(200):
        net = f"127.{1 + secrets.randbelow(99)}.{1 + secrets.randbelow(254)}."
        if all(_free(f"{net}{last}", port) for last in (1, 2, 8, 9, 11) for port in (5060, 5161, 5162)):
            return net
    raise Failed("no free loopback addresses were found: something listens on SIP's ports at all addresses")


def _free(host: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


class Running:
    """One program: a process, or a supervisor and the server that is its child."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.pid = process.pid
        self.log = log

    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def worker(self) -> int:
        """The process id of the child of a supervisor; of a program without one its own."""
        if b"heartbeat.supervisor" not in _of(self.pid, "cmdline"):
            return self.pid
        others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return next((pid for pid in others if _parent(pid) == self.pid), self.pid)

    def signal(self, number: int) -> None:
        """To the supervisor, where there is one; it forwards what is for its child."""
        if self.alive():
            self.process.send_signal(number)

    def stop_all(self) -> None:
        """SIGSTOP to all of it."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT to all of it."""
        self._signal_all(signal.SIGCONT)

    def kill_worker(self) -> None:
        """SIGKILL to the server alone: its supervisor tells of it, and ends about a second later."""
        os.kill(self.worker, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to all of it, as if its machine were gone, so that no supervisor says anything; and reap it."""
        if self.alive():
            worker = self.worker
            self.signal(signal.SIGSTOP)
            if worker != self.pid:
                os.kill(worker, signal.SIGKILL)
            self.signal(signal.SIGKILL)
        self.process.wait()

    def _signal_all(self, number: int) -> None:
        worker = self.worker
        self.signal(number)
        if worker != self.pid:
            os.kill(worker, number)

    def last_words(self, lines: int = 15) -> str:
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {self.name}: {line[:300]}" for line in text)


def _as_installed() -> dict[str, str]:
    """The environment of the programs: compiled once, as pip does it, not at each start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _of(pid: int, page: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{page}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    """The parent's process id; 0 when it is gone. The name in brackets may contain anything."""
    fields = _of(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


class Processes:
    """All processes of a run; leaving the context ends them, whatever happened. They also end with this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, Running] = {}
        self._ending: list[Running] = []
        """Were killed; their supervisors end by themselves."""
        self.before_agents: tuple[str, ...] = ()
        """Words in front of the command of an agent, which end in its execution."""
        self._agents: set[str] = set()
        """All that were ever started: the relay of each outlives it, with the ports at which it listened."""

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, name: str, command: Sequence[str], *, pipes: bool = False, directory: Path = ROOT) -> Running:
        """Start a program in ``directory``, this clone; what it says goes to ``NAME.log`` in that of the run."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file,
                cwd=directory,
                env=_as_installed(),
                start_new_session=True,  # Ctrl-C is for us: we end them in order
                preexec_fn=_die_with_parent,
            )
        running = self.running[name] = Running(name, process, log)
        return running

    def command(self, module: Sequence[str]) -> str:
        """Run a module to its end; what it printed. Raises :class:`Failed` when it is wrong usage, or unreachable."""
        done = subprocess.run([sys.executable, "-m", *module], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode >= 3:
            raise Failed(f"{' '.join(module[:2])}: {done.stderr.strip()}")
        return done.stdout

    def server(self, site: Path, node: str, *others: Path) -> Running:
        """As ``b2bua run`` does it, which becomes the supervisor when it has loaded all that the server needs.

        ``others``: further sites that the same process serves, under the same name."""
        files = [word for each in (site, *others) for word in ("--site", str(each))]
        command = [sys.executable, "-m", "b2bua.cli", "run", *files, "--node", node]
        return self.start(node, [sys.executable, "-m", "heartbeat.supervisor", *command])

    def agent(self, site: Path, name: str) -> Running:
        command = [sys.executable, "-m", "gateway_agent.cli", "run", "--site", str(site), "--agent", name]
        self._agents.add(name)
        return self.start(name, [*self.before_agents, *command])

    def stop(self, name: str, patience: float = 10.0) -> None:
        """SIGTERM to one, SIGKILL when that does not end it."""
        running = self.running.pop(name, None)
        if running is None:
            return
        running.signal(signal.SIGTERM)
        try:
            running.process.wait(patience)
        except subprocess.TimeoutExpired:
            running.kill()

    def crash(self, name: str) -> None:
        """Kill a server's process; its supervisor lives to tell of it."""
        running = self.running.pop(name)
        self._ending.append(running)
        running.kill_worker()

    def end(self, patience: float = 4.0) -> None:
        """SIGTERM to all, then SIGKILL to those that do not listen. Relays end too, so that all ports are free."""
        everything = [*self._ending, *self.running.values()]
        for each in everything:
            if each.alive():
                each.signal(signal.SIGTERM)
                each.go_on()
        until = time.monotonic() + patience
        for each in everything:
            try:
                each.process.wait(max(0.05, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.kill()
            for pipe in (each.process.stdin, each.process.stdout):
                if pipe is not None:
                    pipe.close()
        for path in (*self.directory.rglob("relay.sock"), *self.directory.rglob("webrtc.sock")):
            if path.parent.name in self._agents:
                _end_media(path)
        self.running.clear()
        self._ending.clear()
        self._agents.clear()

    def last_words(self) -> str:
        """The ends of all logs, for a failure."""
        return "\n".join(filter(None, (each.last_words() for each in self.running.values())))

    def until(self, holds: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
        """Wait until something holds, and return it. Raises :class:`Failed` when it does not, or a process dies."""
        end = time.monotonic() + seconds
        while not (value := holds()):
            dead = [name for name, each in self.running.items() if not each.alive()]
            if dead or time.monotonic() > end:
                because = f"{', '.join(dead)} ended" if dead else f"not within {seconds:g} s"
                raise Failed(f"{what}: {because}\n{self.last_words()}")
            time.sleep(every)
        return value


def _end_media(path: Path) -> None:
    """Tell a relay or WebRTC gateway, as a last start of its agent, that there is none after it; returns when its
    ports are free."""
    hello = {"do": "hello", "start": _LAST_START, "grace_s": 0.0, "settings": None}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as relay, contextlib.suppress(OSError):  # it has ended
        relay.settimeout(2.0)
        with short_path(path) as short:
            relay.connect(short)
        relay.sendall(json.dumps(hello).encode() + b'\n{"do":"end"}\n')
        while relay.recv(65_536):
            pass


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ask(socket_path: Path, page: str, **params: str) -> Any:
    """A page of a process's API, ``{}`` while it does not answer."""
    try:
        return Client(socket_path.stem, Api(path=str(socket_path))).view(page, **params)
    except ConsoleError:
        return {}


class DeviceProcess:
    """The demo's end of ``examples.demo_phones``: orders in, what came of them out."""

    def __init__(self, processes: Processes, net: str, calls: int, agents: int, audio: bool) -> None:
        self.name = "phones" if audio else "devices"
        command = [sys.executable, "-m", "examples.demo_phones", "--net", net, "--calls", str(calls)]
        command += ["--agents", str(agents), *(["--audio"] if audio else [])]
        self.running = processes.start(self.name, command, pipes=True)
        self._lines: Queue[dict[str, Any]] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.running.process.stdout is not None
        for line in self.running.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put({"did": "died"})

    def order(self, what: str, **more: Any) -> None:
        """Say what to do next; :meth:`done` waits for it."""
        assert self.running.process.stdin is not None
        try:
            self.running.process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            self.running.process.stdin.flush()
        except OSError:
            raise Failed(f"{self.name} ended\n{self.running.last_words()}") from None

    def done(self, what: str, seconds: float, progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """The result of that order. Raises :class:`Failed` when it does not come in time, or the process died."""
        end = time.monotonic() + seconds
        while True:
            try:
                said = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except Empty:
                raise Failed(
                    f"{self.name}: {what} was not done in {seconds:g} s\n{self.running.last_words()}"
                ) from None
            if said.get("did") == what:
                return said
            if said.get("did") == "died":
                raise Failed(f"{self.name} ended during {what}\n{self.running.last_words()}")
            if progress is not None and "progress" in said:
                progress(said)


def environment_note() -> str:
    """What the figures depend on: cores, their speed now, and the load that others make."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}"
