"""The load and service state of each line of the site, for routing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from sip.packages.line_dialog import LineRecord


class LineLoad:
    """The load and state of one line: its calls are counted here, its state is reported by its agent."""

    __slots__ = ("_at", "_credit", "busy", "in_service")

    def __init__(self, busy: int = 0, in_service: bool = True) -> None:
        self.busy = busy
        """Calls on it."""
        self.in_service = in_service
        """False while its peer does not answer, or no phone is registered."""
        self._credit = 1.0
        self._at = -math.inf

    def paced(self, cps: float, now: float) -> bool:
        """Whether the limit of ``cps`` calls a second (0: none) is reached."""
        return cps > 0 and min(max(cps, 1.0), self._credit + (now - self._at) * cps) < 1.0

    def take(self, cps: float, now: float) -> None:
        """Count a new call."""
        self.busy += 1
        if cps > 0:
            self._credit = min(max(cps, 1.0), self._credit + (now - self._at) * cps) - 1.0
            self._at = now

    def give(self) -> None:
        """Subtract an ended call."""
        self.busy -= 1


class Load(NamedTuple):
    """How busy the server is."""

    calls: int
    """Calls of all lines."""
    lines: Mapping[str, LineLoad]
    """By name; a missing line is idle and in service."""


class Lines:
    """All lines, by name; a name may come with a channel behind it (``trunk1/7``)."""

    def __init__(self, site: Site) -> None:
        self.site = site
        """As read last."""
        self.loads: dict[str, LineLoad] = {}

    def load_of(self, line: str) -> LineLoad:
        """The load and state of a line."""
        name = line.partition("/")[0]
        load = self.loads.get(name)
        if load is None:
            load = self.loads[name] = LineLoad()
        return load

    def is_full(self, line: LineSettings, now: float) -> bool:
        """Whether a line of the servers' own has no free channel, or has reached its ``cps``."""
        load = self.loads.get(line.name)
        return load is not None and (load.busy >= line.channels or (line.cps > 0 and load.paced(line.cps, now)))

    def take(self, line: str, now: float) -> str:
        """Count a call on a line; returns the name to be passed to :meth:`give`, ``""`` for an unknown line."""
        name = line.partition("/")[0]
        known = self.site.lines.get(name)
        if known is None:
            return ""
        load = self.loads.get(name) or self.load_of(name)
        load.take(known.cps if known.cps and known.at_servers else 0.0, now)
        return name

    def give(self, name: str) -> None:
        """Subtract an ended call."""
        load = self.loads.get(name) or self.load_of(name)
        load.give()

    def told(self, agent: str, line: LineRecord) -> None:
        """Take the state of a line as its agent reports it."""
        known = self.site.lines.get(line.line)
        if known is not None and known.agent == agent:
            self.load_of(line.line).in_service = line.in_service

    def cold(self, agent: str) -> dict[str, list[str]]:
        """State -> the agent's lines that are reset to it, and whose calls are dropped, at a takeover."""
        found: dict[str, list[str]] = {}
        for line in self.site.lines_of(agent):
            if line.recovery == "cold":
                found.setdefault(line.reset_state, []).append(line.name)
        return found
