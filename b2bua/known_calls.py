"""The calls of a server by any of their ids: its own, Call-IDs of dialogs, the record's id, Session-ID."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final

from b2bua.call import record_of
from b2bua.cdr import FAILURES, Cdr
from b2bua.core import Core
from heartbeat.console.views.calls import CallLeg, KnownCall, KnownCalls
from heartbeat.tracing import ids_of
from sip.actions import Flow

MOST: Final = 100
_RECORD_ID: Final = re.compile(r"[0-9a-f]{32}")


def known_calls(core: Core, params: Mapping[str, str], limit: int, now: float) -> KnownCalls:
    """See `KnownCalls`."""
    if params.get("id"):
        names = named_so(core, ids_of(params))
    else:
        names = _chosen(core, params.get("line", ""), bool(params.get("failed")))
    return KnownCalls(tuple(_known(core, name, now) for name in islice(names, min(limit, MOST))))


def named_so(core: Core, ids: Collection[str]) -> Iterator[str]:
    """The servers' ids of the calls that have one of these ids, or whose id begins with one."""
    wanted = frozenset(ids)
    begins = tuple(wanted)
    hashed = any(_RECORD_ID.fullmatch(one) for one in wanted)
    seen = set[str]()
    for name in _names(core):
        if name in seen:
            continue
        seen.add(name)
        if name.startswith(begins) or any(leg.call_id in wanted for leg in core.stack.call_ids.of(name)):
            yield name
        elif (call := core.calls.get(name)) is not None:
            state = call.state
            if not wanted.isdisjoint((state.caller_dialog, state.callee_dialog, _session(state.session_id))):
                yield name
        elif (record := _ended(core, name)) is not None and (
            _session(record.session_id) in wanted or (hashed and record.id in wanted)
        ):
            yield name


def _names(core: Core) -> Iterator[str]:
    """The servers' ids of all calls, the latest first; some may come twice."""
    yield from reversed(core.calls)
    yield from reversed(core.records.ended)
    yield from core.stack.call_ids
    yield from reversed(core.records.former)
    yield from core.recovery.verdicts.details
    yield from core.takeovers.calls_before()


def _chosen(core: Core, line: str, failed: bool) -> Iterator[str]:
    """The calls of a line, or those that failed, the latest first."""

    def on_line(lines: tuple[str, str]) -> bool:
        return any(each == line or each.startswith(f"{line}/") for each in lines)

    if not failed:
        for name, call in reversed(core.calls.items()):
            if on_line((call.state.caller_line, call.state.callee_line)):
                yield name
    for name, ended in (*reversed(core.records.ended.items()), *reversed(core.records.former.items())):
        record = ended.record
        if record.result in FAILURES if failed else on_line((record.caller_line, record.callee_line)):
            yield name


def _ended(core: Core, name: str) -> Cdr | None:
    ended = core.records.ended.get(name) or core.records.former.get(name)
    return ended.record if ended is not None else None


def _known(core: Core, name: str, now: float) -> KnownCall:
    towards = {leg.call_id: leg.towards for leg in core.stack.call_ids.of(name)}
    call, ended = core.calls.get(name), core.records.ended.get(name) or core.records.former.get(name)
    if call is not None:
        state, record, wall = call.state, record_of(call, now), call.wall_offset
        for call_id, agent in (
            (state.caller_dialog, state.caller_agent),
            (state.callee_dialog, state.callee_agent),
        ):
            if call_id:
                towards.setdefault(call_id, agent)
    elif ended is not None:
        record, wall = ended.record, ended.wall_offset
    else:
        record, wall = Cdr(name), 0.0
    if not towards and record.transferred_from:  # its messages belong to the call that was transferred
        towards = {leg.call_id: leg.towards for leg in core.stack.call_ids.of(record.transferred_from)}
    session = _session(record.session_id)
    return KnownCall(
        id=name,
        legs=tuple(CallLeg(call_id, core.node, whom) for call_id, whom in towards.items()),
        caller=record.caller,
        callee=record.dialled or record.callee,
        state="under way" if call is not None else record.result,
        started_at=record.started - wall if record.started else None,
        names=(record.id, *([session] if session else [])),
    )


def _session(value: str) -> str:
    return value.partition(";")[0]


def peer_of(core: Core, flow: Flow) -> str:
    """The agent or own line at the other end of a flow; ``""``: unknown."""
    host = flow.remote[0]
    agent = core.agents.agent_of(flow)
    return agent or (owner if (owner := core.own_lines.senders.owner(host)) != host else "")
