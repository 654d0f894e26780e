"""What a stranger recorded between the servers is worth nothing, to one that has just started neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from heartbeat.decision import What
from heartbeat.header import Beat
from tests.heartbeat.ballot_world import World, running


def _recorded(w: World, seconds: float) -> list[Beat]:
    """What m1 says to m2 in so many seconds, m2's start included."""
    said: list[Beat] = []
    deliver = w._deliver

    def noted(sender: str, to: str, beat: Beat, *asker: Any) -> None:
        if (sender, to) == ("m1", "m2"):
            said.append(beat)
        deliver(sender, to, beat, *asker)

    w._deliver = noted  # type: ignore[method-assign]
    w.crash("m2")
    w.run(3.0)
    w.start("m2")
    w.run(seconds)
    w._deliver = deliver  # type: ignore[method-assign]
    return said


def test_recorded_beats_do_not_hold_back_a_stand_by_that_was_started_again() -> None:
    w = running()
    recorded = _recorded(w, 30.0)
    assert any(beat.for_incarnation == 0 for beat in recorded) or len({b.for_incarnation for b in recorded}) == 2
    w.crash("m2")
    w.run(0.2)
    w.start("m2")
    w.crash("m1")
    for index, beat in enumerate(recorded):
        w.later(0.3 * index, lambda beat=beat: w._deliver("m1", "m2", beat))  # type: ignore[misc]
    assert w.run_until(lambda: w.holders() == ["m2"], limit=10.0) < 8.0
    assert w.member("m2").participant.ignored["meant for an earlier start"] > 5


def test_each_start_of_a_server_is_known_to_the_other_within_a_round_trip() -> None:
    w = running()
    for name in ("m2", "m1", "m2"):
        w.crash(name)
        w.run(0.2)
        w.start(name)
        w.run(0.9)
    m1, m2 = w.member("m1").participant, w.member("m2").participant
    assert m1.incarnation_of("m2") == m2.on_disk.incarnation and m2.incarnation_of("m1") == m1.on_disk.incarnation
    w.run(10.0)
    before = dict(m2.ignored)
    w.run(10.0)
    assert m2.ignored == before, "in peace nothing is dropped"


def test_a_server_of_an_older_version_which_names_no_start_is_heard_by_its_answers() -> None:
    w = running()
    deliver = w._deliver

    def older(sender: str, to: str, beat: Beat, *asker: Any) -> None:
        deliver(sender, to, replace(beat, for_incarnation=0) if sender == "m1" else beat, *asker)

    w._deliver = older  # type: ignore[method-assign]
    w.run(10.0)
    w.crash("m2")
    w.run(1.0)
    w.start("m2")
    w.run(20.0)
    assert w.settled() == "m1" and w.member("m2").detector.state == "alive"
    assert w.said("m2", What.SUSPECT) == []
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run_until(lambda: w.settled() == "m2", limit=2.0)
    w.act("m2", lambda member, now: member.switchover("m1", now))
    w.run_until(lambda: w.settled() == "m1", limit=2.0)
    w.run(5.0)
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=5.0)
