"""python -m examples.demo, or: make demo

Two call servers and their agents run as real processes on loopback, phones of ours talk through them with real SIP
and real RTP, and the server that serves them all is killed. What happens then is shown and measured.

    make demo                                        one call talks, one is held, one rings
    make demo ARGS='--calls 10000 --agents 10'       so many calls, and new ones all the while
    make demo ARGS='--how machine'                   its supervisor is killed too, so that nobody tells of the death
    make demo ARGS='--calls 1000 --how pause'        SIGSTOP instead, and SIGCONT after the takeover
    make demo ARGS='--how agent'                     an agent is killed instead, and started again
    make demo ARGS='--sites 3'                       three sites with one stand-by, of which two mains die at once
    make demo ARGS='--format json'                   one JSON object and nothing else
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.demo_plan import Plan
from examples.demo_processes import Failed, Processes
from examples.demo_run import Run
from examples.demo_show import Shown, complain
from examples.demo_sites import play_sites


def play(plan: Plan, how: Any, directory: Path, shown: Shown, interval: float) -> dict[str, Any]:
    """One run from the start to the figures. Raises :class:`Failed`."""
    pause = 2.0 if plan.small and not shown.silent else 0.0
    with Processes(directory) as processes, shown:
        run = shown.run = Run(plan, directory, processes, shown, interval=interval)
        try:
            run.start()
            run.set_up()
            time.sleep(max(0.5, pause))
            run.attempt()
            run.crash(how)
            time.sleep(pause)
            run.finish()
            measured = run.measured()
        except Failed as failure:
            complain(str(failure))
            raise
    shown.figures(run, measured)
    for problem in run.problems:
        complain(f"! {problem}")
    return measured


def good(measured: dict[str, Any]) -> bool:
    """Whether nothing was lost and no device saw anything of it."""
    return (
        measured["kept"] == measured["calls"]
        and not measured["attempts_failed"]
        and not measured["device_messages"]
        and not measured["rtp_lost"]
        and measured["served_s"] is not None
        and measured["cdrs"] == measured["calls"] + measured["attempts"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 1 when anything was lost, 3 when the demo could not be played."""
    parser = argparse.ArgumentParser(prog="demo", description="kill a call server and keep its calls")
    parser.add_argument("--calls", type=_count, default=0, help="standing calls (left out: three, between phones)")
    parser.add_argument("--agents", type=_count, default=2, help="gateway agents (2)")
    parser.add_argument(
        "--how",
        choices=("kill", "machine", "pause", "agent"),
        default="kill",
        help="SIGKILL to the server; to its supervisor too; SIGSTOP and SIGCONT to both; SIGKILL to an agent",
    )
    parser.add_argument("--sites", type=_sites, default=1, help="sites with one stand-by process for all (1)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between two heartbeats (0.2)")
    parser.add_argument("--keep", action="store_true", help="keep the directory with site file, logs and records")
    options = parser.parse_args(arguments)
    if not options.calls and options.agents != 2:
        parser.error("without --calls the demo has two agents")
    if options.agents > 60:
        parser.error("at most 60 agents run here")
    if options.sites > 1 and options.how not in ("kill", "machine"):
        parser.error("with --sites the demo kills: --how kill or machine")
    directory = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    plan = Plan(options.calls, options.agents)
    try:
        shown = Shown(options.format == "json")
        if options.sites > 1:
            measured = play_sites(options.sites, plan, options.how, directory, shown, options.interval)
        else:
            measured = play(plan, options.how, directory, shown, options.interval)
    except Failed:
        return 3
    except KeyboardInterrupt:
        complain("stopped; all processes were ended")
        return 130
    finally:
        if options.keep:
            complain(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if options.format == "json":
        print(json.dumps(measured))
    return 0 if all(map(good, measured.get("sites", [measured]))) else 1


def _sites(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10:
        raise argparse.ArgumentTypeError("a number from 1 to 10 is needed")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError("a number from 1 to 100000 is needed")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
