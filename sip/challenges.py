"""Challenges of a peer to requests in dialogs, and what proves who we are (RFC 3261 section 22)."""

from __future__ import annotations

from typing import Final

from sip.digest import Authorization, DigestClient, Refusal
from sip.wire.message import Response

MOST_TRIES: Final = 6
"""Times that a request is sent: the first, and once for each challenge; a peer could name realms without end."""


class Challengeable:
    """A request that may be challenged, as it is to be sent again."""

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
        """Of the early dialog that it is for; ``""`` for the one that is there."""
        self.credentials = credentials
        self.tries = tries


class Challenges:
    """The requests of one usage that may still be challenged, by their branch."""

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
        """The lines of a request with what proves who we are, as far as that is known. ``again`` is one that was
        challenged, with the credentials that answer it.
        """
        if again is None:
            again = Challengeable(lines, body, max_forwards, tag, tuple(self._digest.authorize(method, uri)), 1)
        self._open[branch] = again
        return (*lines, *(one.line for one in again.credentials))

    def closed(self, branch: str) -> Challengeable | None:
        """A request has its final answer, or will have none."""
        return self._open.pop(branch, None)

    def moved(self, branch: str, request: Challengeable | None) -> None:
        """It went on under another branch."""
        if request is not None:
            self._open[branch] = request

    def answer(self, asked: Challengeable, response: Response, method: str, uri: str) -> Challengeable | None:
        """The request once more, with the credentials that a 401 or 407 wants; None where that is of no use."""
        if asked.tries >= MOST_TRIES:
            return None
        credentials = self._digest.answer(response, method, uri, asked.credentials)
        if isinstance(credentials, Refusal):
            return None
        return Challengeable(asked.lines, asked.body, asked.max_forwards, asked.tag, credentials, asked.tries + 1)
