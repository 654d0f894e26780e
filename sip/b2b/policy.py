"""What a program decides of a call between two legs, with the defaults of a plain back-to-back user agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from sip.b2b.discarded import Discarded
from sip.header_policy import ALLOW, crossing
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

Party = Literal["caller", "callee", "server"]
"""Who ended a call: the origin's side, the target's, or the program in between."""


class Passed(NamedTuple):
    """What crosses of a message: the header lines and the body on the other leg."""

    lines: Sequence[str]
    body: bytes


class Policy:
    """What a program decides of one call. All methods have a default; a subclass overrides what it does otherwise."""

    __slots__ = ("discarded",)

    def __init__(self, discarded: Discarded) -> None:
        self.discarded = discarded

    # What becomes of the call.

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """A target failed with that status, ``response`` being None where nothing came (408) or it was given up.

        To be gone on with :meth:`Bridge.invite` or :meth:`Bridge.refuse`, now or later.
        """

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        """The call is over for those who talked, or meant to; told once. ``reason``: a Reason value, or ``""``."""

    def over(self, now: float) -> None:
        """Nothing of the call is under way any more; told once, also when it was dropped."""

    def wanted(self, leg: InviteUsage, now: float) -> None:
        """Something waits for the absent leg on the other side of ``leg``."""

    # What crosses.

    def rang(self, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed | None:
        """What the origin gets of a provisional response, None for nothing. ``first``: the target's first."""
        return Passed(crossing(response), response.body)

    def answered(self, leg: InviteUsage, response: Response, now: float) -> Passed:
        """What the origin gets of the 2xx to its INVITE."""
        return Passed(crossing(response), response.body)

    def refusal(self, status: int, response: Response, now: float) -> Passed:
        """What the origin gets of the failure of a target that is the call's."""
        return Passed(crossing(response), response.body)

    def onward(self, leg: InviteUsage, other: InviteUsage, request: Request, now: float) -> Passed:
        """What ``other`` is asked when ``leg`` was asked that."""
        return Passed(crossing(request), request.body)

    def back(self, leg: InviteUsage, asked: ServerTransaction, response: Response, now: float) -> Passed:
        """How ``asked`` is answered when ``leg`` was answered that."""
        return Passed(crossing(response), response.body)

    def acknowledgement(self, leg: InviteUsage, other: InviteUsage, ack: Request, now: float) -> Passed:
        """How ``other`` acknowledges its 2xx when ``leg`` was acknowledged."""
        return Passed(crossing(ack), ack.body)

    def send(
        self,
        leg: InviteUsage,
        method: str,
        passed: Passed,
        asked: ServerTransaction | str,
        hops: int,
        now: float,
    ) -> None:
        """Send a request in a dialog; its context is ``asked``: the request it passes on, or a word for our own."""
        leg.send(method, passed.lines, passed.body, now, asked, hops)

    def reply(
        self,
        asked: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        passed: Passed | None = None,
        tag: str = "",
    ) -> None:
        """Answer a request, by the leg that it came to."""
        lines, body = ((), b"") if passed is None else passed
        asked.context.reply(asked, status, now, reason, lines, body, tag)

    # What this hop does by itself.

    def recognised(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether that is the repeat of a request seen before, and dealt with."""
        return False

    def intercepts(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Whether a failure is this hop's own affair, and dealt with: a challenge, a fence."""
        return False

    def own_responded(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The answer to a request that the policy sent for itself, under a context of its own."""

    def own_timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """No answer came to it."""

    def ends_alone(self, leg: InviteUsage) -> bool:
        """Whether a BYE or CANCEL of that side is answered at once, then passed on (RFC 3261 sections 9.2, 15.1.2).

        Else it is answered as the other side answers it.
        """
        return False

    def unanswered(self, leg: InviteUsage, method: str) -> int:
        """The status for a request that the other side never answered (RFC 3261 section 8.1.3.1)."""
        return 408

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        """No ACK came for our 2xx in 64*T1: when to look again; None to end the call (RFC 3261 section 13.3.1.4)."""
        return None

    def supersedes(self, leg: InviteUsage, request: Request) -> bool:
        """Whether that re-INVITE goes on although the other side has one open: it has carried it out already."""
        return False

    def queued_behind(self, leg: InviteUsage, act: Callable[[float], None], now: float) -> bool:
        """Whether requests to that leg wait for its hop; then ``act`` is done behind them."""
        return False

    def keeps(self, leg: InviteUsage) -> bool:
        """Whether a leg that we give up or hang up stays the call's until it has answered: it stands in a record.

        Else it is :class:`Discarded` at once.
        """
        return False


LATER: Final = Passed(("Retry-After: 5",), b"")
ALLOWED: Final = Passed((ALLOW,), b"")
