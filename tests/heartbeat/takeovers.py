"""python -m tests.heartbeat.takeovers

Takeovers at random, in simulated sites of real cores: whoever rules is killed, with its machine or without, cut off,
stopped or told to hand over, alone or with an agent, on a bad network, with slow disks and clocks that run apart. The
rules of the World hold at every step, and the other server must rule in time. 100,000 of them, by default.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial

from heartbeat.timing import Timing
from tests.heartbeat.ballot_world import World, membership

EACH = 10
"""Takeovers of one seed."""
CAUSES = (
    "process killed",
    "process killed",
    "killed",
    "killed with an agent",
    "cut off",
    "heard, but deaf",
    "stopped",
    "killed and started again",
    "told to hand over",
    "killed in its switchover",
)


@dataclass
class Tally:
    """What became of the takeovers of some seeds."""

    causes: Counter[str] = field(default_factory=Counter)
    same: int = 0
    """The server that was started again won before the other one."""
    steps: int = 0
    """Messages."""
    took: list[float] = field(default_factory=list)
    """Of those without a switchover or a hold-down: from the cause to the other server's lease, in units of lease
    and margin."""

    def add(self, other: Tally) -> None:
        """Count both."""
        self.causes += other.causes
        self.same += other.same
        self.steps += other.steps
        self.took += other.took

    @property
    def takeovers(self) -> int:
        return self.causes.total()

    def __str__(self) -> str:
        took = sorted(self.took) or [0.0]
        rows = [f"{number:9,}  {cause}" for cause, number in self.causes.most_common()]
        return "\n".join(
            (
                f"{self.takeovers:,} takeovers, {self.steps:,} messages, no rule broken, none that did not end well",
                *rows,
                f"{self.same:9,}  (besides) won by the server itself, which was started again at once",
                f"decided after, in units of lease + margin: median {took[len(took) // 2]:.2f},"
                f" 99 of 100 within {took[len(took) * 99 // 100]:.2f}, longest {took[-1]:.2f}",
            )
        )


def _site(seed: int, rng: random.Random) -> World:
    interval = rng.choice((0.5, 0.5, 0.2, 0.1))
    agents = rng.choice((1, 2, 2, 3, 3, 4, 5))
    lossy = rng.random() < 0.3
    return World(
        membership(agents, timing=Timing(interval=interval), hold_down=rng.choice((0.0, 0.0, 5.0))),
        seed,
        loss=0.02 if lossy else 0.0,
        delay=rng.choice(((0.001, 0.003), (0.001, interval / 5))),
        twice=rng.choice((0.0, 0.05)),
        drift=rng.choice((0.0, 0.01)),
        disk=rng.choice(((0.0, 0.0), (0.001, 0.01), (0.0, interval / 5))),
    )


def live(seed: int, each: int = EACH) -> Tally:
    """``each`` takeovers of the site of ``seed``. Raises AssertionError with its story where one goes wrong."""
    rng = random.Random(seed)
    world, tally = _site(seed, rng), Tally()
    silence = world.site.timing.silence
    patience = 6 * silence + world.site.hold_down + 5.0
    world.start_all()
    world.run_until(world.settled, limit=patience)
    while tally.takeovers + tally.same < each:
        world.run(rng.uniform(silence, 3 * silence))
        world.run(max(0.0, *(host.paused_until - world.now for host in world.hosts.values())))
        world.run_until(world.settled, limit=patience)  # one fault at a time: nobody stands still any more
        ruler = world.settled()
        other = "m2" if ruler == "m1" else "m1"
        cause = rng.choice(CAUSES)
        voters = world.site.voters
        if cause == "killed with an agent" and len(voters) - 1 - (ruler in voters) < world.site.quorum:
            cause = "killed"  # the site has no quorum without both
        began = world.now
        _strike(world, cause, ruler, other, rng)
        back = cause in ("killed and started again", "told to hand over")
        if cause == "told to hand over":
            world.run(0.5 * silence)
        again = ruler if back else ""
        world.run_until(partial(_is_over, world, other, again), limit=patience)
        if _rules(world, other):
            tally.causes[cause] += 1
            if not world.site.hold_down and "switchover" not in cause and "hand over" not in cause:
                tally.took.append((world.now - began) / silence)
        else:
            tally.same += 1
        world.heal()
        world.start(*(name for name, host in world.hosts.items() if host.core is None))
        world.run_until(world.settled, limit=patience)
    tally.steps = world.sent
    return tally


def _strike(world: World, cause: str, ruler: str, other: str, rng: random.Random) -> None:
    if cause == "cut off":
        world.isolate(ruler)
    elif cause == "heard, but deaf":
        for name in world.hosts:
            if name != ruler:
                world.cut(name, ruler, both=False)
    elif cause == "stopped":
        world.pause(ruler, world.site.timing.silence * rng.uniform(2.5, 4.0) + world.site.hold_down)
    elif cause == "told to hand over":
        world.act(ruler, lambda member, now: member.switchover("", now))
    elif cause == "process killed":
        world.die(ruler, rng.uniform(0.0, 0.02))
    else:
        if cause == "killed in its switchover":
            world.act(ruler, lambda member, now: member.switchover("", now))
            world.run(rng.uniform(0.0, 0.02))
        world.crash(ruler)
        if cause == "killed with an agent":
            world.crash(rng.choice(world.site.agents))
        elif cause == "killed and started again":
            world.run(rng.uniform(0.0, world.site.timing.silence))
            world.start(ruler)


def _rules(world: World, name: str) -> bool:
    return world.holders() == [name]


def _is_over(world: World, other: str, again: str) -> bool:
    """The ``other`` server rules; or the same one ``again``: it may win first, or a switchover be called off."""
    return _rules(world, other) or (bool(again) and world.settled() == again)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.heartbeat.takeovers", description=__doc__)
    parser.add_argument("--takeovers", type=int, default=100_000, metavar="N", help="how many (100,000)")
    parser.add_argument("--seeds", type=int, default=0, metavar="FIRST", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at once")
    options = parser.parse_args()
    seeds = range(options.seeds, options.seeds + -(-options.takeovers // EACH))
    tally, began, wrong = Tally(), time.monotonic(), 0
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {pool.submit(live, seed): seed for seed in seeds}
        for number, done in enumerate(as_completed(running), 1):
            try:
                tally.add(done.result())
            except AssertionError as error:
                wrong += 1
                print(f"\nseed {running[done]}: {error}")
            if number % 20 == 0 or number == len(seeds):
                spent = time.monotonic() - began
                left = spent / number * (len(seeds) - number)
                print(
                    f"\r{number:,} of {len(seeds):,} seeds, {tally.takeovers:,} takeovers,"
                    f" {spent:.0f} s, {left:.0f} s left  ",
                    end="",
                    file=sys.stderr,
                )
    print(file=sys.stderr)
    if wrong:
        print(f"{wrong} seeds went wrong")
        return 1
    print(tally)
    return 0


if __name__ == "__main__":
    sys.exit(main())
