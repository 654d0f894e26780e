"""The destination of an INVITE: an agent, or one address of a line of the servers' own."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from sip.actions import UNREACHABLE, Flow
from sip.device.policy import LinePolicy
from sip.digest import DigestClient
from sip.location import Place
from sip.next_hop import Reach
from sip.wire.message import Response


class OwnDevice(Protocol):
    """A device on a line of the servers' own: a trunk, or a telephone that registers here."""

    @property
    def policy(self) -> LinePolicy: ...

    @property
    def reach(self) -> Reach: ...

    @property
    def digest(self) -> DigestClient | None: ...

    @property
    def route(self) -> tuple[str, ...]: ...

    def flow_to(self, place: Place) -> Flow | None: ...

    def failed(self, place: Place, response: Response | None, now: float) -> None: ...


class Destination(NamedTuple):
    """One destination of a target, which may have several to be tried in order."""

    uri: str
    """The Request-URI; of a trunk of the servers' own without its user part."""
    agent: str = ""
    """The agent there; ``""`` for a line of the server's own."""
    connection: Flow | None = None
    """The connection to the agent, or the flow by which a telephone registered."""
    device: OwnDevice | None = None
    place: Place | None = None
    """Of a trunk."""
    path: tuple[str, ...] = ()
    """The proxies in the Path of a telephone's registration (RFC 3327)."""

    @property
    def flow(self) -> Flow:
        """The flow by which it is reached now."""
        if self.connection is not None:
            return self.connection
        flow = self.device.flow_to(self.place) if self.device is not None and self.place is not None else None
        return flow or UNREACHABLE

    @property
    def route(self) -> tuple[str, ...]:
        """The Routes of the INVITE."""
        return self.device.route if self.place is not None and self.device is not None else self.path

    @property
    def answer_within(self) -> float:
        """Seconds without any response after which the next destination is tried; 0: no limit, as for agents, which
        have their own."""
        return self.device.policy.answer_within if self.device is not None else 0.0

    def failed(self, response: Response | None, now: float) -> None:
        """The destination did not answer (``None``), or with 503."""
        if self.device is not None and self.place is not None:
            self.device.failed(self.place, response, now)
