"""The lease: how long an active server may act, counted from when it *sent* the heartbeats that the voters answered.

For each voter the newest active heartbeat of this epoch that it answered counts, with the instant of its sending. The
lease ends at the quorum-th newest of these instants plus the lease time, so delayed messages cannot make it too long.
"""

from __future__ import annotations

from collections.abc import Iterable

from heartbeat.proof import VoterList

NEVER = float("-inf")


def quorum_th(instants: dict[str, float], quorum: int, agents: Iterable[str]) -> float:
    """The quorum-th newest of ``instants`` (voter -> sent at), no later than the newest of an agent."""
    newest = sorted(instants.values(), reverse=True)
    if quorum < 1 or len(newest) < quorum:
        return NEVER
    return min(newest[quorum - 1], max((instants.get(agent, NEVER) for agent in agents), default=NEVER))


class Lease:
    """The lease of one leadership, under one epoch."""

    def __init__(self, length: float, voters: VoterList, quorum: int, agents: Iterable[str]) -> None:
        """``length``: seconds. ``agents``: the agents of the site; at least one that votes must have answered."""
        self.length = length
        self.until = NEVER
        """The end of the lease."""
        self.regarded_until = NEVER
        """The same for all heartbeats of this leadership, also those sent while holding."""
        self.change(voters, quorum, agents)
        self._sent: dict[int, tuple[str, float, bool]] = {}
        self._active: dict[str, float] = {}
        self._any: dict[str, float] = {}

    def change(self, voters: VoterList, quorum: int, agents: Iterable[str]) -> None:
        """Count by another list from the next answer on."""
        self.voters = voters
        self.quorum = quorum
        self._agents = [name for name in agents if name in voters.names]

    def sent(self, seq: int, voter: str, active: bool, now: float) -> None:
        """Heartbeat number ``seq`` is sent to ``voter`` now. ``active``: the state that it names."""
        if len(self._sent) > 64 * max(1, len(self.voters.names)):
            self._sent = {s: item for s, item in self._sent.items() if item[1] > now - self.length}
        self._sent[seq] = (voter, now, active)

    def answered(self, voter: str, seq: int) -> None:
        """``voter`` accepted heartbeat number ``seq``."""
        item = self._sent.pop(seq, None)
        if item is not None and item[0] == voter:
            self.count(voter, item[1], item[2])

    def count(self, voter: str, sent_at: float, active: bool) -> None:
        """``voter`` accepted a message that was sent at ``sent_at``."""
        if voter not in self.voters.names:
            return
        self._any[voter] = max(sent_at, self._any.get(voter, NEVER))
        self.regarded_until = quorum_th(self._any, self.quorum, self._agents) + self.length
        if active:
            self._active[voter] = max(sent_at, self._active.get(voter, NEVER))
            self.until = max(self.until, quorum_th(self._active, self.quorum, self._agents) + self.length)

    def supporters(self, now: float) -> list[str]:
        """The voters whose answers to active heartbeats count now."""
        return sorted(voter for voter, at in self._active.items() if at + self.length > now)

    def until_without(self, voter: str) -> float:
        """When the lease would end if ``voter`` had never answered."""
        others = {name: at for name, at in self._active.items() if name != voter}
        return quorum_th(others, self.quorum, self._agents) + self.length

    def answering(self, now: float) -> list[str]:
        """The voters that accepted a message sent within the last lease time."""
        return sorted(voter for voter, at in self._any.items() if at + self.length > now)
