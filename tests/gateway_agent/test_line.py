"""A line: settings, channels, state, and what it says of its far side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway_agent.channels import Busy
from gateway_agent.far_side import Changed, FarSide, LineEnvironment, Target
from gateway_agent.line import Line
from heartbeat.site.lines import LineSettings

TRUNK = LineSettings("t", "trunk", channels=1)


class Far:
    """A far side that does as it is told."""

    full_status = 486
    out_status = 503
    reach = object()
    digest = object()

    def __init__(self, environment: LineEnvironment, settings: LineSettings, changed: Changed) -> None:
        self.made_of = environment, settings
        self.changed = changed
        self.why = ""
        self.asked: list[float] = []
        self.reloads: list[tuple[LineSettings, float]] = []

    def targets(self, now: float) -> list[Target] | Busy:
        self.asked.append(now)
        return [Target("sip:x", "x", True)]

    def reload(self, settings: LineSettings, now: float) -> None:
        self.reloads.append((settings, now))


class Fixture:
    def __init__(self, settings: LineSettings = TRUNK) -> None:
        self.told: list[tuple[Line, str, float, bool]] = []
        environment: Any = "what far sides share"
        make = cast("Callable[[LineEnvironment, LineSettings, Changed], FarSide]", Far)
        self.line = Line(environment, settings, make, lambda *what: self.told.append(what), 0.0)
        self.far: Any = self.line.far_side


def test_the_far_side_is_made_with_what_all_share_and_asked_for_what_is_its() -> None:
    fixture = Fixture()
    assert fixture.far.made_of == ("what far sides share", TRUNK)
    assert (fixture.line.reach, fixture.line.digest) == (Far.reach, Far.digest)
    assert (fixture.line.name, fixture.line.kind) == ("t", "trunk")


@pytest.mark.parametrize(
    ("why", "closed", "busy", "state", "because"),
    [
        ("", "", False, "idle", ""),
        ("", "", True, "active", ""),
        ("the peer is silent", "", False, "out of service", "the peer is silent"),
        ("the peer is silent", "", True, "out of service", "the peer is silent"),
        ("", "reset by m1", True, "out of service", "reset by m1"),
        ("the peer is silent", "reset by m1", False, "out of service", "reset by m1"),
    ],
)
def test_the_state(why: str, closed: str, busy: bool, state: str, because: str) -> None:
    fixture = Fixture()
    if busy:
        assert fixture.line.take(0.0) == 1
    fixture.far.why, fixture.line.closed = why, closed
    assert (fixture.line.state, fixture.line.why, fixture.line.in_service) == (state, because, not because)
    assert fixture.line.busy == busy


def test_a_full_line_refuses_by_its_kind_and_a_closed_one_says_why() -> None:
    fixture = Fixture()
    assert fixture.line.take(0.0) == 1
    assert fixture.line.take(0.0) == Busy(486, "all 1 channels of t are busy")
    fixture.line.closed = "reset by m1"
    assert fixture.line.take(0.0) == Busy(503, "reset by m1")
    assert fixture.line.targets(1.0) == Busy(503, "reset by m1") and not fixture.far.asked
    fixture.line.closed = ""
    assert fixture.line.targets(2.0) == [Target("sip:x", "x", True)] and fixture.far.asked == [2.0]


@pytest.mark.parametrize(
    ("settings", "behind"),
    [(TRUNK, False), (replace(TRUNK, nat=True), True), (LineSettings("alice", "phone"), True)],
)
def test_whose_media_is_not_where_its_descriptions_say(settings: LineSettings, behind: bool) -> None:
    assert Fixture(settings).line.behind_nat is behind


def test_a_reload_reaches_channels_and_far_side() -> None:
    fixture, more = Fixture(), replace(TRUNK, channels=2)
    assert fixture.line.take(0.0) == 1
    fixture.line.reload(more, 5.0)
    assert fixture.line.settings is more and fixture.far.reloads == [(more, 5.0)]
    assert fixture.line.take(5.0) == 2


@pytest.mark.parametrize(("closed", "tell", "told"), [("", True, True), ("", False, False), ("by m1", True, False)])
def test_a_closed_line_tells_servers_nothing_of_its_far_side(closed: str, tell: bool, told: bool) -> None:
    fixture = Fixture()
    fixture.line.closed = closed
    fixture.far.changed("the peer answers again", 3.0, tell)
    assert fixture.told == [(fixture.line, "the peer answers again", 3.0, told)]
