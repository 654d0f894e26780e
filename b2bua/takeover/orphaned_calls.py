"""What is left of calls that nobody talks on any more: their call records, and attempts whose caller is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2bua.call_records import CallRecords, End
from b2bua.state_token import MOST_CHARACTERS, CallState
from b2bua.takeover.records import ToldDialog
from sip.b2b.bridge import SETUP
from sip.b2b.policy import Party
from sip.dialog import bare_uri
from sip.header_policy import crossing
from sip.invite import InviteUsage
from sip.packages.line_dialog import request_of
from sip.wire.errors import SipError
from sip.wire.message import Request, parse
from sip.wire.uri import user_of

if TYPE_CHECKING:
    from b2bua.core import Core


def end_of(record: ToldDialog) -> End:
    """The end that a record tells, which has the BYE or the cancelled INVITE among its requests."""
    return End(record.ended_at, by_of(record), record.ended.status or 487, record.ended.reason)


def conclude(records: CallRecords, state: CallState, ended: list[ToldDialog]) -> None:
    """Write the record of a call that ended on all sides while no server was there to see it, or by the hands of one
    that died before its own record was on disk."""
    last = state.callee_dialog
    told = [each for each in ended if not each.opened_by_server or each.call_id == last] or ended
    told.sort(key=lambda each: (each.ended.by != "device", each.ended_at))
    caller = next((each for each in told if not each.opened_by_server), told[0])
    if state.answered:
        status = max(status_of(each) for each in told)
    else:
        status = caller.ended.status or 487
    reason = next((each.ended.reason for each in told if each.ended.reason), "")
    records.write(state, status, by_of(told[0]), min(each.ended_at for each in told), reason)


def never_served(core: Core, record: ToldDialog) -> CallState:
    """The state of a call of which no server ever told its agent a word: it was given up before one was there."""
    told = record.record
    started = record.told_at - (told.ages.invite or record.ended.ago)
    return CallState(
        record.call,
        caller=_user(told.dialog.remote),
        callee=_user(told.dialog.local),
        caller_line=told.line[:MOST_CHARACTERS],
        caller_agent=record.agent,
        caller_dialog=record.call_id,
        started=started + core.wall_offset,
        epochs=(core.epoch,),
    )


def _user(value: str) -> str:
    try:
        return user_of(bare_uri(value))[:MOST_CHARACTERS]
    except SipError:
        return ""


def cancel(core: Core, record: ToldDialog, now: float) -> None:
    """End an attempt whose caller is gone: send it again under its key, then cancel it."""
    for received in record.record.received:
        request = request_of(received.data)
        link = core.agents.links.get(record.agent)
        if request is None or request.method != "INVITE" or link is None or link.flow is None:
            continue
        dialog = record.record.dialog._replace(remote_tag="", route_set=())
        leg = InviteUsage(core.stack, core.discarded, link.flow, dialog)
        lines = [*crossing(request), f"Call-Origin: {received.origin}", *core.reign.site_lines]
        leg.call(request.uri, lines, request.body, now, SETUP)
        core.discarded.cancel(leg, (), now)
        return


def acknowledge(leg: InviteUsage, record: ToldDialog, now: float) -> None:
    """After a connection was made anew: an ACK that was lost with the old one, in either direction."""
    if record.ack_awaited:
        leg.acknowledge_again(record.record.ack.cseq)
    elif leg.awaits_ack and (data := record.last_ack):
        ack = parse(data)
        if isinstance(ack, Request):
            leg.receive_ack(ack, now)


def reason_of(ended: list[ToldDialog]) -> str:
    """Why the other side of a call is gone, as its record tells; ``""`` without one."""
    for record in ended:
        return f"the other side ended it: {record.ended.reason or 'hung up'}"
    return ""


def by_of(record: ToldDialog) -> Party:
    """Who ended a call, by the record of one side."""
    if record.ended.by != "device":
        return "server"
    return "callee" if record.opened_by_server else "caller"


def status_of(record: ToldDialog) -> int:
    """503 for an answered call that was dropped by a reset of its line, else 200."""
    return 503 if record.ended.by == "server" and record.ended.status == 503 else 200
