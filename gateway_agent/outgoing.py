"""A call that a server opens: to one peer of a trunk after the other, or to all contacts of a phone at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gateway_agent import numbers
from gateway_agent.call import RINGING, TALKING
from gateway_agent.deduplication import Received
from gateway_agent.dialogs import Dialogs
from gateway_agent.line import Target
from gateway_agent.pending import hops_of
from gateway_agent.session_timer import SessionTimer
from sip.dialog import DialogState, called_by
from sip.digest import Authorization, Refusal
from sip.header_policy import DEVICE_HOP, crossing, passable_tag
from sip.invite import MAX_EARLY, InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line

MOST_TRIES: Final = 4
"""INVITEs to one target: the first, and one for each challenge or 422."""
_ELSEWHERE: Final = 'SIP;cause=200;text="Call completed elsewhere"'


class Branch:
    """One target that rings, or did."""

    __slots__ = ("credentials", "flow", "leg", "status", "target", "tries")

    def __init__(self, target: Target, leg: InviteUsage) -> None:
        self.target = target
        self.leg = leg
        self.flow = leg.flow
        self.tries = 1
        self.credentials: tuple[Authorization, ...] = ()
        self.status = 0
        """The final status; 0 while none came."""


class Outgoing(Dialogs):
    """The device is called."""

    __slots__ = ("best", "branches", "invite", "spare", "tags")

    direction = "out"

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        super().__init__(core, line, channel, number, now)
        self.branches: list[Branch] = []
        self.spare: list[Target] = []
        self.invite: Received | None = None
        """The INVITE that opened the call, until it is answered."""
        self.best: Response | None = None
        self.tags: tuple[str, ...] = ()
        """The early dialogs that the device's side made; a device cannot make them without end."""

    def begin(
        self, transaction: ServerTransaction, request: Request, received: Received, targets: list[Target], now: float
    ) -> None:
        """Take the INVITE of a server and send it to the device."""
        stack, settings = self.core.stack, self.line.settings
        server = self.server = InviteUsage(stack, self, transaction.flow, called_by(request, stack.token()))
        server.patient = True
        server.invite = transaction
        transaction.context = server
        received.call = self
        self.invite = received
        self.received.append(received)
        self.origin = received.key
        self.token = request.get("call-state") or ""
        self.session_id = request.get("session-id") or ""
        stack.reply(transaction, 100, now)
        if settings.session_timer is not None:
            self.timer = SessionTimer(settings.session_timer.expires, settings.session_timer.min_se, now)
        if self.line.parallel:
            for target in targets:
                self._try(target, request, now)
        else:
            self.spare = targets[1:]
            self._try(targets[0], request, now)

    def _try(self, target: Target, request: Request, now: float) -> None:
        stack, flow = self.core.stack, target.flow
        told = numbers.to_device(
            self.line.settings, request, self.core.host_towards(self.line.settings, flow), target.host
        )
        state = DialogState(stack.token() + stack.token(), stack.token(), "", told.sender, told.recipient)
        branch = Branch(target, InviteUsage(stack, self, flow, state, reach=self.line.reach))
        self.branches.append(branch)
        uri = told.uri(target.uri) if target.fill else target.uri
        self._call(branch, uri, request, now)

    def _call(self, branch: Branch, uri: str, request: Request, now: float) -> None:
        """Send the INVITE of one branch, again with credentials when it was challenged."""
        lines = crossing(request, DEVICE_HOP)
        if self.timer is not None:
            lines += self.timer.asking()
        digest = self.line.digest
        if digest is not None:
            if not branch.credentials:
                branch.credentials = tuple(digest.authorize("INVITE", uri))
            lines += [one.line for one in branch.credentials]
        body = self.description.from_server(request, now)
        within = self.line.settings.answer_within
        branch.leg.call(uri, lines, body, now, branch, hops_of(request), answer_within=within)

    # -- what the device says -------------------------------------------------------------------------------------

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        branch = transaction.context
        if not isinstance(branch, Branch):
            super().answered(leg, transaction, response, now)
            return
        status, invite = response.status, self.invite
        if status == 100:
            return
        if status // 100 == 2:
            self._picked_up(branch, response, now)
        elif branch.status:  # it was given up; what it says now changes nothing
            pass
        elif status < 200:
            if invite is not None and self.ended is None:
                self._rang(branch, invite, response, now)
        elif not self._once_more(branch, response, now):
            self._failed(branch, response, status, now)
        if self.ended is not None:
            self.settle(now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        branch = transaction.context
        if not isinstance(branch, Branch):
            super().timed_out(leg, transaction, now)
            return
        invite = self.invite
        cancelled = invite is not None and invite.cancelled
        if not branch.status:
            self._failed(branch, None, 487 if cancelled else transaction.failure, now)
        if self.ended is not None:
            self.settle(now)

    def _rang(self, branch: Branch, invite: Received, response: Response, now: float) -> None:
        if self.ringing_at is None and response.status in (180, 183):
            self.ringing_at = now
            self.phase = RINGING
        tag = passable_tag(response.to_tag)
        if tag not in self.tags:
            if len(self.tags) >= MAX_EARLY:
                return
            self.tags = (*self.tags, tag)
        body = self.description.from_device(response, branch.leg.flow.remote[0], now)
        lines = crossing(response, DEVICE_HOP)
        self.respond(invite, response.status, now, response.reason, self._named(invite, lines, tag), body, tag)

    def _named(self, invite: Received, lines: list[str], tag: str) -> list[str]:
        """The first response with a tag says which channel carries the call (docs/wire.md)."""
        if tag and not invite.count:
            lines.append(f"Line: {self.label}")
        return lines

    def _picked_up(self, branch: Branch, response: Response, now: float) -> None:
        leg, invite = branch.leg, self.invite
        if invite is None or self.ended is not None or branch.status:
            if leg is not self.device:  # given up, too slow, or the call is over (RFC 3261 section 16.7)
                leg.acknowledge((), b"", now)
                leg.send("BYE", (f"Reason: {_ELSEWHERE}",), b"", now, self)
            return
        self.device = leg
        self.answered_at = now
        self.phase = TALKING
        self.invite = None
        branch.status = response.status
        self._cancel_branches(_ELSEWHERE, now)
        if self.timer is not None:
            self.timer.learn(response, now)
        longest = self.line.settings.longest_call
        self.ends_at = now + longest if longest else None
        self.description.anchor.watch(self.line.settings.media_timeout)
        self.arm(now)
        tag = passable_tag(response.to_tag)
        body = self.description.from_device(response, branch.leg.flow.remote[0], now)
        request = invite.transaction.request
        if request is not None and request.body:
            self.agreed()
        lines = crossing(response, DEVICE_HOP)
        self.respond(invite, response.status, now, response.reason, self._named(invite, lines, tag), body, tag)
        self.branches = []
        self.spare = []

    def _once_more(self, branch: Branch, response: Response, now: float) -> bool:
        """A challenge is answered, a 422 met with a longer interval; False when neither can be."""
        invite, digest = self.invite, self.line.digest
        request = invite.transaction.request if invite is not None else None
        if invite is None or invite.cancelled or request is None or branch.tries >= MOST_TRIES:
            return False
        old = branch.leg.dialog
        if response.status in (401, 407) and digest is not None:
            answer = digest.answer(response, "INVITE", old.target, branch.credentials)
            if isinstance(answer, Refusal):
                return False
            branch.credentials = answer
        elif not (response.status == 422 and self.timer is not None and self.timer.raised(response)):
            return False
        branch.tries += 1
        # RFC 3261 section 22.2: the same Call-ID, From and To, the next CSeq
        state = DialogState(old.call_id, old.local_tag, "", old.local, old.remote, old.local_cseq)
        branch.leg = InviteUsage(self.core.stack, self, branch.flow, state, reach=self.line.reach)
        self._call(branch, old.target, request, now)
        return True

    def _failed(self, branch: Branch, response: Response | None, status: int, now: float) -> None:
        branch.status = status
        invite = self.invite
        if invite is None:
            return
        if response is None or status == 503:
            self.line.failed(branch.target, response, now)
        if response is not None and (self.best is None or _rank(status) < _rank(self.best.status)):
            self.best = response
        if status >= 600:
            self.spare = []
            self._cancel_branches("", now)
        if self.spare and not invite.cancelled and status in (408, 500, 503) and self.ended is None:
            request = invite.transaction.request
            if request is not None:
                self._try(self.spare.pop(0), request, now)
                return
        if all(one.status for one in self.branches):
            silent = invite.cancelled or any(one.status == 408 for one in self.branches)
            self._conclude(invite, self.best.status if self.best is not None else 408 if silent else 503, now)

    def _conclude(self, invite: Received, status: int, now: float) -> None:
        """No target took the call (RFC 3261 section 16.7, step 6)."""
        best, self.invite = self.best, None
        status = 487 if invite.cancelled and status == 408 else status
        status = 403 if status in (401, 407) else status
        lines: list[str] = []
        if best is not None:
            lines = crossing(best, DEVICE_HOP)
            if 300 <= status < 400:
                lines += [line for name, line in zip(best.names, best.lines, strict=True) if name == "contact"]
        self.finish("server" if invite.cancelled else "device", "", status, now)
        reason = best.reason if best is not None and best.status == status else ""
        self.respond(invite, status, now, reason, lines, best.body if best is not None else b"")

    # -- the end before the answer --------------------------------------------------------------------------------

    def cancelled(self, leg: InviteUsage, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """A server gave up: the answer to its INVITE is what the device says to the CANCEL."""
        invite = self.invite
        if invite is None or leg is not self.server:
            super().cancelled(leg, transaction, cancel, now)
            return
        invite.cancelled = True
        self.spare = []
        self._cancel_branches(cancel.get("reason") or "", now)

    def _cancel_branches(self, reason: str, now: float) -> None:
        for branch in self.branches:
            if not branch.status:
                branch.leg.cancel(now, (f"Reason: {reason}",) if reason else ())

    def abandon_setup(self, reason: str, now: float) -> None:
        invite, self.invite = self.invite, None
        if invite is not None:
            invite.cancelled = True
            self.spare = []
            self._cancel_branches(reason, now)
            self.respond(invite, 487, now)

    def refuse_setup(self, status: int, lines: Sequence[str], now: float) -> None:
        invite, self.invite = self.invite, None
        if invite is not None:
            invite.cancelled = True
            self.spare = []
            self._cancel_branches(lines[0].partition(": ")[2] if lines else "", now)
            self.respond(invite, status, now, lines=lines)


def _rank(status: int) -> tuple[int, int]:
    """Smaller is better: 6xx, then the lowest class; of one class, one that says more than that nobody was there."""
    return (0 if status >= 600 else status // 100, 1 if status in (408, 480, 487, 503) else 0)
