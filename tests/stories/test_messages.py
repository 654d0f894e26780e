"""MESSAGE outside calls: from line to line, once, whatever dies meanwhile."""

from __future__ import annotations

import pytest

from tests.stories.site_simulation import SiteSimulation
from tests.stories.test_stories import begun
from tests.world import AFTER, BEFORE, KILL, MOMENTS, RESET, Crash, method_of

WHO = ("west", "east", "carl")


def said(town: SiteSimulation, name: str, kind: str) -> list[str]:
    """What a device told of that kind."""
    return [each.detail for each in town.world.nodes[name].events if getattr(each, "kind", "") == kind]


def send(town: SiteSimulation, name: str, number: str, text: str = "Hello") -> None:
    phone = town.phone(name)
    town.world.ask(name, phone.message, town.line(name), number, text)


@pytest.mark.parametrize(
    ("number", "who", "status"), [("200", "east", "200"), ("1003", "carl", "200"), ("9", "", "404")]
)
def test_a_message_goes_by_the_routes_and_its_answer_back(number: str, who: str, status: str) -> None:
    town = begun(who=WHO)
    send(town, "west", number, "Is anybody there?")
    town.world.run(town.world.now + 2.0)
    assert said(town, "west", "sent") == [status]
    for name in ("east", "carl"):
        assert said(town, name, "message") == (["Is anybody there?"] if name == who else [])
    assert not town.server("m1").messages.under_way and not town.agent("gw1").devices.messages.waiting


def test_lines_that_do_not_pass_messages_refuse_them() -> None:
    town = begun(who=(*WHO, "timed"))
    send(town, "timed", "200")
    send(town, "west", "500")  # to that line
    town.world.run(town.world.now + 2.0)
    assert said(town, "timed", "sent") == said(town, "west", "sent") == ["405"]


def test_who_talks_can_be_written_to() -> None:
    town = begun(who=WHO)
    town.talk("west", "1003", "carl")
    send(town, "west", "1003")
    town.world.run(town.world.now + 1.0)
    assert said(town, "west", "sent") == ["200"]


def test_one_line_cannot_fill_an_agent() -> None:
    town = begun(who=WHO)
    town.world.kill("m1")
    town.world.kill("s1")
    for _ in range(30):
        send(town, "west", "200")
    town.world.run(town.world.now + 2.0)
    assert said(town, "west", "sent") == ["503"] * 10
    town.world.run(town.world.now + 10.0)
    assert said(town, "west", "sent") == ["503"] * 30
    assert not town.agent("gw1").devices.messages.waiting


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("index", range(2))
@pytest.mark.parametrize(("node", "how"), [("m1", KILL), ("m1", RESET), ("gw1", KILL), ("gw2", KILL)])
def test_a_message_comes_once_whatever_dies(node: str, how: str, index: int, moment: str) -> None:
    if how is RESET and moment not in (BEFORE, AFTER):
        moment = AFTER
    town = begun(who=WHO)

    def counts(delivery: object) -> bool:
        return delivery is not None and method_of(delivery.data) == "MESSAGE"  # type: ignore[attr-defined]

    lasts = 0.5 if node.startswith("gw") else 0.0
    crash = Crash(node, index, moment, counts, how, lasts)
    town.world.crashes.append(crash)
    send(town, "west", "200")
    town.world.run(town.world.now + 20.0)
    assert crash.happened_at is not None
    assert said(town, "west", "sent") == ["200"], town.world.ladder(60, True)
    assert said(town, "east", "message") == ["Hello"], town.world.ladder(60, True)
