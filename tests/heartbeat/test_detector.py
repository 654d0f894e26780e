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


def test_whom_others_hear_and_only_we_never_did_is_cut_off_from_us() -> None:
    detector = watching()
    detector.watch("m2", 10.0)
    detector.witness("gw1", 0.0, 10.5)
    assert str(detector.judge(10.8)).startswith("m2 is suspect: no heartbeat for 0.8 s")
    detector.witness("gw1", 0.0, 11.6)
    said = "m2 is suspect: no heartbeat comes here, but 1 agent hears it: the way between the servers is cut"
    assert str(detector.judge(11.7)) == said
    assert detector.judge(11.8) is None, "said once"


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


def test_how_long_ago_it_was_heard_is_known_of_whom_is_watched_and_was_heard() -> None:
    detector = Detector(TIMING, 1.0)
    detector.watch("m1", 2.0)
    assert detector.heard_ago("m1", 3.0) is None
    detector.hear("active", 4.0)
    assert detector.heard_ago("m1", 4.75) == 0.75
    assert detector.heard_ago("m2", 4.75) is None
    detector.watch("m2", 5.0)
    assert detector.heard_ago("m2", 5.5) is None and detector.heard_ago("m1", 5.5) is None


def test_who_is_watched_anew_begins_without_a_past() -> None:
    detector = watching()
    detector.expect(2.0)
    detector.witness("gw1", 0.0, 0.0)
    detector.hear("holding", 0.1)
    detector.watch("m1", 0.2)
    assert detector.state == "alive" and detector.heard_by_others(0.2) == 1, "the same one as before"
    detector.watch("m2", 1.0)
    assert (detector.state, detector.heard_at, detector.heard_of) == ("unknown", 1.0, False)
    assert detector.heard_by_others(1.0) == 0 and detector.judge(9.0) is None and detector.next_at(1.0) is None
    detector.witness("gw1", 0.0, 1.0)
    assert str(detector.judge(1.75)) == "m2 is suspect: no heartbeat for 0.8 s", "it says nothing of itself yet"
    assert str(detector.hear("active", 2.0)) == "m2 is alive: a heartbeat came after 1.0 s"


def test_that_others_hear_it_is_said_once_until_it_was_heard_again() -> None:
    detector, said = watching(), "m1 is suspect: no heartbeat comes here, but 1 agent hears it: the way between"
    detector.judge(0.75)
    detector.witness("gw1", 0.0, 1.5)
    assert detector.judge(1.5) is None, "it may have died after the agent heard it"
    detector.witness("gw1", 0.0, 1.6)
    assert str(detector.judge(1.6)).startswith(said)
    detector.witness("gw1", 0.0, 2.0)
    assert detector.judge(2.0) is None
    detector.hear("active", 3.0)
    assert detector.heard_by_others(3.0) == 0, "what agents heard of its silence is over"
    detector.judge(3.75)
    for agent in ("gw1", "gw2"):
        detector.witness(agent, 0.0, 4.6)
    assert str(detector.judge(4.7)).startswith(said.replace("1 agent hears", "2 agents hear"))


def test_of_a_witness_the_latest_counts_and_until_the_subject_would_be_dead() -> None:
    detector = watching()
    detector.witness("gw1", 0.5, 3.0)
    detector.witness("gw1", 1.5, 3.0)
    detector.witness("gw2", 1.0, 3.0)
    assert detector.heard_by_others(3.4) == 2
    assert detector.heard_by_others(3.5) == 1, "2.0 is 1.5 s ago"
    assert detector.heard_by_others(3.99) == 1 and detector.heard_by_others(4.0) == 0


def test_an_agent_that_heard_it_last_is_asked_about_until_that_is_old() -> None:
    detector = watching()
    detector.judge(0.75)
    assert detector.next_at(1.5) == 2.0, "no agent has said anything: look again in an interval"
    detector.witness("gw1", 0.1, 1.0)
    assert detector.next_at(1.5) == pytest.approx(2.4)
    assert detector.next_at(2.39) == pytest.approx(2.44), "no oftener than ten times in an interval"
    assert detector.judge(2.39) is None
    assert detector.judge(2.4) is not None and detector.state == "dead"


def test_a_witness_makes_somebody_heard_of() -> None:
    detector = Detector(TIMING, 0.0)
    detector.watch("m1", 0.0)
    assert detector.judge(0.75) is None and not detector.heard_of
    detector.witness("gw1", 0.2, 0.4)
    assert detector.heard_of and detector.next_at(0.4) == 0.75
    assert str(detector.judge(0.75)) == "m1 is suspect: no heartbeat for 0.8 s"


@pytest.mark.parametrize(
    ("told", "suspect", "dead"), [(None, 0.75, 1.5), (0.2, 0.3, 0.6), (2.0, 3.0, 6.0), (0.1, 0.3, 0.6)]
)
def test_the_longer_interval_counts_and_an_old_version_says_none(
    told: float | None, suspect: float, dead: float
) -> None:
    detector = Detector(Timing(interval=0.2), 0.0)
    detector.watch("m1", 0.0)
    detector.hear("active", 0.0)
    detector.expect(told)
    assert detector.next_at(0.0) == pytest.approx(suspect)
    assert detector.judge(suspect - 0.01) is None
    assert detector.judge(suspect + 1e-9) is not None and detector.state == "suspect"
    assert detector.next_at(suspect) == pytest.approx(dead)
    assert detector.judge(dead - 0.01) is None
    assert str(detector.judge(dead + 1e-9)).startswith("m1 is dead") and detector.verdict == "m1 is dead"


def test_reloaded_times_are_lived_by() -> None:
    detector, clock_suspect = watching(), ClockSuspectMode(TIMING)
    detector.reload(Timing(interval=2.0))
    clock_suspect.reload(Timing(interval=2.0))
    assert detector.next_at(0.0) == 3.0
    assert not clock_suspect.tick(10.0, 12.0) and clock_suspect.tick(10.0, 12.1)


def test_a_short_interval_makes_no_timer_suspect_that_is_half_a_second_late() -> None:
    clock_suspect = ClockSuspectMode(Timing(interval=0.1))
    assert not clock_suspect.watching(0.0) and not clock_suspect.watching(0.5)
    assert not clock_suspect.tick(10.0, 10.5) and clock_suspect.tick(10.0, 10.51)


def test_lateness_counts_anew_after_a_punctual_lease_and_not_before() -> None:
    """The lease is 2 s; the second timer is late by 1 s."""
    clock_suspect = ClockSuspectMode(TIMING)
    assert clock_suspect.tick(9.0, 10.0)
    assert not clock_suspect.tick(12.0, 13.0), "12.0 is the end of that lease, and no later"
    assert clock_suspect.tick(15.1, 16.1)


def test_one_that_let_go_still_speaks() -> None:
    detector = watching()
    detector.hear("standby", 0.1)
    detector.judge(0.75)
    assert detector.verdict == "m1 rules no more"
    assert str(detector.judge(1.5)) == (
        "m1 rules no more: it says that it is standby, and sent no active heartbeat for 1.5 s"
    )
    assert detector.reveal("by signal 9") is None, "it is dead already"
    other = watching()
    assert str(other.reveal("by signal 9")) == "m1 is dead: its supervisor saw it end by signal 9"


def test_an_excuse_never_makes_silence_longer() -> None:
    detector = watching(5.0)
    detector.grace(4.0)
    assert detector.heard_at == 5.0
    detector.hear("left", 5.1)
    detector.grace(9.0)
    assert detector.heard_at == 5.0


def test_several_agents_had_heard_it() -> None:
    detector = watching()
    detector.judge(0.75)
    detector.witness("gw1", 0.0, 0.0)
    detector.witness("gw2", 0.0, 0.0)
    assert str(detector.judge(1.5)).endswith("suspected for 0.8 s, 2 agents heard it before")


def test_of_two_agents_the_one_that_heard_it_last_counts() -> None:
    detector = watching()
    detector.judge(0.75)
    detector.witness("gw1", 0.0, 1.0)
    detector.witness("gw2", 0.0, 2.0)
    assert detector.next_at(2.6) == 3.5
    assert str(detector.judge(2.6)).startswith("m1 is suspect: no heartbeat comes here, but 1 agent hears it"), "gw2"
    assert detector.judge(3.49) is None and detector.judge(3.5) is not None


def test_that_others_hear_it_is_said_of_the_next_one_too() -> None:
    detector = watching()
    detector.judge(0.75)
    detector.witness("gw1", 0.0, 1.6)
    assert detector.judge(1.6) is not None
    detector.watch("m2", 2.0)
    detector.hear("active", 2.0)
    detector.judge(2.75)
    detector.witness("gw1", 0.0, 3.6)
    assert str(detector.judge(3.6)).startswith("m2 is suspect: no heartbeat comes here")
