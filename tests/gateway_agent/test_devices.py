"""Whose request it is, and what a device is told that asks for what it cannot have."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from tests.gateway_agent.agent_fixture import ALICE, CARRIER, LISTEN, SDP, SITE, AgentFixture
from tests.gateway_agent.test_phone import AOR, proved, register

MOVED = Flow("udp", LISTEN, ("127.0.0.31", 40001))
STRANGER = Flow("udp", LISTEN, ("127.0.0.99", 5060))


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("flow", [ALICE, MOVED, STRANGER])
def test_a_phone_may_prove_itself_from_wherever_it_calls(registered: bool, flow: Flow) -> None:
    fixture = AgentFixture()
    if registered:
        assert register(fixture) == 200
    call = {"flow": flow, "sender": AOR, "call_id": "c-1"}
    fixture.request("INVITE", "sip:200@paris", body=SDP, **call)  # type: ignore[arg-type]
    proof = proved(fixture, fixture.take(407, flow), "INVITE", "sip:200@paris")
    assert not fixture.core.stack.servers.get("z9hG4bKdev1")
    fixture.request("INVITE", "sip:200@paris", [proof], SDP, cseq=2, **call)  # type: ignore[arg-type]
    fixture.take(100, flow)
    assert fixture.m1.take("INVITE").get("line") == "alice"


def test_a_stranger_is_challenged_like_a_phone_and_nothing_is_kept_of_him() -> None:
    fixture = AgentFixture()
    for sender in (AOR, "<sip:nobody@paris>", "<sip:h>"):
        fixture.request("INVITE", "sip:200@paris", body=SDP, flow=STRANGER, sender=sender)
        assert len(fixture.take(407, STRANGER).all("proxy-authenticate")) == 2
    fixture.request("BYE", "sip:200@paris", flow=STRANGER, to_tag="x")
    fixture.take(481, STRANGER)
    assert all(one.on_site_flow for one in fixture.core.stack.servers.values()) and not fixture.m1.inbox
    assert fixture.core.counters["strangers"] == 3


def test_where_there_are_no_phones_nobody_can_prove_anything() -> None:
    text = SITE.replace("[lines.alice]", "[lines.other]").replace('kind = "phone"', 'kind = "trunk"')
    text = text.replace(
        'password = { env = "ALICE" }\nnumbers = ["1001"]', 'peer = "sip:127.0.0.22:5060"\nchannels = 1'
    )
    fixture = AgentFixture(text=text)
    fixture.request("INVITE", body=SDP, flow=STRANGER)
    fixture.take(403, STRANGER)


@pytest.mark.parametrize(
    "method, status",
    [
        ("MESSAGE", 405),
        ("SUBSCRIBE", 405),
        ("PUBLISH", 405),
        ("REFER", 405),
        ("NOTIFY", 481),
        ("INFO", 481),
        ("UPDATE", 481),
        ("PRACK", 481),
        ("BYE", 481),
        ("WHATEVER", 501),
    ],
)
def test_a_method_that_is_not_taken_outside_dialogs(method: str, status: int) -> None:
    fixture = AgentFixture()
    fixture.request(method, call_id="m")
    answer = fixture.take(status)
    allowed = (answer.get("allow") or "").split(", ")
    assert method not in allowed
    assert status == 481 or allowed == ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"]


def test_an_invite_for_nobody() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", "sip:127.0.0.11", body=SDP)
    fixture.take(404)
    assert register(fixture) == 200
    fixture.request("INVITE", "sip:paris", body=SDP, flow=ALICE, sender=AOR, call_id="c")
    proof = proved(fixture, fixture.take(407, ALICE), "INVITE", "sip:paris")
    fixture.request("INVITE", "sip:paris", [proof], SDP, flow=ALICE, sender=AOR, call_id="c", cseq=2)
    fixture.take(484, ALICE)
    assert not fixture.m1.inbox


def test_what_is_said_of_a_number_reaches_the_device() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", "sip:+33166;npdi;rn=+33177@127.0.0.11;user=phone", body=SDP)
    assert fixture.m1.take("INVITE").uri == "sip:+33166;npdi;rn=+33177@m1;user=phone"
    fixture.take(100)
    uri = "sip:+33166;npdi;rn=+33177@gw1;line=trunk1;user=phone"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;o;1")
    assert fixture.take("INVITE").uri == "sip:+33166;npdi;rn=+33177@127.0.0.21:5060;user=phone"


def test_options_say_503_only_when_a_call_would_be_refused_in_the_end() -> None:
    fixture = AgentFixture()
    hold = fixture.core.environment.hold_attempt

    def asked(seconds: float) -> int:
        fixture.run(seconds)
        fixture.request("OPTIONS", call_id="q", flow=CARRIER)
        answer = fixture.inbox[CARRIER].popleft()
        assert (answer.get("retry-after") is not None) == (answer.status == 503)  # type: ignore[attr-defined]
        return int(answer.status)  # type: ignore[attr-defined]

    assert asked(1) == 200
    fixture.kill(fixture.m1)
    fixture.kill(fixture.m2)
    assert asked(hold - 0.5) == 200
    assert asked(1) == 503
    fixture.m1.up = True
    fixture.run(30)
    assert fixture.m1.subscribe(epoch=2) == 200
    assert asked(0) == 200


def test_options_before_the_first_server_is_there() -> None:
    fixture = AgentFixture(adopted=False)
    fixture.request("OPTIONS", call_id="q")
    fixture.take(200)
    fixture.run(fixture.core.environment.hold_attempt)
    fixture.request("OPTIONS", call_id="q")
    fixture.take(503)


@pytest.mark.parametrize(
    "uri", ["sip:paris", "sip:127.0.0.11", "sip:127.0.0.11:5060;transport=udp", "sip:PARIS:5062"]
)
def test_a_phone_may_write_the_realm_or_our_address_into_its_credentials(uri: str) -> None:
    fixture = AgentFixture()
    for asked in ("sip:paris;transport=udp", "sip:127.0.0.11:5060"):
        fields = {"flow": ALICE, "sender": AOR, "recipient": AOR, "call_id": asked}
        fixture.request("REGISTER", asked, **fields)  # type: ignore[arg-type]
        proof = proved(fixture, fixture.take(401, ALICE), "REGISTER", uri)
        fixture.request("REGISTER", asked, [proof], cseq=2, **fields)  # type: ignore[arg-type]
        fixture.take(200, ALICE)
