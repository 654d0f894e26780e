"""What becomes of calls at twice the highest rate that a target serves: how many are served all the same, and how
soon the others are refused. The target has the machine's first core, the load all others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.latency import quantile
from tests.bench.load import SCENARIOS, Load, Pressed
from tests.bench.targets import Target

TIMES: Final = 2.0
"""The highest rate times that is offered."""
PATIENCE_S: Final = 4.0
"""A call that is set up later than that is not counted as served: whoever sends to several servers has tried the next
one (``answer_within`` of a trunk)."""
_TAKES: Final = '<recv response="183" optional="true"/>'
_REFUSED: Final = """
  <recv response="503" optional="true" rtd="3" next="1">
    <action><ereg regexp="[0-9]+" search_in="hdr" header="Retry-After:" check_it="true" assign_to="later"/></action>
  </recv>"""
_ENDS: Final = '<recv response="200" rtd="2"/>'
_END: Final = """<recv response="200" rtd="2" next="2"/>
  <label id="1"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <label id="2"/>
  <nop/>
  <Reference variables="later"/>"""
_TRIALS: Final = 9
_NEARNESS: Final = 0.12


@dataclass(frozen=True, slots=True)
class Overload:
    """One target; rates in calls a second, times in milliseconds, None of nothing."""

    capacity: float
    """The highest rate that is clean (``Outcome.clean``)."""
    offered: float
    """What the load brought, which may be less than `TIMES` the capacity."""
    good: float
    """Calls that were set up within `PATIENCE_S`."""
    share: float
    """``good`` of ``capacity``."""
    refused: float
    """Calls that were answered 503 with Retry-After."""
    failed: int
    """Calls that were neither served nor refused, or too late."""
    refused_after_p50: float | None
    refused_after_p99: float | None
    """From the INVITE to its 503, by SIPp's clock."""
    setup_p50: float | None
    setup_p99: float | None
    """From the INVITE to its 200, of all that had one; 50 ms of it are the callee's ringing."""


def scenario(directory: Path) -> Path:
    """The caller of the other figures, which also takes a 503 with Retry-After for an answer."""
    text = (SCENARIOS / "caller.xml").read_text()
    for what, instead in (
        (_TAKES, _TAKES + _REFUSED),
        (_ENDS, _END),
        ('<send retrans="500" start_rtd="1">', '<nop start_rtd="3"/>\n  <send retrans="500" start_rtd="1">'),
    ):
        assert text.count(what) == 1, what
        text = text.replace(what, instead)
    path = directory / "refusable.xml"
    path.write_text(text)
    return path


class Pinned:
    """A target on the machine's first core."""

    def __init__(self, target: Target, core: int) -> None:
        self._target = target
        self._core = core
        self.name, self.most_calls = target.name, target.most_calls
        self.first_rate = 2 * target.first_rate  # it has the core for itself

    @property
    def address(self) -> tuple[str, int]:
        return self._target.address

    @property
    def pids(self) -> list[int]:
        return self._target.pids

    def start(self) -> None:
        """Processes inherit the core from this one, which is back on its own afterwards."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._core})
        try:
            self._target.start()
        finally:
            os.sched_setaffinity(0, before)

    def stop(self) -> None:
        self._target.stop()


def measure_overload(
    targets: Sequence[Target], load: Load, quick: bool, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """By target the members of `Overload`; one whose highest rate was not found is left out."""
    trial_s, seconds = (1.0, 4.0) if quick else (2.0, 12.0)
    calls = scenario(load.processes.directory)
    found: dict[str, dict[str, Any]] = {}
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)
    try:
        for target in (Pinned(each, cores[0]) for each in targets):
            if capacity := _capacity(target, load, calls, trial_s, say):
                target.start()
                load.press(calls, target.address, capacity / 2, int(capacity / 2))  # what is loaded at first use
                number = int(TIMES * capacity * seconds)
                one = _overload(capacity, load.press(calls, target.address, TIMES * capacity, number))
                found[target.name] = asdict(one)
                say(f"{target.name}: {one}")
            target.stop()
    finally:
        os.sched_setaffinity(0, cores)
    return found


def _capacity(target: Target, load: Load, calls: Path, trial_s: float, say: Callable[[str], None]) -> float:
    """The highest rate that is clean, 0 for none: by trials that halve the distance between a good and a bad one."""
    low, high, rate = 0.0, 0.0, target.first_rate
    target.start()
    load.press(calls, target.address, rate / 2, int(rate / 2))
    for _ in range(_TRIALS):
        trial = load.press(calls, target.address, rate, int(rate * trial_s))
        clean = _is_clean(trial, rate)
        what = "" if clean else "not clean: "
        say(f"{target.name}: {rate:.0f}/s: {what}{len(trial.times['bye'])} of {trial.calls} good, "
            f"{trial.retransmissions} sent again, {len(trial.times['refused'])} refused")  # fmt: skip
        if clean:
            low = rate
        else:
            high = rate
            target.start()
        if high and high - low <= high * _NEARNESS:
            break
        rate = float(round((low + high) / 2 if high else low * 1.5))
    return low


def _is_clean(trial: Pressed, rate: float) -> bool:
    """As ``Outcome.clean``."""
    bad = trial.calls - len(trial.times["bye"])
    return bad <= trial.calls * 0.001 and trial.retransmissions <= trial.calls * 0.01 and trial.rate > rate * 0.9


def _overload(capacity: float, pressed: Pressed) -> Overload:
    setups, refused = pressed.times["setup"], pressed.times["refused"]
    good = sum(time <= PATIENCE_S * 1e3 for time in setups)
    a_second = pressed.rate / pressed.calls
    return Overload(
        capacity,
        round(pressed.rate, 1),
        round(good * a_second, 1),
        round(good * a_second / capacity, 3),
        round(len(refused) * a_second, 1),
        pressed.calls - good - len(refused),
        _quantile(refused, 0.5),
        _quantile(refused, 0.99),
        _quantile(setups, 0.5),
        _quantile(setups, 0.99),
    )


def _quantile(times: Sequence[float], part: float) -> float | None:
    return round(quantile(times, part), 1) if times else None
