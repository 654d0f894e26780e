"""Interop tests: real programs on loopback addresses of their own. A test whose peer is not here says so."""

from __future__ import annotations

import shutil

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("sipp") is None:
        skip = pytest.mark.skip(reason="SIPp is not installed: apt-get install sip-tester")
        for item in items:
            if item.get_closest_marker("interop"):
                item.add_marker(skip)
