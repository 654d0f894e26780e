"""Calls whose browser has lost its connection: they wait for the browser for a limited time, and are ended then.

A page connects again and registers, and its dialogs move to the new connection (``gateway_agent.lines.phone``). It
restores the media of a call by a re-INVITE with an ICE restart (RFC 8839 section 4.4.1.1). A closed page does not
come back.
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
    """The calls of one agent that wait for their browsers."""

    __slots__ = ("_calls", "_environment", "_until", "generation")

    def __init__(self, environment: CallEnvironment, calls: Mapping[int, Call]) -> None:
        self._environment = environment
        self._calls = calls
        self._until: dict[int, float] = {}
        """The instant until which a call waits, by the call's id."""
        self.generation = 0

    def look(self, now: float) -> None:
        """Let the calls wait whose browsers have no connection: called when one was lost, and after a restart."""
        for call in self._calls.values():
            within = call.line.settings.return_within
            if call.line.web and within and call.id not in self._until and _is_absent(call):
                self._until[call.id] = now + within
                self._environment.stack.deadlines.set(now + within, self, "")
                said = "%s has lost the connection of its browser in a call, which waits %g s for it"
                self._environment.log.info(logger, now, said, call.label, within)

    def came_back(self, call: Call) -> None:
        """The browser of a call is connected again."""
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
    """Whether a call is answered and its browser cannot be reached."""
    if call.device is None or call.answered_at is None or call.end is not None:
        return False
    path = call.device.path
    return path.reach is not None and not path.reach.is_open(path.flow)
