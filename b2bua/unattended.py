"""Calls without agents, between two of the servers' own lines, and which of them could be restored if this server
failed. Only this server knows of them; its heartbeats tell the stand-by how many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from b2bua.call import Call, CallServices, legs_of
from b2bua.contact_cookie import FORMAT
from b2bua.state_token import CallState
from b2bua.takeover.verdicts import CARRIED, RESET, UNKEPT
from heartbeat.site.model import Site
from sip.b2b.bridge import DIALING, RINGING, TALKING

AGAIN: Final = 1.0
"""Seconds after which the calls are counted again; heartbeats are sent more often."""


class Unattended(NamedTuple):
    """A call without agents, with its verdict."""

    call: str
    """The call id."""
    verdict: str
    """``carried``, ``unkept`` or ``reset``."""
    state: str
    """``talking`` or ``ringing``."""
    because: str


class UnattendedCalls:
    """The calls without agents of a server, which has one instance for its whole life."""

    def __init__(self, services: CallServices) -> None:
        self._services = services
        self._numbers = 0, 0
        self._until = float("-inf")

    def each(self) -> Iterator[Unattended]:
        """All of them for which a device has been called."""
        for call in self._services.calls.values():
            if call.device_legs and (found := _judged(call, self._services)) is not None:
                yield found

    def numbers(self, now: float) -> tuple[int, int]:
        """Number of calls that could be restored from the state that their devices carry, and of the others."""
        if now >= self._until:
            self._until = now + AGAIN
            found = Counter(one.verdict == CARRIED for one in self.each())
            self._numbers = found[True], found[False]
        return self._numbers


def _judged(call: Call, services: CallServices) -> Unattended | None:
    phase = call.bridge.phase
    if phase not in (DIALING, RINGING, TALKING) or any(call.agent_of(leg) for leg in legs_of(call)):
        return None
    state = "talking" if phase == TALKING else "ringing"
    if line := cold_line(call.state, services.site):
        return Unattended(call.id, RESET, state, f"{line} is cold: its calls are dropped")
    if phase != TALKING:
        return Unattended(call.id, UNKEPT, state, "it is not answered, and its caller's INVITE is known here alone")
    if not services.cookies.enabled:
        return Unattended(
            call.id, UNKEPT, state, "no agent has it, and its devices carry nothing: see the extra direct"
        )
    if not any(leg.path.user.startswith(FORMAT) for leg in call.device_legs):
        return Unattended(call.id, UNKEPT, state, "no agent has it, and no Contact at its devices has room for it")
    return Unattended(call.id, CARRIED, state, "its devices carry it: it is back when one of them sends a request")


def cold_line(state: CallState, site: Site) -> str:
    """The servers' own line with cold recovery on one side of a call; ``""`` without one."""
    for agent, channel in ((state.caller_agent, state.caller_line), (state.callee_agent, state.callee_line)):
        line = None if agent else site.lines.get(channel.partition("/")[0])
        if line is not None and line.recovery == "cold":
            return line.name
    return ""
