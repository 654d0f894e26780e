"""Places of a line that are dead: calls, OPTIONS and REGISTER go on to the next one (RFC 3263 section 4.3)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Request, Response
from tests.gateway_agent.bed import CARRIER, LISTEN, SDP, SITE, Bed, response_to
from tests.gateway_agent.test_phone import register

SECOND = Flow("udp", LISTEN, ("127.0.0.22", 5070))
TWO = SITE.replace('peer = "sip:127.0.0.21:5060"', 'peer = ["sip:127.0.0.21:5060", "sip:127.0.0.22:5070"]')
OUT = "sip:+33166@gw1;line=trunk1"
TYPE = "Content-Type: application/sdp"


def dial(bed: Bed, index: int = 1) -> None:
    bed.m1.inbox.clear()
    bed.m1.request("INVITE", OUT, body=SDP, call_id=f"s-{index}", origin=f"gw2;z9hG4bKo{index};1")
    bed.m1.take(100)


def invites(bed: Bed, flow: Flow) -> int:
    """INVITEs there, repeats counted once."""
    return len({one.branch for one in bed.inbox.get(flow, ()) if isinstance(one, Request) and one.method == "INVITE"})


def statuses(bed: Bed) -> list[int]:
    return [one.status for one in bed.m1.inbox if isinstance(one, Response) and one.status >= 200]


def test_a_silent_place_costs_4_s_and_is_tried_last_for_30() -> None:
    bed = Bed(text=TWO)
    dial(bed)
    bed.run(3.9)
    assert not invites(bed, SECOND)
    bed.run(0.2)
    assert invites(bed, SECOND) == 1
    dial(bed, 2)
    assert invites(bed, SECOND) == 2 and invites(bed, CARRIER) == 1
    bed.run(31)
    before = invites(bed, CARRIER)
    dial(bed, 3)
    assert invites(bed, CARRIER) == before + 1


def test_what_was_given_up_is_cancelled_and_its_answer_ended() -> None:
    bed = Bed(text=TWO)
    dial(bed)
    first = bed.take("INVITE")
    bed.run(4.1)
    second = bed.take("INVITE", SECOND)
    assert (first.call_id, first.from_tag) != (second.call_id, second.from_tag)
    bed.inbox.clear()
    bed.reply(first, 180)
    bed.take("CANCEL")
    bed.reply(first, 200, [TYPE], SDP)
    assert [bed.take("ACK").call_id, bed.take("BYE").call_id] == [first.call_id] * 2
    assert statuses(bed) == []
    bed.reply(second, 200, [TYPE], SDP, flow=SECOND)
    assert statuses(bed) == [200]


def test_icmp_is_an_answer_at_once() -> None:
    bed = Bed(text=TWO)
    dial(bed)
    bed.core.flow_changed(CARRIER, "unreachable", bed.now)
    bed.pump()
    assert invites(bed, SECOND) == 1
    bed.core.flow_changed(SECOND, "unreachable", bed.now)
    bed.pump()
    assert statuses(bed) == [503]


def test_icmp_counts_only_as_long_as_nothing_was_heard() -> None:
    bed = Bed(text=TWO)
    dial(bed)
    invite = bed.take("INVITE")
    bed.reply(invite, 180)
    bed.core.flow_changed(CARRIER, "unreachable", bed.now)
    bed.core.flow_changed(Flow("udp", LISTEN, ("127.0.0.21", 5099)), "unreachable", bed.now)
    bed.pump()
    assert not invites(bed, SECOND) and statuses(bed) == []
    bed.reply(invite, 200, [TYPE], SDP)
    assert statuses(bed) == [200]


def test_all_silent_is_408() -> None:
    bed = Bed(text=TWO)
    dial(bed)
    bed.run(8.2)
    assert statuses(bed) == [408]


def test_a_cancelled_call_goes_nowhere_else() -> None:
    bed = Bed(text=TWO)
    branch = bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.request("CANCEL", OUT, branch=branch, call_id="s-1")
    bed.run(40)
    assert not invites(bed, SECOND) and statuses(bed)[-1] == 487


def test_a_phone_that_says_nothing_is_given_up() -> None:
    bed = Bed()
    register(bed, expires=3600)
    bed.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-9", origin="gw2;z9hG4bKo;1")
    bed.run(4.9)
    assert statuses(bed) == []
    bed.run(0.2)
    assert statuses(bed) == [408]


def test_each_place_is_probed_and_one_is_enough() -> None:
    bed = Bed("options = { interval = 2, misses = 2 }", text=TWO)
    line = bed.core.lines["trunk1"]
    for _ in range(40):
        bed.run(0.5)
        while not bed.silent(SECOND):
            bed.reply(bed.take("OPTIONS", SECOND), 200, flow=SECOND)
    assert line.in_service
    dial(bed)
    assert invites(bed, SECOND) == 1 and not invites(bed, CARRIER)  # the dead one would be the last
    bed.inbox.clear()
    bed.run(12)
    assert not line.in_service and "127.0.0.21" in line.why and "127.0.0.22" in line.why
    bed.inbox.clear()
    while bed.silent():
        bed.run(0.1)
    bed.reply(bed.take("OPTIONS"), 404)
    assert line.in_service
    dial(bed, 2)
    assert invites(bed, CARRIER) == 1


REGISTER = (
    'register = { registrar = "sip:reg.carrier.example", user = "u", password = { env = "ALICE" }, expires = 600 }'
)


def locate(bed: Bed, *places: Flow) -> None:
    for asked in bed.resolving:
        bed.core.done(asked, [Place("udp", *flow.remote) for flow in places], bed.now)
    bed.resolving.clear()
    bed.pump()


@pytest.mark.parametrize("how", ["silent", "unreachable", "503"])
def test_register_walks_the_places(how: str) -> None:
    bed = Bed(REGISTER)
    assert bed.silent()
    locate(bed, CARRIER, SECOND)
    if how == "503":
        bed.reply(bed.take("REGISTER"), 503)
    elif how == "unreachable":
        bed.core.flow_changed(CARRIER, "unreachable", bed.now)
        bed.pump()
    else:
        bed.run(4.1)
    request = bed.take("REGISTER", SECOND)
    bed.say(response_to(request, 200, [f"Contact: {request.get('contact')};expires=600"], b"", "t"), SECOND)
    assert bed.core.lines["trunk1"].far_side.registered
    bed.inbox.clear()
    while bed.silent(SECOND) and bed.silent():
        bed.run(1)
    assert bed.silent() and not bed.silent(SECOND)  # refreshed where the 200 came from


def test_a_registrar_without_a_name_is_asked_for_again_and_says_why() -> None:
    bed = Bed(REGISTER)
    asked = 0
    for _ in range(300):
        asked += len(bed.resolving)
        for one in bed.resolving:
            bed.core.done(one, "reg.carrier.example: SERVFAIL", bed.now)
        bed.resolving.clear()
        bed.pump()
        bed.run(1)
    assert "SERVFAIL" in bed.core.lines["trunk1"].why and 5 < asked < 30
    for _ in range(120):
        locate(bed, SECOND)
        bed.run(1)
    assert not bed.silent(SECOND)


def test_calls_go_where_the_line_is_registered() -> None:
    bed = Bed(REGISTER.replace("reg.carrier.example", "127.0.0.22:5070"), text=TWO)
    request = bed.take("REGISTER", SECOND)
    bed.say(response_to(request, 200, [f"Contact: {request.get('contact')};expires=600"], b"", "t"), SECOND)
    dial(bed)
    assert invites(bed, SECOND) == 1 and not invites(bed, CARRIER)
