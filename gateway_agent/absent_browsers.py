"""Calls whose browser has lost its connection: they wait for it, and not for ever.

The page connects anew, registers, and its dialogs go to the new connection (``gateway_agent.lines.phone``); the media
of the call it mends by a re-INVITE with an ICE restart (RFC 8839 section 4.4.1.1). A page that was closed does not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from gateway_agent.call import Call
from gateway_agent.call_end import AGENT
from gateway_agent.call_environment import CallEnvironment

logger = logging.getLogger(__name__)

REASON: Final = 'SIP;cause=480;text="The browser did not come back"'


class AbsentBrowsers:
    """Those of one agent."""

    __slots__ = ("_calls", "_environment", "_until", "generation")

    def __init__(self, environment: CallEnvironment, calls: Mapping[int, Call]) -> None:
        self._environment = environment
        self._calls = calls
        self._until: dict[int, float] = {}
        """Until when a call waits, by its id."""
        self.generation = 0

    def look(self, now: float) -> None:
        """Connections were lost, with the process before us or one by one: whose calls wait from now on."""
        for call in self._calls.values():
            within = call.line.settings.return_within
            if call.line.web and within and call.id not in self._until and _is_absent(call):
                self._until[call.id] = now + within
                self._environment.stack.deadlines.set(now + within, self, "")
                said = "%s has lost the connection of its browser in a call, which waits %g s for it"
                self._environment.log.info(logger, now, said, call.label, within)

    def came_back(self, call: Call) -> None:
        """Its browser has shown itself by another connection."""
        self._until.pop(call.id, None)

    def due(self, cause: str, now: float) -> None:
        for id_, until in list(self._until.items()):
            call = self._calls.get(id_)
            if until > now:
                continue
            del self._until[id_]
            if call is not None and _is_absent(call):
                self._environment.counters["browser gone"] += 1
                call.hang_up(AGENT, REASON, 480, now)


def _is_absent(call: Call) -> bool:
    """Whether an answered call cannot reach its browser."""
    if call.device is None or call.answered_at is None or call.end is not None:
        return False
    path = call.device.path
    return path.reach is not None and not path.reach.is_open(path.flow)
