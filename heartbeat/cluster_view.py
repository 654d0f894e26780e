"""What a server has learnt about the other nodes of its site from their messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from heartbeat.clock_comparison import ClockComparison
from heartbeat.death import Death
from heartbeat.header import ACTIVE, AGENT, BEAT, DRAINING, FAILED, HOLDING, LEFT, NON_VOTING, Beat, Start
from heartbeat.lease import NEVER
from heartbeat.persistent_state import PersistentState

DEAD: Final = "dead"
"""The state of a server whose supervisor saw it end."""
_MOST_DEATHS: Final = 4


@dataclass(slots=True)
class OtherServer:
    """What is known of another server."""

    state: str = ""
    heard_at: float = NEVER
    well_since: float = NEVER
    """Since when it has been heard without a gap."""
    reach: int = 0
    """Bitmap of the agents that this server reaches."""
    beat: Beat | None = None
    """Its last statement."""
    led: Start | None = None
    """The start in which it last led."""
    death: Death | None = None
    """How its last start ended, if its supervisor reported that and no later start was heard."""


class VoterStatus(NamedTuple):
    """The voting state of a node with a vote, as it stated it in one message."""

    generation: int
    """The generation of the list of voters that it uses."""
    promised_to_others: int
    """The highest epoch that it granted or adopted to another start than ours."""
    epoch: int
    """The epoch of the leadership that it follows, if that is on its disk; 0 where the disk cannot be written."""


class ClusterView:
    """What one server knows of its site, from all messages, whoever sent them."""

    def __init__(self, own: str, epoch: int, promised_epoch: int) -> None:
        self.epoch = epoch
        """The highest epoch under which a server leads or has led, as far as is known by proofs."""
        self.leader = ""
        self.promised_epoch = promised_epoch
        """The highest epoch that any node is known to have promised."""
        self.changed_at = NEVER
        """When another server took over by itself."""
        self.peers: dict[str, OtherServer] = {}
        """The other servers."""
        self.deaths: tuple[str, ...] = ()
        """The latest revealed secrets: evidence for the voters."""
        self.leader_died = False
        """Whether the leading start has died, by its supervisor's report."""
        self.answered: dict[str, float] = {}
        """Agent -> when it last answered."""
        self.generations: dict[str, int] = {}
        """Node -> the list of voters that it lives by."""
        self.statuses: dict[str, VoterStatus] = {}
        """Node with a vote, in the list of voters or not any more -> what it last said of itself, as far as a change
        of the list is concerned."""
        self.incarnations: dict[str, int] = {}
        """Node -> its last known start."""
        self.non_voting: set[str] = set()
        """Nodes that said they have no vote, in the list of voters or not."""
        self.voting: set[str] = set()
        """Nodes that were seen with a vote."""
        self.without_disk: set[str] = set()
        """Nodes whose disk cannot be written, by their last statements."""
        self.draining: set[str] = set()
        """Agents that take no new calls, by their last statements."""
        self.clocks = ClockComparison()
        """The wall clocks of the other nodes."""
        self.configs: dict[str, str] = {}
        """Node -> hash of the site file that it runs from."""
        self.warned: dict[str, tuple[str, ...]] = {}
        """Agent -> the codes of the alerts about its own process."""
        self.versions: dict[str, str] = {}
        """Node -> version of the product that it runs, of those that say it."""
        self._own = own

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the other servers."""
        return tuple(self.peers)

    def set_servers(self, names: Iterable[str]) -> None:
        """Set the servers of the site."""
        self.peers = {name: self.peers.get(name) or OtherServer() for name in names if name != self._own}

    def learn(self, beat: Beat) -> bool:
        """Learn from any message. Returns whether its sender uses another site file than was known of it."""
        self.promise(max(beat.promised_epoch, beat.promised_to_others))
        self.generations[beat.node], self.incarnations[beat.node] = beat.voters, beat.incarnation
        if beat.state == AGENT and beat.re is not None and beat.kind == BEAT:
            (self.draining.add if DRAINING in beat.flags else self.draining.discard)(beat.node)
            self.warned[beat.node] = beat.warns
        if beat.version:
            self.versions[beat.node] = beat.version
        if not beat.config or self.configs.get(beat.node) == beat.config:
            return False
        self.configs[beat.node] = beat.config
        return True

    def learn_disk(self, beat: Beat) -> str:
        """A change of the state of the sender's disk, as a sentence; empty: no change."""
        node, bad = beat.node, beat.disk == FAILED
        if bad is (node in self.without_disk):
            return ""
        if bad:
            self.without_disk.add(node)
            return f"{node} cannot keep its epochs: its disk takes nothing"
        self.without_disk.discard(node)
        return f"{node} can keep its epochs again"

    def promise(self, epoch: int) -> None:
        """Note that some node may have promised ``epoch``."""
        self.promised_epoch = max(self.promised_epoch, epoch)

    def next_epoch(self, own: PersistentState) -> int:
        """The least epoch that nobody has promised or led under, as far as we know; ``own`` is our voter's state."""
        return max(self.epoch, self.promised_epoch, own.promised_epoch, own.leadership.epoch) + 1

    def learn_server(self, beat: Beat, longest_gap: float, now: float) -> None:
        """How another server is; after ``longest_gap`` seconds of silence it counts as well only from here."""
        peer = self.peers[beat.node]
        if now - peer.heard_at > longest_gap or beat.state == LEFT or peer.state != beat.state:
            peer.well_since = now
        peer.state, peer.heard_at, peer.beat, peer.death = beat.state, now, beat, None
        if beat.state in (ACTIVE, HOLDING):
            peer.led = beat.start
        if beat.reach:
            peer.reach = _bitmap(beat.reach)

    def learn_death(self, death: Death, start: Start) -> bool:
        """Note that ``start`` of another server has died. Returns whether it is the one that leads."""
        peer = self.peers[start.node]
        self.deaths = (death.secret, *self.deaths)[:_MOST_DEATHS]
        if peer.beat is not None and peer.beat.start == start and peer.state != LEFT:
            peer.state, peer.death = DEAD, death
        led = self.leader == start.node and peer.led == start
        self.leader_died = self.leader_died or led
        return led

    def well_from(self, server: str, now: float) -> None:
        """Count from here how long ``server`` has been well."""
        self.peers[server].well_since = now

    def learn_agent(self, agent: str, now: float) -> None:
        """Note that an agent has answered."""
        self.answered[agent] = now

    def learn_leader(self, epoch: int, leader: str, released: bool, now: float) -> bool:
        """Somebody says that ``leader`` leads under ``epoch``; whether that is news.

        ``released``: we have let go of an epoch of ours, so who follows us did not take over by itself.
        """
        if not leader or epoch < self.epoch or (epoch == self.epoch and leader == self.leader):
            return False
        before, self.epoch, self.leader, self.leader_died = self.leader, epoch, leader, False
        if leader != self._own and before and before != leader and not (before == self._own and released):
            self.changed_at = now
        return True

    def lead(self, epoch: int) -> None:
        """Note that we lead under ``epoch``."""
        self.epoch, self.leader, self.leader_died = epoch, self._own, False

    def learn_vote(self, beat: Beat, voters: Iterable[str]) -> bool:
        """Whether the sender is one of ``voters`` and without a vote, which was not known before."""
        node = beat.node
        if NON_VOTING in beat.flags:
            self.statuses.pop(node, None)
            if node not in self.non_voting and self.epoch:
                self.non_voting.add(node)
                return node in voters
        elif beat.re is not None:
            self.non_voting.discard(node)
            self.voting.add(node)
            self.statuses[node] = VoterStatus(
                beat.voters, beat.promised_to_others, 0 if beat.disk == FAILED else beat.epoch
            )
        return False

    def without_vote(self, voters: Iterable[str]) -> list[str]:
        """The nodes of ``voters`` that said they have no vote."""
        return sorted(self.non_voting.intersection(voters))

    def known_voters(self) -> set[str]:
        """Nodes that have a vote, by their last statements."""
        return self.voting - self.non_voting

    def present(self, names: Iterable[str], since: float) -> set[str]:
        """The nodes of ``names`` that were heard after ``since``."""
        heard = {name: peer.heard_at for name, peer in self.peers.items()} | self.answered
        return {name for name in names if heard.get(name, NEVER) > since}


def why_non_voting(voter: str, had_one: bool) -> str:
    """Why ``voter`` has no vote and what to do; ``had_one``: it was seen with a vote before."""
    if had_one:
        return f"{voter} has no vote any more: its epoch file is gone; when you know why, `b2bua readmit {voter}`"
    return f"{voter} has no vote yet: it started without an epoch file; the active server lets it vote"


def _bitmap(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
