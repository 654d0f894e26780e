"""Devices by TLS: who is found, what is shown to them, whose streams are reused, what sips means."""

from __future__ import annotations

import pytest

from sip.actions import Certified, Flow, Open, Send
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture

PEER = 'peer = "sip:127.0.0.21:5060"'
TYPE = "Content-Type: application/sdp"
LISTEN = '"udp:127.0.0.11:5060", '
TLS = 'tls = { certificate = "a.pem", key = "a.key", clients = "asked" }'
ACCEPTED = "127.0.0.11:5061#7"


def secured(peer: str = "sip:127.0.0.21:5061;transport=tls", more: str = "") -> AgentFixture:
    assert LISTEN in SITE and PEER in SITE
    text = SITE.replace(LISTEN, f'{LISTEN}"tls:127.0.0.11:5061", ', 1).replace(PEER, f'peer = "{peer}"', 1)
    text = text.replace("[agents.gw1]\n", f"[agents.gw1]\n{TLS}\n", 1)
    return AgentFixture(more, text=text)


def calls(fixture: AgentFixture) -> tuple[Flow, Request]:
    """A call to the trunk: the stream, and the INVITE there."""
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    (flow,) = [flow for flow in fixture.opened if flow.transport == "tls"]
    return flow, fixture.take("INVITE", flow)


def opens(fixture: AgentFixture) -> list[Open]:
    """What it wants of TLS."""
    return [one for one in fixture.all_opened if one.flow.transport == "tls"]


def accepted(fixture: AgentFixture, *names: str, host: str = "127.0.0.21", local: str = ACCEPTED) -> Flow:
    """A peer has connected, and has proved to be these."""
    flow = Flow("tls", local, (host, 40000))
    fixture.opened.append(flow)
    if names:
        fixture.core.done(Certified(flow), names, fixture.now)
    fixture.core.flow_changed(flow, "open", fixture.now)
    fixture.pump()
    return flow


def test_a_call_by_tls_says_so() -> None:
    fixture = secured()
    flow, invite = calls(fixture)
    assert flow.remote == ("127.0.0.21", 5061)
    assert invite.get("via").startswith("SIP/2.0/TLS 127.0.0.11:5061;branch=")
    assert invite.get("via").endswith(";rport;alias;keep")
    assert invite.get("contact") == "<sip:127.0.0.11:5061;transport=tls>"
    assert opens(fixture)[-1] == Open(flow, ("127.0.0.21",), "127.0.0.11", "")


def test_whom_tls_has_to_find_and_what_is_shown() -> None:
    more = 'certificate = ["a.example", "b.example"]\nca = "c.pem"\nadvertise = "sbc.example:5071"'
    fixture = secured(more=more)
    flow, invite = calls(fixture)
    (asked,) = {one for one in opens(fixture) if one.flow == flow}
    assert (asked.names, asked.shown) == (("a.example", "b.example"), "sbc.example")
    assert asked.authority.endswith("/c.pem")
    assert invite.get("contact") == "<sip:sbc.example:5071;transport=tls>"
    assert invite.get("via").startswith("SIP/2.0/TLS sbc.example:5071;")


def test_sips_is_kept_up() -> None:
    _, invite = calls(secured("sips:127.0.0.21:5061"))
    assert invite.uri.startswith("sips:+33166@127.0.0.21:5061")
    assert invite.get("contact") == "<sips:127.0.0.11:5061>"


@pytest.mark.parametrize(
    ("names", "status"), [(("a.example",), 100), (("b.example", "A.EXAMPLE"), 100), (("c.example",), 407), ((), 407)]
)
def test_calls_of_a_trunk_come_with_its_certificate(names: tuple[str, ...], status: int) -> None:
    fixture = secured(more='certificate = "a.example"')
    flow = accepted(fixture, *(name.lower() for name in names))
    fixture.request("INVITE", body=SDP, flow=flow)
    fixture.take(status, flow)


def test_who_proves_to_be_a_trunk_may_come_from_anywhere() -> None:
    fixture = secured(more='certificate = "a.example"')
    flow = accepted(fixture, "a.example", host="127.0.0.77")
    fixture.request("INVITE", body=SDP, flow=flow)
    fixture.take(100, flow)
    fixture.m1.take("INVITE")
    bound = secured(more='certificate = "a.example"\nfrom = "127.0.0.21"')
    flow = accepted(bound, "a.example", host="127.0.0.77")
    bound.request("INVITE", body=SDP, flow=flow)
    bound.take(407, flow)


def test_a_peer_without_a_certificate_is_its_address_where_none_is_wanted() -> None:
    fixture = secured()
    flow = accepted(fixture)
    fixture.request("INVITE", body=SDP, flow=flow)
    fixture.take(100, flow)
    assert fixture.m1.take("INVITE").get("via").startswith("SIP/2.0/TCP ")


def says_alias(fixture: AgentFixture, flow: Flow) -> None:
    head = (
        "OPTIONS sip:127.0.0.11 SIP/2.0", "Via: SIP/2.0/TLS 127.0.0.21:5061;branch=z9hG4bKalias;alias",
        "From: <sip:x@a.example>;tag=1", "To: <sip:y@b>", "Call-ID: al", "CSeq: 1 OPTIONS", "Max-Forwards: 70",
        "Content-Length: 0", "", "",
    )  # fmt: skip
    fixture.say("\r\n".join(head).encode(), flow)


def test_an_alias_is_used_towards_the_same_place() -> None:
    fixture = secured(more='certificate = "a.example"')
    flow = accepted(fixture, "a.example")
    says_alias(fixture, flow)
    fixture.take(200, flow)
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE", flow)
    assert ";alias" not in invite.get("via") and invite.get("contact") == "<sip:127.0.0.11:5061;transport=tls>"
    fixture.core.flow_changed(flow, "lost", fixture.now)
    fixture.pump()


def test_an_alias_of_somebody_else_is_not_believed() -> None:
    fixture = secured(more='certificate = "a.example"')
    flow = accepted(fixture, "c.example")
    says_alias(fixture, flow)
    ours, _ = calls_beside(fixture, flow)
    assert ours != flow


def calls_beside(fixture: AgentFixture, other: Flow) -> tuple[Flow, Request]:
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    (flow,) = [flow for flow in fixture.opened if flow.transport == "tls" and flow != other]
    return flow, fixture.take("INVITE", flow)


def test_keep_is_answered_on_streams() -> None:
    fixture = secured()
    flow = accepted(fixture)
    fixture.request("INVITE", body=SDP, flow=flow, branch="z9hG4bKx;keep;rport")
    assert ";keep=120;" in fixture.take(100, flow).get("via")
    fixture.request("INVITE", body=SDP, call_id="udp", branch="z9hG4bKy;keep;rport")
    assert ";keep;" in fixture.take(100).get("via")  # STUN is not spoken here


def test_sips_by_tls_is_answered_with_sips() -> None:
    fixture = secured()
    flow = accepted(fixture)
    contact = "Contact: <sips:pbx@127.0.0.21:5061>"
    fixture.request("INVITE", "sips:+33166@127.0.0.11", [contact], SDP, flow=flow)
    fixture.take(100, flow)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 200, body=SDP, lines=[TYPE])
    ok = fixture.take(200, flow)
    assert ok.get("contact") == "<sips:127.0.0.11:5061>"
    fixture.request("ACK", to_tag=ok.to_tag, flow=flow, lines=[contact])
    fixture.m1.take("ACK")
    fixture.run(0.02)
    fixture.m1.request("BYE", "sip:gw1", call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag, cseq=2,
                       origin="gw2;z9hG4bKb;1")  # fmt: skip
    (ours,) = [one.flow for one in opens(fixture)]  # the peer has not said that its stream leads there
    assert fixture.take("BYE", ours).uri == "sips:pbx@127.0.0.21:5061"


def test_sips_in_clear_is_refused() -> None:
    fixture = secured()
    fixture.request("INVITE", "sips:+33166@127.0.0.11", body=SDP)
    fixture.take(416)
    fixture.request("INVITE", body=SDP, lines=["Contact: <sips:pbx@127.0.0.21>"], call_id="other")
    fixture.take(480)


def test_an_answer_follows_a_stream_that_broke() -> None:
    fixture = secured()
    flow = accepted(fixture)
    fixture.request("INVITE", body=SDP, flow=flow)
    fixture.take(100, flow)
    invite = fixture.m1.take("INVITE")
    fixture.core.flow_changed(flow, "lost", fixture.now)
    fixture.pump()
    fixture.m1.reply(invite, 200, body=SDP, lines=[TYPE])
    (again,) = [one for one in opens(fixture) if one.flow.remote == ("127.0.0.21", 40000)]
    assert again.names == ("127.0.0.21",)
    fixture.take(200, again.flow)


def spoken(fixture: AgentFixture, flow: Flow) -> list[bytes]:
    """All that goes to a flow from now on."""
    said: list[bytes] = []
    carry = fixture._carry

    def note(action: Send) -> None:
        if action.flow == flow:
            said.append(action.data)
        else:
            carry(action)

    fixture._carry = note  # type: ignore[method-assign]
    return said


def pinged(fixture: AgentFixture, said: list[bytes]) -> None:
    """Wait for the next ping."""
    said.clear()
    for _ in range(121):
        if said:
            break
        fixture.run(1)
    assert said == [b"\r\n\r\n"]


def test_a_stream_of_ours_is_kept_open_and_given_up_when_its_end_has_vanished() -> None:
    fixture = secured()
    (flow,) = [one.flow for one in opens(fixture)]
    said = spoken(fixture, flow)
    for _ in range(3):
        pinged(fixture, said)
        fixture.say(b"\r\n", flow)
        fixture.run(40)  # a pong is no message that waits for its rest
        assert flow not in fixture.closed and len(said) == 1
    pinged(fixture, said)
    fixture.run(11)
    assert flow in fixture.closed
    fixture.run(240)
    assert len(said) == 1


def test_who_answers_no_pings_is_not_expected_to() -> None:
    fixture = secured()
    (flow,) = [one.flow for one in opens(fixture)]
    said = spoken(fixture, flow)
    fixture.run(1000)
    assert 8 <= len(said) <= 11 and flow not in fixture.closed


@pytest.mark.parametrize("line", ["keep=40", "Flow-Timer: 40"])
def test_a_registrar_says_how_long_a_stream_may_be_quiet(line: str) -> None:
    account = (
        'register = { registrar = "sip:127.0.0.21:5061;transport=tls", user = "u", password = { env = "ALICE" } }'
    )
    fixture = secured(more=account)
    (flow,) = [one.flow for one in opens(fixture)]
    register = fixture.take("REGISTER", flow)
    via = register.get("via").replace(";keep", ";keep=40") if line.startswith("keep") else register.get("via")
    more = [] if line.startswith("keep") else [line]
    head = [
        "SIP/2.0 200 OK", f"Via: {via}", f"From: {register.get('from')}", f"To: {register.get('to')};tag=r",
        f"Call-ID: {register.call_id}", f"CSeq: {register.cseq} REGISTER", f"Contact: {register.get('contact')}",
        "Expires: 3600", *more, "Content-Length: 0", "", "",
    ]  # fmt: skip
    said = spoken(fixture, flow)
    fixture.say("\r\n".join(head).encode(), flow)
    fixture.run(41)
    assert said == [b"\r\n\r\n"]


@pytest.mark.parametrize(
    ("peer", "transport", "port"),
    [("sip:127.0.0.21", "udp", 5060), ("sip:127.0.0.21;transport=tcp", "tcp", 5060),
     ("sip:127.0.0.21;transport=tls", "tls", 5061)],
)  # fmt: skip
def test_a_line_leaves_from_its_address(peer: str, transport: str, port: int) -> None:
    more = '"udp:127.0.0.13:5060", "tcp:127.0.0.13:5060", "tls:127.0.0.13:5061", '
    text = SITE.replace(LISTEN, f'{LISTEN}"tls:127.0.0.11:5061", {more}', 1).replace(PEER, f'peer = "{peer}"', 1)
    text = text.replace("[agents.gw1]\n", f"[agents.gw1]\n{TLS}\n", 1)
    fixture = AgentFixture('address = "127.0.0.13"', text=text)
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    (flow,) = [flow for flow, box in fixture.inbox.items() if any(getattr(m, "method", "") == "INVITE" for m in box)]
    assert flow.transport == transport and "127.0.0.13" in flow.local
    invite = fixture.take("INVITE", flow)
    assert invite.get("via").startswith(f"SIP/2.0/{transport.upper()} 127.0.0.13:{port};")
    assert f"127.0.0.13:{port}" in invite.get("contact") and "@127.0.0.13>" in invite.get("from")
