"""The first words on a connection: each side learns that the other holds the site key.

::

    agent                                   server
      OPTIONS kind=open nonce=A      ->
                                     <-     200 kind=open nonce=B echo=A      the server has signed A
      OPTIONS kind=open echo=B       ->                                       the agent has signed B
                                     <-     200 kind=open echo=B

The signature is the ordinary one of the header, which covers nonce and echo; names are covered too, so an answer
cannot be turned round. Until it is through, a side obeys nothing else on that connection. The beats given in come
from ``Member.stamp`` or ``Fence.stamp``; the nonce is injected, 16 random bytes in hexadecimal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from heartbeat.header import OPEN, SUPERSEDED, Beat, BeatError

HANDSHAKE_LIMIT: Final = 5.0
"""Seconds that it may take."""
MOST_UNPROVED: Final = 3
"""Other messages on a connection that is not proved yet; the last of them closes it."""


class Superseded(BeatError):
    """The peer knows a later start of this node, and does not hear this one any more."""


class Initiator:
    """The side that opened the connection: an agent, or a server towards another."""

    def __init__(self, peer: str, nonce: str) -> None:
        self.peer = peer
        """Whom we mean to reach."""
        self.proved = False
        """The peer signed our nonce."""
        self._nonce = nonce

    def hello(self, stamp: Beat) -> Beat:
        """The first request."""
        return replace(stamp, kind=OPEN, to=self.peer, nonce=self._nonce)

    def answered(self, answer: Beat, stamp: Beat) -> Beat | None:
        """The second request after the first answer, None after the second one.

        Raises:
            BeatError: the peer is not the one meant, or did not sign our nonce: close the connection.
            Superseded: a later start of this node runs.
        """
        if answer.kind != OPEN or answer.node != self.peer:
            raise BeatError(f"{answer.node} answered an opening that was meant for {self.peer}")
        if self.proved:
            if answer.no == SUPERSEDED:
                raise Superseded(f"{self.peer} hears a later start of {stamp.node}")
            return None
        if answer.no:
            raise BeatError(f"{self.peer} refused the opening: {answer.no}")
        if answer.echo != self._nonce or not answer.nonce:
            raise BeatError(f"{self.peer} did not give our challenge back")
        self.proved = True
        return replace(stamp, kind=OPEN, to=self.peer, echo=answer.nonce)


class Responder:
    """The side that took the connection."""

    def __init__(self, nonce: str) -> None:
        self.peer = ""
        """Who proved itself; empty before that."""
        self._nonce = nonce
        self._claimed = ""

    def asked(self, request: Beat, stamp: Beat) -> Beat:
        """The answer (200) to an opening request.

        Raises:
            BeatError: what came is no opening, or did not sign our nonce: answer 403 and close.
        """
        if request.kind != OPEN or (request.to and request.to != stamp.node):
            raise BeatError(f"{request.node} said {request.kind} to {request.to} where an opening was due")
        re = (request.incarnation, request.seq)
        if request.nonce and not self._claimed:
            self._claimed = request.node
            return replace(stamp, kind=OPEN, to=request.node, re=re, nonce=self._nonce, echo=request.nonce)
        if not self._claimed or request.node != self._claimed or request.echo != self._nonce:
            raise BeatError(f"{request.node} did not give our challenge back")
        self.peer = request.node
        return replace(stamp, kind=OPEN, to=request.node, re=re, echo=self._nonce)
