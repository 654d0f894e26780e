"""The dialogs of one INVITE usage: one, and until the answer one more for each fork (RFC 3261 section 12.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sip.actions import UNREACHABLE, Flow
from sip.dialog import UAS, Dialog, contact_uri
from sip.dialog_sender import DialogSender
from sip.header_policy import passable_tag
from sip.invite.client_invite import IgnoredResponses
from sip.invite.local_tags import LocalTags
from sip.next_hop import DialogPath
from sip.receiver import InDialog
from sip.wire.message import Request, Response, elements

MAX_EARLY: Final = 16
"""Early dialogs of one INVITE that are kept; further ones are not."""


_NO_FORKS: Final[dict[str, DialogSender]] = {}
"""Shared by all calls without forks; nothing is put into it."""


class Dialogs:
    """The dialogs that an INVITE makes. When we sent it, the first fork that responds uses the dialog that is there,
    and each further fork gets its own. When we received it, its early dialogs differ in our tag only.
    """

    __slots__ = ("_declined", "_early", "_route", "chosen", "local_tags", "uri")

    def __init__(self, first: DialogSender, local_tags: LocalTags[InDialog]) -> None:
        self.chosen = first
        """The first dialog; after the answer, the dialog of the answer."""
        self.uri = first.dialog.target
        """The Request-URI of the INVITE: the remote target of dialogs that got no Contact."""
        self.local_tags = local_tags
        self._route = first.dialog.route_set
        """The preloaded route set of the first INVITE (section 8.1.1.1), also when it is sent once more."""
        self._early = _NO_FORKS
        self._declined: tuple[str, ...] = ()

    def open(self, local_tag: str, status: int, leg: InDialog) -> bool:
        """We answer a received INVITE in the dialog of that local tag. Returns False for one early dialog too many: a
        callee could invent any number.
        """
        known = self.local_tags.all
        if local_tag not in known and local_tag != self.chosen.dialog.local_tag:
            if status < 200 and len(known) > MAX_EARLY:
                return False
            self.local_tags.add(local_tag, leg)
        return True

    def answered(self, local_tag: str) -> None:
        """We sent a 2xx in the dialog of that local tag: it is the only one from now on."""
        self.chosen.dialog.local_tag = local_tag
        self.local_tags.keep(local_tag)

    def open_again(self) -> None:
        """Our INVITE was refused and will be sent once more (section 8.1.3.5): forget its early dialogs."""
        self._early = _NO_FORKS
        dialog = self.chosen.dialog
        dialog.remote_tag, dialog.remote_cseq = "", 0
        dialog.route_set, dialog.target = self._route, self.uri

    def meet(self, response: Response) -> None:
        """Make or keep the early dialog of a provisional response."""
        first, tag = self.chosen.dialog, response.to_tag
        if not first.remote_tag:
            first.establish(response)
        elif tag != first.remote_tag and tag not in self._early and len(self._early) < MAX_EARLY:
            fork = self._fork()
            fork.dialog.establish(response)
            self._early = {**self._early, tag: fork}

    def choose(self, response: Response) -> DialogSender:
        """A 2xx came: its dialog is the only one from now on. Returns that."""
        known, tag = self.chosen.dialog.remote_tag, response.to_tag
        if known and tag != known:
            self.chosen = self._early.get(tag) or self._fork()
        self._early = _NO_FORKS
        self.chosen.dialog.establish(response)
        return self.chosen

    def decline(self, response: Response, ack_lines: Iterable[str], bye_lines: Iterable[str], now: float) -> None:
        """Answer a 2xx from another fork than the chosen one by ACK, and once by BYE (section 13.2.2.4)."""
        other = self._fork()
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
                stack.request("BYE", data, branch, flow, IgnoredResponses(), now)

        flow = other.path.flow_for(other.dialog.target, other.dialog.route_set, now)
        if flow is None:
            other.path.wait(go, now)
        else:
            go(flow, now)

    def find(self, remote_tag: str) -> DialogSender | None:
        """The dialog of a received request with that From tag; None: there is no such dialog."""
        known = self.chosen.dialog.remote_tag
        return self.chosen if not known or remote_tag == known else self._early.get(remote_tag)

    def find_passed(self, tag: str) -> DialogSender:
        """The dialog in which a request is passed on. ``tag``: the tag of an early dialog as it is passed through a
        call (docs/wire.md), or ``""`` for the chosen dialog.
        """
        chosen = self.chosen
        dialog = chosen.dialog
        if not tag:
            return chosen
        if dialog.direction == UAS:
            if tag == dialog.local_tag or tag not in self.local_tags.all:
                return chosen
            return DialogSender(chosen.stack, Dialog(dialog.export()._replace(local_tag=tag)), chosen.path)
        return next((one for known, one in self._early.items() if passable_tag(known) == tag), chosen)

    def has_fork(self, tag: str) -> bool:
        """Whether a fork of our INVITE has made a dialog with that tag, in the form that is passed through a call."""
        tags = (self.chosen.dialog.remote_tag, *self._early)
        return any(passable_tag(each) == tag for each in tags)

    def repeated(self, invite: Request, flow: Flow, leg: InDialog) -> None:
        """Another server sent the received INVITE once more, on ``flow``: go on in the dialog of the repeat."""
        dialog = self.chosen.dialog
        dialog.call_id = invite.call_id
        dialog.remote_tag = invite.from_tag
        dialog.remote_cseq = invite.cseq
        dialog.target = contact_uri(invite) or dialog.target
        dialog.route_set = tuple(elements(invite, "record-route"))
        self.move(flow)
        self.local_tags.rename(invite.call_id, leg)

    def move(self, flow: Flow) -> None:
        """There is a new connection: all dialogs use it, since any fork may answer."""
        self.chosen.path.move(flow)
        for one in self._early.values():
            one.path.move(flow)

    def _fork(self) -> DialogSender:
        """A dialog for a fork, before its first response establishes it."""
        first = self.chosen
        state = first.dialog.export()._replace(remote_tag="", target=self.uri, route_set=(), remote_cseq=0)
        return DialogSender(first.stack, Dialog(state), DialogPath(first.path.flow, first.path.reach))
