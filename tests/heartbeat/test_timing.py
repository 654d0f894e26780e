"""The times of a site, and which fit each other."""

from __future__ import annotations

import re

import pytest

from heartbeat.timing import Timing, faults, least_margin


def test_defaults_are_those_of_the_documents() -> None:
    timing = Timing()
    assert (timing.lease, timing.margin, timing.silence) == (2.0, pytest.approx(0.3), pytest.approx(2.3))
    assert Timing(interval=0.1).silence == pytest.approx(0.54)
    assert least_margin(2.0, 0.01) < timing.margin
    for interval in (0.05, 0.1, 0.5, 5.0, 60.0):
        assert faults(Timing(interval=interval)) == []


@pytest.mark.parametrize(
    "timing, sentence",
    [
        (Timing(lease=1.5), "lease is 1.5 s; to survive 2 lost beats it must be over 1.6 s"),
        (Timing(misses=4), "lease is 2 s; to survive 3 lost beats"),
        (Timing(margin=0.01), "margin is 0.01 s; with clocks that drift by 0.01 .* at least 0.0404 s"),
    ],
)
def test_times_that_would_break_the_rules_are_refused(timing: Timing, sentence: str) -> None:
    [fault] = faults(timing)
    assert re.search(sentence, fault)
