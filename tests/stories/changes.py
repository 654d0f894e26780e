"""python -m tests.stories.changes SEED

Calls that are changed all the time (hold, resume, offers asked for, CANCELs of these) while servers come and go, from
a seed; then peace. In the end no change may be under way anywhere, both ends must agree on who holds whom, and the
next change must go through.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random
from typing import Final

from examples.softphone_call import ENDED, TALKING, Call, Policy
from sip.invite import InviteUsage
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation

SERVERS: Final = ("m1", "s1")
AGENTS: Final = ("gw1", "gw2")
SIDES: Final = ("west", "east")
CALLS: Final = 3
WAR_S: Final = 20.0
PEACE_S: Final = 50.0
"""Longer than a takeover, a held request, the wait between two tries and 64*T1 together."""


class Changes:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.sim = SiteSimulation(seed)
        self.rules = Rules(self.sim)
        self.sim.policy("east", Policy(answer_after=0.0))

    def run(self) -> None:
        """Raises ``AssertionError`` for whatever is not as it must be."""
        sim, world, random = self.sim, self.sim.world, self.random
        pairs = [sim.talk() for _ in range(CALLS)]
        begin = world.now
        for _ in range(random.randrange(1, 10)):
            world.later(random.uniform(0.0, WAR_S), self._fault)
        for _ in range(random.randrange(5, 40)):
            world.later(random.uniform(0.0, WAR_S), self._act, random.choice(pairs))
        world.run(begin + WAR_S + 8.0)
        self._peace()
        self._nothing_is_under_way()
        for pair in pairs:
            self._agree(pair)
        for pair in pairs:
            self._serve(pair)
        self._nothing_is_under_way()

    # -- users -----------------------------------------------------------------------------------------------------

    def _act(self, pair: tuple[Call, Call]) -> None:
        which = self.random.randrange(2)
        verb = self.random.choice(("hold", "hold", "resume", "resume", "reoffer", "info", "give up"))
        self._do(SIDES[which], verb, pair[which])
        if self.random.random() < 0.25:  # and the other side at about the same time
            self.sim.world.later(self.random.uniform(0.0, 0.02), self._do, SIDES[1 - which], "hold", pair[1 - which])

    def _do(self, name: str, verb: str, call: Call) -> None:
        if verb == "give up":
            self.sim.world.ask(name, lambda now: call.leg.cancel(now))
        else:
            self.sim.do(name, verb, call, *(("5",) if verb == "info" else ()))

    # -- faults ----------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        random, world = self.random, self.sim.world
        match random.randrange(6):
            case 0 | 1:
                name = random.choice(SERVERS)
                if world.nodes[name].alive:
                    world.kill(name)
                    world.later(random.choice((0.05, 0.5, 2.0, 6.0)), world.start, name)
            case 2:
                name = random.choice((*SERVERS, *AGENTS))
                node = world.nodes[name]
                if node.alive and not node.paused:
                    world.pause(name)
                    world.later(random.uniform(0.1, 5.0), world.resume, name)
            case 3:
                one, other = random.choice(SERVERS), random.choice((*SERVERS, *AGENTS))
                world.wires.cut(one, other, both=random.random() < 0.5)
                world.later(random.choice((0.3, 2.0, 8.0, 20.0, 40.0)), world.wires.heal, one, other)
            case 4:
                world.wires.reset(random.choice(SERVERS), random.choice(AGENTS))
            case _:
                for name in self.sim.active:
                    server = self.sim.server(name)
                    world.ask(name, lambda now, server=server: server.member.switchover("", now))

    # -- what must have come true ------------------------------------------------------------------------------------

    def _peace(self) -> None:
        sim, world = self.sim, self.sim.world
        world.wires.heal()
        for name in SERVERS:
            if not world.nodes[name].alive:
                world.start(name)

        def ruled() -> bool:
            active = sim.active
            return len(active) == 1 and sim.server(active[0]).agents.all_complete

        assert world.run_until(ruled, 30.0), f"nobody rules: {sim.active}"
        world.run(world.now + PEACE_S)

    def _nothing_is_under_way(self) -> None:
        for name, leg in self._legs():
            assert leg.client_invite.pending is None, f"{name} waits for an answer to its re-INVITE"
            assert leg.server_invite.pending is None, f"{name} owes an answer to a re-INVITE"
            assert not leg.ack.pending, f"{name} owes an ACK"
            assert not leg.server_invite.awaits_ack, f"{name} waits for an ACK"
        for name in AGENTS:
            for call in self.sim.agent(name).calls.values():
                assert not call.sent and not call.received, f"{name} has requests under way"

    def _legs(self) -> Iterator[tuple[str, InviteUsage]]:
        sim = self.sim
        for name in sim.active:
            for joined in sim.server(name).calls.values():
                yield from ((f"{name} {joined.id}", leg) for leg in joined.bridge.legs)
        for name in AGENTS:
            for call in sim.agent(name).calls.values():
                yield from ((f"{name} {call.id}", leg) for leg in (call.server, call.device) if leg is not None)
        for name in SIDES:
            yield from ((name, one.leg) for one in sim.line(name).calls.values() if one.state is not ENDED)

    def _agree(self, pair: tuple[Call, Call]) -> None:
        one, other = pair
        assert one.state is TALKING and other.state is TALKING, f"a call ended: {one} {other}"
        for near, far in (pair, pair[::-1]):
            assert near.held == far.held_there, f"{near} holds: {near.held}; {far} knows: {far.held_there}"

    def _serve(self, pair: tuple[Call, Call]) -> None:
        """Each end turns its own hold round, and the other end hears of it."""
        world = self.sim.world
        for which in (0, 1):
            near, far = pair[which], pair[1 - which]
            wanted = not near.held
            self.sim.do(SIDES[which], "hold" if wanted else "resume", near)
            world.run(world.now + 0.5)
            assert near.held == wanted == far.held_there, f"{near} could not change"


def main() -> int:
    """Run one seed and show it."""
    changes = Changes(int(sys.argv[1]))
    try:
        changes.run()
    finally:
        print(changes.sim.world.ladder(3000, calls_only=True))
        print("\n".join(changes.sim.said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
