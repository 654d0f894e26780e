"""Several sites with a main each and one process that stands by for all; all mains but the last die at once."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.text import Text

from examples.demo_plan import Plan
from examples.demo_processes import Failed, Processes
from examples.demo_run import How, Run
from examples.demo_show import Shown, complain
from heartbeat.console import render

STANDBY = "m2"
"""The name of the stand-by in each site."""


def play_sites(count: int, plan: Plan, how: How, directory: Path, shown: Shown, interval: float) -> dict[str, Any]:
    """One run from the start to the figures: ``sites`` has those of each. Raises :class:`Failed`."""
    with ExitStack() as ends:
        runs = []
        for number in range(1, count + 1):
            own = directory / f"site{number}"
            own.mkdir()
            processes = ends.enter_context(Processes(own))
            runs.append(Run(plan, own, processes, _unseen, interval=interval, name=f"site{number}"))
        backup = ends.enter_context(Processes(directory))
        try:
            measured = _play(runs, backup, how, shown)
        except Failed as failure:
            complain(f"{failure}\n{backup.last_words()}")
            raise
    _figures(runs, measured, shown)
    for run in runs:
        for problem in run.problems:
            complain(f"! {run.layout.name}: {problem}")
    return {"sites": measured}


def _play(runs: list[Run], backup: Processes, how: How, shown: Shown) -> list[dict[str, Any]]:
    names = [run.layout.name for run in runs]
    for run in runs:
        run.prepare()
        shown.say(f"{run.layout.name}: its agents {' and '.join(run.layout.names)} were started on {run.layout.net}*")
    backup.server(*((files := [run.layout.site for run in runs])[0], STANDBY), *files[1:])
    shown.say(f"one process stands by for {', '.join(names)}")
    for run in runs:
        run.come_up(run.layout.site)
        run.set_up()
        counts = run.status("m1").get("calls", {})
        stand = ", ".join(f"{counts.get(word, 0):,} {word}" for word in ("talking", "held", "ringing"))
        shown.say(f"{run.layout.name} is up: m1 is active; calls stand: {stand}")
    _status(runs, shown)
    for run in runs:
        run.attempt()
    for run in runs[:-1]:
        run.strike(how)
    runs[-1].strike("nothing")
    dead = " and ".join(names[:-1])
    shown.say(f"SIGKILL to m1 of {dead}; {names[-1]} is left alone, and served as before", "bold red")
    for run in runs:
        run.go_on()
        result = run.results["crash"]
        served = sum(len(each["served"]) for each in result)
        text = f"{served} of {sum(each['sample'] for each in result)} calls of the sample were served by {run.leader}"
        shown.say(f"{run.layout.name}: {text}", "green")
    time.sleep(0.5)
    _status(runs, shown)
    measured = []
    for run in runs:
        run.finish()
        shown.say(f"{run.layout.name}: all calls were ended in good order, from both sides")
        measured.append({"site": run.layout.name, "led_by": run.leader, **run.measured()})
    return measured


def _unseen(what: str, value: Any) -> None:
    """What happens in one of several sites is told in a line for it."""


def _status(runs: list[Run], shown: Shown) -> None:
    """``b2bua status`` of all sites."""
    if not shown.silent:
        files = [word for run in runs for word in ("--site", str(run.layout.site))]
        shown.console.put(Text("\n" + runs[0].processes.command(["b2bua.cli", "status", *files])))


def _figures(runs: list[Run], measured: list[dict[str, Any]], shown: Shown) -> None:
    if shown.silent:
        return
    head = ("Site", "Led by", "Kept", "Attempts", "Failed", "Decided", "Served", "At devices", "RTP lost", "Records")
    rows = [
        [
            one["site"],
            one["led_by"],
            f"{one['kept']:,} of {one['calls']:,}",
            f"{one['attempts']:,}",
            f"{one['attempts_failed']:,}",
            render.span(one["decision_s"]) if one["led_by"] == STANDBY else render.NOTHING,
            "never" if one["served_s"] is None else f"{one['served_s']:.3f} s",
            f"{one['device_messages']:,}",
            f"{one['rtp_lost']:,}",
            f"{one['cdrs']:,}",
        ]
        for one in measured
    ]
    shown.console.put(render.grid(head, rows))
