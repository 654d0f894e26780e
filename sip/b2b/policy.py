"""What a program decides of a call between two legs, with the defaults of a plain back-to-back user agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

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
    """What becomes of one call: an object a call."""

    __slots__ = ()

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """A target failed with that status, ``response`` being None where nothing came (408) or it was given up.

        To be gone on with ``Bridge.invite`` or ``Bridge.refuse``, now or later.
        """

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        """The call is over for those who talked, or meant to; told once. ``reason``: a Reason value, or ``""``."""

    def over(self, now: float) -> None:
        """Nothing of the call is under way any more; told once, also when it was dropped."""

    def wanted(self, leg: InviteUsage, now: float) -> None:
        """Something waits for the absent leg across from ``leg``."""

    def takes(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether a REFER or BYE is no matter of the other side; it is answered then, or will be."""
        return False


class Passage:
    """What crosses from leg to leg, and what a hop does by itself: an object a program.

    ``call`` is the bridge's policy, None for a leg that no call has any more (``sip.b2b.discarded``).
    """

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        """The header lines that the hop of that leg wants on a request of our own: ACK, CANCEL, BYE."""
        return ()

    def pass_on(
        self,
        call: Any,
        event: str,
        leg: InviteUsage,
        other: InviteUsage | None,
        message: Any,
        first: bool,
        now: float,
    ) -> Passed | None:
        """What ``other`` gets of a message that came on ``leg``; None for nothing, of a provisional response; or of
        the answer to a call that was not offered by anybody, and of which more is made.

        ``event`` says what came (``sip.b2b.bridge``): provisional, answered or failed of a first INVITE; requested,
        for a BYE ended, and responded inside dialogs; acknowledged. ``first``: the first that a target says.
        """
        return Passed(crossing(message), message.body)

    def send(
        self,
        call: Any,
        leg: InviteUsage,
        method: str,
        passed: Passed,
        asked: ServerTransaction | str,
        max_forwards: int,
        now: float,
    ) -> None:
        """Send a request in a dialog; its context is ``asked``: the request passed on, or a word for our own."""
        leg.send(method, passed.lines, passed.body, now, asked, max_forwards)

    def reply(
        self,
        call: Any,
        asked: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        passed: Passed | None = None,
        tag: str = "",
    ) -> None:
        """Answer a request, by the leg that it came to."""
        lines, body = NOTHING if passed is None else passed
        asked.context.reply(asked, status, now, reason, lines, body, tag)

    def own(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response | None, now: float
    ) -> None:
        """The answer to a request under another context than those of the bridge; None: it never came."""

    def intercepts(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float
    ) -> bool:
        """Whether a failure (300 and above) is this hop's own affair, and dealt with: a challenge, a fence."""
        return False

    def is_repeat(
        self, call: Any, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> bool:
        """Whether that is the repeat of a request seen before, and dealt with."""
        return False

    def answers_at_once(self, call: Any, leg: InviteUsage) -> bool:
        """Whether a BYE or CANCEL of that side is answered at once, then passed on (RFC 3261 sections 9.2, 15.1.2).

        Else they are answered as the other side answers them.
        """
        return False

    def keeps(self, call: Any, leg: InviteUsage) -> bool:
        """Whether a leg that is given up or hung up stays the call's until it has answered: it stands in a record.

        Else it is discarded.
        """
        return False

    def busy(self, call: Any) -> bool:
        """Whether something is under way still for which a call that has ended is kept; ``Bridge.settle`` asks."""
        return False

    def unanswered(self, call: Any, leg: InviteUsage, transaction: ClientTransaction) -> int:
        """The status for a request that ``leg`` was asked and never answered (RFC 3261 section 8.1.3.1)."""
        return 200 if transaction.method == "BYE" else transaction.failure

    def unacknowledged(self, call: Any, leg: InviteUsage, now: float) -> float | None:
        """No ACK came for our 2xx in 64*T1: when to look again; None to end the call (RFC 3261 section 13.3.1.4)."""
        return None

    def behind(self, call: Any, leg: InviteUsage, act: Callable[[float], None], now: float) -> bool:
        """Whether requests to that leg wait for its hop; then ``act`` is done behind them."""
        return False


NOTHING: Final = Passed((), b"")
LATER: Final = Passed(("Retry-After: 5",), b"")
ALLOWED: Final = Passed((ALLOW,), b"")
