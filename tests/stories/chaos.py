"""python -m tests.stories.chaos SEED [own]

A site under random calls, random faults and bad weather, from a seed; then peace. What must hold at each instant is
in ``rules``, what must have come true in the end is here.
"""

from __future__ import annotations

import sys
from random import Random
from typing import Final

from examples.softphone_call import CALLING, ENDED, INCOMING, TALKING, Call, Policy
from tests.stories.own_trunks import site_with_own_trunk
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation

SERVERS: Final = ("m1", "s1")
NODES: Final = ("m1", "s1", "gw1", "gw2")
WAR_S: Final = 25.0
PEACE_S: Final = 25.0
"""Longer than a takeover, the longest hold of a request and the wait between two tries of a re-INVITE together."""


class Chaos:
    """One run. ``own``: east is a trunk of the servers, whose peer asks in vain what it asks of a dead one."""

    def __init__(self, seed: int, own: bool = False) -> None:
        self.random = Random(seed)
        supervised = seed % 2 == 1
        self.own = own
        self.sim = (
            SiteSimulation(seed, site=site_with_own_trunk(), drift=0.01, supervised=supervised)
            if own
            else SiteSimulation(seed, drift=0.01, supervised=supervised)
        )
        self.rules = Rules(self.sim)
        self.hung_up: set[str] = set()
        """Subjects of the calls that a user ended."""
        self.dialled: list[Call] = []
        self._jumped = False

    def run(self) -> None:
        """War, peace, and the end of all calls. Raises ``AssertionError`` for whatever is not as it must be."""
        sim, world, random = self.sim, self.sim.world, self.random
        begin = world.now
        weather = world.wires.weather
        weather.loss = random.choice((0.0, 0.0, 0.02, 0.1))
        weather.double = random.choice((0.0, 0.05))
        weather.late = random.choice((0.0, 0.0, 0.1))
        sim.policy("east", Policy(answer_after=random.choice((0.0, 0.3, 2.0))))
        for _ in range(random.randrange(2, 9)):
            world.later(random.uniform(0.0, WAR_S * 0.8), self._dial)
        for _ in range(random.randrange(2, 13)):
            world.later(random.uniform(0.0, WAR_S - 3.0), self._fault)
        for _ in range(random.randrange(4, 24)):
            world.later(random.uniform(0.5, WAR_S), self._act)
        world.run(begin + WAR_S + 6.0)
        self._peace()
        self._part()

    # -- users -----------------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        subject = f"call {len(self.dialled) + 1}"
        self.dialled.append(self.sim.call("west", "200", subject=subject, delayed=self.random.random() < 0.2))

    def _act(self) -> None:
        name = self.random.choice(("west", "east"))
        calls = [call for call in self.sim.line(name).calls.values() if call.state is not ENDED]
        if not calls:
            return
        call = self.random.choice(calls)
        verb = self.random.choice(("hold", "resume", "info", "info", "reoffer", "bye"))
        if call.state is CALLING:
            verb = "cancel"
        elif call.state is INCOMING:
            return
        if verb in ("bye", "cancel"):
            self.hung_up.add(call.subject)
        self.sim.do(name, verb, call, *(("5",) if verb == "info" else ()))

    # -- faults ----------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        random, world = self.random, self.sim.world
        match random.randrange(7):
            case 0:
                self._kill(random.choice(SERVERS))
            case 1:
                self._stop(random.choice(SERVERS), random.uniform(0.1, 6.0))
            case 2:
                self._stop(random.choice(("gw1", "gw2")), random.uniform(0.1, 1.5))
            case 3:
                one, other = random.sample(NODES, 2)
                world.wires.cut(one, other, both=random.random() < 0.5)
                world.later(random.uniform(0.2, 8.0), world.wires.heal, one, other)
            case 4:
                world.wires.reset(random.choice(SERVERS), random.choice(("gw1", "gw2")))
            case 5:
                self._jump()
            case _:
                self._switch()

    def _kill(self, name: str) -> None:
        world = self.sim.world
        if world.nodes[name].alive:
            if self.sim.supervised and self.random.random() < 0.7:
                self.sim.die(name, after=self.random.choice((0.0, 0.0, 0.05, 1.0)))
            else:  # its supervisor with it, or what that says is lost
                world.kill(name)
            world.later(self.random.uniform(0.3, 5.0), world.start, name)

    def _stop(self, name: str, seconds: float) -> None:
        world = self.sim.world
        node = world.nodes[name]
        if node.alive and not node.paused:
            world.pause(name)
            world.later(seconds, world.resume, name)

    def _jump(self) -> None:
        """A clock that runs ahead by more than the margin breaks the promise of a vote (a suspended machine's does
        not: its time has passed); that of the active server may do so all the same."""
        world = self.sim.world
        if self._jumped:
            for name in self.sim.active:
                world.jump(name, self.random.uniform(0.3, 4.0))
        else:
            self._jumped = True
            world.jump(self.random.choice(NODES), self.random.uniform(0.05, 0.2))

    def _switch(self) -> None:
        for name in self.sim.active:
            server = self.sim.server(name)
            self.sim.world.ask(name, lambda now, server=server: server.member.switchover("", now))

    # -- what must have come true ------------------------------------------------------------------------------------

    def _peace(self) -> None:
        sim, world = self.sim, self.sim.world
        world.wires.heal()
        world.wires.weather.loss = world.wires.weather.late = world.wires.weather.double = 0.0
        for name in NODES:
            if not world.nodes[name].alive:
                world.start(name)

        def ruled() -> bool:
            active = sim.active
            return len(active) == 1 and sim.is_told(active[0])

        assert world.run_until(ruled, PEACE_S), f"nobody rules: {sim.active}"
        world.run(world.now + PEACE_S)
        assert ruled()

    def _part(self) -> None:
        """Every call whose users did not end it talks at both ends or was never answered; then all hang up."""
        sim, world = self.sim, self.sim.world
        answered = 0
        theirs = {call.subject: call for call in sim.line("east").calls.values()}
        for call in self.dialled:
            other = theirs.get(call.subject)
            self._check(call, other)
            answered += call.answered_at > 0
            if call.state is not ENDED:
                sim.do("west", "hang_up", call)
        world.run(world.now + 45.0)
        for name in ("west", "east"):
            left = [call for call in sim.line(name).calls.values() if call.state is not ENDED]
            assert not left, f"{name} still has {left}"
        for name in NODES:
            assert not sim.calls_of(name), f"{name} still has {world.nodes[name].core.calls}"
        ids = [record.id for record in sim.cdrs]
        assert len(ids) == len(set(ids))
        assert len(ids) <= len(self.dialled), f"{len(ids)} records of {len(self.dialled)} calls"
        known = sum(record.answered is not None for record in sim.cdrs)
        assert known >= answered, f"{known} records of {answered} answered calls"

    def _check(self, call: Call, other: Call | None) -> None:
        if self.own:  # its peer may have lost an answer, and then ends the call
            assert (call.state is TALKING) <= (other is not None), f"{call.subject} has lost its other side"
        elif call.answered_at and call.subject not in self.hung_up:
            assert call.state is TALKING, f"{call.subject} was answered, nobody hung up, and it is {call.state}"
            assert other is not None and other.state is TALKING, f"{call.subject} has lost its other side"


def main() -> int:
    """Run one seed and show it."""
    chaos = Chaos(int(sys.argv[1]), "own" in sys.argv[2:])
    try:
        chaos.run()
    finally:
        print(chaos.sim.world.ladder(3000, calls_only=True))
        print("\n".join(chaos.sim.said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
