"""One end of a subscription's dialog (RFC 6665, RFC 5057), for subscribers and notifiers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from sip.actions import Flow
from sip.dialog import Dialog, DialogState, contact_uri
from sip.dialog_sender import DialogSender
from sip.layer import Stack
from sip.next_hop import DialogPath, Reach
from sip.transaction import ClientTransaction, ClientUser, ServerTransaction
from sip.wire.message import Request, elements

ALLOW: Final = "Allow: SUBSCRIBE, NOTIFY"
METHODS: Final = frozenset({"SUBSCRIBE", "NOTIFY"})


class UsageOwner(Protocol):
    """The owner of a subscription."""

    def is_repeat(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether it is a repeat by another server of a request; it was then dealt with."""

    def requested(
        self, usage: SubscriptionUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> None:
        """Answer a valid SUBSCRIBE or NOTIFY."""


class SubscriptionUsage:
    """A dialog, its route, and the owner who takes its requests, until :meth:`end`."""

    __slots__ = ("_stack", "dialog", "owner", "path", "sender")

    def __init__(
        self, stack: Stack, owner: UsageOwner, state: DialogState, flow: Flow, reach: Reach | None = None
    ) -> None:
        self._stack = stack
        self.owner = owner
        self.dialog = Dialog(state)
        self.path = DialogPath(flow, reach)
        self.sender = DialogSender(stack, self.dialog, self.path)
        stack.legs[self.dialog.key] = self

    @property
    def flow(self) -> Flow:
        return self.path.flow

    @property
    def contact(self) -> str:
        """Our Contact line for the peer."""
        return self._stack.contact(self.path.flow, self.path.user)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in the dialog (RFC 3261 section 12.2.2)."""
        dialog, stack, site = self.dialog, self._stack, transaction.on_site_flow
        if site and self.owner.is_repeat(transaction, request, now):
            return
        if not self.path.admits(transaction, request, now):
            return
        if dialog.remote_tag and request.from_tag != dialog.remote_tag:  # of another fork (RFC 6665 section 4.1.4)
            stack.reply(transaction, 481, now)
        elif request.method not in METHODS:
            stack.reply(transaction, 405, now, lines=(ALLOW,))
        elif not site and request.cseq <= dialog.remote_cseq:
            stack.reply(transaction, 500, now)
        else:
            dialog.remote_cseq = max(dialog.remote_cseq, request.cseq)
            if not dialog.remote_tag:  # a NOTIFY that overtook the 2xx makes the dialog (RFC 6665 section 4.4.1)
                dialog.remote_tag = request.from_tag
                dialog.route_set = tuple(elements(request, "record-route"))
            dialog.target = contact_uri(request) or dialog.target
            self.owner.requested(self, transaction, request, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Ignore it: a subscription has no ACK."""

    def send(
        self,
        method: str,
        lines: Iterable[str],
        body: bytes,
        user: ClientUser,
        now: float,
        *,
        branch: str = "",
        max_forwards: int = 70,
        context: Any = None,
        no_timeout: bool = False,
        flow: Flow | None = None,
        cseq: int = 0,
    ) -> ClientTransaction:
        """Send a request in the dialog, or the one that makes it; ``cseq``: its CSeq number where that is fixed."""
        dialog = self.dialog
        cseq = cseq or dialog.local_cseq + 1
        dialog.local_cseq = max(dialog.local_cseq, cseq)
        return self.sender.send(
            branch or self._stack.branch(),
            method,
            cseq,
            lines,
            body,
            max_forwards,
            user,
            now,
            context,
            no_timeout,
            flow,
        )

    def end(self) -> None:
        """End the usage: later requests are not dispatched to it."""
        if self._stack.legs.get(self.dialog.key) is self:
            del self._stack.legs[self.dialog.key]
