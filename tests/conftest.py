"""No test may fail for the time it takes, on whatever machine: hypothesis is told so once for all. And what runs
beside what, when several processes share the tests (pytest-xdist)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("untimed"), max_examples=100_000)
settings.load_profile("untimed")

PROGRAMS: Final = (
    "interop/",
    "examples/",
    "heartbeat/test_program.py",
    "heartbeat/test_service.py",
    "heartbeat/test_supervisor.py",
    "gateway_agent/test_relay_process.py",
    "gateway_agent/test_station.py",
    "gateway_agent/test_webrtc_process.py",
    "test_containers.py",
    "test_debian_package.py",
    "test_docs.py",
)
"""Tests that start programs, which keep real time: one after the other, in one process. What has a clock of its own
runs beside them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.pluginmanager.hasplugin("xdist"):
        return
    here = Path(__file__).parent
    for item in items:
        name = item.path.relative_to(here).as_posix()
        item.add_marker(pytest.mark.xdist_group("programs" if name.startswith(PROGRAMS) else name))
