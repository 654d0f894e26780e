"""Subscriptions to the lists of agents: what is asked, when it is asked again, what ends one."""

from __future__ import annotations

import pytest

from b2bua.subscription import EXPIRES, LATER, RENEWED_AFTER, SOON, Subscription
from sip.packages.line_dialog import TAKEOVER
from tests.b2bua.fake_agent import Town


def asked(town: Town) -> list[str]:
    return [purpose for purpose, _, _ in town.gw2.asked]


def test_one_that_its_agent_ends_is_asked_anew() -> None:
    town = Town()
    before = len(asked(town))
    _, _, request = town.gw2.asked[-1]
    request.set("expires", "Expires: 0")  # so that its NOTIFY is a last one
    assert town.gw2.notify(records=[]) == 200
    town.bench.after(SOON + 0.1)
    assert asked(town)[before:] == [TAKEOVER]
    assert town.gw2.notify(records=[], which=before - 1) == 481


def test_a_fetch_without_a_notify_is_given_up() -> None:
    town = Town()
    connection = town.bench.core.agents.connections["gw2"]
    town.gw2.silent = True
    connection.fetch("c1", town.bench.now)
    town.bench.after(0.1)
    assert connection.fetching
    town.bench.after(town.bench.core.stack.timers.lifetime)
    assert not connection.fetching and asked(town)[-1] == "observe"


@pytest.mark.parametrize("seconds", [SOON, LATER])
def test_a_subscription_says_nothing_once_it_was_dropped(seconds: float) -> None:
    town = Town()
    connection = town.bench.core.agents.connections["gw2"]
    [subscription] = connection._open
    before = len(asked(town))
    connection.drop_all(town.bench.now)
    town.bench.after(2 * RENEWED_AFTER * EXPIRES + seconds)
    assert len(asked(town)) == before and subscription.state == "terminated" and not connection._open


def test_every_state_can_be_dropped() -> None:
    states = {state for state, _ in Subscription.TABLE}
    assert all(Subscription.TABLE[state, "dropped"][0] == "terminated" for state in states)
