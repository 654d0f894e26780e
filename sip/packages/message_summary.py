"""Waiting messages of a mailbox (RFC 3842); what is said of them crosses as it is."""

from __future__ import annotations

from typing import Final

from sip.subscription import package_of
from sip.wire.message import Message

PACKAGE: Final = "message-summary"


def is_of_messages(message: Message) -> bool:
    """Whether it is about waiting messages."""
    return package_of(message) == PACKAGE
