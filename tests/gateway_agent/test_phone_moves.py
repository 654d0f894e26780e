"""Phones whose flow changes in a call: by proof or by registration, never by tags alone (RFC 5626 5.3, RFC 3581)."""

from __future__ import annotations

import pytest

from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_relay import AgentRelay
from sip.actions import Flow
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import ALICE, LISTEN, SDP, SITE, AgentFixture
from tests.gateway_agent.test_phone import AOR, proved, register

TYPE = "Content-Type: application/sdp"
URI = "sip:200@paris"
MOVED = Flow("udp", LISTEN, ("127.0.0.31", 40001))
FAR = Flow("udp", LISTEN, ("127.0.0.99", 40001))
INSTANCE = '+sip.instance="<urn:uuid:1>";reg-id=1'


def talking(fixture: AgentFixture, flow: Flow = ALICE) -> Request:
    """A call of the phone, answered: what the server got."""
    common = {"flow": flow, "sender": AOR, "recipient": f"<{URI}>", "call_id": "p-1"}
    fixture.request("INVITE", URI, body=SDP, **common)  # type: ignore[arg-type]
    proof = proved(fixture, fixture.take(407, flow), "INVITE", URI)
    fixture.request("ACK", URI, **common)  # type: ignore[arg-type]
    fixture.request("INVITE", URI, [proof], SDP, cseq=2, **common)  # type: ignore[arg-type]
    fixture.take(100, flow)
    invite: Request = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 200, body=SDP, lines=[TYPE])
    fixture.take(200, flow)
    fixture.request("ACK", URI, to_tag="srvtag", cseq=2, **common)  # type: ignore[arg-type]
    fixture.m1.take("ACK")
    return invite


def say(
    fixture: AgentFixture, method: str, cseq: int, flow: Flow, lines: tuple[str, ...] = (), body: bytes = b""
) -> None:
    fixture.request(
        method,
        URI,
        lines,
        body,
        flow=flow,
        sender=AOR,
        recipient=f"<{URI}>",
        to_tag="srvtag",
        call_id="p-1",
        cseq=cseq,
    )


def hang_up(fixture: AgentFixture, invite: Request) -> None:
    """The far end does."""
    fixture.m1.request(
        "BYE", "sip:gw1", call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag, cseq=9, origin="gw2;b;1"
    )


@pytest.mark.parametrize("moved", [MOVED, FAR])
def test_a_proved_request_takes_the_dialog_along(moved: Flow) -> None:
    fixture = AgentFixture()
    register(fixture)
    invite = talking(fixture)
    say(fixture, "INVITE", 3, moved, body=SDP.replace(b"4000", b"4002"))
    proof = proved(fixture, fixture.take(407, moved), "INVITE", URI)
    assert not fixture.m1.inbox
    say(fixture, "INVITE", 4, moved, (proof,), SDP.replace(b"4000", b"4002"))
    fixture.take(100, moved)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    fixture.take(200, moved)
    say(fixture, "ACK", 4, moved)
    fixture.m1.take("ACK")
    hang_up(fixture, invite)
    fixture.take("BYE", moved)
    assert fixture.silent(ALICE)


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "ACK", "CANCEL"])
def test_tags_alone_move_nothing(method: str) -> None:
    fixture = AgentFixture()
    register(fixture)
    invite = talking(fixture)
    say(fixture, method, 1000, FAR)
    assert not fixture.m1.inbox
    say(fixture, "INFO", 3, ALICE)  # the stranger's number has not spoilt the dialog
    fixture.m1.reply(fixture.m1.take("INFO"), 200)
    fixture.take(200, ALICE)
    hang_up(fixture, invite)
    fixture.take("BYE", ALICE)


def test_another_user_s_password_moves_nothing() -> None:
    fixture = AgentFixture()
    register(fixture)
    talking(fixture)
    say(fixture, "BYE", 3, FAR)
    answer = proved(fixture, fixture.take(407, FAR), "BYE", URI).replace('response="', 'response="0')
    say(fixture, "BYE", 4, FAR, (answer,))
    fixture.take(407, FAR)
    assert not fixture.m1.inbox


def test_a_new_registration_of_the_same_device_takes_its_dialogs_along() -> None:
    fixture = AgentFixture()
    register(fixture, contact=f"<sip:alice@10.0.0.5:5062>;{INSTANCE}")
    invite = talking(fixture)
    register(fixture, flow=MOVED, contact=f"<sip:alice@10.0.0.5:5062>;{INSTANCE}", call_id="other")
    hang_up(fixture, invite)
    fixture.take("BYE", MOVED)
    assert fixture.silent(ALICE)


def test_another_device_behind_another_nat_takes_nothing() -> None:
    fixture = AgentFixture()
    register(fixture, contact="<sip:alice@10.0.0.5:5062>")
    invite = talking(fixture)
    register(fixture, flow=FAR, contact="<sip:alice@10.0.0.5:5062>", call_id="other")
    hang_up(fixture, invite)
    fixture.take("BYE", ALICE)
    assert fixture.silent(FAR)


@pytest.mark.parametrize("instance", [f";{INSTANCE}", ""])
def test_a_connection_made_anew_and_registered_by_takes_its_dialogs_along(instance: str) -> None:
    fixture = AgentFixture()
    first, second = (Flow("tcp", f"{LISTEN}#{n}", ("127.0.0.31", 50000 + n)) for n in (1, 2))
    for flow in (first, second):
        fixture.core.flow_changed(flow, "open", fixture.now)
        fixture.opened.append(flow)
    register(fixture, flow=first, contact=f"<sip:alice@10.0.0.5:50001;transport=tcp>{instance}")
    invite = talking(fixture, first)
    fixture.core.flow_changed(first, "lost", fixture.now)
    fixture.pump()
    register(fixture, flow=second, contact=f"<sip:alice@10.0.0.5:50002;transport=tcp>{instance}", call_id="other")
    hang_up(fixture, invite)
    fixture.take("BYE", second)


def test_the_same_contact_from_the_same_host_is_the_same_device() -> None:
    fixture = AgentFixture()
    register(fixture, contact="<sip:alice@10.0.0.5:5062>")
    invite = talking(fixture)
    register(fixture, flow=MOVED, contact="<sip:alice@10.0.0.5:5062>", call_id="other")
    hang_up(fixture, invite)
    fixture.take("BYE", MOVED)


def test_a_proved_request_with_an_old_number_moves_nothing() -> None:
    fixture = AgentFixture()
    register(fixture)
    invite = talking(fixture)
    say(fixture, "INFO", 7, ALICE)
    fixture.m1.reply(fixture.m1.take("INFO"), 200)
    fixture.take(200, ALICE)
    say(fixture, "INFO", 8, FAR)
    proof = proved(fixture, fixture.take(407, FAR), "INFO", URI)
    say(fixture, "INFO", 7, FAR, (proof,))
    fixture.take(500, FAR)
    hang_up(fixture, invite)
    fixture.take("BYE", ALICE)


@pytest.mark.parametrize("how", ["request", "registration"])
def test_media_is_believed_from_where_the_device_proved_itself_anew(how: str) -> None:
    ports = RelayPorts()
    ports.receive('{"is": "ready"}')
    ports.offer(Pair("127.0.0.11", port) for port in range(20000, 20040, 2))
    text = SITE.replace('kind = "phone"', 'kind = "phone"\nmedia = "relay"')
    fixture = AgentFixture(text=text, relay=AgentRelay(ports, "127.0.0.11"))
    contact = f"<sip:alice@10.0.0.5:5062>;{INSTANCE}"
    register(fixture, contact=contact)
    talking(fixture)
    told = "".join(ports.to_send())
    assert "127.0.0.31" in told and "127.0.0.99" not in told
    if how == "registration":
        register(fixture, flow=FAR, contact=contact, call_id="other")
    else:
        say(fixture, "INFO", 3, FAR)
        say(fixture, "INFO", 4, FAR, (proved(fixture, fixture.take(407, FAR), "INFO", URI),))
    told = "".join(ports.to_send())
    assert "127.0.0.99" in told and "127.0.0.31" not in told
