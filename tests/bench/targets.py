"""What is measured: our server and its peers, each a back-to-back user agent that sends every INVITE to one place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from examples.demo_processes import ROOT, Failed, Processes, Running, ask
from tests.bench.load import CALLEE
from tools.compiled import NotCompiled, built

SIPPY: Final = ROOT / "build" / "bench" / "sippy"
KAMAILIO: Final = ROOT / "build" / "bench" / "kamailio"
_SIPPY_FROM: Final = "sippy>=2,<3"
_ASTERISK: Final = Path(__file__).parent / "asterisk.sh"


class Target(Protocol):
    """Something that can be started and stopped, and is called at :attr:`address` in between."""

    name: str
    first_rate: float
    """Where to begin to look for its highest rate, in calls a second."""
    most_calls: int
    """Calls that it can hold at once here."""

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def pids(self) -> list[int]: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class _Process:
    """A target that is one process."""

    name = ""
    port = 0
    first_rate = 100.0
    most_calls = 100_000

    def __init__(self, processes: Processes, host: str) -> None:
        self.processes = processes
        self.host = host
        self.directory = processes.directory / self.name
        self.directory.mkdir()
        self._running: Running | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def pids(self) -> list[int]:
        assert self._running is not None
        return [self._running.worker]

    def stop(self) -> None:
        if self._running is not None:
            self.processes.stop(self._running.name)
            self._running = None

    def _up(
        self, command: list[str], listens: Callable[[], bool], seconds: float = 40.0, directory: Path = ROOT
    ) -> None:
        self.stop()
        self._running = self.processes.start(self.name, command, directory=directory)
        self.processes.until(listens, seconds, f"{self.name} comes up")
        time.sleep(1.0)

    def _listens(self) -> bool:
        """Whether somebody is bound to its UDP port (/proc/net/udp has addresses as the machine stores them)."""
        number = int.from_bytes(bytes(map(int, self.host.split("."))), sys.byteorder)
        entry = f"{number:08X}:{self.port:04X}"
        return entry in Path("/proc/net/udp").read_text()


class Ours(_Process):
    """``b2bua run`` from examples/bench.toml, moved to the address of the run."""

    name = "ours"
    port = 5060
    first_rate = 400.0
    product = ROOT
    """Where its packages are."""

    def written(self, site: Path) -> None:
        """The site file is there; the server is about to start."""

    def start(self) -> None:
        examples = ROOT / "examples"
        text = (examples / "bench.toml").read_text().replace("127.0.0.1", self.host)
        text = text.replace('"../run/bench"', f'"{self.directory}"')
        site = self.directory / "bench.toml"
        site.write_text(text)
        self.written(site)
        shutil.copy(examples / "bench.key", self.directory)
        (self.directory / "bench.key").chmod(0o600)
        socket = self.directory / "m1" / "m1.sock"
        command = [sys.executable, "-m", "b2bua.cli", "run", "--site", str(site), "--node", "m1"]
        self._up(command, lambda: ask(socket, "status").get("state") == "active", directory=self.product)


class OursCompiled(Ours):
    """The same with its hot modules compiled. Raises :class:`Failed` when they cannot be."""

    name = "ours-compiled"

    def __init__(self, processes: Processes, host: str) -> None:
        super().__init__(processes, host)
        try:
            self.product = built()
        except NotCompiled as failure:
            raise Failed(f"the compiled form cannot be had: {failure}") from None


class Sippy(_Process):
    """Sippy's B2BUA: no RADIUS, no accounting, one static route."""

    name = "sippy"
    port = 5074
    first_rate = 100.0

    def start(self) -> None:
        command = ["env", "SIPLOG_BEND=none", str(SIPPY / "bin" / "b2bua"), "-f", "-u", "-A", "0"]
        command += ["-s", f"{self.host}:{CALLEE}", "-l", self.host, "-p", str(self.port)]
        self._up([*command, "-c", str(self.directory / "sippy.sock")], self._listens)


class Asterisk(_Process):
    """Asterisk with nothing but PJSIP and Dial(), from the chroot that tests/peers/asterisk/install.sh makes."""

    name = "asterisk"
    port = 5070
    first_rate = 150.0
    most_calls = 2000

    def start(self) -> None:
        command = ["sh", str(_ASTERISK), str(self.directory), f"{self.host}:{self.port}", f"{self.host}:{CALLEE}"]
        self._up(command, self._listens)

    @staticmethod
    def installed() -> bool:
        return subprocess.run(["sh", str(_ASTERISK), "installed"], check=False, capture_output=True).returncode == 0


class Kamailio(_Process):
    """Kamailio, a proxy that keeps dialogs: not a B2BUA, but the measure of what the messages cost."""

    name = "kamailio"
    port = 5072
    first_rate = 400.0

    def start(self) -> None:
        modules = next((KAMAILIO / "usr" / "lib").glob("*/kamailio/modules"))
        text = (Path(__file__).parent / "kamailio.cfg").read_text()
        for word, value in (
            ("HOST", self.host),
            ("PORT", str(self.port)),
            ("TO", f"{self.host}:{CALLEE}"),
            ("MODULES", str(modules)),
        ):
            text = re.sub(rf"\b{word}\b", value, text)
        config = self.directory / "kamailio.cfg"
        config.write_text(text)
        command = ["env", f"LD_LIBRARY_PATH={modules.parent}", str(KAMAILIO / "usr" / "sbin" / "kamailio")]
        # 256 MB of shared memory run out near 1,600 calls/s; the pool is touched only as far as it is used.
        self._up([*command, "-f", str(config), "-DD", "-E", "-Y", str(self.directory), "-m", "1024"], self._listens)


class Direct:
    """No target at all: the caller calls the callee. What others add to its times is theirs."""

    name = "direct"
    pids: tuple[int, ...] = ()

    def __init__(self, host: str) -> None:
        self.address = (host, CALLEE)


def peers(say: Callable[[str], None]) -> list[type[_Process]]:
    """Those that can be had; for each that cannot, ``say`` is told why."""
    found: list[type[_Process]] = []
    try:
        _install_kamailio(say)
        found.append(Kamailio)
    except Failed as failure:
        say(str(failure))
    try:
        _install_sippy(say)
        found.append(Sippy)
    except Failed as failure:
        say(str(failure))
    if Asterisk.installed():
        found.append(Asterisk)
    else:
        say("Asterisk is not installed (tests/peers/asterisk/install.sh does that): measured without it")
    return found


def _install_kamailio(say: Callable[[str], None]) -> None:
    """Unpack Debian's package: to install it would start a daemon on port 5060."""
    if (KAMAILIO / "installed").exists():
        return
    say(f"unpacking Debian's Kamailio into {KAMAILIO.relative_to(ROOT)} (once)")
    shutil.rmtree(KAMAILIO, ignore_errors=True)
    KAMAILIO.mkdir(parents=True)
    try:
        _run(["apt-get", "download", "kamailio"], KAMAILIO)
        _run(["dpkg-deb", "-x", *(str(path) for path in KAMAILIO.glob("*.deb")), str(KAMAILIO)], KAMAILIO)
    except Failed as failure:
        raise Failed(f"Kamailio cannot be had, so it is measured without it: {failure}") from None
    (KAMAILIO / "installed").touch()


def _run(command: list[str], directory: Path) -> None:
    """Raises `Failed` with the last line that the command said."""
    try:
        done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(words[-1] if words else "no reason given")


def _install_sippy(say: Callable[[str], None]) -> None:
    if (SIPPY / "installed").exists():
        return
    say(f"installing Sippy's B2BUA from PyPI into {SIPPY.relative_to(ROOT)} (once)")
    SIPPY.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(SIPPY, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(SIPPY)], ROOT)
        _run([str(SIPPY / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", _SIPPY_FROM], ROOT)
    except Failed as failure:
        raise Failed(f"Sippy cannot be installed, so it is measured without it: {failure}") from None
    (SIPPY / "installed").touch()
