"""New calls refused until the last one has ended."""

from __future__ import annotations

from gateway_agent import views
from gateway_agent.draining import Draining
from tests.gateway_agent.agent_fixture import SDP, AgentFixture


def test_it_is_begun_and_ended_once_and_said_each_time() -> None:
    said: list[tuple[str, str, float]] = []
    told: list[bool] = []
    living = 7
    draining = Draining("gw1", lambda: living, lambda code, text, now: said.append((code, text, now)), told.append)
    assert not draining.active
    draining.end(1.0)
    assert said == [], "nothing had begun"
    draining.begin(2.0)
    draining.begin(3.0)
    assert draining.active and said == [("drain", "gw1 drains, calls left: 7", 2.0)]
    draining.end(4.0)
    draining.end(5.0)
    assert not draining.active and said[1:] == [("resume", "gw1 takes new calls again", 4.0)]
    assert told == [True, False], "servers are told"
    living = 2
    draining.begin(6.0)
    assert said[2:] == [("drain", "gw1 drains, calls left: 2", 6.0)], "calls are counted when it begins"


def registered() -> AgentFixture:
    register = 'register = { registrar = "sip:127.0.0.21:5060", user = "ours", password = { env = "ALICE" } }'
    fixture = AgentFixture(register)
    request = fixture.take("REGISTER")
    fixture.reply(request, 200, [f"Contact: {request.get('contact')};expires=600"])
    return fixture


def test_an_end_for_good_lets_calls_end_and_takes_registrations_back() -> None:
    fixture = registered()
    _, tag = fixture.answered_in()
    said = views.command(fixture.core, "stop", {}, fixture.now)
    assert said.sentence == "1 call is left." and fixture.core.draining.for_good
    fixture.request("INVITE", body=SDP, call_id="dev-2")
    assert fixture.take(503).get("retry-after")
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.take(200)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)
    assert not fixture.core.calls
    fixture.core.leave(fixture.now)
    fixture.pump()
    back = fixture.take("REGISTER")
    assert back.get("expires") == "0" and back.get("contact")


def test_a_restart_leaves_registrations_to_the_next_start() -> None:
    fixture = registered()
    fixture.core.leave(fixture.now)
    fixture.pump()
    assert fixture.silent()


def test_who_resumes_does_not_end() -> None:
    fixture = registered()
    views.command(fixture.core, "stop", {}, fixture.now)
    views.command(fixture.core, "resume", {}, fixture.now)
    assert not fixture.core.draining.active and not fixture.core.draining.for_good
