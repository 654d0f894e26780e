"""The return: what an agent that has started asks of the server that adopts it, and what waits meanwhile."""

from __future__ import annotations

import pytest

from gateway_agent.returning import AGAIN, LONGEST, MOST_WAITING
from sip.packages.line_dialog import LineStateRecord
from tests.gateway_agent.agent_fixture import SDP, AgentFixture, Server


def asking(keeps: bool = True) -> tuple[AgentFixture, Server]:
    """An agent that a server has just adopted."""
    fixture = AgentFixture(adopted=False, keeps=keeps)
    assert fixture.m1.subscribe(epoch=1) == 200
    return fixture, fixture.m1


def said(fixture: AgentFixture) -> list[str]:
    return [each.because for each in fixture.core.history if each.code == "return"]


def test_its_list_is_told_when_the_return_is_complete() -> None:
    fixture, m1 = asking()
    assert not m1.heads and not fixture.core.returning.complete
    asked = m1.take("SUBSCRIBE")
    assert asked.get("event") == "line-dialog;purpose=return" and asked.get("expires") == "0"
    m1.inbox.appendleft(asked)
    first = m1.give_back(complete=False)
    assert not m1.heads and not fixture.core.returning.complete
    m1.give_back(asked=first)
    assert fixture.core.returning.complete and m1.heads[0]["complete"]
    assert said(fixture) == [], "there was nothing"


def test_a_server_that_keeps_nothing_is_not_asked() -> None:
    fixture, m1 = asking(keeps=False)
    assert fixture.core.returning.complete and m1.heads and not m1.inbox
    assert said(fixture) == ["m1 keeps no line states"]


def test_a_server_that_gives_nothing_back_is_not_asked_again() -> None:
    fixture, m1 = asking()
    m1.reply(m1.take("SUBSCRIBE"), 489)
    assert fixture.core.returning.complete and said(fixture) == ["m1 gives nothing back"]


def test_a_server_that_cannot_now_is_asked_again() -> None:
    fixture, m1 = asking()
    m1.reply(m1.take("SUBSCRIBE"), 503)
    fixture.run(AGAIN + 0.01)
    m1.give_back()
    assert fixture.core.returning.complete


def test_a_list_that_ends_early_is_asked_for_again() -> None:
    fixture, m1 = asking()
    asked = m1.take("SUBSCRIBE")
    m1.reply(asked, 200, ["Expires: 60"])
    lines = ["Event: line-dialog;purpose=return", "Subscription-State: terminated;reason=noresource"]
    m1.request("NOTIFY", "sip:gw1", lines, call_id=asked.call_id, from_tag="srvtag", to_tag=asked.from_tag)
    m1.take(200)
    fixture.run(AGAIN + 0.01)
    m1.give_back()
    assert fixture.core.returning.complete


def test_nobody_is_waited_for_longer_than_so() -> None:
    fixture, m1 = asking()
    m1.reply(m1.take("SUBSCRIBE"), 200, ["Expires: 60"])
    fixture.run(LONGEST - 0.1)
    assert not fixture.core.returning.complete
    fixture.run(0.2)
    assert fixture.core.returning.complete and m1.heads
    assert said(fixture) == [f"m1 did not give everything back in {LONGEST:g} s"]


def test_the_next_connection_is_asked_where_the_first_one_broke() -> None:
    fixture, m1 = asking()
    m1.take("SUBSCRIBE")
    fixture.kill(m1)
    assert fixture.m2.subscribe(epoch=2) == 200
    fixture.m2.give_back()
    assert fixture.core.returning.complete and fixture.m2.heads


def test_a_server_that_had_not_heard_of_all_says_so() -> None:
    fixture, m1 = asking()
    m1.give_back(covered=False)
    assert said(fixture) == ["m1 gave 0 calls back; it leads since a moment ago, and may not have heard of others"]


@pytest.mark.parametrize(
    "record",
    [
        '{"call-id":"x"}',
        LineStateRecord("trunk1", "1.1.1.AA==.mac", 0.0).encode(),
        '{"line":"trunk1","line-state":7}',
    ],
)
def test_what_cannot_be_read_costs_nothing_else(record: str) -> None:
    fixture, m1 = asking()
    m1.give_back(record, LineStateRecord("no such line", "", 0.0).encode())
    m1.take(200)
    assert fixture.core.returning.complete and fixture.core.returning.withheld == 1
    assert said(fixture) == ["m1 gave 0 calls back; 1 cannot be restored"]


def test_a_body_that_is_none_is_refused() -> None:
    fixture, m1 = asking()
    asked = m1.take("SUBSCRIBE")
    m1.reply(asked, 200, ["Expires: 60"])
    lines = ["Event: line-dialog;purpose=return", "Subscription-State: active;expires=60"]
    m1.request(
        "NOTIFY", "sip:gw1", lines, b"no list", call_id=asked.call_id, from_tag="srvtag", to_tag=asked.from_tag
    )
    m1.take(400)
    assert not fixture.core.returning.complete


def test_a_new_call_hears_100_and_goes_on_afterwards() -> None:
    fixture, m1 = asking()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    assert fixture.silent() and not any(getattr(one, "method", "") == "INVITE" for one in m1.inbox)
    m1.give_back()
    m1.take(200)
    m1.take("INVITE")
    assert fixture.silent()


def test_a_request_in_a_call_waits_and_is_answered_481_only_then() -> None:
    fixture, m1 = asking()
    fixture.request("INFO", to_tag="whoever", cseq=7)
    branch = fixture.request("CANCEL", cseq=8)
    assert fixture.silent() and branch
    m1.give_back()
    assert fixture.take(481).cseq_method == "INFO"
    assert fixture.silent(), "a CANCEL is left to the timer of its sender"


def test_who_waits_too_long_may_ask_again() -> None:
    fixture = AgentFixture(adopted=False, keeps=True)
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.request("INFO", to_tag="whoever", call_id="dev-2")
    fixture.run(fixture.core.environment.hold_attempt + 0.1)
    refused = fixture.take(503)
    assert refused.cseq_method == "INVITE" and refused.get("retry-after") == "5" and refused.to_tag
    assert fixture.take(500).get("retry-after") == "5"


def test_registrations_and_probes_do_not_wait() -> None:
    fixture = AgentFixture(adopted=False, keeps=True)
    fixture.request("OPTIONS", "sip:127.0.0.11")
    assert not fixture.silent()


def test_not_everybody_may_wait() -> None:
    fixture = AgentFixture(adopted=False, keeps=True)
    waiting_messages = fixture.core.returning.waiting_messages
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    waiting_messages._waiting *= MOST_WAITING
    fixture.request("INVITE", body=SDP, call_id="dev-2")
    assert fixture.take(503).get("retry-after") == "5"
