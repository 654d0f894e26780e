"""What becomes of a start of an agent when a later one runs: it falls silent (docs/wire.md, "An agent's death").

The later one has its calls. So this one says nothing more to any device, be it a BYE, the answer to a request or a
REGISTER that takes a contact back, and connects to no server. It does not end either: it would be started again, and
be the later one then.
"""

from __future__ import annotations

from collections.abc import Callable

from sip.actions import Action, Close, Flow, Open, Send
from sip.layer import Stack


class Silence:
    """One for each start."""

    def __init__(self, stack: Stack, agent: str, decided: Callable[[str, str, float], None]) -> None:
        self.because = ""
        """A sentence for the operator; ``""``: it is not silent."""
        self._stack = stack
        self._agent = agent
        self._decided = decided

    def begin(self, server: str, now: float) -> None:
        """A server has said, signed, that it hears a later start of this agent."""
        if not self.because:
            self.because = f"{server} hears a later start of {self._agent}: this one is silent, stop it"
            self._decided("superseded", self.because, now)

    def hears(self, flow: Flow) -> bool:
        """Whether what comes on that flow is listened to, once it is silent."""
        return flow in self._stack.site_flows or flow in self._stack.unauthenticated_flows

    def lets_out(self, actions: list[Action]) -> list[Action]:
        """What of this is done, once it is silent; connections that are there may be closed in order."""
        return [one for one in actions if not isinstance(one, Open) and self._is_for_servers(one)]

    def _is_for_servers(self, action: Action) -> bool:
        return not isinstance(action, Send | Close) or self.hears(action.flow)
