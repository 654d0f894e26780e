"""The answer to OPTIONS outside of calls (RFC 3261 section 11): whether a new call would be taken."""

from __future__ import annotations

from gateway_agent.draining import Draining
from gateway_agent.obedience import Obedience
from sip.header_policy import ALLOW
from sip.layer import Stack
from sip.transaction import ServerTransaction


class Qualification:
    """One for each agent."""

    def __init__(self, stack: Stack, draining: Draining, obedience: Obedience) -> None:
        self._stack = stack
        self._draining = draining
        self._obedience = obedience

    def answer(self, transaction: ServerTransaction, now: float) -> None:
        """Answer an OPTIONS."""
        lines = [ALLOW, "Accept: application/sdp", "Supported: timer"]
        status = 200
        if self._draining.active:
            status = 503
            lines.append("Retry-After: 60")
        elif not self._obedience.holds(now):
            status = 503
            lines.append("Retry-After: 5")
        self._stack.respond_stateless(transaction, status, lines)
