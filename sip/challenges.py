"""Requests in dialogs that a peer challenges, sent again with credentials (RFC 3261 section 22)."""

from __future__ import annotations

from typing import Final

from sip.digest import Authorization, DigestClient, Refusal
from sip.wire.message import Response

MOST_TRIES: Final = 6
"""Times that a request is sent at most, the first included; else a peer could challenge by ever new realms."""


class Challengeable:
    """What is kept of a request, to send it again when it is challenged."""

    __slots__ = ("body", "credentials", "lines", "max_forwards", "tag", "tries")

    def __init__(
        self,
        lines: tuple[str, ...],
        body: bytes,
        max_forwards: int,
        tag: str,
        credentials: tuple[Authorization, ...],
        tries: int,
    ) -> None:
        self.lines = lines
        self.body = body
        self.max_forwards = max_forwards
        self.tag = tag
        """The remote tag of the early dialog that it is sent in; ``""``: the dialog of the usage."""
        self.credentials = credentials
        self.tries = tries


class Challenges:
    """The requests of one dialog usage that may still be challenged, by branch."""

    __slots__ = ("_digest", "_open")

    def __init__(self, digest: DigestClient) -> None:
        self._digest = digest
        self._open: dict[str, Challengeable] = {}

    def sign(
        self,
        method: str,
        uri: str,
        branch: str,
        lines: tuple[str, ...],
        body: bytes,
        max_forwards: int,
        tag: str,
        again: Challengeable | None,
    ) -> tuple[str, ...]:
        """The header lines of a request with the credentials that are known for its target. ``again`` is a request
        that was challenged, with the credentials that answer the challenge.
        """
        if again is None:
            again = Challengeable(lines, body, max_forwards, tag, tuple(self._digest.authorize(method, uri)), 1)
        self._open[branch] = again
        return (*lines, *(one.line for one in again.credentials))

    def closed(self, branch: str) -> Challengeable | None:
        """A request has its final response or failed: forget and return it."""
        return self._open.pop(branch, None)

    def moved(self, branch: str, request: Challengeable | None) -> None:
        """The request goes on under this branch, for instance towards the next target."""
        if request is not None:
            self._open[branch] = request

    def answer(self, asked: Challengeable, response: Response, method: str, uri: str) -> Challengeable | None:
        """The request with credentials for a 401 or 407; None where another try is of no use."""
        if asked.tries >= MOST_TRIES:
            return None
        credentials = self._digest.answer(response, method, uri, asked.credentials)
        if isinstance(credentials, Refusal):
            return None
        return Challengeable(asked.lines, asked.body, asked.max_forwards, asked.tag, credentials, asked.tries + 1)
