"""The calls that an agent knows, by the Call-IDs of their dialogs with devices and servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway_agent.call import Call
from gateway_agent.core import Core
from heartbeat.console.views.calls import CallLeg, KnownCall, KnownCalls
from heartbeat.tracing import ids_of
from sip.actions import Flow
from sip.call_ids import Leg

MOST: Final = 100
SERVERS: Final = "servers"


def known_calls(core: Core, params: Mapping[str, str], limit: int) -> KnownCalls:
    """The calls that the parameters ask for, as `KnownCalls`. An agent knows calls only by their Call-IDs."""
    wanted, line, ids = frozenset(ids_of(params)), params.get("line", ""), core.stack.call_ids
    if params.get("failed"):
        wanted = frozenset(list(ids.last_failed)[-limit:])
    found: dict[str, KnownCall] = {}
    for name, legs in _all(core):
        on_line = line and any(leg.towards == line or leg.towards.startswith(f"{line}/") for leg in legs)
        if name not in found and (on_line or name in wanted or any(leg.call_id in wanted for leg in legs)):
            known = [Leg(name, SERVERS), *legs]
            shown = tuple(CallLeg(leg.call_id, core.agent.name, leg.towards) for leg in known)
            found[name] = KnownCall("", shown)
            if len(found) >= min(limit, MOST):
                break
    return KnownCalls(tuple(found.values()))


def _all(core: Core) -> Iterator[tuple[str, tuple[Leg, ...]]]:
    """(Call-ID with the servers, legs) of all calls, the newest first."""
    ids = core.stack.call_ids
    for name in ids:
        yield name, _with_device(core.by_call_id.get(name), ids.of(name))
    for name, call in core.by_call_id.items():
        yield name, _with_device(call, ids.of(name))


def _with_device(call: Call | None, legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    """The legs with that of the device, for a living call that is too old to be in the index of Call-IDs."""
    if call is None or call.device is None or any(leg.call_id == call.device.dialog.call_id for leg in legs):
        return legs
    return (*legs, Leg(call.device.dialog.call_id, call.label))


def peer_of(core: Core, flow: Flow) -> str:
    """The name of the server, phone or trunk at the far end of a flow; ``""`` where it is not known."""
    opened_by_us = flow.local.partition("#")[0].partition(">")[2]  # as connections to servers are named
    if opened_by_us in core.site.servers:
        return opened_by_us
    if names := core.phones.get(flow):
        return min(names)
    owner = core.devices.owner(flow.remote[0])
    return owner if owner != flow.remote[0] else ""
