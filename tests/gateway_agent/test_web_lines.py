"""``kind = "web"``: browsers alone, by password or token, in several tabs; a call waits for one that lost its way."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import ALICE, SDP, SITE, AgentFixture, response_to
from tests.gateway_agent.test_browsers import BROWSER, CONTACT, LISTEN, TLS, TYPE, says
from tests.gateway_agent.test_phone import proved
from tests.gateway_agent.test_phone import register as register_by_udp
from tests.tokens import KEY, token

WALL_OFFSET = 1_700_000_000.0
INSTANCE = '+sip.instance="<urn:uuid:{}>";reg-id=1'
ELSEWHERE = Flow("wss", "127.0.0.11:7443#2", ("127.0.0.42", 51001))
THIRD = Flow("wss", "127.0.0.11:7443#3", ("127.0.0.43", 51002))
SECURED = SDP.replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVPF")
WEB = 'kind = "web"\nagent = "gw1"\n'


def served(more: str = "", password: bool = True) -> AgentFixture:
    secret = 'password = { env = "ALICE" }\n'
    text = SITE.replace(LISTEN, f'{LISTEN}"wss:127.0.0.11:7443", ', 1)
    text = text.replace("[agents.gw1]\n", f'[agents.gw1]\n{TLS}\ntoken_key = {{ env = "TOKEN_KEY" }}\n', 1)
    text = text.replace(f'kind = "phone"\nagent = "gw1"\n{secret}', f"{WEB}{secret * password}{more}")
    assert WEB in text
    fixture = AgentFixture(text=text)
    fixture.core.wall_offset = WALL_OFFSET
    for flow in (BROWSER, ELSEWHERE, THIRD):
        connects(fixture, flow)
    return fixture


def connects(fixture: AgentFixture, flow: Flow) -> None:
    fixture.opened.append(flow)
    fixture.core.flow_changed(flow, "open", fixture.now)


def bearer(fixture: AgentFixture, user: str = "alice", seconds: float = 300.0, key: bytes = KEY) -> str:
    return f"Authorization: Bearer {token({'user': user, 'exp': fixture.now + WALL_OFFSET + seconds}, key)}"


def shows_token(fixture: AgentFixture, flow: Flow = BROWSER, instance: str = "1", cseq: int = 1) -> None:
    line = bearer(fixture)
    contact = f"{CONTACT};{INSTANCE.format(instance)}"
    lines, call_id = ["Expires: 600", line], f"r{instance}"
    says(fixture, "REGISTER", "sip:paris", lines, cseq=cseq, flow=flow, contact=contact, call_id=call_id)
    assert fixture.take(200, flow)


def calls(fixture: AgentFixture, flow: Flow = BROWSER) -> Request:
    """A call of the browser, answered: what the server got."""
    to = "<sip:+33166@paris>"
    says(fixture, "INVITE", "sip:+33166@paris", [TYPE, bearer(fixture)], SECURED, call_id="out", to=to, flow=flow)
    fixture.take(100, flow)
    invite: Request = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 200, body=SECURED, lines=[TYPE])
    ok = fixture.take(200, flow)
    says(fixture, "ACK", "sip:127.0.0.11", [], call_id="out", to=f"{to};tag={ok.to_tag}", flow=flow)
    fixture.m1.take("ACK")
    return invite


def loses(fixture: AgentFixture, flow: Flow) -> None:
    fixture.opened.remove(flow)
    fixture.core.flow_changed(flow, "lost", fixture.now)
    fixture.pump()


def test_a_token_registers_and_calls_without_a_challenge() -> None:
    fixture = served(password=False)
    shows_token(fixture)
    assert fixture.core.lines["alice"].in_service
    invite = calls(fixture)
    assert "authorization" not in invite, "a token is for the agent alone"


def test_both_are_offered_and_a_password_goes_on_to_do() -> None:
    fixture = served()
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600"])
    challenge = fixture.take(401, BROWSER)
    schemes = [line.split()[0] for line in challenge.all("www-authenticate")]
    assert schemes == ["Digest", "Digest", "Bearer"]
    line = proved(fixture, challenge, "REGISTER", "sip:paris")
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600", line], cseq=2)
    fixture.take(200, BROWSER)


@pytest.mark.parametrize(
    "changes", [{"user": "bob"}, {"seconds": -10.0}, {"key": b"another key of thirty-two bytes!!"}]
)
def test_a_bad_token_registers_nobody(changes: dict[str, object]) -> None:
    fixture = served()
    line = bearer(fixture, **changes)  # type: ignore[arg-type]
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600", line])
    assert 'error="invalid_token"' in fixture.take(401, BROWSER).all("www-authenticate")[-1]
    assert not fixture.core.lines["alice"].in_service


def test_a_token_of_another_user_registers_nobody() -> None:
    fixture = served()
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600", bearer(fixture)], to="<sip:bob@paris>")
    fixture.take(403, BROWSER)
    assert not fixture.core.lines["alice"].in_service


def test_a_registration_ends_with_its_token() -> None:
    fixture = served()
    shows_token(fixture)
    fixture.run(299)
    assert fixture.core.lines["alice"].in_service
    fixture.run(10)
    assert not fixture.core.lines["alice"].in_service


def test_a_web_line_is_for_browsers_alone() -> None:
    fixture = served()
    assert register_by_udp(fixture) == 403
    assert not fixture.core.lines["alice"].in_service
    uri = "sip:+33166@paris"
    common = {"flow": ALICE, "sender": "<sip:alice@paris>", "recipient": f"<{uri}>", "call_id": "u-1"}
    fixture.request("INVITE", uri, body=SDP, **common)  # type: ignore[arg-type]
    line = proved(fixture, fixture.take(407, ALICE), "INVITE", uri)
    fixture.request("ACK", uri, **common)  # type: ignore[arg-type]
    fixture.request("INVITE", uri, [line], SDP, cseq=2, **common)  # type: ignore[arg-type]
    fixture.take(403, ALICE)
    assert not fixture.m1.inbox


def test_a_token_says_nothing_by_udp() -> None:
    fixture = served()
    fields = {"flow": ALICE, "sender": "<sip:alice@paris>", "recipient": "<sip:alice@paris>", "call_id": "u-2"}
    fixture.request("REGISTER", "sip:paris", ["Expires: 600", bearer(fixture)], **fields)  # type: ignore[arg-type]
    challenge = fixture.take(401, ALICE)
    assert not any(line.startswith("Bearer") for line in challenge.all("www-authenticate"))


def test_all_tabs_ring_and_one_answers() -> None:
    fixture = served()
    shows_token(fixture, BROWSER, "1")
    shows_token(fixture, ELSEWHERE, "2")
    assert fixture.core.lines["alice"].far_side.contacts == 2
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SECURED, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE", BROWSER)
    assert fixture.take("INVITE", ELSEWHERE).uri.startswith("sip:alice@df7jal23ls0d.invalid")
    fixture.say(response_to(invite, 200, [f"Contact: {CONTACT}", TYPE], SECURED, "tab"), BROWSER)
    fixture.m1.take(200)


def test_a_call_goes_on_when_its_browser_connects_anew() -> None:
    fixture = served()
    shows_token(fixture)
    invite = calls(fixture)
    loses(fixture, BROWSER)
    fixture.run(30)
    shows_token(fixture, ELSEWHERE, cseq=2)
    fixture.run(60)
    assert not fixture.m1.inbox, "the far end was told of nothing"
    says(fixture, "INVITE", "sip:127.0.0.11", [TYPE], SECURED.replace(b"4000", b"4002"), cseq=3, call_id="out",
         to="<sip:+33166@paris>;tag=" + _own_tag(fixture), flow=ELSEWHERE)  # fmt: skip
    fixture.take(100, ELSEWHERE)
    anew = fixture.m1.take("INVITE")
    assert (anew.call_id, anew.body) == (invite.call_id, SECURED.replace(b"4000", b"4002"))


def test_a_request_with_a_token_takes_its_call_along() -> None:
    fixture = served()
    shows_token(fixture)
    calls(fixture)
    loses(fixture, BROWSER)
    to = "<sip:+33166@paris>;tag=" + _own_tag(fixture)
    says(fixture, "INVITE", "sip:127.0.0.11", [TYPE], SECURED, cseq=3, call_id="out", to=to, flow=ELSEWHERE)
    fixture.take(407, ELSEWHERE)
    assert not fixture.m1.inbox
    line = bearer(fixture)
    says(fixture, "INVITE", "sip:127.0.0.11", [TYPE, line], SECURED, cseq=4, call_id="out", to=to, flow=ELSEWHERE)
    fixture.take(100, ELSEWHERE)
    fixture.m1.take("INVITE")
    fixture.run(100)
    assert fixture.core.calls


def test_a_call_is_ended_when_its_browser_does_not_come_back() -> None:
    fixture = served("return_within = 20.0\n")
    shows_token(fixture)
    calls(fixture)
    loses(fixture, BROWSER)
    fixture.run(19)
    assert not fixture.m1.inbox and fixture.core.calls
    fixture.run(2)
    assert "did not come back" in fixture.m1.take("BYE").get("reason")


def test_each_loss_has_its_own_time() -> None:
    fixture = served("return_within = 20.0\n")
    shows_token(fixture)
    calls(fixture)
    loses(fixture, BROWSER)
    fixture.run(15)
    shows_token(fixture, ELSEWHERE, cseq=2)
    fixture.run(1)
    loses(fixture, ELSEWHERE)
    fixture.run(15)
    assert not fixture.m1.inbox, "the time of the first loss was over"
    fixture.run(6)
    fixture.m1.take("BYE")


def test_without_a_limit_the_far_end_decides() -> None:
    fixture = served("return_within = 0\n")
    shows_token(fixture)
    calls(fixture)
    loses(fixture, BROWSER)
    fixture.run(1000)
    assert not [one for one in fixture.m1.inbox if isinstance(one, Request) and one.method == "BYE"]
    assert fixture.core.calls


OFFER = b"\r\n".join((
    b"v=0", b"o=- 4611731400430051336 2 IN IP4 127.0.0.1", b"s=-", b"t=0 0", b"a=group:BUNDLE 0 1",
    b"a=extmap-allow-mixed", b"a=msid-semantic: WMS s", b"m=audio 50000 UDP/TLS/RTP/SAVPF 111 0 8 110",
    b"c=IN IP4 127.0.0.41", b"a=rtcp:9 IN IP4 0.0.0.0",
    b"a=candidate:1 1 udp 2122260223 127.0.0.41 50000 typ host generation 0 network-id 1", b"a=ice-ufrag:F7gI",
    b"a=ice-pwd:x9cml/YzichV2+XlhiMu8g+0", b"a=ice-options:trickle", b"a=fingerprint:sha-256 D2:FA:0E:C3",
    b"a=setup:actpass", b"a=mid:0", b"a=sendrecv", b"a=rtcp-mux", b"a=rtpmap:111 opus/48000/2",
    b"a=rtcp-fb:111 transport-cc", b"a=fmtp:111 minptime=10;useinbandfec=1", b"a=rtpmap:0 PCMU/8000",
    b"a=rtpmap:8 PCMA/8000", b"a=rtpmap:110 telephone-event/48000", b"a=ssrc:1 cname:x",
    b"m=video 9 UDP/TLS/RTP/SAVPF 96", b"c=IN IP4 0.0.0.0", b"a=mid:1", b"a=bundle-only",
    b"a=rtpmap:96 VP8/90000", b"",
))  # fmt: skip


def test_what_two_browsers_agree_on_is_not_touched() -> None:
    fixture = served()
    shows_token(fixture)
    to = "<sip:1002@paris>"
    says(fixture, "INVITE", "sip:1002@paris", [TYPE, bearer(fixture)], OFFER, call_id="out", to=to)
    fixture.take(100, BROWSER)
    offered = fixture.m1.take("INVITE")
    assert _media(offered.body) == _media(OFFER)
    fixture.m1.reply(offered, 200, body=OFFER.replace(b"actpass", b"active"), lines=[TYPE])
    assert _media(fixture.take(200, BROWSER).body) == _media(OFFER.replace(b"actpass", b"active"))


@pytest.mark.parametrize(
    ("protocol", "port", "rings"),
    [
        (b"RTP/AVP", b"4000", False),
        (b"RTP/SAVP", b"4000", False),
        (b"udptl", b"4000", False),
        (b"UDP/TLS/RTP/SAVPF", b"4000", True),
        (b"UDP/TLS/RTP/SAVP", b"4000", True),
        (b"UDP/DTLS/SCTP", b"4000", True),
        (b"RTP/AVP", b"0", True),
    ],
)
def test_no_browser_rings_for_media_that_it_cannot_take(protocol: bytes, port: bytes, rings: bool) -> None:
    fixture = served()
    shows_token(fixture)
    body = SDP.replace(b"4000 RTP/AVP", b"%b %b" % (port, protocol))
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=body, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    if rings:
        assert _media(fixture.take("INVITE", BROWSER).body) == _media(body)
    else:
        fixture.m1.take(488)
        assert fixture.silent(BROWSER) and not fixture.core.calls
        assert not fixture.core.lines["alice"].busy


def test_an_offer_is_left_to_the_browser_where_none_came() -> None:
    fixture = served()
    shows_token(fixture)
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    assert not fixture.take("INVITE", BROWSER).body


def test_a_change_to_media_without_dtls_is_refused_and_the_call_stands() -> None:
    fixture = served()
    shows_token(fixture)
    invite = calls(fixture)
    common = {"call_id": invite.call_id, "from_tag": "srvtag", "to_tag": invite.from_tag}
    fixture.m1.request("INVITE", "sip:gw1", body=SDP, origin="gw2;z9hG4bKt;1", **common)
    fixture.m1.take(100)
    fixture.m1.take(488)
    assert fixture.silent(BROWSER) and fixture.core.calls


def test_an_answer_without_dtls_ends_the_call_with_488() -> None:
    fixture = served()
    shows_token(fixture)
    to = "<sip:+33166@paris>"
    says(fixture, "INVITE", "sip:+33166@paris", [TYPE, bearer(fixture)], SECURED, call_id="out", to=to)
    fixture.take(100, BROWSER)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    fixture.take(488, BROWSER)
    fixture.m1.take("ACK")
    fixture.m1.take("BYE")


def _media(body: bytes) -> list[bytes]:
    """All but the origin, which has versions of our own."""
    return [line for line in body.split(b"\r\n") if not line.startswith(b"o=")]


def _own_tag(fixture: AgentFixture) -> str:
    (call,) = fixture.core.calls.values()
    assert call.device is not None
    return call.device.dialog.local_tag
