"""Renews the proof of our epoch after a change of the site key: an agent that is new, or has lost its file, can
verify only a proof signed with the present key.

A voter that granted or adopted an epoch signs it again when the leader asks. Nothing can be won by that, since an
epoch belongs to one start of one server for ever (``voter``).
"""

from __future__ import annotations

from typing import Any

from heartbeat.header import GRANT, Beat
from heartbeat.leader import Leader
from heartbeat.participant import Participant
from heartbeat.proof import FORCED, Proof, VoterList, sign_grant


class ProofRenewal:
    """Keeps the proof of a server's epoch valid under the present key; a server has one object of this."""

    def __init__(self, node: Participant, leader: Leader, now: float) -> None:
        self._node = node
        self._leader = leader
        self._good: Proof | None = None
        """The proof that was last found valid; ``_by``: the key by which."""
        self._by = b""
        self._ask_at = now
        self._signatures: dict[str, str] = {}
        """Voter -> its grant of our epoch on the list of voters below, signed with the present key."""
        self._voters = VoterList()

    def tend(self, now: float) -> None:
        """Ask the voters for new signatures while our proof is not valid by the present key. Called once for each
        round of heartbeats."""
        node, leader = self._node, self._leader
        proof, key = node.proof, self._key
        if not leader.epoch or leader.superseded or proof is None or now < self._ask_at:
            return
        if proof is self._good and key == self._by:
            return
        if not proof.fault((key,), node.membership.site):
            self._good, self._by = proof, key
            self._signatures.clear()
            return
        self._ask_at = now + node.membership.timing.slow_interval
        if proof.forced:
            self._take(proof.voters, {FORCED: self._signed_by(FORCED, proof.voters)})
            return
        voters = node.on_disk.voters
        if voters != self._voters:
            self._voters, self._signatures = voters, {}
        if node.voter.has_vote:
            self._signatures[node.name] = self._signed_by(node.name, voters)
        fields: dict[str, Any] = {"for_epoch": leader.epoch, "list": voters.text, "lease": leader.lease.length}
        for name in voters.names:
            if name != node.name:
                node.outbox.ask(name, GRANT, **fields)

    def answered(self, answer: Beat) -> None:
        """Process a voter's answer: take its new signature, if it has one."""
        node, leader, voters = self._node, self._leader, self._voters
        named = answer.node in voters.names
        if not leader.epoch or answer.for_epoch != leader.epoch or not named or voters != node.on_disk.voters:
            return
        if answer.grant != self._signed_by(answer.node, voters):
            return  # it does not sign with the new key yet, or lives by another list
        self._signatures[answer.node] = answer.grant
        deciding = len(self._signatures) >= node.quorum
        if deciding and not self._signatures.keys().isdisjoint(node.membership.agents):
            self._take(voters, self._signatures)

    @property
    def _key(self) -> bytes:
        return self._node.membership.keys[0] if self._node.membership.keys else b""

    def _signed_by(self, voter: str, voters: VoterList) -> str:
        node = self._node
        return sign_grant(
            self._key, node.membership.site, voter, self._leader.epoch, node.name, node.on_disk.incarnation, voters
        )

    def _take(self, voters: VoterList, signatures: dict[str, str]) -> None:
        node = self._node
        grants = tuple(sorted(signatures.items()))
        self._leader.renew_proof(Proof(self._leader.epoch, node.name, node.on_disk.incarnation, voters, grants))
