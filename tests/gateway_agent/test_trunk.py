"""Trunks: whose calls they are, numbers, channels, challenges, probing, registering, time limits."""

from collections import deque

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Request
from tests.gateway_agent.bed import CARRIER, LISTEN, SDP, SITE, Bed

NUMBERS = """
to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }]
from_device.called = [{ match = "0*", strip = 1, prefix = "+33" }]
from_device.caller = [{ match = "0*", strip = 1, prefix = "+33" }]
to_device.caller = [{ match = "+33*", strip = 3, prefix = "0" }]
"""
OUT = "sip:+33166@gw1;line=trunk1"


def test_numbers_are_rewritten_each_way() -> None:
    bed = Bed(NUMBERS)
    bed.request(
        "INVITE", "sip:0166@127.0.0.11", body=SDP, sender='"An, Na" <sip:0155@127.0.0.21>', recipient="<sip:0166@x>"
    )
    bed.take(100)
    invite = bed.m1.take("INVITE")
    assert invite.uri == "sip:+33166@m1"
    assert (invite.get("from") or "").startswith('"An, Na" <sip:+33155@paris>;tag=')
    assert invite.get("to") == "<sip:+33166@paris>"
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    out = bed.take("INVITE")
    assert out.uri == "sip:0166@127.0.0.21:5060"
    assert (out.get("from") or "").startswith("<sip:0155@127.0.0.11>;tag=")
    assert out.get("to") == "<sip:0166@127.0.0.21>"


def test_who_hides_stays_hidden() -> None:
    bed = Bed(NUMBERS)
    bed.request("INVITE", body=SDP, sender='"Anonymous" <sip:anonymous@anonymous.invalid>')
    bed.take(100)
    value = bed.m1.take("INVITE").get("from") or ""
    assert value.startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')


def test_channels_and_calls_per_second_are_limited() -> None:
    bed = Bed("cps = 2")
    for i, status in enumerate((100, 100, 503)):
        bed.request("INVITE", body=SDP, call_id=f"c{i}", from_tag=f"f{i}")
        bed.take(status)
    bed.run(1.0)
    assert not bed.inbox[CARRIER]  # said once and not again, for its address may be forged
    bed.request("INVITE", body=SDP, call_id="c5", from_tag="f5")
    bed.take(100)
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    assert [message.status for message in bed.m1.inbox if hasattr(message, "status")] == [503]


def test_a_longest_call_is_ended_on_both_sides() -> None:
    bed = Bed("longest_call = 100")
    bed.answered_in()
    bed.run(99)
    assert bed.silent()
    bed.run(1.5)
    assert "Longest call" in (bed.take("BYE").get("reason") or "")
    assert "Longest call" in (bed.m1.take("BYE").get("reason") or "")


def test_what_must_be_understood_and_is_not() -> None:
    bed = Bed()
    bed.request("INVITE", lines=["Require: 100rel"], body=SDP)
    assert bed.take(420).get("unsupported") == "100rel"
    bed.request("INVITE", lines=["Supported: timer", "Session-Expires: 60"], body=SDP, call_id="x")
    assert bed.take(422).get("min-se") == "90"
    _, tag = bed.answered_in()
    for cseq, method in enumerate(("UPDATE", "PRACK", "REFER"), 5):
        bed.request(method, to_tag=tag, cseq=cseq)
        assert "INFO" in (bed.take(405).get("allow") or "")
    bed.request("FROB", to_tag=tag, cseq=9)
    bed.take(501)
    bed.request("OPTIONS", to_tag=tag, cseq=10)
    bed.take(200)
    bed.request("OPTIONS", call_id="q")
    bed.take(200)


def test_a_second_peer_is_tried_when_the_first_fails() -> None:
    second = Flow("udp", LISTEN, ("127.0.0.22", 5060))
    text = SITE.replace('peer = "sip:127.0.0.21:5060"', 'peer = ["sip:127.0.0.21:5060", "sip:127.0.0.22:5060"]')
    bed = Bed(text=text)
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 503)
    bed.take("ACK")
    invite = bed.take("INVITE", second)
    assert not bed.m1.inbox
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, flow=second)
    bed.m1.take(200)
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;2;1")
    bed.reply(bed.take("INVITE"), 503, ["Retry-After: 120"])  # a 503 moved one request
    bed.take("ACK")
    bed.take("INVITE", second)
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;3;1")
    bed.take("INVITE", second)  # the first asked to be left alone: 30 s at most
    bed.run(31)
    bed.inbox.clear()
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;4;1")
    bed.take("INVITE")


def test_a_named_peer_is_looked_up_ahead() -> None:
    bed = Bed(
        text=SITE.replace("sip:127.0.0.21:5060", "sip:carrier.example").replace("%s", 'from = ["127.0.0.21"]%s')
    )
    [request] = {one.uri: one for one in bed.resolving}.values()
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(100)
    assert bed.silent()  # its name is still looked up
    bed.core.done(request, [Place("udp", "127.0.0.21", 5060)], bed.now)
    bed.pump()
    assert bed.take("INVITE").uri == "sip:+33166@carrier.example"
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;2;1")
    bed.m1.take(100)
    assert bed.take("INVITE").uri == "sip:+33166@carrier.example"


def test_a_call_waits_for_a_name_for_4_s_and_may_be_cancelled() -> None:
    text = SITE.replace("sip:127.0.0.21:5060", "sip:carrier.example").replace("%s", 'from = ["127.0.0.21"]%s')
    bed = Bed(text=text)
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    branch = bed.m1.request("INVITE", OUT, body=SDP, origin="o;2;1", call_id="c2")
    bed.m1.take(100)
    bed.m1.take(100)
    bed.m1.request("CANCEL", OUT, branch=branch, call_id="c2")
    bed.m1.take(200)
    bed.m1.take(487)
    bed.run(4.1)
    bed.m1.take(503)
    assert bed.silent() and not bed.core.calls


REGISTER = (
    'register = { registrar = "sip:127.0.0.21:5060", user = "ours", password = { env = "ALICE" }, expires = 600 }'
)


def test_a_trunk_registers_and_proves_itself() -> None:
    from sip.digest import DigestServer

    bed = Bed(REGISTER)
    request = bed.take("REGISTER")
    assert request.uri == "sip:127.0.0.21:5060"
    assert not bed.core.lines["trunk1"].in_service
    digest = DigestServer("carrier", b"x" * 16, {"ours": "secret"}.get)
    bed.reply(request, 401, digest.challenge(bed.now))
    request = bed.take("REGISTER")
    assert digest.check(request, bed.now).accepted
    bed.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    assert bed.core.lines["trunk1"].in_service
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    bed.reply(invite, 407, digest.challenge(bed.now, proxy=True))
    bed.take("ACK")
    again = bed.take("INVITE")
    assert digest.check(again, bed.now, proxy=True).accepted
    assert (again.call_id, again.from_tag, again.cseq) == (invite.call_id, invite.from_tag, invite.cseq + 1)
    bed.reply(again, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    bed.take("ACK")
    bed.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="far", cseq=2, origin="o;2;1")
    bye = bed.take("BYE")
    bed.reply(bye, 401, digest.challenge(bed.now))
    again = bed.take("BYE")
    assert digest.check(again, bed.now).accepted
    bed.reply(again, 200)
    bed.m1.take(200)
    assert not bed.core.calls


def challenge_of(realm: str, nonce: str, stale: str = "") -> str:
    return f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{stale}'


def registered_bed() -> Bed:
    bed = Bed(REGISTER)
    request = bed.take("REGISTER")
    bed.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    return bed


def test_two_proxies_with_a_realm_each_are_satisfied_and_the_ack_has_the_credentials() -> None:
    bed = registered_bed()
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 407, ["Proxy-Authenticate: " + challenge_of("one", "1")])
    bed.take("ACK")
    invite = bed.take("INVITE")
    bed.reply(invite, 407, ["Proxy-Authenticate: " + challenge_of("two", "2")])
    assert "proxy-authorization" in bed.take("ACK")
    invite = bed.take("INVITE")
    given = invite.all("proxy-authorization")
    assert [value.partition('realm="')[2][:3] for value in given] == ["two", "one"]
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    assert bed.take("ACK").all("proxy-authorization") == given
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    assert bed.take("ACK").all("proxy-authorization") == given


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE"])
def test_a_peer_that_finds_each_nonce_stale_is_given_up(method: str) -> None:
    bed = registered_bed()
    bed.answered_out()
    bed.m1.request(method, "sip:gw1", call_id="s-1", to_tag="devtag", cseq=2, origin="o;2;1")
    tries = 0
    while tries < 10 and not bed.silent():
        request = bed.inbox[CARRIER].popleft()
        if isinstance(request, Request) and request.method == method:
            tries += 1
            bed.reply(request, 407, ["Proxy-Authenticate: " + challenge_of("r", str(tries), ", stale=true")])
    assert tries == 3
    bed.m1.inbox = deque(one for one in bed.m1.inbox if getattr(one, "status", 0) != 100)
    assert bed.m1.take(403)


def test_probing_takes_a_trunk_out_of_service_and_back() -> None:
    bed = Bed("options = { interval = 10, misses = 2 }")
    told = len(bed.m1.heads)
    bed.reply(bed.take("OPTIONS"), 200)
    bed.run(10)
    bed.inbox[CARRIER].clear()
    bed.run(2 + 10 + 2.1)
    line = bed.core.lines["trunk1"]
    assert "no answer" in line.why
    assert len(bed.m1.heads) > told
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(503)
    bed.inbox[CARRIER].clear()
    while bed.silent():
        bed.run(0.1)
    bed.reply(bed.take("OPTIONS"), 404)
    assert line.in_service


def test_a_device_with_session_timers_refreshes_and_is_answered_here() -> None:
    bed = Bed("session_timer = { expires = 1800, min_se = 90 }")
    bed.request("INVITE", lines=["Supported: timer", "Session-Expires: 300;refresher=uac"], body=SDP)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    assert "session-expires" not in invite
    assert "timer" not in (invite.get("supported") or "")
    bed.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    ok = bed.take(200)
    assert ok.get("session-expires") == "300;refresher=uac"
    assert ok.get("require") == "timer"
    bed.request("ACK", to_tag="srvtag")
    bed.m1.take("ACK")
    bed.run(150)
    lines = ["Supported: timer", "Session-Expires: 300;refresher=uac"]
    bed.request("INVITE", lines=lines, to_tag="srvtag", cseq=2, body=SDP)
    bed.take(100)
    assert bed.take(200).body == ok.body
    bed.request("ACK", to_tag="srvtag", cseq=2)
    assert not bed.m1.inbox
    bed.run(267)
    assert bed.silent()
    bed.run(2)
    assert "expired" in (bed.take("BYE").get("reason") or "")
    bed.m1.take("BYE")


def test_the_agent_refreshes_what_the_device_does_not() -> None:
    bed = Bed("session_timer = { expires = 200, min_se = 90 }")
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    assert invite.get("session-expires") == "200;refresher=uac"
    bed.reply(invite, 422, ["Min-SE: 400"])
    bed.take("ACK")
    invite = bed.take("INVITE")
    assert (invite.get("session-expires"), invite.get("min-se")) == ("400;refresher=uac", "400")
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="devtag")
    bed.take("ACK")
    bed.run(200.1)
    refresh = bed.take("INVITE")
    assert refresh.body == invite.body
    assert refresh.to_tag == "devtag"
    bed.reply(refresh, 200, ["Content-Type: application/sdp", "Session-Expires: 400;refresher=uac"], SDP)
    bed.take("ACK")
    assert not bed.m1.inbox
    bed.run(200.1)
    bed.reply(bed.take("INVITE"), 481)
    bed.take("ACK")
    bed.m1.take("BYE")


def test_a_stream_that_broke_is_replaced_in_a_call() -> None:
    bed = Bed()
    stream = Flow("tcp", f"{LISTEN}#1", ("127.0.0.21", 40000))
    bed.core.flow_changed(stream, "open", bed.now)
    bed.opened.append(stream)
    bed.request("INVITE", body=SDP, flow=stream)
    bed.take(100, stream)
    invite = bed.m1.take("INVITE")
    bed.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    bed.take(200, stream)
    bed.request("ACK", to_tag="srvtag", flow=stream)
    bed.m1.take("ACK")
    bed.core.flow_changed(stream, "lost", bed.now)
    bed.m1.request(
        "BYE", "sip:gw1", call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag, origin="o;9;1"
    )
    other = bed.opened[-1]
    assert other.remote == ("127.0.0.21", 40000)
    bed.reply(bed.take("BYE", other), 200, flow=other)
    bed.m1.take(200)


@pytest.mark.parametrize("gone", ["lost", "silent"])
def test_a_tcp_peer(gone: str) -> None:
    bed = Bed(text=SITE.replace("sip:127.0.0.21:5060", "sip:127.0.0.21:5060;transport=tcp"))
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(100)
    [flow] = [flow for flow in bed.inbox if flow.transport == "tcp"]
    assert flow.remote == ("127.0.0.21", 5060)
    assert flow.local.endswith("@127.0.0.11")
    bed.take("INVITE", flow)
    if gone == "lost":
        bed.core.flow_changed(flow, "lost", bed.now)
        bed.pump()
    else:
        bed.run(33)
    bed.m1.take(503 if gone == "lost" else 408)
    assert not bed.core.calls


def test_a_device_cannot_make_early_dialogs_without_end() -> None:
    bed = Bed()
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    for index in range(40):
        bed.reply(invite, 183, tag=f"t{index}")
    assert len(bed.m1.inbox) == 16
    assert len(bed.core.stack.legs) < 25
