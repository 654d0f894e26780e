"""A whole site of ten agents: what its servers say to each other, and how soon the calls of a dead one are served."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo_plan import Plan
from examples.demo_processes import Failed, Processes
from examples.demo_run import Run
from tests.bench.traffic import Counter, connected

Say = Callable[[str], None]


@dataclass(slots=True)
class Served:
    """What a site of so many calls showed."""

    calls: int
    served_s: float | None = None
    """From the decision until the last call of the sample was served; None when one never was."""
    stall_s: float | None = None
    """The longest that the new server's loop stood still meanwhile, as it says itself."""
    messages_per_s: dict[int, float] = field(default_factory=dict)
    """Between the servers, by the number of standing calls."""
    bytes_per_s: dict[int, float] = field(default_factory=dict)


def measure(calls: int, agents: int, watched_s: float, directory: Path, say: Say) -> Served:
    """One site: watched without calls, with ``calls`` calls, then its main is killed. Raises :class:`Failed`."""
    found = Served(calls)
    with Processes(directory) as processes:
        run = Run(Plan(calls, agents), directory, processes, _quiet)
        net = run.layout.net
        counter = Counter(f"{net}3", (f"{net}1", 5162), (f"{net}2", 5162))
        try:
            run.start(counter.beats)
            _watch(run, counter, 0, watched_s, found, say)
            began_at = time.monotonic()
            run.set_up()
            say(f"{calls:,} calls over {agents} agents stand after {time.monotonic() - began_at:.0f} s")
            _watch(run, counter, calls, watched_s, found, say)
            run.crash()
            found.stall_s = run.status("m2").get("process", {}).get("stall_last_minute")
            run.finish()
            measured = run.measured()
        finally:
            counter.close()
    found.served_s = measured["served_s"]
    say(
        f"{calls:,} calls: served {_seconds(found.served_s)} after the decision, {_seconds(measured['decision_s'])} "
        f"after the kill it was made; {measured['kept']:,} kept; longest stall {_seconds(found.stall_s)}"
    )
    for problem in run.problems:
        say(f"! {problem}")
    return found


def _quiet(what: str, value: Any) -> None:
    """The run's own words are not needed here."""


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f} s"


def _watch(run: Run, counter: Counter, calls: int, seconds: float, found: Served, say: Say) -> None:
    """Count what goes between the servers while nothing else happens."""
    time.sleep(1.0)
    if connected(f"{run.layout.net}1", f"{run.layout.net}2"):
        raise Failed("the servers are connected by TCP as well: what they say there is not counted")
    messages, size, began_at = counter.messages, counter.bytes, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began_at
    found.messages_per_s[calls] = round((counter.messages - messages) / took, 3)
    found.bytes_per_s[calls] = round((counter.bytes - size) / took, 1)
    say(
        f"between the servers with {calls:,} calls: {found.messages_per_s[calls]:.2f} messages/s, "
        f"{found.bytes_per_s[calls]:,.0f} bytes/s over {took:.0f} s"
    )
