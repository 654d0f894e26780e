"""Trunks: whose calls they are, numbers, channels, challenges, probing, registering, time limits."""

from collections import deque

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, SITE, AgentFixture

NUMBERS = """
to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }]
from_device.called = [{ match = "0*", strip = 1, prefix = "+33" }]
from_device.caller = [{ match = "0*", strip = 1, prefix = "+33" }]
to_device.caller = [{ match = "+33*", strip = 3, prefix = "0" }]
"""
OUT = "sip:+33166@gw1;line=trunk1"


def test_numbers_are_rewritten_each_way() -> None:
    fixture = AgentFixture(NUMBERS)
    fixture.request(
        "INVITE", "sip:0166@127.0.0.11", body=SDP, sender='"An, Na" <sip:0155@127.0.0.21>', recipient="<sip:0166@x>"
    )
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    assert invite.uri == "sip:+33166@m1"
    assert (invite.get("from") or "").startswith('"An, Na" <sip:+33155@paris>;tag=')
    assert invite.get("to") == "<sip:+33166@paris>"
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    out = fixture.take("INVITE")
    assert out.uri == "sip:0166@127.0.0.21:5060"
    assert (out.get("from") or "").startswith("<sip:0155@127.0.0.11>;tag=")
    assert out.get("to") == "<sip:0166@127.0.0.21>"


def test_who_hides_stays_hidden() -> None:
    fixture = AgentFixture(NUMBERS)
    fixture.request("INVITE", body=SDP, sender='"Anonymous" <sip:anonymous@anonymous.invalid>')
    fixture.take(100)
    value = fixture.m1.take("INVITE").get("from") or ""
    assert value.startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')


def test_channels_and_calls_per_second_are_limited() -> None:
    fixture = AgentFixture("cps = 2")
    for i, status in enumerate((100, 100, 503)):
        fixture.request("INVITE", body=SDP, call_id=f"c{i}", from_tag=f"f{i}")
        fixture.take(status)
    fixture.run(1.0)
    assert not fixture.inbox[CARRIER]  # said once and not again, for its address may be forged
    fixture.request("INVITE", body=SDP, call_id="c5", from_tag="f5")
    fixture.take(100)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    assert [message.status for message in fixture.m1.inbox if hasattr(message, "status")] == [503]


def test_a_longest_call_is_ended_on_both_sides() -> None:
    fixture = AgentFixture("longest_call = 100")
    fixture.answered_in()
    fixture.run(99)
    assert fixture.silent()
    fixture.run(1.5)
    assert "Longest call" in (fixture.take("BYE").get("reason") or "")
    assert "Longest call" in (fixture.m1.take("BYE").get("reason") or "")


def test_what_must_be_understood_and_is_not() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", lines=["Require: precondition"], body=SDP)
    assert fixture.take(420).get("unsupported") == "precondition"
    fixture.request("INVITE", lines=["Supported: timer", "Session-Expires: 60"], body=SDP, call_id="x")
    assert fixture.take(422).get("min-se") == "90"
    _, tag = fixture.answered_in()
    for cseq, method in enumerate(("SUBSCRIBE", "PUBLISH"), 5):
        fixture.request(method, to_tag=tag, cseq=cseq)
        assert "INFO" in (fixture.take(405).get("allow") or "")
    fixture.request("FROB", to_tag=tag, cseq=9)
    fixture.take(501)
    fixture.request("OPTIONS", to_tag=tag, cseq=10)
    fixture.take(200)
    fixture.request("OPTIONS", call_id="q")
    fixture.take(200)


def test_a_second_peer_is_tried_when_the_first_fails() -> None:
    second = Flow("udp", LISTEN, ("127.0.0.22", 5060))
    text = SITE.replace('peer = "sip:127.0.0.21:5060"', 'peer = ["sip:127.0.0.21:5060", "sip:127.0.0.22:5060"]')
    fixture = AgentFixture(text=text)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 503)
    fixture.take("ACK")
    invite = fixture.take("INVITE", second)
    assert not fixture.m1.inbox
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, flow=second)
    fixture.m1.take(200)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;2;1")
    fixture.reply(fixture.take("INVITE"), 503, ["Retry-After: 120"])  # a 503 moved one request
    fixture.take("ACK")
    fixture.take("INVITE", second)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;3;1")
    fixture.take("INVITE", second)  # the first asked to be left alone: 30 s at most
    fixture.run(31)
    fixture.inbox.clear()
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;4;1")
    fixture.take("INVITE")


def test_a_named_peer_is_looked_up_ahead() -> None:
    fixture = AgentFixture(
        text=SITE.replace("sip:127.0.0.21:5060", "sip:carrier.example").replace("%s", 'from = ["127.0.0.21"]%s')
    )
    [request] = {one.uri: one for one in fixture.resolving}.values()
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(100)
    assert fixture.silent()  # its name is still looked up
    fixture.core.done(request, [Place("udp", "127.0.0.21", 5060)], fixture.now)
    fixture.pump()
    assert fixture.take("INVITE").uri == "sip:+33166@carrier.example"
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;2;1")
    fixture.m1.take(100)
    assert fixture.take("INVITE").uri == "sip:+33166@carrier.example"


def test_a_call_waits_for_a_name_for_4_s_and_may_be_cancelled() -> None:
    text = SITE.replace("sip:127.0.0.21:5060", "sip:carrier.example").replace("%s", 'from = ["127.0.0.21"]%s')
    fixture = AgentFixture(text=text)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    branch = fixture.m1.request("INVITE", OUT, body=SDP, origin="o;2;1", call_id="c2")
    fixture.m1.take(100)
    fixture.m1.take(100)
    fixture.m1.request("CANCEL", OUT, branch=branch, call_id="c2")
    fixture.m1.take(200)
    fixture.m1.take(487)
    fixture.run(4.1)
    fixture.m1.take(503)
    assert fixture.silent() and not fixture.core.calls


REGISTER = (
    'register = { registrar = "sip:127.0.0.21:5060", user = "ours", password = { env = "ALICE" }, expires = 600 }'
)


def test_a_trunk_registers_and_proves_itself() -> None:
    from sip.digest import DigestServer

    fixture = AgentFixture(REGISTER)
    request = fixture.take("REGISTER")
    assert request.uri == "sip:127.0.0.21:5060"
    assert not fixture.core.lines["trunk1"].far_side.registered
    digest = DigestServer("carrier", b"x" * 16, {"ours": "secret"}.get)
    fixture.reply(request, 401, digest.challenge(fixture.now))
    request = fixture.take("REGISTER")
    assert digest.check(request, fixture.now).accepted
    fixture.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    assert fixture.core.lines["trunk1"].in_service
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.reply(invite, 407, digest.challenge(fixture.now, proxy=True))
    fixture.take("ACK")
    again = fixture.take("INVITE")
    assert digest.check(again, fixture.now, proxy=True).accepted
    assert (again.call_id, again.from_tag, again.cseq) == (invite.call_id, invite.from_tag, invite.cseq + 1)
    fixture.reply(again, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    fixture.take("ACK")
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="far", cseq=2, origin="o;2;1")
    bye = fixture.take("BYE")
    fixture.reply(bye, 401, digest.challenge(fixture.now))
    again = fixture.take("BYE")
    assert digest.check(again, fixture.now).accepted
    fixture.reply(again, 200)
    fixture.m1.take(200)
    assert not fixture.core.calls


def test_a_call_waits_for_the_first_answer_of_the_registrar() -> None:
    fixture = AgentFixture(REGISTER)
    request = fixture.take("REGISTER")
    assert fixture.core.lines["trunk1"].in_service  # for all that servers know
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    branch = fixture.m1.request("INVITE", OUT, body=SDP, origin="o;2;1", call_id="c2")
    fixture.m1.take(100)
    fixture.m1.take(100)
    fixture.m1.request("CANCEL", OUT, branch=branch, call_id="c2")
    fixture.m1.take(200)
    fixture.m1.take(487)
    assert fixture.silent()
    fixture.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    fixture.take("INVITE")
    assert fixture.silent() and len(fixture.core.calls) == 1


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_call_that_waits_and_comes_again_from_a_new_server_is_one_call(cancelled: bool) -> None:
    fixture = AgentFixture(REGISTER)
    request = fixture.take("REGISTER")
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    branch = fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1", call_id="under-another-id")
    if cancelled:
        fixture.m1.request("CANCEL", OUT, branch=branch, call_id="under-another-id")
    fixture.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    if cancelled:
        assert fixture.silent() and not fixture.core.calls
        fixture.m1.inbox.clear()
        fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1", call_id="under-a-third-id")
        fixture.m1.take(487)
        fixture.run(fixture.core.deduplication.lifetime + 2)
        assert not len(fixture.core.deduplication)
        return
    invite = fixture.take("INVITE")
    assert fixture.silent() and len(fixture.core.calls) == 1
    fixture.m1.inbox.clear()
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    assert fixture.m1.take(200).call_id == "under-another-id"


@pytest.mark.parametrize("status", [403, 503, None])
def test_a_call_that_waits_for_a_registrar_in_vain_is_refused(status: int | None) -> None:
    fixture = AgentFixture(REGISTER)
    request = fixture.take("REGISTER")
    told = len(fixture.m1.heads)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(100)
    if status is None:
        fixture.run(3.8)
        assert not fixture.m1.inbox
        fixture.run(0.4)
    else:
        fixture.reply(request, status)
    line = fixture.core.lines["trunk1"]
    assert (f"answered {status}" if status else "has not answered yet") in line.why
    assert len(fixture.m1.heads) > told  # servers look for other lines from now on
    fixture.m1.take(503)
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;2;1", call_id="c2")
    fixture.m1.take(503)
    assert not fixture.core.calls


def challenge_of(realm: str, nonce: str, stale: str = "") -> str:
    return f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{stale}'


def registered_bed() -> AgentFixture:
    fixture = AgentFixture(REGISTER)
    request = fixture.take("REGISTER")
    fixture.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    return fixture


def test_two_proxies_with_a_realm_each_are_satisfied_and_the_ack_has_the_credentials() -> None:
    fixture = registered_bed()
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 407, ["Proxy-Authenticate: " + challenge_of("one", "1")])
    fixture.take("ACK")
    invite = fixture.take("INVITE")
    fixture.reply(invite, 407, ["Proxy-Authenticate: " + challenge_of("two", "2")])
    assert "proxy-authorization" in fixture.take("ACK")
    invite = fixture.take("INVITE")
    given = invite.all("proxy-authorization")
    assert [value.partition('realm="')[2][:3] for value in given] == ["two", "one"]
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    assert fixture.take("ACK").all("proxy-authorization") == given
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    assert fixture.take("ACK").all("proxy-authorization") == given


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE"])
def test_a_peer_that_finds_each_nonce_stale_is_given_up(method: str) -> None:
    fixture = registered_bed()
    fixture.answered_out()
    fixture.m1.request(method, "sip:gw1", call_id="s-1", to_tag="devtag", cseq=2, origin="o;2;1")
    tries = 0
    while tries < 10 and not fixture.silent():
        request = fixture.inbox[CARRIER].popleft()
        if isinstance(request, Request) and request.method == method:
            tries += 1
            fixture.reply(request, 407, ["Proxy-Authenticate: " + challenge_of("r", str(tries), ", stale=true")])
    assert tries == 3
    fixture.m1.inbox = deque(one for one in fixture.m1.inbox if getattr(one, "status", 0) != 100)
    assert fixture.m1.take(403)


def test_probing_takes_a_trunk_out_of_service_and_back() -> None:
    fixture = AgentFixture("options = { interval = 10, misses = 2 }")
    told = len(fixture.m1.heads)
    fixture.reply(fixture.take("OPTIONS"), 200)
    fixture.run(10)
    fixture.inbox[CARRIER].clear()
    fixture.run(2 + 10 + 2.1)
    line = fixture.core.lines["trunk1"]
    assert "no answer" in line.why
    assert len(fixture.m1.heads) > told
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(503)
    fixture.inbox[CARRIER].clear()
    while fixture.silent():
        fixture.run(0.1)
    fixture.reply(fixture.take("OPTIONS"), 404)
    assert line.in_service


def test_a_device_with_session_timers_refreshes_and_is_answered_here() -> None:
    fixture = AgentFixture("session_timer = { expires = 1800, min_se = 90 }")
    fixture.request("INVITE", lines=["Supported: timer", "Session-Expires: 300;refresher=uac"], body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    assert "session-expires" not in invite
    assert "timer" not in (invite.get("supported") or "")
    fixture.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    ok = fixture.take(200)
    assert ok.get("session-expires") == "300;refresher=uac"
    assert ok.get("require") == "timer"
    fixture.request("ACK", to_tag="srvtag")
    fixture.m1.take("ACK")
    fixture.run(150)
    lines = ["Supported: timer", "Session-Expires: 300;refresher=uac"]
    fixture.request("INVITE", lines=lines, to_tag="srvtag", cseq=2, body=SDP)
    assert fixture.take(200).body == ok.body
    fixture.request("ACK", to_tag="srvtag", cseq=2)
    assert not fixture.m1.inbox
    fixture.run(267)
    assert fixture.silent()
    fixture.run(2)
    assert "expired" in (fixture.take("BYE").get("reason") or "")
    fixture.m1.take("BYE")


def test_the_agent_refreshes_what_the_device_does_not() -> None:
    fixture = AgentFixture("session_timer = { expires = 200, min_se = 90 }")
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="o;1;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    assert invite.get("session-expires") == "200;refresher=uac"
    fixture.reply(invite, 422, ["Min-SE: 400"])
    fixture.take("ACK")
    invite = fixture.take("INVITE")
    assert (invite.get("session-expires"), invite.get("min-se")) == ("400;refresher=uac", "400")
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="devtag")
    fixture.take("ACK")
    fixture.run(200.1)
    refresh = fixture.take("INVITE")
    assert refresh.body == invite.body
    assert refresh.to_tag == "devtag"
    fixture.reply(refresh, 200, ["Content-Type: application/sdp", "Session-Expires: 400;refresher=uac"], SDP)
    fixture.take("ACK")
    assert not fixture.m1.inbox
    fixture.run(200.1)
    fixture.reply(fixture.take("INVITE"), 481)
    fixture.take("ACK")
    fixture.m1.take("BYE")


def test_a_stream_that_broke_is_replaced_in_a_call() -> None:
    fixture = AgentFixture()
    stream = Flow("tcp", f"{LISTEN}#1", ("127.0.0.21", 40000))
    fixture.core.flow_changed(stream, "open", fixture.now)
    fixture.opened.append(stream)
    fixture.request("INVITE", body=SDP, flow=stream)
    fixture.take(100, stream)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.take(200, stream)
    fixture.request("ACK", to_tag="srvtag", flow=stream)
    fixture.m1.take("ACK")
    fixture.core.flow_changed(stream, "lost", fixture.now)
    fixture.m1.request(
        "BYE", "sip:gw1", call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag, origin="o;9;1"
    )
    other = fixture.opened[-1]
    assert other.remote == ("127.0.0.21", 40000)
    fixture.reply(fixture.take("BYE", other), 200, flow=other)
    fixture.m1.take(200)


@pytest.mark.parametrize("gone", ["lost", "silent"])
def test_a_tcp_peer(gone: str) -> None:
    fixture = AgentFixture(text=SITE.replace("sip:127.0.0.21:5060", "sip:127.0.0.21:5060;transport=tcp"))
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(100)
    [flow] = [flow for flow in fixture.inbox if flow.transport == "tcp"]
    assert flow.remote == ("127.0.0.21", 5060)
    assert flow.local.endswith("@127.0.0.11")
    fixture.take("INVITE", flow)
    if gone == "lost":
        fixture.core.flow_changed(flow, "lost", fixture.now)
        fixture.pump()
    else:
        fixture.run(33)
    fixture.m1.take(503 if gone == "lost" else 408)
    assert not fixture.core.calls


def test_a_device_cannot_make_early_dialogs_without_end() -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    for index in range(40):
        fixture.reply(invite, 183, tag=f"t{index}")
    assert len(fixture.m1.inbox) == 16
    assert len(fixture.core.stack.legs) < 25
