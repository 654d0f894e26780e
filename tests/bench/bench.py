"""python -m tests.bench.bench, or: make bench

What a call costs here and at peers, measured in the same run, interleaved; how soon 1,000 and 10,000 calls are served
after the death of their server; and what the servers say to each other meanwhile. docs/bench.md explains each figure.

    make bench                            all of it, three quarters of an hour
    make bench ARGS=--quick               less of each, under two minutes
    make bench ARGS=--short               ours alone, half a minute: whether all of it works, not what it costs
    make bench ARGS='--only overload'     only what is served at twice the highest rate
    make bench ARGS='--format json'       one JSON object and nothing else on standard output
    make bench ARGS='--compare FILE'      beside what an earlier run printed as JSON
    make bench ARGS='--chart FILE.svg'    CPU and latency as a picture
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType

from examples.demo_processes import Failed, Processes, environment_note, free_net
from heartbeat.console import render
from tests.bench.chain import Chain
from tests.bench.chart import chart
from tests.bench.comparison import Change, changes, figures
from tests.bench.latency import Times, measure_latency
from tests.bench.load import Load
from tests.bench.overload import TIMES, measure_overload
from tests.bench.plain import (
    FULL,
    QUICK,
    SHORT,
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
from tests.bench.targets import Asterisk, Kamailio, Ours, OursCompiled, Target, peers

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
    overload: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By target, `Overload`."""


def compare(effort: Effort, directory: Path, compiled: bool) -> Compared:
    """Plain calls here, in the compiled form too where that is asked for, and at peers; then calls through agent,
    server and agent."""
    directory.mkdir()
    host = f"{free_net()}1"
    kinds = peers(say) if effort is not SHORT else []
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


def overload(quick: bool, directory: Path) -> dict[str, dict[str, Any]]:
    """Ours and those peers that are known for what they carry, at twice what each of them does."""
    directory.mkdir()
    host = f"{free_net()}1"
    kinds = [Ours, *(kind for kind in peers(say) if kind.name in (Kamailio.name, Asterisk.name))]
    with Processes(directory) as processes:
        return measure_overload([kind(processes, host) for kind in kinds], Load(processes, host), quick, say)


def as_json(compared: Compared, sites: list[Served]) -> dict[str, Any]:
    """The object that ``--format json`` prints."""
    plain = compared.figures
    largest = sites[-1] if sites else Served(0)
    served: dict[str, float | None] = {str(site.calls): site.served_s for site in sites}
    stalls = [site.stall_s for site in sites if site.stall_s is not None]
    served["longest_stall_s"] = max(stalls, default=None)
    return {
        **plain["ours"].as_dict(),
        "peers": {name: each.as_dict() for name, each in plain.items() if name != "ours"},
        "cpu_ratio": {MEASURE: [round(ratio, 3) for ratio in compared.cpu_ratios]},
        "latency_ms": compared.latency_ms,
        "latency_by": "packets" if can_be_had() else "sipp",
        "overload": compared.overload,
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
    if result["overload"]:
        console.put(_overload_table(result["overload"]))
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


def _overload_table(by_target: dict[str, dict[str, Any]]) -> RenderableType:
    lines = [
        [words, *(render.NOTHING if row[member] is None else shape.format(row[member]) for row in by_target.values())]
        for member, words, shape in (
            ("capacity", "highest rate of one core, calls/s", "{:,.0f}"),
            ("offered", "offered", "{:,.0f}"),
            ("good", "of these served", "{:,.0f}"),
            ("share", "as a share of the highest rate", "{:.0%}"),
            ("refused", "refused, 503 with Retry-After", "{:,.0f}"),
            ("failed", "neither, all in all", "{:,.0f}"),
            ("refused_after_p50", "refused after, median, ms", "{:,.0f}"),
            ("refused_after_p99", "the same, 99th percentile", "{:,.0f}"),
            ("setup_p50", "set up after, median, ms", "{:,.0f}"),
            ("setup_p99", "the same, 99th percentile", "{:,.0f}"),
        )
    ]
    return render.grid((f"At {TIMES:g} times the highest rate", *(f">{name}" for name in by_target)), lines)


def comparison(since: list[Change]) -> None:
    """Figures of ours then and now; how both ours and its peers have changed."""
    names = list(since[0].peers)
    lines = [
        [
            change.what,
            *(
                render.NOTHING if value is None else f"{value:,.{0 if value >= 100 else 2}f}"
                for value in (change.then, change.now)
            ),
            *(
                render.NOTHING if ratio is None else f"{ratio:.2f}"
                for ratio in (change.ratio, *change.peers.values())
            ),
        ]
        for change in since
    ]
    columns = ("Since the earlier run", ">then", ">now", ">now / then", *(f">{name}'s" for name in names))
    render.console().put(render.grid(columns, lines))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def _ms(value: float | None) -> str:
    return render.NOTHING if value is None else f"{value:.1f}"


def main() -> int:
    """The command line. Exit code 3 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="bench", description="what a call costs, here and at peers")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--quick", action="store_true", help="less of each, under two minutes")
    parser.add_argument("--short", action="store_true", help="ours alone, half a minute: only to see that it works")
    parser.add_argument("--compare", type=earlier, metavar="FILE", help="beside an earlier run, as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write CPU and latency as a picture (SVG)")
    parser.add_argument("--keep", action="store_true", help="keep the directory with site files and logs")
    parser.add_argument(
        "--only", choices=("calls", "sites", "overload"), help="only plain calls, whole sites, overload"
    )
    parser.add_argument("--compiled", action="store_true", help="ours in its compiled form, too, as a peer")
    parser.add_argument(
        "--calls", type=int, nargs="*", default=[], metavar="N", help="take over sites of so many calls, too"
    )
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    effort, watched_s = (QUICK, 4.0) if options.quick else (FULL, 30.0)
    if options.short:
        effort, options.only = SHORT, "calls"
    sizes = sorted({*((1_000,) if options.quick else (1_000, 10_000)), *options.calls})
    code = 0
    compared, sites = Compared(), []
    say(environment_note())
    try:
        if options.only in (None, "calls"):
            compared = compare(effort, directory / "calls", options.compiled)
        if options.only == "overload" or not (options.only or options.quick):
            compared.overload = overload(options.quick, directory / "overload")
        for calls in sizes if options.only in (None, "sites") else ():
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
    since = changes(options.compare, result) if options.compare is not None else []
    if options.chart is not None:
        options.chart.write_text(chart(result), encoding="utf-8")
    if options.format == "json":
        print(json.dumps({**result, **({"since": [asdict(each) for each in since]} if since else {})}))
    else:
        table(result)
        if since:
            comparison(since)
    return code


def earlier(text: str) -> dict[str, Any]:
    """What an earlier run printed. Raises ``ArgumentTypeError``."""
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error}") from None
    if not isinstance(found, dict) or not figures(found):
        raise argparse.ArgumentTypeError(f"{text} has no figures of this bench: write it with --format json")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
