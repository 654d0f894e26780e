"""How a call ended: a value, and who ended it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

EndedBy = Literal["device", "server", "agent"]
DEVICE: Final = "device"
SERVER: Final = "server"
AGENT: Final = "agent"


_NOT_FAILURES: Final = frozenset({486, 487, 600})
"""Busy, or given up."""


class CallEnd(NamedTuple):
    """How a call ended."""

    at: float
    by: EndedBy
    reason: str
    """A Reason header value, ``""`` without one."""
    status: int


def is_failure(status: int) -> bool:
    """Whether a call that was not answered and ended so is worth looking into."""
    return status >= 400 and status not in _NOT_FAILURES
