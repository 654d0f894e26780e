"""Places of a line that are dead: calls, OPTIONS and REGISTER go on to the next one (RFC 3263 section 4.3)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Request, Response
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, SITE, AgentFixture, response_to
from tests.gateway_agent.test_phone import register

SECOND = Flow("udp", LISTEN, ("127.0.0.22", 5070))
TWO = SITE.replace('peer = "sip:127.0.0.21:5060"', 'peer = ["sip:127.0.0.21:5060", "sip:127.0.0.22:5070"]')
OUT = "sip:+33166@gw1;line=trunk1"
TYPE = "Content-Type: application/sdp"


def dial(fixture: AgentFixture, index: int = 1) -> None:
    fixture.m1.inbox.clear()
    fixture.m1.request("INVITE", OUT, body=SDP, call_id=f"s-{index}", origin=f"gw2;z9hG4bKo{index};1")
    fixture.m1.take(100)


def invites(fixture: AgentFixture, flow: Flow) -> int:
    """INVITEs there, repeats counted once."""
    return len(
        {one.branch for one in fixture.inbox.get(flow, ()) if isinstance(one, Request) and one.method == "INVITE"}
    )


def statuses(fixture: AgentFixture) -> list[int]:
    return [one.status for one in fixture.m1.inbox if isinstance(one, Response) and one.status >= 200]


def test_a_silent_place_costs_4_s_and_is_tried_last_for_30() -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    fixture.run(3.9)
    assert not invites(fixture, SECOND)
    fixture.run(0.2)
    assert invites(fixture, SECOND) == 1
    dial(fixture, 2)
    assert invites(fixture, SECOND) == 2 and invites(fixture, CARRIER) == 1
    fixture.run(31)
    before = invites(fixture, CARRIER)
    dial(fixture, 3)
    assert invites(fixture, CARRIER) == before + 1


def test_what_was_given_up_is_cancelled_and_its_answer_ended() -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    first = fixture.take("INVITE")
    fixture.run(4.1)
    second = fixture.take("INVITE", SECOND)
    assert (first.call_id, first.from_tag) != (second.call_id, second.from_tag)
    fixture.inbox.clear()
    fixture.reply(first, 180)
    fixture.take("CANCEL")
    fixture.reply(first, 200, [TYPE], SDP)
    assert [fixture.take("ACK").call_id, fixture.take("BYE").call_id] == [first.call_id] * 2
    assert statuses(fixture) == []
    fixture.reply(second, 200, [TYPE], SDP, flow=SECOND)
    assert statuses(fixture) == [200]


@pytest.mark.parametrize(("lines", "seconds"), [((), 0), (("Retry-After: 10",), 10), (("Retry-After: 600",), 30)])
def test_a_503_moves_its_request_and_shuns_for_as_long_as_it_says_and_30_s_at_most(
    lines: tuple[str, ...], seconds: int
) -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    fixture.reply(fixture.take("INVITE"), 503, lines)
    fixture.take("ACK")
    fixture.reply(fixture.take("INVITE", SECOND), 486, flow=SECOND)
    if seconds:
        fixture.run(seconds - 0.5)
        dial(fixture, 2)
        assert not invites(fixture, CARRIER)
        fixture.run(1)
        fixture.inbox.clear()
    dial(fixture, 3)
    assert invites(fixture, CARRIER) == 1


def test_requests_in_a_dialog_go_to_their_place_though_it_is_shunned() -> None:
    fixture = AgentFixture(text=TWO)
    _, ok = fixture.answered_out()
    for index in (5, 6):
        dial(fixture, index)
        fixture.run(4.1)  # silent by now
    fixture.inbox.clear()
    fixture.m1.request("INFO", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKi;1")
    assert any(isinstance(one, Request) and one.method == "INFO" for one in fixture.inbox[CARRIER])


@pytest.mark.parametrize(("status", "forgiven"), [(404, True), (503, False)])
def test_any_answer_to_options_but_503_ends_shunning(status: int, forgiven: bool) -> None:
    fixture = AgentFixture("options = { interval = 12, misses = 9 }", text=TWO)
    fixture.reply(fixture.take("OPTIONS"), 200)
    fixture.reply(fixture.take("OPTIONS", SECOND), 200, flow=SECOND)
    dial(fixture)
    fixture.run(4.1)
    fixture.reply(fixture.take("INVITE", SECOND), 486, flow=SECOND)
    fixture.inbox.clear()
    fixture.run(9)
    asked = [one for one in fixture.inbox[CARRIER] if isinstance(one, Request) and one.method == "OPTIONS"]
    fixture.reply(asked[0], status)
    fixture.inbox.clear()
    dial(fixture, 2)
    assert bool(invites(fixture, CARRIER)) is forgiven


def test_icmp_is_an_answer_at_once() -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    fixture.core.flow_changed(CARRIER, "unreachable", fixture.now)
    fixture.pump()
    assert invites(fixture, SECOND) == 1
    fixture.core.flow_changed(SECOND, "unreachable", fixture.now)
    fixture.pump()
    assert statuses(fixture) == [503]


def test_icmp_counts_only_as_long_as_nothing_was_heard() -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    invite = fixture.take("INVITE")
    fixture.reply(invite, 180)
    fixture.core.flow_changed(CARRIER, "unreachable", fixture.now)
    fixture.core.flow_changed(Flow("udp", LISTEN, ("127.0.0.21", 5099)), "unreachable", fixture.now)
    fixture.pump()
    assert not invites(fixture, SECOND) and statuses(fixture) == []
    fixture.reply(invite, 200, [TYPE], SDP)
    assert statuses(fixture) == [200]


def test_all_silent_is_408() -> None:
    fixture = AgentFixture(text=TWO)
    dial(fixture)
    fixture.run(8.2)
    assert statuses(fixture) == [408]


def test_a_cancelled_call_goes_nowhere_else() -> None:
    fixture = AgentFixture(text=TWO)
    branch = fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.request("CANCEL", OUT, branch=branch, call_id="s-1")
    fixture.run(40)
    assert not invites(fixture, SECOND) and statuses(fixture)[-1] == 487


def test_a_phone_that_says_nothing_is_given_up() -> None:
    fixture = AgentFixture()
    register(fixture, expires=3600)
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-9", origin="gw2;z9hG4bKo;1")
    fixture.run(4.9)
    assert statuses(fixture) == []
    fixture.run(0.2)
    assert statuses(fixture) == [408]


def test_each_place_is_probed_and_one_is_enough() -> None:
    fixture = AgentFixture("options = { interval = 2, misses = 2 }", text=TWO)
    line = fixture.core.lines["trunk1"]
    for _ in range(40):
        fixture.run(0.5)
        while not fixture.silent(SECOND):
            fixture.reply(fixture.take("OPTIONS", SECOND), 200, flow=SECOND)
    assert line.in_service
    dial(fixture)
    assert invites(fixture, SECOND) == 1 and not invites(fixture, CARRIER)  # the dead one would be the last
    fixture.inbox.clear()
    fixture.run(12)
    assert not line.in_service and "127.0.0.21" in line.why and "127.0.0.22" in line.why
    fixture.inbox.clear()
    while fixture.silent():
        fixture.run(0.1)
    fixture.reply(fixture.take("OPTIONS"), 404)
    assert line.in_service
    dial(fixture, 2)
    assert invites(fixture, CARRIER) == 1


REGISTER = (
    'register = { registrar = "sip:reg.carrier.example", user = "u", password = { env = "ALICE" }, expires = 600 }'
)


def locate(fixture: AgentFixture, *places: Flow) -> None:
    for asked in fixture.resolving:
        fixture.core.done(asked, [Place("udp", *flow.remote) for flow in places], fixture.now)
    fixture.resolving.clear()
    fixture.pump()


@pytest.mark.parametrize("how", ["silent", "unreachable", "503"])
def test_register_walks_the_places(how: str) -> None:
    fixture = AgentFixture(REGISTER)
    assert fixture.silent()
    locate(fixture, CARRIER, SECOND)
    if how == "503":
        fixture.reply(fixture.take("REGISTER"), 503)
    elif how == "unreachable":
        fixture.core.flow_changed(CARRIER, "unreachable", fixture.now)
        fixture.pump()
    else:
        fixture.run(4.1)
    request = fixture.take("REGISTER", SECOND)
    fixture.say(response_to(request, 200, [f"Contact: {request.get('contact')};expires=600"], b"", "t"), SECOND)
    assert fixture.core.lines["trunk1"].far_side.registered
    fixture.inbox.clear()
    while fixture.silent(SECOND) and fixture.silent():
        fixture.run(1)
    assert fixture.silent() and not fixture.silent(SECOND)  # refreshed where the 200 came from


def test_a_registrar_without_a_name_is_asked_for_again_and_says_why() -> None:
    fixture = AgentFixture(REGISTER)
    asked = 0
    for _ in range(300):
        asked += len(fixture.resolving)
        for one in fixture.resolving:
            fixture.core.done(one, "reg.carrier.example: SERVFAIL", fixture.now)
        fixture.resolving.clear()
        fixture.pump()
        fixture.run(1)
    assert "SERVFAIL" in fixture.core.lines["trunk1"].why and 5 < asked < 30
    for _ in range(120):
        locate(fixture, SECOND)
        fixture.run(1)
    assert not fixture.silent(SECOND)


def test_calls_go_where_the_line_is_registered() -> None:
    fixture = AgentFixture(REGISTER.replace("reg.carrier.example", "127.0.0.22:5070"), text=TWO)
    request = fixture.take("REGISTER", SECOND)
    fixture.say(response_to(request, 200, [f"Contact: {request.get('contact')};expires=600"], b"", "t"), SECOND)
    dial(fixture)
    assert invites(fixture, SECOND) == 1 and not invites(fixture, CARRIER)
