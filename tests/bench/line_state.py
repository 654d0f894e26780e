"""python -m tests.bench.line_state

CPU time a call of agent, server and agent as processes, with line states and without (docs/wire.md, "An agent's
death"), taken in turns. Of the cores alone, and the bytes: ``python -m tests.bench.profile --line-state``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from examples.demo_processes import Processes, environment_note, free_net
from tests.bench.bench import say
from tests.bench.chain import Chain
from tests.bench.load import Load
from tests.bench.plain import FULL, QUICK


def main() -> int:
    parser = argparse.ArgumentParser(prog="line_state", description="what line states cost")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of each, the best counts")
    parser.add_argument("--quick", action="store_true", help="fewer calls in each")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory, Processes(Path(directory)) as processes:
        hosts = [f"{free_net()}1" for _ in range(2)]
        chains = [Chain(processes, host, kept) for host, kept in zip(hosts, (True, False), strict=True)]
        loads = [Load(processes, host) for host in hosts]
        for _ in range(options.repeats):
            for chain, load in zip(chains, loads, strict=True):
                chain.measure(load, effort, say)
    kept, bare = (min(chain.cpu_us) for chain in chains)
    print(
        f"agent, server, agent: {kept:.0f} us of CPU a call, {bare:.0f} without line states: {kept / bare - 1:+.1%}"
    )
    print(environment_note())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
