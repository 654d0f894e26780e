"""Our 2xx to an INVITE until its ACK has come (RFC 3261 section 13.3.1.4)."""

from __future__ import annotations

from typing import Final

from sip.actions import Flow
from sip.layer import Stack
from sip.wire.message import parse

_SENT_BEFORE_US: Final = b"?"


class Success:
    """It is repeated on streams too: they are reliable for one hop alone. Not on site flows: there it is given again
    when the connection was made anew (docs/wire.md).
    """

    __slots__ = ("_data", "_flow", "_interval", "cseq")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._data = b""
        self._interval = 0.0
        self.cseq = 0
        """The number of the INVITE that it answers; 0: of any."""

    @property
    def awaited(self) -> bool:
        """Whether its ACK is still to come."""
        return bool(self._data)

    def sent(self, data: bytes, cseq: int, flow: Flow, interval: float) -> None:
        """It was sent; to be repeated after ``interval`` seconds first."""
        self._data, self.cseq, self._flow, self._interval = data, cseq, flow, interval

    def expect(self, data: bytes = _SENT_BEFORE_US, cseq: int = 0) -> None:
        """It was sent, perhaps by another process before us."""
        self._data, self.cseq = data, cseq

    def acknowledged(self, cseq: int) -> bool:
        """An ACK came for the INVITE with that number; whether it is the first one for this 2xx."""
        first = bool(self._data) and self.cseq in (0, cseq)
        if first:
            self._data = b""
        return first

    def stop(self) -> None:
        """No ACK is awaited any more."""
        self._data = b""

    def again(self, stack: Stack) -> float:
        """Repeat it; seconds until the next time."""
        if self._flow.transport != "udp":
            self._flow = stack.responder.reconnect(self._flow, parse(self._data).get("via") or "")
        stack.send(self._flow, self._data)
        self._interval = min(self._interval * 2, stack.timers.t2)
        return self._interval

    def moved(self, stack: Stack, flow: Flow) -> None:
        """The connection was made anew: what was not acknowledged is given again."""
        self._flow = flow
        if self._data and self._data != _SENT_BEFORE_US:
            stack.send(flow, self._data)
