"""Calls by SIPp on both sides of a target, and what came of them."""

from __future__ import annotations

import csv
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from examples.demo_processes import Failed, Processes
from tests.bench import stamps
from tests.bench.usage import cpu_s, machine_busy_s

SCENARIOS: Final = Path(__file__).parent / "scenarios"
CALLER: Final = 5090
CALLEE: Final = 5080
"""Ports, at the address of the run."""
_KINDS: Final = {"1": "setup", "2": "bye", "3": "refused"}
"""SIPp's timers, as the scenarios have them."""
_GIVES_UP_MS: Final = 6000
"""So long callers wait for anything where not all are served."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of calls at one rate."""

    rate: float
    calls: int
    good: int
    """Calls that SIPp saw to their end."""
    retransmissions: int
    """On both sides."""
    seconds: float
    cpu_s: float
    """Of the target."""
    others: float
    """Cores that everything but the target and SIPp kept busy."""
    hold: float

    @property
    def clean(self) -> bool:
        """Under 0.1 % failed, under 1 % sent again, and on schedule."""
        in_time = self.seconds - self.hold <= self.calls / self.rate * 1.1 + 1.0
        failed = self.calls - self.good
        return failed <= self.calls * 0.001 and self.retransmissions <= self.calls * 0.01 and in_time

    @property
    def cpu_us_per_call(self) -> float:
        return self.cpu_s / max(1, self.good) * 1e6

    times: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Milliseconds of each call, sorted: ``setup`` from INVITE to 200, ``bye`` from BYE to 200. By SIPp's
    clock, where packets are not noted."""
    added: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Of these, what the target added; by the stamps of packets, where these can be had."""

    def __str__(self) -> str:
        return (
            f"{self.rate:g}/s: {self.good} of {self.calls} good, {self.retransmissions} sent again, "
            f"{self.cpu_us_per_call:.0f} us of CPU a call, others keep {self.others:.1f} cores busy"
            f"{'' if self.clean else '  (not clean)'}"
        )


@dataclass(frozen=True, slots=True)
class Pressed:
    """One run of calls, whatever became of them."""

    rate: float
    """Calls a second that SIPp brought."""
    calls: int
    retransmissions: int
    """On both sides."""
    times: dict[str, tuple[float, ...]]
    """Milliseconds of each call as in `Outcome.times`; ``refused``: from INVITE to 503."""


class Load:
    """Starts SIPp's callers and callees at one address, for any target there."""

    def __init__(self, processes: Processes, host: str) -> None:
        self.processes = processes
        self.host = host
        self._runs = 0
        if shutil.which("sipp") is None:
            raise Failed("there is no SIPp here: run 'sh tools/setup.sh programs', or install sip-tester")

    def run(
        self,
        target: tuple[str, int],
        pids: Sequence[int],
        rate: float,
        calls: int,
        hold: float = 0.1,
        during: Callable[[Path], Any] | None = None,
        number: str = "1001",
        timed: bool = False,
    ) -> Outcome:
        """Place ``calls`` calls that talk for ``hold`` seconds. ``during`` is called with the callers' statistics.

        ``timed``: note how long each call took to be set up and to end, or what the target added to that.
        """
        self._runs += 1
        name = f"sipp{self._runs}"
        limit = int(calls / rate * 1.5 + 2 * hold + 30)
        callee = self._sipp(f"{name}-callee", ["-sf", str(SCENARIOS / "callee.xml"), "-p", str(CALLEE)], limit + 20)
        time.sleep(0.4)
        sipp, busy = _children_s(), machine_busy_s()
        began_at, began_cpu = time.monotonic(), cpu_s(pids)
        at_once = max(200, int(2 * rate)) if hold < 1 else calls
        arguments = ["-sf", str(SCENARIOS / "caller.xml"), "-p", str(CALLER), "-s", number, "-r", f"{rate:g}"]
        arguments += ["-m", str(calls), "-l", str(at_once), "-d", str(int(hold * 1000)), f"{target[0]}:{target[1]}"]
        noted = (
            stamps.Capture(self.host, self._statistics(name), limit + 60) if timed and stamps.can_be_had() else None
        )
        if timed and noted is None:
            arguments += ["-trace_rtt", "-rtt_freq", "1"]
        caller = self._sipp(f"{name}-caller", arguments, limit)
        if during is not None:
            during(self._statistics(f"{name}-caller"))
        _wait(caller, limit + 40)
        seconds = time.monotonic() - began_at
        time.sleep(1.3)  # the far end of the last BYEs
        used = cpu_s(pids) - began_cpu
        callee.send_signal(signal.SIGUSR1)  # SIPp: end when the calls have ended
        _wait(callee, 6.0)
        spent = _children_s() - sipp
        others = (machine_busy_s() - busy - used - spent) / (time.monotonic() - began_at)
        here, there = (last_row(self._statistics(f"{name}-{side}")) for side in ("caller", "callee"))
        again = number_of(here, "Retransmissions(C)") + number_of(there, "Retransmissions(C)")
        good = number_of(here, "SuccessfulCall(C)")
        for side in ("caller", "callee"):
            self.processes.running.pop(f"{name}-{side}", None)
        times = self._times(caller) if timed and noted is None else {}
        added = stamps.added(noted.end(), CALLER, CALLEE)._asdict() if noted is not None else {}
        return Outcome(rate, calls, good, again, seconds, used, max(0.0, others), hold, times, added)

    def press(self, scenario: Path, target: tuple[str, int], rate: float, calls: int) -> Pressed:
        """Place calls whatever becomes of them, by a scenario that takes 503 for an answer."""
        self._runs += 1
        name = f"sipp{self._runs}"
        limit = int(calls / rate * 3 + 60)
        callee = self._sipp(f"{name}-callee", ["-sf", str(SCENARIOS / "callee.xml"), "-p", str(CALLEE)], limit + 20)
        time.sleep(0.4)
        arguments = ["-sf", str(scenario), "-p", str(CALLER), "-s", "1001", "-r", f"{rate:g}", "-m", str(calls)]
        arguments += [
            "-l",
            str(calls),
            "-d",
            "100",
            "-recv_timeout",
            str(_GIVES_UP_MS),
            "-trace_rtt",
            "-rtt_freq",
            "1",
        ]
        began_at = placed_at = time.monotonic()
        caller = self._sipp(f"{name}-caller", [*arguments, f"{target[0]}:{target[1]}"], limit)
        written = self._statistics(f"{name}-caller")
        while caller.poll() is None and number_of(last_row(written), "TotalCallCreated") < calls:
            placed_at = time.monotonic()
            time.sleep(0.1)
        _wait(caller, limit + 40)
        callee.send_signal(signal.SIGUSR1)
        _wait(callee, 2.5)
        here, there = (last_row(self._statistics(f"{name}-{side}")) for side in ("caller", "callee"))
        again = number_of(here, "Retransmissions(C)") + number_of(there, "Retransmissions(C)")
        for side in ("caller", "callee"):
            self.processes.running.pop(f"{name}-{side}", None)
        seconds = max(calls / rate, placed_at - began_at - 1.0)  # SIPp writes its statistics once a second
        return Pressed(calls / seconds, calls, again, self._times(caller, scenario))

    def _times(
        self, caller: subprocess.Popen[bytes], scenario: Path = SCENARIOS / "caller.xml"
    ) -> dict[str, tuple[float, ...]]:
        """What ``-trace_rtt`` wrote: SIPp names the file after its scenario and process, in its directory."""
        found: dict[str, list[float]] = {number: [] for number in _KINDS}
        path = self.processes.directory / f"{scenario.stem}_{caller.pid}_rtt.csv"
        with path.open(newline="") as file:
            for row in csv.reader(file, delimiter=";"):
                if len(row) == 3 and row[2] in found:
                    found[row[2]].append(float(row[1]))
        path.unlink()
        return {kind: tuple(sorted(found[number])) for number, kind in _KINDS.items()}

    def _statistics(self, name: str) -> Path:
        return self.processes.directory / f"{name}.csv"

    def _sipp(self, name: str, arguments: list[str], limit: int) -> subprocess.Popen[bytes]:
        command = ["sipp", "-i", self.host, "-nostdin", "-buff_size", "4194304", "-timeout", f"{limit}s"]
        command += ["-trace_stat", "-stf", str(self._statistics(name)), "-fd", "1", *arguments]
        return self.processes.start(name, command, directory=self.processes.directory).process


def _children_s() -> float:
    """CPU time of all children that ended: SIPp's, as nothing else ends during a run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_row(path: Path) -> dict[str, str]:
    """The last line of SIPp's statistics, by column."""
    try:
        with path.open(errors="replace", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=";") if row]
    except OSError:
        return {}
    return dict(zip(rows[0], rows[-1], strict=False)) if len(rows) > 1 else {}


def number_of(row: dict[str, str], column: str) -> int:
    """A figure of it, 0 where there is none."""
    return int(float(row.get(column) or 0))
