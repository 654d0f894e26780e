"""The mutants, and that one of them is noticed by the tests that belong to its module, and another is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.mutants import mutants_of
from tests.mutation.targets import TARGETS, Target

SOURCE = '''
"""A module."""
LIMIT = 7
logger.debug("no change here")

class Clock:
    """A class."""
    def late(self, now: float = 0) -> bool:
        """A method."""
        logger.info("nor here")
        if now >= self.at and not self.off:
            self.off = True
            self.tell(min(now, 1))
        return now < 2
'''


def test_each_change_that_tests_must_notice_is_made_once() -> None:
    found = [(one.function, one.text) for one in mutants_of(SOURCE)]
    assert all(function == "Clock.late" for function, _ in found)
    assert [text for _, text in found] == [
        "0 -> 1",
        "now >= self.at and (not self.off) -> now >= self.at or not self.off",
        "now >= self.at and (not self.off) -> not self.off",
        "now >= self.at and (not self.off) -> now >= self.at",
        "now >= self.at -> now > self.at",
        "now >= self.at -> now < self.at",
        "not self.off -> self.off",
        "self.off = True -> pass",
        "True -> False",
        "self.tell(min(now, 1)) -> pass",
        "min(now, 1) -> max(now, 1)",
        "1 -> 2",
        "now < 2 -> now <= 2",
        "now < 2 -> now >= 2",
        "2 -> 3",
    ]


def test_every_target_and_every_change_that_counts_alike_is_there() -> None:
    for target in TARGETS:
        assert all((mutation.ROOT / path).is_file() for path in (*target.modules, *target.tests)), target.name
    known = {(module, mutant.name) for target in TARGETS for module, _, mutant in mutation._mutants(target, 1)}
    assert set(EQUIVALENT) <= known
    assert all(len(reason) > 10 for reason in EQUIVALENT.values())


def test_a_mutant_is_noticed_and_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("lease", ("heartbeat/lease.py",), ("tests/heartbeat/test_lease.py",))
    kept = tmp_path / "found.jsonl"
    found = mutation.run(target, 30, kept)
    assert {one.verdict for one in found} == {mutation.NOTICED} and len(found) == len(kept.read_text().splitlines())
    monkeypatch.setattr(mutation, "_try", None)
    assert mutation.run(target, 30, kept) == found
    table = mutation.table([target], [*found, found[0]._replace(verdict=mutation.LIVES)])
    assert f"| lease | {len(found) + 1} | {len(found)} | 0 | 1 |" in table
