"""What devices meet is the same whoever owns their trunk, an agent or a server (``sip.device``)."""

from __future__ import annotations

from typing import Any

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.sdp import origin_of
from tests.cycles import nothing_for_the_collector
from tests.device_rigs import ACCOUNT, PEER, TYPE, AgentRig, ServerRig, sent
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, dialog_lines, message, response_to

TIMER = "session_timer = { expires = 100, min_se = 90 }"
HOLD = SDP.replace(b"sendrecv", b"sendonly").replace(b"- 1 1", b"- 1 2")
ELSEWHERE = Flow("udp", LISTEN, ("127.0.0.22", 5070))
TWO = 'peer = ["sip:127.0.0.21:5060", "sip:127.0.0.22:5070"]'
NONCE = 'Digest realm="c", nonce="n", qop="auth", algorithm=MD5'

owners = pytest.mark.parametrize("make", [AgentRig, ServerRig], ids=["agent", "server"])


# -- session timers (RFC 4028) -------------------------------------------------------------------------------------


@owners
def test_a_call_to_the_device_asks_for_the_timer_of_its_line(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out()
    assert invite.get("session-expires") == "100;refresher=uac" and invite.get("min-se") == "90"
    assert invite.all("supported") == ["100rel", "timer"]


@owners
def test_a_session_is_refreshed_with_what_is_agreed_and_nobody_else_hears_of_it(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out()
    for _ in range(2):
        rig.run(50.2)
        refresh = rig.take("INVITE")
        assert refresh.body == invite.body and refresh.to_tag and refresh.get("session-expires")
        rig.reply(refresh, 200, [TYPE, "Session-Expires: 100;refresher=uac"], SDP)
        rig.take("ACK")
    assert rig.silent() and rig.far_hears_nothing()


@owners
def test_a_call_of_the_device_is_granted_its_timer_and_refreshed(make: Any) -> None:
    rig = make(TIMER)
    ok = rig.calls_in(["Session-Expires: 3600"])
    assert ok.get("session-expires") == "100;refresher=uas"
    rig.run(50.2)
    refresh = rig.take("INVITE")
    assert refresh.body == ok.body
    rig.reply(refresh, 200, [TYPE], SDP)
    rig.take("ACK")


@owners
def test_a_device_that_wants_a_timer_has_one_though_its_line_has_none(make: Any) -> None:
    ok = make().calls_in(["Supported: timer", "Session-Expires: 300;refresher=uac"])
    assert ok.get("session-expires") == "300;refresher=uac" and ok.get("require") == "timer"


@owners
@pytest.mark.parametrize("status", [491, 500, 503, 488])
def test_a_refresh_that_is_refused_is_tried_again(make: Any, status: int) -> None:
    rig = make(TIMER)
    rig.calls_out()
    rig.run(50.2)
    rig.reply(rig.take("INVITE"), status)
    rig.take("ACK")
    while rig.silent():
        rig.run(0.2)
    again = rig.take("INVITE")
    assert rig.now < 100 + 68
    rig.reply(again, 200, [TYPE], SDP)
    rig.take("ACK")
    rig.run(30)
    assert rig.silent() and rig.far_hears_nothing()


@owners
@pytest.mark.parametrize("status", [481, 408, 0])
def test_a_device_that_does_not_know_the_call_ends_it(make: Any, status: int) -> None:
    rig = make(TIMER)
    rig.calls_out()
    rig.run(50.2)
    refresh = rig.take("INVITE")
    if status:
        rig.reply(refresh, status)
    else:
        rig.run(33)
    assert rig.far_takes("BYE").get("reason")


@owners
def test_a_device_that_does_not_refresh_is_gone(make: Any) -> None:
    rig = make(TIMER)
    rig.calls_out(["Session-Expires: 100;refresher=uas", "Require: timer"])
    rig.run(66)
    assert rig.silent() and rig.far_hears_nothing()
    rig.run(3)
    assert "Session expired" in rig.take("BYE").get("reason")
    assert "Session expired" in rig.far_takes("BYE").get("reason")


@owners
def test_a_device_s_refresh_is_answered_here(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out(["Session-Expires: 100;refresher=uas"])
    rig.run(45)
    rig.asks(invite, "INVITE", 2, ["Supported: timer", "Session-Expires: 100;refresher=uac"], SDP)
    ok = rig.take(200)
    assert ok.body == invite.body and ok.get("session-expires") == "100;refresher=uac"
    rig.asks(invite, "ACK", 2)
    rig.run(40)
    assert rig.silent() and rig.far_hears_nothing()


@owners
def test_too_short_an_interval_is_refused(make: Any) -> None:
    rig = make(TIMER)
    rig.request("INVITE", lines=["Supported: timer", "Session-Expires: 60"], body=SDP)
    assert rig.take(422).get("min-se") == "90" and rig.far_hears_nothing()
    invite = rig.calls_out()
    rig.asks(invite, "INVITE", 2, ["Supported: timer", "Session-Expires: 60"], SDP)
    assert rig.take(422).get("min-se") == "90" and rig.far_hears_nothing()


@owners
def test_the_device_s_422_is_met_with_a_longer_interval(make: Any) -> None:
    rig = make(TIMER)
    rig.far_calls()
    rig.far_forgets()
    first = rig.take("INVITE")
    rig.reply(first, 422, ["Min-SE: 300"])
    rig.take("ACK")
    again = rig.take("INVITE")
    assert again.get("session-expires") == "300;refresher=uac" and again.cseq == first.cseq + 1
    assert (again.call_id, again.body) == (first.call_id, first.body)
    rig.reply(again, 200, [TYPE], SDP)
    rig.far_takes(200)
    rig.far_asks("ACK")
    rig.take("ACK")
    rig.run(0.02)
    rig.far_asks("INVITE", HOLD)
    rig.reply(rig.take("INVITE"), 422, ["Min-SE: 400"])
    rig.take("ACK")
    change = rig.take("INVITE")
    assert change.get("min-se") == "400" and b"sendonly" in change.body
    rig.reply(change, 200, [TYPE], SDP)
    rig.far_takes(100)
    rig.far_takes(200)


@owners
def test_the_timer_is_a_matter_of_one_hop(make: Any) -> None:
    rig = make(TIMER)
    rig.request("INVITE", lines=["Supported: timer", "Session-Expires: 600", "Min-SE: 100"], body=SDP)
    rig.take(100)
    invite = rig.far_takes("INVITE")
    assert "session-expires" not in invite and "min-se" not in invite and "timer" not in invite.all("supported")


@owners
def test_the_refresher_may_change_in_a_call(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out(["Session-Expires: 100;refresher=uac"])
    for cseq, refresher in ((2, "uac"), (3, "uas")):
        rig.asks(invite, "INVITE", cseq, ["Supported: timer", f"Session-Expires: 100;refresher={refresher}"], SDP)
        assert rig.take(200).get("session-expires") == f"100;refresher={refresher}"
        rig.asks(invite, "ACK", cseq)
    rig.run(50.2)
    assert rig.take("INVITE").get("session-expires") == "100;refresher=uac"


@owners
def test_a_device_that_hangs_up_before_it_refuses_a_refresh_has_hung_up(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out()
    rig.run(50.2)
    refresh = rig.take("INVITE")
    rig.asks(invite, "BYE", 2)
    assert rig.take(200).cseq_method == "BYE"
    rig.reply(refresh, 481)
    rig.take("ACK")
    rig.far_takes("BYE")
    rig.far_replies(200)
    rig.run(40)
    assert rig.silent() and rig.far_hears_nothing() and not rig.core.calls


# -- offers and answers (RFC 3264) ---------------------------------------------------------------------------------


@owners
def test_a_refused_offer_leaves_the_session_as_it_was(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    change = rig.take("INVITE")
    assert b"sendonly" in change.body and origin_of(change.body).version == origin_of(invite.body).version + 1
    rig.reply(change, 488)
    rig.take("ACK")
    rig.far_takes(100)
    rig.far_takes(488)
    rig.far_asks("ACK")
    rig.run(50.2)
    assert rig.take("INVITE").body == invite.body


@owners
def test_a_device_s_refused_offer_is_no_session_either(make: Any) -> None:
    rig = make(TIMER)
    invite = rig.calls_out(["Session-Expires: 100;refresher=uas"])
    for cseq, status in ((2, 488), (3, 200)):
        rig.asks(invite, "INVITE", cseq, ["Supported: timer"], HOLD)
        rig.take(100)
        rig.far_takes("INVITE")  # no refresh: it is not what is agreed
        rig.far_replies(status, [TYPE] if status == 200 else [], SDP if status == 200 else b"")
        rig.take(status)
        rig.asks(invite, "ACK", cseq)
        rig.far_forgets()
    rig.asks(invite, "INVITE", 4, ["Supported: timer"], HOLD)
    rig.take(200)  # now it is


@owners
def test_descriptions_have_one_origin_line_whose_version_rises(make: Any) -> None:
    rig = make()
    invite = rig.calls_out()
    seen = [origin_of(invite.body)]
    for body in (HOLD.replace(b"- 1 2", b"- 77 5"), SDP.replace(b"- 1 1", b"- 99 1")):
        rig.far_asks("INVITE", body)
        change = rig.take("INVITE")
        seen.append(origin_of(change.body))
        rig.reply(change, 200, [TYPE], SDP)
        rig.far_takes(100)
        rig.far_takes(200)
        rig.far_asks("ACK")
        rig.take("ACK")
        rig.run(0.02)
    assert [one.version - seen[0].version for one in seen] == [0, 1, 2]
    assert len({one._replace(version=0) for one in seen}) == 1


@owners
def test_a_device_is_offered_all_sections_that_it_knows_and_the_far_side_answered_its_own(make: Any) -> None:
    rig = make()
    rig.calls_out()
    video = b"m=video 4002 RTP/AVP 96\r\n"
    for body, told, passed in (
        (SDP + video, SDP + video, SDP + video),
        (SDP.replace(b"- 1 1", b"- 99 1"), SDP + video.replace(b"4002", b"0"), SDP),
        (SDP.replace(b"- 1 1", b"- 99 2") + video, SDP + video, SDP + video),
    ):
        rig.far_asks("INVITE", body)
        change = rig.take("INVITE")
        assert change.body.partition(b"\r\ns=")[2] == told.partition(b"\r\ns=")[2]
        rig.reply(change, 200, [TYPE], SDP + video)
        rig.far_takes(100)
        assert rig.far_takes(200).body.partition(b"\r\ns=")[2] == passed.partition(b"\r\ns=")[2]
        rig.far_asks("ACK")
        rig.take("ACK")
        rig.run(0.02)


@owners
def test_a_device_s_answer_to_what_it_was_asked_for_is_not_cut(make: Any) -> None:
    """An offer of the far side, one of the device itself, and a refresh."""
    rig = make(TIMER)
    invite = rig.calls_out(["Session-Expires: 100;refresher=uas"])
    video = b"m=video 4002 RTP/AVP 96\r\n"
    for cseq, body in enumerate((HOLD + video, SDP + video), 2):
        rig.asks(invite, "INVITE", cseq, ["Supported: timer"], body)
        rig.take(100)
        assert rig.far_takes("INVITE").body.endswith(body.partition(b"\r\ns=")[2])
        rig.far_replies(200, [TYPE], SDP)  # it forgets the other one
        answer = rig.take(200).body
        assert answer.count(b"\nm=") == 2 and answer.endswith(b"m=video 0 RTP/AVP 96\r\n")
        rig.asks(invite, "ACK", cseq)
        rig.run(0.02)
        rig.far_forgets()
    rig.asks(invite, "INVITE", 4, ["Supported: timer"], SDP + video)
    assert rig.take(200).body == answer and rig.far_hears_nothing(), "a refresh"


@owners
def test_an_invite_does_not_overtake_the_ack_before_it(make: Any) -> None:
    rig = make()
    rig.far_calls()
    rig.far_forgets()
    rig.reply(rig.take("INVITE"), 200, [TYPE], SDP)
    rig.far_takes(200)
    rig.far_asks("ACK")
    rig.take("ACK")
    rig.far_asks("INVITE", HOLD)
    assert rig.silent()
    rig.run(0.02)
    rig.take("INVITE")


# -- answers at once -----------------------------------------------------------------------------------------------


@owners
def test_bye_and_cancel_are_answered_at_once(make: Any) -> None:
    rig = make()
    invite = rig.calls_out()
    rig.asks(invite, "BYE", 2)
    rig.take(200)
    rig.far_takes("BYE")
    rig.far_replies(200)
    branch = rig.request("INVITE", body=SDP, call_id="second")
    rig.take(100)
    rig.far_takes("INVITE")
    rig.request("CANCEL", branch=branch, call_id="second")
    rig.take(200)
    rig.take(487)


@owners
@pytest.mark.parametrize("said, told", [(401, 403), (407, 403), (302, 480), (404, 404)])
def test_what_is_not_of_the_hop_is_not_told(make: Any, said: int, told: int) -> None:
    rig = make()
    rig.request("INVITE", body=SDP, lines=['Proxy-Authorization: Digest username="me"'])
    rig.take(100)
    assert "proxy-authorization" not in rig.far_takes("INVITE")
    rig.far_replies(said, ['WWW-Authenticate: Digest realm="x"', 'Proxy-Authenticate: Digest realm="x"'])
    answer = rig.take(told)
    assert "www-authenticate" not in answer and "proxy-authenticate" not in answer


@owners
def test_a_device_that_does_not_answer_a_change_is_gone(make: Any) -> None:
    rig = make()
    rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    rig.run(33)
    rig.far_takes(100)
    rig.far_takes(408)
    assert "The device is gone" in rig.far_takes("BYE").get("reason")


@owners
def test_a_late_answer_to_a_change_that_was_given_up_is_acknowledged(make: Any) -> None:
    rig = make()
    rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    change = rig.take("INVITE")
    rig.reply(change, 100)
    rig.far_asks("BYE")
    rig.take("BYE")
    rig.reply(change, 200, [TYPE], SDP)
    rig.take("ACK")


# -- the next hop --------------------------------------------------------------------------------------------------


@owners
@pytest.mark.parametrize(
    "contact, lines, where",
    [
        ("<sip:gw@127.0.0.22:5070>", (), ELSEWHERE),
        ("<sip:gw@127.0.0.21>", ("Record-Route: <sip:127.0.0.22:5070;lr>",), ELSEWHERE),
        ("<sip:gw@224.0.0.1>", (), None),
    ],
)
def test_requests_go_to_route_or_contact(make: Any, contact: str, lines: Any, where: Flow | None) -> None:
    rig = make()
    rig.far_calls()
    rig.far_forgets()
    invite = rig.take("INVITE")
    to = f"{invite.get('to')};tag=devtag"
    head = ["SIP/2.0 200 OK", f"Via: {invite.get('via')}", f"From: {invite.get('from')}", f"To: {to}"]
    more = [f"Call-ID: {invite.call_id}", f"CSeq: {invite.get('cseq')}", f"Contact: {contact}", *lines, TYPE]
    data = "\r\n".join([*head, *more, f"Content-Length: {len(SDP)}", "", ""]).encode() + SDP
    rig.say(data)
    rig.far_takes(200)
    rig.far_asks("ACK")
    rig.far_asks("BYE")
    found = [(flow, one.method) for flow in rig.inbox for kind in ("ACK", "BYE") for one in sent(rig, kind, flow)]
    assert found == ([(where, "ACK"), (where, "BYE")] if where else [])


@owners
def test_a_change_moves_the_target(make: Any) -> None:
    rig = make()
    invite = rig.calls_out()
    contact = "Contact: <sip:gw@127.0.0.22:5070>"
    rig.asks(invite, "INVITE", 2, [contact], HOLD)
    rig.take(100)
    rig.far_takes("INVITE")
    rig.far_replies(200, [TYPE], SDP)
    rig.take(200)
    rig.far_asks("BYE")
    assert [one.method for one in rig.inbox[ELSEWHERE]] == ["BYE"]


# -- failover ------------------------------------------------------------------------------------------------------


@owners
@pytest.mark.parametrize("how", ["silence", "icmp", "503"])
def test_the_next_place_is_tried(make: Any, how: str) -> None:
    rig = make("", TWO)
    rig.far_calls()
    rig.far_forgets()
    first = rig.take("INVITE")
    if how == "silence":
        rig.run(4.1)
    elif how == "icmp":
        rig.core.flow_changed(CARRIER, "unreachable", rig.now)
        rig.pump()
    else:
        rig.reply(first, 503)
    second = rig.take("INVITE", ELSEWHERE)
    assert second.call_id != first.call_id and second.from_tag != first.from_tag
    rig.reply(second, 200, [TYPE], SDP, flow=ELSEWHERE)
    rig.far_takes(200)
    if how == "silence":  # what it still brings is ended there
        rig.inbox[CARRIER].clear()
        rig.reply(first, 200, [TYPE], SDP)
        rig.take("ACK")
        rig.take("BYE")


@owners
def test_a_silent_place_is_tried_last_for_a_while(make: Any) -> None:
    rig = make("", TWO)
    rig.far_calls()
    rig.far_forgets()
    rig.run(4.1)
    rig.reply(rig.take("INVITE", ELSEWHERE), 486, flow=ELSEWHERE)
    rig.far_forgets()
    rig.inbox[ELSEWHERE].clear()
    rig.inbox[CARRIER].clear()
    rig.far_calls(call_id="far-2")
    rig.take("INVITE", ELSEWHERE)
    assert not sent(rig, "INVITE")


# -- probing, registration, digest ---------------------------------------------------------------------------------


@owners
def test_all_places_are_probed_and_one_is_enough(make: Any) -> None:
    rig = make("options = { interval = 2, misses = 2 }", TWO)
    for _ in range(20):
        rig.run(1)
        for request in sent(rig, "OPTIONS", ELSEWHERE):
            rig.inbox[ELSEWHERE].remove(request)
            rig.reply(request, 404, flow=ELSEWHERE)
    assert sent(rig, "OPTIONS")
    rig.far_calls()
    rig.far_forgets()
    rig.take("INVITE", ELSEWHERE)


@owners
def test_a_line_is_out_of_service_when_all_its_places_are(make: Any) -> None:
    rig = make("options = { interval = 2, misses = 2 }", TWO)
    rig.run(30)
    rig.far_calls()
    assert rig.far_forgets()[-1] == 503 and not sent(rig, "INVITE") and not sent(rig, "INVITE", ELSEWHERE)


@owners
def test_a_trunk_registers_and_calls_go_where_it_is_registered(make: Any) -> None:
    two = ACCOUNT.replace("sip:127.0.0.21:5060", "sip:127.0.0.22:5070")
    rig = make(two, TWO)
    register = rig.take("REGISTER", ELSEWHERE)
    rig.reply(register, 401, [f"WWW-Authenticate: {NONCE}"], flow=ELSEWHERE)
    again = rig.take("REGISTER", ELSEWHERE)
    assert 'username="u"' in again.get("authorization") and again.cseq == register.cseq + 1
    rig.reply(again, 200, [f"Contact: {again.get('contact')};expires=600"], flow=ELSEWHERE)
    rig.far_calls()
    rig.far_forgets()
    rig.take("INVITE", ELSEWHERE)


@owners
def test_challenges_are_answered_in_every_request(make: Any) -> None:
    rig = make(ACCOUNT)
    register = rig.take("REGISTER")
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600"])
    rig.far_calls()
    rig.far_forgets()
    first = rig.take("INVITE")
    rig.reply(first, 407, [f"Proxy-Authenticate: {NONCE}"])
    rig.take("ACK")
    invite = rig.take("INVITE")
    assert 'username="u"' in invite.get("proxy-authorization") and invite.cseq == first.cseq + 1
    rig.reply(invite, 200, [TYPE], SDP)
    rig.far_takes(200)
    rig.far_asks("ACK")
    assert rig.take("ACK").get("proxy-authorization") == invite.get("proxy-authorization")
    rig.far_asks("BYE")
    bye = rig.take("BYE")
    rig.reply(bye, 407, ['Proxy-Authenticate: Digest realm="c", nonce="m", qop="auth", stale=true'])
    assert 'nonce="m"' in rig.take("BYE").get("proxy-authorization")


@owners
def test_a_change_that_is_challenged_goes_again_as_it_was(make: Any) -> None:
    rig = make(ACCOUNT)
    register = rig.take("REGISTER")
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600"])
    rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    change = rig.take("INVITE")
    rig.reply(change, 407, [f"Proxy-Authenticate: {NONCE}"])
    rig.take("ACK")
    again = rig.take("INVITE")
    assert (again.body, again.to_tag, again.cseq) == (change.body, "devtag", change.cseq + 1)
    rig.reply(again, 200, [TYPE], SDP)
    rig.far_takes(100)
    rig.far_takes(200)
    rig.far_asks("ACK")
    assert not rig.take("ACK").body


@owners
def test_a_200_that_comes_again_behind_a_change_is_acknowledged_again(make: Any) -> None:
    rig = make()
    invite = rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    change = rig.take("INVITE")
    rig.reply(invite, 200, [TYPE], SDP)
    assert rig.take("ACK").cseq == invite.cseq
    rig.reply(change, 200, [TYPE], SDP)
    rig.far_takes(100)
    rig.far_takes(200)
    rig.far_asks("ACK")
    assert rig.take("ACK").cseq == change.cseq


@owners
@pytest.mark.parametrize("later", [0.0, 3.0])
def test_a_change_that_is_accepted_behind_our_bye_is_acknowledged(make: Any, later: float) -> None:
    rig = make()
    rig.calls_out()
    rig.far_asks("INVITE", HOLD)
    change = rig.take("INVITE")
    rig.reply(change, 100)
    rig.far_asks("BYE")
    bye = rig.take("BYE")
    if later:
        rig.reply(bye, 200)
        rig.run(later)
    for _ in range(2):
        rig.reply(change, 200, [TYPE], SDP)
        assert rig.take("ACK").cseq == change.cseq
    if not later:
        rig.reply(bye, 200)
    rig.run(1.0)
    assert rig.silent()


# -- who calls -----------------------------------------------------------------------------------------------------

FORMS = (
    'to_device = { called = [{ match = "+33*", strip = 3, prefix = "0" }], '
    'caller = [{ match = "+33*", strip = 3, prefix = "0" }] }\n'
    'from_device = { called = [{ match = "0*", strip = 1, prefix = "+33" }], '
    'caller = [{ match = "0*", strip = 1, prefix = "+33" }] }'
)


def of(message: Any, *names: str) -> list[str]:
    return [line for name, line in zip(message.names, message.lines, strict=True) if name in names]


@owners
def test_all_numbers_have_the_form_of_the_line_towards_the_device(make: Any) -> None:
    rig = make(FORMS)
    rig.far_calls(lines=["P-Asserted-Identity: <sip:+33155@paris>", "Diversion: <sip:+33188@paris>;reason=no-answer"])
    invite = rig.take("INVITE")
    assert invite.uri.startswith("sip:0177@127.0.0.21")
    assert invite.from_untagged == "<sip:0155@127.0.0.11>" and invite.to_untagged == "<sip:0177@127.0.0.21>"
    assert of(invite, "p-asserted-identity", "diversion") == [
        "P-Asserted-Identity: <sip:0155@127.0.0.11>",
        "Diversion: <sip:0188@127.0.0.11>;reason=no-answer",
    ]


@owners
def test_all_numbers_have_the_site_s_form_behind_it(make: Any) -> None:
    rig = make(FORMS)
    lines = ["P-Asserted-Identity: <sip:0155@carrier>", "Remote-Party-ID: <sip:0155@carrier>;party=calling"]
    rig.request("INVITE", "sip:0166@127.0.0.11", lines, SDP, sender="<sip:0155@127.0.0.21>")
    rig.take(100)
    invite = rig.far_takes("INVITE")
    assert "+33166" in invite.uri and "<sip:+33155@" in invite.get("from") and "<sip:+33166@" in invite.get("to")
    assert [line.partition("@")[0] for line in of(invite, "p-asserted-identity", "remote-party-id")] == [
        "P-Asserted-Identity: <sip:+33155",
        "Remote-Party-ID: <sip:+33155",
    ]


@owners
def test_a_line_with_a_caller_number_shows_that_alone(make: Any) -> None:
    rig = make('caller_number = "+33999"')
    rig.request("INVITE", lines=["P-Asserted-Identity: <sip:+33155@pbx>", "Diversion: <sip:+33155@pbx>"], body=SDP)
    rig.take(100)
    invite = rig.far_takes("INVITE")
    assert "<sip:+33999@" in invite.get("from") and not any("+33155@pbx" in line for line in invite.lines)


@owners
def test_who_hides_is_told_to_a_trunk_that_is_trusted_alone(make: Any) -> None:
    for trust in ("true", "false"):
        rig = make(f"trust = {trust}")
        rig.far_calls(lines=["P-Asserted-Identity: <sip:+33155@paris>", "Privacy: id"])
        invite = rig.take("INVITE")
        assert bool(of(invite, "p-asserted-identity")) is (trust == "true")
        assert ("anonymous.invalid" in invite.get("from")) is (trust == "false")


@owners
def test_what_a_trunk_that_is_not_trusted_asserts_does_not_cross(make: Any) -> None:
    rig = make("trust = false")
    rig.request("INVITE", lines=["P-Asserted-Identity: <sip:police@x>"], body=SDP)
    rig.take(100)
    assert not of(rig.far_takes("INVITE"), "p-asserted-identity")
    rig.far_replies(200, [TYPE], SDP)
    rig.take(200)
    rig.request("ACK", to_tag="srvtag")
    rig.request("INFO", lines=["P-Asserted-Identity: <sip:police@x>", "X-Kept: 1"], to_tag="srvtag", cseq=2)
    rig.far_takes("ACK")
    info = rig.far_takes("INFO")
    assert "p-asserted-identity" not in info and "x-kept" in info


@owners
def test_the_contact_of_calls_is_the_registered_one_and_from_has_the_domain(make: Any) -> None:
    rig = make(ACCOUNT.replace('user = "u"', 'user = "u", domain = "carrier.example"'))
    register = rig.take("REGISTER")
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600"])
    rig.far_calls()
    invite = rig.take("INVITE")
    assert invite.get("contact") == register.get("contact") and "@carrier.example>" in invite.get("from")


@owners
def test_a_registration_by_a_stream_that_broke_is_renewed_at_once(make: Any) -> None:
    rig = make(ACCOUNT.replace("21:5060", "21:5060;transport=tcp"))

    def stream() -> Flow:
        return next(flow for flow in reversed(rig.opened) if flow.remote == CARRIER.remote)

    def register() -> None:
        asked = rig.take("REGISTER", stream())
        rig.reply(asked, 200, [f"Contact: {asked.get('contact')};expires=3600"], flow=stream())

    register()
    rig.run(40)
    first = stream()
    rig.core.flow_changed(first, "lost", rig.now)
    rig.pump()
    rig.run(2.1)
    assert stream() != first
    register()
    rig.run(29)
    rig.core.flow_changed(stream(), "lost", rig.now)
    rig.pump()
    assert len(sent(rig, "REGISTER", stream())) == 0
    rig.run(2.1)
    register()


@owners
@pytest.mark.parametrize(
    ("seen", "kept"),
    [(";rport=41000;received=192.0.2.9", True), (";rport=5060;received=127.0.0.11", False), (";rport", False)],
)
def test_the_nat_before_us_is_kept_open_while_we_are_registered(make: Any, seen: str, kept: bool) -> None:
    rig = make(ACCOUNT)
    register = rig.take("REGISTER")
    register.set("via", register.line("via").replace(";rport", seen))
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600"])
    rig.run(100)
    assert 3 <= len(rig.pings) <= 5 if kept else not rig.pings
    assert set(rig.pings) <= {CARRIER}
    while not sent(rig, "REGISTER"):
        rig.run(10)
    rig.reply(rig.take("REGISTER"), 403)
    rig.pings.clear()
    rig.run(100)
    assert not rig.pings


# -- what carriers ask for -----------------------------------------------------------------------------------------

PROXY = Flow("udp", LISTEN, ("127.0.0.23", 5080))


def registered(rig: Any, lines: tuple[str, ...] = (), flow: Flow = CARRIER) -> Any:
    register = rig.take("REGISTER", flow)
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600", *lines], flow=flow)
    return register


@owners
def test_calls_go_along_the_service_route_of_the_registration(make: Any) -> None:
    rig = make(ACCOUNT)
    registered(rig, ("Service-Route: <sip:127.0.0.23:5080;lr>, <sip:inner.carrier.example;lr>",))
    rig.far_calls()
    invite = rig.take("INVITE", PROXY)
    assert invite.all("route") == ["<sip:127.0.0.23:5080;lr>", "<sip:inner.carrier.example;lr>"]
    assert invite.uri.endswith("@127.0.0.21:5060")
    rig.reply(invite, 407, [f"Proxy-Authenticate: {NONCE}"], flow=PROXY)
    assert rig.take("ACK", PROXY).all("route") == invite.all("route")
    again = rig.take("INVITE", PROXY)
    assert again.all("route") == invite.all("route")  # the same way with credentials
    rig.reply(again, 200, [TYPE], SDP, flow=PROXY)
    rig.far_forgets()
    rig._tags = (rig._tags[0], "devtag")
    rig.far_asks("ACK")
    assert not rig.take("ACK", PROXY).all("route")  # the dialog's own route is that of Record-Route


@owners
@pytest.mark.parametrize(
    "route", ["<sip:127.0.0.23:5080>", "<sips:127.0.0.23;lr>", "<tel:1>", "nonsense", ", ".join(["<sip:a;lr>"] * 9)]
)
def test_a_service_route_that_cannot_be_followed_is_none(make: Any, route: str) -> None:
    rig = make(ACCOUNT)
    registered(rig, (f"Service-Route: {route}",))
    rig.far_calls()
    assert not rig.take("INVITE").all("route")


@owners
def test_a_name_in_the_service_route_is_looked_up_ahead_and_waited_for(make: Any) -> None:
    rig = make(ACCOUNT)
    registered(rig, ("Service-Route: <sip:core.carrier.example;lr>",))
    [asked] = [one for one in rig.resolving if "core.carrier.example" in one.uri]
    rig.far_calls()
    assert not sent(rig, "INVITE", PROXY) and not sent(rig, "INVITE")
    rig.core.done(asked, [Place("udp", *PROXY.remote)], rig.now)
    rig.pump()
    assert rig.take("INVITE", PROXY).all("route") == ["<sip:core.carrier.example;lr>"]


@owners
def test_calls_go_to_the_peer_again_when_a_registration_brings_no_route_any_more(make: Any) -> None:
    rig = make(ACCOUNT)
    registered(rig, ("Service-Route: <sip:127.0.0.23:5080;lr>",))
    while rig.silent():
        rig.run(0.4)
    registered(rig)
    rig.far_calls()
    assert not rig.take("INVITE").all("route")


@owners
def test_all_requests_go_through_an_outbound_proxy(make: Any) -> None:
    more = f'outbound_proxy = "sip:127.0.0.23:5080"\noptions = {{ interval = 60 }}\n{ACCOUNT}'
    rig = make(more, 'peer = "sip:carrier.example"\nfrom = ["127.0.0.21", "127.0.0.23"]')
    box = rig.inbox[PROXY]
    first = {one.method: one for one in box}
    assert set(first) == {"REGISTER", "OPTIONS"} and not rig.inbox.get(CARRIER)
    for one in list(box):
        assert one.all("route") == ["<sip:127.0.0.23:5080;lr>"]
        box.remove(one)
        rig.reply(
            one, 200, [f"Contact: {one.get('contact')};expires=600"] if one.method == "REGISTER" else [], flow=PROXY
        )
    rig.far_calls()
    invite = rig.take("INVITE", PROXY)
    assert invite.uri == "sip:+33177@carrier.example" and invite.all("route") == ["<sip:127.0.0.23:5080;lr>"]


@owners
def test_a_domain_is_named_wherever_the_carrier_is(make: Any) -> None:
    rig = make('domain = "carrier.example"')
    rig.far_calls(lines=["P-Asserted-Identity: <sip:+33155@paris>"])
    invite = rig.take("INVITE")
    assert invite.uri == "sip:+33177@carrier.example" and invite.to_untagged == "<sip:+33177@carrier.example>"
    assert invite.from_untagged == "<sip:+33155@carrier.example>"
    assert invite.get("p-asserted-identity") == "<sip:+33155@carrier.example>"


@owners
def test_an_account_that_does_not_register_answers_challenges(make: Any) -> None:
    rig = make('user = "trunk9"\nauth_user = "auth9"\npassword = { env = "ALICE" }')
    rig.far_calls()
    invite = rig.take("INVITE")
    assert "<sip:trunk9@" in invite.get("contact")
    rig.reply(invite, 407, [f"Proxy-Authenticate: {NONCE}"])
    rig.take("ACK")
    assert 'username="auth9"' in rig.take("INVITE").get("proxy-authorization")


@owners
@pytest.mark.parametrize("hidden", [False, True])
def test_from_names_the_account_where_the_carrier_wants_it(make: Any, hidden: bool) -> None:
    rig = make(f'from_user = "account"\n{ACCOUNT}')
    registered(rig)
    rig.far_calls(lines=["P-Asserted-Identity: <sip:+33156@paris>"] if hidden else [])
    invite = rig.take("INVITE")
    assert invite.from_untagged == "<sip:u@127.0.0.21>"
    assert invite.all("p-asserted-identity") == [f"<sip:{'+33156' if hidden else '+33155'}@127.0.0.21>"]


@owners
@pytest.mark.parametrize(
    "where, lines, called",
    [
        ("to", [], "+33166"),
        ("p-called-party-id", ["P-Called-Party-ID: <sip:+33166@carrier>"], "+33166"),
        ("p-called-party-id", [], "+33166"),
    ],
)
def test_the_number_called_stands_where_the_line_says(make: Any, where: str, lines: list[str], called: str) -> None:
    rig = make(f'called_from = "{where}"')
    uri = "sip:trunk9@127.0.0.11" if lines or where == "to" else "sip:+33166@127.0.0.11"
    rig.request("INVITE", uri, lines, SDP)
    rig.take(100)
    assert f"{called}@" in rig.far_takes("INVITE").uri


@owners
def test_single_headers_are_added_taken_away_and_changed(make: Any) -> None:
    rules = (
        'to_device.headers = [{ remove = "X-Secret" }, { add = "X-Site: paris" }, '
        '{ replace = "Subject", match = "^Re: *", by = "" }, { remove = "X-Kept", match = "no" }]\n'
        'from_device.headers = [{ replace = "X-Account", match = "id=(.)", by = "\\\\1" }, { remove = "Subject" }]'
    )
    rig = make(rules)
    rig.far_calls(lines=["X-Secret: 1", "s: Re: money", "X-Kept: yes"])
    invite = rig.take("INVITE")
    assert "x-secret" not in invite and invite.get("x-site") == "paris" and invite.get("x-kept") == "yes"
    assert invite.get("subject") == "money"
    rig.reply(invite, 200, [TYPE, "X-Account: id=7", "Subject: none"], SDP)
    rig.far_takes(100)
    ok = rig.far_takes(200)
    assert ok.get("x-account") == "7" and "subject" not in ok
    rig.far_asks("ACK")
    rig.request("INVITE", lines=["X-Account: id=8", "Subject: none"], body=SDP, call_id="second")
    rig.inbox[CARRIER].clear()
    second = rig.far_takes("INVITE")
    assert second.get("x-account") == "8" and "subject" not in second


@owners
@pytest.mark.parametrize("known", [True, False])
def test_a_trunk_of_several_addresses_answers_from_another_one(make: Any, known: bool) -> None:
    elsewhere = Flow("udp", LISTEN, ("127.0.0.22" if known else "127.0.0.66", 5060))
    rig = make("", f'{PEER}\nfrom = ["127.0.0.21", "127.0.0.22"]')
    rig.far_calls()
    rig.far_takes(100)
    invite = rig.take("INVITE")
    rig.say(response_to(invite, 200, ["Contact: <sip:127.0.0.21:5060>", TYPE], SDP, "devtag"), elsewhere)
    if not known:
        assert rig.far_hears_nothing()
        return
    rig.far_takes(200)
    rig.far_asks("ACK")
    rig.take("ACK")


@owners
@pytest.mark.parametrize("body", [SDP, b"hello"])
def test_a_description_that_nothing_is_said_of_is_one(make: Any, body: bytes) -> None:
    rig = make("")
    head = ("INVITE sip:+33166@127.0.0.11 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKuntold")
    who = dialog_lines("<sip:+33155@127.0.0.21>", "dev", "<sip:+33166@127.0.0.11>", "")
    rig.say(message([*head, *who, "Call-ID: u", "CSeq: 1 INVITE", "Contact: <sip:127.0.0.21:5060>"], body))
    rig.take(100)
    asked = rig.far_takes("INVITE")
    assert asked.body == body and asked.get("content-type") == ("application/sdp" if body == SDP else None)


@owners
def test_a_device_that_answers_a_cancel_and_nothing_else_holds_nobody(make: Any) -> None:
    rig = make("")
    rig.far_calls()
    rig.far_takes(100)
    invite = rig.take("INVITE")
    rig.reply(invite, 180)
    rig.far_takes(180)
    rig.far_asks("CANCEL")
    rig.reply(rig.take("CANCEL"), 200)
    rig.run(70)
    assert 487 in rig.far_forgets() and not rig.core.calls


@owners
def test_a_reinvite_behind_an_info_that_is_not_answered_crosses(make: Any) -> None:
    rig = make("")
    invite = rig.calls_out()
    rig.asks(invite, "INFO", 2, body=b"Signal=1")
    rig.asks(invite, "INVITE", 3, body=HOLD)
    rig.take(100)
    rig.far_takes("INFO")
    info = rig.far_taken
    rig.far_takes("INVITE")
    change = rig.far_taken
    rig.far_retakes(info)
    rig.far_replies(200)
    assert rig.take(200).cseq_method == "INFO"
    rig.far_retakes(change)
    rig.far_replies(200, [TYPE], SDP)
    assert rig.take(200).cseq_method == "INVITE"


@owners
def test_an_offer_is_asked_for_by_an_empty_body_whatever_its_type(make: Any) -> None:
    rig = make("")
    invite = rig.calls_out()
    rig.asks(invite, "INVITE", 2, [TYPE])
    rig.take(100)
    assert not rig.far_takes("INVITE").body
    rig.far_replies(200, [TYPE], SDP)
    assert rig.take(200).body


@owners
@pytest.mark.parametrize(
    ("sender", "told"),
    [
        ("<tel:+33155>", "sip:+33155"),
        ("sip:+33155@h;user=phone", "sip:+33155"),
        ('"A, B \\"C\\"" <sip:+33155@[2001:db8::1]:5060;user=phone>;x=y', "sip:+33155"),
    ],
)
def test_a_caller_is_read_however_he_is_written(make: Any, sender: str, told: str) -> None:
    rig = make("")
    asserted = 'P-Asserted-Identity: "Dr who" <sip:+33155@h>, <tel:+33155>'
    contact = 'Contact: <sip:k@127.0.0.21;gr=urn:uuid:3>;+org.linphone.specs="ephemeral/1.1,groupchat/1.1,lime"'
    rig.request("INVITE", lines=[asserted, contact], body=SDP, sender=sender, recipient="<tel:+33166>")
    rig.take(100)
    asked = rig.far_takes("INVITE")
    assert f"<{told}" in asked.from_untagged and "<sip:+33166@" in asked.to_untagged
    [value] = asked.all("p-asserted-identity")
    assert value.startswith('"Dr who" <sip:+33155@') and value.endswith(", <tel:+33155>")


# -- nothing is left -----------------------------------------------------------------------------------------------


@owners
@pytest.mark.parametrize("how", ["device hangs up", "far side hangs up", "expired", "cancelled", "refused"])
def test_a_call_with_a_timer_that_is_over_is_freed_by_reference_counts(make: Any, how: str) -> None:
    rig = make(TIMER)
    with nothing_for_the_collector():
        if how in ("cancelled", "refused"):
            rig.far_calls()
            invite = rig.take("INVITE")
            rig.reply(invite, 180)
            if how == "cancelled":
                rig.far_asks("CANCEL")
                rig.reply(rig.take("CANCEL"), 200)
            rig.reply(invite, 487 if how == "cancelled" else 486)
        else:
            invite = rig.calls_out(["Session-Expires: 100;refresher=uas"])
            if how == "device hangs up":
                rig.asks(invite, "BYE", 2)
                rig.far_takes("BYE")
                rig.far_replies(200)
            elif how == "far side hangs up":
                rig.far_asks("BYE")
                rig.reply(rig.take("BYE"), 200)
            else:
                rig.run(70)
                rig.far_takes("BYE")
                rig.far_replies(200)
        rig.run(140)
        rig.far_forgets()
        rig.inbox.clear()
        assert not rig.core.calls
        del invite
        rig._taken = None


@owners
@pytest.mark.parametrize("trusted", [False, True])
def test_how_urgent_a_call_is_is_believed_of_lines_that_say_so(make: Any, trusted: bool) -> None:
    rig = make("trust_priority = true" if trusted else "")
    rig.request("INVITE", lines=["Resource-Priority: esnet.0", "Priority: emergency"], body=SDP)
    rig.take(100)
    invite = rig.far_takes("INVITE")
    assert (invite.get("resource-priority"), invite.get("priority")) == (
        ("esnet.0", "emergency") if trusted else (None, None)
    )
