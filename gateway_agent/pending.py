"""What is under way in a call, and how it ended: small values that its parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sip.digest import Authorization
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request

if TYPE_CHECKING:
    from gateway_agent.deduplication import Received

DEVICE: Final = "device"
SERVER: Final = "server"
AGENT: Final = "agent"


class Ended(NamedTuple):
    """How a call ended."""

    at: float
    by: str
    """``device``, ``server`` or ``agent``."""
    reason: str
    """A Reason header value, ``""`` without one."""
    status: int


class Sent:
    """A request to the servers without a final answer."""

    __slots__ = ("asked", "at", "cancelled", "client", "cseq", "offered", "reached")

    def __init__(
        self, asked: ServerTransaction | None, at: float, reached: bool, cseq: int, offered: bool = False
    ) -> None:
        self.cseq = cseq
        self.offered = offered
        """For an INVITE: the offer is in it."""
        self.asked = asked
        """The device's transaction that waits for the answer; ``None`` for a request that is ours, as a BYE is."""
        self.at = at
        """When it was sent, or its device gave it up."""
        self.reached = reached
        """Whether it was written to a connection; otherwise no server knows it yet."""
        self.cancelled = False
        self.client: ClientTransaction | None = None


class Own:
    """A request to the device that is the agent's own: a BYE, a refresh."""

    __slots__ = ("credentials", "lines", "method", "received")

    def __init__(self, method: str, lines: Sequence[str], received: Received | None = None) -> None:
        self.method = method
        self.lines = lines
        self.received = received
        """The server's request that it carries out, to be answered as the device answers."""
        self.credentials: tuple[Authorization, ...] = ()


def hops_of(request: Request) -> int:
    """Max-Forwards of the request on the other leg (RFC 3261 section 16.6: one less)."""
    value = request.get("max-forwards")
    return min(int(value), 256) - 1 if value else 69


def for_device(status: int) -> int:
    """A challenge that is not the agent's, and a redirection without Contact, mean nothing to a device."""
    return 403 if status in (401, 407) else 480 if 300 <= status < 400 else status
