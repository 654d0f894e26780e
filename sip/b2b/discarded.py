"""Legs that no longer belong to a call, but still have something to finish (docs/state-machines.md: the call)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sip.b2b.policy import Passage, Passed
from sip.header_policy import crossing
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response


class Discarded:
    """Owner of the legs that no longer belong to a call and may still send something. A program has one.

    A 2xx to an INVITE gets ACK and BYE (RFC 3261 sections 9.1, 13.2.2.4). The answer to a request that was passed on
    still goes back to its sender.
    """

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.legs: set[InviteUsage] = set()
        """The legs whose INVITE has no final response yet."""

    def cancel(self, leg: InviteUsage, lines: Iterable[str], now: float) -> None:
        """Give a target up: send CANCEL with these header lines (Reason) as soon as a provisional response allows it;
        an established leg gets BYE."""
        leg.owner = self
        if leg.established:
            self.hang_up(leg, "SIP;cause=487", now)
        elif leg.client_invite.pending is None:
            leg.end()
        else:
            self.legs.add(leg)
            leg.cancel(now, lines)

    def hang_up(self, leg: InviteUsage, reason: str, now: float) -> None:
        """Send BYE on a leg, after an ACK that is still to be sent. ``reason``: a Reason value, or ``""``."""
        leg.owner = self
        if leg.ack.pending:
            leg.acknowledge(self.hop_headers(leg, "ACK", now), b"", now)
        lines = (f"Reason: {reason}",) if reason else ()
        leg.send("BYE", (*lines, *self.hop_headers(leg, "BYE", now)), b"", now, reason)

    def drop(self) -> None:
        """Forget all legs without sending anything."""
        legs, self.legs = self.legs, set()
        for leg in legs:
            drop_leg(leg)

    # Called by the legs (sip.invite.UsageOwner).

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        return self.passage.hop_headers(leg, method, now)

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        leg.reply(transaction, 200 if request.method == "BYE" else 481, now)
        self.legs.discard(leg)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        pass

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            return
        self.legs.discard(leg)
        asked = transaction.context
        if isinstance(asked, ServerTransaction) and asked.open:  # passed on, and its call ended before the answer
            passed = Passed(crossing(response), response.body)
            self.passage.reply(None, asked, response.status, now, response.reason, passed)
        if response.status >= 300 and self.passage.intercepts(None, leg, transaction, response, now):
            return
        if transaction.method == "INVITE" and response.status < 300 and not leg.ended:
            self.hang_up(leg, "SIP;cause=487", now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        self.legs.discard(leg)
        asked = transaction.context
        if isinstance(asked, ServerTransaction) and asked.open:
            self.passage.reply(None, asked, 481, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        return None

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg.reply(invite, 487, now)


def drop_leg(leg: InviteUsage) -> None:
    """Forget a leg and its pending INVITE transactions, without sending anything."""
    leg.end()
    for transaction in (leg.server_invite.pending, leg.client_invite.pending):
        if transaction is not None:
            transaction.terminate()
