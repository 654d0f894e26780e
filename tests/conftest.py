"""No test may fail for the time it takes, on whatever machine: hypothesis is told so once for all. And what runs
beside what, when several processes share the tests (pytest-xdist)."""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("untimed"), max_examples=100_000)
settings.load_profile("untimed")

PROGRAMS: Final = (
    "tests/interop/",
    "tests/examples/",
    "tests/bench/test_bench.py",
    "tests/heartbeat/test_program.py",
    "tests/heartbeat/test_service.py",
    "tests/heartbeat/test_supervisor.py",
    "tests/gateway_agent/test_relay_process.py",
    "tests/gateway_agent/test_station.py",
    "tests/gateway_agent/test_webrtc_process.py",
    "tests/test_docs.py",
)
"""Tests that start programs, which keep real time: few files of them at once (`AT_ONCE`, one more when nothing else
is left). What has a clock of its own runs beside them."""
MACHINES: Final = ("tests/interop/test_guide.py", "tests/test_debian_package.py", "tests/test_containers.py")
"""The same on machines of their own, and for the most part waiting for installations: beside the others, too."""
CORES: Final = len(os.sched_getaffinity(0))
AT_ONCE: Final = 1 if CORES < 4 else 2
LONG: Final = ("tests/stories/test_matrix.py",)
"""Files of which each test is dealt out by itself."""
GIVES_WAY: Final = 10
"""The niceness of what has a clock of its own, where it can be taken back (root): a server that waits for the
processor is an overloaded one, and refuses calls."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores, since programs mostly wait; each needs half a gigabyte."""
    return min(5, CORES + 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deals tests out by file: what is on machines of its own first, since that takes longest, then programs to as
    many processes as may have some, the rest to whoever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "machines" if path in MACHINES else nodeid if path in LONG else path

        def _assign_work_unit(self, node: Any) -> None:
            with_programs = sum(
                any(scope.startswith(PROGRAMS) and not all(tests.values()) for scope, tests in work.items())
                for other, work in self.assigned_work.items()
                if other is not node
            )
            scope = self._next(with_programs)
            if scope is None:  # who has programs now takes the rest of them
                node.shutdown()
                return
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

        def _next(self, with_programs: int) -> str | None:
            if "machines" in self.workqueue:
                return "machines"
            starting = [scope for scope in self.workqueue if scope.startswith(PROGRAMS)]
            others = [scope for scope in self.workqueue if not scope.startswith(PROGRAMS)]
            may_start = with_programs < (AT_ONCE if others else AT_ONCE + 1)
            return next(iter((starting if may_start else []) + others), None)

    return ByKind(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Whoever keeps real time goes before whoever does not."""
    if os.geteuid() == 0:
        path = item.nodeid.partition("::")[0]
        os.setpriority(os.PRIO_PROCESS, 0, 0 if path.startswith(PROGRAMS) else GIVES_WAY)
