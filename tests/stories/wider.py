"""python -m tests.stories.wider SEED

Crashes that the matrix leaves out, one from each seed: at messages that are not of calls (OPTIONS, SUBSCRIBE, NOTIFY,
REGISTER), of the connections of agents at what they receive, and of a second server while it takes over.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Final, NamedTuple

from tests.stories.flows import FLOWS, Flow
from tests.stories.matrix import calm, differences, of_calls, play_in
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.wires import Delivery
from tests.world import AFTER, BEFORE, KILL, MOMENTS, RESET, Crash

SERVERS: Final = ("m1", "s1")
AGENTS: Final = ("gw1", "gw2")
TAKEOVER: Final = 40
"""So many messages from the first crash on a second one may come at; a takeover takes some thirty."""
LATE_S: Final = 12.0
"""So much later than without a crash the last call may have ended: two takeovers and the start of a server."""

_RANG: Final = re.compile(r"\w+ received 1 x 18[03] INVITE\b.* less")
"""That it rings is told once, and may be lost with a connection; the answer comes (RFC 3261 section 17.1.1)."""


class Wider(NamedTuple):
    """What a seed does to which flow."""

    flow: Flow
    what: str
    crashes: tuple[Crash, ...]


def _of_site(delivery: Delivery) -> bool:
    return delivery.source in SERVERS


@cache
def _received(name: str) -> Counter[str]:
    """How many messages each node receives in a flow without a crash, and servers of those that are not of calls."""
    flow = next(flow for flow in FLOWS if flow.name == name)
    counted: Counter[str] = Counter()

    def note(delivery: Delivery) -> None:
        if delivery.target in AGENTS and _of_site(delivery):
            counted[delivery.target] += 1
        elif delivery.target == "m1":
            counted["calls" if of_calls(delivery) else "others"] += 1

    sim = SiteSimulation(1, flow.who, site_of(), start=flow.starts_at)
    sim.world.listeners.append(note)
    play_in(sim, flow)
    return counted


def _others(random: Random, flow: Flow) -> tuple[Crash, ...]:
    at = random.randrange(_received(flow.name)["others"])
    return (Crash("m1", at, random.choice(MOMENTS), lambda delivery: not of_calls(delivery)),)


def _link(random: Random, flow: Flow) -> tuple[Crash, ...]:
    agent = random.choice(AGENTS)
    at = random.randrange(_received(flow.name)[agent])
    return (Crash(agent, at, random.choice((BEFORE, AFTER)), _of_site, RESET),)


def _after(first: Crash, counts: Callable[[Delivery], bool]) -> Callable[[Delivery], bool]:
    return lambda delivery: first.happened_at is not None and counts(delivery)


def _first(random: Random, flow: Flow, lasts: float) -> Crash:
    at = random.randrange(_received(flow.name)["calls"])
    return Crash("m1", at, random.choice(MOMENTS), of_calls, KILL, lasts)


def _both(random: Random, flow: Flow) -> tuple[Crash, ...]:
    """The stand-by dies in its takeover; both servers start again."""
    first = _first(random, flow, random.uniform(1.0, 4.0))
    counts = _after(first, lambda delivery: True)
    at = random.randrange(TAKEOVER)
    return first, Crash("s1", at, random.choice(MOMENTS), counts, KILL, random.uniform(0.5, 3.0))


def _link_in_takeover(random: Random, flow: Flow) -> tuple[Crash, ...]:
    first = _first(random, flow, 0.0)
    at = random.randrange(TAKEOVER // 2)
    return first, broken_after(first, random.choice(AGENTS), at, random.choice((BEFORE, AFTER)))


def broken_after(first: Crash, agent: str, at: int, moment: str) -> Crash:
    """An agent's connection to the stand-by breaks at the ``at``-th message from there after the first crash."""
    return Crash(agent, at, moment, _after(first, lambda delivery: delivery.source == "s1"), RESET)


WAYS: Final = {
    "m1 is killed at a message that is not of a call": _others,
    "an agent's connection breaks": _link,
    "s1 is killed in its takeover": _both,
    "an agent's connection breaks in the takeover": _link_in_takeover,
}


def wider(seed: int) -> Wider:
    """What that seed stands for."""
    random = Random(f"wider {seed}")
    what = list(WAYS)[seed % len(WAYS)]
    flow = random.choice(FLOWS)
    return Wider(flow, what, WAYS[what](random, flow))


def run(seed: int) -> tuple[str, ...]:
    """What is not as without a crash, one sentence each."""
    return _run(seed)[1]


def _run(seed: int) -> tuple[SiteSimulation, tuple[str, ...]]:
    flow, _, crashes = wider(seed)
    return crashed(flow, *crashes)


def crashed(flow: Flow, *crashes: Crash) -> tuple[SiteSimulation, tuple[str, ...]]:
    """The site after these crashes, and what is not as without."""
    sim = SiteSimulation(1, flow.who, site_of(), start=flow.starts_at)
    got = play_in(sim, flow, *crashes)
    bases, _ = calm(flow.name)
    if crashes[0].happened_at is None:
        return sim, ("the crash did not happen",)
    found = [differences(flow, base, got, LATE_S) for base in bases]
    return sim, min((tuple(fault for fault in faults if not _RANG.fullmatch(fault)) for faults in found), key=len)


def main() -> int:
    """Run one seed and show it."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.wider", description=__doc__)
    parser.add_argument("seed", type=int)
    seed = parser.parse_args().seed
    logging.disable(logging.CRITICAL)
    sim, faults = _run(seed)
    print(sim.world.ladder(3000, calls_only=True))
    print("\n".join((*sim.said, *map(str, sim.records), wider(seed).flow.name, wider(seed).what, *faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
