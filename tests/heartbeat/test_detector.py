"""The detector: every instant exact, every judgement with its sentence."""

from __future__ import annotations

import pytest

from heartbeat.detector import ClockSuspectMode, Detector
from heartbeat.timing import Timing

TIMING = Timing(interval=0.5)


def watching(now: float = 0.0) -> Detector:
    detector = Detector(TIMING, now)
    detector.watch("m1", now)
    detector.hear("active", now)
    return detector


def judge_until(detector: Detector, until: float) -> list[tuple[float, str]]:
    found, now = [], 0.0
    while (at := detector.next_at(now)) is not None and at <= until:
        now = at
        judgement = detector.judge(now)
        if judgement is not None:
            found.append((round(now, 3), str(judgement)))
    return found


def test_silence_makes_suspect_and_then_dead() -> None:
    assert judge_until(watching(), 10.0) == [
        (0.75, "m1 is suspect: no heartbeat for 0.8 s"),
        (1.5, "m1 is dead: no heartbeat for 1.5 s, suspected for 0.8 s, no agent heard it before"),
    ]


def test_an_agent_that_hears_it_keeps_it_from_being_dead() -> None:
    detector = watching()
    assert detector.judge(0.8) is not None
    detector.witness("gw1", 0.2, 1.4)
    assert judge_until(detector, 2.69) == []
    assert judge_until(detector, 9.0)[0] == (
        2.7,
        "m1 is dead: no heartbeat for 2.7 s, suspected for 1.9 s, 1 agent heard it before",
    )


def test_a_beat_that_is_not_active_is_no_sign_of_service() -> None:
    detector = watching()
    for tenths in range(1, 10):
        assert detector.hear("holding", tenths / 10) is None
    assert str(detector.judge(0.9)) == "m1 is suspect: no heartbeat for 0.9 s (it says that it is holding)"
    assert detector.judge(1.5) is not None and detector.state == "dead"


def test_back_from_the_dead() -> None:
    detector = watching()
    judge_until(detector, 2.0)
    assert str(detector.hear("active", 4.0)) == "m1 is alive: a heartbeat came after 4.0 s"
    assert detector.judge(4.1) is None


def test_a_goodbye_is_not_a_death() -> None:
    detector = watching()
    assert str(detector.hear("left", 0.1)) == "m1 has left: it said goodbye"
    assert detector.next_at(0.1) is None and detector.judge(9.0) is None
    assert detector.release() is None
    other = watching()
    assert str(other.release()) == "m1 has left: it released its epoch"


def test_nobody_to_watch_is_nothing_to_judge() -> None:
    detector = Detector(TIMING, 0.0)
    assert detector.next_at(0.0) is None and detector.judge(100.0) is None


def test_an_excuse_moves_the_silence_but_not_the_dead() -> None:
    detector = watching()
    detector.grace(5.0)
    assert detector.judge(5.5) is None
    detector.judge(5.8)
    detector.judge(6.6)
    detector.grace(7.0)
    assert detector.state == "dead"


@pytest.mark.parametrize("late, watches", [(0.0, False), (0.5, False), (0.51, True), (60.0, True)])
def test_a_late_timer_of_ours_is_our_fault(late: float, watches: bool) -> None:
    clock_suspect = ClockSuspectMode(TIMING)
    assert clock_suspect.tick(100.0, 100.0 + late) is watches
    assert clock_suspect.watching(100.0 + late + 1.9) is watches
    assert not clock_suspect.watching(100.0 + late + 2.0)


def test_always_a_little_late_is_blind_for_one_lease_only() -> None:
    clock_suspect, now, blind = ClockSuspectMode(TIMING), 0.0, 0.0
    for _ in range(100):
        due, now = now + 0.5, now + 1.1
        clock_suspect.tick(due, now)
        blind += 1.1 if clock_suspect.watching(now) else 0.0
    assert blind <= TIMING.lease + 1.1


def test_after_a_punctual_time_lateness_counts_anew() -> None:
    clock_suspect = ClockSuspectMode(TIMING)
    assert clock_suspect.tick(1.0, 2.0)
    assert not clock_suspect.tick(2.5, 3.5)
    assert clock_suspect.tick(8.0, 9.0)
