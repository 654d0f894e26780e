"""The mutants, and what is said of them by the tests that belong to their module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.changes import ROOT
from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.mutants import mutants_of
from tests.mutation.targets import TARGETS, Target
from tests.mutation.trials import BROKEN, LATE, LIVES, NOTICED, Trial, _judged

LEASE = Target("lease", ("heartbeat/lease.py",), ("tests/heartbeat/test_lease.py",))
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


def test_of_each_change_it_is_known_which_statement_has_to_be_come_by() -> None:
    found = {one.text: (one.statement, one.at_import) for one in mutants_of(SOURCE)}
    assert found["0 -> 1"] == (8, True), "a default is there when the function is made"
    assert found["not self.off -> self.off"] == (11, False)
    assert found["self.tell(min(now, 1)) -> pass"] == (13, False)


def test_every_target_and_every_change_that_counts_alike_is_there() -> None:
    for target in TARGETS:
        assert all((ROOT / path).is_file() for path in (*target.modules, *target.tests, *target.stories)), target.name
    known = {(one.module, one.mutant.name) for target in TARGETS for one in mutation._trials(target, 1)}
    assert set(EQUIVALENT) <= known
    assert all(len(reason) > 10 for reason in EQUIVALENT.values())


def test_a_mutant_is_noticed_and_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "found.jsonl"
    found = mutation.run(LEASE, 30, kept)
    assert {one.verdict for one in found} == {NOTICED} and len(found) == len(kept.read_text().splitlines())
    monkeypatch.setattr(mutation, "_in_child", None)
    assert mutation.run(LEASE, 30, kept) == found
    more = [found[0]._replace(name=verdict, verdict=verdict) for verdict in (LIVES, LATE, BROKEN)]
    lines = mutation.table([LEASE], [*found, *more]).splitlines()
    assert f"| lease | {len(found) + 3} | {len(found)} ({len(found) / (len(found) + 1):.1%}) | 1 | 0 | 2 |" in lines
    assert [line for line in lines if line.endswith((LIVES, LATE, BROKEN))] == [
        f"{found[0].module}:{found[0].line}: {LIVES}",
        f"{LATE}: {found[0].module}:{found[0].line}: {LATE}",
        f"{BROKEN}: {found[0].module}:{found[0].line}: {BROKEN}",
    ]


def tried() -> dict[str, tuple[Trial, str]]:
    """Changes of each kind, by name, and what is to come of each."""
    module = LEASE.modules[0]
    source = (ROOT / module).read_text(encoding="utf-8")
    mutant = next(one for one in mutants_of(source) if not one.at_import)
    nothing = ast.Module([ast.copy_location(ast.Return(), ast.parse("1").body[0])], [])
    found = {
        "nothing changed": (mutant._replace(make=lambda: ast.parse(source)), LIVES),
        "no test comes by": (mutant._replace(statement=1), LIVES),
        "changed": (mutant, NOTICED),
        "no program": (mutant._replace(make=lambda: nothing), BROKEN),
        "loaded anew": (mutant._replace(at_import=True), NOTICED),
        "nothing changed, loaded anew": (mutant._replace(make=lambda: ast.parse(source), at_import=True), LIVES),
        "no program, loaded anew": (mutant._replace(make=lambda: nothing, at_import=True), BROKEN),
    }
    return {
        f"{mutant.function}: {name}": (Trial(module, each._replace(text=name)), verdict)
        for name, (each, verdict) in found.items()
    }


def try_all(kept: Path) -> None:
    """For a process of its own: tests of other modules, loaded before, hold on to what is to be loaded anew."""
    mutation._in_child("lease", LEASE.modules, LEASE.tests, [trial for trial, _ in tried().values()], kept)


def test_what_changes_nothing_lives_and_what_is_no_program_is_told_apart(tmp_path: Path) -> None:
    kept = tmp_path / "found.jsonl"
    program = (
        f"from pathlib import Path; from tests.mutation import test_mutation as t; t.try_all(Path({str(kept)!r}))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    found = {one.name: one.verdict for one in mutation._kept(kept)}
    assert found == {name: verdict for name, (_, verdict) in tried().items()}


def test_a_change_that_never_ends_is_told_apart() -> None:
    def endless() -> int:
        while True:
            pass

    assert _judged(endless, 1.0) == LATE
