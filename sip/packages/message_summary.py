"""The ``message-summary`` event package (RFC 3842), message waiting indication; bodies are passed on unchanged."""

from __future__ import annotations

from typing import Final

from sip.subscription import package_of
from sip.wire.message import Message

PACKAGE: Final = "message-summary"


def is_of_messages(message: Message) -> bool:
    """Whether the Event header of ``message`` names this package."""
    return package_of(message) == PACKAGE
