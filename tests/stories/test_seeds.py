"""Random runs: 300 seeds of calls, faults and weather, 60 more over a trunk of the servers.

``python -m tests.stories.chaos SEED [own]`` shows one.
"""

from __future__ import annotations

import logging

import pytest

from tests.stories.chaos import Chaos

SEEDS = 300
OWN_SEEDS = 60
AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_seed_breaks_a_rule_or_loses_a_call(first: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(first, first + AT_ONCE):
        chaos = Chaos(seed)
        try:
            chaos.run()
        except AssertionError as error:
            last = chaos.sim.world.ladder(60, calls_only=True)
            raise AssertionError(f"seed {seed}: {error}\n{last}") from error
        assert chaos.rules.seen > 1000


@pytest.mark.parametrize("first", range(0, OWN_SEEDS, AT_ONCE))
def test_no_seed_leaves_anything_of_a_call_over_a_trunk_of_the_servers(
    first: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(first, first + AT_ONCE):
        chaos = Chaos(seed, own=True)
        try:
            chaos.run()
        except AssertionError as error:
            last = chaos.sim.world.ladder(60, calls_only=True)
            raise AssertionError(f"seed {seed}: {error}\n{last}") from error


def test_a_seed_is_always_the_same_run() -> None:
    ran = [Chaos(7), Chaos(7)]
    for chaos in ran:
        chaos.run()
    assert ran[0].sim.world.ladder(5000) == ran[1].sim.world.ladder(5000)
    assert ran[0].sim.said == ran[1].sim.said
