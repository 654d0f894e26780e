"""Calls under restoration: after a takeover the new server rebuilds each call from the records of its dialogs, leg by
leg as the agents report them. ``TABLE``, at the end, is the state machine of one call.

The legs of a call are joined by the call id in their tokens and by nothing else; of all tokens of a call the newest
one counts. While one leg is known, requests of its party are kept until the other leg is reported, or is known to be
gone (``b2bua.takeover.reconciliation``). When the first INVITE of a call comes again, the former server may have sent
it on already, and it may ring somewhere: its attempt is looked for among the reported dialogs, and agents that have
not reported yet are waited for, ``replay_wait`` at most (docs/wire.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from b2bua.agents import Agents
from b2bua.call import Call, CallServices, cancel
from b2bua.device_leg import resume
from b2bua.device_leg_state import resumed
from b2bua.media_seen import seen_in_report
from b2bua.pickup import GONE, Joiner, Pickup, picks_up
from b2bua.plan import Plan
from b2bua.state_token import CallState, TokenError, call_id_of, is_signed, read
from b2bua.takeover import device_leg_recovery, orphaned_calls
from b2bua.takeover.call_clock import wall_offset_of
from b2bua.takeover.records import DialogReport, Index
from b2bua.takeover.verdicts import KEPT, RELEASED, REPLAYED, Verdicts
from b2bua.transfer import is_acknowledged_by_transfer
from sip.actions import Flow
from sip.b2b.bridge import (
    CAUGHT_UP,
    COMPLETED_ELSEWHERE,
    ELSEWHERE,
    JOINED,
    OFFERED_AGAIN,
    REPLACED,
    ROUTING,
    SETTING_UP,
    phase_of,
    set_legs,
)
from sip.header_policy import crossing
from sip.invite import InviteUsage
from sip.packages.line_dialog import ACK_AWAITED, ACK_PENDING, NO_ACK
from sip.wire.grammar import quote
from sip.wire.message import Request, parse

logger = logging.getLogger(__name__)

MOST_SAID: Final = 20
"""Bad state tokens that get a line of the log each; then each thousandth."""

# States of a call under restoration.
UNKNOWN: Final = "unknown"
"""There may be records, but no call has been made of them."""
ONE_LEG: Final = "one_leg"
BOTH_LEGS: Final = "both_legs"
INVITE_WAITS: Final = "invite_waits"
"""The call's first INVITE came again; no agent has reported yet where it rings."""
OVER: Final = "over"
"""Nothing is left to restore."""

# Events.
LEG_TOLD: Final = "an answered leg is told"
STRAY_TOLD: Final = "a dialog without a token is asked for"
BOTH_KNOWN: Final = "both legs are known"
OTHER_GONE: Final = "the other side is gone"
INVITED: Final = "its first INVITE came again"
ATTEMPT_TOLD: Final = "the attempt is told"
UNREPORTED: Final = "no list has the attempt"
ENDED_MEANWHILE: Final = "it ended"
ALL_ENDED: Final = "all sides ended"
CALLER_GONE: Final = "it rings for nobody"

WAITED: Final = "waited for lists"
LAST: Final = "behind what was under way"


class Restoration:
    """A call under restoration."""

    __slots__ = ("awaited", "call", "call_id", "changing", "last_ack", "state", "until", "why")

    def __init__(self, call_id: str, call: Call | None = None, state: str = UNKNOWN) -> None:
        self.call_id = call_id
        self.state = state
        self.call = call
        self.changing = ""
        """The origin key of the INVITE under way from one side."""
        self.awaited: str | None = None
        """The origin key of the INVITE whose 2xx awaits its ACK; ``None`` when none does."""
        self.last_ack = b""
        """The last ACK that an agent passed to the former server, in case the other agent never got it."""
        self.until = 0.0
        """Until when the first INVITE waits for reports, on the core's clock."""
        self.why = ""
        """Why the leg with a line of the servers' own could not be recovered."""


class CallReport(NamedTuple):
    """What is known of a call by its records."""

    state: CallState | None
    """The newest of their tokens that is believed."""
    records: list[DialogReport]


class Release(NamedTuple):
    """Why what is left of a call is ended."""

    because: str
    ended: DialogReport | None = None
    """The record of the side that is gone, where it left one."""


class Restorations:
    """The calls under restoration, by call id and state. A server has one object of this, for its life."""

    def __init__(
        self, services: CallServices, agents: Agents, index: Index, verdicts: Verdicts, keys: Sequence[bytes]
    ) -> None:
        self.services = services
        self.agents = agents
        self.index = index
        self.verdicts = verdicts
        self.keys = keys
        """The site's keys, by which the signatures of tokens are verified; a reload assigns them anew."""
        self.generation = 0
        self.replaying = False
        """Whether the request that is handled comes from an agent's list of waiting requests: the agent may have sent
        it to a former server before."""
        self.half: dict[str, Restoration] = {}
        """Calls of which one leg is known."""
        self.waiting: dict[str, Restoration] = {}
        """Calls whose first INVITE waits."""
        self.device_leg_made: Callable[[InviteUsage, float], None] = _nobody
        """Called with each leg that was recovered on a line of the servers' own."""
        self.unrestored: Callable[[float], bool] = _none
        """Whether there are calls, reported already or still to be reported, that are not restored yet."""

    def clear(self) -> None:
        """Forget everything: another server has the calls now."""
        self.generation += 1
        self.half.clear()
        self.waiting.clear()

    def step(self, one: Restoration, event: str, subject: Any, now: float) -> bool:
        """The only place where a state changes; False when the event is of no interest in it."""
        entry = TABLE.get((one.state, event))
        if entry is None:
            logger.debug("call %s is %s: %s is of no interest", one.call_id, one.state, event)
            return False
        following, action = entry
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("call %s: %s, %s -> %s", one.call_id, one.state, event, following)
        one.state = following
        for known, state in ((self.half, ONE_LEG), (self.waiting, INVITE_WAITS)):
            if following is state:
                known[one.call_id] = one
            else:
                known.pop(one.call_id, None)
        action(self, one, subject, now)
        return True

    def restore(self, call_id: str, now: float, told: DialogReport | None = None) -> Call | None:
        """Make the call from the records of its dialogs, or add the legs that it lacks. Returns it, or ``None`` when
        none of its dialogs is answered.

        ``told`` is a dialog in which somebody asks for something now. Where its token cannot be believed it gets a
        call of its own, which is joined with no other leg.
        """
        records = self.index.of_call(call_id) if call_id else []
        if told is not None and not records:
            records = [told]
        call = self.services.calls.get(call_id) if call_id else None
        if call is None:
            self.half.pop(call_id, None)  # it ended meanwhile
        elif call.bridge.complete:
            self._end_spares(call, records, now)
            return call
        state = self.state_of(records)
        if state is not None:  # without those whose token is not believed
            records = [each for each in records if each.call == call_id]
        one = self.half.get(call_id)
        talks = any(each.talks and not _picks_up(state, each) for each in records)
        if state is not None and (talks or one is not None):
            one = one or Restoration(call_id)
            self.step(one, LEG_TOLD, CallReport(state, records), now)
            return one.call
        if told is not None and talks:
            stray = Restoration(call_id_of(told.agent, told.call_id))
            self.step(stray, STRAY_TOLD, told, now)
            return stray.call
        return call

    def state_of(self, records: Sequence[DialogReport]) -> CallState | None:
        """The newest token among the records that is signed with a key of the site. A record with a token that is not
        so signed no longer counts as one of this call."""
        for told in sorted(records, key=lambda each: each.counter, reverse=True):
            token = told.record.token
            if not token:
                continue
            try:
                return read(token, self.keys)
            except (TokenError, ValueError) as error:
                if told.is_over:  # of a call that ended before the key was changed, and was written down then
                    self.index.part(told)
                    continue
                counters = self.services.stack.counters
                counters["bad token"] += 1
                if (count := counters["bad token"]) <= MOST_SAID or count % 1000 == 0:  # a stolen agent may tell many
                    logger.warning("a dialog of %s: %s; it is kept alone (%d so far)", told.agent, error, count)
                self.index.part(told)
        return None

    def release(self, call: Call, release: Release, now: float) -> None:
        """End what is left of a call, whether one leg or both are known, for the reason given."""
        one = self.half.get(call.id)
        if one is None or one.call is not call:
            one = Restoration(call.id, call, BOTH_LEGS)
        self.step(one, OTHER_GONE, release, now)

    # First INVITEs: asked by the admission of calls.

    def find(self, key: str, now: float) -> bool:
        """Restore the call of the dialog with that key, where it was reported. Returns whether nothing more can be
        reported, by any agent, connected or not: then a dialog that is still unknown does not exist."""
        told = self.index.get(key)
        if told is not None:
            self.restore(told.call, now, told)
            if told.live and not told.talks:
                return False  # it rings: its call is made when its INVITE comes again
        complete = all(connection.complete for connection in self.agents.connections.values())
        return complete and not self.unrestored(now)

    def is_expected(self, agent: str, call_id: str) -> bool:
        """Whether a first INVITE of ``agent`` could be one that a former server has sent on already: not when the
        list of the agent is complete without it.
        """
        connection = self.agents.connections.get(agent)
        if connection is not None and connection.complete and not self.replaying:
            return bool(self.index.told_of_call(call_id))
        return bool(len(self.index)) or not self.agents.all_complete

    def resume(self, call: Call, now: float) -> None:
        """A first INVITE came that a former server may have had before."""
        self.step(Restoration(call.id, call), INVITED, None, now)

    def adopt(self, call: Call, admit: Callable[[float], None], now: float) -> bool:
        """Take the first INVITE of a call (or the REFER for which a call was made) whose callee has answered and is
        restored already, while the caller has not heard of the answer. ``admit`` accepts that request. Returns False
        when the call is not of this kind.
        """
        one = self.half.get(call.id)
        plan = self.plan_of(call.state)
        if one is None or plan is None or call.bridge.origin is not None or call.bridge.target is None:
            return False
        return self.step(one, INVITED, (plan, admit), now)

    def cancel(self, call_id: str, request: Request, now: float) -> None:
        """The caller gave up while no server was there. Whoever has the INVITE must hear the CANCEL, so an INVITE
        that waits goes on first, and is cancelled then."""
        call = self.services.calls.get(call_id)
        if call is None:
            return
        if call_id in self.waiting:
            call.cancelled = request
        else:
            cancel(call, request, now)

    def look_again(self, one: Restoration, now: float, at_last: bool) -> None:
        """Go on with an INVITE that waits, if its attempt has been reported meanwhile, or, with ``at_last``, because
        nobody is left who could report it."""
        call = one.call
        assert call is not None
        if call.target_of is not None:
            self.restore(call.target_of.call.id, now)  # which may have its target by now
        if call.bridge.phase is not ROUTING:
            self.step(one, ENDED_MEANWHILE, None, now)
            return
        former, attempt = self._attempt_of(call)
        if attempt is not None and not at_last and _was_completed_elsewhere(attempt):
            return  # another agent will report who picked it up
        if former is not None and attempt is not None:
            self.step(one, ATTEMPT_TOLD, (former, attempt), now)
        elif at_last:  # before that, a record of an earlier target says nothing
            self.step(one, UNREPORTED, former, now)

    def lists_complete(self, now: float) -> None:
        """Every agent that is connected has reported all its dialogs."""
        for one in list(self.waiting.values()):
            self.look_again(one, now, at_last=self.all_reported(one))

    def all_reported(self, one: Restoration) -> bool:
        """Whether every agent has reported that may have the attempt of a first INVITE: all that are connected, and
        the one that the newest token names, whose connection may have broken a moment ago.
        """
        if not self.agents.all_complete:
            return False
        state = self.state_of(self.index.of_call(one.call_id))
        connection = self.agents.connections.get(state.callee_agent) if state is not None else None
        return connection is None or connection.complete

    def ring_on(self, state: CallState, records: list[DialogReport], now: float) -> bool:
        """Go on with a ringing call whose caller is on a line of the servers' own. Returns False where its INVITE is
        not known, or where the former server had cancelled the attempt: the caller may have given up, and no agent
        could report that."""
        services = self.services
        attempt = [each for each in records if each.live and each.record.attempt == state.attempt]
        if not attempt or orphaned_calls.is_given_up(attempt[-1]):  # unless one had picked it up
            attempt = [each for each in records if _picks_up(state, each)]
        call = Call(services, state, wall_offset_of(state, records, services.records.wall_offset))
        if call.id in services.calls or not attempt or not device_leg_recovery.rings_for(call, now):
            return False
        device_leg_recovery.offer_again(call, attempt[-1], now)
        services.calls[call.id] = call
        call.take_line(state.caller_line, now)
        self.verdicts.note(call.id, REPLAYED, "it rings on: the INVITE of its caller was in its token")
        self.resume(call, now)
        return True

    def due(self, cause: str, now: float) -> None:
        for one in [each for each in self.waiting.values() if each.until <= now]:
            self.look_again(one, now, at_last=True)

    def plan_of(self, state: CallState | None) -> Plan | None:
        """The targets that are left to be tried, from a token; ``None`` when the token has none, or names lines that
        this site does not have."""
        if state is None or not state.plan:
            return None
        try:
            plan = Plan.from_token(self.services.site, state.plan)
        except ValueError as error:
            logger.warning("call %s: %s", state.call_id, error)
            return None
        return plan if plan.targets else None

    def _attempt_of(self, call: Call) -> tuple[CallState | None, DialogReport | None]:
        """The state in the newest token of the call, which becomes the call's state, and the record of the attempt
        that this state names."""
        records = self.index.of_call(call.id)
        former = self.state_of(records)
        if former is not None:
            epoch = self.services.records.epoch
            epochs = former.epochs if epoch in former.epochs else (*former.epochs, epoch)
            call.state = former._replace(origin=call.state.origin, epochs=epochs)
        known = [each for each in records if each.opened_by_server and each.record.attempt == call.state.attempt]
        return former, known[-1] if known else None

    def _end_spares(self, call: Call, records: list[DialogReport], now: float) -> None:
        talking = [told for told in records if told.talks]
        newest = self.state_of(records) if talking else None
        if newest is None or newest.counter <= call.state.counter:
            newest = call.state
        elif not all(_picks_up(newest, told) for told in talking):
            _apply_replacement(self, call, newest, records, now)
        for told in records:
            if _picks_up(newest, told):
                _pick_up(self, call, told, now)
            elif told.talks and _is_spare(call, told):
                _attach(self, None, call, told, now)
            elif call.state.answered and _rings_in_vain(call, told):
                self.index.remove(told)
                orphaned_calls.cancel(self.services, self.agents, told, now, (ELSEWHERE,))
        _write_parts(self, call)


def _nobody(leg: InviteUsage, now: float) -> None:
    """Nothing waits for it."""


def _none(now: float) -> bool:
    return False


class LateAck:
    """Sends an ACK that is due and that no agent has any more, since it was sent long ago. The agent that awaits it
    has acknowledged its device by itself (docs/decisions.md). It waits for what the record just read has under way.
    """

    __slots__ = ("_call", "generation")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        for leg in self._call.bridge.legs:
            if leg.ack.pending and not leg.ended:
                leg.acknowledge(self._call.services.site_headers, b"", now)


# Actions of the table: (machine, one, subject, now).


def _make_call(machine: Restorations, one: Restoration, told: CallReport, now: float) -> None:
    services, state = machine.services, told.state
    assert state is not None
    device_leg_recovery.hang_up(services, state.pickup, COMPLETED_ELSEWHERE, now)
    state = state._replace(epochs=(*state.epochs, services.records.epoch), pickup=None)
    wall_offset = wall_offset_of(state, told.records, services.records.wall_offset)
    call = one.call = Call(services, state, wall_offset, phase_of(bool(state.answered)), restored=True)
    services.calls[call.id] = call
    call.take_line(state.caller_line, now)
    call.take_line(state.callee_line, now)
    _attach_legs(machine, one, told, now)


def _attach_legs(machine: Restorations, one: Restoration, told: CallReport, now: float) -> None:
    """Add the answered legs among the records. A leg reported later may bring a newer state, since the 2xx on its way
    to the caller carried the newest token."""
    state, call = told.state, one.call
    assert call is not None and state is not None
    if state.counter > call.state.counter:
        _take_on(machine, call, state, now)
        if state.answered:
            call.bridge.step(CAUGHT_UP, None, None, None, now)
    for each in told.records:
        if each.talks:
            _attach(machine, one, call, each, now)
            _attach_device_leg(machine, one, call, each, now)
    if call.bridge.origin is not None and call.bridge.target is not None:
        machine.step(one, BOTH_KNOWN, None, now)


def _keep_alone(machine: Restorations, one: Restoration, told: DialogReport, now: float) -> None:
    """Make a call of one dialog whose token cannot be believed: it is served, and joined with no other leg."""
    services = machine.services
    wall_offset = services.records.wall_offset
    state = CallState(
        one.call_id,
        caller_agent="" if told.opened_by_server else told.agent,
        callee_agent=told.agent if told.opened_by_server else "",
        answered=told.told_at - (told.record.ages.answer or 0.0) + wall_offset,
        epochs=(services.records.epoch,),
    )
    call = one.call = Call(services, state, wall_offset, phase_of(True))
    services.calls[call.id] = call
    _attach(machine, one, call, told, now)


def _join(machine: Restorations, one: Restoration, _: None, now: float) -> None:
    """Both legs are there: send the ACK that was under way, and let requests that waited go on."""
    call, services = one.call, machine.services
    assert call is not None
    both = "both of its legs were handed over"
    if call.device_legs:
        both = f"one leg was handed over, that with {', '.join(_own_lines_of(call))} was in its token"
    machine.verdicts.note(call.id, KEPT, both)
    bridge, awaited = call.bridge, one.awaited
    if awaited and is_acknowledged_by_transfer(call.state, awaited):
        bridge.carried_out = branch_of(awaited)
        bridge.step(JOINED, None, False, None, now)
        return
    _write_parts(machine, call)
    if one.last_ack and not (one.changing and awaited in (None, "", one.changing)):
        # else that ACK is of an earlier INVITE than the 2xx
        ack = parse(one.last_ack)
        for leg in bridge.legs:
            if leg.ack.pending and (device_leg := call.device_legs.get(leg)) is not None:
                assert isinstance(ack, Request)
                device_leg_recovery.acknowledge(device_leg, ack, now)
            elif leg.ack.pending:
                lines = [*crossing(ack), *services.site_headers]
                if leg is bridge.target:
                    lines += services.token_lines(call, call.agent_of(leg))
                leg.acknowledge(lines, ack.body, now)
    legs = bridge.legs
    if awaited:  # what waited goes on behind the INVITE that has been carried out
        bridge.carried_out = branch_of(awaited)
    bridge.step(JOINED, None, bool(awaited), None, now)
    if awaited and not one.changing and not any(leg.server_invite.awaits_ack for leg in legs):
        services.stack.deadlines.set(now, LateAck(call), LAST)


def branch_of(key: str) -> str:
    """The branch in an origin key."""
    return key.partition(";")[2].rpartition(";")[0]


def _release(machine: Restorations, one: Restoration, release: Release, now: float) -> None:
    call, ended = one.call, release.ended
    assert call is not None
    if not call.bridge.bye_queued:  # else a BYE waits, and ends it as if the other side had heard of it
        machine.verdicts.note(call.id, RELEASED, release.because)
        logger.info("call %s is released: %s", call.id, release.because)
    reason = f"SIP;cause=480;text={quote(release.because[:80])}"
    if ended is None:
        given_up = not call.state.answered and call.bridge.origin is None  # its caller never heard of the answer
        call.bridge.release(reason, now, "caller" if given_up else "server")
    else:
        call.bridge.release(
            ended.ended.reason or reason, now, orphaned_calls.by_of(ended), orphaned_calls.status_of(ended)
        )


def _look_for_attempt(machine: Restorations, one: Restoration, _: None, now: float) -> None:
    machine.look_again(one, now, at_last=machine.all_reported(one))
    if one.state is INVITE_WAITS:
        one.until = now + machine.services.site.timing.replay_wait
        machine.services.stack.deadlines.set(one.until, machine, WAITED)


def _repeat_answered(
    machine: Restorations, one: Restoration, subject: tuple[Plan, Callable[[float], None]], now: float
) -> None:
    """Send the answered attempt once more: its agent answers as it did before, which the caller hears this time."""
    call = one.call
    assert call is not None
    answered = call.bridge.target
    assert answered is not None
    plan, admit = subject
    dialog = answered.dialog.export()._replace(remote_tag="", route_set=())
    newest = machine.state_of(machine.index.of_call(call.id))
    if newest is not None and newest.counter > call.state.counter:
        device_leg_recovery.hang_up(machine.services, newest.pickup, COMPLETED_ELSEWHERE, now)
    admit(now)
    call.give_line(call.state.callee_line)
    call.bridge.step(OFFERED_AGAIN, answered, None, None, now)
    for told in machine.index.of_call(call.id):
        machine.index.remove(told)
    call.plan = plan
    call.dial(now, dialog)


def _repeat(machine: Restorations, one: Restoration, subject: tuple[CallState, DialogReport], now: float) -> None:
    """Send the attempt again to where it is under way, under the same key."""
    former, attempt = subject
    call = one.call
    assert call is not None
    _drop_told(machine, call, attempt)
    _pick_up_from_own_line(machine, call, now)
    plan = machine.plan_of(former)
    if plan is None:
        call.start(now)
        return
    call.plan = plan
    if call.cancelled is None and orphaned_calls.is_given_up(attempt):
        # nobody answered in time, a former server has cancelled it, and the next target is due
        orphaned_calls.cancel(machine.services, machine.agents, attempt, now)
        for told in machine.index.of_call(call.id):
            if _picks_up(former, told):
                _pick_up(machine, call, told, now)
        if call.pickup is not None:
            call.pickup.instead = partial(call.go_on, 408, None)
        else:
            call.go_on(408, None, now)
        return
    call.sent_at = attempt.told_at - (attempt.record.ages.invite or 0.0)
    # a first INVITE has no To-tag; the number goes on where the agent saw it last
    call.dial(now, attempt.record.dialog._replace(remote_tag="", route_set=()))
    if call.cancelled is not None:
        cancel(call, call.cancelled, now)


def _route(machine: Restorations, one: Restoration, former: CallState | None, now: float) -> None:
    """No agent has the attempt: route the call from the target that the token names, or from the beginning."""
    call = one.call
    assert call is not None
    _drop_told(machine, call, None)
    device_leg_recovery.call_off(machine.services, former, now)
    _pick_up_from_own_line(machine, call, now)
    plan = machine.plan_of(former)
    call.plan = plan
    go_on = call.start if plan is None else call.dial
    if call.cancelled is not None:
        cancel(call, call.cancelled, now)
    elif call.pickup is not None:
        call.pickup.instead = go_on
    else:
        go_on(now)


def _write_record(machine: Restorations, one: Restoration, told: CallReport, now: float) -> None:
    state, ended = told
    for each in ended:
        machine.index.remove(each)
    device_leg_recovery.call_off(machine.services, state, now)
    if state is not None:
        device_leg_recovery.hang_up(machine.services, state.pickup, GONE, now)
    if state is not None and state.part:
        last = [each for each in ended if each.call_id in (state.caller_dialog, state.callee_dialog)]
        for each in ended:
            if each not in last and (former := machine.state_of([each])) is not None:
                _write_ended(machine, former, [each])
        ended = last or ended
    _write_ended(machine, state or orphaned_calls.never_served(machine.services.records, ended[0]), ended)


def _write_ended(machine: Restorations, state: CallState, ended: list[DialogReport]) -> None:
    records = machine.services.records
    if (state.part or state.call_id) not in records.ended:
        orphaned_calls.write(records, state, wall_offset_of(state, ended, records.wall_offset), ended)


def _write_parts(machine: Restorations, call: Call) -> None:
    """Write the call record of the part before a transfer, for a party that transferred the call and hung up: the
    former server may not have written it to disk."""
    state = call.state
    if not state.part:
        return
    for told in machine.index.of_call(call.id):
        if told.is_over and told.call_id not in (state.caller_dialog, state.callee_dialog):
            former = machine.state_of([told])
            machine.index.remove(told)
            if former is not None and former.part != state.part:
                _write_ended(machine, former, [told])


def _cancel_attempts(machine: Restorations, one: Restoration, told: CallReport, now: float) -> None:
    state = told.state
    for each in told.records:
        machine.index.remove(each)
    ringing = [each for each in told.records if each.live and each.opened_by_server]
    if ringing and state is not None:
        machine.verdicts.note(one.call_id, RELEASED, f"{state.caller_agent} has no such call any more")
        records = machine.services.records
        wall_offset = wall_offset_of(state, told.records, records.wall_offset)
        records.write(state, wall_offset, 487, "caller", now, "the caller is gone")
    for each in ringing:
        orphaned_calls.cancel(machine.services, machine.agents, each, now)
    if state is not None:
        device_leg_recovery.hang_up(machine.services, state.pickup, GONE, now)
    for each in told.records:
        if _picks_up(state, each):
            _hang_up(machine, each, GONE, now)


def _let_be(machine: Restorations, one: Restoration, _: None, now: float) -> None:
    """Nothing is left to be done."""


def _attach(machine: Restorations, one: Restoration | None, call: Call, told: DialogReport, now: float) -> None:
    """Make the leg that a record describes, and add it to its call; a leg that the call has no place for is ended."""
    connection = machine.agents.connections.get(told.agent)
    if connection is None or connection.flow is None:
        return
    bridge, record, ack = call.bridge, told.record, told.record.ack
    callee = _is_callee(call, told)
    taken = bridge.target if callee else bridge.origin
    spare = _is_spare(call, told)
    if not spare and taken is not None:
        if taken.dialog.key == told.key:  # told by two lists; it may have hung up since the first of them
            machine.index.remove(told)
            return
        if not taken.ended:
            return
    leg = InviteUsage(machine.services.stack, bridge, connection.flow, record.dialog, established=True)
    machine.services.stack.call_ids.join(call.id, told.call_id, told.agent, record.line)
    if ack.state == ACK_AWAITED:
        leg.ack.expect(ack.cseq)
    elif ack.state == ACK_PENDING:
        leg.server_invite.expect_ack()
    if len(machine.keys) > 1 and record.token and not is_signed(record.token, machine.keys[0]):
        machine.services.former_tokens.setdefault(call.id, set()).add(told.call_id)
    machine.index.remove(told)
    former = machine.state_of([told]) if spare and call.state.part else None
    if former is not None and former.part != call.state.part:
        machine.services.transfers.left(call, leg, told.agent, former, now)
        return
    if spare or one is None:
        reason = "SIP;cause=487" if told.opened_by_server else REPLACED
        machine.services.discarded.hang_up(leg, reason, now)
        return
    bridge.attach(leg, as_origin=not callee)
    call.seen = seen_in_report(call.seen, callee, record.sdp_sent)
    if record.held != "none":
        call.held = "".join(sorted({*call.held, *_held_by(record.held, callee)}))
    if record.sent:
        one.changing = told.changing or one.changing
    if ack is not NO_ACK:
        one.last_ack = told.last_ack or one.last_ack
        one.awaited = ack.origin if ack.state == ACK_AWAITED else one.awaited


def _attach_device_leg(machine: Restorations, one: Restoration, call: Call, told: DialogReport, now: float) -> None:
    """Recover the other leg where it is with a line of the servers' own. Where the answer to that line's INVITE was
    still on its way, take the INVITE up again instead."""
    bridge = call.bridge
    if bridge.target is not None and device_leg_recovery.rings_for(call, now):
        machine.adopt(call, partial(device_leg_recovery.offer_again, call, told), now)
        return
    if (bridge.origin is None) is (bridge.target is None) or not call.state.answered or call.device_legs:
        return
    if not device_leg_recovery.line_of(call):
        return
    made = device_leg_recovery.recover(call, told, now)
    if isinstance(made, str):
        one.why = made
    else:
        machine.device_leg_made(made.leg, now)


def _own_lines_of(call: Call) -> list[str]:
    """Names of the lines with which a call has legs without an agent."""
    lines = []
    for leg in call.device_legs:
        line = call.state.caller_line if leg is call.bridge.origin else call.state.callee_line
        lines.append(line.partition("/")[0])
    return lines


def _is_spare(call: Call, told: DialogReport) -> bool:
    """Whether the call has no place for a dialog: a target that was given up answered all the same, or another party
    has replaced this one."""
    state = call.state
    if told.call_id in (state.caller_dialog, state.callee_dialog):
        return False
    return bool(state.callee_dialog if told.opened_by_server else state.caller_dialog)


def _is_callee(call: Call, told: DialogReport) -> bool:
    """Whether a dialog is the callee's side, which may also have joined by an INVITE with Replaces (RFC 3891)."""
    if told.call_id == call.state.callee_dialog:
        return True
    return told.opened_by_server and told.call_id != call.state.caller_dialog


def _take_on(machine: Restorations, call: Call, state: CallState, now: float) -> None:
    """Take on the state of a newer token. After a transfer by a former server it may name other parties: legs of
    those that are no longer in the call are ended."""
    former, bridge = call.state, call.bridge
    call.state = state._replace(epochs=former.epochs)
    if state.part == former.part:
        return
    legs = {leg.dialog.call_id: leg for leg in (bridge.origin, bridge.target) if leg is not None}
    set_legs(bridge, legs.pop(state.caller_dialog, None), legs.pop(state.callee_dialog, None), bridge.leaving)
    for line in (former.caller_line, former.callee_line):
        call.give_line(line)
    for line in (state.caller_line, state.callee_line):
        call.take_line(line, now)
    for call_id, leg in legs.items():
        agent = former.caller_agent if call_id == former.caller_dialog else former.callee_agent
        machine.services.transfers.left(call, leg, agent, former, now)


def _apply_replacement(
    machine: Restorations, call: Call, state: CallState, records: list[DialogReport], now: float
) -> None:
    """A token reported last is the newest, and names a party that had taken the place of one that was restored
    before: give it that place."""
    _take_on(machine, call, state, now)
    one = Restoration(call.id, call, BOTH_LEGS)
    for told in records:
        if told.talks and told.call_id in (state.caller_dialog, state.callee_dialog):
            taken = call.bridge.target if _is_callee(call, told) else call.bridge.origin
            if taken is None:
                _attach(machine, one, call, told, now)
            elif not taken.ended and taken.dialog.call_id != told.call_id:
                taken.end()
                _attach(machine, one, call, told, now)
                machine.services.discarded.hang_up(taken, REPLACED, now)


def _picks_up(state: CallState | None, told: DialogReport) -> bool:
    """Whether a dialog is that of a party which is picking the call up while it still rings elsewhere."""
    return state is not None and told.live and told.talks and picks_up(state, told.call_id, told.opened_by_server)


def _pick_up(machine: Restorations, call: Call, told: DialogReport, now: float) -> None:
    """Go on with a pickup that a former server had begun."""
    if call.pickup is not None or call.bridge.phase not in SETTING_UP:
        machine.index.remove(told)
        _hang_up(machine, told, GONE, now)
        return
    flow, dialog = _flow_to(machine, told), told.record.dialog
    if flow is None:
        return
    machine.index.remove(told)
    joiner = Joiner(told.record.line, told.agent, told.call_id, orphaned_calls.user_in(dialog.remote))
    pickup = Pickup(call, joiner, dialog, flow, True)
    if told.ack_awaited:
        pickup.leg.ack.expect(told.record.ack.cseq)
    pickup.go_on(now)


def _pick_up_from_own_line(machine: Restorations, call: Call, now: float) -> None:
    """Go on with a pickup that a party on an own line had begun under a former server, from the call's token. The
    re-INVITE with the caller's offer also tells its device where its call is now."""
    told = call.state.pickup
    if told is None or call.pickup is not None:
        return
    call.update(pickup=None)
    flow = device_leg_recovery.reached(machine.services, told, now)
    if flow is None:
        return
    joiner = Joiner(told.line, "", told.leg.dialog.call_id, told.number)
    pickup = Pickup(call, joiner, resumed(told.leg.dialog, 0.0), flow, True)
    assert pickup.device_leg is not None
    resume(pickup.device_leg, told.leg, b"", b"", 0.0, now)
    pickup.go_on(now)


def _flow_to(machine: Restorations, told: DialogReport) -> Flow | None:
    """The connection to the agent that reported a dialog; ``None`` when it is not connected."""
    connection = machine.agents.connections.get(told.agent)
    return connection.flow if connection is not None else None


def _hang_up(machine: Restorations, told: DialogReport, reason: str, now: float) -> None:
    """Send BYE in a dialog that belongs to no call any more."""
    if (flow := _flow_to(machine, told)) is not None:
        services = machine.services
        leg = InviteUsage(services.stack, services.discarded, flow, told.record.dialog, established=True)
        services.discarded.hang_up(leg, reason, now)


def _was_completed_elsewhere(attempt: DialogReport) -> bool:
    """Whether an attempt was cancelled, perhaps because another party picked the call up."""
    return orphaned_calls.is_given_up(attempt) and (attempt.live or attempt.ended.reason == COMPLETED_ELSEWHERE)


def _rings_in_vain(call: Call, told: DialogReport) -> bool:
    """Whether a dialog is that of a target which still rings, although the call has given it up."""
    rings = told.opened_by_server and told.live and not told.talks
    return rings and told.call_id != call.state.callee_dialog


def _drop_told(machine: Restorations, call: Call, attempt: DialogReport | None) -> None:
    """Remove the records that are dealt with: of the caller, of the attempt, and of targets that have ended."""
    for told in machine.index.of_call(call.id):
        if _picks_up(call.state, told):
            continue
        if not told.opened_by_server or told is attempt or told.is_over:
            machine.index.remove(told)


def _held_by(held: str, opened_by_server: bool) -> set[str]:
    """Which sides hold, from the words of one agent: ``remote`` is its device, ``local`` the server's side."""
    near, far = ("b", "a") if opened_by_server else ("a", "b")
    return {"remote": {near}, "local": {far}, "both": {near, far}}.get(held, set())


Action = Callable[[Restorations, Restoration, Any, float], None]

TABLE: Final[dict[tuple[str, str], tuple[str, Action]]] = {
    (UNKNOWN, LEG_TOLD): (ONE_LEG, _make_call),
    (UNKNOWN, STRAY_TOLD): (OVER, _keep_alone),
    (UNKNOWN, INVITED): (INVITE_WAITS, _look_for_attempt),
    (UNKNOWN, ALL_ENDED): (OVER, _write_record),
    (UNKNOWN, CALLER_GONE): (OVER, _cancel_attempts),
    (INVITE_WAITS, ATTEMPT_TOLD): (OVER, _repeat),
    (INVITE_WAITS, UNREPORTED): (OVER, _route),
    (INVITE_WAITS, ENDED_MEANWHILE): (OVER, _let_be),
    (ONE_LEG, LEG_TOLD): (ONE_LEG, _attach_legs),
    (ONE_LEG, BOTH_KNOWN): (BOTH_LEGS, _join),
    (ONE_LEG, INVITED): (OVER, _repeat_answered),
    (ONE_LEG, OTHER_GONE): (OVER, _release),
    (BOTH_LEGS, OTHER_GONE): (OVER, _release),
}
