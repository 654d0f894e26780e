"""The tools with which people look at SIP servers: sipsak is answered as it expects, sipvicious learns nothing."""

from __future__ import annotations

import subprocess

import pytest

from tests.interop.attacked import Scene
from tests.interop.unpacked import unpacked

pytestmark = pytest.mark.interop


def run(name: str, program: str, *words: str) -> str:
    """What it says. It must not say that something failed by its exit code."""
    found = unpacked(name)
    if found.because:
        pytest.skip(found.because)
    share = found.root / "usr" / "share"
    paths = [found.root / "usr" / "lib" / "python3" / "dist-packages", share / "sipvicious", share / "python3"]
    command = [found.program(program), *words]
    if name == "sipvicious":
        command = ["/usr/bin/python3", *command]
    done = subprocess.run(
        command, env=found.environment | {"PYTHONPATH": ":".join(map(str, paths))}, capture_output=True, text=True,
        timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, (command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


@pytest.mark.row("sipsak", "OPTIONS, Max-Forwards as traceroute, a flood", "calm")
def test_sipsak_has_nothing_to_complain_of(scene: Scene) -> None:
    for host, port in (scene.agent, scene.server):
        assert "200 OK" in run("sipsak", "sipsak", "-vv", "-s", f"sip:5002@{host}:{port}")
        run("sipsak", "sipsak", "-T", "-s", f"sip:5002@{host}:{port}")
        run("sipsak", "sipsak", "-F", "-e", "300", "-s", f"sip:5002@{host}:{port}")


@pytest.mark.wide  # it waits much
@pytest.mark.row("sipvicious", "svmap, svwar, svcrack: it learns who is there by no answer", "calm")
def test_sipvicious_finds_nobody(scene: Scene) -> None:
    host, _ = scene.agent
    bind = (f"--bindingip={scene.stranger}",)
    assert host in run("sipvicious", "svmap", *bind, host)
    for method in ("OPTIONS", "REGISTER", "INVITE"):
        said = run("sipvicious", "svwar", *bind, "-m", method, "-e", "5000-5005", "--force", host)
        assert "found nothing" in said, said
    said = run("sipvicious", "svcrack", *bind, "-u", "alice", "-r", "1-20", host)
    assert "found nothing" in said, said
