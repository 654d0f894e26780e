"""No test may fail for the time it takes, on whatever machine: hypothesis is told so once for all. And what runs
beside what, when several processes share the tests (pytest-xdist)."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("untimed"), max_examples=100_000)
settings.load_profile("untimed")

PROGRAMS: Final = (
    "tests/interop/",
    "tests/examples/",
    "tests/heartbeat/test_program.py",
    "tests/heartbeat/test_service.py",
    "tests/heartbeat/test_supervisor.py",
    "tests/gateway_agent/test_relay_process.py",
    "tests/gateway_agent/test_station.py",
    "tests/gateway_agent/test_webrtc_process.py",
    "tests/test_docs.py",
)
"""Tests that start programs, which keep real time: one after the other, in one process. What has a clock of its own
runs beside them."""
MACHINES: Final = ("tests/interop/test_guide.py", "tests/test_debian_package.py", "tests/test_containers.py")
"""The same on machines of their own, and for the most part waiting for installations: beside the others, too."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deals tests out by file, those that start programs all to one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path in MACHINES:
                return "machines"
            return "programs" if path.startswith(PROGRAMS) else path

    return ByKind(config, log)
