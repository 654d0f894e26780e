"""python -m tests.bench.rehearsal

How long ``b2bua rehearse`` takes over a whole site with so many standing calls, and what it says: exit code, what a
takeover would keep and lose, and how long the loops of both servers stood still meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from examples.demo_plan import Plan
from examples.demo_processes import ROOT, Processes, environment_note
from examples.demo_run import Run


def measure(calls: int, agents: int, times: int, directory: Path) -> list[dict[str, Any]]:
    """One site; each of so many rehearsals. Raises :class:`~examples.demo_processes.Failed`."""
    found = []
    with Processes(directory) as processes:
        run = Run(Plan(calls, agents), directory, processes, lambda what, value: None)
        run.start()
        run.set_up()
        print(f"{calls:,} calls over {agents} agents stand", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "b2bua.cli", "rehearse", "--site", str(run.layout.site), "--format", "json"]
        for _ in range(times):
            time.sleep(2.0)
            began_at = time.monotonic()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            took = time.monotonic() - began_at
            said = json.loads(done.stdout) if done.stdout.startswith("{") else {"said": done.stderr}
            plain = {name: value for name, value in said.items() if isinstance(value, int | float | str)}
            said = {**plain, "obstacles": said.get("obstacles", [])}
            stalls = {node: run.status(node).get("process", {}).get("stall_last_minute") for node in ("m1", "m2")}
            found.append({"command_s": round(took, 2), "exit": done.returncode, **said, "stalls": stalls})
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rehearsal", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    print(environment_note(), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="holdfast-rehearsal-") as directory:
        found = measure(options.calls, options.agents, options.times, Path(directory))
    return 0 if found and not any(one["exit"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
