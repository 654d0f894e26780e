"""How busy each line of the site is, and whether it is in service: what routing looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2bua.routing import LineLoad
from sip.packages.line_dialog import LineRecord

if TYPE_CHECKING:
    from b2bua.call_setup import Hunting
    from b2bua.core import Core
    from heartbeat.site.lines import Line


class Lines:
    """All lines, by name; a name may come with a channel behind it (``trunk1/7``)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.loads: dict[str, LineLoad] = {}

    def load_of(self, line: str) -> LineLoad:
        """What is known of a line."""
        name = line.partition("/")[0]
        load = self.loads.get(name)
        if load is None:
            load = self.loads[name] = LineLoad()
        return load

    def is_full(self, line: Line, now: float) -> bool:
        """Whether a trunk of the server's own has no channel left, or its calls come faster than its ``cps``."""
        load = self.loads.get(line.name)
        return load is not None and (load.busy >= line.channels or load.paced(line.cps, now))

    def take(self, call: Hunting, line: str, now: float) -> None:
        """Count a call on a line."""
        name = line.partition("/")[0]
        known = self._core.site.lines.get(name)
        if known is not None:
            self.load_of(name).take(known.cps if known.at_servers else 0.0, now)
            call.lines = (*call.lines, name)

    def give(self, call: Hunting, line: str) -> None:
        """Count it no more."""
        name = line.partition("/")[0]
        if name in call.lines:
            self.load_of(name).give()
            kept = list(call.lines)
            kept.remove(name)
            call.lines = tuple(kept)

    def give_all(self, call: Hunting) -> None:
        """The call is over."""
        for name in call.lines:
            self.load_of(name).give()
        call.lines = ()

    def told(self, agent: str, line: LineRecord) -> None:
        """An agent told how a line is."""
        known = self._core.site.lines.get(line.line)
        if known is not None and known.agent == agent:
            self.load_of(line.line).in_service = line.in_service

    def cold(self, agent: str) -> dict[str, list[str]]:
        """The agent's lines whose calls are dropped at a takeover, by the state that they are reset to."""
        found: dict[str, list[str]] = {}
        for line in self._core.site.lines_of(agent):
            if line.recovery == "cold":
                found.setdefault(line.reset_state, []).append(line.name)
        return found
