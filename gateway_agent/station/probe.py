"""The result of a probe: a call through the site to a number that echoes it, judged by the echo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway_agent.e_model import mean_opinion_score, rating
from gateway_agent.station.line_events import Statistics
from gateway_agent.station.tones import Echo
from heartbeat.console.schema import Metric

LEAST_SHARE: Final = 0.9
"""Share of the bursts that must come back."""
REGISTERED_WITHIN: Final = 10.0
"""Seconds from its start within which a station registers; when it has not, that is what its first probe finds."""


class ProbeSchedule:
    """When a station makes the probes that nobody asked for."""

    def __init__(self, every: float, now: float) -> None:
        """``every``: seconds from the beginning of one to that of the next."""
        self._every = every
        self._due_at = now + REGISTERED_WITHIN
        self._begun = False

    def begins(self, idle: bool, registered: bool, now: float) -> bool:
        """Whether one begins now. One that is due waits for the end of a call; those that are missed meanwhile are
        not made up for."""
        due = now >= self._due_at or (registered and not self._begun)
        if not due or not idle:
            return False
        self._begun, self._due_at = True, now + self._every
        return True


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one probe."""

    number: str
    at: float
    """When it ended."""
    good: Annotated[bool, Metric("probe_good", "1: the last probe heard itself")]
    because: str
    """A sentence."""
    answered_s: float | None = None
    """Seconds from dialling to the answer."""
    bursts: int = 0
    """Bursts of the tone that were sent."""
    heard: int = 0
    """Bursts of the tone that came back."""
    delay_ms: Annotated[float | None, Metric("probe_delay_ms", "From mouth to ear and back, by the tone")] = None
    round_trip_ms: Annotated[float | None, Metric("probe_round_trip_ms", "The network's round trip, by RTCP")] = None
    jitter_ms: Annotated[float | None, Metric("probe_jitter_ms", "Mean interarrival jitter")] = None
    loss: Annotated[float | None, Metric("probe_loss", "Share of packets lost on the way back")] = None
    loss_there: Annotated[float | None, Metric("probe_loss_there", "The same on the way there, by RTCP")] = None
    rating: float | None = None
    """R value of the E-model (ITU-T G.107), for the worse direction."""
    mos: Annotated[float | None, Metric("probe_mos", "Mean opinion score, estimated by the E-model (G.107)")] = None


def judged(
    number: str, answered_s: float, echo: Echo, statistics: Statistics | None, least_mos: float, now: float
) -> ProbeResult:
    """The result of a probe whose call was answered."""
    loss = loss_there = rated = mos = None
    if statistics is not None:
        loss = _share(statistics.lost, statistics.received + statistics.lost)
        loss_there = _share(statistics.lost_there, statistics.sent)
    if echo.delay_ms is not None:
        rated = rating(echo.delay_ms / 2, max(loss or 0.0, loss_there or 0.0))
        mos = mean_opinion_score(rated)
    because = _fault(echo, mos, least_mos)
    return ProbeResult(
        number=number,
        at=now,
        good=not because,
        because=because or f"{number} was heard: {echo.heard} of {echo.sent} bursts came back",
        answered_s=round(answered_s, 3),
        bursts=echo.sent,
        heard=echo.heard,
        delay_ms=echo.delay_ms,
        round_trip_ms=_rounded(statistics.round_trip_ms if statistics is not None else None),
        jitter_ms=_rounded(statistics.jitter_ms if statistics is not None else None),
        loss=loss,
        loss_there=loss_there,
        rating=_rounded(rated),
        mos=_rounded(mos),
    )


def _fault(echo: Echo, mos: float | None, least_mos: float) -> str:
    if not echo.heard:
        return "nothing came back: is that number's line one that echoes?"
    if echo.heard < LEAST_SHARE * echo.sent:
        return f"only {echo.heard} of {echo.sent} bursts came back"
    if mos is not None and mos < least_mos:
        return f"the MOS is {mos:.2f}, under {least_mos:g}"
    return ""


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
