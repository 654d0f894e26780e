"""REFER of a trunk of the server's own, or to one: ``transfer = "pass"`` on both lines (docs/wire.md)."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import SDP, Peer, Side
from tests.b2bua.fake_agent import AGENTS, FakeAgent, ServerFixture
from tests.b2bua.trunk_fixture import OWN, TrunkFixture

RULES = """
from_device.called = [{ match = "0*", strip = 1, prefix = "+33" }]
to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }]
"""
PASS = 'channels = 100\ntransfer = "pass"\n' + RULES
BOTH = OWN.replace("channels = 100\n", PASS)
OWN_PEER = 'peer = "sip:127.0.0.1:5080"\n'
MIXED = AGENTS.replace(f"{OWN_PEER}channels = 2000\n", OWN_PEER + PASS)
TALKS_ON = b"SIP/2.0 200 OK\r\n"
SIPFRAG = ("Event: refer;id=7", "Subscription-State: terminated;reason=noresource", "Content-Type: message/sipfrag")


def referred(by: Side, to: Side, number: str = "0166") -> str:
    """The Refer-To with which that REFER comes to the other side, which takes it and tells how it went."""
    by.say("REFER", (f"Refer-To: <sip:{number}@127.0.0.1>", "Referred-By: <sip:+33100@127.0.0.1>"))
    refer = to.take("REFER")
    to.answer(refer, 202)
    assert by.statuses == [202]
    to.say("NOTIFY", SIPFRAG, TALKS_ON)
    notify = by.take("NOTIFY")
    assert notify.get("event") == "refer" and notify.body == TALKS_ON
    by.answer(notify, 200)
    heard = to.peer.notified[-1:] if isinstance(to.peer, FakeAgent) else to.statuses
    assert heard == [200]
    return refer.get("refer-to") or ""


def test_between_two_trunks_of_the_server_a_blind_transfer_crosses() -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    assert referred(a, b) == "<sip:0166@127.0.0.1:5060>"
    assert referred(b, a, "166") == "<sip:166@127.0.0.1:5060>"
    fixture.hang_up(a, b)


@pytest.mark.parametrize("line", ["in", "out"])
@pytest.mark.parametrize("other", ["refuse", "none"])
def test_where_one_trunk_does_not_pass_it_is_refused(line: str, other: str, caplog: pytest.LogCaptureFixture) -> None:
    head, _, tail = BOTH.partition(f"[lines.{line}]")
    changed = tail.replace('transfer = "pass"\n', "" if other == "none" else 'transfer = "refuse"\n', 1)
    fixture = TrunkFixture(f"{head}[lines.{line}]{changed}")
    a, b = fixture.talk()
    a.say("REFER", ("Refer-To: <sip:0166@127.0.0.1>",))
    assert a.statuses == [603] and not b.asked
    [said] = [message for message in caplog.messages if "REFER" in message]
    assert said.startswith("in asks for a transfer (REFER), and a line that has to do with it refuses transfers")


@pytest.mark.parametrize(
    ("refer_to", "status"),
    [
        ("<sip:0166@127.0.0.1?Replaces=x>", 400),
        ("<sip:0166@127.0.0.1;method=BYE>", 403),
        ("nonsense", 400),
    ],
)
def test_what_is_no_transfer_is_refused(refer_to: str, status: int) -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    a.say("REFER", (f"Refer-To: {refer_to}",))
    assert a.statuses == [status] and not b.asked
    fixture.hang_up(b, a)


def test_between_a_trunk_of_the_server_and_an_agent_the_number_has_the_form_of_each_side() -> None:
    fixture = ServerFixture(MIXED)
    own = Peer(fixture.bench, "own", port=5080)
    a = own.call("1002")
    b = fixture.gw2.called
    b.ring()
    b.accept()
    a.ack()
    b.asked.clear()
    a.heard.clear()
    assert referred(a, b) == "<sip:+33166@m1>"
    assert referred(b, a, "+33177") == "<sip:0177@127.0.0.1:5060>"
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert a.statuses == [200]


def test_what_is_offered_meanwhile_crosses_as_ever() -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    a.say("REFER", ("Refer-To: <sip:0166@127.0.0.1>",))
    refer = b.take("REFER")
    a.say("INVITE", body=SDP)
    b.answer(refer, 202)
    assert b.take("INVITE").body
    b.accept()
    a.ack()
    assert a.statuses[-1] == 200
    b.take("ACK")
    fixture.hang_up(b, a)


def test_an_attended_one_names_the_dialog_as_it_is() -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    named = "x%3Bto-tag%3D1%3Bfrom-tag%3D2"
    a.say("REFER", (f"Refer-To: <sip:0166@127.0.0.1?Replaces={named}>",))
    assert b.take("REFER").get("refer-to") == f"<sip:0166@127.0.0.1:5060?Replaces={named}>"


def replaces(side: Side) -> tuple[str]:
    """The other end of that dialog, as who has it names it to who is to take its place."""
    return (f"Replaces: {side.call_id};to-tag={side.other_tag};from-tag={side.tag}",)


@pytest.mark.parametrize("whose", ["caller", "callee"])
def test_a_trunk_takes_the_place_of_another_one(whose: str) -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    former, stays = (a, b) if whose == "caller" else (b, a)
    c = fixture.left.call("1001", SDP, replaces(former))
    change = stays.take("INVITE")
    assert change.body
    stays.accept()
    assert c.statuses[-1] == 200
    c.ack()
    stays.take("ACK")
    bye = former.take("BYE")
    assert "Replaced" in (bye.get("reason") or "")
    former.answer(bye, 200)
    fixture.hang_up(stays, c)
    fixture.nothing_left()


def test_a_trunk_whose_offer_is_refused_takes_no_place() -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    c = fixture.left.call("1001", SDP, replaces(a))
    b.answer(b.take("INVITE"), 488)
    b.take("ACK")
    assert c.statuses[-1] == 488 and not a.asked
    (call,) = fixture.bench.core.calls.values()
    assert len(call.device_legs) == 2
    fixture.hang_up(a, b)
    fixture.nothing_left()


def test_nothing_is_left_of_a_trunk_whose_offer_an_agent_never_answers() -> None:
    fixture = ServerFixture(MIXED)
    own = Peer(fixture.bench, "own", port=5080)
    a = own.call("1002")
    b = fixture.gw2.called
    b.accept()
    a.ack()
    b.asked.clear()
    c = own.call("1002", SDP, replaces(a))
    b.take("INVITE")
    fixture.bench.after(33.0)
    assert c.statuses == [100, 500] and not a.asked
    (call,) = fixture.bench.core.calls.values()
    assert len(call.device_legs) == 1


def test_who_is_to_be_replaced_by_a_trunk_hangs_up_meanwhile() -> None:
    fixture = TrunkFixture(BOTH)
    a, b = fixture.talk()
    c = fixture.left.call("1001", SDP, replaces(a))
    change = b.take("INVITE")
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    b.answer(change, 487)
    assert a.statuses == [200] and c.statuses == [100, 487]
    fixture.nothing_left()


@pytest.mark.parametrize("named", ["its own", "another fork", "an agent's", "nobody's", "unreadable", "refused"])
def test_join_and_target_dialog_name_a_dialog_of_the_trunk_as_it_knows_it(named: str) -> None:
    fixture = ServerFixture(MIXED if named != "refused" else AGENTS)
    own = Peer(fixture.bench, "own", port=5080)
    a = own.call("1002")
    b = fixture.gw2.called
    b.accept()
    a.ack()
    told, heard = {  # Call-ID, tag of the server, tag of the other end; and as the trunk is told
        "its own": ((a.call_id, a.other_tag, a.tag), (a.call_id, a.tag, a.other_tag)),
        "another fork": ((a.call_id, a.other_tag, "x"), (a.call_id, a.other_tag, "x")),
        "an agent's": ((b.call_id, b.other_tag, b.tag), (b.call_id, b.other_tag, b.tag)),
        "nobody's": (("x", "1", "2"), ("x", "1", "2")),
        "unreadable": (("x", "", "2"), None),
        "refused": ((a.call_id, a.other_tag, a.tag), None),
    }[named]
    lines = [
        "Join: {};to-tag={};from-tag={}".format(*told),
        "Target-Dialog: {};local-tag={};remote-tag={}".format(*told),
    ]
    fixture.gw1.call("9001", SDP, lines)
    invite = own.called.take("INVITE")
    assert [invite.get("join"), invite.get("target-dialog")] == (
        [None, None]
        if heard is None
        else ["{};to-tag={};from-tag={}".format(*heard), "{};local-tag={};remote-tag={}".format(*heard)]
    )


@pytest.mark.parametrize("early", ["", ";early-only"])
def test_a_trunk_picks_nothing_up(early: str) -> None:
    fixture = TrunkFixture(BOTH)
    _, b = fixture.ring()
    b.take("INVITE")
    c = fixture.left.call("1001", SDP, (replaces(b)[0] + early,))
    assert c.statuses[-1] == 603 and not b.asked
