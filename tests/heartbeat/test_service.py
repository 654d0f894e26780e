"""What systemd is told, and the units that it runs the programs by."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo_processes import free_net
from heartbeat import service

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "examples" / "systemd").glob("*.service"))
SITE = """
[site]
name = "paris"
key = {{ file = "site.key" }}
[servers.m1]
role = "main"
listen = "tcp:{net}1:5161"
beat = "udp:{net}1:5162"
sip = "udp:{net}1:5060"
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of the notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(60.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield bound


def test_a_notification_is_one_datagram(manager: socket.socket) -> None:
    service.tell(service.READY)
    assert manager.recv(100) == b"READY=1"


def test_an_abstract_address_begins_with_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0holdfast-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@holdfast-test-{os.getpid()}")
        service.tell(service.STOPPING)
        assert bound.recv(100) == b"STOPPING=1"


def test_the_watchdog_hears_of_the_process_that_it_watches_alone(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.alive()
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    service.alive()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    service.alive()
    assert manager.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/notify", "/" + "x" * 200])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service.tell(service.READY)


def run(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "b2bua.cli", "run", "--site", str(directory / "site.toml"), "--node", "m1"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.interop
def test_a_server_is_ready_when_its_listeners_are_open_and_says_that_it_ends(
    manager: socket.socket, tmp_path: Path
) -> None:
    net = free_net()
    (tmp_path / "site.toml").write_text(SITE.format(net=net))
    (tmp_path / "site.key").touch(0o600)
    (tmp_path / "site.key").write_text("sixteen bytes and more")
    with run(tmp_path) as process:
        assert manager.recv(100) == b"READY=1"
        with socket.create_connection((f"{net}1", 5161), 10.0):
            pass
        process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        process.communicate(timeout=60)


@pytest.mark.interop
def test_a_server_whose_supervisor_was_killed_hands_over_and_ends(manager: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE.format(net=free_net()))
    (tmp_path / "site.key").touch(0o600)
    (tmp_path / "site.key").write_text("sixteen bytes and more")
    with run(tmp_path) as process:
        assert manager.recv(100) == b"READY=1"
        process.kill()  # the supervisor: `b2bua run` becomes it
        assert manager.recv(100) == b"STOPPING=1"
        said = process.communicate(timeout=60)[1]  # to the end of the server, which has the pipe as well
        assert "the supervisor of m1 has ended: it hands over and ends" in said


def test_the_unit_of_a_server_lets_its_supervisor_outlive_it() -> None:
    [unit] = [each for each in UNITS if "server" in each.name]
    said = unit.read_text().splitlines()
    assert {"KillMode=mixed", "OOMPolicy=continue", "Restart=always"} <= set(said)
    assert not any(line.startswith("WatchdogSec") for line in said), "a hang is for the supervisor to end"


@pytest.mark.interop
def test_a_bad_site_file_has_an_exit_code_of_its_own_after_which_nobody_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE.format(net="127.0.0.").replace("role", "rule"))
    with run(tmp_path) as process:
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 4 and "rule" in said, said
    for unit in UNITS:
        assert ("RestartPreventExitStatus=4" in unit.read_text()) is ("relay" not in unit.name), unit.name


def analyzed(words: list[str], unit: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: run 'sh tools/setup.sh peers' as root")
    instance = directory / unit.name.replace("@", "@x")
    instance.write_text(unit.read_text().replace("/opt/holdfast/bin/", f"{Path(sys.executable).parent}/"))
    return subprocess.run(
        ["systemd-analyze", *words, str(instance)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_leaves_little_exposed(unit: Path, tmp_path: Path) -> None:
    found = analyzed(["security", "--offline=true", "--threshold=20", "--no-pager"], unit, tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_knows_all_that_a_unit_says(unit: Path, tmp_path: Path) -> None:
    for other in UNITS:
        shutil.copy(other, tmp_path)
    found = analyzed(["verify", "--man=no"], unit, tmp_path)
    assert f"{unit.name.replace('@', '@x')}" not in found.stderr, found.stderr
