"""The session identifier of a call (RFC 7989), made for devices that say none, where their line wants that.

Each end has one half, which all its messages carry beside the other end's. Ours is a hash of what the call began
with, so that it is the same after a death; the far one is learned from what comes. Both stand in the line state.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import Final

from sip.wire.message import Message

NIL: Final = "0" * 32
"""Of an end that is not known yet (section 5)."""
_DIGITS: Final = frozenset("0123456789abcdef")


def made(seed: str, message: Message | None = None) -> str:
    """The value of Session-ID for messages of the device; ``message``: the first one of the far end, if it called."""
    own = blake2s(f"session {seed}".encode(), digest_size=16).hexdigest()
    return learned(f"{own};remote={NIL}", message)


def learned(value: str, message: Message | None) -> str:
    """The same after a message of the far end, which has the half of that (section 6)."""
    said = message.get("session-id") if message is not None else None
    half = (said or "").partition(";")[0].strip().lower()
    known = len(half) == len(NIL) and _DIGITS.issuperset(half)
    return f"{value.partition(';')[0]};remote={half}" if known else value


def line_of(value: str, message: Message) -> tuple[str, ...]:
    """The line that a message of the device lacks."""
    return () if "session-id" in message.names else (f"Session-ID: {value}",)
