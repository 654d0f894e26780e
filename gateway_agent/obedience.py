"""Which server has adopted the agent, and by which connection: what goes there, and what waits meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway_agent import poison
from gateway_agent.call import Call
from gateway_agent.call_environment import NOWHERE, CallEnvironment
from gateway_agent.server_side import PendingRequest
from sip.actions import Flow


class Obedience:
    """Follows the servers for all calls: it keeps what the environment says of them up to date."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: Mapping[int, Call],
        decided: Callable[[str, str, float], None],
        said_goodbye: Callable[[], bool],
        now: float,
    ) -> None:
        """``decided`` notes a decision by its code and sentence; ``said_goodbye``: whether the server that was heard
        last let go of its epoch."""
        self._environment = environment
        self._calls = calls
        self._decided = decided
        self._said_goodbye = said_goodbye
        self._died_at: float | None = None
        """When the connection to the obeyed server broke without a goodbye; None: it did not, or is there again."""
        self.adopted: tuple[str, int] = ("", 0)
        """Who adopted this agent, and under which epoch."""
        self.since: float | None = None
        self._unconnected_at = now
        """Since when no server is there, while none is."""
        self.moved: Callable[[float], None] = _nobody
        """Told that a server is there to be spoken to: what stands in no record goes there."""

    def adopt(self, server: str, flow: Flow, now: float) -> None:
        """Go on with this server, on this connection. Nothing is sent again: all is in the records (docs/wire.md)."""
        environment = self._environment
        by = server, environment.epoch()
        if flow == environment.server_flow and self.adopted == by:
            return
        died_at = self._died_at if self.adopted != by else None
        self._died_at = None
        if self.adopted != by:
            self.since = now
        environment.server_flow, environment.server = flow, server
        self.adopted = by
        # What comes again is to be recognised by its key, not by its branch: that answers with all there was.
        servers = environment.stack.servers
        for key in [key for key, known in servers.items() if known.on_site_flow and known.flow != flow]:
            del servers[key]
        target = f"sip:{server};transport=tcp"
        deadly: list[PendingRequest] = []
        for call in self._calls.values():
            deadly += [sent for sent in call.sent if poison.count(sent, died_at, now)]
            call.server_side.moved(target)
        for sent in deadly:  # before this server is told of it
            self._environment.counters["poison"] += 1
            method = sent.client.method
            said = f"servers died while they had {method} {sent.client.branch}: it is answered 500"
            self._decided("poison", said, now)
            poison.give_up(sent, now)
        self.moved(now)

    def detach(self, now: float) -> None:
        """Another server leads: until it has adopted this agent, requests are kept."""
        if self._environment.connected:
            self._unconnected_at = now
        self._environment.server_flow = NOWHERE
        for call in self._calls.values():
            if call.server is not None:
                call.server.dialogs.move(NOWHERE)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A connection to a server is gone; when it was that of the obeyed one, requests are kept from now on."""
        if flow == self._environment.server_flow:
            self._environment.server_flow = NOWHERE
            self._unconnected_at = now
            self._died_at = None if self._said_goodbye() else now
            self._decided("unconnected", f"the connection to {self.adopted[0]} is lost; requests are kept", now)

    def reload(self, main: str, hold_attempt: float) -> None:
        """The site file names another main server, or another time for which a request waits for a server."""
        self._environment.hold_attempt = hold_attempt
        if not self.adopted[0]:
            self._environment.server = main

    def holds(self, now: float) -> bool:
        """Whether a new call would be taken or held (RFC 3261 section 11): nobody need see a takeover; only where it
        would be refused in the end are we out of service."""
        environment = self._environment
        return environment.connected or now < self._unconnected_at + environment.hold_attempt


def _nobody(now: float) -> None:
    pass
