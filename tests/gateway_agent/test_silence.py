"""A start of an agent of which a later one runs says nothing more to anybody."""

from __future__ import annotations

from gateway_agent import views
from gateway_agent.silence import Silence
from sip.actions import Close, Flow, Open, Send
from tests.gateway_agent.agent_fixture import CARRIER, SDP, AgentFixture


def test_devices_hear_nothing_more_of_it() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.core.silence.begin("m1", fixture.now)
    fixture.core.silence.begin("m2", fixture.now)
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.request("OPTIONS", "sip:127.0.0.11")
    fixture.request("INVITE", body=SDP, call_id="dev-2")
    fixture.m1.request("BYE", "sip:gw1", call_id="s-9", to_tag="x")
    fixture.run(60.0)
    fixture.core.leave(fixture.now)
    fixture.pump()
    assert fixture.silent() and [each.because for each in fixture.core.history if each.code == "superseded"] == [
        "m1 hears a later start of gw1: this one is silent, stop it"
    ]
    status = views.view(fixture.core, "status", {}, fixture.now)
    assert fixture.core.silence.because in status.warnings
    assert [alert.code for alert in status.alerts if alert.text == fixture.core.silence.because] == [
        "agent-superseded"
    ]


def test_nothing_but_what_is_on_the_way_to_a_server_goes_out() -> None:
    fixture = AgentFixture()
    silence = Silence(fixture.core.stack, "gw1", lambda code, because, now: None)
    server = fixture.m1.flow
    assert server is not None
    actions = [Send(server, b"beat"), Send(CARRIER, b"BYE"), Open(Flow("tcp", "x", ("127.0.0.1", 1))), Close(CARRIER)]
    silence.begin("m1", 0.0)
    assert silence.permitted(actions) == [actions[0]]
