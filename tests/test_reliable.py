"""Reliable provisional responses (RFC 3262) and UPDATE (RFC 3311), whoever owns the trunk, an agent or a server."""

from __future__ import annotations

from typing import Any

import pytest

from sip.wire.message import Request, Response
from tests.device_rigs import ACCOUNT, TYPE, AgentRig, ServerRig
from tests.gateway_agent.agent_fixture import SDP

OTHER = SDP.replace(b"- 1 1", b"- 1 2").replace(b"4000", b"4002")
HOLD = SDP.replace(b"sendrecv", b"sendonly").replace(b"- 1 1", b"- 1 2")
REL = ["Require: 100rel", "RSeq: 7"]

owners = pytest.mark.parametrize("make", [AgentRig, ServerRig], ids=["agent", "server"])


def ring(rig: Any, lines: list[str], body: bytes = SDP, call: bytes = SDP, more: list[str] | None = None) -> Request:
    """The device is called and says 183; its INVITE."""
    rig.far_calls(call, lines=more or [])
    rig.far_takes(100)
    invite: Request = rig.take("INVITE")
    rig.reply(invite, 183, [*lines, TYPE] if body else lines, body)
    return invite


def rack_of(prack: Request) -> str:
    return prack.get("rack") or ""


def prack(rig: Any, response: Response, cseq: int = 2, body: bytes = b"") -> None:
    """The calling device acknowledges what came reliably."""
    assert response.get("require") == "100rel", response.to_bytes()
    lines = [f"RAck: {response.get('rseq')} {response.cseq} INVITE"]
    rig.request("PRACK", lines=lines, body=body, to_tag=response.to_tag, cseq=cseq)


def invited(rig: Any, lines: list[str], body: bytes = SDP) -> Request:
    """The device calls; the INVITE on the other side."""
    rig.request("INVITE", lines=lines, body=body)
    rig.take(100)
    taken: Request = rig.far_takes("INVITE")
    return taken


def early_answer(rig: Any, lines: list[str]) -> Response:
    """The device calls; the 183 that it gets, which came reliably and with the answer."""
    invited(rig, lines)
    rig.far_replies(183, [*REL, TYPE], SDP)
    early: Response = rig.take(183)
    rig.far_serves_prack()
    return early


# -- the device is called


@owners
def test_a_reliable_response_is_acknowledged_on_its_hop_and_goes_on_plainly(make: Any) -> None:
    rig = make()
    invite = ring(rig, REL)
    assert "100rel" in (invite.get("supported") or "")
    acknowledged = rig.take("PRACK")
    assert rack_of(acknowledged) == f"7 {invite.cseq} INVITE" and not acknowledged.body
    assert acknowledged.uri == "sip:127.0.0.21:5060" and acknowledged.to_tag == "devtag"
    rig.reply(acknowledged, 200)
    assert rig.far_takes(183).body
    rig.reply(invite, 200)  # the answer was in the 183
    assert rig.far_takes(200).cseq_method == "INVITE"


@owners
def test_a_response_that_comes_again_is_neither_acknowledged_nor_told_twice(make: Any) -> None:
    rig = make()
    invite = ring(rig, REL)
    rig.reply(rig.take("PRACK"), 200)
    rig.far_takes(183)
    rig.reply(invite, 183, [*REL, TYPE], SDP)
    rig.reply(invite, 180, ["Require: 100rel", "RSeq: 9"])  # one before it is missing
    assert rig.silent() and rig.far_hears_nothing()
    rig.reply(invite, 180, ["Require: 100rel", "RSeq: 8"])
    assert rack_of(rig.take("PRACK")).startswith("8 ")
    rig.far_takes(180)


@owners
def test_several_in_a_row_are_each_acknowledged_and_a_plain_one_behind_them_is_not(make: Any) -> None:
    rig = make()
    rig.far_calls()
    invite = rig.take("INVITE")
    for number, status in ((11, 181), (12, 180), (13, 183)):
        lines, body = ([TYPE], SDP) if status == 183 else ([], b"")
        rig.reply(invite, status, ["Require: 100rel", f"RSeq: {number}", *lines], body)
        prack = rig.take("PRACK")
        assert prack.get("rack") == f"{number} {invite.cseq} INVITE"
        rig.reply(prack, 200)
    rig.reply(invite, 180)
    assert rig.silent() and [one for one in rig.far_forgets() if one > 100] == [181, 180, 183, 180]


@owners
def test_a_prack_that_is_challenged_goes_again_into_its_early_dialog(make: Any) -> None:
    rig = make(ACCOUNT)
    register = rig.take("REGISTER")
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600"])
    rig.far_calls()
    invite = rig.take("INVITE")
    rig.reply(invite, 183, ["Require: 100rel", "RSeq: 7", TYPE], SDP)
    prack = rig.take("PRACK")
    rig.reply(prack, 407, ['Proxy-Authenticate: Digest realm="c", nonce="n", qop="auth"'])
    again = rig.take("PRACK")
    assert (again.to_tag, again.get("rack"), again.cseq) == ("devtag", prack.get("rack"), prack.cseq + 1)
    assert 'username="u"' in again.get("proxy-authorization")
    rig.reply(again, 200)
    assert rig.silent()


@owners
def test_each_fork_counts_for_itself(make: Any) -> None:
    rig = make()
    invite = ring(rig, REL)
    rig.reply(rig.take("PRACK"), 200)
    rig.reply(invite, 183, ["Require: 100rel", "RSeq: 90", TYPE], OTHER, tag="other")
    second = rig.take("PRACK")
    assert rack_of(second).startswith("90 ") and second.to_tag == "other"


@owners
def test_a_line_without_them_says_nothing_of_them(make: Any) -> None:
    rig = make('reliable = "no"')
    rig.far_calls(lines=["Supported: 100rel"])
    rig.far_takes(100)
    invite = rig.take("INVITE")
    assert "100rel" not in f"{invite.get('supported')} {invite.get('require')}"


@owners
def test_a_line_may_require_them_of_who_is_called(make: Any) -> None:
    rig = make('reliable = "required"')
    rig.far_calls()
    rig.far_takes(100)
    assert rig.take("INVITE").get("require") == "100rel"


@owners
def test_who_is_called_without_an_offer_makes_none_early_unless_the_caller_can_answer_it(make: Any) -> None:
    rig = make()
    rig.far_calls(b"")
    rig.far_takes(100)
    assert "100rel" not in (rig.take("INVITE").get("supported") or "")


@owners
def test_an_offer_in_a_provisional_response_has_its_answer_in_a_prack(make: Any) -> None:
    rig = make()
    invite = ring(rig, REL, call=b"", more=["Supported: 100rel"])
    assert "100rel" in (invite.get("supported") or "")
    early = rig.far_takes(183)
    assert early.body and early.get("require") == "100rel"
    assert rig.silent()
    rig.far_pracks(early, OTHER)
    acknowledged = rig.take("PRACK")
    assert rack_of(acknowledged) == f"7 {invite.cseq} INVITE" and b"4002" in acknowledged.body
    rig.reply(acknowledged, 200)
    assert rig.far_takes(200).cseq_method == "PRACK"
    rig.reply(invite, 200)
    assert not rig.far_takes(200).body


# -- the device calls


@owners
def test_a_device_that_requires_it_gets_what_is_plain_reliably(make: Any) -> None:
    rig = make()
    invited(rig, ["Require: 100rel"])
    rig.far_replies(180)
    first = rig.take(180)
    number = int(first.get("rseq") or 0)
    assert 0 < number < 2**31
    rig.run(0.55)
    assert rig.take(180).get("rseq") == str(number)
    rig.run(1.05)
    assert rig.take(180).get("rseq") == str(number)
    rig.far_replies(183, [TYPE], SDP)
    assert rig.silent()  # one at a time
    prack(rig, first)
    assert rig.take(200).cseq_method == "PRACK"
    second = rig.take(183)
    assert second.get("rseq") == str(number + 1)
    rig.far_replies(200, [TYPE], SDP)
    assert rig.silent()  # an answer waits for its PRACK
    prack(rig, second, 3)
    assert rig.take(200).cseq_method == "PRACK"
    ok = rig.take(200)
    assert ok.cseq_method == "INVITE"
    rig.run(30)
    assert all(one.cseq_method == "INVITE" for one in rig.inbox_of())
    assert rig.far_hears_nothing()


@owners
def test_who_only_supports_it_gets_reliably_what_came_so(make: Any) -> None:
    rig = make()
    invited(rig, ["Supported: 100rel"])
    rig.far_replies(180)
    assert rig.take(180).get("rseq") is None
    rig.far_replies(183, [*REL, TYPE], SDP)
    early = rig.take(183)
    rig.far_serves_prack()
    prack(rig, early)
    assert rig.take(200).cseq_method == "PRACK"
    rig.far_replies(200)
    assert rig.take(200).cseq_method == "INVITE"


@owners
def test_an_answer_that_came_reliably_is_in_the_200_for_who_got_it_plainly(make: Any) -> None:
    rig = make()
    early = early_answer(rig, [])
    assert early.get("rseq") is None and early.body
    rig.far_replies(200)
    ok = rig.take(200)
    assert ok.body == early.body and ok.get("content-type") == "application/sdp"


@owners
def test_a_prack_for_nothing_is_refused(make: Any) -> None:
    rig = make()
    invited(rig, ["Require: 100rel"])
    rig.far_replies(180)
    ringing = rig.take(180)
    rig.request("PRACK", lines=["RAck: 1 1 INVITE"], to_tag=ringing.to_tag, cseq=2)
    assert rig.take(481).cseq_method == "PRACK"
    rig.request("PRACK", lines=["RAck: x"], to_tag=ringing.to_tag, cseq=3)
    assert rig.take(481).cseq_method == "PRACK"
    prack(rig, ringing, 4)
    rig.take(200)


@owners
def test_a_response_that_is_never_acknowledged_ends_the_call(make: Any) -> None:
    rig = make()
    invited(rig, ["Require: 100rel"])
    rig.far_replies(180)
    rig.run(33)
    assert {one.status for one in rig.inbox_of()} == {180, 504}
    assert rig.far_takes("CANCEL").get("reason") == 'SIP;cause=504;text="No PRACK"'


@owners
def test_a_failure_does_not_wait(make: Any) -> None:
    rig = make()
    invited(rig, ["Require: 100rel"])
    rig.far_replies(183, [TYPE], SDP)
    rig.take(183)
    rig.far_replies(486)
    rig.take(486)


@owners
def test_who_cancels_while_the_answer_waits_has_cancelled(make: Any) -> None:
    rig = make()
    rig.request("INVITE", lines=["Require: 100rel"], body=SDP, branch="z9hG4bKcalls")
    rig.take(100)
    rig.far_takes("INVITE")
    rig.far_replies(183, [TYPE], SDP)
    rig.take(183)
    rig.far_replies(200, [TYPE], SDP)
    rig.request("CANCEL", branch="z9hG4bKcalls")
    assert {rig.take(200).cseq_method, rig.take(487).cseq_method} == {"CANCEL", "INVITE"}
    rig.far_takes("ACK")
    rig.far_takes("BYE")


@owners
def test_a_line_that_requires_it_refuses_who_lacks_it_and_one_that_has_it_not_who_requires_it(make: Any) -> None:
    rig = make('reliable = "required"')
    rig.request("INVITE", body=SDP)
    assert rig.take(421).get("require") == "100rel"
    rig = make('reliable = "no"')
    rig.request("INVITE", lines=["Require: 100rel"], body=SDP)
    assert rig.take(420).get("unsupported") == "100rel"


@owners
def test_an_offer_in_a_prack_goes_on_as_an_update(make: Any) -> None:
    rig = make()
    early = early_answer(rig, ["Supported: 100rel"])
    prack(rig, early, body=OTHER)
    update = rig.far_takes("UPDATE")
    assert b"4002" in update.body
    rig.far_replies(200, [TYPE], HOLD)
    answer = rig.take(200)
    assert answer.cseq_method == "PRACK" and b"sendonly" in answer.body


# -- UPDATE


@owners
def test_an_update_changes_the_session_from_either_side(make: Any) -> None:
    rig = make()
    ok = rig.calls_in()
    rig.request("UPDATE", body=HOLD, to_tag=ok.to_tag, cseq=2)
    assert b"sendonly" in rig.far_takes("UPDATE").body
    rig.far_replies(200, [TYPE], SDP)
    answer = rig.take(200)
    assert answer.cseq_method == "UPDATE" and answer.body and answer.get("contact")
    rig.far_asks("UPDATE", OTHER)
    update = rig.take("UPDATE")
    assert b"4002" in update.body and update.get("contact")
    rig.reply(update, 200, [TYPE], HOLD)
    assert b"sendonly" in rig.far_takes(200).body


@owners
def test_an_update_may_come_before_the_answer(make: Any) -> None:
    rig = make()
    invite = ring(rig, REL)
    rig.reply(rig.take("PRACK"), 200)
    rig.far_takes(183)
    rig.asks(invite, "UPDATE", 1, body=OTHER)
    assert b"4002" in rig.far_takes("UPDATE").body
    rig.far_replies(200, [TYPE], SDP)
    assert rig.take(200).cseq_method == "UPDATE"


@owners
def test_offers_that_cross_are_refused(make: Any) -> None:
    rig = make()
    ok = rig.calls_in()
    rig.far_asks("UPDATE", OTHER)
    rig.take("UPDATE")
    rig.request("UPDATE", body=HOLD, to_tag=ok.to_tag, cseq=2)
    rig.take(491)
    rig = make()
    ok = rig.calls_in()
    rig.request("UPDATE", body=HOLD, to_tag=ok.to_tag, cseq=2)
    rig.far_takes("UPDATE")
    rig.request("UPDATE", body=OTHER, to_tag=ok.to_tag, cseq=3)
    assert rig.take(500).get("retry-after")


@owners
def test_a_reinvite_that_meets_an_offer_in_an_update_is_refused(make: Any) -> None:
    rig = make()
    invite = rig.calls_out()
    rig.far_asks("UPDATE", HOLD)
    update = rig.take("UPDATE")
    rig.asks(invite, "INVITE", 2, body=OTHER)
    assert rig.take(491).cseq_method == "INVITE" and rig.far_hears_nothing()
    rig.asks(invite, "ACK", 2)
    rig.reply(update, 200, [TYPE], SDP)
    rig.far_takes(200)
    rig.asks(invite, "INVITE", 3, body=OTHER)  # once more
    rig.take(100)
    assert b"4002" in rig.far_takes("INVITE").body
    rig.far_replies(200, [TYPE], SDP)
    rig.take(200)


@owners
def test_so_is_one_from_across(make: Any) -> None:
    rig = make("session_timer = { expires = 100, min_se = 90 }")
    ok = rig.calls_in()
    rig.request("UPDATE", body=HOLD, to_tag=ok.to_tag, cseq=2)
    rig.far_takes("UPDATE")
    update = rig.far_taken
    rig.request("UPDATE", body=OTHER, to_tag=ok.to_tag, cseq=3)  # one too many: the first is under way all the same
    rig.take(500)
    rig.far_asks("INVITE", OTHER)
    assert 491 in rig.far_forgets() and rig.silent()
    rig.far_retakes(update)
    rig.far_replies(200, [TYPE], SDP)
    answer = rig.take(200)
    rig.run(50.2)
    assert rig.take("INVITE").body == answer.body  # what a refresh offers is what was agreed


@owners
def test_an_update_that_offers_nothing_stays_on_its_hop(make: Any) -> None:
    rig = make()
    ok = rig.calls_in()
    rig.request("UPDATE", to_tag=ok.to_tag, cseq=2)
    assert rig.take(200).get("contact")
    assert rig.far_hears_nothing()


@owners
def test_who_does_not_know_update_gets_a_reinvite(make: Any) -> None:
    rig = make()
    rig.calls_out()
    rig.far_asks("UPDATE", OTHER)
    rig.reply(rig.take("UPDATE"), 405, ["Allow: INVITE, ACK, BYE"])
    again = rig.take("INVITE")
    assert b"4002" in again.body
    rig.reply(again, 200, [TYPE], HOLD)
    answer = rig.far_takes(200)
    assert answer.cseq_method == "UPDATE" and b"sendonly" in answer.body
    rig.take("ACK")


@owners
def test_a_session_is_refreshed_by_update_where_that_is_known(make: Any) -> None:
    rig = make("session_timer = { expires = 100, min_se = 90 }")
    rig.calls_out(["Allow: INVITE, ACK, BYE, UPDATE"])
    rig.run(50.2)
    refresh = rig.take("UPDATE")
    assert not refresh.body and refresh.get("session-expires") == "100;refresher=uac"
    rig.reply(refresh, 200, ["Session-Expires: 100;refresher=uac"])
    rig.run(50.2)
    rig.reply(rig.take("UPDATE"), 501)
    assert rig.take("INVITE").body
    assert rig.far_hears_nothing()


@owners
def test_numbers_go_on_from_an_early_dialog_to_the_answered_one(make: Any) -> None:
    rig = make()
    early = early_answer(rig, ["Supported: 100rel"])
    prack(rig, early)
    rig.take(200)
    asked = rig.far_taken
    numbers = []
    for _ in range(2):
        rig.far_asks("INFO")
        info = rig.take("INFO")
        assert info.from_tag == early.to_tag
        numbers.append(info.cseq)
        rig.reply(info, 200)
        rig.far_takes(200)
    rig.far_retakes(asked)
    rig.far_replies(200)
    rig.take(200)
    rig.request("ACK", to_tag=early.to_tag)
    rig.far_takes("ACK")
    rig.far_asks("INFO")
    assert [*numbers, rig.take("INFO").cseq] == [1, 2, 3]
