"""The session identifier of a call (RFC 7989), made for devices that send none, where the line is set so.

Each end has a half of its own; messages carry both. The device's half is a hash of an identifier of the call, so that
it is the same after a restart; the far end's half is learned from its messages. Both are in the line state.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import Final

from sip.wire.message import Message

NIL: Final = "0" * 32
"""The half of an end that is not known yet (section 5)."""
_DIGITS: Final = frozenset("0123456789abcdef")


def made(seed: str, message: Message | None = None) -> str:
    """A new value of Session-ID for messages of the device. ``message``: the far end's first one, if that called."""
    own = blake2s(f"session {seed}".encode(), digest_size=16).hexdigest()
    return learned(f"{own};remote={NIL}", message)


def learned(value: str, message: Message | None) -> str:
    """The value of Session-ID with the far end's half from a message of that end (section 6)."""
    said = message.get("session-id") if message is not None else None
    half = (said or "").partition(";")[0].strip().lower()
    known = len(half) == len(NIL) and _DIGITS.issuperset(half)
    return f"{value.partition(';')[0]};remote={half}" if known else value


def line_of(value: str, message: Message) -> tuple[str, ...]:
    """The Session-ID header line, for a message of the device that has none."""
    return () if "session-id" in message.names else (f"Session-ID: {value}",)
