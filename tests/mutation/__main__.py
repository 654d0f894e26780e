"""python -m tests.mutation

The modules on which safety rests are changed at one place after the other (a comparison, a condition, a constant, a
statement left out), and the tests that belong to the module must notice each change. It says which are not noticed;
fewer than 95 of 100 noticed is a failure. ``--target lease`` tries one module's, ``--to FILE`` keeps what was found
and goes on from there: a mutant that was noticed is not tried again as long as its module is the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import _lru_cache_wrapper
from hashlib import blake2s
from pathlib import Path
from types import FunctionType
from typing import Final, NamedTuple

import pytest

from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.mutants import Mutant, code_of, mutants_of
from tests.mutation.targets import TARGETS, Target

ROOT: Final = Path(__file__).parents[2]
ENOUGH: Final = 0.95
LEAST_S: Final = 15.0
MOST_S: Final = 90.0
"""Seconds that a mutant has; between these, so many times what its tests take without a change."""
TIMES: Final = 8.0
NOTICED, LIVES, LATE, BROKEN = "noticed", "lives", "too slow", "not a program"
QUIET: Final = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=1")


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
    parser.add_argument("--to", type=Path, metavar="FILE", help="keep what is found there, and go on from it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    targets = [one for one in TARGETS if options.target in one.name]
    found = [each for target in targets for each in run(target, options.every, options.to)]
    print(table(targets, found))
    counted = [one for one in found if (one.module, one.name) not in EQUIVALENT]
    score = sum(one.verdict != LIVES for one in counted) / max(1, len(counted))
    print(f"{score:.1%} of {len(counted)} mutants are noticed, {len(found) - len(counted)} change nothing.")
    return 0 if score >= ENOUGH else 1


def table(targets: Sequence[Target], found: Sequence[Found]) -> str:
    """Of each target how many mutants are noticed, and each that is not."""
    lines = ["| modules | mutants | noticed | alike | not noticed |", "| --- | --- | --- | --- | --- |"]
    living = []
    for target in targets:
        own = [one for one in found if one.module in target.modules]
        alike = [one for one in own if (one.module, one.name) in EQUIVALENT]
        lives = [one for one in own if one.verdict == LIVES and one not in alike]
        noticed = len(own) - len(alike) - len(lives)
        lines.append(f"| {target.name} | {len(own)} | {noticed} | {len(alike)} | {len(lives)} |")
        living += [f"{one.module}:{one.line}: {one.name}" for one in lives]
    return "\n".join((*lines, "", *living))


def run(target: Target, every: int = 1, kept: Path | None = None) -> list[Found]:
    """Try the mutants of a target's modules, each in a process of its own."""
    tried = list(_mutants(target, every))
    known = {(one.module, one.name, one.digest): one for one in _kept(kept) if one.verdict in (NOTICED, BROKEN)}
    found, began = [], time.monotonic()
    limit = 0.0
    for number, (module, digest, mutant) in enumerate(tried, 1):
        one = known.get((module, mutant.name, digest))
        if one is None and (module, mutant.name) in EQUIVALENT:
            one = Found(module, mutant.name, mutant.line, LIVES, digest)
        if one is None:
            limit = limit or _prepare(target)
            one = Found(module, mutant.name, mutant.line, _try(target, module, mutant, limit), digest)
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(one) + "\n")
            if one.verdict == LIVES:
                print(f"{module}:{mutant.line}: {mutant.name}", flush=True)
        found.append(one)
        if number % 20 == 0 or number == len(tried):
            left = (time.monotonic() - began) / number * (len(tried) - number)
            lives = sum(each.verdict == LIVES for each in found)
            text = f"{target.name}: {number} of {len(tried)}, {lives} not noticed, {left:.0f} s left"
            print(text, file=sys.stderr, flush=True)
    return found


def _mutants(target: Target, every: int) -> Iterator[tuple[str, str, Mutant]]:
    for module in target.modules:
        source = (ROOT / module).read_text(encoding="utf-8")
        digest, names = blake2s(source.encode(), digest_size=8).hexdigest(), Counter[str]()
        for number, mutant in enumerate(mutants_of(source)):
            names[mutant.name] += 1
            if names[mutant.name] > 1:  # the same once more in one function
                mutant = mutant._replace(text=f"{mutant.text} ({names[mutant.name]})")
            if number % every == 0:
                yield module, digest, mutant


def _kept(kept: Path | None) -> list[Found]:
    if kept is None or not kept.exists():
        return []
    return [Found(*json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


def _prepare(target: Target) -> float:
    """Run the tests as they are, in this process: so all is imported that the mutants' processes need. How long a
    mutant may take."""
    began = time.process_time()
    with _silence():
        code = pytest.main([*QUIET, *target.tests])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"the tests of {target.name} fail without a change: pytest {' '.join(target.tests)}")
    return min(MOST_S, max(LEAST_S, TIMES * (time.process_time() - began)))


class _silence:
    """What tests print is of no interest here."""

    def __enter__(self) -> None:
        self._kept = [os.dup(1), os.dup(2)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        for number, kept in enumerate(self._kept, 1):
            os.dup2(kept, number)
            os.close(kept)


def _try(target: Target, module: str, mutant: Mutant, limit: float) -> str:
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        with _silence():
            os._exit(_in_child(target, module, mutant))
    until, done = time.monotonic() + limit, 0
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                if os.WIFEXITED(status):
                    return {0: LIVES, 3: BROKEN}.get(os.WEXITSTATUS(status), NOTICED)
                return NOTICED
            time.sleep(0.01)
        return LATE
    finally:
        if not done:  # also when the run is broken off: it has a process group of its own
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _in_child(target: Target, module: str, mutant: Mutant) -> int:
    """0: all tests pass. 1: one does not. 3: it cannot be tried."""
    random.seed(1)
    try:
        if not _change(module, mutant):
            _load_anew(module, mutant)
        return 0 if pytest.main([*QUIET, *target.tests]) == pytest.ExitCode.OK else 1
    except (SyntaxError, ValueError):
        return 3
    except BaseException:
        return 1


def _change(module: str, mutant: Mutant) -> bool:
    """Give the functions that are there the changed code; False when nobody has it, as at a module's level."""
    path = str(ROOT / module)
    code = code_of(mutant.make(), path, mutant.function) if mutant.function else None
    if code is None:
        return False
    changed = False
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            old = each.__code__
            if old.co_filename == path and old.co_qualname == mutant.function and old.co_freevars == code.co_freevars:
                each.__code__ = code
                changed = True
    for each in gc.get_objects():
        if isinstance(each, _lru_cache_wrapper):
            each.cache_clear()
    return changed


def _load_anew(module: str, mutant: Mutant) -> None:
    """Forget all that is ours, and let the module be imported as it was changed."""
    name, path = module.removesuffix(".py").replace("/", "."), str(ROOT / module)
    code = compile(mutant.make(), path, "exec", dont_inherit=True)
    for each in [
        one for one in sys.modules if one.partition(".")[0] in OURS and not one.startswith("tests.mutation")
    ]:
        del sys.modules[each]
    sys.meta_path.insert(0, _Finder(name, path, code))


OURS: Final = ("sip", "heartbeat", "b2bua", "gateway_agent", "examples", "tests")


class _Finder:
    """Finds one module as it was changed."""

    def __init__(self, name: str, path: str, code: object) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name != self._name:
            return None
        from importlib.machinery import ModuleSpec

        spec = ModuleSpec(name, self, origin=self._path)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: object) -> None:
        exec(self._code, vars(module))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
