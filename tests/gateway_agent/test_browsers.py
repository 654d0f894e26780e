"""Phones in browsers (RFC 7118): their hosts are no hosts, and they are reached by the flow that they came by."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture, message, response_to
from tests.gateway_agent.test_phone import AOR, proved

LISTEN = '"udp:127.0.0.11:5060", '
TLS = 'tls = { certificate = "a.pem", key = "a.key" }\norigins = "https://phone.example"'
BROWSER = Flow("wss", "127.0.0.11:7443#1", ("127.0.0.41", 51000))
HOST = "df7jal23ls0d.invalid"
CONTACT = f"<sip:alice@{HOST};transport=ws>"
TYPE = "Content-Type: application/sdp"


def served(flow: Flow = BROWSER) -> AgentFixture:
    text = SITE.replace(LISTEN, f'{LISTEN}"wss:127.0.0.11:7443", "ws:127.0.0.11:7080", ', 1)
    fixture = AgentFixture(text=text.replace("[agents.gw1]\n", f"[agents.gw1]\n{TLS}\n", 1))
    fixture.opened.append(flow)
    fixture.core.flow_changed(flow, "open", fixture.now)
    return fixture


def says(fixture: AgentFixture, method: str, uri: str, lines: list[str], body: bytes = b"", cseq: int = 1,
         call_id: str = "web", flow: Flow = BROWSER, to: str = AOR, contact: str = CONTACT) -> None:  # fmt: skip
    head = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{flow.transport.upper()} {HOST};branch=z9hG4bK{method}{cseq}{call_id}",
        f"From: {AOR};tag=web",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        "Max-Forwards: 70",
        f"Contact: {contact}",
    ]
    fixture.say(message([*head, *lines], body), flow)


def registers(fixture: AgentFixture, flow: Flow = BROWSER) -> None:
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600"], flow=flow)
    line = proved(fixture, fixture.take(401, flow), "REGISTER", "sip:paris")
    says(fixture, "REGISTER", "sip:paris", ["Expires: 600", line], cseq=2, flow=flow)
    answer = fixture.take(200, flow)
    assert answer.get("via").startswith(f"SIP/2.0/{flow.transport.upper()} {HOST};")
    assert answer.get("contact").startswith(CONTACT)


@pytest.mark.parametrize("flow", [BROWSER, Flow("ws", "127.0.0.11:7080#1", ("127.0.0.41", 51000))])
def test_a_browser_is_called_by_its_flow(flow: Flow) -> None:
    fixture = served(flow)
    registers(fixture, flow)
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE", flow)
    assert invite.uri == f"sip:alice@{HOST};transport=ws"
    port = flow.local.partition("#")[0]
    assert invite.get("via").startswith(f"SIP/2.0/{flow.transport.upper()} {port};branch=")
    assert invite.get("contact") == f"<sip:{port};transport=ws>"
    fixture.say(response_to(invite, 200, [f"Contact: {CONTACT}", TYPE], SDP, "browser"), flow)
    ok = fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    assert fixture.take("ACK", flow).uri == f"sip:alice@{HOST};transport=ws"
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKb;1")
    fixture.take("BYE", flow)


def test_a_browser_calls() -> None:
    fixture = served()
    registers(fixture)
    to = "<sip:+33166@paris>"
    says(fixture, "INVITE", "sip:+33166@paris", [TYPE], SDP, call_id="out", to=to)
    line = proved(fixture, fixture.take(407, BROWSER), "INVITE", "sip:+33166@paris")
    says(fixture, "INVITE", "sip:+33166@paris", [TYPE, line], SDP, cseq=2, call_id="out", to=to)
    fixture.take(100, BROWSER)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    assert fixture.take(200, BROWSER).get("contact") == "<sip:127.0.0.11:7443;transport=ws>"


def test_a_browser_that_is_gone_is_not_looked_for() -> None:
    fixture = served()
    registers(fixture)
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.take("INVITE", BROWSER)
    before = len(fixture.all_opened)
    fixture.core.flow_changed(BROWSER, "lost", fixture.now)
    fixture.pump()
    fixture.m1.take(503)
    assert len(fixture.all_opened) == before
    assert not fixture.core.lines["alice"].in_service


def test_keep_alives_of_a_browser() -> None:
    fixture = served()
    said: list[bytes] = []
    fixture._carry = lambda action: said.append(action.data)  # type: ignore[method-assign]
    fixture.say(b"\r\n\r\n", BROWSER)
    assert said == [b"\r\n"]
    fixture.say(b"\r\n", BROWSER)
    assert said == [b"\r\n"]


def test_messages_of_a_browser_need_no_length() -> None:
    fixture = served()
    head = [
        "OPTIONS sip:paris SIP/2.0", f"Via: SIP/2.0/WSS {HOST};branch=z9hG4bKl", f"From: {AOR};tag=web", f"To: {AOR}",
        "Call-ID: l", "CSeq: 1 OPTIONS", "Max-Forwards: 70", "", "",
    ]  # fmt: skip
    fixture.say("\r\n".join(head).encode(), BROWSER)
    assert fixture.take(200, BROWSER).get("via").startswith(f"SIP/2.0/WSS {HOST};branch=z9hG4bKl")
