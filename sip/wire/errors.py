"""What can be wrong, and whose fault it is.

::

    SipError
    ├── Malformed          theirs: the message cannot be used; carries the status to answer with
    │   └── Unanswerable   theirs, and it cannot even be answered (no Via, no Call-ID, …): counted and dropped
    └── Misuse             ours: a bug in the calling code
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sip.wire.message import Request


class SipError(Exception):
    """Root of all errors of this package."""


class Malformed(SipError):
    """The remote sent what cannot be used."""

    def __init__(self, because: str, status: int = 400, request: Request | None = None) -> None:
        super().__init__(because)
        self.status = status
        """The status of the answer to give (RFC 3261 section 21.4)."""
        self.request = request
        """What to answer, where the message was found faulty while it was still being read."""


class Unanswerable(Malformed):
    """Not even an answer can be addressed: drop it."""


class Misuse(SipError):
    """The caller broke the contract of this package."""
