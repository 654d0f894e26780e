"""INVITE with Replaces, message by message: as long as nothing is decided of it, and what cannot be taken."""

from __future__ import annotations

import pytest

from b2bua.replacement import MOST_WAITING
from tests.b2bua.fake import SDP, Peer, Side
from tests.b2bua.fake_agent import AGENTS, ServerFixture, kept, record
from tests.b2bua.takeover_fixture import TakeoverFixture

PASS = AGENTS.replace("channels = 2000\n", 'channels = 2000\ntransfer = "pass"\n')
UNKNOWN = "Replaces: x;to-tag=1;from-tag=2"


def half_told() -> ServerFixture:
    """A new server to which one agent has nothing told yet."""
    fixture = ServerFixture(PASS)
    fixture.die()
    fixture.succeed("gw2")
    return fixture


def caller(fixture: ServerFixture, who: str) -> Side:
    """Somebody calls in place of a dialog that is not known yet."""
    if who == "agent":
        return fixture.gw1.call("1002", lines=[UNKNOWN])
    return Peer(fixture.bench, "own", port=5080).call("1002", SDP, [UNKNOWN], uri="sip:1002@127.0.0.2")


@pytest.mark.parametrize("who", ["agent", "trunk"])
def test_it_waits_for_what_agents_have_still_to_tell_with_one_100(who: str) -> None:
    fixture = half_told()
    a = caller(fixture, who)
    fixture.bench.after(1.0)
    assert a.statuses == [100]
    fixture.bench.after(2.0)
    assert a.statuses == [481]


def test_but_not_more_of_them_than_cost_nothing() -> None:
    fixture = half_told()
    peer = Peer(fixture.bench, "own", port=5080)
    calls = [peer.call("1002", SDP, [UNKNOWN], uri="sip:1002@127.0.0.2") for _ in range(MOST_WAITING + 1)]
    assert calls[-2].statuses == [100] and calls[-1].statuses == [503]
    fixture.bench.after(3.0)
    assert calls[0].statuses == [100, 481]
    assert caller(fixture, "agent").statuses == [100]


@pytest.mark.parametrize("who", ["agent", "trunk"])
def test_while_it_waits_it_may_be_given_up(who: str) -> None:
    fixture = half_told()
    a = caller(fixture, who)
    a.cancel()
    assert a.statuses == [100, 200, 487]
    fixture.bench.after(3.0)
    assert not a.statuses


@pytest.mark.parametrize("who", ["agent", "trunk"])
def test_what_waits_when_another_server_leads(who: str) -> None:
    """An agent keeps it for that one; a trunk is to try there."""
    fixture = half_told()
    a = caller(fixture, who)
    a.heard.clear()
    fixture.bench.core.leadership_changes.step_down(fixture.bench.now)
    fixture.bench.pump()
    fixture.bench.after(3.0)
    assert a.statuses == ([] if who == "agent" else [503])


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_one_that_was_given_up_in_the_gap_takes_no_place(order: str) -> None:
    fixture = TakeoverFixture(PASS)
    a, b = fixture.standing()
    fixture.die()
    named = f"Replaces: {a.call_id};to-tag={a.other_tag};from-tag={a.tag}"
    c = fixture.gw1.call("1002", lines=[named])
    fixture.gw1.records.append(record(c, "trying", sent=[kept(c.sent, True)]))
    b.asked.clear()
    fixture.in_order(order)
    if b.asked:  # it was taken before it was given up
        change = b.take("INVITE")
        b.answer(change, 100)
        b.answer(b.take("CANCEL"), 200)
        b.answer(change, 487)
        b.take("ACK")
    assert c.statuses[-1] == 487
    fixture.bench.after(1.0)
    assert not a.asked and not b.asked and len(fixture.bench.core.calls) == 1


def test_with_join_it_is_none_that_can_be_understood() -> None:
    """RFC 3891 section 3, RFC 3911 section 4."""
    fixture = ServerFixture(PASS)
    a, _ = fixture.talk()
    named = f"{a.call_id};to-tag={a.other_tag};from-tag={a.tag}"
    c = fixture.gw1.call("1002", lines=[f"Replaces: {named}", f"Join: {named}"])
    assert c.statuses == [400]
