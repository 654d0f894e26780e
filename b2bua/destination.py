"""Where the INVITE of an attempt goes: an agent, or one place of a line of the servers' own."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from sip.actions import UNREACHABLE, Flow
from sip.device.policy import LinePolicy
from sip.digest import DigestClient
from sip.location import Place
from sip.next_hop import Reach
from sip.wire.message import Response


class OwnDevice(Protocol):
    """The far side of a line of the servers' own: a trunk, or a telephone that registers here."""

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
    """One of those that a target has, in the order to try them."""

    uri: str
    """The Request-URI; of a trunk of the servers' own without its user part."""
    agent: str = ""
    """The agent there; ``""`` for a line of the server's own."""
    connection: Flow | None = None
    """That to the agent, or by which a telephone has registered."""
    device: OwnDevice | None = None
    place: Place | None = None
    """Of a trunk."""
    path: tuple[str, ...] = ()
    """The proxies by which a telephone has registered (RFC 3327)."""

    @property
    def flow(self) -> Flow:
        """By which it is reached now."""
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
        """Seconds after which the next one is tried when nothing is heard; 0: agents have patience of their own."""
        return self.device.policy.answer_within if self.device is not None else 0.0

    def failed(self, response: Response | None, now: float) -> None:
        """Nobody has answered there (``None``), or only with 503."""
        if self.device is not None and self.place is not None:
            self.device.failed(self.place, response, now)
