"""python -m tests.mutation

The modules on which safety rests are changed at one place after the other (a comparison, a condition, a constant, a
statement left out), and the tests that belong to the module must notice each change. It says which are not noticed;
fewer than 95 of 100 noticed is a failure. What is no program, or goes on for ever, is told apart and does not count.
``--target lease`` tries one module's, ``--to FILE`` keeps what was found and goes on from there: a mutant that was
noticed is not tried again as long as its module is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2s
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutation.changes import ROOT
from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.mutants import mutants_of
from tests.mutation.targets import TARGETS, Target
from tests.mutation.trials import BROKEN, LATE, LIVES, NOTICED, Trial
from tests.mutation.trials import run as run_trials

ENOUGH: Final = 0.95
_TELL_S: Final = 10.0


class Found(NamedTuple):
    """What became of a mutant."""

    module: str
    name: str
    line: int
    verdict: str
    digest: str
    """Of the module as it is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--target", default="", help="only targets whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="one mutant of so many")
    parser.add_argument("--quick", action="store_true", help="only the quick tests, not those of whole programs")
    parser.add_argument("--to", type=Path, metavar="FILE", help="keep what is found there, and go on from it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    targets = [one for one in TARGETS if options.target in one.name]
    found = [each for target in targets for each in run(target, options.every, options.to, options.quick)]
    print(table(targets, found))
    score = _score(found)
    return 0 if score >= ENOUGH else 1


def _score(found: Sequence[Found]) -> float:
    noticed = sum(one.verdict == NOTICED for one in found)
    return noticed / max(1, noticed + sum(_lives(one) for one in found))


def _lives(one: Found) -> bool:
    return one.verdict == LIVES and not _is_alike(one)


def _is_alike(one: Found) -> bool:
    return (one.module, one.name) in EQUIVALENT


def table(targets: Sequence[Target], found: Sequence[Found]) -> str:
    """Of each target what came of its mutants, and each that is not noticed."""
    lines = [
        "| modules | mutants | noticed | not noticed | change nothing | no program, or without an end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    of_target = [(target.name, [one for one in found if one.module in target.modules]) for target in targets]
    for name, own in (*of_target, ("all", found)):
        noticed, lives = sum(one.verdict == NOTICED for one in own), sum(map(_lives, own))
        alike = sum(_is_alike(one) for one in own)
        apart = sum(one.verdict in (LATE, BROKEN) for one in own)
        score = f"{noticed} ({_score(own):.1%})"
        lines.append(f"| {name} | {len(own)} | {score} | {lives} | {alike} | {apart} |")
    lines.append("")
    lines += [f"{one.module}:{one.line}: {one.name}" for one in found if _lives(one)]
    lines += [f"{one.verdict}: {one.module}:{one.line}: {one.name}" for one in found if one.verdict in (LATE, BROKEN)]
    return "\n".join(lines)


def run(target: Target, every: int = 1, kept: Path | None = None, quick: bool = False) -> list[Found]:
    """Try the mutants of a target's modules on its quick tests, and those that live on the others."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="holdfast-mutation-") as directory:
            return run(target, every, Path(directory) / "found.jsonl", quick)
    trials = list(_trials(target, every))
    digests = {module: _digest(module) for module in target.modules}

    def known() -> dict[tuple[str, str, str], Found]:
        return {(one.module, one.name, one.digest): one for one in _kept(kept)}

    def place(trial: Trial) -> tuple[str, str, str]:
        return trial.module, trial.mutant.name, digests[trial.module]

    for tests in (target.tests, () if quick else target.stories):
        before = {at for at, one in known().items() if one.verdict != LIVES}
        left = [one for one in trials if place(one) not in before and (one.module, one.mutant.name) not in EQUIVALENT]
        if left and tests:
            _in_child(target.name, target.modules, tests, left, kept)
    found = known()
    alike = (Found(one.module, one.mutant.name, one.mutant.line, LIVES, digests[one.module]) for one in trials)
    return [found.get(place(one), other) for one, other in zip(trials, alike, strict=True)]


def _in_child(name: str, modules: tuple[str, ...], tests: Sequence[str], trials: Sequence[Trial], kept: Path) -> None:
    """So that the tests of one target find nothing of those of others. What is found is appended to ``kept``."""
    child = os.fork()
    if child:
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
        if status:
            raise SystemExit(1)
        return
    code = 1
    try:
        _tell_of(name, modules, tests, trials, kept)
        code = 0
    except SystemExit as why:
        print(f"{name}: {why}", file=sys.stderr, flush=True)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _tell_of(name: str, modules: tuple[str, ...], tests: Sequence[str], trials: Sequence[Trial], kept: Path) -> None:
    digests = {module: _digest(module) for module in modules}
    verdicts = Counter[str]()
    screen = os.fdopen(os.dup(2), "w")
    began = said = time.monotonic()

    def told(number: int, verdict: str) -> None:
        nonlocal said
        module, mutant = trials[number]
        found = Found(module, mutant.name, mutant.line, verdict, digests[module])
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        verdicts[verdict] += 1
        now, done = time.monotonic(), verdicts.total()
        if now - said > _TELL_S or done == len(trials):
            said, left = now, (now - began) / done * (len(trials) - done)
            text = f"{name}: {done} of {len(trials)}, {verdicts[LIVES]} not noticed, {left:.0f} s left"
            print(text, file=screen, flush=True)

    run_trials(modules, tests, trials, told)


def _trials(target: Target, every: int) -> Iterator[Trial]:
    for module in target.modules:
        names = Counter[str]()
        for number, mutant in enumerate(mutants_of((ROOT / module).read_text(encoding="utf-8"))):
            names[mutant.name] += 1
            if names[mutant.name] > 1:  # the same once more in one function
                mutant = mutant._replace(text=f"{mutant.text} ({names[mutant.name]})")
            if number % every == 0:
                yield Trial(module, mutant)


def _digest(module: str) -> str:
    return blake2s((ROOT / module).read_bytes(), digest_size=8).hexdigest()


def _kept(kept: Path) -> list[Found]:
    if not kept.exists():
        return []
    return [Found(*json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
