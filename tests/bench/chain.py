"""A call through agent, server, agent, with tokens and TCP between them: the CPU time of all three, what many ended
calls leave in their memory, and how long their loops stand still at most."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from examples.demo_processes import Processes, Running, ask
from tests.bench.load import CALLEE, CALLER, Load, last_row, number_of
from tests.bench.plain import Effort
from tests.bench.usage import resident_bytes

SITE: Final = """
[site]
name = "chain"
key = {{ file = "site.key" }}
[servers.m1]
role = "main"
listen = "tcp:{host}:5161"
capacity = 100_000
state = "state"
[agents.gw1]
sip = ["udp:{host}:5160"]
state = "state"
[agents.gw2]
sip = ["udp:{host}:5170"]
state = "state"
[lines.callers]
kind = "trunk"
agent = "gw1"
peer = "sip:{host}:{caller}"
from = ["{host}:{caller}"]
channels = 100_000
[lines.callees]
kind = "trunk"
agent = "gw2"
peer = "sip:{host}:{callee}"
channels = 100_000
[[routes]]
match = "*"
to = ["callees"]
"""


class Chain:
    """One server between two agents."""

    def __init__(self, processes: Processes, host: str, line_states: bool = True) -> None:
        """``line_states``: whether the server keeps what the agents know of their calls."""
        self.processes = processes
        self.host = host
        self._line_states = line_states
        self.directory = processes.directory / ("chain" if line_states else "bare")
        self.directory.mkdir()
        self.cpu_us: list[float] = []
        self.rss_mb_after: dict[str, dict[str, float]] = {}
        """By number of ended calls: resident memory of each process, in 10**6 bytes."""
        self.longest_stall_ms: float | None = None

    def start(self) -> list[int]:
        """Start all three; their process ids."""
        site = self.directory / "site.toml"
        site.write_text(SITE.format(host=self.host, caller=CALLER, callee=CALLEE))
        key = self.directory / "site.key"
        key.touch(0o600)
        key.write_text("a key of the benchmark's own chain")
        processes = self.processes
        if not (self.directory / "state").exists():
            processes.command(["b2bua.cli", "init", "--site", str(site)])
        running = [processes.agent(site, name) for name in ("gw1", "gw2")]
        running.append(processes.server(site, "m1") if self._line_states else self._bare_server(site))
        processes.until(lambda: all(self._serves(name) for name in ("gw1", "gw2")), 40.0, "the chain comes up")
        return [each.worker for each in running]

    def measure(self, load: Load, effort: Effort, say: Callable[[str], None]) -> None:
        """CPU time of the three a call."""
        pids = self.start()
        load.run((self.host, 5160), pids, effort.cpu_rate, int(2 * effort.cpu_rate))
        outcome = load.run((self.host, 5160), pids, effort.cpu_rate, effort.cpu_calls)
        self.cpu_us.append(outcome.cpu_us_per_call)
        say(f"agent, server, agent: CPU: {outcome}")
        self._stop()

    def grow(self, load: Load, effort: Effort, say: Callable[[str], None]) -> None:
        """Look at the memory of all three under one steady load, each time that so many calls have been made."""
        if not effort.growth:
            return
        pids = dict(zip(("gw1", "gw2", "m1"), self.start(), strict=True))

        def look(statistics_file: Path) -> None:
            for calls in effort.growth:
                end = time.monotonic() + 2 * calls / effort.growth_rate
                while time.monotonic() < end and number_of(last_row(statistics_file), "TotalCallCreated") < calls:
                    time.sleep(0.5)
                found = {name: round(resident_bytes([pid]) / 1e6, 1) for name, pid in pids.items()}
                self.rss_mb_after[str(calls)] = found
                say(f"resident memory after {calls:,} calls at {effort.growth_rate:g}/s, MB: {found}")

        outcome = load.run(
            (self.host, 5160), list(pids.values()), effort.growth_rate, max(effort.growth) + 1, during=look
        )
        stalls = [self._status(name)["process"]["stall_since_start"] for name in pids]
        self.longest_stall_ms = round(max(stalls) * 1e3, 1)
        say(f"agent, server, agent: {outcome}; longest stall {self.longest_stall_ms} ms")
        self._stop()

    def _bare_server(self, site: Path) -> Running:
        program = [sys.executable, "-m", "tests.bench.bare", "run", "--site", str(site), "--node", "m1"]
        return self.processes.start("m1", [sys.executable, "-m", "heartbeat.supervisor", *program])

    def _stop(self) -> None:
        for name in ("m1", "gw1", "gw2"):
            self.processes.stop(name)

    def _status(self, name: str) -> Any:
        return ask(self.directory / "state" / name / f"{name}.sock", "status")

    def _serves(self, name: str) -> bool:
        return bool(self._status(name).get("state") == "serving")
