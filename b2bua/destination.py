"""Where the INVITE of an attempt goes: an agent, or one place of a trunk of the server's own."""

from __future__ import annotations

from typing import NamedTuple

from sip.actions import UNREACHABLE, Flow
from sip.device.trunk import TrunkDevice
from sip.location import Place
from sip.wire.message import Response


class Destination(NamedTuple):
    """One of those that a target has, in the order to try them."""

    uri: str
    """The Request-URI; of a trunk of the server's own without its user part."""
    agent: str = ""
    """The agent there; ``""`` for a trunk of the server's own."""
    connection: Flow | None = None
    """That to the agent."""
    trunk: TrunkDevice | None = None
    place: Place | None = None

    @property
    def flow(self) -> Flow:
        """By which it is reached now."""
        if self.connection is not None:
            return self.connection
        flow = self.trunk.flow_to(self.place) if self.trunk is not None and self.place is not None else None
        return flow or UNREACHABLE

    @property
    def route(self) -> tuple[str, ...]:
        """The Routes of the INVITE."""
        return self.trunk.route if self.trunk is not None else ()

    @property
    def answer_within(self) -> float:
        """Seconds after which the next one is tried when nothing is heard; 0: agents have patience of their own."""
        return self.trunk.policy.answer_within if self.trunk is not None else 0.0

    def failed(self, response: Response | None, now: float) -> None:
        """It did not answer (``None``), or said 503."""
        if self.trunk is not None and self.place is not None:
            self.trunk.failed(self.place, response, now)
