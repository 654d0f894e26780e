"""The INVITE that a usage sent, until its final response (RFC 3261 sections 9.1, 13.2)."""

from __future__ import annotations

from collections.abc import Iterable

from sip.layer import Stack
from sip.transaction import CALLING, SILENT, TIMEOUT, ClientTransaction, cancel_of
from sip.wire.message import Response


class ClientInvite:
    """The last INVITE sent in one usage. Its CANCEL is sent when a provisional response allows it."""

    __slots__ = (
        "_answer_within",
        "_cancel_lines",
        "_cancel_sent",
        "_stack",
        "cancelling",
        "latest",
        "offered",
        "update",
    )

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.latest: ClientTransaction | None = None
        """The transaction of the INVITE; None when its final response was processed, or there was none."""
        self.cancelling = False
        """Whether the INVITE was given up."""
        self.offered = False
        """Whether the INVITE carried an offer."""
        self.update: ClientTransaction | None = None
        """The transaction of our last UPDATE with an offer."""
        self._cancel_lines: tuple[str, ...] = ()
        self._cancel_sent = False
        self._answer_within = 0.0

    @property
    def pending(self) -> ClientTransaction | None:
        """The INVITE's transaction while it has no final response, else None."""
        latest = self.latest
        return None if latest is None or latest.answered else latest

    @property
    def offering(self) -> ClientTransaction | None:
        """The INVITE, or the UPDATE with an offer, that we sent and that has no final response yet."""
        update = self.update
        return self.pending if update is None or update.answered else update

    def opened(self, invite: ClientTransaction, answer_within: float, now: float) -> None:
        """The first INVITE of the usage was sent. The user is told when no response comes within ``answer_within``
        seconds (0: timer B decides).
        """
        self._answer_within = answer_within
        self.latest = invite
        if answer_within:
            self._stack.deadlines.set(now + answer_within, invite, SILENT)

    def changing(self, request: ClientTransaction, offers: bool) -> None:
        """A re-INVITE or UPDATE was sent. ``offers``: it carries an offer."""
        if request.method == "UPDATE":
            self.update = request if offers else None
            return
        self.latest, self.offered = request, offers
        self.cancelling = self._cancel_sent = False

    def went_on(self, invite: ClientTransaction, early: bool, now: float) -> None:
        """The INVITE was sent once more. ``early``: it opens the usage, and gets its full ``answer_within`` again."""
        self.opened(invite, self._answer_within if early else 0.0, now)

    def give_up(self, lines: Iterable[str], now: float) -> bool:
        """Give the INVITE up, with these header lines (Reason) in its CANCEL. Returns whether the CANCEL is to be
        sent at once."""
        invite = self.pending
        if invite is None or self.cancelling:
            return False
        self.cancelling = True
        self._cancel_lines = tuple(lines)
        if not invite.request:  # its next hop is still being looked up, and nothing was sent
            invite.step(TIMEOUT, None, now)
            return False
        return invite.state != CALLING

    @property
    def owes_cancel(self) -> bool:
        """Whether the INVITE was given up, but its CANCEL was not sent yet."""
        return self.cancelling and not self._cancel_sent

    def send_cancel(self, hop_lines: Iterable[str], now: float) -> None:
        """Send the CANCEL, which the caller knows to be allowed. Its answer changes nothing."""
        invite = self.latest
        if invite is None:
            return
        self._cancel_sent = True
        data = cancel_of(invite.request, (*hop_lines, *self._cancel_lines))
        self._stack.request(
            "CANCEL", data, invite.branch, invite.flow, IgnoredResponses(), now, None, invite.no_timeout
        )
        invite.cancelled(now)

    def cancel_again(self, hop_lines: Iterable[str], now: float) -> None:
        """Repeat the CANCEL: the process that answered it with 200 may have died before it acted on it."""
        if self._cancel_sent and self.pending is not None:
            self.send_cancel(hop_lines, now)

    def settle(self) -> None:
        """The usage ends: drop the reference to an answered INVITE, of which nothing more is reported."""
        if self.latest is not None and self.latest.answered:
            self.latest = None
        self.update = None


class IgnoredResponses:
    """The user of a request whose answer changes nothing."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        pass
