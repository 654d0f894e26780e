"""A stranger who sends too much is not listened to, an operator sees it and lifts it, and calls go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.attacked import Scene
from tests.interop.programs import ROOT, until
from tests.interop.strangers import Tcp, Udp, request

pytestmark = pytest.mark.interop


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("site"), bans=True)
    try:
        scene.start()
        yield scene
    finally:
        scene.stop()


def said(scene: Scene, name: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """What the command of one process says."""
    module, option = ("gateway_agent.cli", "--agent") if name.startswith("gw") else ("b2bua.cli", "--node")
    program = [sys.executable, "-m", module, words[0], "--site", str(scene.site.path), option, name, *words[1:]]
    return subprocess.run(program, capture_output=True, cwd=ROOT, timeout=30, check=False)


def banned(scene: Scene, name: str) -> list[dict[str, Any]]:
    done = said(scene, name, "bans", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)[name]["banned"]
    return found


@pytest.mark.parametrize("name", ["gw1", "m1"])
def test_a_scanner_is_banned_shown_and_heard_again(scene: Scene, name: str) -> None:
    door = scene.agent if name == "gw1" else scene.server
    with Udp(scene.stranger, door) as udp:
        assert udp.ask(request("OPTIONS", f"sip:{door[0]}", udp.via)) == 200
        assert banned(scene, name) == []
        for n in range(300):
            udp.send(request("BYE", f"sip:{n}@{door[0]}", udp.via, change={"To": "<sip:x@y>;tag=no"}))
        (ban,) = until(lambda: banned(scene, name), 10, scene.site.words)
        assert ban["host"] == scene.stranger and ban["because"] == "201 unknown dialog" and 0 < ban["left"] <= 600
        udp.drain()
        assert udp.ask(request("OPTIONS", f"sip:{door[0]}", udp.via), seconds=1.0) == 0
        with Tcp(scene.stranger, door) as tcp:
            tcp.send(request("OPTIONS", f"sip:{door[0]}", tcp.via, transport="TCP"))
            assert tcp.closed(3.0)
        scene.answers(door, scene.peer)
        call = scene.call()
        scene.alices.ask(scene.alices.core.bye, call)
        done = said(scene, name, "unban", scene.stranger)
        assert done.returncode == 0 and f"{scene.stranger} is heard again".encode() in done.stdout
        assert udp.ask(request("OPTIONS", f"sip:{door[0]}", udp.via)) == 200
    again = said(scene, name, "unban", scene.stranger)
    assert again.returncode == 1 and b"is not banned here" in again.stderr
