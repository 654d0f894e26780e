"""Silences an agent process when a later start of the same agent runs (docs/wire.md, "An agent's death").

The later process has the calls. So this one sends nothing more to any device, be it a BYE, the answer to a request or
a REGISTER that removes a contact, and opens no connection to a server. It does not exit either: it would be started
again, and be the later one then.
"""

from __future__ import annotations

from collections.abc import Callable

from sip.actions import Action, Close, Flow, Open, Send
from sip.layer import Stack


class Silence:
    """Whether this start of the agent is silent, and what it may still receive and do."""

    def __init__(self, stack: Stack, agent: str, decided: Callable[[str, str, float], None]) -> None:
        self.because = ""
        """Why this start is silent, a sentence for the operator; ``""`` when it is not."""
        self._stack = stack
        self._agent = agent
        self._decided = decided

    def begin(self, server: str, now: float) -> None:
        """A server has told, in a signed statement, that a later start of this agent is connected to it."""
        if not self.because:
            self.because = f"{server} hears a later start of {self._agent}: this one is silent, stop it"
            self._decided("superseded", self.because, now)

    def hears(self, flow: Flow) -> bool:
        """Whether messages on that flow are still received: those of servers."""
        return flow in self._stack.site_flows or flow in self._stack.unauthenticated_flows

    def permitted(self, actions: list[Action]) -> list[Action]:
        """Those of the actions that may still be done: nothing is opened, and only connections to servers are written
        or closed."""
        return [one for one in actions if not isinstance(one, Open) and self._is_for_servers(one)]

    def _is_for_servers(self, action: Action) -> bool:
        return not isinstance(action, Send | Close) or self.hears(action.flow)
