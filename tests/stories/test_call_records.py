"""One record for each call, however it ended and whenever its server died: what was in the last batch is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from examples.softphone_call import CALLING, ENDED, TALKING, Call, Policy
from gateway_agent import list_subscription
from heartbeat.site.model import Site
from tests.stories.matrix import of_calls
from tests.stories.rules import Rules
from tests.stories.site_simulation import WALL, SiteSimulation, site_of
from tests.world import AFTER, BEFORE, PARTLY, UNSENT, Crash

FATES = ("caller", "callee", "busy", "cancelled", "unknown", "nobody", "hunted", "talks", "rings", "both")
"""How the calls of a busy second end."""
NUMBERS = {"unknown": "8{:03d}", "nobody": "1002", "hunted": "600"}
RESULTS = {
    "caller": {("answered", "caller")},
    "callee": {("answered", "callee")},
    "both": {("answered", "caller"), ("answered", "callee")},
    "talks": {("answered", "caller")},
    "busy": {("busy", "callee")},
    "cancelled": {("cancelled", "caller")},
    "rings": {("cancelled", "caller")},
    "unknown": {("rejected", "server")},
    "nobody": {("no-answer", "server")},
    "hunted": {("answered", "caller"), ("busy", "server")},
}
"""Result and who ended it."""


class Busy:
    """A site in which calls of all fates begin, one after the other; what its users did and saw."""

    def __init__(self, seed: int, site: Site | None = None) -> None:
        self.sim = sim = SiteSimulation(seed, ("west", "east", "carl"), site)
        Rules(sim)
        assert sim.active == ["m1"]
        self.begun: list[tuple[str, str, Call]] = []
        """Fate, number, the caller's end."""
        self.ended_at: dict[str, float] = {}
        """When a user ended a call first, by its subject."""
        sim.policy("east", Policy(ring_after=None))
        sim.policy("carl", Policy(answer_after=0.02))

    def dial(self, fate: str) -> None:
        """Begin a call."""
        sim, place = self.sim, len(self.begun)
        number = NUMBERS.get(fate, "2{:03d}").format(place)
        subject = f"{fate} {place}"
        sim.then("east", "incoming", self._came)
        self.begun.append((fate, number, sim.call("west", number, subject=subject)))
        if fate == "cancelled":
            sim.world.later(0.1, self.end, "west", subject)
        if fate in ("caller", "hunted", "both"):
            sim.world.later(0.15, self.end, "west", subject)
        if fate in ("callee", "both"):
            sim.world.later(0.15, self.end, "east", subject)

    def _came(self, call: Call) -> None:
        sim, fate = self.sim, call.subject.partition(" ")[0]
        if fate == "busy":
            sim.do("east", "reject", call, 486)
            return
        sim.do("east", "ring", call)
        if fate not in ("cancelled", "rings"):
            sim.world.later(0.02, sim.do, "east", "answer", call)

    def end(self, name: str, subject: str, tries: int = 60) -> None:
        """A user ends a call, as soon as that can be: BYE when it talks, CANCEL when it is to be given up."""
        fate = subject.partition(" ")[0]
        verb, state = ("cancel", CALLING) if fate in ("cancelled", "rings") else ("bye", TALKING)
        calls = [call for call in self.sim.line(name).calls.values() if call.subject == subject]
        for call in calls:
            if call.state is state:
                self.ended_at.setdefault(subject, self.sim.world.now)
                self.sim.do(name, verb, call)
        if tries and (not calls or any(call.state not in (ENDED, state) for call in calls)):
            self.sim.world.later(0.05, self.end, name, subject, tries - 1)

    def play(self, count: int, gap: float = 0.011) -> None:
        """Begin so many calls."""
        world = self.sim.world
        for index in range(count):
            self.dial(FATES[index % len(FATES)])
            world.run(world.now + gap)

    def finish(self) -> None:
        """The stand-by rules, and all calls end."""
        sim, world = self.sim, self.sim.world
        assert world.run_until(lambda: sim.active == ["s1"], 12.0), "\n".join(sim.said)
        world.run(world.now + 4.0)
        for _, _, call in self.begun:
            if call.state is not ENDED:
                self.end("west", call.subject)
        world.run(world.now + 3.0)
        assert not [(fate, number, call.state) for fate, number, call in self.begun if call.state is not ENDED]
        for name in ("s1", "gw1", "gw2"):
            assert not world.nodes[name].core.calls, name

    def check(self) -> None:
        """One record a call, and each tells the truth."""
        cdrs = self.sim.cdrs
        assert Counter(cdr.callee for cdr in cdrs) == Counter(number for _, number, _ in self.begun)
        calls = {number: (fate, call) for fate, number, call in self.begun}
        unserved = {number for _, number, call in self.begun if call.status == 503}
        for cdr in cdrs:
            fate, call = calls[cdr.callee]
            given_up = {("failed", "server"), ("cancelled", "caller")} if cdr.callee in unserved else set()
            assert (cdr.result, cdr.ended_by) in RESULTS[fate] | given_up, (fate, cdr)
            assert (cdr.answered is not None) == (call.answered_at > 0) or fate == "hunted", (fate, cdr)
            assert cdr.started is not None and cdr.ended is not None
            if (at := self.ended_at.get(call.subject)) is not None and fate != "hunted" and not given_up:
                at = max(at, (cdr.answered or 0.0) - WALL)  # a callee may hang up before its caller hears of it
                assert abs(cdr.ended - WALL - at) < 0.3, (fate, at, cdr)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists come in parts, as those of thousands of calls do."""
    monkeypatch.setattr(list_subscription, "MOST_PART", 4000)


MOMENTS = [(place, (BEFORE, UNSENT, PARTLY, AFTER)[index % 4]) for index, place in enumerate(range(40, 520, 25))]
"""Messages of calls at which the server dies."""


@pytest.mark.parametrize(("place", "moment"), MOMENTS)
def test_every_call_of_a_busy_second_has_one_record(place: int, moment: str) -> None:
    busy = Busy(place)
    crash = Crash("m1", place, moment, of_calls)
    busy.sim.world.crashes.append(crash)
    busy.play(110)
    assert crash.happened_at is not None
    busy.finish()
    busy.check()


@pytest.mark.parametrize("hold", [1.6, 2.0, 2.2])
def test_attempts_that_are_given_up_while_the_stand_by_takes_over(hold: float) -> None:
    """Some before it rules, some before it has their list, some while it places them."""
    busy = Busy(7, site_of(timing=f"hold_attempt = {hold}"))
    busy.sim.world.crashes.append(Crash("m1", 150, BEFORE, of_calls))
    busy.play(250)
    busy.finish()
    assert any(call.status == 503 for _, _, call in busy.begun)
    busy.check()


@pytest.mark.parametrize("agent", ["gw1", "gw2"])
def test_the_list_of_one_agent_comes_long_after_that_of_the_other(agent: str) -> None:
    busy = Busy(8)
    world = busy.sim.world
    world.crashes.append(Crash("m1", 300, AFTER, of_calls))
    world.wires.cut(agent, "s1", both=True)
    busy.play(110)
    world.run(world.now + 9.0)
    world.wires.heal()
    world.run(world.now + 8.0)
    busy.finish()
    assert Counter(cdr.callee for cdr in busy.sim.cdrs) == Counter(number for _, number, _ in busy.begun)


@pytest.mark.parametrize("away", [12.0, 50.0])
def test_calls_that_nobody_served_have_a_record_once_a_server_is_back(away: float) -> None:
    """Of both servers none is there: attempts are given up by their users or by the agent, standing calls end."""
    busy = Busy(3)
    sim, world = busy.sim, busy.sim.world
    busy.dial("talks")
    busy.dial("talks")
    world.run(world.now + 1.0)
    world.kill("m1")
    world.kill("s1")
    world.run(world.now + 1.0)
    began = world.now
    for fate in ("caller", "cancelled"):
        busy.dial(fate)
    busy.end("west", "talks 0")
    busy.end("east", "talks 1")
    world.run(world.now + away)
    assert [call.status for _, _, call in busy.begun] == [200, 200, 503, 487]
    world.start("s1")
    assert world.run_until(lambda: sim.active == ["s1"], 30.0), "\n".join(sim.said)
    world.run(world.now + 50.0)
    told = {
        cdr.callee: (cdr.result, cdr.ended_by, cdr.status, round((cdr.ended or 0.0) - WALL - began, 1))
        for cdr in sim.cdrs
    }
    assert told == {
        "2000": ("answered", "caller", 200, 0.0),
        "2001": ("answered", "callee", 200, 0.0),
        "2002": ("failed", "server", 503, 8.0),
        "2003": ("cancelled", "caller", 487, 0.1),
    }
    assert {cdr.caller_line.partition("/")[0] for cdr in sim.cdrs} == {"west"}
    assert all(cdr.started and cdr.started - WALL - began < 0.1 for cdr in sim.cdrs)
    assert not sim.agent("gw1").gone and not sim.agent("gw2").gone


def test_what_was_agreed_on_is_told_by_the_server_that_takes_over() -> None:
    busy = Busy(6)
    world = busy.sim.world
    busy.dial("talks")
    world.run(world.now + 1.0)
    world.kill("m1")
    busy.finish()
    [cdr] = busy.sim.cdrs
    assert (cdr.node, cdr.codec, cdr.far_status) == ("s1", "PCMU", 200)
    assert cdr.caller_media and cdr.callee_media and cdr.caller_media != cdr.callee_media


def test_an_attempt_given_up_while_the_cable_was_cut_is_written_down_by_the_server_that_never_died() -> None:
    busy = Busy(4)
    sim, world = busy.sim, busy.sim.world
    world.wires.cut("gw1", "m1", both=True)
    world.wires.cut("gw1", "s1", both=True)
    world.run(world.now + 25.0)
    busy.dial("caller")
    world.run(world.now + 10.0)
    assert busy.begun[0][2].status == 503 and not sim.cdrs
    world.wires.heal()
    world.run(world.now + 30.0)
    assert [(cdr.node, cdr.result, cdr.status) for cdr in sim.cdrs] == [("m1", "failed", 503)]


def test_the_records_of_a_server_that_dies_in_the_middle_of_writing_are_written_by_the_next() -> None:
    """The stand-by that took over dies too before its own batch is on disk, and the first comes back."""
    busy = Busy(5)
    sim, world = busy.sim, busy.sim.world
    busy.play(60)
    world.run(world.now + 0.2)
    world.kill("m1")
    assert world.run_until(lambda: sim.active == ["s1"] and sim.server("s1").agents.all_complete, 12.0)
    world.run(world.now + 0.1)
    world.kill("s1")
    world.start("m1")
    assert world.run_until(lambda: sim.active == ["m1"], 20.0), "\n".join(sim.said)
    world.run(world.now + 4.0)
    for _, _, call in busy.begun:
        if call.state is not ENDED:
            busy.end("west", call.subject)
    world.run(world.now + 3.0)
    busy.check()


@pytest.mark.parametrize(
    ("away", "verdict"),
    [(0.5, ("answered", 200, "caller")), (6.0, ("cancelled", 487, "caller"))],
    ids=["the answer crosses", "too late"],
)
def test_a_call_is_answered_and_cancelled_while_no_server_is_there(
    away: float, verdict: tuple[str, int, str]
) -> None:
    """The agent that has the answer comes back ``away`` seconds after a new server rules."""
    sim = SiteSimulation(1, ("west", "east"))
    call = sim.call("west", "200")
    world = sim.world
    world.run(world.now + 1.0)
    other = next(iter(sim.line("east").calls.values()))
    world.kill("m1")
    sim.do("east", "answer", other)
    sim.do("west", "cancel", call)
    world.wires.cut("gw2", "s1", both=True)
    assert world.run_until(lambda: sim.active == ["s1"], 10.0), sim.said
    world.later(away, world.wires.heal)
    world.run(world.now + 30.0)
    assert call.state is ENDED and other.state is ENDED
    assert [(one.result, one.status, one.ended_by) for one in sim.cdrs] == [verdict], sim.records
