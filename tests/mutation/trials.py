"""Tries the changes of a target's modules on its tests.

The tests are collected and run once without a change, to see which of them come by which line, and how long each
takes. Each change then has a process of its own, forked from there, and only those tests that come by its statement,
the quickest first; those that noticed the change before go ahead of all. Bounds are in CPU time: how busy the machine
is, and whether the run is stopped for a while, makes no difference.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import pytest

from tests.mutation.changes import ROOT, Broken, Loaded, load_anew
from tests.mutation.mutants import Mutant

LEAST_S: Final = 5.0
TIMES: Final = 4.0
"""Seconds of CPU that a change has, and so many times what its tests take without one."""
MEMORY: Final = 2 << 30
"""Bytes of address space that it may have."""
NOTICED, LIVES, LATE, BROKEN = "noticed", "lives", "too slow", "no program"
_POLL_S: Final = 0.01
_CODES: Final = {0: LIVES, 3: BROKEN}
_QUIET: Final = ("-q", "-x", "-p", "no:cacheprovider", "--capture=no", "--hypothesis-seed=1")


class Trial(NamedTuple):
    """A change of one of the modules."""

    module: str
    mutant: Mutant


def run(
    modules: tuple[str, ...], tests: Sequence[str], trials: Sequence[Trial], told: Callable[[int, str], None]
) -> None:
    """Tell of each trial, by its place, what came of it. Raises :class:`SystemExit` when tests fail as it is."""
    with silence():
        session = _Session(modules, trials, told)
        code = pytest.main([*_QUIET, *tests], plugins=[session])
        if code != pytest.ExitCode.OK:
            raise SystemExit(session.fault or f"pytest {' '.join(tests)} ends with {code!r}")
        for number in session.left:
            judge = partial(_loaded_anew, trials[number], tests)
            told(number, _judged(judge, LEAST_S + TIMES * session.cpu_s))


class silence:
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


class _Session:
    """A plugin of pytest: takes the place of the loop that runs the tests."""

    def __init__(self, modules: tuple[str, ...], trials: Sequence[Trial], told: Callable[[int, str], None]) -> None:
        self.fault = ""
        self.cpu_s = 0.0
        """Of all tests without a change."""
        self.left: list[int] = []
        """Trials for which the module has to be loaded anew."""
        self._modules = modules
        self._trials = trials
        self._told = told
        self._failed = False
        self._passed_by: list[frozenset[tuple[str, int]]] = []
        """Of each test the statements of the modules that it came by: path and line."""
        self._took: list[float] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Examples that break a rule are neither kept nor made small."""
        from hypothesis import Phase, settings  # not before pytest, which wants to read its asserts

        now = settings.get_current_profile_name()
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", settings.get_profile(now), database=None, phases=phases)
        settings.load_profile("mutation")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("tests cannot be collected")
        loaded = Loaded(self._modules)
        for item in session.items:
            self._look(item, loaded)
            if self._failed:
                self.fault = f"{item.nodeid} fails without a change"
                raise session.Interrupted(self.fault)
        self.cpu_s = sum(self._took)
        loaded = Loaded(self._modules)  # once more: now all caches are there
        gc.collect()
        gc.freeze()
        first: list[int] = []
        for number, trial in enumerate(self._trials):
            if trial.mutant.at_import or not loaded.has(trial.module, trial.mutant):
                self.left.append(number)
            else:
                self._try(session, loaded, number, trial, first)
        return True

    def _look(self, item: pytest.Item, loaded: Loaded) -> None:
        began = time.process_time()
        with loaded.watched() as found:
            self._run(item)
        self._took.append(time.process_time() - began)
        self._passed_by.append(frozenset(found))

    def _run(self, item: pytest.Item) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def _try(self, session: pytest.Session, loaded: Loaded, number: int, trial: Trial, first: list[int]) -> None:
        """``first``: tests that noticed something, the last one in front."""
        place = str(ROOT / trial.module), trial.mutant.statement
        chosen = [at for at, passed in enumerate(self._passed_by) if place in passed]
        if not chosen:
            self._told(number, LIVES)
            return
        eager = {at: place for place, at in enumerate(first[:4])}
        chosen.sort(key=lambda at: (eager.get(at, len(eager)), self._took[at]))
        readable, writable = os.pipe()

        def judge() -> int:
            loaded.change(trial.module, trial.mutant)
            for at in chosen:
                self._run(session.items[at])
                if self._failed:
                    os.write(writable, at.to_bytes(4))
                    return 1
            return 0

        verdict = _judged(judge, LEAST_S + TIMES * sum(self._took[at] for at in chosen))
        os.close(writable)
        if noticed := os.read(readable, 4):
            at = int.from_bytes(noticed)
            first[:] = [at, *(one for one in first if one != at)]
        os.close(readable)
        self._told(number, verdict)


def _loaded_anew(trial: Trial, tests: Sequence[str]) -> int:
    load_anew(trial.module, trial.mutant)
    return 0 if pytest.main([*_QUIET, *tests]) == pytest.ExitCode.OK else 1


def _judged(judge: Callable[[], int], cpu_s: float) -> str:
    """What comes of it in a process of its own."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s) + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            random.seed(1)
            code = judge()
        except Broken:
            code = 3
        finally:
            os._exit(code)
    done = 0
    try:
        for _ in range(int(20 * cpu_s / _POLL_S)):  # one that only waits; counted, as we may be stopped for long
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                if os.WIFEXITED(status):
                    return _CODES.get(os.WEXITSTATUS(status), NOTICED)
                return LATE if os.WTERMSIG(status) == signal.SIGXCPU else NOTICED
            time.sleep(_POLL_S)
        return LATE
    finally:
        if not done:  # also when the run is broken off: it has a process group of its own
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
