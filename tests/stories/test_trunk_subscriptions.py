"""Subscriptions with a trunk that the servers own: message and busy lamps, whatever server dies meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from sip.wire.message import parse
from tests.stories.own_trunks import town_with_own_trunk
from tests.stories.site_simulation import WATCHERS, SiteSimulation
from tests.stories.test_messages import said
from tests.stories.test_stories import taken_over
from tests.stories.test_subscriptions import known, lamp, tell, watch
from tests.stories.test_transfers import Heard
from tests.world import AFTER, KILL, MOMENTS, RESET, Crash, method_of

OWNED = WATCHERS.replace('agent = "gw2"\npeer = "sip:127.0.0.28:5060"', 'peer = "sip:127.0.0.28:5060"')


def town() -> SiteSimulation:
    return town_with_own_trunk(("west", "voice", "wanda", "xaver"), more=OWNED)


def through(sim: SiteSimulation, dies: str) -> None:
    """The death of a server, or of an agent that comes back."""
    if dies:
        sim.world.kill(dies)
    if dies.startswith("gw"):
        sim.world.run(sim.world.now + 0.5)
        sim.world.start(dies)
        sim.world.run(sim.world.now + 5.0)
    elif dies:
        taken_over(sim)
        sim.world.run(sim.world.now + 2.0)


@pytest.mark.parametrize("dies", ["", "m1", "gw1"])
def test_a_phone_s_waiting_messages_are_kept_behind_a_trunk_of_the_servers(dies: str) -> None:
    sim = town()
    watch(sim, "wanda", "1006", "message-summary")
    assert said(sim, "wanda", "subscribed") == ["200"], sim.world.ladder(60, True)
    assert said(sim, "voice", "watched") == ["message-summary"]
    assert said(sim, "wanda", "notified") == ["nothing yet"]
    through(sim, dies)
    sim.world.ask("wanda", known(sim, "wanda")[0].subscribe, 600)
    sim.world.run(sim.world.now + 2.0)
    assert said(sim, "wanda", "subscribed") == ["200", "200"], sim.world.ladder(60, True)
    tell(sim, "Messages-Waiting: yes")
    assert said(sim, "wanda", "notified")[-1] == "Messages-Waiting: yes", sim.world.ladder(60, True)
    assert said(sim, "voice", "told")[-1] == "200"
    tell(sim, "", "terminated;reason=noresource")
    assert said(sim, "wanda", "subscription")[-1] == "terminated;reason=noresource"
    assert not sim.agent("gw1").subscriptions.known


@pytest.mark.parametrize("dies", ["", "m1", "gw2"])
def test_what_is_behind_a_trunk_of_the_servers_watches_a_telephone(dies: str) -> None:
    sim = town()
    watch(sim, "voice", "1007", "dialog")
    assert said(sim, "voice", "subscribed") == ["200"], sim.world.ladder(60, True)
    assert lamp(sim, "voice") == [""]
    through(sim, dies)
    sim.talk("west", "1007", "xaver")
    sim.world.run(sim.world.now + 2.0)
    assert lamp(sim, "voice")[-1] == "confirmed", sim.world.ladder(60, True)
    sim.world.ask("voice", known(sim, "voice")[0].subscribe, 0)
    sim.world.run(sim.world.now + 2.0)
    assert said(sim, "voice", "subscription")[-1] == "terminated;reason=timeout", sim.world.ladder(60, True)
    assert not sim.agent("gw2").subscriptions.known


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("method", "how"), [(m, how) for m in ("SUBSCRIBE", "NOTIFY") for how in (KILL, RESET)])
def test_what_a_phone_subscribes_to_comes_whatever_dies(method: str, how: str, moment: str) -> None:
    sim = town()

    def counts(delivery: Any) -> bool:
        return delivery is not None and method_of(delivery.data) == method and b"message-summary" in delivery.data

    moment = moment if how is KILL else AFTER
    sim.world.crashes.append(Crash("m1", 0, moment, counts, how))
    watch(sim, "wanda", "1006", "message-summary", wait=20.0)
    assert said(sim, "wanda", "subscribed")[-1] == "200", sim.world.ladder(60, True)
    sim.world.ask("wanda", known(sim, "wanda")[0].subscribe, 600)
    sim.world.run(sim.world.now + 2.0)
    last = known(sim, "voice")[-1]  # one that came twice has two dialogs there, of which the phone knows one
    sim.world.ask("voice", last.notify, "Messages-Waiting: yes")
    sim.world.run(sim.world.now + 5.0)
    assert said(sim, "wanda", "notified")[-1] == "Messages-Waiting: yes", sim.world.ladder(60, True)


def test_a_voice_mail_system_behind_a_trunk_of_the_servers_tells_a_phone_unasked() -> None:
    sim = town()
    sim.world.ask("voice", sim.phone("voice").announce, sim.line("voice"), "1006", "Messages-Waiting: yes")
    sim.world.run(sim.world.now + 2.0)
    assert said(sim, "voice", "sent") == ["200"], sim.world.ladder(60, True)
    assert said(sim, "wanda", "announced") == ["Messages-Waiting: yes"]


def test_numbers_rise_towards_the_peer_and_nothing_of_the_site_is_told() -> None:
    sim = town()
    heard = Heard(sim, "voice")
    watch(sim, "wanda", "1006", "message-summary")
    for _ in range(2):
        sim.world.ask("wanda", known(sim, "wanda")[0].subscribe, 600)
        sim.world.run(sim.world.now + 2.0)
    asked = [parse(data) for data in heard.of("voice", "SUBSCRIBE ")]
    numbers = [one.cseq for one in asked]
    assert numbers == sorted(set(numbers)) and len(numbers) == 3
    assert not {"call-origin", "line", "line-state"} & {name for one in asked for name in one.names}


def test_two_trunks_of_the_servers_have_none_with_each_other() -> None:
    sim = town_with_own_trunk(("east", "voice"), more=OWNED, settings='subscriptions = "pass"\n')
    watch(sim, "east", "660", "dialog")
    assert said(sim, "east", "subscribed") == ["405"]
