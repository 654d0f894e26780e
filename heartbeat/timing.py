"""The clockwork of a site: the table ``[timing]`` of the site file, and which times fit each other. In seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from heartbeat.site.values import Seconds, Within

LEAST_WATCHDOG: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """``[timing]``: all may be left out. A file whose times do not fit each other is refused."""

    interval: Annotated[float, Within(0.05, 60)] = 0.2
    """Time between two heartbeats of the active server to the stand-by and to each voter."""
    slow_interval: Annotated[float, Within(0.05, 600)] = 2.0
    """Time between two heartbeats to an agent without a vote, and between two of the stand-by."""
    misses: Annotated[int, Within(1, 100)] = 3
    """How many heartbeats in a row must be missing until a server counts as dead."""
    lease: Annotated[float, Within(0, 3600)] = 0.0
    """How long the answers to a heartbeat allow the active server to make decisions; 0: 4 intervals, or ``misses``
    intervals and twice ``round_trip`` where that is longer."""
    margin: Annotated[float, Within(0, 3600)] = 0.0
    """How much longer than the lease a voter waits before it votes for another server; 0: 0.1 s + 10 % of the
    lease."""
    drift: Annotated[float, Within(0, 0.2)] = 0.01
    """By which share the clocks of two machines may run at different speeds; ``margin`` must cover it."""
    round_trip: Annotated[float, Within(0, 10)] = 0.0
    """The longest usual time from a heartbeat to its answer, which ``lease`` must cover; 0: 0.1 s, or half an
    interval where that is less."""
    hold_attempt: Annotated[float, Within(0, 30)] = 8.0
    """How long an agent holds a new call while there is no server, before it answers 503."""
    replay_wait: Annotated[float, Within(0, 30)] = 2.0
    """How long a repeated INVITE waits for the lists of agents where the call may be ringing already."""
    agent_grace: Seconds = 300.0
    """How long an agent may be silent before the other sides of its calls are released."""
    subset_after: Annotated[float, Within(0.1, 86400)] = 5.0
    """An active server hands over to a stand-by that has reached all agents that it reaches, and more, for this
    long."""
    switchover_limit: Annotated[float, Within(0.1, 600)] = 5.0
    """How long a planned switchover may take before it is called off."""
    watchdog: Annotated[float, Within(0, 3600)] = 0.0
    """A server whose event loop gives no sign of life for this long is killed by its supervisor; 0: never."""
    t1: Annotated[float, Within(0.01, 5)] = 0.5
    """T1 of RFC 3261, the estimate of the round trip to a device."""
    t2: Annotated[float, Within(0.01, 60)] = 4.0
    """T2 of RFC 3261, the longest retransmission interval."""
    t4: Annotated[float, Within(0.01, 60)] = 5.0
    """T4 of RFC 3261, how long a message may stay in the network."""

    def __post_init__(self) -> None:
        if not self.round_trip:
            object.__setattr__(self, "round_trip", min(0.1, self.interval / 2))
        if not self.lease:
            # so that a file that names misses or round_trip, and left the rest as it was, fits as it did
            least = self.misses * self.interval + 2 * self.round_trip
            object.__setattr__(self, "lease", round(max(4 * self.interval, least), 6))
        if not self.margin:
            object.__setattr__(self, "margin", round(0.1 + 0.1 * self.lease, 6))

    @property
    def silence(self) -> float:
        """How long a voter must not have heard a lease-holder before it grants to another: lease and margin."""
        return self.lease + self.margin

    @property
    def slow_silence(self) -> float:
        """The silence after which one that is asked every ``slow_interval`` counts as unreachable."""
        return 1.5 * self.slow_interval + self.interval

    @property
    def dead_after(self) -> float:
        """The silence after which the detector says dead."""
        return self.misses * self.interval


def least_margin(lease: float, drift: float) -> float:
    """Below this margin a fast clock and a slow one, off by ``drift``, could see a lease and a grant overlap."""
    return lease * 2 * drift / (1 - drift)


def faults(timing: Timing) -> list[str]:
    """Why these times would break the rules of leases, a sentence each that says what to do; empty when they fit."""
    found, lease, margin = [], timing.lease, timing.margin
    if 0 < timing.watchdog < LEAST_WATCHDOG:
        found.append(
            f"watchdog is {timing.watchdog:g} s; a stall of {LEAST_WATCHDOG:g} s is no death: say 0, or"
            f" {LEAST_WATCHDOG:g} at least"
        )
    needed = timing.misses * timing.interval + timing.round_trip
    if lease <= needed:
        found.append(
            f"lease is {lease:g} s; to survive {timing.misses - 1} lost beats it must be over {needed:g} s"
            f" (misses * interval + round_trip): raise lease, or lower misses or interval"
        )
    least = least_margin(lease, timing.drift)
    if margin < least:
        found.append(
            f"margin is {margin:g} s; with clocks that drift by {timing.drift:g} a lease of {lease:g} s"
            f" needs at least {least:.3g} s"
        )
    return found
