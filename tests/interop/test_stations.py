"""Stations, real audio and all: programs on pjsua2 that call each other through agents and servers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import wave
from array import array
from collections.abc import Iterator
from math import pi, sin
from pathlib import Path
from typing import Any

import pytest

from examples.demo_processes import ROOT, ask
from gateway_agent.station.audio_files import is_complete, read
from gateway_agent.station.tones import power
from tests.interop.programs import Site, network, until

pytestmark = pytest.mark.interop

LINES = """
[lines.desk]
kind = "station"
agent = "gw1"
numbers = ["6001"]
station = { play = "tone" }
[lines.mirror]
kind = "station"
agent = "gw2"
numbers = ["6002"]
station = { play = "echo" }
[lines.lobby]
kind = "station"
agent = "gw2"
numbers = ["6003"]
station = { answer = "by-order" }
"""
AGENTS = {"desk": "gw1", "mirror": "gw2", "lobby": "gw2"}
WINDOW = 800
"""Samples: a tenth of a second."""


def write_tone(path: Path, hertz: float, seconds: float) -> None:
    samples = array("h", (round(16000 * sin(2 * pi * hertz * n / 8000)) for n in range(round(seconds * 8000))))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def assert_tone(path: Path) -> None:
    """That the tone, and nothing else, is in a recording from its beginning to its end."""
    recording = read(path)
    windows = [recording.samples[at : at + WINDOW] for at in range(0, len(recording.samples) - WINDOW, WINDOW)]
    tones = [power(window, recording.rate) for window in windows]
    silent = [index for index, tone in enumerate(tones) if tone < 0.01]
    assert len(windows) >= 10 and len(silent) <= len(windows) // 20, (len(windows), silent)
    assert max(power(window, recording.rate, 600) for window in windows) < max(tones) / 100


class Stations:
    """A site with two stations."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory, network(), LINES)

    def start(self) -> None:
        self.site.start()
        for name in AGENTS:
            words = ["station", "run", "--site", str(self.site.path), "--station", name]
            self.site.processes.start(name, [sys.executable, "-m", "gateway_agent.cli", *words])
        until(lambda: all(self.see(name).get("registered") for name in AGENTS), 20, self.words)

    def see(self, name: str) -> dict[str, Any]:
        """Its status; empty when it does not answer."""
        directory = self.site.processes.directory / "state" / AGENTS[name]
        found: dict[str, Any] = ask(directory / f"station-{name}.sock", "status")
        return found

    def order(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``gateway-agent`` with these words."""
        command = [sys.executable, "-m", "gateway_agent.cli", *words, "--site", str(self.site.path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

    def wait(self, state: str, far_state: str = "", far: str = "mirror") -> None:
        """Until the desk is in that state, and the far station, too, or in another one."""
        wanted = {"desk": state, far: far_state or state}
        until(lambda: {name: self.see(name).get("state") for name in wanted} == wanted, 10, self.words)

    def words(self) -> str:
        logs = [self.site.processes.directory / f"{name}.log" for name in AGENTS]
        return "\n".join(
            [self.site.words(), *(f"--- {log.stem}\n{log.read_text()[-1500:]}" for log in logs if log.exists())]
        )


@pytest.fixture(scope="module")
def stations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stations]:
    found = Stations(tmp_path_factory.mktemp("stations"))
    try:
        found.start()
        yield found
    finally:
        found.site.stop()


def test_a_probe_hears_itself_and_says_how_well(stations: Stations) -> None:
    done = stations.order("probe", "desk", "6002", "--seconds", "5", "--mos", "3.5", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr + stations.words()
    result = json.loads(done.stdout)
    assert result["good"] and result["heard"] == result["bursts"] >= 3, result
    assert result["mos"] > 3.5 and result["loss"] <= 0.1 and result["delay_ms"] > 0, result
    stations.wait("idle")


def test_a_probe_of_a_number_that_nobody_has_fails_and_says_why(stations: Stations) -> None:
    done = stations.order("probe", "desk", "6999")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "404" in done.stdout, done.stdout


def test_orders_that_make_no_sense_are_refused_with_a_sentence(stations: Stations) -> None:
    done = stations.order("hangup", "desk")
    assert (done.returncode, done.stderr.strip()) == (1, "desk: desk has no call."), done
    done = stations.order("record", "desk", str(stations.site.path))
    assert "must end in .wav" in done.stderr, done


def test_a_call_rings_until_it_is_answered_or_refused_by_order(stations: Stations) -> None:
    assert stations.order("dial", "desk", "6003").returncode == 0
    stations.wait("alerting", "ringing", "lobby")
    assert stations.see("lobby")["number"] == "desk"
    assert stations.order("answer", "lobby").returncode == 0
    stations.wait("talking", far="lobby")
    assert stations.order("hangup", "lobby").returncode == 0
    stations.wait("idle", far="lobby")
    assert stations.order("dial", "desk", "6003").returncode == 0
    stations.wait("alerting", "ringing", "lobby")
    assert stations.order("hangup", "lobby").returncode == 0
    stations.wait("idle", far="lobby")
    assert stations.see("desk")["last"].startswith("the call with 6003 came to 486")


@pytest.mark.row("pjsua2 as phone", "a call between two; the tone goes on", "calm")
def test_what_is_said_is_heard_and_recorded(stations: Stations, tmp_path: Path) -> None:
    words, heard = tmp_path / "words.wav", tmp_path / "heard.wav"
    write_tone(words, 600, 1.0)
    assert stations.order("record", "desk", str(heard)).returncode == 0
    assert stations.order("dial", "desk", "6002").returncode == 0
    stations.wait("talking")
    assert stations.order("say", "mirror", str(words)).returncode == 0
    assert stations.see("mirror")["plays"] == str(words)
    until(lambda: stations.see("mirror")["plays"] == "echo", 5, stations.words)
    assert stations.order("hangup", "mirror").returncode == 0
    stations.wait("idle")
    until(lambda: is_complete(heard), 5, "the recording is not closed")

    recording = read(heard)
    windows = [recording.samples[at : at + WINDOW] for at in range(0, len(recording.samples) - WINDOW, WINDOW)]
    said = [window for window in windows if power(window, recording.rate, 600) > 0.05]
    assert 7 <= len(said) <= 11, len(said)
    assert all(power(window, recording.rate) < 0.01 for window in said[1:-1]), "echo goes on beside what is said"


def test_the_level_of_what_is_heard_is_told_when_nobody_records(stations: Stations) -> None:
    assert stations.order("dial", "desk", "6002").returncode == 0
    until(lambda: (stations.see("desk")["heard_dbov"] or -99) > -30, 15, stations.words)
    done = stations.order("lines", "--agent", "gw1", "--format", "json")
    desk = json.loads(done.stdout)["stations"]["desk"]
    assert desk["state"] == "talking" and desk["number"] == "6002", desk
    assert desk["sent_dbov"] > -30 and desk["heard_dbov"] > -30, desk
    assert stations.order("hangup", "desk").returncode == 0


def test_the_verbs_of_sound_devices_are_those_of_the_library() -> None:
    pjsua2 = pytest.importorskip("pjsua2")
    text = (ROOT / "gateway_agent" / "station" / "softphone.py").read_text("utf-8")
    verbs = set(re.findall(r"(?:devices|audDevManager\(\))\.(\w+)\(", text))
    assert len(verbs) >= 4
    assert [verb for verb in verbs if not hasattr(pjsua2.AudDevManager, verb)] == []


@pytest.mark.row("pjsua2 as phone", "a call between two; the tone goes on", "server killed")
def test_the_tone_goes_on_when_the_server_of_the_call_is_killed(stations: Stations, tmp_path: Path) -> None:
    site, heard = stations.site, tmp_path / "heard.wav"
    assert stations.order("dial", "desk", "6002").returncode == 0
    stations.wait("talking")
    assert stations.order("record", "desk", str(heard)).returncode == 0
    until(lambda: stations.see("desk")["heard_dbov"] is not None, 5, stations.words)
    site["m1"].kill()
    until(lambda: site["m2"].view().get("state") == "active", 15, stations.words)
    until(lambda: site.obeys("gw1", "m2") and site.obeys("gw2", "m2") and site.calls("m2") == 1, 10, stations.words)
    assert stations.see("desk")["heard_dbov"] > -30
    assert stations.order("hangup", "desk").returncode == 0
    stations.wait("idle")
    until(lambda: site.idle("m2", "gw1", "gw2"), 15, stations.words)
    until(lambda: is_complete(heard), 5, "the recording is not closed")
    assert not site.bugs()

    assert_tone(heard)


@pytest.mark.row("pjsua2 as phone", "a call between two; the tone goes on", "agent killed")
def test_the_tone_goes_on_when_the_agent_of_the_call_is_killed(stations: Stations, tmp_path: Path) -> None:
    site, heard = stations.site, tmp_path / "heard.wav"
    serving = "m1" if site["m1"].alive else "m2"
    assert stations.order("dial", "desk", "6002").returncode == 0
    stations.wait("talking")
    assert stations.order("record", "desk", str(heard)).returncode == 0
    site["gw1"].kill()
    site["gw1"].start()
    until(lambda: site.obeys("gw1", serving) and site.calls("gw1") == 1, 15, stations.words)
    until(
        lambda: heard.stat().st_size > 2 * 20 * WINDOW, 15, "two seconds are not recorded"
    )  # of two octets a sample
    assert stations.order("hangup", "desk").returncode == 0
    stations.wait("idle")
    until(lambda: site.idle(serving, "gw1", "gw2"), 15, stations.words)
    until(lambda: is_complete(heard), 5, "the recording is not closed")
    assert_tone(heard)


def test_a_station_that_is_stopped_hangs_up_and_takes_its_registration_back(stations: Stations) -> None:
    site, desk = stations.site, stations.site.processes.running["desk"]
    assert stations.order("dial", "desk", "6002").returncode == 0
    stations.wait("talking")
    status = stations.order("station", "status", "desk")
    assert status.returncode == 0 and "registered" in status.stdout and "with 6002" in status.stdout, status
    desk.signal(signal.SIGTERM)
    assert desk.process.wait(10) == 0, stations.words()
    until(lambda: stations.see("mirror").get("state") == "idle", 5, stations.words)
    lines = {line["name"]: line for line in site["gw1"].view("lines")["lines"]}
    assert (lines["desk"]["kind"], lines["desk"]["registered"]) == ("station", False)
    gone = stations.order("station", "status", "desk")
    assert gone.returncode == 3 and "not running here" in gone.stderr, gone
