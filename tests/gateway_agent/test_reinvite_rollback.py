"""Re-INVITEs at an agent: CANCEL both ways, changes that were given up too late, and ACKs that do not come."""

from __future__ import annotations

import pytest

from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture

HOLD = SDP.replace(b"sendrecv", b"sendonly")
HELD = SDP.replace(b"sendrecv", b"recvonly")
TYPE = ["Content-Type: application/sdp"]


def changing(fixture: AgentFixture, invite: Request, body: bytes = HOLD, cseq: int = 2) -> tuple[str, Request]:
    """The device asks for a change: the branch of its re-INVITE, and what the server got."""
    branch = fixture.request("INVITE", to_tag="srvtag", cseq=cseq, body=body)
    fixture.take(100)
    return branch, fixture.m1.take("INVITE")


def asked(
    fixture: AgentFixture, invite: Request, body: bytes = HOLD, cseq: int = 1, origin: str = "gw2;z9hG4bKr;1"
) -> str:
    """The server asks the device of an incoming call for a change; the branch of its re-INVITE."""
    return fixture.m1.request(
        "INVITE", "sip:gw1", body=body, call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag,
        cseq=cseq, origin=origin,
    )  # fmt: skip


def nothing_under_way(fixture: AgentFixture) -> None:
    for call in fixture.core.calls.values():
        assert not call.sent and not call.received
        for leg in (call.server, call.device):
            assert leg is not None and leg.client_invite.pending is None and leg.server_invite.pending is None


# -- CANCEL of a re-INVITE -------------------------------------------------------------------------------------------


def test_a_device_s_cancel_is_passed_on_and_the_far_side_s_answer_is_the_answer() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    branch, again = changing(fixture, invite)
    fixture.m1.reply(again, 100)
    fixture.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    fixture.take(200)
    assert fixture.silent()
    cancel = fixture.m1.take("CANCEL")
    assert cancel.branch == again.branch
    fixture.m1.reply(cancel, 200)
    fixture.m1.reply(again, 487)
    fixture.m1.take("ACK")
    fixture.take(487)
    nothing_under_way(fixture)


def test_a_cancel_waits_for_a_word_of_the_server_and_the_device_no_longer_than_it_must() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    branch, again = changing(fixture, invite)
    fixture.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    fixture.take(200)
    fixture.run(8.1)
    fixture.take(487)
    fixture.request("ACK", branch=branch, to_tag=tag, cseq=2)
    [call] = fixture.core.calls.values()
    assert call.sent and call.sent[0].cancelled
    fixture.m1.reply(again, 100)
    fixture.m1.take("CANCEL")
    fixture.m1.reply(again, 487)
    fixture.m1.take("ACK")
    nothing_under_way(fixture)


def test_a_cancel_of_what_no_server_knows_is_the_end_of_it() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.kill(fixture.m1)
    branch = fixture.request("INVITE", to_tag=tag, cseq=2, body=HOLD)
    fixture.take(100)
    fixture.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    fixture.take(200)
    fixture.take(487)
    nothing_under_way(fixture)


def test_a_device_that_was_called_can_cancel_its_re_invite_too() -> None:
    fixture = AgentFixture()
    invite, _ = fixture.answered_out()
    more = {
        "call_id": invite.call_id,
        "from_tag": "devtag",
        "to_tag": invite.from_tag,
        "sender": invite.get("to") or "",
        "recipient": (invite.get("from") or "").partition(";tag=")[0],
    }
    branch = fixture.request("INVITE", cseq=5, body=HOLD, **more)
    fixture.take(100)
    again = fixture.m1.take("INVITE")
    fixture.m1.reply(again, 100)
    fixture.request("CANCEL", branch=branch, cseq=5, **more)
    fixture.take(200)
    fixture.m1.take("CANCEL")
    fixture.m1.reply(again, 487)
    fixture.m1.take("ACK")
    fixture.take(487)
    nothing_under_way(fixture)


def test_a_server_s_cancel_reaches_the_device_and_nothing_of_its_own() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    branch = asked(fixture, invite)
    fixture.m1.take(100)
    again = fixture.take("INVITE")
    fixture.reply(again, 100)
    fixture.m1.request(
        "CANCEL", "sip:gw1", branch=branch, call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag
    )
    fixture.m1.take(200)
    cancel = fixture.take("CANCEL")
    assert cancel.branch == again.branch
    fixture.reply(cancel, 200)
    fixture.reply(again, 487)
    fixture.take("ACK")
    fixture.m1.take(487)
    nothing_under_way(fixture)


def test_a_device_that_does_not_answer_a_cancel_keeps_its_call() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    branch = asked(fixture, invite)
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 100)
    fixture.m1.request(
        "CANCEL", "sip:gw1", branch=branch, call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag
    )
    fixture.m1.take(200)
    fixture.run(33)
    fixture.m1.take(487)
    assert len(fixture.core.calls) == 1 and not fixture.m1.inbox
    nothing_under_way(fixture)


def test_a_cancel_of_an_invite_that_keeps_its_distance_from_an_ack() -> None:
    fixture = AgentFixture()
    uri = "sip:+33166@gw1;line=trunk1"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP)
    ok = fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    branch = fixture.m1.request(
        "INVITE", "sip:gw1", body=HOLD, call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;r;1"
    )
    fixture.m1.take(100)
    fixture.m1.request("CANCEL", "sip:gw1", branch=branch, call_id="s-1", to_tag=ok.to_tag, cseq=2)
    fixture.m1.take(200)
    fixture.m1.take(487)
    fixture.take("ACK")
    fixture.run(1)
    assert fixture.silent()
    nothing_under_way(fixture)


def test_a_bye_of_the_server_answers_its_re_invite_whatever_the_device_says() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    asked(fixture, invite)
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 100)
    fixture.m1.request("BYE", "sip:gw1", call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag, cseq=2)
    fixture.m1.take(487)
    fixture.reply(fixture.take("BYE"), 200)
    fixture.m1.take(200)
    assert not fixture.core.calls


# -- given up here, accepted there -----------------------------------------------------------------------------------


def given_up(fixture: AgentFixture, body: bytes = HOLD) -> Request:
    """A change that no server answered in time: the device was told 500, the server has it."""
    invite, tag = fixture.answered_in()
    branch, again = changing(fixture, invite, body)
    fixture.run(8.1)
    assert fixture.take(500).get("retry-after") == "5"
    fixture.request("ACK", branch=branch, to_tag=tag, cseq=2)
    return again


def test_a_change_that_comes_about_after_the_device_gave_it_up_is_undone() -> None:
    fixture = AgentFixture()
    again = given_up(fixture)
    fixture.m1.reply(again, 200, TYPE, HELD)
    fixture.m1.take("ACK")
    undo = fixture.m1.take("INVITE")
    assert undo.body == SDP.replace(b"o=- 1 1", b"o=- 1 2"), "what the device stands by, as the next version"
    assert undo.cseq > again.cseq
    fixture.m1.reply(undo, 200, TYPE, SDP)
    fixture.m1.take("ACK")
    [call] = fixture.core.calls.values()
    assert fixture.silent() and call.description.held == "none"
    nothing_under_way(fixture)


def test_a_change_that_came_to_nothing_there_too_needs_nothing() -> None:
    fixture = AgentFixture()
    again = given_up(fixture)
    fixture.m1.reply(again, 488)
    fixture.m1.take("ACK")
    fixture.run(60)
    assert fixture.silent() and not fixture.m1.inbox
    nothing_under_way(fixture)


def test_an_undoing_that_meets_a_re_invite_waits_as_the_standard_says() -> None:
    fixture = AgentFixture()
    again = given_up(fixture)
    fixture.m1.reply(again, 200, TYPE, HELD)
    fixture.m1.take("ACK")
    fixture.m1.reply(fixture.m1.take("INVITE"), 491)
    fixture.m1.take("ACK")
    fixture.run(2.0)
    assert not fixture.m1.inbox, "the Call-ID is ours: 2.1 to 4 s (RFC 3261 section 14.1)"
    fixture.run(2.1)
    fixture.m1.reply(fixture.m1.take("INVITE"), 500, ["Retry-After: 7"])
    fixture.m1.take("ACK")
    fixture.run(6.9)
    assert not fixture.m1.inbox
    fixture.run(0.2)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, TYPE, SDP)
    fixture.m1.take("ACK")
    fixture.run(60)
    assert not fixture.m1.inbox
    nothing_under_way(fixture)


def test_an_undoing_that_is_refused_for_good_is_given_up() -> None:
    fixture = AgentFixture()
    again = given_up(fixture)
    fixture.m1.reply(again, 200, TYPE, HELD)
    fixture.m1.take("ACK")
    fixture.m1.reply(fixture.m1.take("INVITE"), 488)
    fixture.m1.take("ACK")
    fixture.run(60)
    assert not fixture.m1.inbox and len(fixture.core.calls) == 1
    nothing_under_way(fixture)


def test_the_next_change_of_the_device_makes_an_undoing_needless() -> None:
    fixture = AgentFixture()
    again = given_up(fixture)
    fixture.m1.reply(again, 200, TYPE, HELD)
    fixture.m1.take("ACK")
    fixture.m1.reply(fixture.m1.take("INVITE"), 491)
    fixture.m1.take("ACK")
    fixture.request("INVITE", to_tag="srvtag", cseq=3, body=HOLD)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, TYPE, HELD)
    fixture.take(200)
    fixture.request("ACK", to_tag="srvtag", cseq=3)
    fixture.m1.take("ACK")
    fixture.run(10)
    assert not fixture.m1.inbox
    nothing_under_way(fixture)


def test_an_offer_that_comes_too_late_is_answered_with_what_the_device_stands_by() -> None:
    fixture = AgentFixture()
    again = given_up(fixture, b"")
    fixture.m1.reply(again, 200, TYPE, SDP)
    ack = fixture.m1.take("ACK")
    assert ack.body == SDP and ack.get("content-type") == "application/sdp"
    assert not fixture.m1.inbox
    nothing_under_way(fixture)


def test_a_change_that_was_refused_is_no_refresh_when_it_is_asked_for_again() -> None:
    fixture = AgentFixture("session_timer = { expires = 100, min_se = 90 }")
    invite, tag = fixture.answered_in()
    branch, again = changing(fixture, invite)
    fixture.m1.reply(again, 491)
    fixture.m1.take("ACK")
    fixture.take(491)
    fixture.request("ACK", branch=branch, to_tag=tag, cseq=2)
    _, again = changing(fixture, invite, cseq=3)
    assert again.body == HOLD, "the far side has not heard of it"


# -- ACKs that do not come -------------------------------------------------------------------------------------------


def test_a_device_is_acknowledged_when_the_path_to_the_servers_is_cut() -> None:
    fixture = AgentFixture()
    uri = "sip:+33166@gw1;line=trunk1"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP)
    ok = fixture.m1.take(200)
    fixture.run(15.9)
    assert fixture.silent()
    fixture.run(1.1)
    assert not fixture.take("ACK").body
    fixture.run(60)
    assert len(fixture.core.calls) == 1 and fixture.silent()
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    assert fixture.silent(), "it has its ACK"
    [call] = fixture.core.calls.values()
    assert call.server is not None and not call.server.server_invite.awaits_ack


def test_the_offer_in_a_new_call_s_2xx_has_no_answer_but_the_far_end_s() -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP)
    fixture.run(40)
    assert fixture.silent()


@pytest.mark.parametrize("body", [HOLD, b""])
def test_so_is_one_whose_re_invite_was_carried_out(body: bytes) -> None:
    fixture = AgentFixture()
    invite, _ = fixture.answered_in()
    asked(fixture, invite, body)
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, HELD)
    fixture.m1.take(200)
    fixture.run(17)
    ack = fixture.take("ACK")
    # an offer is answered with what the device knows of the far end
    assert ack.body == (b"" if body else SDP)


def test_an_ack_in_time_is_all_there_is() -> None:
    fixture = AgentFixture(text=SITE)
    fixture.answered_out()
    fixture.run(60)
    assert fixture.silent() and fixture.core.counters["acknowledged alone"] == 0
