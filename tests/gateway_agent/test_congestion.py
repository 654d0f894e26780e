"""An agent for which what comes waits too long: it refuses new calls of its devices early, and urgent ones never."""

from __future__ import annotations

import pytest

from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture

TRUSTED = "trust_priority = true"
URGENT = SITE.replace('match = "+*"', 'match = "+*"\npriority = 9\nfrom = ["trunk1"]')
OTHERS = SITE.replace('match = "+*"', 'match = "+*"\npriority = 9\nfrom = ["alice"]')


def congested(fixture: AgentFixture) -> None:
    for n in range(500):
        fixture.core.stack.congestion.waited("loop", 1.0, fixture.now + n * 0.02)
    fixture.run(10.0)


def calls(fixture: AgentFixture, lines: tuple[str, ...] = ()) -> list[int]:
    """The first words to three calls of the carrier."""
    for n in range(3):
        fixture.request("INVITE", lines=lines, body=SDP, call_id=f"c{n}")
    return [fixture.inbox[flow].popleft().status for flow in fixture.inbox for _ in range(3)]  # type: ignore[attr-defined]


def test_new_calls_are_refused_before_anything_is_kept_of_them() -> None:
    fixture = AgentFixture()
    congested(fixture)
    for n in range(20):
        fixture.request("INVITE", body=SDP, call_id=f"c{n}")
    [answers] = fixture.inbox.values()
    refused = [one for one in answers if one.status == 503]  # type: ignore[attr-defined]
    assert len(refused) == 20 and all(2 <= int(one.get("retry-after") or 0) <= 10 for one in refused)
    assert not fixture.core.calls and fixture.core.counters["congested"] == len(refused)


@pytest.mark.parametrize(
    ("trunk", "text", "lines", "taken"),
    [
        ("priority = 1", SITE, (), True),
        (TRUSTED, SITE, ("Priority: emergency",), True),
        ("", SITE, ("Priority: emergency",), False),
        ("", URGENT, (), True),
        ("", OTHERS, (), False),
    ],
)
def test_urgent_calls_are_taken(trunk: str, text: str, lines: tuple[str, ...], taken: bool) -> None:
    fixture = AgentFixture(trunk, text=text)
    congested(fixture)
    assert (503 not in calls(fixture, lines)) is taken


def test_a_refused_invite_that_comes_again_is_refused_again() -> None:
    fixture = AgentFixture()
    congested(fixture)
    for _ in range(5):
        fixture.request("INVITE", body=SDP, call_id="c1", branch="z9hG4bKagain")
        fixture.core.stack.congestion.share = 0.0
    [answers] = fixture.inbox.values()
    assert [one.status for one in answers if one.call_id == "c1"] == [503] * 5  # type: ignore[attr-defined]
    assert fixture.core.counters["congested"] == 1
