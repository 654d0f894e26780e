"""A call that rings and is picked up, message by message: what the re-INVITE of who picks up meets."""

from __future__ import annotations

import re

import pytest

from b2bua.pickup import MOST_TRIES
from tests.b2bua.fake import SDP, Side
from tests.b2bua.fake_agent import AGENTS, ServerFixture

WATCHED = AGENTS.replace("channels = 2000\n", 'channels = 2000\nsubscriptions = "pass"\n')
WATCHED = re.sub(r"\nforward = .*", "", WATCHED)


def picked_up() -> tuple[ServerFixture, Side, Side, Side]:
    """Bob is called and rings; alice has picked that up, and is to be asked."""
    fixture = ServerFixture(WATCHED)
    caller = fixture.gw1.call("1002", caller="anna")
    ringing = fixture.gw2.called
    ringing.take("INVITE")
    ringing.ring()
    named = f"Replaces: {ringing.call_id};to-tag={ringing.other_tag};from-tag=pickup"
    second = fixture.gw1.call("1002", lines=[named])
    assert second.statuses == [200]
    second.ack()
    return fixture, caller, ringing, second


def test_who_picks_up_is_asked_what_the_caller_has_offered() -> None:
    fixture, caller, ringing, second = picked_up()
    change = second.take("INVITE")
    assert change.body == SDP and str(change.get("call-origin")).endswith(";600")
    second.answer(change, 200, body=SDP)
    assert caller.statuses == [100, 180, 200]
    caller.ack()
    ringing.take("CANCEL")
    assert len(fixture.bench.core.calls) == 1


@pytest.mark.parametrize(
    ("status", "lines", "within", "not_before"),
    [
        (491, (), 2.05, 0.0),
        (500, (), 2.05, 0.0),
        (500, ("Retry-After: 3",), 3.05, 2.95),
        (503, ("Retry-After: 5",), 5.05, 4.95),
    ],
)
@pytest.mark.parametrize("by", ["telephone", "agent"])
def test_one_that_is_refused_for_the_moment_is_asked_again(
    status: int, lines: tuple[str, ...], within: float, not_before: float, by: str
) -> None:
    fixture, caller, ringing, second = picked_up()
    change = second.take("INVITE")
    if by == "agent":  # it has not passed it on
        second.peer.origins.pop(str(change.get("call-origin")))  # type: ignore[attr-defined]
        change.lines = [line for line in change.lines if not line.startswith("Call-Origin")]
        change.names.remove("call-origin")
        change = type(change)(change.method, change.uri, change.names, change.lines, change.body)
    second.answer(change, status, lines)
    second.take("ACK")
    fixture.bench.after(not_before)
    assert not second.asked and caller.statuses == [100, 180]
    fixture.bench.after(within - not_before)
    again = second.take("INVITE")
    assert again.body == SDP and again.cseq > change.cseq
    assert str(again.get("call-origin")).endswith(";601" if by == "telephone" else ";600")
    second.answer(again, 200, body=SDP)
    assert caller.statuses == [200]
    ringing.take("CANCEL")


def test_but_not_for_ever_and_the_call_rings_on() -> None:
    fixture, caller, ringing, second = picked_up()
    for _ in range(MOST_TRIES + 1):
        second.answer(second.take("INVITE"), 491)
        second.take("ACK")
        fixture.bench.after(2.05)
    second.answer(second.take("BYE"), 200)
    assert caller.statuses == [100, 180] and not ringing.asked
    ringing.accept()
    assert caller.statuses == [200]


def test_what_says_later_than_the_call_can_wait_is_given_up() -> None:
    fixture, _, ringing, second = picked_up()
    second.answer(second.take("INVITE"), 503, ("Retry-After: 3600",))
    second.take("ACK")
    fixture.bench.after(33.0)
    second.answer(second.take("BYE"), 200)
    assert not ringing.asked


def test_who_waits_is_hung_up_when_the_call_is_answered_elsewhere() -> None:
    _, caller, ringing, second = picked_up()
    second.answer(second.take("INVITE"), 500, ("Retry-After: 5",))
    second.take("ACK")
    ringing.accept()
    assert caller.statuses == [100, 180, 200]
    assert "Call completed elsewhere" in str(second.take("BYE").get("reason"))
