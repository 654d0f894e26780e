"""Calls without a living party after a takeover: writes their call records, and cancels attempts whose caller is
gone."""

from __future__ import annotations

from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.call_records import CallRecords, End
from b2bua.state_token import MOST_CHARACTERS, CallState
from b2bua.takeover.records import DialogReport
from sip.b2b.bridge import SETUP
from sip.b2b.policy import Party
from sip.dialog import bare_uri
from sip.header_policy import crossing
from sip.invite import InviteUsage
from sip.packages.line_dialog import DEVICE, SERVER, request_of
from sip.wire.errors import SipError
from sip.wire.uri import user_of


def end_of(told: DialogReport) -> End:
    """The end of a call, from the record of a dialog that ended by a BYE or by the cancellation of its INVITE."""
    return End(told.ended_at, by_of(told), told.ended.status or 487, told.ended.reason)


def write(records: CallRecords, state: CallState, wall_offset: float, ended: list[DialogReport]) -> None:
    """Write the call record of a call that has ended on all sides while no server was there, or under a server that
    died before it had written the record to disk. ``wall_offset`` plus this server's clock is the clock of the state.
    """
    last = state.callee_dialog
    sides = [each for each in ended if not each.opened_by_server or each.call_id == last] or ended
    sides.sort(key=lambda each: (each.ended.by != DEVICE, each.ended_at))
    caller = next((each for each in sides if not each.opened_by_server), sides[0])
    if state.answered:
        status = max(status_of(each) for each in sides)
    else:
        status = caller.ended.status or 487
    reason = next((each.ended.reason for each in sides if each.ended.reason), "")
    for each in ended:
        note_quality(records, each)
    records.write(state, wall_offset, status, by_of(sides[0]), min(each.ended_at for each in sides), reason)


def note_quality(records: CallRecords, told: DialogReport) -> None:
    """Note the media quality that the agent reports for an ended dialog."""
    if records.quality is not None and told.ended.media:
        records.quality.note(told.call_id, told.ended.media, told.told_at)


def never_served(records: CallRecords, told: DialogReport) -> CallState:
    """The state of a call without a token: its caller gave it up before any server had answered the INVITE."""
    record = told.record
    started = told.told_at - (record.ages.invite or told.ended.ago)
    return CallState(
        told.call,
        caller=user_in(record.dialog.remote),
        callee=user_in(record.dialog.local),
        caller_line=record.line[:MOST_CHARACTERS],
        caller_agent=told.agent,
        caller_dialog=told.call_id,
        started=started + records.wall_offset,
        epochs=(records.epoch,),
    )


def user_in(value: str) -> str:
    """The user part of a From or To value; ``""`` when it cannot be parsed."""
    try:
        return user_of(bare_uri(value))[:MOST_CHARACTERS]
    except SipError:
        return ""


def is_given_up(told: DialogReport) -> bool:
    """Whether a server has cancelled the INVITE of an attempt, be it ended by that or still ringing."""
    ended = told.record.ended
    if ended is not None:
        return ended.by == SERVER and ended.status == 487
    for received in told.record.received:
        request = request_of(received.data)
        if request is not None and request.method == "INVITE":
            return received.cancelled
    return False


def cancel(
    services: CallServices, agents: Agents, told: DialogReport, now: float, lines: tuple[str, ...] = ()
) -> None:
    """End an attempt that nobody waits for: send its INVITE again under the same origin key, which the agent takes as
    a repetition, then CANCEL it. ``lines`` are header lines of the CANCEL."""
    connection = agents.connections.get(told.agent)
    if connection is None or connection.flow is None:
        return
    for received in told.record.received:
        request = request_of(received.data)
        if request is None or request.method != "INVITE":
            continue
        dialog = told.record.dialog._replace(remote_tag="", route_set=())
        leg = InviteUsage(services.stack, services.discarded, connection.flow, dialog)
        head = [*crossing(request), f"Call-Origin: {received.origin}", *services.site_headers]
        leg.call(request.uri, head, request.body, now, SETUP)
        services.discarded.cancel(leg, lines, now)
        return


def acknowledge(leg: InviteUsage, told: DialogReport, now: float) -> None:
    """Make up for an ACK that was lost with a broken connection, in either direction, from the record of the leg."""
    if told.ack_awaited:
        leg.ack.again(told.record.ack.cseq)
    elif leg.server_invite.awaits_ack and (ack := request_of(told.last_ack)) is not None:
        leg.receive_ack(ack, now)


def reason_of(ended: list[DialogReport]) -> str:
    """A sentence that says why the other side of a call ended, from its record; ``""`` without a record."""
    for told in ended:
        return f"the other side ended it: {told.ended.reason or 'hung up'}"
    return ""


def by_of(told: DialogReport) -> Party:
    """The party that ended a call, from the record of one of its dialogs."""
    if told.ended.by != DEVICE:
        return "server"
    return "callee" if told.opened_by_server else "caller"


def status_of(told: DialogReport) -> int:
    """Final status of an answered call: 503 if a reset of its line ended it, else 200."""
    return 503 if told.ended.by == SERVER and told.ended.status == 503 else 200
