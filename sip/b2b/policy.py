"""The decisions that a program takes about a call between two legs. The defaults are those of a plain back-to-back
user agent."""

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
    """The part of a message that is passed to the other leg: header lines and body, as they go out there."""

    lines: Sequence[str]
    body: bytes


class Policy:
    """Decides what becomes of a call; one object for each call."""

    __slots__ = ()

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """A target failed; ``response`` is None where none came (408) or it was given up. The policy goes on with
        ``Bridge.invite`` or ``Bridge.refuse``, now or later."""

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        """The call is over for its parties; called once. ``reason``: a Reason value, or ``""``."""

    def over(self, now: float) -> None:
        """Nothing of the call is pending any more; called once, also when the call was dropped."""

    def wanted(self, leg: InviteUsage, now: float) -> None:
        """A request that came on ``leg`` waits for the leg on the other side, which is absent."""

    def takes(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether the program itself answers this REFER or BYE, now or later, so that it is not passed on."""
        return False


class Passage:
    """Decides what is passed from leg to leg, and what a hop does by itself; one object for each program.

    ``call`` is the bridge's policy, None for a leg that no longer belongs to a call (``sip.b2b.discarded``).
    """

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        """The header lines that the hop of that leg needs on a request of our own: ACK, CANCEL, BYE."""
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
        """The header lines and body that ``other`` gets of a message that came on ``leg``. None: a provisional
        response is not passed on, or the program deals by itself with the answer to a call that it made.

        ``event`` says what came (``sip.b2b.bridge``): provisional, answered or failed for a first INVITE; requested
        (a BYE: ended) and responded inside dialogs; acknowledged. ``first``: it is the first message of a target.
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
        """Send a request in a dialog. Its context is ``asked``: the request passed on, or a string for our own."""
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
        """Answer a request on the leg on which it came."""
        lines, body = NOTHING if passed is None else passed
        asked.context.reply(asked, status, now, reason, lines, body, tag)

    def own(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response | None, now: float
    ) -> None:
        """The answer (None: none came) to a request whose context is not one of the bridge's."""

    def intercepts(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float
    ) -> bool:
        """Whether this hop has dealt with a failure (300 and above) by itself: a challenge, or a fence's refusal."""
        return False

    def is_repeat(
        self, call: Any, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> bool:
        """Whether the request is the repeat of one seen before; it has then been dealt with here."""
        return False

    def answers_at_once(self, call: Any, leg: InviteUsage) -> bool:
        """Whether a BYE or CANCEL of that side is answered at once, then passed on (RFC 3261 sections 9.2, 15.1.2);
        otherwise it gets the answer of the other side."""
        return False

    def keeps(self, call: Any, leg: InviteUsage) -> bool:
        """Whether a leg that is given up or hung up remains part of the call until it has answered, since a record
        names it. Otherwise it is discarded."""
        return False

    def busy(self, call: Any) -> bool:
        """Whether something is still pending for which an ended call must be kept; called by ``Bridge.settle``."""
        return False

    def unanswered(self, call: Any, leg: InviteUsage, transaction: ClientTransaction) -> int:
        """The status for a request that was passed on to ``leg`` and got no answer (RFC 3261 section 8.1.3.1)."""
        return 200 if transaction.method == "BYE" else transaction.failure

    def unacknowledged(self, call: Any, leg: InviteUsage, now: float) -> float | None:
        """No ACK for our 2xx in 64*T1: when to look again, or None to end the call (RFC 3261 section 13.3.1.4)."""
        return None

    def behind(self, call: Any, leg: InviteUsage, act: Callable[[float], None], now: float) -> bool:
        """Whether requests to that leg are queued until its hop is available; then ``act`` is called after them."""
        return False


NOTHING: Final = Passed((), b"")
LATER: Final = Passed(("Retry-After: 5",), b"")
ALLOWED: Final = Passed((ALLOW,), b"")
