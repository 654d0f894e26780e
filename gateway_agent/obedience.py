"""Tracks which server has adopted the agent, and on which connection: where requests go, and from when they wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway_agent import poison
from gateway_agent.call import Call
from gateway_agent.call_environment import NOWHERE, CallEnvironment
from gateway_agent.server_side import PendingRequest
from sip.actions import Flow


class Obedience:
    """Keeps the server and its connection in the call environment up to date, for all calls of the agent."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: Mapping[int, Call],
        decided: Callable[[str, str, float], None],
        said_goodbye: Callable[[], bool],
        now: float,
    ) -> None:
        """``decided`` logs a decision by its code and sentence; ``said_goodbye`` tells whether the server that was
        heard last has released its leadership, so that its end is no crash."""
        self._environment = environment
        self._calls = calls
        self._decided = decided
        self._said_goodbye = said_goodbye
        self._died_at: float | None = None
        """When the connection to the adopting server broke without a goodbye; None when it did not, or there is one
        again."""
        self.adopted: tuple[str, int] = ("", 0)
        """The server that has adopted this agent, and its epoch."""
        self.since: float | None = None
        """When it did."""
        self._unconnected_at = now
        """When the last connection was lost; valid while there is none."""
        self.moved: Callable[[float], None] = _nobody
        """Called when a server is connected: requests that are in no call's record are then sent to it."""

    def adopt(self, server: str, flow: Flow, now: float) -> None:
        """This server has adopted the agent, on this connection: use it for all calls. Nothing is sent again, since
        all that is under way is in the calls' records (docs/wire.md). Requests of which too many servers died are
        given up (`gateway_agent.poison`)."""
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
        # A repeated request must be recognised by its origin key, not its branch: then it gets all former responses.
        servers = environment.stack.servers
        for key in [key for key, known in servers.items() if known.on_site_flow and known.flow != flow]:
            del servers[key]
        target = f"sip:{server};transport=tcp"
        deadly: list[PendingRequest] = []
        for call in self._calls.values():
            deadly += [sent for sent in call.sent if poison.count(sent, died_at, now)]
            call.server_side.moved(target)
        for sent in deadly:  # before this server is told of them
            self._environment.counters["poison"] += 1
            method = sent.client.method
            said = f"servers died while they had {method} {sent.client.branch}: it is answered 500"
            self._decided("poison", said, now)
            poison.give_up(sent, now)
        self.moved(now)

    def detach(self, now: float) -> None:
        """Another server leads: until it has adopted this agent, requests wait."""
        if self._environment.connected:
            self._unconnected_at = now
        self._environment.server_flow = NOWHERE
        for call in self._calls.values():
            if call.server is not None:
                call.server.dialogs.move(NOWHERE)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A connection to a server is gone; if it was the one in use, requests wait from now on."""
        if flow == self._environment.server_flow:
            self._environment.server_flow = NOWHERE
            self._unconnected_at = now
            self._died_at = None if self._said_goodbye() else now
            self._decided("unconnected", f"the connection to {self.adopted[0]} is lost; requests are kept", now)

    def reload(self, main: str, hold_attempt: float) -> None:
        """Take the main server and ``hold_attempt`` (the seconds for which a request waits for a server) from a
        changed site file."""
        self._environment.hold_attempt = hold_attempt
        if not self.adopted[0]:
            self._environment.server = main

    def holds(self, now: float) -> bool:
        """Whether a new call would be accepted, or held for a server: the answer to OPTIONS (RFC 3261 section 11). A
        takeover stays invisible; only when no server has been connected for ``hold_attempt`` seconds is it False."""
        environment = self._environment
        return environment.connected or now < self._unconnected_at + environment.hold_attempt


def _nobody(now: float) -> None:
    pass
