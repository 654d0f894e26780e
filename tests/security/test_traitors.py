"""Devices that registered and agents of the site that mean harm all the same: they harm their own calls."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from b2bua import agent_connection
from b2bua.takeover.records import NO_END, DialogReport, read_part
from gateway_agent.deduplication import key_of
from heartbeat.console.render import Console
from sip import header_policy
from sip.actions import Flow
from sip.invite.dialogs import MAX_EARLY
from sip.wire.message import Request, parse
from tests.b2bua.fake import site_of
from tests.b2bua.fake_agent import AGENTS, ServerFixture, record
from tests.b2bua.takeover_fixture import TakeoverFixture
from tests.consoles import seen
from tests.gateway_agent.agent_fixture import SDP, AgentFixture
from tests.security.test_impostors import bench


def told(**members: Any) -> DialogReport:
    head = b'{"call-id":"c","local-tag":"t","call-state":""'
    body = json.dumps(members)[1:].encode()
    part = read_part("gw1", b"\x1e{}\n\x1e" + head + b"," + body, 0.0)
    assert part is not None
    return part.dialogs[0]


def test_what_an_agent_says_cannot_end_a_header_line() -> None:
    evil = "x\r\nX-Injected: yes"
    one = told(local=evil, remote="\u20ac", target=evil, ended={"reason": evil, "by": evil}, **{"route-set": [evil]})
    dialog = one.record.dialog
    assert (dialog.local, dialog.remote, dialog.target, dialog.route_set) == ("", "", "", ())
    assert (one.ended.reason, one.ended.by) == ("", "")
    assert told(local='"J\u00fcrgen" <sip:1@x>').record.dialog.local == '"J\u00fcrgen" <sip:1@x>'


@pytest.mark.parametrize(
    "members",
    [
        {"origin": "gw1;b;\u00b2"},
        {"origin": "gw1;b;" + "9" * 5000},
        {"cseq": {"local": 10**400, "remote": -1}},
        {"age": {"answer": 10**400}},
        {"sent": [{"request": 5}, 7, {"request": "INVITE"}], "received": [[]], "ack": {"message": []}},
        {"ended": {"ago": "x", "by": 1, "reason": [], "status": 10**30}},
    ],
)
def test_no_record_makes_a_server_stumble(members: dict[str, Any]) -> None:
    one = told(**members)
    record = one.record
    assert record.attempt == 0 and record.dialog.local_cseq == 0 and record.ages.answer is None
    assert (one.sent(), one.last_ack, record.ack.state, one.changing) == ([], b"", "", "")
    assert all(received.data for received in record.received) and one.ended._replace(ago=0.0, reason="") == NO_END


def test_a_record_on_which_we_fail_costs_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.gw1.records.insert(0, {**record(a, age={"answer": 5}), "call-id": "evil"})
    fixture.die()

    from b2bua.takeover.recovery import Recovery

    whole = Recovery._is_served
    monkeypatch.setattr(
        Recovery,
        "_is_served",
        lambda self, connection, each: 1 / 0 if each.call_id == "evil" else whole(self, connection, each),
    )
    made = fixture.succeed()
    made.after(1)
    assert made.core.stack.counters["bad records"] == 1 and len(made.core.calls) == 1
    a.say("BYE")
    assert b.take("BYE")


def test_few_lines_of_which_nobody_knows_are_kept_and_lists_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = ServerFixture()
    connection = fixture.bench.core.agents.connections["gw1"]
    fixture.gw1.lines = [{"line": f"x{index}", "contacts": "many"} for index in range(500)]
    fixture.gw1.lines.append({"line": "alice", "contacts": "many", "why": 5})
    fixture.gw1.notify()
    known = set(fixture.bench.core.site.lines)
    assert (
        "alice" in connection.lines
        and len(set(connection.lines) - known) <= len(known) + agent_connection.MOST_UNKNOWN
    )
    assert seen(fixture.bench.core, "lines", {}, fixture.bench.now)["lines"][0]["contacts"] == 0
    monkeypatch.setattr(agent_connection, "MOST_LIST", 0)
    fixture.gw1.notified.clear()
    fixture.gw1.notify()
    assert fixture.gw1.notified[-1] == 400


def test_a_connection_that_does_not_prove_itself_is_closed() -> None:
    fixture = ServerFixture()
    made = fixture.bench
    stranger = Flow("tcp", f"{_listen(fixture)}#99", ("127.0.0.66", 4000))
    made.core.flow_changed(stranger, "open", made.now)
    for _ in range(20):
        made.core.receive(b"\r\n\r\n", stranger, made.now)  # keep-alives prove nothing
        made.after(0.3)
    assert made.closed == [stranger]
    made.core.flow_changed(stranger, "lost", made.now)
    agents = made.core.agents
    assert not agents._refused and not agents._responders and stranger not in made.core.stack.unauthenticated_flows


def test_three_strange_messages_leave_nothing() -> None:
    fixture = ServerFixture()
    made = fixture.bench
    stranger = Flow("tcp", f"{_listen(fixture)}#99", ("127.0.0.66", 4000))
    made.core.flow_changed(stranger, "open", made.now)
    data = (
        b"SUBSCRIBE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\n"
    )
    data += b"Call-ID: c\r\nCSeq: 1 SUBSCRIBE\r\nContent-Length: 0\r\n\r\n"
    made.core.receive(data * 5, stranger, made.now)
    made.pump()
    assert made.closed == [stranger]
    made.core.flow_changed(stranger, "lost", made.now)
    assert not made.core.agents._refused and stranger not in made.core.stack.unauthenticated_flows


def _listen(fixture: ServerFixture) -> str:
    return next(iter(fixture.bench.core._listens))


def test_a_callee_cannot_invent_any_number_of_early_dialogs() -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    invite: Request = fixture.take("INVITE")
    before = len(fixture.core.stack.legs)
    for index in range(200):
        fixture.reply(invite, 180, tag=f"t{index}")
    assert len(fixture.core.stack.legs) - before <= MAX_EARLY + 1
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="t199")
    assert fixture.m1.inbox[-1].to_tag == "t199"  # who answers is heard all the same


def test_a_device_cannot_speak_for_the_site() -> None:
    made, caller, out = bench()
    side = caller.call("123", lines=["Line: other/1", "Call-State: 1.9.x.y.z", "Call-Origin: gw1;b;1"])
    invite = out.called.invite
    assert invite is not None
    assert not {"line", "call-state", "call-origin", "heartbeat"} & {*invite.names}
    out.called.accept(lines=["Line: forged/9", "Call-Origin: gw1;b;9;n=9", "Call-State: 1.9.x.y.z"])
    call = next(iter(made.core.calls.values()))
    assert call.state.callee_line == "out"
    assert not {"line", "call-state", "call-origin"} & {*side.heard[-1].names}


def test_an_origin_key_is_no_way_to_line_ends() -> None:
    data = (
        b"INFO sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nCall-Origin: a\r\n X: y\r\nCSeq: 1 INFO\r\n\r\n"
    )
    message = parse(data)
    assert isinstance(message, Request) and "\n" not in key_of(message)


def test_what_would_steer_a_terminal_is_shown_as_what_it_is() -> None:
    out = io.StringIO()
    Console(out).put("caller \x1b[2J\x9b2J \u00fc")
    assert out.getvalue() == "caller \ufffd[2J\ufffd2J \u00fc\n"


def test_keys_do_not_show() -> None:
    site = site_of(AGENTS)
    assert "0123456789abcdef" not in repr(site) + repr(site.membership()) + str(site.identity.key)


def test_long_lines_and_numbers_stay_in_no_cache() -> None:
    before = header_policy._remembered.cache_info().currsize
    request = parse(
        b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCSeq: 1 INVITE\r\nSupported: "
        + b"x" * 60_000
        + b",timer\r\n\r\n"
    )
    assert header_policy.crossing(request)[-1].startswith("Supported: xxx")
    assert header_policy._remembered.cache_info().currsize == before
