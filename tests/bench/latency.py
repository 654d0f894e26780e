"""How much later a call is set up and ended because a target stands between caller and callee."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.bench.load import Load, Outcome
from tests.bench.plain import Effort
from tests.bench.stamps import can_be_had
from tests.bench.targets import Direct, Target

Times = dict[str, float | None]
"""``setup_p50``, ``setup_p99``, ``bye_p50``, ``bye_p99`` in milliseconds, None where the rate was too high."""

KINDS: Final = ("setup", "bye")


def quantile(times: Sequence[float], part: float) -> float:
    """The value that ``part`` of the sorted ``times`` do not exceed."""
    return times[min(len(times) - 1, int(len(times) * part))]


def measure_latency(
    targets: Sequence[Target], load: Load, host: str, effort: Effort, say: Callable[[str], None]
) -> dict[str, dict[str, Times]]:
    """By rate and target: what each adds to a call, by the stamps of packets (`stamps`).

    Where these cannot be had: to the median of a call without any target, at the same rate, in the same run. SIPp
    counts by the kernel's tick. What the callee takes (50 ms of ringing) is in both, and so falls out.
    """
    found: dict[str, dict[str, Times]] = {}
    direct = Direct(host)
    for rate in effort.latency_rates:
        calls = int(rate * effort.latency_s)
        alone = {} if can_be_had() else load.run(direct.address, direct.pids, rate, calls, timed=True).times
        rows = found[f"{rate:g}"] = {}
        for target in targets:
            target.start()
            load.run(target.address, target.pids, rate, int(rate))  # what is loaded at first use
            outcome = load.run(target.address, target.pids, rate, calls, timed=True)
            target.stop()
            rows[target.name] = {
                f"{kind}_p{part * 100:g}": _added(outcome, alone, kind, part)
                for kind in KINDS
                for part in (0.5, 0.99)
            }
            say(f"{target.name}: adds at {rate:g}/s: {rows[target.name]}; {outcome}")
    return found


def _added(outcome: Outcome, alone: Mapping[str, Sequence[float]], kind: str, part: float) -> float | None:
    if not outcome.clean:
        return None
    if found := outcome.added.get(kind):
        return round(quantile(found, part), 2)
    if not outcome.times.get(kind) or not alone.get(kind):
        return None
    return round(quantile(outcome.times[kind], part) - quantile(alone[kind], 0.5), 1)
