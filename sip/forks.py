"""Forks of an INVITE of ours: a dialog for each, until one has answered (RFC 3261 sections 12.1.2, 13.2.2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sip.actions import UNREACHABLE, Flow
from sip.dialog import Dialog
from sip.dialog_sender import DialogSender
from sip.header_policy import passable_tag
from sip.next_hop import DialogPath
from sip.transaction import ClientTransaction
from sip.wire.message import Response

MAX_EARLY: Final = 16
"""More early dialogs than this in one INVITE are not remembered apart."""


class Forks:
    """The first fork that says something has the dialog of the usage, each further one a dialog of its own."""

    __slots__ = ("_declined", "_early", "uri")

    def __init__(self, uri: str) -> None:
        self.uri = uri
        """Where the INVITE went: the remote target of dialogs that name none."""
        self._early: dict[str, DialogSender] = {}
        self._declined: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._early)

    def clear(self) -> None:
        """One has answered, or the INVITE is to be sent once more."""
        self._early = {}

    def meet(self, first: DialogSender, response: Response) -> None:
        """A fork says something before any has answered."""
        tag = response.to_tag
        if not first.dialog.remote_tag:
            first.dialog.establish(response)
        elif tag != first.dialog.remote_tag and tag not in self._early and len(self._early) < MAX_EARLY:
            fork = self.fork(first)
            fork.dialog.establish(response)
            self._early[tag] = fork

    def move(self, flow: Flow) -> None:
        """The connection of the INVITE was made anew."""
        for one in self._early.values():
            one.path.move(flow)

    def fork(self, first: DialogSender) -> DialogSender:
        """The dialog that a fork which has said nothing yet would have."""
        state = first.dialog.export()._replace(remote_tag="", target=self.uri, route_set=(), remote_cseq=0)
        return DialogSender(first.stack, Dialog(state), DialogPath(first.path.flow, first.path.reach))

    def find(self, tag: str) -> DialogSender | None:
        """The dialog of the fork with that tag, the first one's apart."""
        return self._early.get(tag)

    def find_passed(self, tag: str) -> DialogSender | None:
        """The same by the tag as it crosses a call (docs/wire.md)."""
        return next((one for known, one in self._early.items() if passable_tag(known) == tag), None)

    def choose(self, first: DialogSender, tag: str) -> DialogSender:
        """The dialog of the fork that has answered, with its own numbers."""
        if not first.dialog.remote_tag or tag == first.dialog.remote_tag:
            return first
        return self._early.get(tag) or self.fork(first)

    def decline(
        self, first: DialogSender, response: Response, ack_lines: Iterable[str], bye_lines: Iterable[str], now: float
    ) -> None:
        """A 2xx from another fork than the one that was chosen: acknowledge it, and end that dialog once."""
        other = self.fork(first)
        other.dialog.establish(response)
        bye = response.to_tag not in self._declined and len(self._declined) < MAX_EARLY
        if bye:
            self._declined = (*self._declined, response.to_tag)
        stack, cseq = other.stack, response.cseq

        def go(flow: Flow, now: float) -> None:
            if flow is UNREACHABLE:
                return
            stack.send(flow, other.request("ACK", cseq, stack.branch(), flow, ack_lines, b""))
            if bye:
                branch = stack.branch()
                data = other.request("BYE", cseq + 1, branch, flow, bye_lines, b"")
                stack.request("BYE", data, branch, flow, Unheard(), now)

        flow = other.path.flow_for(other.dialog.target, other.dialog.route_set, now)
        if flow is None:
            other.path.wait(go, now)
        else:
            go(flow, now)


class Unheard:
    """The user of a request whose answer changes nothing."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        pass
