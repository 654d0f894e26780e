"""Chromium with a microphone that is a file, for pages that call; and the libraries that such pages load."""

from __future__ import annotations

import array
import math
import os
import subprocess
import wave
from pathlib import Path

from examples.demo_processes import ROOT
from tests.interop.chromium import Chromium

CACHE = Path(
    os.environ.get("HOLDFAST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"
)
LIBRARIES = CACHE / "webphone"
"""Where tools/setup.sh has bundled JsSIP and SIP.js."""
RATE = 48_000
HEARS = """
(() => {
  const connection = %s;
  if (!connection?.getReceivers().length) return 0;
  if (!window.ears || window.ears.connection !== connection) {
    const track = connection.getReceivers()[0].track;
    const context = new AudioContext(), analyser = context.createAnalyser(), stream = new MediaStream([track]);
    analyser.fftSize = 8192;
    const player = new Audio();  // Chromium decodes what is played alone
    player.srcObject = stream;
    player.muted = true;
    player.play();
    context.createMediaStreamSource(stream).connect(analyser);
    window.ears = { connection, analyser, rate: context.sampleRate };
  }
  const { analyser, rate } = window.ears, levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  const loudest = levels.indexOf(Math.max(...levels));
  return levels[loudest] > -60 ? loudest * rate / analyser.fftSize : 0;
})()
"""
"""The loudest frequency that a page hears, in hertz; 0 in silence."""


def missing() -> str:
    """Why there is no such browser; ``""`` when there is one. Installs it where that is possible: minutes, once."""
    done = subprocess.run(["sh", "tools/setup.sh", "browser"], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def speaking(directory: Path, hertz: float, trust: str = "--ignore-certificate-errors", names: str = "") -> Chromium:
    """A browser that hears a tone and calls on loopback. ``trust``: whom it believes; left out, everybody. ``names``:
    rules of what it resolves, as ``MAP a.example 192.0.2.1``, each with a comma behind it."""
    directory.mkdir(parents=True)
    tone = directory / "tone.wav"
    turn = 2 * math.pi * hertz / RATE
    with wave.open(str(tone), "wb") as file:  # a second, which begins where it ends
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(array.array("h", (int(12_000 * math.sin(turn * n)) for n in range(RATE))).tobytes())
    flags = (
        "--mute-audio",
        "--no-proxy-server",
        trust,
        *([f"--host-resolver-rules={names}MAP * ~NOTFOUND, EXCLUDE 127.*"] if names else ()),
        "--window-size=480,900",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tone}",
        "--allow-loopback-in-peer-connection",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-features=WebRtcHideLocalIpsWithMdns",
    )
    return Chromium(directory, flags=flags)
