"""How a call ended: a value, and who ended it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

EndedBy = Literal["device", "server", "agent"]
DEVICE: Final = "device"
SERVER: Final = "server"
AGENT: Final = "agent"


class CallEnd(NamedTuple):
    """How a call ended."""

    at: float
    by: EndedBy
    reason: str
    """A Reason header value, ``""`` without one."""
    status: int
