"""python -m tests.bench.page_back

How soon a page is back after the death of its agent, in headless Chromium with the example page in a call: from
SIGKILL until it is registered anew, until its re-INVITE with an ICE restart is answered, and for how long no audio
came meanwhile. The agent is started again at once, as systemd does it. Chromium, JsSIP and aiortc are needed.

    python -m tests.bench.page_back                 a table
    python -m tests.bench.page_back --deaths 10 --format json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from heartbeat.console import render
from tests.interop.chromium import Chromium
from tests.interop.microphone import missing
from tests.interop.programs import until
from tests.interop.test_webphone import Scene

PATIENCE_S: Final = 40.0
WHAT: Final = {
    "agent": "the agent runs again, and has its calls back",
    "registered": "the page is registered",
    "back": "its re-INVITE with an ICE restart is answered",
    "gap": "longest time without a packet of audio",
}
_WATCH: Final = """
(() => {
  window.back = { killed: performance.now(), gap: 0, packets: -1, at: performance.now() };
  if (window.watching) return;
  window.watching = true;
  ua.on('registered', () => { back.registered ??= performance.now() - back.killed; });
  session.connection.addEventListener('signalingstatechange', () => {
    if (session.connection.signalingState === 'stable') back.back ??= performance.now() - back.killed;
  });
  setInterval(async () => {
    for (const one of (await session?.connection.getStats())?.values() ?? []) {
      if (one.type !== 'inbound-rtp') continue;
      const now = performance.now();
      if (one.packetsReceived > back.packets) back.at = now;
      back.packets = one.packetsReceived;
      back.gap = Math.max(back.gap, now - back.at);
    }
  }, 20);
})()
"""


def death(scene: Scene, page: Chromium) -> dict[str, float]:
    """Milliseconds of one."""
    agent = scene.site["gw1"]
    page.value(_WATCH)
    agent.die()
    until(lambda: not agent.alive, PATIENCE_S, scene.site.words, every=0.005)
    agent.start()
    until(lambda: scene.site.calls("gw1") == 1, PATIENCE_S, scene.site.words, every=0.02)
    came = page.value("performance.now() - back.killed")
    page.until("back.back && back.registered", PATIENCE_S)
    found = page.value("({ registered: back.registered, back: back.back, gap: back.gap })")
    assert page.value("session.isEstablished()")
    return {"agent": came, **found}


def measured(deaths: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        scene = Scene(Path(directory) / "scene")
        try:
            scene.start()
            page = scene.tab("alice", 440.0)
            page.value("$('number').value = '6002', $('call').click()")
            page.until("session?.isEstablished()")
            return [death(scene, page) for _ in range(deaths)]
        finally:
            scene.stop()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deaths", type=int, default=5, help="how often the agent is killed")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args(argv)
    if because := missing():
        print(because, file=sys.stderr)
        return 3
    found = measured(arguments.deaths)
    values: dict[str, list[float]] = {name: [one[name] for one in found] for name in WHAT}
    shown: dict[str, Any] = {
        name: {"median_ms": round(statistics.median(ms)), "most_ms": round(max(ms))} for name, ms in values.items()
    }
    if arguments.format == "json":
        print(json.dumps({"deaths": arguments.deaths, **shown}))
        return 0
    rows = [
        [WHAT[name], *(f"{one[which] / 1000:.2f} s" for which in ("median_ms", "most_ms"))]
        for name, one in shown.items()
    ]
    render.console().put(render.grid(("After SIGKILL of the agent", ">Median", ">Most"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
