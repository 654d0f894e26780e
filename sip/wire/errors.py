"""The errors of this package, by whose fault they are.

::

    SipError
    └── Malformed           the remote's fault: the message cannot be used; has the status to answer with
        ├── FaultyRequest   a request that can be answered (``sip.wire.message``)
        └── Unanswerable    no answer can be addressed (no Via, no Call-ID, …): to be counted and dropped
"""

from __future__ import annotations


class SipError(Exception):
    """Root of all errors of this package."""


class Malformed(SipError):
    """The remote sent a message or value that cannot be used."""

    def __init__(self, because: str, status: int = 400) -> None:
        super().__init__(because)
        self.status = status
        """The status of the answer to give (RFC 3261 section 21.4)."""


class Unanswerable(Malformed):
    """No answer can be addressed to the sender: the message is to be dropped."""
