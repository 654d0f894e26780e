"""The state machine of a call: its phases, its events, and ``TABLE`` (docs/state-machines.md). The docstring of the
package ``sip.b2b`` has the contract."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sip.b2b.discarded import Discarded, drop_leg
from sip.b2b.policy import ALLOWED, LATER, NOTHING, Party, Passed, Policy
from sip.header_policy import PASSED_METHODS, max_forwards_left, passable_tag
from sip.invite import InviteUsage
from sip.references import accepted_by
from sip.timers import Deadlines
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.errors import Malformed
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

# Phases.
ROUTING: Final = "routing"
"""The origin has offered the call, and no target is being called at the moment."""
DIALING: Final = "dialing"
RINGING: Final = "ringing"
"""A target has sent a provisional response. Or, in a restored call, it has answered and the origin has not been sent
the answer."""
CANCELLING: Final = "cancelling"
"""The origin gave up; its INVITE is answered when the target has finished its own after the CANCEL."""
TALKING: Final = "talking"
ENDING: Final = "ending"
"""One side hung up, or the set-up failed, and something is still pending, such as the answer to a BYE."""
OVER: Final = "terminated"
SETTING_UP: Final = (ROUTING, DIALING, RINGING, CANCELLING)
"""The phases in which the origin has no final response yet."""

# Events.
INVITED: Final = "invited"
REFUSED: Final = "no target is left"
PROVISIONAL: Final = "provisional"
ANSWERED: Final = "answered"
FAILED: Final = "failed"
FORK_FAILED: Final = "one of several failed"
NO_ANSWER: Final = "no answer"
HELD_BACK: Final = "to be tried again"
CANCELLED: Final = "cancelled"
REQUESTED: Final = "requested"
CHANGED: Final = "change requested"
WITHDRAWN: Final = "change cancelled"
RESPONDED: Final = "responded"
TIMED_OUT: Final = "timed out"
ACKNOWLEDGED: Final = "acknowledged"
ENDED: Final = "ended"
DONE: Final = "end confirmed"
RELEASED: Final = "released"
DROPPED: Final = "dropped"
OFFERED_AGAIN: Final = "offered again"
CAUGHT_UP: Final = "an answer came to light"
JOINED: Final = "absent leg found"

MOST_QUEUED: Final = 16
"""Events of one call that may wait for its absent leg."""
COMPLETED_ELSEWHERE: Final = 'SIP;cause=200;text="Call completed elsewhere"'
"""The Reason for giving up a leg because another one has answered (RFC 3326)."""
REPLACED: Final = 'SIP;cause=200;text="Replaced"'
"""The Reason in the BYE to a leg whose place another one has taken."""
SETUP: Final = "first INVITE"
"""The context of the INVITE that opens a target's leg."""
OUR_OWN: Final = "our own"
"""The context of a BYE whose answer is passed on to no leg: only the bridge waits for it."""

_WAITING: Final = frozenset({REQUESTED, CHANGED, WITHDRAWN, ACKNOWLEDGED, ENDED})
_TAKEN: Final = ("BYE", "REFER")
_QUEUE: Final = "go on with what waited"
_TOO_LONG: Final = "too long"


class Alarm:
    """Calls a bridge when its deadline is due. Once turned off it has no reference to the bridge, so that an entry
    left among the deadlines does not keep the call in memory."""

    __slots__ = ("bridge", "generation")

    def __init__(self, bridge: Bridge) -> None:
        self.bridge: Bridge | None = bridge
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        if self.bridge is not None:
            self.bridge.due(cause, now)


class Joining(NamedTuple):
    """A leg that is about to take the place of another one (RFC 3891)."""

    leg: InviteUsage
    instead_of: InviteUsage
    about: Any
    """A value of the program, which it reads when the leg joins."""


class _Waiting(NamedTuple):
    """An event that waits, for an absent leg or for something that must go before it."""

    event: str
    leg: InviteUsage
    subject: ServerTransaction | None
    message: Request


class Bridge:
    """One call: its legs and its phase. See the package ``sip.b2b``."""

    __slots__ = (
        "_alarm",
        "_ended",
        "_late",
        "_queue",
        "_silent",
        "bye_queued",
        "carried_out",
        "deadlines",
        "discarded",
        "given_up",
        "joining",
        "leaving",
        "origin",
        "passage",
        "phase",
        "policy",
        "targets",
    )

    def __init__(
        self,
        deadlines: Deadlines,
        discarded: Discarded,
        policy: Policy,
        phase: str = ROUTING,
        restored: bool = False,
    ) -> None:
        self.deadlines = deadlines
        self.discarded = discarded
        self.passage = discarded.passage
        self.policy = policy
        self.phase = phase
        self.origin: InviteUsage | None = None
        """The leg that offered the call."""
        self.targets: list[InviteUsage] = []
        """The legs that are being tried; once answered, the one that answered."""
        self._queue: list[_Waiting] | None = [] if restored else None
        """Events that wait for an absent leg; None when no leg is absent."""
        self._late: Sequence[_Waiting] = ()
        """Events with both legs there that still wait: for an ACK, a response or a repeated attempt before them."""
        self.bye_queued = False
        """Whether a BYE waits for the absent leg."""
        self.carried_out = ""
        """The branch of a re-INVITE that one side has accepted already, through another server: it is not refused as
        glare."""
        self.joining: Joining | None = None
        """A leg that is about to take the place of another one."""
        self.leaving: InviteUsage | None = None
        """A leg whose place was given to another one, and which may send BYE by itself."""
        self._alarm: Alarm | None = None
        self._ended = False
        self._silent = False
        """Whether the present target has sent no response yet."""
        self.given_up = False
        """Whether the target that failed last was given up because it did not answer within its time."""

    @property
    def target(self) -> InviteUsage | None:
        """The leg on the other side of the origin, None while there is none; the first of several."""
        return self.targets[0] if self.targets else None

    @property
    def legs(self) -> list[InviteUsage]:
        """All legs of the call, also those that are about to join or leave."""
        joining = None if self.joining is None else self.joining.leg
        return [leg for leg in (self.origin, *self.targets, joining, self.leaving) if leg is not None]

    @property
    def complete(self) -> bool:
        """Whether no leg is absent."""
        return self._queue is None

    def other(self, leg: InviteUsage) -> InviteUsage | None:
        """The leg on the other side of ``leg``, or None."""
        if leg is self.leaving:
            return None
        if self.joining is not None and leg is self.joining.leg:
            leg = self.joining.instead_of
        if leg is self.origin:
            return self.targets[0] if self.targets else None
        return self.origin

    def step(self, event: str, leg: InviteUsage | None, subject: Any, message: Any, now: float) -> None:
        """Process an event by ``TABLE``; the phase changes here and nowhere else.

        ``subject`` is a transaction, or a value that the action of the event needs; ``message`` the SIP message.
        """
        if (
            self._queue is not None
            and event in _WAITING
            and leg is not None
            and _keep(self, event, leg, subject, message, now)
        ):
            return
        entry = TABLE.get((self.phase, event))
        if entry is None:
            logger.debug("%s: %s is of no interest", self.phase, event)
            return
        following, action = entry
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %s -> %s", self.phase, event, following)
        self.phase = following
        action(self, leg, subject, message, now)

    # Called by the program.

    def offer(self, leg: InviteUsage, invite: ServerTransaction) -> None:
        """Make ``leg``, whose INVITE opens the call, the origin."""
        leg.server_invite.latest = invite
        invite.context = leg
        self.origin = leg

    def invite(
        self,
        leg: InviteUsage,
        uri: str,
        lines: Iterable[str],
        body: bytes,
        max_forwards: int,
        ring_for: float,
        now: float,
        answer_within: float = 0.0,
    ) -> None:
        """Try a target: send the first INVITE of its leg.

        ``ring_for``: seconds within which it must answer; ``answer_within``: seconds within which it must send any
        response at all. 0: no limit.
        """
        self.targets.append(leg)
        self.step(INVITED, leg, ring_for, None, now)
        leg.call(uri, lines, body, now, SETUP, max_forwards, answer_within)

    def refuse(
        self,
        status: int,
        now: float,
        reason: str = "",
        lines: Sequence[str] = (),
        response: Response | None = None,
        by: Party = "server",
    ) -> None:
        """End the set-up: the origin gets ``response``, or one made here with that status, reason and lines."""
        self.step(REFUSED, None, (status, reason, lines, by), response, now)

    def limit(self, at: float) -> None:
        """Set the instant at which the call is released for its length."""
        _wake(self, at, _TOO_LONG)

    def release(self, reason: str, now: float, by: Party = "server", status: int = 200) -> None:
        """End what is left of the call by BYE, CANCEL or a final response, with that Reason. Only for a known cause,
        never on mere suspicion.

        Where a party's BYE waits for a leg that never comes, the call ends by that BYE.
        """
        queue, self._queue = self._queue or [], None
        if not self.bye_queued:
            self.step(RELEASED, None, (status, by), reason, now)
        _go_on(self, queue, now)

    def drop(self) -> None:
        """Forget the call without sending anything: another server has it."""
        self._queue = None
        self.step(DROPPED, None, None, None, 0.0)

    # Legs that were absent.

    def attach(self, leg: InviteUsage, as_origin: bool) -> None:
        """Add an absent leg, which was made from its record, as the origin or as the target."""
        if as_origin:
            self.origin = leg
        else:
            self.targets = [leg]

    # Called by the legs (sip.invite.UsageOwner).

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self.passage.is_repeat(self.policy, leg, transaction, request, now)

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        return self.passage.hop_headers(leg, method, now)

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        method = request.method
        if method in _TAKEN and self.policy.takes(leg, transaction, request, now):
            return
        if method == "BYE":
            self.step(ENDED, leg, transaction, request, now)
        elif method == "INVITE":
            # RFC 3261 section 17.2.1; and its CANCEL need not wait for the other side
            _reply(self, transaction, 100, now)
            self.step(CHANGED, leg, transaction, request, now)
        elif method == "OPTIONS" or method not in PASSED_METHODS:
            _reply(self, transaction, 200 if method == "OPTIONS" else 405, now, passed=ALLOWED)
        else:
            self.step(REQUESTED, leg, transaction, request, now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        self.step(ACKNOWLEDGED, leg, None, ack, now)

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL for an open INVITE that came on ``leg``; it was answered 200."""
        first = leg is self.origin and not leg.established
        self.step(CANCELLED if first else WITHDRAWN, leg, invite, cancel, now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, context = response.status, transaction.context
        if status >= 300 and self.passage.intercepts(self.policy, leg, transaction, response, now):
            return
        if context is SETUP:
            if status >= 300:
                self.fail(leg, status, response, now)
            elif status > 100:
                self.step(PROVISIONAL if status < 200 else ANSWERED, leg, transaction, response, now)
        elif isinstance(context, ServerTransaction):
            self.step(RESPONDED, leg, context, response, now)
        else:
            self.passage.own(self.policy, leg, transaction, response, now)
        if transaction.method == "BYE" and status >= 200:
            self.settle(now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        context = transaction.context
        if context is SETUP:
            self.fail(leg, transaction.failure, None, now)
        elif isinstance(context, ServerTransaction):
            self.step(TIMED_OUT, leg, context, transaction, now)
        else:
            self.passage.own(self.policy, leg, transaction, None, now)
        if transaction.method == "BYE":
            self.settle(now)

    def fail(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """A target failed, or nothing can be sent to it."""
        if leg in self.targets:
            self.targets.remove(leg)
        self.discarded.cancel(leg, (), now)
        self.step(FORK_FAILED if self.targets else FAILED, leg, status, response, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        """Our 2xx got no ACK, or a reliable provisional response no PRACK (RFC 3262 section 3: then a 5xx). Returns
        when to look again, None when the call was ended."""
        if not leg.established:
            self.release('SIP;cause=504;text="No PRACK"', now, "server", 504)
            return None
        later = self.passage.unacknowledged(self.policy, leg, now)
        if later is None:
            self.release('SIP;cause=408;text="No ACK"', now)
        return later

    def due(self, cause: str, now: float) -> None:
        if cause is NO_ANSWER:
            self.step(NO_ANSWER, self.target, None, None, now)
        elif cause is _TOO_LONG:
            self.release('Q.850;cause=31;text="Longest call"', now)
        elif cause is _QUEUE:
            late, self._late = self._late, ()
            _go_on(self, sorted(late, key=_is_last), now)

    # Shared by the actions of the table.

    def settle(self, now: float) -> None:
        """The end of the call is confirmed: it is over, unless the passage waits for something else."""
        if not self.passage.busy(self.policy):
            self.step(DONE, None, None, None, now)

    def finish(self, status: int, by: Party, reason: str, now: float) -> None:
        """The call is over for its parties: tell the policy, once."""
        if not self._ended:
            self._ended = True
            self.policy.ended(status, by, reason, now)


def phase_of(answered: bool) -> str:
    """The phase of a call whose dialogs are confirmed. ``answered``: whether its newest token says that it was."""
    return TALKING if answered else RINGING


def reasons_of(message: Message) -> list[str]:
    """All Reason header lines of a message, as they came (RFC 3326 section 2: one value for each protocol)."""
    return [line for name, line in zip(message.names, message.lines, strict=True) if name == "reason"]


def acknowledge(bridge: Bridge, leg: InviteUsage, lines: Iterable[str], body: bytes, now: float) -> None:
    """Send the ACK of a leg; a re-INVITE that waited for it follows."""
    leg.acknowledge(lines, body, now)
    if bridge._late:
        bridge.deadlines.set(now, Alarm(bridge), _QUEUE)


def replace_leg(bridge: Bridge, joining: Joining, invite: ServerTransaction, now: float) -> None:
    """Let a new leg, opened by ``invite``, take the place of one that talks, as soon as the leg on the other side has
    accepted its offer.
    """
    joining.leg.server_invite.latest = invite
    invite.context = joining.leg
    bridge.joining = joining
    other = bridge.other(joining.leg)
    assert other is not None and invite.request is not None
    _send_on(bridge, CHANGED, joining.leg, other, invite.request, invite, now)


def set_legs(
    bridge: Bridge, origin: InviteUsage | None, target: InviteUsage | None, leaving: InviteUsage | None
) -> None:
    """Set the legs of a call after a transfer that was carried out here. ``leaving``: the leg that is no longer
    connected."""
    bridge.origin, bridge.targets, bridge.leaving = origin, [] if target is None else [target], leaving


def take_back(bridge: Bridge, leg: InviteUsage) -> list[tuple[ServerTransaction, Request]]:
    """Remove from the queue the events of ``leg`` that wait for the leg on the other side, which now belongs to
    another call. Returns their transactions and requests, without ACKs."""
    if bridge._queue is None:
        return []
    theirs = [each for each in bridge._queue if each.leg is leg]
    bridge._queue = [each for each in bridge._queue if each.leg is not leg]
    bridge.bye_queued = any(_is_last(each) for each in bridge._queue)
    return [(each.subject, each.message) for each in theirs if each.subject is not None]


def let_go(bridge: Bridge, leg: InviteUsage) -> None:
    """Remove a leg that belongs to another call from now on."""
    if leg is bridge.origin:
        bridge.origin = None
    else:
        bridge.targets = [each for each in bridge.targets if each is not leg]


def send_pending_ack(bridge: Bridge, leg: InviteUsage, now: float) -> None:
    """Send the ACK of a leg if it is still pending, since a 2xx must be acknowledged before any other request, even
    when no ACK has come from the other side."""
    if leg.ack.pending:
        leg.acknowledge(bridge.hop_headers(leg, "ACK", now), b"", now)


def _reply(
    bridge: Bridge,
    asked: ServerTransaction,
    status: int,
    now: float,
    reason: str = "",
    passed: Passed | None = None,
    tag: str = "",
) -> None:
    bridge.passage.reply(bridge.policy, asked, status, now, reason, passed, tag)


def _wake(bridge: Bridge, at: float, cause: str) -> None:
    """Set the deadline of the bridge. It has one at a time: for the target to answer, or for the call to end."""
    _turn_off(bridge)
    bridge._alarm = Alarm(bridge)
    bridge.deadlines.set(at, bridge._alarm, cause)


def _turn_off(bridge: Bridge) -> None:
    if bridge._alarm is not None:
        bridge._alarm.bridge = None
        bridge._alarm.generation += 1
        bridge._alarm = None


def _keep(bridge: Bridge, event: str, leg: InviteUsage, subject: Any, message: Request, now: float) -> bool:
    """Queue an event until the absent leg is there. Returns False when the queue is full."""
    queue = bridge._queue
    if queue is None or len(queue) >= MOST_QUEUED:
        return False
    queue.append(_Waiting(event, leg, subject, message))
    bridge.bye_queued = bridge.bye_queued or event is ENDED
    bridge.policy.wanted(leg, now)
    return True


def _go_on(bridge: Bridge, queue: Iterable[_Waiting], now: float) -> None:
    for event, leg, subject, message in queue:
        if subject is not None and not subject.open and event is not ENDED:
            continue  # it was cancelled while it waited, or the call has ended
        if bridge.targets and leg is not bridge.origin and leg not in bridge.targets:
            if not leg.established and subject is not None:  # in an early dialog of a target that was given up
                _reply(bridge, subject, 481, now)
                continue
            leg = _moved_to(bridge.targets[0], subject, message)
        bridge.step(event, leg, subject, message, now)


def _is_last(waiting: _Waiting) -> bool:
    """Whether a waiting event is a BYE: it goes after all others, which the leg can still answer before it."""
    return waiting.event is ENDED


def _moved_to(leg: InviteUsage, asked: ServerTransaction | None, message: Request) -> InviteUsage:
    """Move a request that came on a leg whose attempt has been repeated to the leg of the repeat, and return that."""
    if asked is not None:
        asked.context = leg
        leg.dialog.remote_cseq = max(leg.dialog.remote_cseq, message.cseq)
        if message.method == "INVITE" and asked.open:
            leg.server_invite.latest = asked
    return leg


# Actions of the table: (bridge, leg, subject, message, now).


def _expect_answer(bridge: Bridge, leg: InviteUsage, ring_for: float, _: None, now: float) -> None:
    bridge._silent, bridge.given_up = True, False
    if ring_for > 0:
        _wake(bridge, now + ring_for, NO_ANSWER)


def _pass_provisional(bridge: Bridge, leg: InviteUsage, _: Any, response: Response, now: float) -> None:
    first, bridge._silent = bridge._silent, False
    origin = bridge.origin
    passed = bridge.passage.pass_on(bridge.policy, PROVISIONAL, leg, origin, response, first, now)
    if passed is not None and origin is not None and (invite := origin.server_invite.pending) is not None:
        tag = passable_tag(response.to_tag)
        _reply(bridge, invite, response.status, now, response.reason, passed, tag)
    if bridge._late:
        known = [each for each in bridge._late if each.leg is leg and not _is_ahead(leg, each.message)]
        bridge._late = [each for each in bridge._late if each not in known]
        _go_on(bridge, known, now)


def _connect(bridge: Bridge, leg: InviteUsage, _: Any, response: Response, now: float) -> None:
    """A target answered: give the others up (RFC 3261 section 16.7, step 10) and answer the origin."""
    _turn_off(bridge)
    origin = bridge.origin
    if len(bridge.targets) > 1:
        bridge.targets.remove(leg)
        _give_targets_up(bridge, (ELSEWHERE,), now)
        bridge.targets.insert(0, leg)
    try:
        passed = bridge.passage.pass_on(bridge.policy, ANSWERED, leg, origin, response, bridge._silent, now)
    except Malformed as error:  # the origin cannot use the answer: the target gets ACK and BYE, the origin a failure
        bridge.release(f"SIP;cause={error.status}", now, "server", error.status)
        return
    if passed is None:
        return
    if origin is None or origin.ended:
        bridge.release("SIP;cause=487", now)
        return
    if (invite := origin.server_invite.pending) is not None:
        _reply(bridge, invite, response.status, now, response.reason, passed, passable_tag(response.to_tag))
    if bridge._late:
        late, bridge._late = bridge._late, ()
        _go_on(bridge, late, now)


def _hunt_on(bridge: Bridge, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
    _turn_off(bridge)
    bridge.policy.failed(leg, status, response, now)


def _note_failure(bridge: Bridge, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
    bridge.policy.failed(leg, status, response, now)


def _give_up(bridge: Bridge, leg: InviteUsage, _: Any, __: None, now: float) -> None:
    """The target did not answer in time. The attempt is over as soon as its CANCEL is due, and the policy goes on
    without waiting for the outcome of that."""
    bridge.given_up = True
    _give_targets_up(bridge, (_NO_ANSWER_REASON,), now)
    _hunt_on(bridge, leg, 408, None, now)


def _hold_back(bridge: Bridge, leg: InviteUsage, _: Any, __: None, now: float) -> None:
    _turn_off(bridge)
    if leg in bridge.targets:
        bridge.targets.remove(leg)
    leg.end()
    leg.owner = bridge.discarded


def _cancel(bridge: Bridge, leg: InviteUsage, invite: Any, cancel: Request, now: float) -> None:
    """The origin sent CANCEL (RFC 3261 section 9.2). Its INVITE is answered at once where the passage says so or no
    target is there, otherwise when the target has answered."""
    _turn_off(bridge)
    reasons = reasons_of(cancel)
    if bridge.targets and not bridge.passage.answers_at_once(bridge.policy, leg):
        for target in tuple(bridge.targets):
            target.cancel(now, reasons)
        return
    bridge.finish(487, "caller", cancel.get("reason") or "", now)
    _give_targets_up(bridge, reasons, now)
    bridge.refuse(487, now, by="caller")


def _refuse(
    bridge: Bridge, _: Any, subject: tuple[int, str, Sequence[str], Party], response: Response | None, now: float
) -> None:
    status, reason, lines, by = subject
    bridge.finish(status, by, (response.get("reason") or "") if response is not None else "", now)  # RFC 6432
    origin = bridge.origin
    if origin is not None and (invite := origin.server_invite.pending) is not None:
        passed: Passed | None = Passed(lines, b"")
        if response is not None:
            reason = response.reason
            passed = bridge.passage.pass_on(bridge.policy, FAILED, origin, origin, response, False, now)
        _reply(bridge, invite, status, now, reason, passed)
    _settle(bridge, (), now)


def _conclude_cancelled(bridge: Bridge, leg: InviteUsage, _: Any, response: Response | None, now: float) -> None:
    """The cancelled target has answered or failed: the origin gets 487 whatever the target's status was (RFC 3261
    section 9.2)."""
    said = response if response is not None and response.status == 487 else None
    _refuse(bridge, None, (487, "", (), "caller"), said, now)


def _hang_up(bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, bye: Request, now: float) -> None:
    other = bridge.other(leg)
    bridge.bye_queued = False
    if not leg.ended:  # the BYE came on a former leg, in whose place this one stands
        send_pending_ack(bridge, leg, now)
        leg.end()
    by: Party = "caller" if leg is bridge.origin else "callee"
    bridge.finish(200 if leg.established else 487, by, bye.get("reason") or "", now)
    if other is None or other.ended or not other.established:
        _reply(bridge, asked, 200, now)
        _settle(bridge, reasons_of(bye), now)
        return
    send_pending_ack(bridge, other, now)
    context: ServerTransaction | str = asked
    if bridge.passage.answers_at_once(bridge.policy, leg):
        _reply(bridge, asked, 200, now)
        context = OUR_OWN
    _send_on(bridge, ENDED, leg, other, bye, context, now)


def _hang_up_late(bridge: Bridge, leg: InviteUsage, _: Any, __: Response, now: float) -> None:
    """A target that was given up, but still belongs to the call, answered all the same (RFC 3261 section 9.1)."""
    _say_bye(bridge, leg, (), now)


def _release(bridge: Bridge, _: Any, subject: tuple[int, Party], reason: str, now: float) -> None:
    status, by = subject
    bridge.finish(status, by, reason, now)
    origin = bridge.origin
    lines = (f"Reason: {reason}",) if reason else ()
    staying = False
    for leg in (bridge.target, origin):
        if leg is None or leg.ended:
            continue
        if not leg.established:
            if leg is origin and (invite := leg.server_invite.pending) is not None:
                _reply(bridge, invite, status if status >= 400 else 480, now, passed=Passed(lines, b""))
        elif bridge.passage.keeps(bridge.policy, leg):
            _say_bye(bridge, leg, lines, now)
            staying = True
        else:
            bridge.discarded.hang_up(leg, reason, now)
    if not staying:
        _settle(bridge, lines, now)


def _say_bye(bridge: Bridge, leg: InviteUsage, lines: Sequence[str], now: float) -> None:
    send_pending_ack(bridge, leg, now)
    bridge.passage.send(bridge.policy, leg, "BYE", Passed(lines, b""), OUR_OWN, 70, now)


def _settle(bridge: Bridge, reasons: Sequence[str], now: float) -> None:
    """Give up the targets that are still being tried. The call is over unless one of them must be waited for."""
    if not _give_targets_up(bridge, reasons, now):
        bridge.settle(now)


def _give_targets_up(bridge: Bridge, reasons: Sequence[str], now: float) -> bool:
    """Cancel all targets that have not answered. Returns whether one of those remains part of the call."""
    staying = []
    for leg in bridge.targets:
        if leg.established:
            staying.append(leg)
        elif bridge.passage.keeps(bridge.policy, leg):
            leg.cancel(now, reasons)
            staying.append(leg)
        else:
            bridge.discarded.cancel(leg, reasons, now)
    bridge.targets = staying
    return any(not leg.established for leg in staying)


def _send_on(
    bridge: Bridge,
    event: str,
    leg: InviteUsage,
    other: InviteUsage,
    request: Request,
    context: ServerTransaction | str,
    now: float,
) -> None:
    passage, call = bridge.passage, bridge.policy
    passed = passage.pass_on(call, event, leg, other, request, False, now) or NOTHING
    passage.send(call, other, request.method, passed, context, max_forwards_left(request), now)


def _close(bridge: Bridge, _: Any, __: Any, ___: Any, now: float) -> None:
    """Nothing is pending any more: drop all references, so that no leg, transaction or policy refers to the call."""
    _turn_off(bridge)
    policy = bridge.policy
    legs = bridge.legs
    if (leaving := bridge.leaving) is not None:
        legs.remove(leaving)
        bridge.leaving = None
        if not leaving.ended:
            bridge.discarded.hang_up(leaving, REPLACED, now)
    waiting = [*(bridge._queue or ()), *bridge._late]
    bridge._queue, bridge._late, bridge.origin, bridge.targets, bridge.joining = None, (), None, [], None
    for leg in legs:
        if (change := leg.client_invite.pending) is not None:  # a re-INVITE that may never be answered now
            if change.no_timeout:
                change.terminate()
            else:
                change.cancelled(now)
        if (asked := leg.server_invite.pending) is not None:  # RFC 3261 section 15.1.2
            _reply(bridge, asked, 487, now)
        if not leg.ended:
            leg.end()
        leg.owner = bridge.discarded
    policy.over(now)
    bridge.policy = _NOBODY
    _go_on(bridge, waiting, now)  # in this phase they are answered here


def _drop(bridge: Bridge, _: Any, __: Any, ___: Any, now: float) -> None:
    _turn_off(bridge)
    policy, legs = bridge.policy, bridge.legs
    bridge.joining = bridge.leaving = None
    bridge._queue, bridge._late, bridge.origin, bridge.targets = None, (), None, []
    for leg in legs:
        drop_leg(leg)
        leg.owner = bridge.discarded
    policy.over(now)
    bridge.policy = _NOBODY


def _pass_request(bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, request: Request, now: float) -> None:
    other = bridge.other(leg)
    if leg is bridge.origin and len(bridge.targets) > 1:  # the To tag says in which target's early dialog it is
        other = next((one for one in bridge.targets if one.dialogs.has_fork(request.to_tag)), other)
    if bridge._queue is not None:  # too many wait
        _reply(bridge, asked, 500, now, passed=LATER)
    elif other is None or (other.ended and not bridge.bye_queued):
        _reply(bridge, asked, 481, now)
    elif leg is not bridge.origin and _is_ahead(leg, request) and len(bridge._late) < MOST_QUEUED:
        bridge._late = (*bridge._late, _Waiting(REQUESTED, leg, asked, request))
    elif request.method == "INVITE" and _glares(bridge, leg, other, request):
        _reply(bridge, asked, 491, now)
    elif request.method == "INVITE" and (free_at := _behind_ack(leg, other)) > now:
        bridge._late = (*bridge._late, _Waiting(CHANGED, leg, asked, request))
        if free_at < math.inf:
            bridge.deadlines.set(free_at, Alarm(bridge), _QUEUE)
    else:
        try:
            _send_on(bridge, REQUESTED, leg, other, request, asked, now)
        except Malformed as error:  # it cannot be passed on, and nothing has been sent
            _reply(bridge, asked, error.status, now)


def _is_ahead(leg: InviteUsage, request: Request) -> bool:
    """Whether a target's request has come before the response that makes its early dialog, as may happen over UDP or
    after a takeover. The origin does not know that dialog yet.
    """
    return not leg.established and not leg.dialogs.has_fork(passable_tag(request.from_tag))


def _behind_ack(leg: InviteUsage, other: InviteUsage) -> float:
    """The instant from which a re-INVITE that came on ``leg`` may be sent to ``other``: after the ACK of the INVITE
    before it (RFC 3261 section 14.1). That ACK may have been lost, and then comes again.
    """
    if other.ack.pending and not leg.server_invite.awaits_ack:
        return -math.inf  # in a call taken over the ACK has come already, and is sent after what is pending
    return other.ack.free_at


def _glares(bridge: Bridge, leg: InviteUsage, other: InviteUsage, request: Request) -> bool:
    """Whether a re-INVITE meets another one (RFC 3261 section 14.2) or an offer in an UPDATE (RFC 6337 section 4)."""
    if other.client_invite.pending is not None or other.server_invite.offering or not other.established:
        return True
    return other.server_invite.pending is not None and request.branch != bridge.carried_out


def _withdraw(bridge: Bridge, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
    """A re-INVITE was cancelled (RFC 3261 section 9): cancel it on the other leg, whose answer is then passed on.
    Where it was not sent there, answer 487 here."""
    if not invite.open:
        return
    other = bridge.other(leg)
    changing = other.client_invite.pending if other is not None else None
    if other is not None and changing is not None and changing.context is invite:
        other.cancel(now, reasons_of(cancel))
    elif other is None or not bridge.passage.behind(
        bridge.policy, other, lambda then: bridge.step(WITHDRAWN, leg, invite, cancel, then), now
    ):
        _reply(bridge, invite, 487, now)


def _pass_response(
    bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, response: Response, now: float
) -> None:
    request = asked.request
    if response.status < 200 and (request is None or request.method != "INVITE"):
        if response.status > 100 and leg.requests.on_site and asked.open:
            _accept(bridge, leg, asked, response, now)
        return
    if response.status > 100 and asked.open:
        passage, call = bridge.passage, bridge.policy
        joining = bridge.joining
        joins = joining is not None and asked.context is joining.leg and response.status >= 200
        if joins and bridge.phase != TALKING:  # the replaced party hung up meanwhile, so the other leg has its BYE
            _reply(bridge, asked, 487, now)
            bridge.joining = None
            return
        passed = passage.pass_on(call, RESPONDED, leg, asked.context, response, False, now)
        passage.reply(call, asked, response.status, now, response.reason, passed)
        if joins and joining is not None:
            _end_joining(bridge, joining, response.status < 300, now)


def _accept(bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, response: Response, now: float) -> None:
    """A provisional response to a REFER says that the server carries out the transfer itself: answer the REFER of the
    device now, with 2xx, while the REFER to the server stays open until the transfer has ended (docs/wire.md). Other
    requests, such as a re-INVITE in place of an UPDATE, get nothing.
    """
    if asked.request is not None and asked.request.method == "REFER":
        passed = bridge.passage.pass_on(bridge.policy, RESPONDED, leg, asked.context, response, False, now)
        _reply(bridge, asked, accepted_by(asked.request), now, passed=passed)


def _end_joining(bridge: Bridge, joining: Joining, accepted: bool, now: float) -> None:
    """The other leg has answered the offer of a joining leg. If it accepted, the joining leg takes the place of the
    former one, which gets BYE."""
    bridge.joining = None
    if not accepted:
        return
    leg, former, _ = joining
    if former is bridge.origin:
        bridge.origin = leg
    else:
        bridge.targets = [leg]
    if not former.ended:
        bridge.discarded.hang_up(former, REPLACED, now)


def _pass_timeout(
    bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, transaction: ClientTransaction, now: float
) -> None:
    if not asked.open:
        return
    if transaction.method == "INVITE" and leg.client_invite.cancelling:
        status = 487
    else:
        status = bridge.passage.unanswered(bridge.policy, leg, transaction)
    _reply(bridge, asked, status, now, passed=LATER if status == 500 else None)
    if bridge.joining is not None and asked.context is bridge.joining.leg:
        bridge.joining = None


def _pass_ack(bridge: Bridge, leg: InviteUsage, _: Any, ack: Request, now: float) -> None:
    """Pass the ACK to the other leg, with its body: after a delayed offer the answer is in it."""
    other = bridge.other(leg)
    if other is not None and not other.ended:
        passed = bridge.passage.pass_on(bridge.policy, ACKNOWLEDGED, leg, other, ack, False, now)
        lines, body = passed or NOTHING
        acknowledge(bridge, other, lines, body, now)


def _join(bridge: Bridge, _: Any, later: bool, __: Any, now: float) -> None:
    """No leg is absent any more: process the events that waited, a BYE last. ``later``: not before the pending
    requests of the record that was just read have gone on, so by a deadline that is due at once.
    """
    queue, bridge._queue = bridge._queue or [], None
    bridge._late = queue if later else [each for each in queue if _is_last(each)]
    if bridge._late:
        bridge.deadlines.set(now, Alarm(bridge), _QUEUE)
    if not later:
        _go_on(bridge, [each for each in queue if not _is_last(each)], now)


def _repeat_attempt(bridge: Bridge, leg: InviteUsage, _: Any, __: Any, now: float) -> None:
    bridge._late, bridge._queue = bridge._queue or [], None
    bridge.targets = []
    leg.end()
    leg.owner = bridge.discarded


def _answer_ended(bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, _: Request, now: float) -> None:
    _reply(bridge, asked, 200, now)


def _answer_unknown(bridge: Bridge, leg: InviteUsage, asked: ServerTransaction, _: Request, now: float) -> None:
    _reply(bridge, asked, 481, now)


def _answer_withdrawn(bridge: Bridge, leg: InviteUsage, invite: ServerTransaction, _: Request, now: float) -> None:
    _reply(bridge, invite, 487, now)


def _do_nothing(bridge: Bridge, leg: InviteUsage | None, _: Any, __: Any, now: float) -> None:
    pass


Action = Callable[[Any, Any, Any, Any, float], None]

_INSIDE: Final[tuple[tuple[str, Action], ...]] = (
    (REQUESTED, _pass_request),
    (CHANGED, _pass_request),
    (WITHDRAWN, _withdraw),
    (RESPONDED, _pass_response),
    (TIMED_OUT, _pass_timeout),
)
"""Requests and responses inside dialogs, also early ones. They do not change the phase."""

ANYWHERE: Final = frozenset({*(event for event, _ in _INSIDE), RELEASED, DROPPED})
"""The events that are handled the same way in every phase."""

TABLE: Final[dict[tuple[str, str], tuple[str, Action]]] = {
    (ROUTING, INVITED): (DIALING, _expect_answer),
    (ROUTING, ANSWERED): (TALKING, _connect),
    (ROUTING, REFUSED): (ENDING, _refuse),
    (ROUTING, CANCELLED): (CANCELLING, _cancel),
    (DIALING, INVITED): (DIALING, _expect_answer),
    (DIALING, PROVISIONAL): (RINGING, _pass_provisional),
    (DIALING, ANSWERED): (TALKING, _connect),
    (DIALING, FORK_FAILED): (DIALING, _note_failure),
    (DIALING, FAILED): (ROUTING, _hunt_on),
    (DIALING, NO_ANSWER): (ROUTING, _give_up),
    (DIALING, HELD_BACK): (ROUTING, _hold_back),
    (DIALING, REFUSED): (ENDING, _refuse),
    (DIALING, CANCELLED): (CANCELLING, _cancel),
    (RINGING, INVITED): (RINGING, _expect_answer),
    (RINGING, PROVISIONAL): (RINGING, _pass_provisional),
    (RINGING, ANSWERED): (TALKING, _connect),
    (RINGING, FORK_FAILED): (RINGING, _note_failure),
    (RINGING, FAILED): (ROUTING, _hunt_on),
    (RINGING, NO_ANSWER): (ROUTING, _give_up),
    (RINGING, HELD_BACK): (ROUTING, _hold_back),
    (RINGING, REFUSED): (ENDING, _refuse),
    (RINGING, CANCELLED): (CANCELLING, _cancel),
    (RINGING, ACKNOWLEDGED): (RINGING, _pass_ack),
    (RINGING, CAUGHT_UP): (TALKING, _do_nothing),
    (RINGING, JOINED): (RINGING, _join),
    (RINGING, OFFERED_AGAIN): (ROUTING, _repeat_attempt),
    (CANCELLING, ANSWERED): (TALKING, _connect),
    (CANCELLING, FAILED): (ENDING, _conclude_cancelled),
    (CANCELLING, HELD_BACK): (ENDING, _conclude_cancelled),
    (CANCELLING, REFUSED): (ENDING, _refuse),
    (TALKING, ACKNOWLEDGED): (TALKING, _pass_ack),
    (TALKING, JOINED): (TALKING, _join),
    (TALKING, OFFERED_AGAIN): (ROUTING, _repeat_attempt),
    (ENDING, ACKNOWLEDGED): (ENDING, _pass_ack),
    (ENDING, ANSWERED): (ENDING, _hang_up_late),
    (ENDING, FAILED): (OVER, _close),
    (ENDING, DONE): (OVER, _close),
    (OVER, ENDED): (OVER, _answer_ended),
    (OVER, REQUESTED): (OVER, _answer_unknown),
    (OVER, CHANGED): (OVER, _answer_unknown),
    (OVER, WITHDRAWN): (OVER, _answer_withdrawn),
    **{(phase, event): (phase, action) for phase in (*SETTING_UP, TALKING, ENDING) for event, action in _INSIDE},
    **{(phase, ENDED): (ENDING, _hang_up) for phase in (*SETTING_UP, TALKING)},
    **{(phase, RELEASED): (ENDING, _release) for phase in (*SETTING_UP, TALKING)},
    (ENDING, RELEASED): (OVER, _close),
    **{(phase, DROPPED): (OVER, _drop) for phase in (*SETTING_UP, TALKING, ENDING)},
}
"""``(phase, event) -> (next, action)``; a combination that is not in it is ignored."""

ELSEWHERE: Final = f"Reason: {COMPLETED_ELSEWHERE}"
_NO_ANSWER_REASON: Final = 'Reason: SIP;cause=408;text="No answer"'
_NOBODY: Final = Policy()
"""The policy of calls that are over."""
