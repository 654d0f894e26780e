"""Interop tests: real programs on loopback addresses of their own. A test whose peer is not here says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.interop.attacked import Scene
from tests.interop.phones import ended, talking
from tests.interop.programs import until


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--wide", action="store_true", help="also what takes long, as python -m tests.interop.table does"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--wide", False):
        items[:] = [item for item in items if item.get_closest_marker("wide") is None]
    if shutil.which("sipp") is None:
        skip = pytest.mark.skip(reason="SIPp is not installed: apt-get install sip-tester")
        for item in items:
            if item.get_closest_marker("interop"):
                item.add_marker(skip)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("site"))
    try:
        scene.start()
        scene.all_is_well()
        yield scene
        alices, standing = scene.alices, scene.standing
        assert talking(standing)
        alices.ask(alices.core.bye, standing)
        until(lambda: ended(standing) and not scene.bobs.core.calls, 5, "the standing call does not end")
        until(lambda: scene.site.idle("m1", "gw1", "gw2"), 15, lambda: f"a call is left over\n{scene.site.words()}")
        for audio in (*scene.alices.reports, *scene.bobs.reports):
            assert (audio.lost, audio.foreign, audio.corrupted) == (0, 0, 0), audio
    finally:
        scene.stop()


@pytest.fixture
def scene(opened: Scene) -> Iterator[Scene]:
    yield opened
    opened.all_is_well()
