"""Which server has adopted the agent, and by which connection: what goes there, and what waits meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway_agent.call import Call
from gateway_agent.call_environment import NOWHERE, CallEnvironment
from sip.actions import Flow


class Obedience:
    """Follows the servers for all calls: it keeps what the environment says of them up to date."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: Mapping[int, Call],
        decided: Callable[[str, str, float], None],
        now: float,
    ) -> None:
        """``decided`` notes a decision by its code and sentence."""
        self._environment = environment
        self._calls = calls
        self._decided = decided
        self.adopted: tuple[str, int] = ("", 0)
        """Who adopted this agent, and under which epoch."""
        self.since: float | None = None
        self._unconnected_at = now
        """Since when no server is there, while none is."""

    def adopt(self, server: str, flow: Flow, now: float) -> None:
        """Go on with this server, on this connection. Nothing is sent again: all is in the records (docs/wire.md)."""
        environment = self._environment
        by = server, environment.epoch()
        if flow == environment.server_flow and self.adopted == by:
            return
        if self.adopted != by:
            self.since = now
        environment.server_flow, environment.server = flow, server
        self.adopted = by
        # What comes again is to be recognised by its key, not by its branch: that answers with all there was.
        servers = environment.stack.servers
        for key in [key for key, known in servers.items() if known.on_site_flow and known.flow != flow]:
            del servers[key]
        target = f"sip:{server};transport=tcp"
        for call in self._calls.values():
            call.server_side.moved(target)

    def detach(self, now: float) -> None:
        """Another server leads: until it has adopted this agent, requests are kept."""
        if self._environment.connected:
            self._unconnected_at = now
        self._environment.server_flow = NOWHERE
        for call in self._calls.values():
            if call.server is not None:
                call.server.move(NOWHERE)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A connection to a server is gone; when it was that of the obeyed one, requests are kept from now on."""
        if flow == self._environment.server_flow:
            self._environment.server_flow = NOWHERE
            self._unconnected_at = now
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
