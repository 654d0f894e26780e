"""Nothing that comes and goes leaves anything behind: no container of a core grows with the number of calls, devices
and strangers that it has met, but those that have a limit of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

import pytest

from sip.actions import Flow
from tests.device_rigs import ACCOUNT, TYPE, AgentRig, ServerRig
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, AgentFixture
from tests.gateway_agent.test_phone import AOR, proved, register

HOLD = SDP.replace(b"sendrecv", b"sendonly").replace(b"- 1 1", b"- 1 2")
BOUNDED: Final = frozenset(
    "_events history gone ended _legs _counts _used _known _records _buckets _remembered events".split()
)
"""Attributes whose size has a limit: what is told to people, ended calls, nonces, hosts of strangers."""
_PLAIN: Final = (str, bytes, int, float, type, FunctionType, ModuleType, type(None))
_FEW: Final = 3
"""Elements of one container that are looked into."""


def containers(root: Any) -> dict[str, int]:
    """The sizes of all containers that an object leads to, by the way to each."""
    seen: set[int] = set()
    found: dict[str, int] = {}
    ways: deque[tuple[Any, str]] = deque([(root, "")])
    while ways:
        thing, way = ways.popleft()
        if id(thing) in seen or isinstance(thing, _PLAIN):
            continue
        seen.add(id(thing))
        if isinstance(thing, (dict, list, set, frozenset, deque)):
            found[way] = len(thing)
        ways.extend(_inside(thing, way))
    return found


def _inside(thing: Any, way: str) -> Iterator[tuple[Any, str]]:
    if isinstance(thing, MethodType):
        yield thing.__self__, way
        return
    within = [*thing.values()] if isinstance(thing, dict) else thing if isinstance(thing, (list, set, deque)) else ()
    for _, value in zip(range(_FEW), within, strict=False):
        yield value, f"{way}[]"
    names = set(getattr(thing, "__dict__", ()))
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    for name in sorted(names):
        if hasattr(thing, name):
            yield getattr(thing, name), f"{way}.{name}"


def grows(core: Any, again: Callable[[int], None]) -> set[str]:
    """The containers without a limit that are larger for each time that something was done."""
    for number in range(20):
        again(number)
    before = containers(core)
    for number in range(20, 60):
        again(number)
    after = containers(core)
    assert len(before) > 40
    larger = {way for way, size in after.items() if size >= before.get(way, size) + 20}
    return {way for way in larger if way.rpartition(".")[2].removesuffix("[]") not in BOUNDED}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_telephones_that_come_by_ever_other_ways_leave_nothing(transport: str) -> None:
    fixture = AgentFixture()
    uri = "sip:+33@paris"
    flows: list[Flow] = []

    def again(number: int) -> None:
        flow = Flow(transport, f"{LISTEN}#{number}", (f"127.1.{number}.31", 20_000 + number))
        if transport == "tcp":
            fixture.opened.append(flow)
            fixture.core.flow_changed(flow, "open", fixture.now)
        register(fixture, flow, 600, contact=f"<sip:alice@127.0.0.9;transport={transport}>", call_id=f"r{number}")
        call: dict[str, Any] = {"flow": flow, "sender": AOR, "recipient": f"<{uri}>", "call_id": f"p{number}"}
        fixture.request("INVITE", uri, body=SDP, **call)
        proof = proved(fixture, fixture.take(407, flow), "INVITE", uri)
        fixture.request("ACK", uri, **call)
        fixture.request("INVITE", uri, [proof], SDP, cseq=2, **call)
        fixture.take(100, flow)
        fixture.m1.reply(fixture.m1.take("INVITE"), 486)
        fixture.take(486, flow)
        fixture.request("ACK", uri, cseq=2, to_tag="srvtag", **call)
        fixture.request("BYE", uri, to_tag="unknown", cseq=3, **call)
        fixture.request("OPTIONS", uri, cseq=4, **call)
        if transport == "tcp" and flows:  # the former connection broke after the next one was made
            fixture.core.flow_changed(flows[-1], "lost", fixture.now)
        flows.append(flow)
        fixture.run(100)
        fixture.inbox.clear()
        fixture.m1.inbox.clear()

    assert not grows(fixture.core, again)


@pytest.mark.parametrize("make", [AgentRig, ServerRig], ids=["agent", "server"])
def test_a_trunk_whose_connection_breaks_again_and_again_leaves_nothing(make: Any) -> None:
    timer, tcp = "session_timer = { expires = 100, min_se = 90 }", "21:5060;transport=tcp"
    rig = make(f"{timer}\n{ACCOUNT.replace('21:5060', tcp)}")

    def connected() -> Flow:
        stream: Flow = next(flow for flow in reversed(rig.opened) if flow.remote == CARRIER.remote)
        asked = rig.take("REGISTER", stream)
        rig.reply(asked, 200, [f"Contact: {asked.get('contact')};expires=3600"], flow=stream)
        return stream

    streams = [connected()]

    def again(number: int) -> None:
        rig.core.flow_changed(streams[-1], "lost", rig.now)
        rig.pump()
        rig.run(33)
        streams.append(connected())
        call = {"call_id": f"c{number}"}
        rig.request("INVITE", body=SDP, **call)
        rig.far_takes("INVITE")
        rig.far_replies(200, [TYPE], SDP)
        rig.take(100)
        call["to_tag"] = rig.take(200).to_tag
        rig.request("ACK", **call)
        rig.far_forgets()
        rig.request("UPDATE", body=HOLD, cseq=2, **call)
        rig.far_takes("UPDATE")
        rig.far_replies(200, [TYPE], SDP)
        rig.request("BYE", cseq=3, **call)
        rig.far_takes("BYE")
        rig.far_replies(200)
        rig.run(40)
        rig.far_forgets()
        rig.inbox.clear()

    assert not grows(rig.core, again)
