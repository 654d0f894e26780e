"""Messages to bytes: the one place where a start line, header lines and a body become a message (RFC 3261 section 7).

Header lines are strings without line ends, one character a byte (ISO 8859-1). Content-Length is added here and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from sip.wire.reasons import REASONS


def request_bytes(method: str, uri: str, lines: Iterable[str], body: bytes = b"") -> bytes:
    """A request with these header lines, Content-Length added."""
    head = f"{method} {uri} SIP/2.0"
    return "\r\n".join((head, *lines, f"Content-Length: {len(body)}\r\n\r\n")).encode("latin-1") + body


def response_bytes(status: int, reason: str, lines: Iterable[str], body: bytes = b"") -> bytes:
    """A response with these header lines, Content-Length added; an empty ``reason`` stands for the registered one."""
    head = f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}"
    return "\r\n".join((head, *lines, f"Content-Length: {len(body)}\r\n\r\n")).encode("latin-1") + body
