"""The three figures of a plain call through one process: CPU a call, memory a call, the highest rate without loss."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.load import Load, last_row, number_of
from tests.bench.targets import Target
from tests.bench.usage import own_bytes, settle

Say = Callable[[str], None]

NEARNESS: Final = 0.08
"""The search for the highest rate ends when a good and a bad one are as near as that."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for a figure."""

    repeats: int
    pairs: int
    """Runs for CPU of ours and of the measure beside it, in turns: their ratio moves with the machine."""
    cpu_rate: float
    cpu_calls: int
    standing: int
    """Calls that stand while memory is looked at."""
    standing_rate: float
    trial_s: float
    """Length of one trial of a rate, in seconds."""
    trials: int
    one_run: bool
    """CPU and memory are looked at in the same run, in which calls are longer."""
    latency_rates: tuple[float, ...]
    """Calls a second at which added latency is looked at."""
    latency_s: float
    """Seconds of calls for each."""
    growth: tuple[int, ...]
    """Numbers of ended calls after which resident memory is looked at."""
    growth_rate: float


FULL: Final = Effort(
    3, 10, 100.0, 2000, 2000, 100.0, 8.0, 12, False, (10.0, 100.0, 400.0), 20.0, (20_000, 100_000), 200.0
)
QUICK: Final = Effort(1, 1, 100.0, 350, 250, 100.0, 1.5, 2, True, (100.0,), 4.0, (), 100.0)
SHORT: Final = Effort(1, 1, 40.0, 60, 30, 40.0, 0.5, 1, True, (40.0,), 1.0, (), 40.0)
"""Only to see that all of it works, and to note what it says."""


@dataclass(slots=True)
class Figures:
    """What was measured of one target; each list has one entry a repeat."""

    cpu_us: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, float | None]:
        return {
            "cpu_us_per_call": middle(self.cpu_us),
            "bytes_per_call": middle(self.bytes),
            "rate": middle(self.rates),
        }


def middle(values: list[float]) -> float | None:
    """The median, None of nothing."""
    return round(statistics.median(values), 1) if values else None


def measure_cpu(target: Target, load: Load, effort: Effort, figures: Figures, say: Say) -> None:
    """CPU time of the target a call, at a rate that is the same for all."""
    target.start()
    load.run(target.address, target.pids, effort.cpu_rate, int(2 * effort.cpu_rate))
    outcome = load.run(target.address, target.pids, effort.cpu_rate, effort.cpu_calls)
    figures.cpu_us.append(outcome.cpu_us_per_call)
    say(f"{target.name}: CPU: {outcome}")
    target.stop()


def measure_memory(target: Target, load: Load, effort: Effort, figures: Figures, say: Say) -> None:
    """Memory of its own that the target has more with so many calls standing, a call."""
    target.start()
    load.run(target.address, target.pids, min(50.0, effort.standing_rate), 100)  # what is loaded on first use
    time.sleep(1.0)
    wanted = min(effort.standing, target.most_calls)
    look = _Look(target, wanted, figures)
    setting_up = wanted / effort.standing_rate
    load.run(target.address, target.pids, effort.standing_rate, wanted, setting_up + 6.0, look)
    say(f"{target.name}: memory: {look}")
    target.stop()


def measure_both(target: Target, load: Load, effort: Effort, figures: Figures, say: Say) -> None:
    """CPU and memory from one run of calls that last a few seconds, and the rate without another start."""
    target.start()
    load.run(target.address, target.pids, effort.cpu_rate, int(effort.cpu_rate))
    look = _Look(target, effort.standing, figures, wait=0.3)
    hold = effort.standing / effort.cpu_rate + 1.0
    outcome = load.run(target.address, target.pids, effort.cpu_rate, effort.cpu_calls, hold, look)
    figures.cpu_us.append(outcome.cpu_us_per_call)
    say(f"{target.name}: CPU: {outcome}; memory: {look}")
    _search(target, load, effort, figures, say)
    target.stop()


class _Look:
    """Looks at a target's memory when so many calls stand."""

    def __init__(self, target: Target, calls: int, figures: Figures, wait: float = 2.0) -> None:
        self._target = target
        self._calls = calls
        self._figures = figures
        self._wait = wait
        self._before = own_bytes(target.pids)
        self._found = 0.0

    def __call__(self, statistics_file: Path) -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end and number_of(last_row(statistics_file), "TotalCallCreated") < self._calls:
            time.sleep(0.1)
        time.sleep(self._wait)
        standing = number_of(last_row(statistics_file), "CurrentCall")
        if standing:
            self._found = (own_bytes(self._target.pids) - self._before) / standing
            self._figures.bytes.append(self._found)

    def __str__(self) -> str:
        return f"{self._found:,.0f} bytes a call"


def measure_rate(target: Target, load: Load, effort: Effort, figures: Figures, say: Say) -> None:
    """The highest rate that is clean (``Outcome.clean``)."""
    target.start()
    load.run(target.address, target.pids, target.first_rate / 2, int(target.first_rate))
    _search(target, load, effort, figures, say)
    target.stop()


def _search(target: Target, load: Load, effort: Effort, figures: Figures, say: Say) -> None:
    """By trials that halve the distance between a good and a bad rate."""
    low, high, rate = 0.0, float("inf"), target.first_rate
    for _ in range(effort.trials):
        rate = float(round(rate))
        outcome = load.run(target.address, target.pids, rate, max(200, int(rate * effort.trial_s)))
        if not outcome.clean:  # somebody else's work may have been the cause: a second chance
            settle(target.pids)
            outcome = load.run(target.address, target.pids, rate, max(200, int(rate * effort.trial_s)))
        say(f"{target.name}: rate: {outcome}")
        if outcome.clean:
            low = rate
        else:
            high = rate
            settle(target.pids)
            target.start()
        if high == float("inf"):
            rate = low * 1.5
        elif high - low <= max(2.0, high * NEARNESS):
            break
        else:
            rate = (low + high) / 2
    figures.rates.append(low)
