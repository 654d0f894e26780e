"""What the line state of a call says at each message that carries it, and when nothing is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_agent import registration_state
from gateway_agent.line_snapshot import LineStates
from gateway_agent.line_state import DeviceDialog, LineState, PendingInvite, SentInvite, bound_to, decode
from sip.dialog import UAC, UAS
from sip.offer_answer import AGREED, LOCAL_OFFER, REMOTE_OFFER, OfferAnswerState
from sip.wire.message import Message, Request, Response
from tests.gateway_agent.agent_fixture import ALICE, CARRIER, KEY, SDP, AgentFixture
from tests.gateway_agent.test_devices import AOR, proved

TYPE = "Content-Type: application/sdp"
ANSWER = SDP.replace(b"127.0.0.21", b"127.0.0.29")
OUT = "sip:+33166@gw1;line=trunk1"


def fixture_of(**more: Any) -> AgentFixture:
    return AgentFixture(keeps=True, incarnation=7, **more)


def said(message: Message, opener: str = "") -> LineState:
    """``opener``: the tag of who opened the dialog, where that is not whom the message is from."""
    text = message.get("line-state")
    assert text is not None
    return decode(text, bound_to("paris", "gw1", message.call_id, opener or message.from_tag), [KEY])


def order(message: Message) -> list[str]:
    return (message.get("line-state") or "").split(".")[1:3]


def told(fixture: AgentFixture, opener: str) -> list[LineState]:
    """What the last NOTIFY told of dialogs."""
    records = [one for one in fixture.m1.list if "line-state" in one and "call-id" in one]
    return [decode(one["line-state"], bound_to("paris", "gw1", one["call-id"], opener), [KEY]) for one in records]


def called(fixture: AgentFixture) -> Request:
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite: Request = fixture.take("INVITE")
    return invite


def test_a_call_of_a_device_is_told_from_its_invite_to_its_ack() -> None:
    fixture = fixture_of()
    fixture.request("INVITE", lines=["Subject: no answer has this"], body=SDP)
    fixture.take(100)
    invite: Request = fixture.m1.take("INVITE")
    first = said(invite)
    assert order(invite) == ["7", "1"]
    assert (first.direction, first.line, first.channel, first.number) == ("in", "trunk1", 1, "+33166")
    assert (first.invited, first.rang, first.answered, first.passed) == (0.0, None, None, (0, 0))
    assert (first.origin, first.responses, first.awaited, first.served) == ("", 0, "", 0)
    dialog = first.dialogs[0].dialog
    assert (dialog.call_id, dialog.remote_tag, dialog.remote_cseq, dialog.direction) == ("dev-1", "dev", 1, UAS)
    assert first.dialogs == (DeviceDialog(dialog, CARRIER),)
    assert first.asked.split(b"\r\n") == [
        b"INVITE sip:+33166@127.0.0.11 SIP/2.0",
        b"Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKdev1",
        b"From: <sip:+33155@127.0.0.21>;tag=dev",
        b"To: <sip:+33166@127.0.0.11>",
        b"Max-Forwards: 70",
        b"Call-ID: dev-1",
        b"CSeq: 1 INVITE",
        b"Contact: <sip:127.0.0.21:5060>",
    ], "what its answers take over, and nothing else"
    assert first.sent == SentInvite(invite.branch, 1, True)
    assert first.device == OfferAnswerState(REMOTE_OFFER, next_remote=SDP)
    assert first.server == OfferAnswerState(LOCAL_OFFER, next_local=SDP, newest=SDP)
    assert (first.timer, first.relay, first.said) == (None, None, ())

    fixture.run(1.0)
    fixture.m1.reply(invite, 180, ["Call-Origin: gw1;x;2;n=3"])
    fixture.take(180)
    assert told(fixture, invite.from_tag) == [], "it is gathered for a second"
    fixture.run(1.5)
    expected = first._replace(invited=2.0, rang=1.0, passed=(2, 3))
    assert told(fixture, invite.from_tag) == [expected], "the INVITE to servers is the one that is under way"

    fixture.m1.reply(invite, 200, [TYPE], ANSWER)
    fixture.take(200)
    fixture.run(0.5)
    fixture.request("ACK", to_tag="srvtag")
    ack = fixture.m1.take("ACK")
    assert order(ack) == ["7", "3"]
    assert said(ack) == expected._replace(
        invited=3.0,
        rang=2.0,
        answered=0.5,
        dialogs=(DeviceDialog(dialog._replace(local_tag="srvtag"), CARRIER),),
        asked=b"",
        sent=None,
        device=OfferAnswerState(AGREED, ANSWER, SDP, newest=ANSWER),
        server=OfferAnswerState(AGREED, SDP, ANSWER, newest=SDP),
        standing=SDP,
    )


def test_a_call_to_a_device_is_told_from_its_first_response_to_its_answer() -> None:
    fixture = fixture_of()
    invite = called(fixture)
    fixture.run(0.25)
    fixture.reply(invite, 180)
    ringing: Response = fixture.m1.take(180)
    first = said(ringing)
    assert (first.direction, first.line, first.channel, first.number) == ("out", "trunk1", 1, "+33155")
    assert (first.invited, first.rang, first.answered) == (0.25, 0.0, None)
    assert (first.origin, first.responses, first.awaited, first.served) == ("gw2;z9hG4bKo;1", 1, "", 1)
    dialog = first.dialogs[0].dialog
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag) == (invite.call_id, invite.from_tag, "devtag")
    assert (dialog.local_cseq, dialog.remote_cseq, dialog.direction) == (invite.cseq, 0, UAC)
    pending = PendingInvite(invite.branch, 1, True)
    assert first.dialogs == (DeviceDialog(dialog, CARRIER, "sip:+33166@127.0.0.21:5060", pending),)
    assert (first.asked, first.sent) == (b"", None)
    assert first.device == OfferAnswerState(LOCAL_OFFER, next_local=SDP, newest=SDP)
    assert first.server == OfferAnswerState(REMOTE_OFFER, next_remote=SDP)

    fixture.run(0.5)
    fixture.reply(invite, 200, [TYPE], ANSWER)
    ok: Response = fixture.m1.take(200)
    assert order(ok) == ["7", "2"]
    assert said(ok) == first._replace(
        invited=0.75,
        rang=0.5,
        answered=0.0,
        responses=0,
        awaited="gw2;z9hG4bKo;1",
        dialogs=(DeviceDialog(dialog, CARRIER),),
        device=OfferAnswerState(AGREED, SDP, ANSWER, newest=SDP),
        server=OfferAnswerState(AGREED, ANSWER, SDP, newest=ANSWER),
        standing=ANSWER,
        host="127.0.0.21",
    )


def test_an_invite_to_a_device_of_which_nothing_was_heard_is_to_be_sent_again() -> None:
    fixture = fixture_of()
    invite = called(fixture)
    fixture.m1.subscribe()  # tells all line states behind the list
    (state,) = told(fixture, "srv")
    assert state.dialogs[0].invite == PendingInvite(invite.branch, 1, False)
    assert state.responses == 0 and state.rang is None


def test_requests_that_a_server_has_sent_are_counted() -> None:
    fixture = fixture_of()
    _, ok = fixture.answered_out()
    fixture.m1.request("INFO", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=5)
    fixture.take("INFO")
    fixture.m1.subscribe()
    (state,) = told(fixture, "srv")
    assert state.served == 5 and state.dialogs[0].dialog.local_cseq == 2


def test_a_change_that_a_device_asks_for_is_told_with_its_invite_until_it_is_given_up() -> None:
    fixture = fixture_of()
    opening, _ = fixture.answered_in()
    fixture.request("INVITE", body=ANSWER, to_tag="srvtag", cseq=2, branch="z9hG4bKagain")
    fixture.take(100)
    invite: Request = fixture.m1.take("INVITE")
    sent = SentInvite(invite.branch, invite.cseq, True)
    first = said(invite)
    assert first.sent == sent and b"CSeq: 2 INVITE" in first.asked and first.answered == 0.0
    fixture.request("INFO", to_tag="srvtag", cseq=3)
    fixture.m1.take("INFO")
    fixture.m1.subscribe()
    assert [one.sent for one in told(fixture, opening.from_tag)] == [sent]
    fixture.request("CANCEL", to_tag="srvtag", cseq=2, branch="z9hG4bKagain")
    fixture.m1.subscribe()
    (state,) = told(fixture, opening.from_tag)
    assert state.sent is None and state.asked, "its device still waits for the answer to it"


def test_a_session_timer_is_told() -> None:
    fixture = fixture_of()
    fixture.request("INVITE", body=SDP, lines=["Supported: timer", "Session-Expires: 1800;refresher=uac"])
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, [TYPE], ANSWER)
    fixture.take(200)
    fixture.run(10.0)
    fixture.request("ACK", to_tag="srvtag")
    timer = said(fixture.m1.take("ACK")).timer
    assert timer is not None and (timer.interval, timer.ours, timer.refresh_in) == (1800, False, 890.0)


def test_nothing_is_said_to_a_server_that_keeps_nothing() -> None:
    fixture = AgentFixture()
    invite, _ = fixture.answered_in()
    assert "line-state" not in invite
    fixture.m1.list = []
    call = fixture.core.table.by_call_id[invite.call_id]
    fixture.core.line_states.changed(call, fixture.now, True)
    fixture.run(2.0)
    assert fixture.m1.list == []


def test_nothing_is_said_of_a_call_that_is_over() -> None:
    fixture = fixture_of()
    invite, _ = fixture.answered_in()
    call, states = fixture.core.table.by_call_id[invite.call_id], fixture.core.line_states
    assert len(states.lines(call, fixture.now)) == 1
    fixture.m1.list = []
    states.changed(call, fixture.now, True)
    fixture.run(2.0)
    assert len(told(fixture, invite.from_tag)) == 1
    fixture.request("BYE", to_tag="srvtag", cseq=2)
    fixture.m1.list = []
    states.changed(call, fixture.now, True)
    fixture.run(0.1)
    assert states.lines(call, fixture.now) == () and told(fixture, invite.from_tag) == []


def test_only_calls_have_a_line_state_and_nothing_is_said_before_a_server_has_taken_the_agent() -> None:
    states = LineStates("paris", "gw1", 7, lambda: KEY)
    assert not states.kept
    states.kept = True
    states.tell = lambda call, now, at_once: pytest.fail("that is no call")
    assert states.lines(object(), 1.0) == ()
    states.changed(object(), 1.0)


def test_the_devices_of_a_line_are_told_and_that_there_are_none_any_more() -> None:
    fixture = fixture_of()
    assert "line-state" not in {name for one in fixture.m1.list for name in one}
    bound = registration_state.bound_to("paris", "gw1", "alice")

    def register(expires: int, cseq: int) -> list[str]:
        fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": AOR, "call_id": "r"}
        lines = [f"Expires: {expires}"]
        fixture.request("REGISTER", "sip:paris", lines, cseq=cseq, **fields)
        proof = proved(fixture, fixture.take(401, ALICE), "REGISTER", "sip:paris")
        fixture.request("REGISTER", "sip:paris", [*lines, proof], cseq=cseq + 1, **fields)
        fixture.take(200, ALICE)
        texts = [one["line-state"] for one in fixture.m1.list if one.get("line") == "alice"]
        assert [text.split(".")[1:3] for text in texts] == [["7", str(cseq // 2 + 1)]], json.dumps(texts)
        return [one.contact for one in registration_state.decode(texts[0], bound, [KEY])]

    assert register(600, 1) == ["<sip:127.0.0.31:5062>"]
    assert register(0, 3) == []
    line = fixture.core.lines["alice"]
    assert fixture.core.line_states.record(line, fixture.now).line_state, "servers keep something of it"
    line.closed = "by an order"
    assert fixture.core.line_states.record(line, fixture.now).line_state == ""


def test_devices_are_not_told_to_a_server_that_keeps_nothing() -> None:
    fixture = AgentFixture()
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": AOR, "call_id": "r"}
    fixture.request("REGISTER", "sip:paris", **fields)
    proof = proved(fixture, fixture.take(401, ALICE), "REGISTER", "sip:paris")
    fixture.request("REGISTER", "sip:paris", [proof], cseq=2, **fields)
    fixture.take(200, ALICE)
    assert [one.get("line-state") for one in fixture.m1.list if one.get("line") == "alice"] == [None]
