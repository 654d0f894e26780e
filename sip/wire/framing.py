"""Splitting the bytes of a stream into messages (RFC 3261 section 18.3) and keep-alives (RFC 5626)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PING: Final = b"\r\n\r\n"
"""What `Framer.feed` yields for a keep-alive of the peer (RFC 5626 3.5.1); to be answered with `PONG`."""
PONG: Final = b"\r\n"
"""The answer to a ping (RFC 5626 section 4.4.1). One that comes in is not yielded."""

MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 1024 * 1024

_END: Final = b"\r\n\r\n"
# The value may be folded (RFC 3261 7.3.1), hence the second branch.
_CONTENT_LENGTH: Final = re.compile(
    rb"\r\n(?:[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]|[lL])[ \t]*:((?:[^\r\n]|\r\n[ \t])*)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no further message can be found in a stream. The reader answers by ``head`` where it can, and closes."""

    reason: str
    """One sentence for the log."""
    status: int
    """The status of an answer: 400, 413 or 513."""
    head: bytes
    """Start line and headers of the faulty message, as far as they are whole, to make the answer from; or empty."""


class Framer:
    """Splits one direction of one stream. Its work is linear in the bytes fed, however they are cut."""

    __slots__ = ("_buffer", "_max_head", "_need", "_scanned", "fault", "max_body", "since")

    def __init__(self, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        """``max_head``: bytes of a start line with its headers; ``max_body``: bytes of a body."""
        self._max_head = max_head
        self.max_body = max_body
        self.since = 0.0
        """For the owner's use: when the incomplete message began."""
        self._buffer = bytearray()
        self._need = 0  # length of the first message in the buffer; 0: its head is incomplete
        self._scanned = 0  # no head ends before this offset of the buffer
        self.fault: Fault | None = None
        """Set once no further message can be found; from then on `feed` returns nothing."""

    @property
    def waiting(self) -> int:
        """Bytes of an incomplete message. A single CRLF does not count: it is most often the peer's `PONG`."""
        size = len(self._buffer)
        return 0 if size == 2 and self._buffer == PONG else size

    def forget_pong(self) -> None:
        """Drop a single CRLF from the buffer: it answered our ping, and does not begin a ping of the peer."""
        if self._buffer == PONG:
            self._buffer.clear()
            self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes of the stream; return the messages that are complete now, and a `PING` for each keep-alive.

        Pings that follow one another are yielded as one. Never raises: see `fault`.
        """
        if self.fault is not None:
            return []
        buffer = self._buffer
        if buffer:
            buffer += data
            if not self._is_whole():
                return []
            data = bytes(buffer)
            buffer.clear()
        return self._split(data)

    def _is_whole(self) -> bool:
        """Whether the buffer begins with a complete message, a ping or a fault. No byte is searched twice."""
        buffer = self._buffer
        if self._need:
            return len(buffer) >= self._need
        end = buffer.find(_END, self._scanned)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            return len(buffer) > self._max_head
        if end:
            at = 2 if buffer.startswith(b"\r\n") else 0  # RFC 3261 section 7.5: CRLF before a start line is ignored
            length = self._body_length(bytes(buffer[:end]), at, end)
            if isinstance(length, int) and len(buffer) < end + 4 + length:
                self._need = end + 4 + length
                return False
        return True

    def _split(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        size = len(data)
        at = 0
        self._need = 0
        self._scanned = 0
        while at < size:
            if data.startswith(b"\r\n", at):  # RFC 3261 section 7.5: CRLF before a start line is ignored
                if data.startswith(PING, at):
                    at += 4
                    if not found or found[-1] is not PING:
                        found.append(PING)
                    continue
                if size - at > 3 or (size - at == 3 and data[at + 2] != 13):
                    at += 2
                    continue
                break
            end = data.find(_END, at)
            if (size if end < 0 else end) - at > self._max_head:
                # RFC 3261 section 21.5.7; the complete lines may suffice to address the answer
                begun = data[at : at + self._max_head].rpartition(b"\r\n")[0]
                head = begun + _END if begun else b""
                self._fail(f"headers of more than {self._max_head} bytes", 513, head)
                return found
            if end < 0:
                break
            length = self._body_length(data, at, end)
            if isinstance(length, Fault):
                self.fault = length
                return found
            stop = end + 4 + length
            if stop > size:
                self._need = stop - at
                break
            found.append(data if stop - at == size else data[at:stop])
            at = stop
        if at < size:
            self._buffer += data[at:] if at else data
            if not self._need:
                self._scanned = max(0, size - at - 3)
        return found

    def _body_length(self, data: bytes, at: int, end: int) -> int | Fault:
        values = _CONTENT_LENGTH.findall(data, at, end)
        if len(values) != 1 and len({value.strip() for value in values}) != 1:
            # RFC 3261 section 20.14: required over a stream; without it the next message cannot be found.
            reason = "Content-Length given twice and different" if values else "no Content-Length on a stream"
            return Fault(reason, 400, data[at : end + 4])
        value: bytes = values[0].strip()
        if not value.isdigit():
            return Fault(f"Content-Length is no number: {value[:32]!r}", 400, data[at : end + 4])
        length = int(value[:12])
        if length > self.max_body:
            return Fault(f"a body of {length} bytes, more than {self.max_body}", 413, data[at : end + 4])
        return length

    def _fail(self, reason: str, status: int, head: bytes) -> None:
        self.fault = Fault(reason, status, head)
        self._buffer.clear()
