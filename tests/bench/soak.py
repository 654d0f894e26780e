"""python -m tests.bench.soak, or: make soak

Does a healthy site lose its active server's trust? Two servers and three agents run as real processes at the default
times while 5 % of all that passes between them is lost, both cores are kept busy, calls come and go, and every few
seconds something stands still: the whole machine, the stand-by or an agent for 1 s, the active server for 0.5 s.
Whoever takes over meanwhile does so falsely. What the ended calls leave behind is told as well: memory of each
process after a tenth of the time and at the end, and the size of what the nodes keep in their state directories.

    make soak                                an hour, 280 calls a second: a million ended calls
    make soak ARGS='--minutes 10 --rate 50'

Exit code 1 when there was a takeover or a state directory grew beyond its bounds, 3 when the site could not be
played.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from examples.demo_processes import Failed, Processes, ask, environment_note, free_net
from tests.bench.load import CALLEE, CALLER, Load
from tests.bench.paths import BadPaths
from tests.bench.usage import resident_bytes

AGENTS: Final = ("gw1", "gw2", "gw3")
EVERY: Final = (8.0, 20.0)
"""Seconds between two stalls."""
STALL: Final = 1.0
STALL_OF_THE_ACTIVE: Final = 0.5
"""Of the active server alone. One that is silent for ``lease`` and ``margin``, 0.98 s, is replaced, and rightly: from
outside it cannot be told from one whose machine is gone."""

KEPT_MB: Final = 16.0
"""More than the bounds of all that a node keeps in its state directory (docs/cli.md), call records apart."""

_SITE: Final = """
[site]
name = "soak"
key = {{ file = "site.key" }}
[servers.m1]
role = "main"
listen = "tcp:{net}1:5161"
beat = "udp:{net}1:5162"
advertise = "{net}3"
capacity = 100_000
state = "state"
[servers.m2]
role = "standby"
listen = "tcp:{net}2:5161"
beat = "udp:{net}2:5162"
advertise = "{net}4"
capacity = 100_000
state = "state"
[agents.gw1]
sip = ["udp:{net}11:5160"]
state = "state"
[agents.gw2]
sip = ["udp:{net}12:5160"]
state = "state"
[agents.gw3]
sip = ["udp:{net}13:5160"]
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


class Soak:
    """One site under strain."""

    def __init__(self, processes: Processes, minutes: float, rate: float, loss: float, seed: int) -> None:
        self.processes = processes
        self.minutes = minutes
        self.rate = rate
        self.stalls: Counter[str] = Counter()
        self.directory = processes.directory
        self.net = free_net()
        self.paths = BadPaths(loss, seed)
        self._chance = random.Random(seed)
        self._busy: list[multiprocessing.Process] = []
        self._epoch = 0
        self._memory: dict[str, list[float]] = {}
        self._loads: list[float] = []

    def start(self) -> None:
        """Bring the site up, through the bad paths from the first word on."""
        net, processes, site = self.net, self.processes, self.directory / "site.toml"
        site.write_text(_SITE.format(net=net, host=f"{net}9", caller=CALLER, callee=CALLEE))
        key = self.directory / "site.key"
        key.touch(0o600)
        key.write_text("a key of the soak's own site")
        for server, stands_for_it in (("1", "3"), ("2", "4")):
            self.paths.streams((f"{net}{stands_for_it}", 5161), (f"{net}{server}", 5161))
        self.paths.datagrams((f"{net}1", 5162), (f"{net}2", 5162), (f"{net}3", 5162), (f"{net}4", 5162))
        processes.command(["b2bua.cli", "init", "--site", str(site)])
        for name in AGENTS:
            processes.agent(site, name)
        processes.server(site, "m2")
        processes.server(site, "m1")
        processes.until(self._ready, 60.0, "the site comes up")
        time.sleep(5.0)
        self._epoch = self._status("m1")["epoch"]
        for _ in range(os.cpu_count() or 1):
            busy = multiprocessing.Process(target=_spin, daemon=True)
            busy.start()
            self._busy.append(busy)

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """All the time; what came of it."""
        load = Load(self.processes, f"{self.net}9")
        calls = int(self.minutes * 60 * self.rate)
        outcome = load.run((f"{self.net}11", 5160), [], self.rate, calls, during=lambda statistics: self._strain(say))
        time.sleep(3.0)
        self._note_memory()
        return {
            "minutes": self.minutes,
            "calls": calls,
            "good": outcome.good,
            "calls_per_s": round(calls / outcome.seconds, 1),
            **self._decided(),
            "stalls": dict(self.stalls),
            "pieces": self.paths.passed,
            "pieces_lost": self.paths.lost,
            "memory_mb": self._memory,
            "state_mb": {name: _megabytes(self.directory / "state" / name) for name in (*AGENTS, "m1", "m2")},
            "load": [round(min(self._loads), 1), round(max(self._loads), 1)],
            "environment": environment_note(),
        }

    def end(self) -> None:
        for busy in self._busy:
            busy.terminate()
            busy.join()
        self.paths.close()

    def _strain(self, say: Callable[[str], None]) -> None:
        end, told = time.monotonic() + self.minutes * 60, 0
        warm = end - self.minutes * 54
        while time.monotonic() < end:
            time.sleep(min(self._chance.uniform(*EVERY), max(0.0, end - time.monotonic())))
            what = self._chance.choice(("machine", "m2", "gw1", "gw2", "gw3", "m1"))
            self.stalls[what] += 1
            names = [*AGENTS, "m1", "m2"] if what == "machine" else [what]
            leads = self._status(what).get("state") in ("active", "holding") if what in ("m1", "m2") else False
            for name in names:
                self.processes.running[name].stop_all()
            time.sleep(STALL_OF_THE_ACTIVE if leads else STALL)
            for name in names:
                self.processes.running[name].go_on()
            self._loads.append(os.getloadavg()[0])
            if not self._memory and time.monotonic() > warm:
                self._note_memory()
            minute = int((self.minutes * 60 - (end - time.monotonic())) // 60)
            if minute > told:
                told = minute
                found = self._decided()
                say(f"after {minute} min: {found['takeovers']} takeovers, {found['holding']} times without a lease")

    def _note_memory(self) -> None:
        for name in (*AGENTS, "m1", "m2"):
            size = resident_bytes([self.processes.running[name].worker]) / 1e6
            self._memory.setdefault(name, []).append(round(size, 1))

    def _decided(self) -> dict[str, Any]:
        said = {name: self._status(name) for name in ("m1", "m2")}
        decisions = {name: status.get("process", {}).get("decisions", {}) for name, status in said.items()}
        m1 = said["m1"]
        return {
            "takeovers": sum(sum(status.get("takeovers", {}).values()) for status in said.values()),
            "epochs": m1.get("epoch", 0) - self._epoch,
            "active": m1.get("state") == "active",
            "suspected": decisions["m2"].get("suspect", 0),
            "thought_dead": decisions["m2"].get("dead", 0),
            "holding": decisions["m1"].get("holding", 0),
            "longest_stall_s": m1.get("process", {}).get("stall_since_start"),
        }

    def _status(self, node: str) -> Any:
        found = ask(self.directory / "state" / node / f"{node}.sock", "status")
        return found or {"process": {}}

    def _ready(self) -> bool:
        m1, m2 = self._status("m1"), self._status("m2")
        reached = [peer["reached"] for status in (m1, m2) for peer in status.get("peers", ())]
        names = m1.get("voters", {}).get("names", ())
        return m1.get("state") == "active" and len(reached) == 8 and all(reached) and len(names) == 3


def _megabytes(directory: Path) -> float:
    """Of its files, call records apart: those are the operator's to remove."""
    files = [
        path for path in directory.rglob("*") if path.is_file() and "cdr" not in path.relative_to(directory).parts
    ]
    return round(sum(path.stat().st_size for path in files) / 1e6, 2)


def _spin() -> None:
    while True:
        pass


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="soak", description="strain a site, and count false takeovers")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--rate", type=float, default=280.0, help="calls a second (280)")
    parser.add_argument("--loss", type=float, default=0.05, help="share of what is lost between nodes (0.05)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-soak-"))

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    try:
        with Processes(directory) as processes:
            soak = Soak(processes, options.minutes, options.rate, options.loss, options.seed)
            try:
                soak.start()
                found = soak.run(say)
            finally:
                soak.end()
    except Failed as failure:
        say(str(failure))
        return 3
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.format == "json":
        print(json.dumps(found))
    else:
        print("\n".join(f"{name.replace('_', ' '):16} {value}" for name, value in found.items()))
    good = found["takeovers"] == 0 and found["active"] and max(found["state_mb"].values()) <= KEPT_MB
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
