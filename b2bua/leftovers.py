"""What is left of calls that nobody talks on any more: their call records, and attempts whose caller is gone."""

from __future__ import annotations

from b2bua.call import Call
from b2bua.cdr import EndedBy
from b2bua.records import Record
from sip.bridge import crossing
from sip.message import Request, parse
from sip.session import Leg


def conclude(call: Call, ended: list[Record], now: float) -> None:
    """Write the record of a call that ended on all sides while no server was there to see it."""
    by: EndedBy = ""
    status, ago, reason = 0, 0.0, ""
    for record in ended:
        fact = record.ended
        ago = max(ago, fact.ago)
        status = status or fact.status
        reason = reason or fact.reason
        by = by_of(record) if fact.by == "device" else by
    call.cancelled = status == 487
    if call.state.answered:
        status = max(status_of(record) for record in ended)
    call.finish(status or 487, by, now - ago, reason)


def cancel(call: Call, record: Record, now: float) -> None:
    """End an attempt whose caller is gone: send it again under its key, then cancel it."""
    core = call.core
    for request, origin in record.received():
        link = core.agents.links.get(record.agent)
        if request.method != "INVITE" or link is None or link.flow is None:
            continue
        call.b = Leg(core.stack, call, link.flow, record.dialog()._replace(remote_tag="", route_set=()))
        call.finish(487, "caller", now, "the caller is gone")
        core.calls[call.id] = call
        lines = [*crossing(request), f"Call-Origin: {origin}", *core.reign.site_lines]
        call.b.call(request.uri, lines, request.body, now, call)
        call.b.cancel(now)
        return


def acknowledge(leg: Leg, record: Record, now: float) -> None:
    """After a connection was made anew: an ACK that was lost with the old one, in either direction."""
    if b'"ack":"awaited"' in record.raw:
        leg.acknowledge_again(record.ack_cseq)
    elif leg.awaits_ack and isinstance(data := record.ack, bytes) and data:
        ack = parse(data)
        if isinstance(ack, Request):
            leg.receive_ack(ack, now)


def reason_of(ended: list[Record]) -> str:
    """Why the other side of a call is gone, as its record tells; ``""`` without one."""
    for record in ended:
        return f"the other side ended it: {record.ended.reason or 'hung up'}"
    return ""


def by_of(record: Record) -> EndedBy:
    """Who ended a call, by the record of the side that is gone."""
    if record.ended.by != "device":
        return "server"
    return "callee" if record.from_server else "caller"


def status_of(record: Record) -> int:
    """503 for an answered call that was dropped by a reset of its line, else 200."""
    return 503 if record.ended.by == "server" and record.ended.status == 503 else 200
