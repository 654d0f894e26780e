"""The schedule of a server's heartbeats: when, to whom, and with which agents as reached."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from heartbeat.cluster_view import ClusterView
from heartbeat.header import BEAT
from heartbeat.leader import Leader
from heartbeat.lease import NEVER
from heartbeat.participant import Participant


class Heartbeats:
    """Sends the heartbeats of one server."""

    def __init__(
        self, node: Participant, cluster: ClusterView, leader: Leader, rng: random.Random, now: float
    ) -> None:
        self.due_at = now
        """When the next round is due."""
        self.reach = 0
        """Bitmap, as of the last round, of the agents that have answered recently and have a connection open."""
        self._node = node
        self._cluster = cluster
        self._leader = leader
        self._rng = rng
        self._rounds = 0
        self._connected: frozenset[str] | None = None

    def connected(self, names: Iterable[str]) -> None:
        """Set the agents with an authenticated connection; without this call only their answers count."""
        self._connected = frozenset(names)

    def schedule(self, now: float) -> bool:
        """Whether a round is due; if so, the next one is scheduled."""
        if now < self.due_at:
            return False
        self.due_at = now + self._node.membership.timing.interval * (0.9 + 0.1 * self._rng.random())
        return True

    def hurry(self, now: float) -> None:
        """Make the next round due now."""
        self.due_at = now

    def next_round(self, state: str, now: float) -> None:
        """Send a round: a leader sends to all voters and servers; all other nodes get their heartbeats in turn, each
        once in ``slow_interval``."""
        node, timing, others = self._node, self._node.membership.timing, self._cluster.others
        turns = max(1, round(timing.slow_interval / timing.interval))
        self._rounds += 1
        fast = {*others, *node.voter.state.voters.names} if self._leader.epoch else set()
        slow = [name for name in (*others, *node.membership.agents) if name not in fast]
        self.reach = self._reached(now)
        if self._rounds <= turns:
            # after its start a server is made known to the others at once, lest they compete with it for the lead
            fast.update(others)
        for name in (*sorted(fast - {node.name}), *slow[self._rounds % turns :: turns]):
            self.send(name, state, now)

    def everyone(self, state: str, now: float) -> None:
        """Send a heartbeat to all nodes at once, upon a change of state."""
        for name in (*self._cluster.others, *self._node.membership.agents):
            self.send(name, state, now)

    def send(self, to: str, state: str, now: float) -> None:
        """Send one heartbeat."""
        more: dict[str, Any] = {}
        if to in self._cluster.peers:
            more = {"reach": f"{self.reach:x}", **self._node.heard(now)}
        self._leader.send(to, BEAT, state, now, **more)

    def _reached(self, now: float) -> int:
        timing, voters = self._node.membership.timing, self._node.voter.state.voters.names
        found = 0
        for bit, agent in enumerate(self._node.membership.agents):
            limit = timing.dead_after if self._leader.epoch and agent in voters else timing.slow_silence
            answered = self._cluster.answered.get(agent, NEVER) + limit > now
            if answered and (self._connected is None or agent in self._connected):
                found |= 1 << bit
        return found
