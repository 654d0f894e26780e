"""python -m tests.bench.bench, or: make bench

What a call costs here and at peers, measured in the same run, interleaved; how soon 1,000 and 10,000 calls are served
after the death of their server; and what the servers say to each other meanwhile. docs/bench.md explains each figure.

    make bench                            all of it, three quarters of an hour
    make bench ARGS=--quick               less of each, under two minutes
    make bench ARGS='--format json'       one JSON object and nothing else on standard output
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from examples.demo_processes import Failed, Processes, environment_note, free_net
from heartbeat.console import render
from tests.bench.chain import Chain
from tests.bench.latency import Times, measure_latency
from tests.bench.load import Load
from tests.bench.plain import (
    FULL,
    QUICK,
    Effort,
    Figures,
    measure_both,
    measure_cpu,
    measure_memory,
    measure_rate,
    middle,
)
from tests.bench.stamps import can_be_had
from tests.bench.takeover import Served, measure
from tests.bench.targets import Ours, OursCompiled, Target, peers

MEASURE: Final = "kamailio"
"""The peer that CPU is held against: what the messages cost a proxy in C."""

_BEGAN_AT = time.monotonic()


def say(text: str) -> None:
    """Progress, to standard error."""
    print(f"{time.monotonic() - _BEGAN_AT:7.1f} s  {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Compared:
    """What was found of calls, ours and peers'."""

    figures: dict[str, Figures] = field(default_factory=lambda: {"ours": Figures()})
    """Of a plain call by target, ours first."""
    latency_ms: dict[str, dict[str, Times]] = field(default_factory=dict)
    """Added by a target, by rate and target."""
    cpu_ratios: tuple[float, ...] = ()
    """CPU a call of ours to that of `MEASURE`, of each pair of runs, sorted."""
    chain: float | None = None
    """Microseconds of CPU a call of agent, server and agent."""
    rss_mb_after: dict[str, dict[str, float]] = field(default_factory=dict)
    longest_stall_ms: float | None = None


def compare(effort: Effort, directory: Path, compiled: bool) -> Compared:
    """Plain calls here, in the compiled form too where that is asked for, and at peers; then calls through agent,
    server and agent."""
    directory.mkdir()
    host = f"{free_net()}1"
    kinds = peers(say)
    with Processes(directory) as processes:
        load = Load(processes, host)
        targets: list[Target] = [Ours(processes, host)]
        if compiled:
            targets.append(OursCompiled(processes, host))
        targets += [kind(processes, host) for kind in kinds]
        found = {target.name: Figures() for target in targets}
        chain = Chain(processes, host)
        steps = (measure_both,) if effort.one_run else (measure_cpu, measure_memory, measure_rate)
        for step in steps:
            repeats = effort.pairs if step is measure_cpu else effort.repeats
            for repeat in range(repeats):
                say(f"{step.__name__.replace('_', ' ')}, {repeat + 1} of {repeats}")
                for target in targets:
                    if repeat < effort.repeats or target.name in ("ours", OursCompiled.name, MEASURE):
                        step(target, load, effort, found[target.name], say)
        latency = measure_latency(targets, load, host, effort, say)
        for _ in range(effort.repeats):
            chain.measure(load, effort, say)
        chain.grow(load, effort, say)
    pairs = zip(found["ours"].cpu_us, found[MEASURE].cpu_us if MEASURE in found else (), strict=False)
    ratios = tuple(sorted(ours / theirs for ours, theirs in pairs))
    return Compared(found, latency, ratios, middle(chain.cpu_us), chain.rss_mb_after, chain.longest_stall_ms)


def as_json(compared: Compared, sites: list[Served]) -> dict[str, Any]:
    """The object that ``--format json`` prints."""
    figures = compared.figures
    largest = sites[-1] if sites else Served(0)
    served: dict[str, float | None] = {str(site.calls): site.served_s for site in sites}
    stalls = [site.stall_s for site in sites if site.stall_s is not None]
    served["longest_stall_s"] = max(stalls, default=None)
    return {
        **figures["ours"].as_dict(),
        "peers": {name: each.as_dict() for name, each in figures.items() if name != "ours"},
        "cpu_ratio": {MEASURE: [round(ratio, 3) for ratio in compared.cpu_ratios]},
        "latency_ms": compared.latency_ms,
        "latency_by": "packets" if can_be_had() else "sipp",
        "chain": compared.chain,
        "rss_mb_after": {calls: round(sum(each.values()), 1) for calls, each in compared.rss_mb_after.items()},
        "rss_mb_after_by_process": compared.rss_mb_after,
        "longest_stall_ms": compared.longest_stall_ms,
        "served": served,
        "server_messages_per_s": {str(calls): rate for calls, rate in largest.messages_per_s.items()},
        "server_bytes_per_s": {str(calls): rate for calls, rate in largest.bytes_per_s.items()},
    }


def table(result: dict[str, Any]) -> None:
    """The same for people."""
    rows = {"ours": result, **result["peers"]}
    console = render.console()
    columns = (
        "Plain call through one process",
        *(f">{name}" for name in rows),
        *(f">to {n}" for n in result["peers"]),
    )
    lines = []
    for member, words in (
        ("cpu_us_per_call", "CPU a call, us"),
        ("bytes_per_call", "memory a call, bytes"),
        ("rate", "highest rate, calls/s"),
    ):
        values = [row[member] for row in rows.values()]
        ours = values[0]
        ratios = [f"{ours / value:.2f}" if ours and value else render.NOTHING for value in values[1:]]
        lines.append([words, *(render.NOTHING if value is None else f"{value:,.0f}" for value in values), *ratios])
    console.put(render.grid(columns, lines))
    names = list(rows)
    for rate, by_target in result["latency_ms"].items():
        lines = [
            [words.format(rate), *(_ms(by_target.get(name, {}).get(member)) for name in names)]
            for member, words in (
                ("setup_p50", "added to set-up at {}/s, median"),
                ("setup_p99", "the same, 99th percentile"),
                ("bye_p50", "added to BYE at {}/s, median"),
                ("bye_p99", "the same, 99th percentile"),
            )
        ]
        console.put(render.grid(("Latency in ms", *(f">{name}" for name in names)), lines))
    more = [
        ["CPU a call of agent, server, agent", f"{result['chain']:,.0f} us" if result["chain"] else render.NOTHING]
    ]
    if ratios := result["cpu_ratio"][MEASURE]:
        more.insert(0, [f"CPU a plain call to {MEASURE}'s, {len(ratios)} pairs of runs", _spread(ratios)])
    for calls, size in result["rss_mb_after"].items():
        more.append([f"resident memory of these after {int(calls):,} calls", f"{size:,.1f} MB"])
    if result["longest_stall_ms"] is not None:
        more.append(["longest stall of these", f"{result['longest_stall_ms']:.1f} ms"])
    for name, value in result["served"].items():
        words = (
            "longest stall of the new server" if name == "longest_stall_s" else f"{int(name):,} calls served after"
        )
        more.append([words, render.NOTHING if value is None else f"{value:.3f} s"])
    for calls, rate in result["server_messages_per_s"].items():
        size = result["server_bytes_per_s"][calls]
        more.append([f"between the servers, {int(calls):,} calls", f"{rate:.2f} messages/s, {size:,.0f} bytes/s"])
    console.put(render.stack("", render.grid(("The whole site", ""), more), "", environment_note()))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def _ms(value: float | None) -> str:
    return render.NOTHING if value is None else f"{value:.1f}"


def main() -> int:
    """The command line. Exit code 3 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="bench", description="what a call costs, here and at peers")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--quick", action="store_true", help="less of each, under two minutes")
    parser.add_argument("--keep", action="store_true", help="keep the directory with site files and logs")
    parser.add_argument("--only", choices=("calls", "sites"), help="only the plain calls, or only the whole sites")
    parser.add_argument("--compiled", action="store_true", help="ours in its compiled form, too, as a peer")
    parser.add_argument(
        "--calls", type=int, nargs="*", default=[], metavar="N", help="take over sites of so many calls, too"
    )
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    effort, watched_s = (QUICK, 4.0) if options.quick else (FULL, 30.0)
    sizes = sorted({*((1_000,) if options.quick else (1_000, 10_000)), *options.calls})
    code = 0
    compared, sites = Compared(), []
    say(environment_note())
    try:
        if options.only != "sites":
            compared = compare(effort, directory / "calls", options.compiled)
        for calls in sizes if options.only != "calls" else ():
            where = directory / f"site{calls}"
            where.mkdir()
            try:
                sites.append(measure(calls, 10, watched_s, where, say))
            except Failed as failure:
                say(f"{calls:,} calls: {failure}")
                code = 3
    except Failed as failure:
        say(str(failure))
        return 3
    except KeyboardInterrupt:
        say("stopped; all processes were ended")
        return 130
    finally:
        if options.keep:
            say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    result = as_json(compared, sites)
    if options.format == "json":
        print(json.dumps(result))
    else:
        table(result)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
