"""What agents with keys of their own say, as servers hold it among each other, and what they are shown of it.

Servers count grants, and show each other proofs, that are signed with the site key. An agent that has not that key
signs its grant with its own: here it is verified and signed anew. The other way round, a proof is verified and signed
for that agent, grant by grant. So the rules of votes (`heartbeat.voter` and what stands on it) know one key only.

What such an agent says counts for no more than itself: one vote, one witness. By which list of voters the site lives,
who leads it and when he was heard last is believed when most of the agents that vote say so: else one that is stolen
could have a server live by a list of its own, or keep a stand-by from ever taking over. The highest epoch that it
promised is believed: by that nobody wins anything.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final, NamedTuple

from heartbeat.cluster_view import ClusterView
from heartbeat.header import GRANT, Beat, BeatError
from heartbeat.keyring import Keyring
from heartbeat.lease import NEVER
from heartbeat.membership import majority
from heartbeat.participant import Participant
from heartbeat.proof import Proof, VoterList, sign_grant

MOST_EPOCH: Final = 2**40
"""Nobody gets so far by leading: more is believed of a server alone, so that no agent can use up all numbers."""

MOST_AHEAD: Final = 2**20
"""How far an agent may be ahead of what this server knows, where that is more."""


class _Word(NamedTuple):
    """What an agent said last of who leads."""

    leader: str
    epoch: int
    heard_at: float
    """When it heard that one."""
    said_at: float


class AgentWords:
    """Of one server."""

    def __init__(self, keyring: Keyring, node: Participant, cluster: ClusterView) -> None:
        self._keyring = keyring
        self._node = node
        self._cluster = cluster
        self._last: dict[str, _Word] = {}
        self._asked: dict[str, tuple[int, str]] = {}
        """Agent -> the epoch and the list of voters of the grant that it was asked for last."""
        self._lists: dict[str, tuple[str, int]] = {}
        """Agent -> the list of voters that it lives by, as it said when it refused a vote for that, and its epoch."""
        self._good: tuple[str, tuple[bytes, ...], Proof] | None = None
        """The proof that was verified last, by which keys, and what of it is good."""
        self._shown: dict[str, tuple[str, bytes, str]] = {}
        """Agent -> the proof that it was shown, the key that it was signed with, and how it was shown."""

    def told(self, agent: str, beat: Beat) -> Beat:
        """What is said to an agent, as it is to hear it."""
        if beat.kind == GRANT:
            self._asked[agent] = beat.for_epoch, beat.list
        if beat.proof and self._keyring.has_own(agent):
            return replace(beat, proof=self.shown(beat.proof, agent))
        return beat

    def shown(self, proof: str, agent: str) -> str:
        """A proof for an agent: by its own key where it has one."""
        if not self._keyring.has_own(agent):
            return proof
        key = self._keyring.towards(agent)
        known = self._shown.get(agent)
        if known is None or known[:2] != (proof, key):
            known = self._shown[agent] = proof, key, self._verified(proof).signed_for(self._keyring.site, key).text
        return known[2]

    def _verified(self, proof: str) -> Proof:
        """Once for all agents, and again where the keys have changed."""
        ring = self._keyring
        if self._good is None or self._good[:2] != (proof, ring.keys):
            self._good = proof, ring.keys, Proof.parse(proof).verified(ring.keys, ring.site)
        return self._good[2]

    def heard(self, beat: Beat, now: float) -> Beat:
        """What an agent says, as it counts here. Raises `BeatError`: not at all."""
        agent = beat.node
        heard_at = NEVER if beat.heard is None else now - beat.heard
        self._last[agent] = _Word(beat.leader, beat.epoch, heard_at, now)
        if not self._keyring.has_own(agent):
            return beat
        numbers = max(beat.epoch, beat.promised_epoch, beat.promised_to_others)
        if numbers > max(MOST_EPOCH, self._cluster.next_epoch(self._node.voter.state) + MOST_AHEAD):
            raise BeatError(f"{agent} speaks of epoch {numbers}, which nobody can have led")
        if beat.grant:
            beat = replace(beat, grant=self._grant(agent, beat))
        if beat.list and not self._is_witnessed(agent, beat):
            beat = replace(beat, list="")
        return self._with_leader(beat, now)

    def _with_leader(self, beat: Beat, now: float) -> Beat:
        """The statement with what is to be believed of who leads."""
        cluster, leader = self._cluster, beat.leader
        is_known = (beat.epoch, leader) == (cluster.epoch, cluster.leader)
        if is_known and leader == self._node.name:
            return beat
        said = self._lately(now) or [self._last[beat.node]]
        needed = majority(len(said))
        same = sorted(word.heard_at for word in said if word.leader == leader and word.epoch >= beat.epoch)
        if len(same) >= needed:
            heard_at = same[-needed]
        elif is_known or beat.epoch < cluster.epoch:
            heard_at = NEVER
        else:
            return replace(beat, epoch=cluster.epoch, leader="", heard=None)
        if beat.heard is None or now - beat.heard <= heard_at:
            return beat
        return replace(beat, heard=None if heard_at == NEVER else now - heard_at)

    def _lately(self, now: float) -> list[_Word]:
        """What the agents that vote and are there said last."""
        timing = self._node.membership.timing
        since = now - 2 * timing.slow_interval - timing.silence
        words = (self._last.get(name) for name in self._node.membership.voting_agents)
        return [word for word in words if word is not None and word.said_at > since]

    def _grant(self, agent: str, answer: Beat) -> str:
        """Its grant, signed with the site's key of which the agent's is made; empty: it is none, or not what it was
        asked for last."""
        if agent not in self._asked:
            return ""
        ring, node, (epoch, text) = self._keyring, self._node, self._asked[agent]
        granted = epoch, node.name, node.on_disk.incarnation, VoterList.parse(text)
        for own, key in zip(ring.own(agent), ring.keys, strict=True):
            if hmac.compare_digest(sign_grant(own, ring.site, agent, *granted), answer.grant):
                return sign_grant(key, ring.site, agent, *granted)
        return ""

    def _is_witnessed(self, agent: str, beat: Beat) -> bool:
        """Whether so many of the agents say this list, under no earlier epoch, that one liar is outvoted."""
        self._lists[agent] = beat.list, beat.epoch
        voting = self._node.membership.voting_agents
        said = [self._lists[name] for name in voting if name in self._lists]
        same = sum(voters == beat.list and epoch >= beat.epoch for voters, epoch in said)
        return same >= majority(len(voting))
