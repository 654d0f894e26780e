"""The times of a site, and which fit each other."""

from __future__ import annotations

import re

import pytest

from heartbeat.timing import Timing, faults, least_margin


def test_defaults_are_those_of_the_documents() -> None:
    timing = Timing()
    assert (timing.lease, timing.margin, timing.silence) == (0.8, pytest.approx(0.18), pytest.approx(0.98))
    assert Timing(interval=0.1).silence == pytest.approx(0.54)
    assert least_margin(0.8, 0.01) < timing.margin
    for interval in (0.05, 0.1, 0.5, 5.0, 60.0):
        assert faults(Timing(interval=interval)) == []


@pytest.mark.parametrize(
    "timing, sentence",
    [
        (Timing(lease=0.7), "lease is 0.7 s; to survive 2 lost beats it must be over 0.7 s"),
        (Timing(misses=4, lease=0.9), "lease is 0.9 s; to survive 3 lost beats"),
        (Timing(watchdog=0.5), "watchdog is 0.5 s; a stall of 1 s is no death: say 0, or 1 at least"),
        (Timing(margin=0.01), "margin is 0.01 s; with clocks that drift by 0.01 .* at least 0.0162 s"),
    ],
)
def test_times_that_would_break_the_rules_are_refused(timing: Timing, sentence: str) -> None:
    [fault] = faults(timing)
    assert re.search(sentence, fault)


def test_files_that_fitted_by_the_interval_of_before_fit_by_that_of_now() -> None:
    """Each with what it left out as a file of a former version had it: intervals of 0.5 s, a lease of four."""
    for misses in (1, 2, 3, 4, 7):
        for round_trip in (0.0, 0.05, 0.4, 0.9, 3.0):
            for lease in (0.0, 1.7, 2.0, 9.0):
                for margin in (0.0, 0.05, 0.3):
                    before = Timing(0.5, misses=misses, round_trip=round_trip, lease=lease or 2.0, margin=margin)
                    now = Timing(misses=misses, round_trip=round_trip, lease=lease, margin=margin)
                    assert faults(before) or not faults(now), now
