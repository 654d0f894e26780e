"""Subscriptions to the lists of agents: what is asked, when it is asked again, what ends one."""

from __future__ import annotations

import pytest

from b2bua.subscription import EXPIRES, LATER, RENEWED_AFTER, SOON, Subscription
from sip.packages.line_dialog import TAKEOVER
from tests.b2bua.fake_agent import ServerFixture


def asked(fixture: ServerFixture) -> list[str]:
    return [purpose for purpose, _, _ in fixture.gw2.asked]


def test_one_that_its_agent_ends_is_asked_anew() -> None:
    fixture = ServerFixture()
    before = len(asked(fixture))
    _, _, request = fixture.gw2.asked[-1]
    request.set("expires", "Expires: 0")  # so that its NOTIFY is a last one
    assert fixture.gw2.notify(records=[]) == 200
    fixture.bench.after(SOON + 0.1)
    assert asked(fixture)[before:] == [TAKEOVER]
    assert fixture.gw2.notify(records=[], which=before - 1) == 481


def test_a_fetch_without_a_notify_is_given_up() -> None:
    fixture = ServerFixture()
    connection = fixture.bench.core.agents.connections["gw2"]
    fixture.gw2.silent = True
    connection.fetch("c1", fixture.bench.now)
    fixture.bench.after(0.1)
    assert connection.fetching
    fixture.bench.after(fixture.bench.core.stack.timers.lifetime)
    assert not connection.fetching and asked(fixture)[-1] == "observe"


@pytest.mark.parametrize("seconds", [SOON, LATER])
def test_a_subscription_says_nothing_once_it_was_dropped(seconds: float) -> None:
    fixture = ServerFixture()
    connection = fixture.bench.core.agents.connections["gw2"]
    [subscription] = connection._open
    before = len(asked(fixture))
    connection.drop_all(fixture.bench.now)
    fixture.bench.after(2 * RENEWED_AFTER * EXPIRES + seconds)
    assert len(asked(fixture)) == before and subscription.state == "terminated" and not connection._open


def test_every_state_can_be_dropped() -> None:
    states = {state for state, _ in Subscription.TABLE}
    assert all(Subscription.TABLE[state, "dropped"][0] == "terminated" for state in states)
