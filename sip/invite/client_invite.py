"""Our INVITE, from its sending to its final answer (RFC 3261 sections 9.1, 13.2)."""

from __future__ import annotations

from collections.abc import Iterable

from sip.layer import Stack
from sip.transaction import CALLING, SILENT, TIMEOUT, ClientTransaction, cancel_of
from sip.wire.message import Response


class ClientInvite:
    """The last INVITE of ours in one usage. A CANCEL goes out when a provisional response allows it."""

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
        """Its transaction; None when a final answer was told of, or there never was one."""
        self.cancelling = False
        """It is given up."""
        self.offered = False
        """It has a description of the session in it."""
        self.update: ClientTransaction | None = None
        """Our last UPDATE with an offer."""
        self._cancel_lines: tuple[str, ...] = ()
        self._cancel_sent = False
        self._answer_within = 0.0

    @property
    def pending(self) -> ClientTransaction | None:
        """It, as long as it is not finally answered; its transaction says so, hence nothing is left of one that is
        over.
        """
        latest = self.latest
        return None if latest is None or latest.answered else latest

    @property
    def offering(self) -> ClientTransaction | None:
        """What of ours asks for a change and is not finally answered: an INVITE, or an UPDATE with an offer."""
        update = self.update
        return self.pending if update is None or update.answered else update

    def opened(self, invite: ClientTransaction, answer_within: float, now: float) -> None:
        """The first INVITE of the usage was sent; its place is given up when nothing comes from it within so many
        seconds (0: timer B decides).
        """
        self._answer_within = answer_within
        self.latest = invite
        if answer_within:
            self._stack.deadlines.set(now + answer_within, invite, SILENT)

    def changing(self, request: ClientTransaction, offers: bool) -> None:
        """A further INVITE, or an UPDATE, was sent in the dialog, with an offer or without one."""
        if request.method == "UPDATE":
            self.update = request if offers else None
            return
        self.latest, self.offered = request, offers
        self.cancelling = self._cancel_sent = False

    def went_on(self, invite: ClientTransaction, early: bool, now: float) -> None:
        """It was sent once more; the first one has as long to be answered as before."""
        self.opened(invite, self._answer_within if early else 0.0, now)

    def give_up(self, lines: Iterable[str], now: float) -> bool:
        """Give it up, with these lines (Reason) in its CANCEL. Whether that is to be sent at once."""
        invite = self.pending
        if invite is None or self.cancelling:
            return False
        self.cancelling = True
        self._cancel_lines = tuple(lines)
        if not invite.request:  # it still waits for its next hop: there is nothing to take back
            invite.step(TIMEOUT, None, now)
            return False
        return invite.state != CALLING

    @property
    def owes_cancel(self) -> bool:
        """It was given up before a provisional response allowed to say so."""
        return self.cancelling and not self._cancel_sent

    def send_cancel(self, hop_lines: Iterable[str], now: float) -> None:
        """Send the CANCEL, once it is allowed; what is answered to it changes nothing."""
        invite = self.latest
        if invite is None:
            return
        self._cancel_sent = True
        data = cancel_of(invite.request, (*hop_lines, *self._cancel_lines))
        self._stack.request("CANCEL", data, invite.branch, invite.flow, Unheard(), now, None, invite.no_timeout)
        invite.cancelled(now)

    def cancel_again(self, hop_lines: Iterable[str], now: float) -> None:
        """Repeat the CANCEL: who answered it 200 may have died before it did anything."""
        if self._cancel_sent and self.pending is not None:
            self.send_cancel(hop_lines, now)

    def settle(self) -> None:
        """The usage ends. Let go of what is answered: nobody will be told of that any more."""
        if self.latest is not None and self.latest.answered:
            self.latest = None
        self.update = None


class Unheard:
    """The user of a request whose answer changes nothing."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        pass
