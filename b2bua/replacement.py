"""INVITE with Replaces (RFC 3891): its sender takes the place of one party of an established call, as in a transfer.

The call keeps its id and its record. The offer of the new party goes to the other side in a re-INVITE; when that is
accepted, the replaced party gets BYE. The state token that comes with the answer names the new dialog, for a server
that takes over. Before that no state is kept: the INVITE is in the list of its agent, and is handled anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from b2bua.call import Call, CallServices, with_device_leg, without_device_leg
from b2bua.call_state import party_replaced
from b2bua.pickup import Joiner, pick_up
from b2bua.state_token import MOST_CHARACTERS
from b2bua.transfer_parts import call_of
from sip.b2b.bridge import DIALING, RINGING, TALKING, Joining, replace_leg
from sip.dialog import called_by, dialog_key
from sip.invite import InviteUsage
from sip.references import PICKUP, DialogId
from sip.transaction import ServerTransaction
from sip.wire.errors import Malformed
from sip.wire.message import Request

AGAIN_S: Final = 0.1
"""Seconds until a dialog is looked for again that agents may still report."""
MOST_WAITING: Final = 500
"""INVITEs that may wait at once; further ones are answered 503."""
WAITS: Final = 0
UNDECIDED: Final = "nothing is decided of it"
"""The context of an INVITE that waits for a dialog or a certificate, and belongs to no call yet."""

Find = Callable[[str, float], bool]
"""Restores the call of a reported dialog, by its key; returns whether agents have reported all they have."""


class Replacement:
    """One INVITE with Replaces."""

    __slots__ = ("_find", "_invite", "_joiner", "_services", "_until", "_waiting", "generation")

    def __init__(
        self,
        services: CallServices,
        find: Find,
        invite: ServerTransaction,
        joiner: Joiner,
        waiting: set[ServerTransaction],
        now: float,
    ) -> None:
        """``waiting``: the set of undecided INVITEs, to which this one is added while it waits."""
        self._services = services
        self._find = find
        self._invite = invite
        self._joiner = joiner
        self._waiting = waiting
        self._until = now + services.site.timing.replay_wait
        self.generation = 0

    def begin(self, now: float) -> None:
        """Accept the INVITE, refuse it, or let it wait for the dialog that it names."""
        invite = self._invite
        waited = invite in self._waiting
        self._waiting.discard(invite)
        request = invite.request
        if request is None or not invite.open:
            return
        invite.context = None
        stack = self._services.stack
        try:
            status = self._take(request, now)
        except Malformed as error:
            status = error.status
        if status == WAITS and len(self._waiting) >= MOST_WAITING:
            status = 503
        if status == WAITS:
            self._waiting.add(invite)
            invite.context = UNDECIDED
            if not waited:
                stack.reply(invite, 100, now)
            stack.deadlines.set(now + AGAIN_S, self, "told by now?")
        elif status >= 300:
            stack.reply(invite, status, now, tag=stack.token())

    def due(self, cause: str, now: float) -> None:
        self.begin(now)

    def _take(self, request: Request, now: float) -> int:
        """Returns the status that refuses the INVITE, 100 if it was passed on, or `WAITS`. Raises `Malformed`."""
        values = request.all("replaces")
        if "join" in request.first:  # RFC 3891 section 3: the two contradict each other
            raise Malformed("an INVITE has Replaces or Join")
        wanted = _of_lamp(DialogId.parse(values[0] if len(values) == 1 else ""))
        services = self._services
        key = dialog_key(wanted.call_id, wanted.local_tag)
        legs = services.stack.legs
        told = key in legs or self._find(key, now)
        former = legs.get(key)
        if not isinstance(former, InviteUsage):
            return WAITS if not told and now < self._until else 481
        call = call_of(former)
        if call is None or not _is_named(former, wanted.remote_tag):
            return 481
        bridge = call.bridge
        if bridge.phase in (DIALING, RINGING):
            if former is bridge.origin:
                return 481  # section 3: an early dialog can be replaced only by the UA that initiated it
            return pick_up(call, self._joiner, called_by(request, services.stack.token()), self._invite, now)
        if wanted.remote_tag == PICKUP:
            return 486  # section 3: the call was answered meanwhile
        replaced = call.state.caller_line if former is bridge.origin else call.state.callee_line
        if former.ended or not (_transfers(services, replaced) and _transfers(services, self._joiner.line)):
            return 603
        if bridge.phase is not TALKING:
            return 481
        if wanted.early_only:
            return 486
        if not bridge.complete:
            return WAITS if now < self._until else 481
        other = bridge.other(former)
        if other is None or other.ended:
            return 481
        under_way = other.ack.pending and request.branch != bridge.carried_out
        if under_way or bridge.joining is not None or other.client_invite.pending or other.server_invite.pending:
            return 491
        self._pass_on(call, former, request, now)
        return 100

    def _pass_on(self, call: Call, former: InviteUsage, request: Request, now: float) -> None:
        services, invite, joiner = self._services, self._invite, self._joiner
        stack = services.stack
        dialog = called_by(request, stack.token())
        stack.reply(invite, 100, now)
        if joiner.agent:
            leg = InviteUsage(stack, call.bridge, invite.flow, dialog)
        else:
            device_leg = with_device_leg(call, joiner.line, invite.flow, dialog)
            device_leg.take(request, now)
            leg = device_leg.leg
        replace_leg(call.bridge, Joining(leg, former, joiner), invite, now)


def joined(call: Call, joining: Joining, now: float) -> tuple[str, ...]:
    """The other side has accepted: put the joiner into the call's state. Returns the token line for its agent."""
    joiner: Joiner = joining.about
    line = joiner.line[:MOST_CHARACTERS]
    call.services.stack.call_ids.join(call.id, joiner.dialog, joiner.agent or line, line)
    called = joining.instead_of is not call.bridge.origin
    call.give_line(call.state.callee_line if called else call.state.caller_line)
    call.take_line(line, now)
    call.update(**party_replaced(called, joiner.number, line, joiner.agent, joiner.dialog))
    if joining.instead_of in call.device_legs:
        without_device_leg(call, joining.instead_of)
        call.update(device_leg=None)
    return call.services.token_lines(call, joiner.agent)


def _of_lamp(wanted: DialogId) -> DialogId:
    """The dialog that Replaces names. If it comes from a dialog-info NOTIFY (a busy lamp), some telephones swap the
    tags, which is undone."""
    if wanted.local_tag != PICKUP:
        return wanted
    return wanted._replace(local_tag=wanted.remote_tag, remote_tag=PICKUP)


def _is_named(leg: InviteUsage, remote_tag: str) -> bool:
    """Whether a tag is that of the leg's remote end, or a placeholder for it."""
    return remote_tag in (PICKUP, leg.dialog.remote_tag) or leg.dialogs.has_fork(remote_tag)


def _transfers(services: CallServices, name: str) -> bool:
    """Whether a line takes part in transfers; both the replaced party's line and the joiner's must."""
    line = services.site.lines.get(name.partition("/")[0])
    return line is not None and line.transfer != "refuse"
