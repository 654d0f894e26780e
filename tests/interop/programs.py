"""The programs of a site as real processes: started from a generated site file, killed, paused, looked at."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from examples.demo_processes import ROOT, Processes, Running, ask

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


PASSWORDS = {"alice": "in the looking-glass", "bob": "a builder of towers"}
"""Of the two phones that the sites here have."""


def phone_line(name: str, agent: str, *, channels: int = 10, media: str = "direct") -> str:
    """The site file's words for a phone of `PASSWORDS`: alice is 5001, bob 5002."""
    number = 5001 + list(PASSWORDS).index(name)
    return f"""
[lines.{name}]
kind = "phone"
agent = "{agent}"
channels = {channels}
numbers = ["{number}"]
password = {{ file = "{name}.secret" }}
media = "{media}"
"""


class Program:
    """One server or agent."""

    def __init__(self, processes: Processes, name: str, site: Path) -> None:
        self.name = name
        self._processes = processes
        self._site = site
        self.log = processes.directory / f"{name}.log"
        self.socket = processes.directory / f"{name}.sock"
        self.running: Running | None = None

    def start(self) -> None:
        start = self._processes.server if self.name.startswith("m") else self._processes.agent
        self.running = start(self._site, self.name)

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.alive()

    def signal(self, number: int) -> None:
        assert self.running is not None
        self.running.signal(number)

    def pause(self) -> None:
        """SIGSTOP to all of it."""
        assert self.running is not None
        self.running.stop_all()

    def go_on(self) -> None:
        """SIGCONT to all of it."""
        assert self.running is not None
        self.running.go_on()

    def die(self) -> None:
        """SIGKILL to the process that serves; a supervisor tells of it."""
        assert self.running is not None
        self.running.kill_worker()

    def kill(self) -> None:
        """SIGKILL to all of it, as if its machine were gone."""
        assert self.running is not None
        self.running.kill()

    def view(self, page: str = "status", **params: str) -> Any:
        """A page of its API, or ``{}`` when it does not answer."""
        return ask(self.socket, page, **params)

    @property
    def rss(self) -> int:
        """Memory that it has resident, in bytes."""
        assert self.running is not None
        for line in Path(f"/proc/{self.running.worker}/status").read_text().splitlines():
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
    ``head`` is another site file than that of `HEAD`, up to the lines.

    ``lines`` is the part of the site file that tells lines and routes, ``timing`` more lines of that table.
    ``passwords``, by name: ``{ file = "NAME.secret" }`` in the site file.
    """

    def __init__(
        self,
        directory: Path,
        net: str,
        lines: str,
        *,
        passwords: Mapping[str, str] | None = None,
        interval: float = 0.2,
        timing: str = "",
        head: str = "",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.net = net
        self.path = directory / "site.toml"
        self.path.write_text((head or HEAD).format(net=net, interval=interval, timing=timing, dir=directory) + lines)
        for name, word in {"site": KEY, **(passwords or {})}.items():
            path = directory / f"{name}.secret"
            path.touch(0o600)
            path.write_text(word)
        self.processes = Processes(directory)
        self.programs = {name: Program(self.processes, name, self.path) for name in ("m1", "m2", "gw1", "gw2")}

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
            assert program.alive, f"{program.name}: {program.words()}"
        return self.active == "m1" and self.whole()

    def ready_but_for_standby(self) -> bool:
        """The main serves, and both agents obey it; the stand-by is somebody else's."""
        return self["m1"].view().get("state") == "active" and all(self.obeys(a, "m1") for a in ("gw1", "gw2"))

    @property
    def active(self) -> str:
        """The server that serves; ``""``: none."""
        return next((name for name in ("m1", "m2") if self[name].view().get("state") == "active"), "")

    def whole(self) -> bool:
        """One server serves, whom both agents obey, the other one stands by, and nobody warns."""
        active = self.active
        other = {"m1": "m2", "m2": "m1"}.get(active)
        if other is None or self[other].view().get("state") != "standby" or self[active].view()["warnings"]:
            return False
        return all(self.obeys(agent, active) for agent in ("gw1", "gw2"))

    def obeys(self, agent: str, server: str) -> bool:
        return bool(self[agent].view().get("obeys") == server)

    def calls(self, name: str) -> int:
        """How many calls a program knows; -1 when it does not answer."""
        page = self[name].view()
        return int(page["calls"]["total"]) if "calls" in page else -1

    def idle(self, *names: str) -> bool:
        return all(self.calls(name) == 0 for name in names)

    def left_over(self, *names: str) -> str:
        """The calls that programs know, for people."""
        return "; ".join(f"{name}: {self[name].view('calls')}" for name in names if self.calls(name))

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """``b2bua`` with these words."""
        return self._run("b2bua.cli", *words)

    def agent_command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """``gateway-agent`` with these words."""
        return self._run("gateway_agent.cli", *words)

    def _run(self, module: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        program = [sys.executable, "-m", module, words[0], "--site", str(self.path), *words[1:]]
        return subprocess.run(program, capture_output=True, cwd=ROOT, timeout=30, check=False)

    def records(self) -> list[dict[str, Any]]:
        """The call records of both servers, merged by ``b2bua cdrs``."""
        done = self.command("cdrs", "--format", "json", "--all")
        assert done.returncode in (0, 1), done.stderr.decode()  # 1: a server wrote none yet
        found: list[dict[str, Any]] = json.loads(done.stdout)["cdrs"]
        return found

    def stop(self) -> None:
        self.processes.end()

    def words(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {name}\n{each.words()[-1500:]}" for name, each in self.programs.items())

    def bugs(self) -> list[str]:
        """Lines of logs that nothing may ever cause."""
        return [f"{name}: {line}" for name, program in self.programs.items() for line in program.bugs()]


HEAD = """
[site]
name = "interop"
key = {{ file = "site.secret" }}
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


def secure_head() -> str:
    """The same, where gw2 speaks TLS, too, and wants certificates; `gw2.pem`, `gw2.key`, `ca.pem` are beside it."""
    files = 'certificate = "{dir}/gw2.pem", key = "{dir}/gw2.key", ca = "{dir}/ca.pem"'
    own = '"udp:{net}12:5060", "tcp:{net}12:5060"'
    text = HEAD.replace(own, f'{own}, "tls:{{net}}12:5061"')
    return text.replace("[agents.gw2]\n", f'[agents.gw2]\ntls = {{{{ {files}, clients = "required" }}}}\n')
