"""Re-INVITEs at an agent: CANCEL both ways, changes that were given up too late, and ACKs that do not come."""

from __future__ import annotations

import pytest

from sip.wire.message import Request
from tests.gateway_agent.bed import SDP, SITE, Bed

HOLD = SDP.replace(b"sendrecv", b"sendonly")
HELD = SDP.replace(b"sendrecv", b"recvonly")
TYPE = ["Content-Type: application/sdp"]


def changing(bed: Bed, invite: Request, body: bytes = HOLD, cseq: int = 2) -> tuple[str, Request]:
    """The device asks for a change: the branch of its re-INVITE, and what the server got."""
    branch = bed.request("INVITE", to_tag="srvtag", cseq=cseq, body=body)
    bed.take(100)
    return branch, bed.m1.take("INVITE")


def asked(bed: Bed, invite: Request, body: bytes = HOLD, cseq: int = 1, origin: str = "gw2;z9hG4bKr;1") -> str:
    """The server asks the device of an incoming call for a change; the branch of its re-INVITE."""
    return bed.m1.request(
        "INVITE", "sip:gw1", body=body, call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag,
        cseq=cseq, origin=origin,
    )  # fmt: skip


def nothing_under_way(bed: Bed) -> None:
    for call in bed.core.calls.values():
        assert not call.sent and not call.received
        for leg in (call.server, call.device):
            assert leg is not None and leg.pending_client_invite is None and leg.pending_server_invite is None


# -- CANCEL of a re-INVITE -------------------------------------------------------------------------------------------


def test_a_device_s_cancel_is_passed_on_and_the_far_side_s_answer_is_the_answer() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    branch, again = changing(bed, invite)
    bed.m1.reply(again, 100)
    bed.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    bed.take(200)
    assert bed.silent()
    cancel = bed.m1.take("CANCEL")
    assert cancel.branch == again.branch
    bed.m1.reply(cancel, 200)
    bed.m1.reply(again, 487)
    bed.m1.take("ACK")
    bed.take(487)
    nothing_under_way(bed)


def test_a_cancel_waits_for_a_word_of_the_server_and_the_device_no_longer_than_it_must() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    branch, again = changing(bed, invite)
    bed.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    bed.take(200)
    bed.run(8.1)
    bed.take(487)
    bed.request("ACK", branch=branch, to_tag=tag, cseq=2)
    [call] = bed.core.calls.values()
    assert call.sent and call.sent[0].cancelled
    bed.m1.reply(again, 100)
    bed.m1.take("CANCEL")
    bed.m1.reply(again, 487)
    bed.m1.take("ACK")
    nothing_under_way(bed)


def test_a_cancel_of_what_no_server_knows_is_the_end_of_it() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    bed.kill(bed.m1)
    branch = bed.request("INVITE", to_tag=tag, cseq=2, body=HOLD)
    bed.take(100)
    bed.request("CANCEL", branch=branch, cseq=2, to_tag=tag)
    bed.take(200)
    bed.take(487)
    nothing_under_way(bed)


def test_a_device_that_was_called_can_cancel_its_re_invite_too() -> None:
    bed = Bed()
    invite, _ = bed.answered_out()
    more = {
        "call_id": invite.call_id,
        "from_tag": "devtag",
        "to_tag": invite.from_tag,
        "sender": invite.get("to") or "",
        "recipient": (invite.get("from") or "").partition(";tag=")[0],
    }
    branch = bed.request("INVITE", cseq=5, body=HOLD, **more)
    bed.take(100)
    again = bed.m1.take("INVITE")
    bed.m1.reply(again, 100)
    bed.request("CANCEL", branch=branch, cseq=5, **more)
    bed.take(200)
    bed.m1.take("CANCEL")
    bed.m1.reply(again, 487)
    bed.m1.take("ACK")
    bed.take(487)
    nothing_under_way(bed)


def test_a_server_s_cancel_reaches_the_device_and_nothing_of_its_own() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    branch = asked(bed, invite)
    bed.m1.take(100)
    again = bed.take("INVITE")
    bed.reply(again, 100)
    bed.m1.request("CANCEL", "sip:gw1", branch=branch, call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag)
    bed.m1.take(200)
    cancel = bed.take("CANCEL")
    assert cancel.branch == again.branch
    bed.reply(cancel, 200)
    bed.reply(again, 487)
    bed.take("ACK")
    bed.m1.take(487)
    nothing_under_way(bed)


def test_a_device_that_does_not_answer_a_cancel_keeps_its_call() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    branch = asked(bed, invite)
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 100)
    bed.m1.request("CANCEL", "sip:gw1", branch=branch, call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag)
    bed.m1.take(200)
    bed.run(33)
    bed.m1.take(487)
    assert len(bed.core.calls) == 1 and not bed.m1.inbox
    nothing_under_way(bed)


def test_a_cancel_of_an_invite_that_keeps_its_distance_from_an_ack() -> None:
    bed = Bed()
    uri = "sip:+33166@gw1;line=trunk1"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 200, TYPE, SDP)
    ok = bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    branch = bed.m1.request("INVITE", "sip:gw1", body=HOLD, call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;r;1")
    bed.m1.take(100)
    bed.m1.request("CANCEL", "sip:gw1", branch=branch, call_id="s-1", to_tag=ok.to_tag, cseq=2)
    bed.m1.take(200)
    bed.m1.take(487)
    bed.take("ACK")
    bed.run(1)
    assert bed.silent()
    nothing_under_way(bed)


def test_a_bye_of_the_server_answers_its_re_invite_whatever_the_device_says() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    asked(bed, invite)
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 100)
    bed.m1.request("BYE", "sip:gw1", call_id=invite.call_id, from_tag=tag, to_tag=invite.from_tag, cseq=2)
    bed.m1.take(487)
    bed.reply(bed.take("BYE"), 200)
    bed.m1.take(200)
    assert not bed.core.calls


# -- given up here, accepted there -----------------------------------------------------------------------------------


def given_up(bed: Bed, body: bytes = HOLD) -> Request:
    """A change that no server answered in time: the device was told 500, the server has it."""
    invite, tag = bed.answered_in()
    branch, again = changing(bed, invite, body)
    bed.run(8.1)
    assert bed.take(500).get("retry-after") == "5"
    bed.request("ACK", branch=branch, to_tag=tag, cseq=2)
    return again


def test_a_change_that_comes_about_after_the_device_gave_it_up_is_undone() -> None:
    bed = Bed()
    again = given_up(bed)
    bed.m1.reply(again, 200, TYPE, HELD)
    bed.m1.take("ACK")
    undo = bed.m1.take("INVITE")
    assert undo.body == SDP.replace(b"o=- 1 1", b"o=- 1 2"), "what the device stands by, as the next version"
    assert undo.cseq > again.cseq
    bed.m1.reply(undo, 200, TYPE, SDP)
    bed.m1.take("ACK")
    [call] = bed.core.calls.values()
    assert bed.silent() and call.description.held == "none"
    nothing_under_way(bed)


def test_a_change_that_came_to_nothing_there_too_needs_nothing() -> None:
    bed = Bed()
    again = given_up(bed)
    bed.m1.reply(again, 488)
    bed.m1.take("ACK")
    bed.run(60)
    assert bed.silent() and not bed.m1.inbox
    nothing_under_way(bed)


def test_an_undoing_that_meets_a_re_invite_waits_as_the_standard_says() -> None:
    bed = Bed()
    again = given_up(bed)
    bed.m1.reply(again, 200, TYPE, HELD)
    bed.m1.take("ACK")
    bed.m1.reply(bed.m1.take("INVITE"), 491)
    bed.m1.take("ACK")
    bed.run(2.0)
    assert not bed.m1.inbox, "the Call-ID is ours: 2.1 to 4 s (RFC 3261 section 14.1)"
    bed.run(2.1)
    bed.m1.reply(bed.m1.take("INVITE"), 500, ["Retry-After: 7"])
    bed.m1.take("ACK")
    bed.run(6.9)
    assert not bed.m1.inbox
    bed.run(0.2)
    bed.m1.reply(bed.m1.take("INVITE"), 200, TYPE, SDP)
    bed.m1.take("ACK")
    bed.run(60)
    assert not bed.m1.inbox
    nothing_under_way(bed)


def test_an_undoing_that_is_refused_for_good_is_given_up() -> None:
    bed = Bed()
    again = given_up(bed)
    bed.m1.reply(again, 200, TYPE, HELD)
    bed.m1.take("ACK")
    bed.m1.reply(bed.m1.take("INVITE"), 488)
    bed.m1.take("ACK")
    bed.run(60)
    assert not bed.m1.inbox and len(bed.core.calls) == 1
    nothing_under_way(bed)


def test_the_next_change_of_the_device_makes_an_undoing_needless() -> None:
    bed = Bed()
    again = given_up(bed)
    bed.m1.reply(again, 200, TYPE, HELD)
    bed.m1.take("ACK")
    bed.m1.reply(bed.m1.take("INVITE"), 491)
    bed.m1.take("ACK")
    bed.request("INVITE", to_tag="srvtag", cseq=3, body=HOLD)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 200, TYPE, HELD)
    bed.take(200)
    bed.request("ACK", to_tag="srvtag", cseq=3)
    bed.m1.take("ACK")
    bed.run(10)
    assert not bed.m1.inbox
    nothing_under_way(bed)


def test_an_offer_that_comes_too_late_is_answered_with_what_the_device_stands_by() -> None:
    bed = Bed()
    again = given_up(bed, b"")
    bed.m1.reply(again, 200, TYPE, SDP)
    ack = bed.m1.take("ACK")
    assert ack.body == SDP and ack.get("content-type") == "application/sdp"
    assert not bed.m1.inbox
    nothing_under_way(bed)


def test_a_change_that_was_refused_is_no_refresh_when_it_is_asked_for_again() -> None:
    bed = Bed("session_timer = { expires = 100, min_se = 90 }")
    invite, tag = bed.answered_in()
    branch, again = changing(bed, invite)
    bed.m1.reply(again, 491)
    bed.m1.take("ACK")
    bed.take(491)
    bed.request("ACK", branch=branch, to_tag=tag, cseq=2)
    _, again = changing(bed, invite, cseq=3)
    assert again.body == HOLD, "the far side has not heard of it"


# -- ACKs that do not come -------------------------------------------------------------------------------------------


def test_a_device_is_acknowledged_when_the_path_to_the_servers_is_cut() -> None:
    bed = Bed()
    uri = "sip:+33166@gw1;line=trunk1"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 200, TYPE, SDP)
    ok = bed.m1.take(200)
    bed.run(15.9)
    assert bed.silent()
    bed.run(1.1)
    assert not bed.take("ACK").body
    bed.run(60)
    assert len(bed.core.calls) == 1 and bed.silent()
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    assert bed.silent(), "it has its ACK"
    [call] = bed.core.calls.values()
    assert call.server is not None and not call.server.success.awaited


def test_the_offer_in_a_new_call_s_2xx_has_no_answer_but_the_far_end_s() -> None:
    bed = Bed()
    bed.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 200, TYPE, SDP)
    bed.run(40)
    assert bed.silent()


@pytest.mark.parametrize("body", [HOLD, b""])
def test_so_is_one_whose_re_invite_was_carried_out(body: bytes) -> None:
    bed = Bed()
    invite, _ = bed.answered_in()
    asked(bed, invite, body)
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 200, TYPE, HELD)
    bed.m1.take(200)
    bed.run(17)
    ack = bed.take("ACK")
    # an offer is answered with what the device knows of the far end
    assert ack.body == (b"" if body else SDP)


def test_an_ack_in_time_is_all_there_is() -> None:
    bed = Bed(text=SITE)
    bed.answered_out()
    bed.run(60)
    assert bed.silent() and bed.core.counters["acknowledged alone"] == 0
