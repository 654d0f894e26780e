"""Translates between agents that have keys of their own and the rules of voting, which know the site key only.

Servers count grants, and send each other proofs, that are signed with the site key. An agent without that key signs
its grant with its own key: the grant is verified here and signed again with the site key. A proof for such an agent
is verified here and signed again with the agent's key, grant by grant.

The statements of such an agent count for itself only: one vote, one witness. The list of voters, the leader and when
it was last heard are believed only when most of the voting agents agree: otherwise one stolen agent could impose a
list of voters, or keep a stand-by from ever taking over. The highest epoch that it promised is believed from each
agent, since that makes nobody win.
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
"""No site reaches this epoch in practice. Higher ones are believed from servers only, so that no agent can use up all
numbers."""

MOST_AHEAD: Final = 2**20
"""How far an epoch named by an agent may be above the last one that anybody led under, where that limit is higher.
What was only promised does not count, or an agent could raise the limit by what it says."""


class _Statement(NamedTuple):
    """An agent's last statement about the leader."""

    leader: str
    epoch: int
    heard_at: float
    """When the agent last heard that leader."""
    said_at: float


class AgentStatements:
    """Translates the statements between one server and its agents."""

    def __init__(self, keyring: Keyring, node: Participant, cluster: ClusterView) -> None:
        self._keyring = keyring
        self._node = node
        self._cluster = cluster
        self._last: dict[str, _Statement] = {}
        self._asked: dict[str, tuple[int, str]] = {}
        """Agent -> the epoch and the list of voters of the grant that it was asked for last."""
        self._lists: dict[str, tuple[str, int]] = {}
        """Agent -> its list of voters and its epoch, as it stated them when it refused a vote because of the list."""
        self._good: tuple[str, tuple[bytes, ...], Proof] | None = None
        """The proof that was last verified, the keys used, and the proof with its valid grants only."""
        self._shown: dict[str, tuple[str, bytes, str]] = {}
        """Agent -> the proof last sent to it, the key used, and the proof signed with that key."""

    def told(self, agent: str, beat: Beat) -> Beat:
        """The statement for an agent, with a proof that it can verify."""
        if beat.kind == GRANT:
            self._asked[agent] = beat.for_epoch, beat.list
        if beat.proof and self._keyring.has_own(agent):
            return replace(beat, proof=self.shown(beat.proof, agent))
        return beat

    def shown(self, proof: str, agent: str) -> str:
        """The text of a proof for an agent, signed with the agent's own key where it has one."""
        if not self._keyring.has_own(agent):
            return proof
        key = self._keyring.towards(agent)
        known = self._shown.get(agent)
        if known is None or known[:2] != (proof, key):
            known = self._shown[agent] = proof, key, self._verified(proof).signed_for(self._keyring.site, key).text
        return known[2]

    def _verified(self, proof: str) -> Proof:
        """The proof with its valid grants only; computed once for all agents, and again when the keys change."""
        ring = self._keyring
        if self._good is None or self._good[:2] != (proof, ring.keys):
            self._good = proof, ring.keys, Proof.parse(proof).verified(ring.keys, ring.site)
        return self._good[2]

    def heard(self, beat: Beat, now: float) -> Beat:
        """The statement of an agent, reduced to what is believed of it. Raises `BeatError` when it must be
        dropped."""
        agent = beat.node
        heard_at = NEVER if beat.heard is None else now - beat.heard
        self._last[agent] = _Statement(beat.leader, beat.epoch, heard_at, now)
        if not self._keyring.has_own(agent):
            return beat
        numbers = max(beat.epoch, beat.promised_epoch, beat.promised_to_others)
        led = max(self._cluster.epoch, self._node.voter.state.leadership.epoch)
        if numbers > max(MOST_EPOCH, led + MOST_AHEAD):
            raise BeatError(f"{agent} speaks of epoch {numbers}, which nobody can have led")
        if beat.grant:
            beat = replace(beat, grant=self._grant(agent, beat))
        if beat.list and not self._is_witnessed(agent, beat):
            beat = replace(beat, list="")
        return self._with_leader(beat, now)

    def _with_leader(self, beat: Beat, now: float) -> Beat:
        """The statement with only those fields about the leader that most of the voting agents confirm."""
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

    def _lately(self, now: float) -> list[_Statement]:
        """The last statements of the voting agents that were heard lately."""
        timing = self._node.membership.timing
        since = now - 2 * timing.slow_interval - timing.silence
        words = (self._last.get(name) for name in self._node.membership.voting_agents)
        return [word for word in words if word is not None and word.said_at > since]

    def _grant(self, agent: str, answer: Beat) -> str:
        """The agent's grant, signed with the site key from which the agent's key is derived; empty when it is not
        valid, or not what the agent was last asked for."""
        if agent not in self._asked:
            return ""
        ring, node, (epoch, text) = self._keyring, self._node, self._asked[agent]
        granted = epoch, node.name, node.on_disk.incarnation, VoterList.parse(text)
        for own, key in zip(ring.own(agent), ring.keys, strict=True):
            if hmac.compare_digest(sign_grant(own, ring.site, agent, *granted), answer.grant):
                return sign_grant(key, ring.site, agent, *granted)
        return ""

    def _is_witnessed(self, agent: str, beat: Beat) -> bool:
        """Whether a majority of the voting agents names this list of voters, under this or a later epoch."""
        self._lists[agent] = beat.list, beat.epoch
        voting = self._node.membership.voting_agents
        said = [self._lists[name] for name in voting if name in self._lists]
        same = sum(voters == beat.list and epoch >= beat.epoch for voters, epoch in said)
        return same >= majority(len(voting))
