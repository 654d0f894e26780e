"""How busy each line of the site is, and whether it is in service: what routing looks at."""

from __future__ import annotations

from b2bua.routing import LineLoad
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from sip.packages.line_dialog import LineRecord


class Lines:
    """All lines, by name; a name may come with a channel behind it (``trunk1/7``)."""

    def __init__(self, site: Site) -> None:
        self.site = site
        """As read last."""
        self.loads: dict[str, LineLoad] = {}

    def load_of(self, line: str) -> LineLoad:
        """What is known of a line."""
        name = line.partition("/")[0]
        load = self.loads.get(name)
        if load is None:
            load = self.loads[name] = LineLoad()
        return load

    def is_full(self, line: LineSettings, now: float) -> bool:
        """Whether a line of the server's own has no channel left, or its calls come faster than its ``cps``."""
        load = self.loads.get(line.name)
        return load is not None and (load.busy >= line.channels or (line.cps > 0 and load.paced(line.cps, now)))

    def take(self, line: str, now: float) -> str:
        """Count a call on a line; the name by which :meth:`give` counts it no more, ``""`` for a line unknown."""
        name = line.partition("/")[0]
        known = self.site.lines.get(name)
        if known is None:
            return ""
        load = self.loads.get(name) or self.load_of(name)
        load.take(known.cps if known.cps and known.at_servers else 0.0, now)
        return name

    def give(self, name: str) -> None:
        """Count it no more."""
        load = self.loads.get(name) or self.load_of(name)
        load.give()

    def told(self, agent: str, line: LineRecord) -> None:
        """An agent told how a line is."""
        known = self.site.lines.get(line.line)
        if known is not None and known.agent == agent:
            self.load_of(line.line).in_service = line.in_service

    def cold(self, agent: str) -> dict[str, list[str]]:
        """The agent's lines whose calls are dropped at a takeover, by the state that they are reset to."""
        found: dict[str, list[str]] = {}
        for line in self.site.lines_of(agent):
            if line.recovery == "cold":
                found.setdefault(line.reset_state, []).append(line.name)
        return found
