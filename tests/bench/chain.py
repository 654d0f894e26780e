"""A call through agent, server, agent: the CPU time of all three, with tokens and TCP between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from examples.demo_processes import Processes, ask
from tests.bench.load import CALLEE, CALLER, Load
from tests.bench.plain import Effort

_SITE: Final = """
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

    def __init__(self, processes: Processes, host: str) -> None:
        self.processes = processes
        self.host = host
        self.directory = processes.directory / "chain"
        self.directory.mkdir()
        self.cpu_us: list[float] = []

    def start(self) -> list[int]:
        """Start all three; their process ids."""
        site = self.directory / "site.toml"
        site.write_text(_SITE.format(host=self.host, caller=CALLER, callee=CALLEE))
        (self.directory / "site.key").write_text("a key of the benchmark's own chain")
        processes = self.processes
        if not (self.directory / "state").exists():
            processes.command(["b2bua.cli", "init", "--site", str(site)])
        running = [processes.agent(site, name) for name in ("gw1", "gw2")]
        running.append(processes.server(site, "m1"))
        processes.until(lambda: all(self._serves(name) for name in ("gw1", "gw2")), 40.0, "the chain comes up")
        return [each.pid for each in running]

    def measure(self, load: Load, effort: Effort, say: Callable[[str], None]) -> None:
        """CPU time of the three a call."""
        pids = self.start()
        load.run((self.host, 5160), pids, effort.cpu_rate, int(2 * effort.cpu_rate))
        outcome = load.run((self.host, 5160), pids, effort.cpu_rate, effort.cpu_calls)
        self.cpu_us.append(outcome.cpu_us_per_call)
        say(f"agent, server, agent: CPU: {outcome}")
        for name in ("m1", "gw1", "gw2"):
            self.processes.stop(name)

    def _serves(self, name: str) -> bool:
        return bool(ask(self.directory / "state" / name / f"{name}.sock", "status").get("state") == "serving")
