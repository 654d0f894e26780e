"""Who belongs to a site and by which clockwork it lives: the input of the whole package, built from the site file.

    Membership   the site: servers, agents, voters, keys, policies
    Timing       the arithmetic of beats and leases
    complaints   why a configuration would break the rules, one sentence each

Nothing here changes while a program runs, except that a reload hands over another ``Membership``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAIN: Final = "main"
STANDBY: Final = "standby"

STAY: Final = "stay"
RETURN: Final = "return"
MANUAL: Final = "manual"
FAILBACKS: Final = (STAY, RETURN, MANUAL)

HOLD: Final = "hold"
STOP: Final = "stop"
ON_LOST_QUORUM: Final = (HOLD, STOP)

MOST_VOTING_AGENTS: Final = 7
LEAST_INTERVAL: Final = 0.05
MOST_INTERVAL: Final = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, except where said. A field that is 0 takes the default which its property computes."""

    interval: float = 0.5
    """From one beat to the next, for voters and servers; 0.05 to 60."""
    misses: int = 3
    """Beats missed in a row after which the stand-by thinks its main dead."""
    lease: float = 0.0
    """How long an answered beat, counted from its sending, lets the active server decide; 0: four intervals."""
    margin: float = 0.0
    """What a voter waits beyond the lease before it grants to another server; 0: 0.1 s and a tenth of the lease."""
    drift: float = 0.01
    """The most by which a clock of this site runs fast or slow: 0.01 is one part in a hundred."""
    round_trip: float = 0.0
    """What a beat and its answer take at the most in ordinary times; 0: a tenth of a second or half an interval."""
    slow_interval: float = 2.0
    """From one beat to the next for agents that do not vote, and for the beats of a stand-by."""
    hold_down: float = 30.0
    """After an automatic takeover the next automatic one waits so long, unless every voter misses the new server."""
    return_after: float = 60.0
    """With failback ``return``: how long the preferred server must have been healthy."""
    subset_after: float = 5.0
    """How long the active server may reach fewer agents than the stand-by before it hands over."""
    switchover_limit: float = 5.0
    """How long a planned switchover may take before it is called off."""

    @property
    def lease_time(self) -> float:
        """The lease that holds, in seconds."""
        return self.lease or 4 * self.interval

    @property
    def margin_time(self) -> float:
        """The margin that holds, in seconds."""
        return self.margin or 0.1 + 0.1 * self.lease_time

    @property
    def silence(self) -> float:
        """How long a voter must not have heard a lease-holder before it grants to another: lease and margin."""
        return self.lease_time + self.margin_time

    @property
    def dead_after(self) -> float:
        """The silence after which the detector says dead."""
        return self.misses * self.interval

    @property
    def round_trip_time(self) -> float:
        """The round trip that is reckoned with."""
        return self.round_trip or min(0.1, self.interval / 2)


@dataclass(frozen=True, slots=True)
class Server:
    """A call server of the site."""

    name: str
    role: str = MAIN
    """Preferred role: ``main`` or ``standby``."""


@dataclass(frozen=True, slots=True)
class Membership:
    """One site, as its file says it. Servers and agents share one name space of tokens of at most 64 characters."""

    site: str
    servers: tuple[Server, ...]
    agents: tuple[str, ...] = ()
    """In the order of the file; the bitmap of reached agents in a beat counts in this order."""
    chosen_voters: tuple[str, ...] = ()
    """The agents that the file makes voters; empty: the first ones (see ``voters``)."""
    generation: int = 1
    """The number that the file gives to its list of voters, raised with each change of it. When it is higher than
    the one that the site lives by, the active server moves the site to the file's list, one voter at a time."""
    quorum_wanted: int = 0
    """The quorum that the file asks for; 0: the majority."""
    timing: Timing = Timing()
    failback: str = STAY
    """``stay``, ``return`` (to the preferred main when it has been healthy for ``return_after``) or ``manual``."""
    on_lost_quorum: str = HOLD
    """``hold``: go on serving those who obey, end nothing; ``stop``: answer 503 to all."""
    takeover_without_quorum: bool = False
    config: str = ""
    """Short hash of the site file (hexadecimal); shown as drift where it differs."""
    capacity: int = 0
    """Calls that a server of this site takes; 0: not said."""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """The site key; during a key change the new one and then the old one. The first signs, each verifies."""

    @property
    def voting_agents(self) -> tuple[str, ...]:
        """The agents that vote: the chosen ones, or the first of the file, at most 7.

        With a single server an even number would have nobody to make it odd, so the last one does not vote.
        """
        agents = self.chosen_voters or self.agents[:MOST_VOTING_AGENTS]
        if len(agents) > 1 and len(agents) % 2 == 0 and not self._stand_by and not self.chosen_voters:
            return agents[:-1]
        return agents

    @property
    def voters(self) -> tuple[str, ...]:
        """All who vote: the voting agents and, where their number is even, the stand-by server."""
        agents = self.voting_agents
        if agents and len(agents) % 2 == 0 and self._stand_by:
            return (*agents, self._stand_by)
        return agents

    @property
    def quorum(self) -> int:
        """How many of ``voters`` decide."""
        return self.quorum_wanted or majority(len(self.voters))

    @property
    def alone(self) -> bool:
        """One server and no agents: there is nobody to share anything with, so no lease is needed."""
        return len(self.servers) == 1 and not self.agents

    @property
    def server_names(self) -> tuple[str, ...]:
        return tuple(server.name for server in self.servers)

    @property
    def preferred(self) -> str:
        """The server that should be active: the first main of the file."""
        for server in self.servers:
            if server.role == MAIN:
                return server.name
        return self.servers[0].name if self.servers else ""

    @property
    def _stand_by(self) -> str:
        """The server that lends its vote to an even number of agents; empty when there is none."""
        return next((server.name for server in self.servers if server.role == STANDBY), "")


def majority(voters: int) -> int:
    """The least number that is over half of ``voters``."""
    return voters // 2 + 1


def least_margin(lease: float, drift: float) -> float:
    """Below this margin a fast clock and a slow one, off by ``drift``, could see a lease and a grant overlap."""
    return lease * 2 * drift / (1 - drift)


def complaints(membership: Membership) -> list[str]:
    """Why this site must not run as it is written; empty when it may. Each is a sentence that says what to do."""
    return _timing_complaints(membership.timing) + _voter_complaints(membership) + _policy_complaints(membership)


def _timing_complaints(timing: Timing) -> list[str]:
    found = []
    if not LEAST_INTERVAL <= timing.interval <= MOST_INTERVAL:
        found.append(f"interval is {timing.interval:g} s; it must be from {LEAST_INTERVAL:g} to {MOST_INTERVAL:g} s")
    if not 1 <= timing.misses <= 100:
        found.append(f"misses is {timing.misses}; it must be from 1 to 100")
    if not 0 <= timing.drift < 0.5:
        found.append(f"drift is {timing.drift:g}; it must be from 0 to less than 0.5")
        return found
    lease, margin = timing.lease_time, timing.margin_time
    needed = timing.misses * timing.interval + timing.round_trip_time
    if lease <= needed:
        found.append(
            f"lease is {lease:g} s; to survive {timing.misses - 1} lost beats it must be over {needed:g} s"
            f" (misses * interval + round_trip): raise lease, or lower misses or interval"
        )
    least = least_margin(lease, timing.drift)
    if margin < least:
        found.append(
            f"margin is {margin:g} s; with clocks that drift by {timing.drift:g} a lease of {lease:g} s"
            f" needs at least {least:.3g} s"
        )
    for name in ("slow_interval", "switchover_limit", "subset_after"):
        if getattr(timing, name) <= 0:
            found.append(f"{name} is {getattr(timing, name):g} s; it must be over 0")
    for name in ("hold_down", "return_after"):
        if getattr(timing, name) < 0:
            found.append(f"{name} is {getattr(timing, name):g} s; it must not be negative")
    return found


def _voter_complaints(membership: Membership) -> list[str]:
    found = []
    chosen, voters = membership.chosen_voters, membership.voters
    for name in chosen:
        if name not in membership.agents:
            found.append(f"voter {name} is no agent of this site; name agents only")
    if len(set(chosen)) != len(chosen):
        found.append("an agent is named twice among the voters; name each once")
    if len(chosen) > MOST_VOTING_AGENTS:
        found.append(f"{len(chosen)} voters are named; name at most {MOST_VOTING_AGENTS}")
    if len(membership.servers) > 1 and not membership.agents:
        found.append("two servers without an agent have nobody who decides between them; add an agent")
    if voters and not majority(len(voters)) <= membership.quorum <= len(voters):
        found.append(
            f"quorum is {membership.quorum} of {len(voters)} voters; it must be over half and no more than all"
            f" ({majority(len(voters))} to {len(voters)}), or two servers could both win"
        )
    return found


def _policy_complaints(membership: Membership) -> list[str]:
    found = []
    names = [*membership.server_names, *membership.agents]
    if not membership.servers:
        found.append("the site has no server; add one")
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"{name} is the name of two nodes; servers and agents need different names")
    for server in membership.servers:
        if server.role not in (MAIN, STANDBY):
            found.append(f"server {server.name} has the role {server.role}; it must be main or standby")
    if membership.failback not in FAILBACKS:
        found.append(f"failback is {membership.failback}; it must be one of {', '.join(FAILBACKS)}")
    if membership.on_lost_quorum not in ON_LOST_QUORUM:
        found.append(f"on_lost_quorum is {membership.on_lost_quorum}; it must be hold or stop")
    if not membership.keys and not membership.alone:
        found.append("the site has no key; its nodes could not prove themselves to each other")
    return found
