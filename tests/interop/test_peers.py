"""Every feature of every peer: calm, the active server killed in its middle, the agent killed (see `played`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop import captured
from tests.interop.asterisk_kinds import AsteriskByTlsScene, FaxScene, SessionTimerScene
from tests.interop.asterisk_scenes import AsteriskByTcpScene, AsteriskScene, CarrierScene, SecuredScene
from tests.interop.baresip_scenes import BaresipByTcpScene, BaresipByTlsScene, BaresipScene
from tests.interop.dispatcher_scene import DispatcherScene
from tests.interop.dns_scene import DnsScene
from tests.interop.far_scenes import ProxiesByTcpScene, ProxiesScene
from tests.interop.linphone_scenes import LinphoneScene
from tests.interop.own_trunk_scene import OwnTrunkScene
from tests.interop.pjsua2_scene import Pjsua2Scene
from tests.interop.played import AFTERWARDS, CAPTURED, Blow, Feature, Scene, play
from tests.interop.sipp_scene import SippScene

pytestmark = pytest.mark.interop

SCENES: tuple[type[Scene], ...] = (
    AsteriskScene,
    CarrierScene,
    SecuredScene,
    AsteriskByTcpScene,
    AsteriskByTlsScene,
    SessionTimerScene,
    FaxScene,
    OwnTrunkScene,
    ProxiesScene,
    ProxiesByTcpScene,
    DispatcherScene,
    BaresipScene,
    BaresipByTcpScene,
    BaresipByTlsScene,
    LinphoneScene,
    Pjsua2Scene,
    SippScene,
    DnsScene,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rows = [
        pytest.param(
            scene, blow, feature, id=f"{scene.__name__}-{blow.name.lower()}-{feature.what}",
            marks=[pytest.mark.row(scene.peer, feature.what, blow.value), *[pytest.mark.wide] * scene.wide],
        )
        for scene in SCENES
        for blow in scene.blows
        for feature in (*scene.features, AFTERWARDS, CAPTURED)
    ]  # fmt: skip
    metafunc.parametrize(("kind", "blow", "feature"), rows)


class Theatre:
    """One scene at a time, that of the test that runs; what was played on it, once for all tests of it."""

    def __init__(self, directory: Path, items: list[pytest.Item]) -> None:
        self._directory = directory
        self._asked = [
            item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        ]
        self.scene: Scene | None = None
        self._played: dict[Blow, dict[str, str]] = {}

    def played(self, kind: type[Scene], blow: Blow) -> dict[str, str]:
        """Why each of the features that were asked for failed under this blow; ``""`` where it did not."""
        if type(self.scene) is not kind:
            self.close()
            self.scene = kind(self._directory / kind.__name__)
            self.scene.start()
        assert self.scene is not None
        if blow not in self._played:
            features: list[Feature] = [
                each["feature"] for each in self._asked if each.get("kind") is kind and each["blow"] is blow
            ]
            together = (AFTERWARDS, CAPTURED)
            self._played[blow] = play(self.scene, [each for each in features if each not in together], blow)
        return self._played[blow]

    def close(self) -> None:
        if self.scene is not None:
            self.scene.stop()
        self.scene = None
        self._played.clear()


@pytest.fixture(scope="module")
def theatre(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path_factory.mktemp("theatre"), request.session.items)
    try:
        yield theatre
    finally:
        theatre.close()


def test_as_if_nothing_had_been(
    theatre: Theatre, kind: type[Scene], blow: Blow, feature: Feature, record_property: Any
) -> None:
    if because := kind.missing() or (captured.missing() if feature is CAPTURED else ""):
        pytest.skip(because)
    found = theatre.played(kind, blow)
    assert theatre.scene is not None
    record_property("version", theatre.scene.version)
    because = found.get(feature.what, "")
    assert not because, because
