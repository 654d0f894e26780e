"""Recovery of calls without any agent, between two devices on the servers' own lines, from the state that the servers
put into the Contact URI given to these devices (``b2bua.contact_cookie``). A call is restored when one of its devices
sends the new server a request in its dialog, or reports its dialogs (RFC 4235).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from b2bua.call import Call, CallServices, longest_of
from b2bua.contact_cookie import Cookie
from b2bua.device_leg import DeviceLeg, resume
from b2bua.device_leg_state import DeviceLegState, place_of, resumed
from b2bua.takeover.verdicts import KEPT, Verdicts
from sip.actions import Flow
from sip.b2b.bridge import JOINED, phase_of
from sip.dialog import UAC, UAS, DialogState, contact_uri
from sip.header_policy import passable_tag
from sip.invite import InviteUsage
from sip.transaction import ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Request

BY_COOKIE: Final = "no agent has it: it was in the Contact that its devices were given"


class Facts(NamedTuple):
    """A device's dialog with a former server, as the device reports it. ``local`` is the server's side."""

    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    remote: str
    target: str
    """The device's Contact URI, ``""`` if not reported."""


class CookieRecovery:
    """Restores calls from contact cookies. A server has one instance for its whole life."""

    def __init__(self, services: CallServices, verdicts: Verdicts) -> None:
        self._services = services
        self._verdicts = verdicts

    @property
    def possible(self) -> bool:
        """Whether the servers put state into the Contacts of devices at all."""
        return self._services.cookies.enabled

    def read(self, uri: str) -> Cookie | None:
        """The cookie in one of the servers' Contact URIs; ``None`` without a valid one."""
        return self._services.cookies.read(uri)

    def carrier(self, cookie: Cookie) -> str:
        """Name of the line whose device was given the cookie."""
        return _lines(cookie)[0]

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Handle a request from a device on an own line in an unknown dialog, by restoring the call from its cookie.
        False: no call can be restored from this request."""
        services = self._services
        cookie = self.read(request.uri)
        if cookie is None or not self._is_former(cookie) or cookie.own.tag != request.to_tag:
            return False
        line, flow = _lines(cookie)[0], transaction.flow
        if not services.own_lines.senders.is_of(line, flow):
            proved = services.own_lines.senders.of(transaction, request, now)
            if proved != line:
                return proved is None
        facts = Facts(
            request.call_id,
            request.to_tag,
            request.from_tag,
            request.to_untagged,
            request.from_untagged,
            contact_uri(request),
        )
        # responses to INVITE and UPDATE refresh the device's target, and after BYE it needs none
        leg = self.restore(cookie, facts, flow, now, request.method not in ("INVITE", "UPDATE", "BYE"))
        if leg is None:
            return False
        leg.receive(transaction, request, now)
        return True

    def restore(self, cookie: Cookie, facts: Facts, flow: Flow, now: float, tell: bool = True) -> InviteUsage | None:
        """Restore the call of a cookie, whose device is reached by ``flow``. Returns the leg of that device, or None
        if the call is known or over, or its other side cannot be reached. ``tell``: send the device a target refresh
        with the new server's address; the other device always gets one."""
        services, state = self._services, cookie.state
        if not self._is_former(cookie) or cookie.own.tag != facts.local_tag:
            return None
        own_line, other_line = _lines(cookie)
        other = cookie.other
        if not other.dialog.local_tag:  # towards the caller the server used the callee's tag (`passable_tag`)
            other = other._replace(dialog=other.dialog._replace(local_tag=passable_tag(facts.remote_tag)))
        there = services.own_lines.former.way_back(other_line, other, now)
        here = services.own_lines.former.is_hot(own_line)
        if isinstance(there, str) or not here:
            return None
        epoch, wall = services.records.epoch, services.records.wall_offset
        # the callee's cookie went out with the INVITE, before the time of the answer was known
        state = state._replace(epochs=(*state.epochs, epoch), answered=state.answered or state.started)
        call = Call(services, state, wall, phase_of(True), restored=True)
        lasted = max(0.0, now + wall - state.answered)
        services.calls[call.id] = call
        call.take_line(state.caller_line, now)
        call.take_line(state.callee_line, now)
        host, port = flow.remote
        target = facts.target or f"sip:{bracketed(host)}:{port}"
        dialog = DialogState(
            facts.call_id,
            facts.local_tag,
            facts.remote_tag,
            facts.local,
            facts.remote,
            cookie.own.local_cseq,
            0,
            target,
            cookie.own.route_set,
            UAS if cookie.calls else UAC,
        )
        told = cookie.own
        own = DeviceLegState(
            dialog,
            *place_of(flow),
            "",
            by_update=told.by_update,
            origin=told.origin,
            timer=told.timer,
            sections=told.sections,
        )
        mine = self._leg(call, own_line, flow, own, cookie.calls, lasted, now)
        theirs = self._leg(call, other_line, there, other, not cookie.calls, lasted, now)
        call.device_legs = {mine.leg: mine, theirs.leg: theirs}
        if longest := longest_of(services.site, call.lines):
            call.bridge.limit(now - lasted + longest)
        call.bridge.step(JOINED, None, False, None, now)
        services.cookies.put(call)
        if tell:
            services.own_lines.former.refresh(mine, own, now, heard=True)
        services.own_lines.former.refresh(theirs, other, now)
        self._verdicts.note(call.id, KEPT, BY_COOKIE)
        return mine.leg

    def _leg(
        self, call: Call, line: str, flow: Flow, state: DeviceLegState, as_origin: bool, lasted: float, now: float
    ) -> DeviceLeg:
        services = self._services
        made = services.own_lines.leg(line, call.bridge, flow, resumed(state.dialog, lasted), True)
        resume(made, state, b"", b"", lasted, now)
        made.leg.ack.prepare(state.acknowledged, (), b"")
        call.bridge.attach(made.leg, as_origin)
        services.stack.call_ids.join(call.id, state.dialog.call_id, line, line)
        return made

    def _is_former(self, cookie: Cookie) -> bool:
        """Whether the call of a cookie was last served under an earlier epoch, and is not known here or ended."""
        state, records = cookie.state, self._services.records
        known = state.call_id in self._services.calls or (state.part or state.call_id) in records.ended
        return not known and state.epochs[-1:] < (records.epoch,)


def _lines(cookie: Cookie) -> tuple[str, str]:
    """Line names: of the device that was given the cookie, and of the other side."""
    state = cookie.state
    lines = state.caller_line.partition("/")[0], state.callee_line.partition("/")[0]
    return lines if cookie.calls else (lines[1], lines[0])
