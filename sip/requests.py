"""What the pure machines of this package (registration, peers, subscription) hand to who owns the transactions."""

from __future__ import annotations

from typing import NamedTuple


class OutgoingRequest(NamedTuple):
    """A request to be sent.

    Who sends it adds Via, Max-Forwards and Content-Length, and in a dialog also From, To, Call-ID, CSeq and Routes.
    """

    method: str
    uri: str
    """The Request-URI; ``""`` for the remote target of the dialog."""
    lines: tuple[str, ...]
    """Header lines, ``Name: value``."""
    body: bytes = b""


class ResponseSpec(NamedTuple):
    """The answer to be given to a request."""

    status: int
    because: str
    """A sentence for the log; not the reason phrase."""
    lines: tuple[str, ...] = ()
    body: bytes = b""
