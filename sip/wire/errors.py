"""What can be wrong, and whose fault it is.

::

    SipError
    └── Malformed           theirs: the message cannot be used; carries the status to answer with
        ├── FaultyRequest   a request that can be answered (``sip.wire.message``)
        └── Unanswerable    what cannot even be answered (no Via, no Call-ID, …): counted and dropped
"""

from __future__ import annotations


class SipError(Exception):
    """Root of all errors of this package."""


class Malformed(SipError):
    """The remote sent what cannot be used."""

    def __init__(self, because: str, status: int = 400) -> None:
        super().__init__(because)
        self.status = status
        """The status of the answer to give (RFC 3261 section 21.4)."""


class Unanswerable(Malformed):
    """Not even an answer can be addressed: drop it."""
