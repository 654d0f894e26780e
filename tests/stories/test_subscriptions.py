"""Subscriptions between lines: waiting messages and busy lamps, whatever dies meanwhile."""

from __future__ import annotations

import re
from typing import Any

import pytest

from examples.softphone_subscriptions import Subscribed
from tests.stories.site_simulation import WATCHERS, SiteSimulation, site_of
from tests.stories.test_messages import said
from tests.stories.test_stories import begun, taken_over
from tests.world import AFTER, BEFORE, KILL, MOMENTS, RESET, Crash, method_of

_DEATHS = (("m1", KILL), ("m1", RESET), ("gw1", KILL), ("gw2", KILL))
WHO = ("west", "voice", "wanda", "xaver")


def watchers(**more: Any) -> SiteSimulation:
    return begun(who=WHO, site=site_of(more=WATCHERS), **more)


def watch(town: SiteSimulation, name: str, number: str, event: str, wait: float = 2.0, expires: int = 3600) -> None:
    town.world.ask(name, town.phone(name).subscribe, town.line(name), number, event, expires=expires)
    town.world.run(town.world.now + wait)


def known(town: SiteSimulation, name: str) -> list[Subscribed]:
    return [one for one in town.phone(name).subscriptions.known if not one.over]


def tell(town: SiteSimulation, text: str, state: str = "active", wait: float = 2.0) -> None:
    """The voice mail system has something to say."""
    town.world.ask("voice", known(town, "voice")[0].notify, text, state=state)
    town.world.run(town.world.now + wait)


def lamp(town: SiteSimulation, name: str = "wanda") -> list[str]:
    """What the lamp has shown: the states of calls in each NOTIFY."""
    return [" ".join(re.findall("<state>([a-z]*)</state>", text)) for text in said(town, name, "notified")]


def test_a_phone_s_waiting_messages_are_those_of_its_mailbox() -> None:
    town = watchers()
    watch(town, "wanda", "1006", "message-summary")
    assert said(town, "wanda", "subscribed") == ["200"] and said(town, "voice", "watched") == ["message-summary"]
    tell(town, "Messages-Waiting: yes")
    assert said(town, "wanda", "notified") == ["nothing yet", "Messages-Waiting: yes"]
    assert said(town, "voice", "told") == ["200", "200"]


def test_the_other_end_of_it_may_end_it() -> None:
    town = watchers()
    watch(town, "wanda", "660", "message-summary")
    tell(town, "", "terminated;reason=noresource")
    assert said(town, "wanda", "subscription")[-1] == "terminated;reason=noresource"
    assert not town.agent("gw1").subscriptions.known and not town.agent("gw2").subscriptions.known


def test_who_subscribed_may_end_it() -> None:
    town = watchers()
    watch(town, "wanda", "660", "message-summary")
    town.world.ask("wanda", known(town, "wanda")[0].subscribe, 0)
    town.world.run(town.world.now + 2.0)
    assert said(town, "voice", "refreshed") == ["0"]
    assert said(town, "wanda", "subscription")[-1] == "terminated;reason=timeout"
    assert not town.agent("gw1").subscriptions.known and not town.agent("gw2").subscriptions.known


def test_what_is_not_refreshed_is_forgotten() -> None:
    town = watchers()
    watch(town, "wanda", "660", "message-summary", expires=90)
    watch(town, "wanda", "1007", "dialog", expires=90)
    town.world.run(town.world.now + 200.0)
    assert said(town, "wanda", "subscription")[-1] == "terminated;reason=timeout"
    for name in ("gw1", "gw2"):
        assert not town.agent(name).subscriptions.known


@pytest.mark.parametrize(
    ("number", "event", "status"),
    [
        ("1007", "presence", "489"),
        ("1007", "message-summary", "404"),  # it has no mailbox
        ("9", "dialog", "404"),
        ("300", "dialog", "405"),  # that line passes none
    ],
)
def test_what_nobody_tells_of_is_refused(number: str, event: str, status: str) -> None:
    town = watchers()
    watch(town, "wanda", number, event)
    assert said(town, "wanda", "subscribed") == [status]
    for name in ("gw1", "gw2"):
        assert not town.agent(name).subscriptions.known


def test_a_subscription_that_is_too_brief_is_refused_by_who_notifies() -> None:
    town = watchers()
    watch(town, "wanda", "1007", "dialog", expires=30)
    assert said(town, "wanda", "subscribed") == ["423"]


def test_a_voice_mail_system_tells_a_phone_unasked() -> None:
    town = watchers()
    town.world.ask("voice", town.phone("voice").announce, town.line("voice"), "1006", "Messages-Waiting: yes")
    town.world.run(town.world.now + 2.0)
    assert said(town, "voice", "sent") == ["200"] and said(town, "wanda", "announced") == ["Messages-Waiting: yes"]


def test_a_lamp_shows_the_calls_of_another_telephone() -> None:
    town = watchers()
    watch(town, "wanda", "1007", "dialog")
    assert lamp(town) == [""]
    _, b = town.talk("west", "1007", "xaver")
    town.world.run(town.world.now + 1.0)
    assert lamp(town)[-1] == "confirmed" and "early" in lamp(town)
    town.world.ask("xaver", town.phone("xaver").bye, b)
    town.world.run(town.world.now + 1.0)
    assert lamp(town)[-1] == "terminated"
    town.world.ask("xaver", town.phone("xaver").call, town.line("xaver"), "300")
    town.world.run(town.world.now + 3.0)
    assert lamp(town)[-2:] == ["trying", "early"]


@pytest.mark.parametrize("dies", ["", "gw2"])
def test_both_ends_may_be_at_one_agent(dies: str) -> None:
    town = watchers()
    watch(town, "xaver", "660", "message-summary")
    if dies:
        town.world.kill(dies)
        town.world.run(town.world.now + 0.5)
        town.world.start(dies)
        town.world.run(town.world.now + 5.0)
    tell(town, "Messages-Waiting: yes")
    assert said(town, "xaver", "notified") == ["nothing yet", "Messages-Waiting: yes"]


def test_one_phone_cannot_fill_an_agent() -> None:
    town = watchers()
    for _ in range(300):
        watch(town, "wanda", "1007", "dialog", wait=0.05)
    town.world.run(town.world.now + 5.0)
    assert said(town, "wanda", "subscribed").count("200") == 256
    assert said(town, "wanda", "subscribed").count("503") == 44


@pytest.mark.parametrize("dies", ["m1", "gw1", "gw2"])
def test_subscriptions_outlive_a_server_and_an_agent(dies: str) -> None:
    town = watchers()
    watch(town, "wanda", "1006", "message-summary")
    watch(town, "wanda", "1007", "dialog")
    if dies == "m1":
        town.world.kill("m1")
        taken_over(town)
    else:
        town.world.kill(dies)
        town.world.run(town.world.now + 0.5)
        town.world.start(dies)
        town.world.run(town.world.now + 5.0)
    tell(town, "Messages-Waiting: yes")
    assert said(town, "wanda", "notified").count("Messages-Waiting: yes") == 1, town.world.ladder(60, True)
    town.talk("west", "1007", "xaver")
    town.world.run(town.world.now + 2.0)
    assert lamp(town)[-1] == "confirmed"
    for one in known(town, "wanda"):
        town.world.ask("wanda", one.subscribe, 600)
    town.world.run(town.world.now + 2.0)
    assert said(town, "wanda", "subscribed")[2:] == ["200", "200"], town.world.ladder(60, True)


@pytest.mark.parametrize("dies", ["gw1", "gw2"])
def test_an_agent_is_given_its_subscriptions_back_by_a_server_that_has_just_taken_over(dies: str) -> None:
    town = watchers()
    watch(town, "wanda", "1006", "message-summary")
    watch(town, "wanda", "1007", "dialog")
    town.world.kill("m1")
    taken_over(town)
    town.world.run(town.world.now + 3.0)
    town.world.kill(dies)
    town.world.run(town.world.now + 0.5)
    town.world.start(dies)
    town.world.run(town.world.now + 5.0)
    tell(town, "Messages-Waiting: yes")
    assert said(town, "wanda", "notified").count("Messages-Waiting: yes") == 1, town.world.ladder(60, True)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("node", "how", "method", "index"),
    [
        *((node, how, method, 0) for method in ("SUBSCRIBE", "NOTIFY") for node, how in _DEATHS),
        ("gw1", KILL, "SUBSCRIBE", 1),  # the second has the answer to a challenge
        ("m1", RESET, "SUBSCRIBE", 1),
        ("m1", RESET, "NOTIFY", 1),
    ],
)
def test_what_a_subscription_brings_comes_once_whatever_dies(
    node: str, how: str, method: str, index: int, moment: str
) -> None:
    if how is RESET and moment not in (BEFORE, AFTER):
        moment = AFTER
    town = watchers()

    def counts(delivery: Any) -> bool:
        return delivery is not None and method_of(delivery.data) == method and b"message-summary" in delivery.data

    crash = Crash(node, index, moment, counts, how, 0.5 if node.startswith("gw") else 0.0)
    town.world.crashes.append(crash)
    watch(town, "wanda", "1006", "message-summary", wait=20.0)
    assert crash.happened_at is not None
    assert said(town, "wanda", "subscribed") == ["200"], town.world.ladder(60, True)
    assert said(town, "wanda", "notified") == ["nothing yet"], town.world.ladder(60, True)
    tell(town, "Messages-Waiting: yes", wait=10.0)
    assert said(town, "wanda", "notified") == ["nothing yet", "Messages-Waiting: yes"], town.world.ladder(60, True)
