"""One run of the bench beside an earlier one. The machine changes between the two, and all programs with it, so what
ours has changed by is shown beside what its peers have. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

OURS: Final = "ours"

_PLAIN: Final = {
    "cpu_us_per_call": "CPU a call, us",
    "bytes_per_call": "memory a call, bytes",
    "rate": "highest rate, calls/s",
}
_LATENCY: Final = {
    "setup_p50": "added to set-up at {}/s, median, ms",
    "setup_p99": "added to set-up at {}/s, 99th percentile, ms",
    "bye_p50": "added to BYE at {}/s, median, ms",
    "bye_p99": "added to BYE at {}/s, 99th percentile, ms",
}
_OVERLOAD: Final = {
    "capacity": "overload: highest rate of one core, calls/s",
    "good": "overload: served at twice that, calls/s",
    "refused_after_p50": "overload: refused after, median, ms",
}
_SITE: Final = {
    "chain": "agent, server, agent: CPU a call, us",
    "longest_stall_ms": "agent, server, agent: longest stall, ms",
}
_SITE_BY: Final = {
    "rss_mb_after": "agent, server, agent: memory after {} calls, MB",
    "served": "{} calls served after, s",
    "server_messages_per_s": "between the servers, {} calls, messages/s",
    "server_bytes_per_s": "between the servers, {} calls, bytes/s",
}

Figures = dict[str, dict[str, float]]
"""By what was measured, and by program."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one figure; None where a run does not have it."""

    what: str
    then: float | None
    now: float | None
    ratio: float | None
    """``now`` to ``then``."""
    peers: dict[str, float | None]
    """The same ratio of each peer."""


def figures(result: Mapping[str, Any]) -> Figures:
    """All figures of a run, as ``--format json`` prints it; what it has not, or in another shape, is left out."""
    found: Figures = {}
    for what, program, value in _all(result):
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(what, {})[program] = float(value)
    return found


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Each figure that either run has of ours, in the order of the later one."""
    before, after = figures(then), figures(now)
    peers = [name for name in _table(now.get("peers")) if name != OURS]
    return [
        Change(
            what,
            before.get(what, {}).get(OURS),
            after.get(what, {}).get(OURS),
            _ratio(before, after, what, OURS),
            {name: _ratio(before, after, what, name) for name in peers},
        )
        for what in dict.fromkeys((*after, *before))
        if OURS in before.get(what, {}) or OURS in after.get(what, {})
    ]


def _ratio(before: Figures, after: Figures, what: str, program: str) -> float | None:
    then, now = before.get(what, {}).get(program), after.get(what, {}).get(program)
    return round(now / then, 3) if then and now is not None else None


def _all(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """What, program, value."""
    for member, what in _PLAIN.items():
        yield what, OURS, result.get(member)
        for name, row in _table(result.get("peers")).items():
            yield what, name, _table(row).get(member)
    for rate, rows in sorted(_table(result.get("latency_ms")).items(), key=lambda item: _number(item[0])):
        for member, what in _LATENCY.items():
            for name, row in _table(rows).items():
                yield what.format(rate), name, _table(row).get(member)
    for member, what in _OVERLOAD.items():
        for name, row in _table(result.get("overload")).items():
            yield what, name, _table(row).get(member)
    for member, what in _SITE.items():
        yield what, OURS, result.get(member)
    for member, what in _SITE_BY.items():
        for calls, value in _table(result.get(member)).items():
            yield (
                ("longest stall of the new server, s" if calls == "longest_stall_s" else what.format(calls)),
                OURS,
                value,
            )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
