"""Offer and answer in one dialog (RFC 3264, RFC 6337): the agreed session, and an offer that is not answered yet.

A refused offer leaves everything as it was (RFC 3261 section 14.1), and a session is refreshed with what was agreed,
not with the last description. The description in an unreliable provisional response is a preview of the answer (RFC
6337 section 3.1.1): it counts when a later message completes the exchange without a description of its own.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Final, NamedTuple

from sip.wire import sdp, sdp_body
from sip.wire.message import Message, Request

logger = logging.getLogger(__name__)

# States.
NOTHING: Final = "nothing"
LOCAL_OFFER: Final = "local_offer"
REMOTE_OFFER: Final = "remote_offer"
AGREED: Final = "agreed"
LOCAL_CHANGE: Final = "local_change"
REMOTE_CHANGE: Final = "remote_change"

# Events.
SENT: Final = "we describe"
RECEIVED: Final = "they describe"
ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"

_FIRST: Final = (NOTHING, LOCAL_OFFER, REMOTE_OFFER)
"""Nothing is agreed yet."""

_USUAL_TYPE: Final = f"Content-Type: {sdp_body.TYPE}"
CARRIERS: Final = frozenset(("INVITE", "ACK", "PRACK", "UPDATE"))
"""Methods whose requests and responses carry offers and answers (RFC 6337 section 2); a description in another one,
as INFO and MESSAGE, is the users' own business."""


class OfferAnswerState(NamedTuple):
    """The state of the machine of one dialog."""

    state: str = NOTHING
    local: bytes = b""
    remote: bytes = b""
    next_local: bytes = b""
    next_remote: bytes = b""
    newest: bytes = b""


UNKNOWN: Final = OfferAnswerState()


class OfferAnswer:
    """The machine of one dialog. ``local`` and ``remote``: the agreed descriptions, ``b""`` while there are none."""

    __slots__ = ("_newest", "_next_local", "_next_remote", "local", "remote", "state")

    TABLE: ClassVar[dict[tuple[str, str], tuple[str, Any]]]

    def __init__(self, known: OfferAnswerState = UNKNOWN) -> None:
        self.state = known.state
        self.local = known.local
        self.remote = known.remote
        self._next_local = known.next_local
        self._next_remote = known.next_remote
        self._newest = known.newest
        """Our description with the highest version, accepted or not."""

    def export(self) -> OfferAnswerState:
        """The frozen value from which the same machine can be made elsewhere."""
        return OfferAnswerState(
            self.state, self.local, self.remote, self._next_local, self._next_remote, self._newest
        )

    @property
    def last_local(self) -> bytes:
        """Our last description, agreed or not, but for refused offers."""
        return self._next_local or self.local

    @property
    def last_remote(self) -> bytes:
        """The peer's last description, agreed or not, but for refused offers."""
        return self._next_remote or self.remote

    def send(self, description: bytes) -> None:
        """We send a description: an offer, or the answer to the peer's."""
        self._step(SENT, description)
        self._newest = self._newest or description

    def receive(self, description: bytes) -> None:
        """The peer sends a description: an offer, or the answer to ours."""
        self._step(RECEIVED, description)

    def accept(self) -> None:
        """The exchange is complete: the answer is in a 2xx, or in the ACK where the offer was in the 2xx."""
        self._step(ACCEPTED, b"")

    def refuse(self) -> None:
        """The request with the offer failed."""
        self._step(REFUSED, b"")

    def continued(self, description: bytes) -> bytes:
        """``description`` with the origin line and the sections of this dialog (RFC 3264 section 8).

        A description that was sent before keeps its version; any other gets one that was never used, not even by a
        refused offer. A malformed description is returned unchanged.
        """
        if not self._newest:
            return description
        if self.state not in _FIRST:
            description = self.fitted(description)
        for known in (self._next_local, self.local):
            if known and sdp.same_but_origin(known, description):
                return known
        try:
            origin = sdp.origin_of(self._newest)
            told = (sdp.origin_of(known).version for known in (self._next_local, self.local) if known)
            self._newest = sdp.with_origin(description, origin._replace(version=max((origin.version, *told)) + 1))
        except sdp.SdpError as error:
            logger.debug("passed on unchanged: %s", error)
            return description
        return self._newest

    def fitted(self, description: bytes) -> bytes:
        """A description for an established session, with the number of ``m=`` sections that the peer expects: an
        answer has those of the offer (RFC 3264 section 6), an offer no fewer than the session (section 8), although
        the party behind us may have changed. Missing sections are added as refused (port 0). A malformed description
        is returned unchanged.
        """
        answers = self.state in (REMOTE_OFFER, REMOTE_CHANGE)
        known = self._next_remote if answers else self._known
        expected, given = sdp.count(known), sdp.count(description)
        if given == expected or not expected or (given > expected and not answers):
            return description
        try:
            return sdp.padded(description, known) if given < expected else sdp.shortened(description, expected)
        except sdp.SdpError as error:
            logger.debug("sections left as they are: %s", error)
            return description

    @property
    def _known(self) -> bytes:
        """The description with all sections of the session; for a session of an earlier process, an outline."""
        if sdp.count(self.remote) > sdp.count(self.local):  # our answer had fewer sections than the offer
            return self.remote
        return self.local or self._newest

    def refreshes(self, description: bytes) -> bool:
        """Whether the peer's description is the agreed one, so that nothing changes (RFC 4028 section 7.4)."""
        return self.state == AGREED and bool(self.local) and description == self.remote

    def clash(self, update: Request) -> int:
        """The status that refuses the peer's UPDATE with an offer (RFC 3311 section 5.2), 0: it is acceptable. 491
        while an offer of ours is not answered, 500 while one of the peer's is not."""
        if not update.body or self.state in (AGREED, NOTHING) or description_in(update) is None:
            return 0
        return 491 if self.state in (LOCAL_OFFER, LOCAL_CHANGE) else 500

    def _step(self, event: str, description: bytes) -> None:
        """The only place where the state changes."""
        entry = self.TABLE.get((self.state, event))
        if entry is None:
            return
        self.state, action = entry
        action(self, description)

    def _say(self, description: bytes) -> None:
        self._next_local = description

    def _hear(self, description: bytes) -> None:
        self._next_remote = description

    def _commit(self, _: bytes) -> None:
        """Complete the exchange. Without an answer, which RFC 3261 section 13.2.1 requires but some peers omit, the
        former one stays."""
        self.local, self.remote = self._next_local or self.local, self._next_remote or self.remote
        self._next_local = self._next_remote = b""

    def _roll_back(self, _: bytes) -> None:
        self._next_local = self._next_remote = b""


OfferAnswer.TABLE = {
    (NOTHING, SENT): (LOCAL_OFFER, OfferAnswer._say),
    (NOTHING, RECEIVED): (REMOTE_OFFER, OfferAnswer._hear),
    (LOCAL_OFFER, SENT): (LOCAL_OFFER, OfferAnswer._say),
    (LOCAL_OFFER, RECEIVED): (LOCAL_OFFER, OfferAnswer._hear),
    (LOCAL_OFFER, ACCEPTED): (AGREED, OfferAnswer._commit),
    (LOCAL_OFFER, REFUSED): (NOTHING, OfferAnswer._roll_back),
    (REMOTE_OFFER, SENT): (REMOTE_OFFER, OfferAnswer._say),
    (REMOTE_OFFER, RECEIVED): (REMOTE_OFFER, OfferAnswer._hear),
    (REMOTE_OFFER, ACCEPTED): (AGREED, OfferAnswer._commit),
    (REMOTE_OFFER, REFUSED): (NOTHING, OfferAnswer._roll_back),
    (AGREED, SENT): (LOCAL_CHANGE, OfferAnswer._say),
    (AGREED, RECEIVED): (REMOTE_CHANGE, OfferAnswer._hear),
    (LOCAL_CHANGE, SENT): (LOCAL_CHANGE, OfferAnswer._say),
    (LOCAL_CHANGE, RECEIVED): (LOCAL_CHANGE, OfferAnswer._hear),
    (LOCAL_CHANGE, ACCEPTED): (AGREED, OfferAnswer._commit),
    (LOCAL_CHANGE, REFUSED): (AGREED, OfferAnswer._roll_back),
    (REMOTE_CHANGE, SENT): (REMOTE_CHANGE, OfferAnswer._say),
    (REMOTE_CHANGE, RECEIVED): (REMOTE_CHANGE, OfferAnswer._hear),
    (REMOTE_CHANGE, ACCEPTED): (AGREED, OfferAnswer._commit),
    (REMOTE_CHANGE, REFUSED): (AGREED, OfferAnswer._roll_back),
}


def description_in(message: Message) -> slice | None:
    """The slice of a message's body that is the offer or answer; ``None``: there is none (RFC 5621, RFC 6337 section
    2)."""
    body = message.body
    if not body:
        return None
    method = message.method if isinstance(message, Request) else message.cseq_method
    if method not in CARRIERS:
        return None
    if message.first.get("content-type") == _USUAL_TYPE:
        return slice(0, len(body))
    kind = message.get("content-type")
    if kind == sdp_body.TYPE or (kind is None and sdp_body.is_bare_sdp(body)):
        return slice(0, len(body))
    return sdp_body.find_sdp(kind or "", body)
