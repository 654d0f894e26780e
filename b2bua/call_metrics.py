"""Calls that ended, counted for Prometheus: by line and result, and how long their set-up took. Pure.

A line is a trunk by its name; phones, stations and browsers are too many to be told one by one: they count as their
kind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from b2bua.cdr import Cdr
from heartbeat.console.view import BUCKETS, Histogram, LineCalls
from heartbeat.site.lines import LineSettings


class _Times:
    """What a histogram is made of."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class CallMetrics:
    """Since the start of a server."""

    def __init__(self) -> None:
        self._results: dict[str, Counter[str]] = {}
        self._post_dial: dict[str, _Times] = {}
        self._set_up: dict[str, _Times] = {}

    def add(self, record: Cdr, lines: Mapping[str, LineSettings]) -> None:
        """A call ended."""
        line = lines.get(record.callee_line.partition("/")[0])
        name = "none" if line is None else line.name if line.kind == "trunk" else line.kind
        self._results.setdefault(name, Counter())[record.result] += 1
        if record.started is None:
            return
        heard = record.ringing or record.answered
        if heard is not None:
            self._post_dial.setdefault(name, _Times()).add(max(0.0, heard - record.started))
        if record.answered is not None:
            self._set_up.setdefault(name, _Times()).add(max(0.0, record.answered - record.started))

    def view(self) -> tuple[LineCalls, ...]:
        """By line."""
        return tuple(
            LineCalls(name, {**results}, _histogram(self._post_dial.get(name)), _histogram(self._set_up.get(name)))
            for name, results in self._results.items()
        )


def _histogram(times: _Times | None) -> Histogram | None:
    return Histogram(tuple(times.counts), round(times.total, 3)) if times is not None else None
