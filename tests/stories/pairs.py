"""python -m tests.stories.pairs SEED, or --seeds 2000

Two failures in one flow, from a seed: of any nodes, at any of their messages and timers, one after the other or the
second in what follows from the first. A seed shows its run; ``--seeds`` tries so many, and prints those that fail.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from tests.stories.flows import FLOWS, Flow
from tests.stories.matrix import (
    AGENTS,
    ANY,
    ELSEWHERE,
    KINDS,
    LATER_S,
    TAKES_OVER,
    Kind,
    calm,
    changes_server,
    counts_of,
    differences,
    parted,
    places_of,
    play_in,
    simulation_of,
    two_died,
    without_reasons,
    without_ways,
)
from tests.stories.site_simulation import SiteSimulation
from tests.wires import Delivery
from tests.world import ACT, KILL, PAUSE, RESET, Crash

SOON: Final = 40
"""So many events from the first failure on a second one may come at; a takeover takes some thirty messages."""
AGENTS_DIE: Final = 0.1
"""The share of seeds in which an agent may die: less is promised then when a server fails besides."""

_SINGLE: Final = [kind for kind in (*KINDS, *ELSEWHERE) if kind.standby and not kind.setting and kind.how is not ACT]
_KEEPING: Final = [kind for kind in _SINGLE if not kind.agent_dies]


class Pair(NamedTuple):
    """What a seed does to which flow."""

    flow: Flow
    kinds: tuple[Kind, ...]
    crashes: tuple[Crash, ...]

    @property
    def what(self) -> str:
        return ", then ".join(f"{one.node}: {kind.name}" for kind, one in zip(self.kinds, self.crashes, strict=True))


def _after(first: Crash, counts: Callable[[Delivery | None], bool]) -> Callable[[Delivery | None], bool]:
    return lambda delivery: first.happened_at is not None and counts(delivery)


def _lasts(random: Random, kind: Kind) -> float:
    """Whoever dies of two comes back."""
    if kind.how is KILL:
        return random.uniform(0.3, 4.0)
    return random.uniform(0.2, kind.lasts) if kind.how is PAUSE else 0.0


def _anywhere(random: Random, kind: Kind, flow: Flow) -> Crash:
    place = random.randrange(len(places_of(kind, flow)))
    return Crash(kind.node, place, random.choice(kind.moments), counts_of(kind), kind.how, _lasts(random, kind))


def pair(seed: int) -> Pair:
    """What that seed stands for."""
    random = Random(f"pair {seed}")
    flow = random.choice(FLOWS)
    kinds = [kind for kind in (_SINGLE if random.random() < AGENTS_DIE else _KEEPING) if places_of(kind, flow)]
    one, two = random.choice(kinds), random.choice(kinds)
    first = _anywhere(random, one, flow)
    if random.random() < 0.3:
        return Pair(flow, (one, two), (first, _anywhere(random, two, flow)))
    two = two._replace(node=random.choice(("m1", "s1", *AGENTS)) if not two.agent_dies else two.node, what=ANY)
    if two.how is KILL and two.node in AGENTS and not two.agent_dies:
        two = two._replace(node="s1")
    second = _anywhere(random, two, flow) if two.node == "m1" and one.node == "m1" else None
    if second is None:
        counts, moment = _after(first, counts_of(two)), random.choice(two.moments)
        second = Crash(two.node, random.randrange(SOON), moment, counts, two.how, _lasts(random, two))
    return Pair(flow, (one, two), (first, second))


def broken_after(first: Crash, agent: str, at: int, moment: str) -> Crash:
    """An agent's connection to the stand-by breaks at the ``at``-th message from there after the first crash."""
    return Crash(agent, at, moment, _after(first, lambda each: each is not None and each.source == "s1"), RESET)


def run(seed: int) -> tuple[str, ...]:
    """What is not as without a crash, one sentence each."""
    return _run(seed)[1]


def _run(seed: int) -> tuple[SiteSimulation, tuple[str, ...]]:
    flow, kinds, crashes = pair(seed)
    return crashed(flow, *crashes, kinds=kinds, again=lambda: pair(seed).crashes)


def crashed(
    flow: Flow,
    *crashes: Crash,
    kinds: tuple[Kind, ...] = (),
    again: Callable[[], tuple[Crash, ...]] = tuple,
) -> tuple[SiteSimulation, tuple[str, ...]]:
    """The site after these crashes, and what is not as without. ``again`` makes the same, for a run in which users
    hang up in the end.
    """
    sim = simulation_of(flow)
    changes = any(changes_server(kind) for kind in kinds)
    loses = changes and (flow.cold or any(kind.agent_dies for kind in kinds))
    got = play_in(sim, flow, *crashes, parting=loses)
    bases, _ = calm(flow.name)
    if all(crash.happened_at is None for crash in crashes):
        return sim, ("nothing happened",)
    if not loses and sum(crash.how is KILL for crash in crashes) > 1 and two_died(got):
        loses, sim = True, simulation_of(flow)
        got = play_in(sim, flow, *again(), parting=True)
    if loses:
        return sim, parted(bases[0], got)
    bases, got = tuple(map(without_reasons, bases)), without_reasons(got)
    late = LATER_S + sum(crash.lasts for crash in crashes)
    faults = min((differences(flow, base, got, late) for base in bases), key=len)
    for kind in kinds or KINDS[:1]:
        faults = without_ways(kind._replace(setting=TAKES_OVER), flow, faults)
    return sim, faults


def run_all(seeds: range, jobs: int) -> int:
    """How many fail; each is printed."""
    began, bad = time.monotonic(), 0
    with multiprocessing.Pool(jobs) as pool:
        for number, faults in enumerate(pool.imap(_quietly, seeds, chunksize=8), 1):
            if faults:
                bad += 1
                seed = seeds[number - 1]
                print(f"seed {seed}, {pair(seed).flow.name}, {pair(seed).what}: {'; '.join(faults)}", flush=True)
            if number % 200 == 0:
                left = (time.monotonic() - began) / number * (len(seeds) - number)
                print(f"{number} of {len(seeds)}, {left / 60:.0f} min left", file=sys.stderr, flush=True)
    print(f"{len(seeds) - bad} of {len(seeds)} seeds are good.")
    return bad


def _quietly(seed: int) -> tuple[str, ...]:
    logging.disable(logging.CRITICAL)
    return run(seed)


def main() -> int:
    """Run one seed and show it, or many."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.pairs", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the seed, or the first of many")
    parser.add_argument("--seeds", type=int, default=0, help="try so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    if options.seeds:
        return 1 if run_all(range(options.seed, options.seed + options.seeds), options.jobs) else 0
    logging.disable(logging.CRITICAL)
    sim, faults = _run(options.seed)
    found = pair(options.seed)
    print(sim.world.ladder(3000, calls_only=True))
    print("\n".join((*sim.said, *map(str, sim.records), found.flow.name, found.what, *faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
