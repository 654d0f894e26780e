"""The programs of a site as real processes: started from a generated site file, killed, paused, looked at."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heartbeat.console_client import Client, ConsoleError
from heartbeat.site_words import Api

ROOT = Path(__file__).parents[2]
KEY = "a key of the interop tests"


def until(holds: Callable[[], Any], seconds: float, what: str | Callable[[], str], every: float = 0.05) -> Any:
    """Wait for something to come true; its value. Raises ``AssertionError`` with ``what`` when it does not."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(every)
    return value


def network() -> str:
    """A /24 of loopback addresses for one site, so that nothing else on the machine meets it: ``127.x.y.``"""
    return f"127.{100 + secrets.randbelow(100)}.{1 + secrets.randbelow(250)}."


class Program:
    """One server or agent."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = list(command)
        self.environment = {**os.environ, **environment}
        self.log = directory / f"{name}.log"
        self.client = Client(name, Api(path=str(directory / f"{name}.sock")))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, cwd=ROOT
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and away with it."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, as an operator would; SIGKILL when that does not help. Nothing when it does not run."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def view(self, page: str = "status", **params: str) -> Any:
        """A page of its API, or ``{}`` when it does not answer."""
        try:
            return self.client.view(page, **params)
        except ConsoleError:
            return {}

    @property
    def rss(self) -> int:
        """Memory that it has resident, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def words(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def bugs(self) -> list[str]:
        """Lines of its log that no input may ever cause."""
        lines = self.words().splitlines()
        return [line for line in lines if "Traceback" in line or " E " in line or " C " in line]


class Site:
    """Two servers and two agents. Addresses: servers .1 and .2, agents .11 and .12; devices are the tests' own.

    ``lines`` is the part of the site file that tells lines and routes, ``timing`` more lines of that table.
    ``prefix`` is put before each command.
    """

    def __init__(
        self,
        directory: Path,
        net: str,
        lines: str,
        *,
        secrets: Mapping[str, str] | None = None,
        interval: float = 0.2,
        timing: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.net = net
        self.path = directory / "site.toml"
        self.path.write_text(_HEAD.format(net=net, interval=interval, timing=timing, dir=directory) + lines)
        environment = {"HOLDFAST_TEST_KEY": KEY, "HOLDFAST_DEBUG": "1", **(secrets or {})}
        self.programs: dict[str, Program] = {}
        for name, package, option in (
            ("m1", "b2bua", "--node"),
            ("m2", "b2bua", "--node"),
            ("gw1", "gateway_agent", "--agent"),
            ("gw2", "gateway_agent", "--agent"),
        ):
            command = [
                *prefix, sys.executable, "-c", f"from {package}.cli import main; main()",
                "run", "--site", str(self.path), option, name,
            ]  # fmt: skip
            self.programs[name] = Program(name, command, directory, environment)

    def __getitem__(self, name: str) -> Program:
        return self.programs[name]

    def start(self, seconds: float = 20.0) -> None:
        """All four, the main first; returns when it is active and reaches both agents, and the stand-by stands by."""
        self.command("init")
        for program in self.programs.values():
            program.start()
        until(self.ready, seconds, lambda: f"the site did not come up\n{self.words()}")

    def ready(self) -> bool:
        """The main serves and all is well."""
        for program in self.programs.values():
            assert program.process is not None and program.process.poll() is None, (
                f"{program.name}: {program.words()}"
            )
        page = self["m1"].view()
        if page.get("state") != "active" or page["warnings"] or self["m2"].view().get("state") != "standby":
            return False
        return all(self.obeys(agent, "m1") for agent in ("gw1", "gw2"))

    def obeys(self, agent: str, server: str) -> bool:
        return bool(self[agent].view().get("obeys") == server)

    def active(self) -> str:
        """The server that says it is active now."""
        for name in ("m2", "m1"):
            program = self[name]
            if (
                program.process is not None
                and program.process.poll() is None
                and program.view().get("state") == "active"
            ):
                return name
        return ""

    def calls(self, name: str) -> int:
        """How many calls a program knows; -1 when it does not answer."""
        page = self[name].view()
        return int(page["calls"]["total"]) if "calls" in page else -1

    def idle(self, *names: str) -> bool:
        return all(self.calls(name) == 0 for name in names)

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """``b2bua`` with these words."""
        program = [sys.executable, "-c", "from b2bua.cli import main; main()", words[0], "--site", str(self.path)]
        return subprocess.run(
            [*program, *words[1:]],
            capture_output=True, env=self["m1"].environment, cwd=ROOT, timeout=30, check=False,
        )  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        """The call records of both servers, merged by ``b2bua cdrs``."""
        done = self.command("cdrs", "--format", "json", "--all")
        assert done.returncode in (0, 1), done.stderr.decode()  # 1: a server wrote none yet
        found: list[dict[str, Any]] = json.loads(done.stdout)["cdrs"]
        return found

    def stop(self) -> None:
        """All, agents last."""
        for program in self.programs.values():
            program.stop()

    def words(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {name}\n{each.words()[-1500:]}" for name, each in self.programs.items())

    def bugs(self) -> list[str]:
        """Lines of logs that nothing may ever cause."""
        return [f"{name}: {line}" for name, program in self.programs.items() for line in program.bugs()]


_HEAD = """
[site]
name = "interop"
key = {{ env = "HOLDFAST_TEST_KEY" }}
realm = "interop.test"
[timing]
interval = {interval}
slow_interval = 1
{timing}
[servers.m1]
role = "main"
listen = "tcp:{net}1:5161"
beat = "udp:{net}1:5162"
sip = ["udp:{net}1:5060", "tcp:{net}1:5060"]
api = "unix:{dir}/m1.sock"
state = "{dir}/state"
[servers.m2]
role = "standby"
listen = "tcp:{net}2:5161"
beat = "udp:{net}2:5162"
sip = ["udp:{net}2:5060", "tcp:{net}2:5060"]
api = "unix:{dir}/m2.sock"
state = "{dir}/state"
[agents.gw1]
sip = ["udp:{net}11:5060", "tcp:{net}11:5060"]
api = "unix:{dir}/gw1.sock"
state = "{dir}/state"
rtp = {{ address = "{net}11", ports = [20000, 20999] }}
[agents.gw2]
sip = ["udp:{net}12:5060", "tcp:{net}12:5060"]
api = "unix:{dir}/gw2.sock"
state = "{dir}/state"
rtp = {{ address = "{net}12", ports = [20000, 20999] }}
"""
