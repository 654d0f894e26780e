"""One run of the demo: a site comes up, calls stand, the main dies, the stand-by goes on, and what was measured."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from examples.demo_plan import PASSWORD, Layout, Plan
from examples.demo_processes import DeviceProcess, Failed, Processes, Running, ask, free_net
from sip.io.clock import boottime

How = Literal["kill", "machine", "pause", "agent", "nothing"]
"""The server's process is killed; its supervisor too, as if the machine were gone; both are stopped for a while; an
agent is killed, and started again; or nothing happens here, as where another site of the same stand-by is hit."""
_STAYS: Final = ("agent", "nothing")
"""After these the main leads on."""
Show = Callable[[str, Any], None]
"""Told what happens, as it happens: a word and what belongs to it."""

STARTING: Final = 60.0
CALM: Final = 2.0
"""Seconds without any change of who rules after which a site counts as started."""
BEFORE_THE_CRASH: Final = 1.0
"""Seconds in which new calls are attempted before it."""
AFTER_THE_CRASH: Final = 1.0
"""The same, after the sample was served."""


class Run:
    """A site with its devices, step by step: ``start``, ``set_up``, ``crash``, ``finish``, ``measured``."""

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        processes: Processes,
        show: Show,
        *,
        interval: float = 0.2,
        name: str = "demo",
    ) -> None:
        self.plan = plan
        self.processes = processes
        self.show = show
        self.layout = Layout(free_net(), directory, plan.agents, interval, name)
        self.directory = directory
        self.devices: list[DeviceProcess] = []
        self.how: How = "kill"
        self.killed_at = 0.0
        """On the wall clock."""
        self.started_at = 0.0
        """When the agent that was killed was started again, by the same."""
        self.counted_from = 0.0
        """On the wall clock: calls from here on are the run's own."""
        self.results: dict[str, list[Any]] = {}

    # -- steps ---------------------------------------------------------------------------------------------------

    def start(self, beats: tuple[str, str] | None = None) -> None:
        """Write the site file, start all programs, and wait until the main is active with all agents.

        ``beats``: what each server takes for the address of the other one's beats (main's own first), when somebody
        stands between them to count; each then has a site file of its own.
        """
        self.prepare()
        site = self.layout.site
        sites = {"m1": site, "m2": site} if beats is None else self._two_files(beats)
        self.processes.server(sites["m2"], "m2")
        self.come_up(sites["m1"])

    def prepare(self) -> None:
        """Write the site file, and start the agents."""
        layout = self.layout
        for name, secret in (("site.key", secrets.token_hex(16)), ("phones.key", PASSWORD)):
            path = self.directory / name
            path.touch(0o600)
            path.write_text(secret)
        layout.site.write_text(layout.site_text(self.plan))
        self._command("init")
        for name in layout.names:
            self.processes.agent(layout.site, name)

    def come_up(self, site: Path) -> None:
        """Start devices and the main, by that file; the stand-by was started."""
        layout, plan, processes = self.layout, self.plan, self.processes
        kinds = (True,) if plan.small else (False, True)
        self.devices = [DeviceProcess(processes, layout.net, plan.calls, plan.agents, audio) for audio in kinds]
        # The voters of a site that starts for the first time are to be there before the main asks them.
        processes.until(lambda: all(map(self._answers, (*layout.names, "m2"))), STARTING, "the voters come up")
        processes.server(site, "m1")
        try:
            processes.until(self._ready, STARTING, "the site comes up")
        except Failed as failure:
            raise Failed(f"{failure}\n{self.status('m1').get('warnings')}") from None
        for devices in self.devices:
            devices.done("start", STARTING)
        self.show("ready", self.status("m1"))

    def set_up(self) -> None:
        """Place all calls that are to stand."""
        self._order("learn", 60.0)
        self.counted_from = time.time()
        for result in self._order("set up", 60.0 + self.plan.calls * 0.05):
            self._note(result)
        standing = sum(result["standing"] for result in self.results["set up"])
        wanted = len(list(self.plan.standing()))
        if standing < wanted:
            problems = [text for result in self.results["set up"] for text in result["problems"]]
            raise Failed(
                "\n".join([f"only {standing} of {wanted} calls stand before anything was killed", *problems])
            )
        self.show("standing", self.status("m1"))

    def attempt(self) -> None:
        """Begin to attempt new calls."""
        rate = self.plan.attempts_per_s
        if rate:
            self.devices[0].order("attempt", rate=rate)
            self.devices[0].done("attempt", 10.0)
            time.sleep(BEFORE_THE_CRASH)

    def crash(self, how: How = "kill") -> None:
        """Kill or pause the main; wait until the sample was served by the stand-by. Or kill an agent, start it again,
        and wait until the main serves the sample by it."""
        self.strike(how)
        self.go_on()

    def strike(self, how: How) -> None:
        """The first half: it is killed, and a request is sent in each call of the sample."""
        main = self.processes.running["m1"]
        self.killed_at = time.time()
        self.how = how
        if how == "agent":
            first = self.layout.names[0]
            self.processes.running.pop(first).kill()
        elif how == "kill":
            self.processes.crash("m1")
        elif how == "machine":
            main.kill()
            del self.processes.running["m1"]
        elif how == "pause":
            main.stop_all()
        for devices in self.devices:
            devices.order("crash")
        self.show("killed", how)
        if how == "agent":
            self.started_at = time.time()
            self.processes.agent(self.layout.site, first)

    def go_on(self) -> None:
        """The second half: wait until the sample was served."""
        for result in self._collect("crash", 60.0):
            self._note(result)
        if self.how == "pause":
            self.processes.running["m1"].go_on()
        self.show("served", self.status(self.leader))
        if self.plan.attempts_per_s:
            time.sleep(AFTER_THE_CRASH)

    def finish(self) -> None:
        """Resume, answer and hang up everything; wait until the records of all calls are written."""
        for result in self._order("finish", 120.0 + self.plan.calls * 0.05):
            self._note(result)
        self.show("finished", self.status(self.leader))

    def measured(self) -> dict[str, Any]:
        """The figures of section ``make demo`` of the README; ``None`` where something never came true."""
        done = self.results["finish"]
        total = {name: sum(result[name] for result in done) for name in _SUMMED}
        served = [entry for result in self.results["crash"] for entry in result["served"]]
        missing = [name for result in self.results["crash"] for name in result["missing"]]
        report = self.report() if self.leader == "m2" else {}
        decided_at = report.get("decided_at") if self.leader == "m2" else self.started_at or self.killed_at
        last_at = max((at for _, _, at in served), default=0.0) + time.time() - boottime()
        calls = sum(result["standing"] for result in self.results["set up"])
        cdrs = self._cdrs(calls + int(total["attempts"]))
        complete = bool(served) and not missing and decided_at is not None
        return {
            "calls": calls,
            "kept": total["kept"],
            "attempts": total["attempts"],
            "attempts_failed": total["attempts_failed"],
            "rtp_lost": total["rtp_lost"],
            "rtp_longest_gap_ms": max(result["rtp_longest_gap_ms"] for result in done),
            "device_messages": total["device_messages"],
            "cdrs": cdrs,
            "decision_s": None if decided_at is None else round(decided_at - self.killed_at, 4),
            "served_s": round(last_at - decided_at, 4) if complete else None,
            "messages": report.get("messages"),
            "report": report,
        }

    @property
    def leader(self) -> str:
        """Who leads after the crash."""
        return "m1" if self.how in _STAYS else "m2"

    @property
    def problems(self) -> list[str]:
        """One sentence for each call that did not go as it should, and each message that nobody expected."""
        found = [f"not served: {name}" for result in self.results.get("crash", ()) for name in result["missing"]]
        for result in self.results.get("finish", ()):
            found += result["problems"]
            found += [f"unexpected at devices, {count} times: {word}" for word, count in result["unexpected"].items()]
            found += [f"at devices, {count} times: {word}" for word, count in result["counters"].items()]
        return found

    # -- what the programs say -----------------------------------------------------------------------------------

    def status(self, node: str) -> Any:
        """The page of a server's status, ``{}`` while it does not answer."""
        return ask(self._socket(node), "status")

    def history(self, node: str) -> list[Any]:
        """The decisions of a server, oldest first."""
        return list(reversed(ask(self._socket(node), "history", limit="200").get("decisions", [])))

    def report(self) -> Any:
        """The takeover report of the stand-by."""
        return ask(self._socket("m2"), "report")

    def running(self, name: str) -> Running:
        return self.processes.running[name]

    # -- inside --------------------------------------------------------------------------------------------------

    def _socket(self, node: str) -> Path:
        return self.directory / "state" / node / f"{node}.sock"

    def _ready(self) -> bool:
        status = self.status("m1")
        if status.get("state") != "active" or not all(peer["reached"] for peer in status["peers"]):
            return False
        # A voter that is met late is given its vote first, which takes a new epoch: wait until that is over.
        voters = status["voters"]
        calm = voters["answering"] == len(voters["names"]) and time.time() - status["since_at"] >= CALM
        if not calm or any("another site file" not in text for text in status["warnings"]):
            return False
        stand_by = self.status("m2")
        if stand_by.get("state") != "standby" or not all(peer["reached"] for peer in stand_by["peers"]):
            return False
        return all(ask(self._socket(name), "status").get("state") == "serving" for name in self.layout.names)

    def _answers(self, name: str) -> bool:
        return bool(ask(self._socket(name), "status"))

    def _two_files(self, beats: tuple[str, str]) -> dict[str, Path]:
        own = (f"udp:{self.layout.net}1:5162", f"udp:{self.layout.net}2:5162")
        files = {}
        for node, pair in (("m1", (own[0], beats[1])), ("m2", (beats[0], own[1]))):
            files[node] = self.directory / f"{node}.toml"
            files[node].write_text(self.layout.site_text(self.plan, pair))
        return files

    def _order(self, what: str, seconds: float) -> list[Any]:
        for devices in self.devices:
            devices.order(what)
        return self._collect(what, seconds)

    def _collect(self, what: str, seconds: float) -> list[Any]:
        return [
            devices.done(what, seconds, lambda said, name=devices.name: self.show("moving", (name, said)))  # type: ignore[misc]
            for devices in self.devices
        ]

    def _note(self, result: Any) -> None:
        self.results.setdefault(result["did"], []).append(result)

    def _cdrs(self, wanted: int) -> int:
        """Call records of the run after the merge, by ``b2bua cdrs``; it waits a little for the last ones."""
        since = datetime.fromtimestamp(self.counted_from - 0.01).isoformat()
        found = 0
        for _ in range(5):
            said = self._command("cdrs", "--since", since, "--limit", "1", "--format", "json")
            found = json.loads(said)["matched"] if said.startswith("{") else 0
            if found >= wanted:
                break
            time.sleep(0.7)
        return found

    def _command(self, verb: str, *more: str) -> str:
        """What a command of ``b2bua`` prints."""
        return self.processes.command(["b2bua.cli", verb, "--site", str(self.layout.site), *more])


_SUMMED: Final = ("kept", "attempts", "attempts_failed", "rtp_lost", "device_messages")
