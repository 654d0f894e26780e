"""Requests and responses of the pure state machines of this package (registration, peers, subscription), which their
owners send."""

from __future__ import annotations

from typing import NamedTuple


class OutgoingRequest(NamedTuple):
    """A request to be sent.

    The sender adds Via, Max-Forwards and Content-Length, and in a dialog also From, To, Call-ID, CSeq and Routes.
    """

    method: str
    uri: str
    """The Request-URI; ``""`` for the remote target of the dialog."""
    lines: tuple[str, ...]
    """Header lines, ``Name: value``."""
    body: bytes = b""


class ResponseSpec(NamedTuple):
    """A response to be sent."""

    status: int
    because: str
    """The reason for the log, not the reason phrase."""
    lines: tuple[str, ...] = ()
    body: bytes = b""
