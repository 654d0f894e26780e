"""Sends the requests of one INVITE usage, and sends them again after a challenge or a transport error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sip.challenges import Challengeable, Challenges
from sip.dialog import UAS, Dialog
from sip.dialog_sender import Acknowledgement
from sip.digest import DigestClient
from sip.invite.dialogs import Dialogs
from sip.layer import Stack
from sip.transaction import ClientTransaction, ClientUser
from sip.wire.message import Response


class Requests:
    """Sends all requests of a usage but ACK and CANCEL, which cannot be challenged."""

    __slots__ = ("_ack", "_branches", "_dialogs", "_stack", "challenges", "no_timeout")

    def __init__(
        self,
        stack: Stack,
        dialogs: Dialogs,
        ack: Acknowledgement,
        digest: DigestClient | None,
        no_timeout: bool,
        branches: Callable[[int], str] | None = None,
    ) -> None:
        """``branches`` gives the branch of an opening INVITE by its CSeq number; without it all are random."""
        self._branches = branches
        self._stack = stack
        self._dialogs = dialogs
        self._ack = ack
        self.challenges = Challenges(digest) if digest is not None else None
        self.no_timeout = no_timeout
        """Whether these requests never time out (``sip.transaction``)."""

    def count_on(self, first: Dialog) -> None:
        """The dialog of another fork than ``first`` was chosen. Between agent and server it goes on with the CSeq
        numbers of ``first``."""
        if self.on_site:
            chosen = self._dialogs.chosen.dialog
            chosen.local_cseq, chosen.remote_cseq = first.local_cseq, first.remote_cseq

    @property
    def on_site(self) -> bool:
        """Whether the leg is between agent and server, where the record of the dialog has one CSeq number for each
        direction, for all forks."""
        return self.no_timeout or self._dialogs.chosen.path.flow in self._stack.site_flows

    def send(
        self,
        user: ClientUser,
        method: str,
        lines: tuple[str, ...],
        body: bytes,
        now: float,
        context: Any,
        max_forwards: int,
        no_timeout: bool = False,
        tag: str = "",
        branch: str = "",
        opening: bool = False,
        again: Challengeable | None = None,
    ) -> ClientTransaction:
        """Send a request in the early dialog of ``tag``, or in the chosen dialog for ``""``. Without a ``branch`` it
        gets a random one.

        ``opening``: it is the first INVITE and goes by the flow of the usage; ``again``: it is sent again after a
        challenge, which this answers.
        """
        dialogs, stack, challenges = self._dialogs, self._stack, self.challenges
        chosen = dialogs.chosen
        sender = dialogs.find_passed(tag) if tag else chosen
        counter = sender.dialog
        if sender is not chosen and (chosen.dialog.direction == UAS or self.on_site):
            # early dialogs of an INVITE that we received differ in our tag alone: they share one CSeq, which the
            # answered one goes on with
            counter = chosen.dialog
        counter.local_cseq += 1
        if opening and self._branches is not None:
            branch = self._branches(counter.local_cseq)
        branch = branch or stack.branch()
        if challenges is not None:
            lines = challenges.sign(method, sender.dialog.target, branch, lines, body, max_forwards, tag, again)
            if method == "INVITE":
                self._ack.note_credentials(lines)
        flow = chosen.path.flow if opening else None
        no_timeout = no_timeout or self.no_timeout
        return sender.send(
            branch, method, counter.local_cseq, lines, body, max_forwards, user, now, context, no_timeout, flow
        )

    def send_proved(
        self, user: ClientUser, asked: ClientTransaction, response: Response, early: bool, now: float
    ) -> ClientTransaction | None:
        """Send a request once more after a 401 or 407, with the credentials asked for (RFC 3261 section 22). None:
        the final response is not a challenge, or one that cannot be answered.
        """
        dialogs, challenges, method = self._dialogs, self.challenges, asked.method
        known = challenges.closed(asked.branch) if challenges is not None else None
        if challenges is None or known is None or response.status not in (401, 407):
            return None
        again = challenges.answer(known, response, method, dialogs.find_passed(known.tag).dialog.target)
        if again is None:
            return None
        opening = early and method == "INVITE"
        if opening:
            dialogs.open_again()
        lines, body, max_forwards, tag = again.lines, again.body, again.max_forwards, again.tag
        return self.send(
            user, method, lines, body, now, asked.context, max_forwards, asked.no_timeout, tag, "", opening, again
        )

    def send_elsewhere(
        self, user: ClientUser, transaction: ClientTransaction, early: bool, now: float
    ) -> ClientTransaction | None:
        """Send a request to another address after a transport error (RFC 3263 section 4.3). None: there is none.

        ``early`` as in :meth:`sip.dialog_sender.DialogSender.send_elsewhere`.
        """
        again = self._dialogs.chosen.send_elsewhere(transaction, user, early, now)
        if again is not None and self.challenges is not None:
            self.challenges.moved(again.branch, self.challenges.closed(transaction.branch))
        return again

    def gave_up(self, transaction: ClientTransaction) -> None:
        """The request of this transaction gets no answer any more: forget it."""
        if self.challenges is not None:
            self.challenges.closed(transaction.branch)
