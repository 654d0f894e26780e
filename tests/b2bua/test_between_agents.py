"""Calls between agents and trunks: what the site adds, forwarding, and who may speak for a line."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import SDP, Peer, Side
from tests.b2bua.fake_agent import FakeAgent, ServerFixture


def test_a_call_from_agent_to_agent_carries_what_the_site_needs() -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002", lines=("Session-ID: " + "ab" * 16,))
    assert a.heard[0].status == 100 and a.token.startswith("1.0.")
    b = fixture.gw2.called
    invite = b.take("INVITE")
    assert invite.uri == "sip:1002@127.0.0.1:40012;line=bob"
    assert invite.get("call-origin") == f"gw1;{a.sent and a.sent.branch};1"
    assert invite.get("heartbeat") == "site=paris; node=m1; boot=1; epoch=1"
    assert b.token and b.token != a.token
    b.ring()
    assert a.heard[-1].get("call-origin") == f"{invite.get('call-origin')};n=1" and "line" not in a.heard[-1]
    first = a.token
    b.ring()
    assert a.token == first and "call-state" not in a.heard[-1]
    b.accept()
    assert a.token != first and a.heard[-1].get("call-origin") == f"{invite.get('call-origin')};n=3"
    before = b.token
    a.ack()
    assert b.token not in (before, "") and b.take("ACK").get("heartbeat")
    [call] = fixture.bench.core.calls.values()
    assert call.state.callee_line == "bob/1" and call.state.session_id == "ab" * 16


def test_what_is_said_of_a_number_crosses_unless_the_call_is_forwarded() -> None:
    fixture = ServerFixture()
    fixture.gw1.call("1002", uri="sip:1002;isub=7;rn=+33177@m1;user=phone")
    bob = fixture.gw2.called
    assert bob.take("INVITE").uri == "sip:1002;isub=7;rn=+33177@127.0.0.1:40012;line=bob;user=phone"
    bob.accept(486, b"")
    carol = fixture.gw2.called.take("INVITE")
    assert carol.uri == "sip:1003@127.0.0.1:40012;line=carol"


def test_requests_inside_the_call_carry_origin_and_epoch() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    a.say("INFO", body=b"x")
    info = b.take("INFO")
    assert info.get("call-origin") == f"gw1;{a.sent and a.sent.branch};1" and "epoch=1" in str(info.get("heartbeat"))
    assert "call-state" not in info
    b.answer(info, 200)
    assert a.heard[-1].get("call-origin") == f"{info.get('call-origin')};n=1"
    b.say("BYE")
    bye = a.take("BYE")
    assert bye.get("call-origin") == f"gw2;{b.sent and b.sent.branch};1"
    a.answer(bye, 200)
    assert b.statuses == [200] and fixture.bench.cdrs[0].ended_by == "callee"


def test_a_bye_of_the_server_has_a_key_of_its_own() -> None:
    fixture = ServerFixture()
    fixture.talk()
    [call] = fixture.bench.core.calls.values()
    call.bridge.release("SIP;cause=480", fixture.bench.now)
    fixture.bench.pump()
    for agent in (fixture.gw1, fixture.gw2):
        bye = agent.sides[-1].asked[-1]
        parts = str(bye.get("call-origin")).split(";")
        assert bye.method == "BYE" and parts[0] == "m1" and parts[2] == "0" and bye.get("reason") == "SIP;cause=480"


@pytest.mark.parametrize(("status", "then"), [(486, "carol"), (600, "carol"), (480, "dave"), (408, "dave")])
def test_a_phone_forwards(status: int, then: str) -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    fixture.gw2.called.accept(status, b"")
    agent = fixture.gw2 if then == "carol" else fixture.gw1
    invite = agent.called.take("INVITE")
    assert invite.uri.endswith(f";line={then}") and str(invite.get("call-origin")).endswith(";2")
    agent.called.accept()
    assert a.statuses[-1] == 200


def test_nobody_answers_at_a_phone_that_forwards_then() -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    fixture.gw2.called.ring()
    fixture.bench.after(10.5)
    b = fixture.gw2.called
    b.answer(b.asked[-1], 200)
    b.accept(487, b"")
    fixture.gw1.called.accept()
    assert a.statuses == [100, 180, 181, 200]
    assert str(fixture.gw1.called.take("INVITE").get("call-origin")).endswith(";2")


@pytest.mark.parametrize(
    "contacts",
    [
        ("Contact: <sip:1003@10.0.0.7:5062;transport=tcp>",),
        ("Contact: sip:1003@10.0.0.7",),
        ("Contact: <tel:1003>",),
        ("Contact: <sip:1003@x>, <sip:4711@x>",),
    ],
)
def test_a_redirect_of_a_phone_is_followed_by_the_server(contacts: tuple[str, ...]) -> None:
    """To the number in its Contact (RFC 3261 section 8.1.3.4); the caller hears that it is forwarded, once."""
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.answer(b.take("INVITE"), 302, ("Line: bob/1", *contacts))
    b.take("ACK")
    invite = fixture.gw2.called.take("INVITE")
    assert invite.uri.endswith(";line=carol") and str(invite.get("call-origin")).endswith(";2")
    fixture.gw2.called.accept()
    a.ack()
    assert a.statuses == [100, 181, 200]
    [call] = fixture.bench.core.calls.values()
    assert call.state.attempt == 2


def test_a_forwarded_call_has_what_is_said_of_its_new_number_and_its_record_the_one_dialled() -> None:
    """Routing number and trunk group belong to the number beside which they stand (RFC 4694, RFC 4904)."""
    fixture = ServerFixture()
    a = fixture.gw1.call("1002;rn=+1;npdi")
    b = fixture.gw2.called
    assert ";rn=+1;npdi@" in b.asked[0].uri
    b.answer(b.take("INVITE"), 302, ("Line: bob/1", "Contact: <sip:1003;rn=+33177;tgrp=x;trunk-context=y@z>"))
    uri = fixture.gw2.called.take("INVITE").uri
    assert uri.startswith("sip:1003;rn=+33177;tgrp=x;trunk-context=y@") and uri.endswith(";line=carol")
    fixture.gw2.called.accept()
    a.ack()
    a.say("BYE")
    fixture.gw2.called.answer(fixture.gw2.called.asked[-1], 200)
    [cdr] = fixture.bench.cdrs
    assert (cdr.dialled, cdr.callee, cdr.attempts) == ("1002", "1003", 2)


@pytest.mark.parametrize(
    ("contacts", "status"),
    [((), 480), (("Contact: <sip:4711@x>",), 404), (("Contact: <sip:x>",), 480), (("Contact: <",), 480)],
)
def test_a_redirect_to_nobody_is_an_answer_that_a_caller_understands(contacts: tuple[str, ...], status: int) -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.answer(b.take("INVITE"), 302, ("Line: bob/1", *contacts))
    assert a.heard[-1].status == status and "contact" not in a.heard[-1].names
    assert not fixture.bench.core.calls


@pytest.mark.parametrize(
    ("contacts", "order"),
    [
        (("Contact: <sip:1004@x>",), ["dave"]),
        (("Contact: sip:1004@10.9.9.9:5060;q=0.9, <sip:1003@x>;q=0.1",), ["dave", "carol"]),
        (("Contact: <sip:1004@x>;q=0.1, <sip:1003@x>;q=0.9",), ["carol", "dave"]),
        (("Contact: <sip:1004@x>", "Contact: <tel:1003>"), ["dave", "carol"]),
        (("Contact: <mailto:someone@x>, <sip:1004@x>",), ["dave"]),
    ],
)
def test_all_contacts_of_a_redirect_are_followed_the_higher_q_first(
    contacts: tuple[str, ...], order: list[str]
) -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.answer(b.take("INVITE"), 302, ("Line: bob/1", *contacts))
    rang = []
    for _ in order:
        agent = next(each for each in (fixture.gw1, fixture.gw2) if _rings(each, a, b))
        rang.append(agent.called.take("INVITE").uri.rpartition("=")[2])
        agent.called.accept(480, b"")
        agent.called.asked.clear()
    assert rang == order and a.statuses == [100, 181, 480]
    assert [cdr.attempts for cdr in fixture.bench.cdrs] == [len(order) + 1]


def _rings(agent: FakeAgent, *without: Side) -> bool:
    side = agent.sides[-1]
    return side not in without and bool(side.asked) and side.asked[0].method == "INVITE"


def test_a_busy_phone_in_a_list_is_followed_by_the_next() -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("2000")
    fixture.gw2.called.accept(500, b"")
    invite = fixture.gw1.called.take("INVITE")
    assert invite.uri.endswith("line=dave")
    fixture.gw1.called.accept()
    assert a.statuses[-1] == 200


def test_an_agent_that_is_away_counts_as_503() -> None:
    fixture = ServerFixture()
    fixture.gw2.disconnect()
    fixture.bench.after(1.5)
    a = fixture.gw1.call("1002")
    assert a.statuses == [100, 500]


def test_one_whose_connection_broke_just_now_is_waited_for_a_second() -> None:
    fixture = ServerFixture()
    fixture.gw2.disconnect()
    a, given_up, hunted = fixture.gw1.call("1002"), fixture.gw1.call("1002"), fixture.gw1.call("2000")
    assert a.statuses == given_up.statuses == hunted.statuses == [100]
    given_up.cancel()
    assert given_up.statuses == [200, 487]
    fixture.bench.after(0.3)
    fixture.gw2.connect()
    assert [side.invite.uri.rpartition("=")[2] for side in fixture.gw2.sides if side.invite] == ["bob", "bob"]
    fixture.gw2.sides[0].accept()
    assert a.statuses == [200] and not hunted.heard
    fixture.gw2.disconnect()
    late, also = fixture.gw1.call("1002"), fixture.gw1.call("2000")
    fixture.bench.after(1.1)
    assert late.statuses == [100, 500] and also.statuses == [100]
    assert fixture.gw1.called.take("INVITE").uri.endswith("line=dave")


def test_an_agent_may_only_speak_for_its_own_lines() -> None:
    fixture = ServerFixture()
    for line in ("bob", "own", "nobody", ""):
        a = Peer.call(fixture.gw1, "1002", lines=(f"Line: {line}",))
        assert a.statuses == [403], line
    assert fixture.bench.core.stack.counters["strangers"] == 4


def test_between_an_agent_and_a_trunk_of_the_server() -> None:
    fixture = ServerFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    a = fixture.gw1.call("9123")
    invite = trunk.called.take("INVITE")
    assert not {"call-origin", "call-state", "heartbeat", "line"} & {*invite.names}
    trunk.called.accept()
    a.ack()
    trunk.called.take("ACK")
    trunk.called.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert trunk.called.statuses == [200]
    back = trunk.call("1002", lines=("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK" + "x" * 300,))
    b = fixture.gw2.called
    assert str(b.take("INVITE").get("call-origin")).startswith("m1;z9hG4bK-trunk")
    b.accept()
    back.ack()
    assert back.statuses == [100, 200]


def test_a_very_long_branch_does_not_make_a_long_token() -> None:
    fixture = ServerFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    side = Side(trunk, "long-" + "c" * 3000, "t", "<sip:1@x>", "<sip:1002@127.0.0.1>", "sip:1002@127.0.0.1")
    trunk._keep(side)
    side.say("INVITE", body=SDP, branch="z9hG4bK" + "b" * 3000)
    assert side.statuses == [100] and len(fixture.gw2.called.token) <= 1024


def test_so_is_one_that_has_not_found_the_new_server_yet() -> None:
    fixture = ServerFixture()
    fixture.die()
    bench = fixture.succeed("gw2")
    a = fixture.gw1.call("1002")
    assert a.statuses == [100]
    fixture.gw2.connect()
    bench.after(0.1)
    fixture.gw2.called.accept()
    assert a.statuses == [200]
