"""Metrics of ended calls for Prometheus: counts by line and result, set-up times, and media quality.
Pure.

A route is labelled by its pattern in the site file, a trunk by its name. Phones, stations and browsers are too many
for labels of their own: they are labelled by their kind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from b2bua.cdr import Cdr
from heartbeat.console.views.process import BUCKETS, JITTERS, SCORES, Histogram, LineCalls, LineMedia
from heartbeat.site.lines import LineSettings

MOST_WAYS: Final = 500
"""Pairs of line and route that are counted separately; further ones count as `OTHER`."""
OTHER: Final = "other"
NO_ROUTE: Final = "none"


class _Figures:
    """The buckets, sum and count of a histogram."""

    __slots__ = ("counts", "ends", "total")

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)
        self.total = 0.0

    def add(self, figure: float) -> None:
        self.counts[bisect_left(self.ends, figure)] += 1
        self.total += figure

    def view(self) -> Histogram | None:
        """None where nothing was added."""
        return Histogram(tuple(self.counts), round(self.total, 3), self.ends) if any(self.counts) else None


class _Calls:
    """Figures of the calls to one line."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.post_dial = _Figures(BUCKETS)
        self.set_up = _Figures(BUCKETS)


class _Media:
    """Figures of the media from one line."""

    def __init__(self) -> None:
        self.packets = self.lost = 0
        self.jitter = _Figures(JITTERS)
        self.mos = _Figures(SCORES)

    def add(self, packets: int, lost: int, jitter_ms: float | None, mos: float | None) -> None:
        self.packets += packets
        self.lost += lost
        if packets and jitter_ms is not None:
            self.jitter.add(jitter_ms / 1000)
        if mos is not None:
            self.mos.add(mos)


class CallMetrics:
    """Counted since the start of a server."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], _Calls] = {}
        """By line and route."""
        self._media: dict[str, _Media] = {}

    def add(self, record: Cdr, lines: Mapping[str, LineSettings], route: str) -> None:
        """Count an ended call, which took ``route``; ``""``: none."""
        name = _name(record.callee_line, lines)
        way = name, route or NO_ROUTE
        calls = self._calls.get(way)
        if calls is None:
            if len(self._calls) >= MOST_WAYS:
                way = name, OTHER
            calls = self._calls.setdefault(way, _Calls())
        calls.results[record.result] += 1
        if record.caller_packets is not None:
            heard = record.caller_packets, record.caller_lost or 0, record.caller_jitter_ms, record.caller_mos
            self._media.setdefault(_name(record.caller_line, lines), _Media()).add(*heard)
        if record.callee_packets is not None:
            heard = record.callee_packets, record.callee_lost or 0, record.callee_jitter_ms, record.callee_mos
            self._media.setdefault(name, _Media()).add(*heard)
        if record.started is None:
            return
        rang = record.ringing or record.answered
        if rang is not None:
            calls.post_dial.add(max(0.0, rang - record.started))
        if record.answered is not None:
            calls.set_up.add(max(0.0, record.answered - record.started))

    def views(self) -> dict[str, Any]:
        """The members for ``process`` in the status."""
        return {"line_calls": self.view(), "line_media": self.media()}

    def view(self) -> tuple[LineCalls, ...]:
        """By called line and route."""
        return tuple(
            LineCalls(name, {**calls.results}, calls.post_dial.view(), calls.set_up.view(), route)
            for (name, route), calls in self._calls.items()
        )

    def media(self) -> tuple[LineMedia, ...]:
        """By the line that sent the media."""
        return tuple(
            LineMedia(name, media.packets, media.lost, media.jitter.view(), media.mos.view())
            for name, media in self._media.items()
        )


def _name(line: str, lines: Mapping[str, LineSettings]) -> str:
    settings = lines.get(line.partition("/")[0])
    return "none" if settings is None else settings.name if settings.kind == "trunk" else settings.kind
