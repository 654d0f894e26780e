"""The leadership of one server: its epoch, its lease, and the nodes that do not follow it yet.

A leader whose lease has ended is ``holding``. When a voter has promised a higher epoch to another server, the leader
is *superseded*: answers to its present epoch cannot bring the lease back, only a new epoch can.
"""

from __future__ import annotations

from typing import Any, Final

from heartbeat.cluster_view import ClusterView
from heartbeat.election import Election
from heartbeat.header import ACTIVE, HOLDING, NON_VOTING, PROOF, RELEASE, Beat
from heartbeat.lease import NEVER, Lease
from heartbeat.participant import Participant
from heartbeat.proof import Proof

FOREVER: Final = float("inf")


class Leader:
    """The leadership of one server; ``epoch`` 0: it does not lead."""

    def __init__(self, node: Participant, cluster: ClusterView) -> None:
        self.epoch = 0
        self.forced = False
        """Whether it leads by an operator's order, without a quorum."""
        self.superseded = False
        """Whether a voter has promised a higher epoch to another server."""
        self.lease_until = NEVER
        """The end of the lease, when it must stop to act; minus infinity without a lease, infinity where none is
        needed."""
        self.began_at = NEVER
        self.released = 0
        """The highest epoch that we have released."""
        self._node = node
        self._cluster = cluster
        self.lease = self._new_lease()
        self._proof_text = ""
        self._unproved: set[str] = set()
        """The nodes that have not said yet that they follow us; their heartbeats carry the proof."""
        self._release_to: set[str] = set()

    def _new_lease(self) -> Lease:
        node = self._node
        timing, voters = node.membership.timing, node.voter.state.voters
        return Lease(timing.lease, voters, node.quorum, node.membership.agents)

    def begin(self, epoch: int, forced: bool, election: Election | None, now: float) -> None:
        """Begin to lead under ``epoch``. The grants of ``election`` are the first answers counted for the lease."""
        self.epoch, self.forced, self.superseded = epoch, forced, False
        self.began_at = now
        self.lease = self._new_lease()
        for voter, grant in election.grants.items() if election is not None else ():
            self.lease.count(voter, grant.sent_at, True)
        self.lease_until = FOREVER if forced else self.lease.until
        self._unproved = set(self._everyone())
        self._proof_text = self._node.proof.text if self._node.proof is not None else ""
        self._release_to.clear()

    def renew_proof(self, proof: Proof) -> None:
        """Send ``proof`` of this epoch from now on, instead of the former one."""
        self._node.proof, self._proof_text = proof, proof.text

    def hold(self) -> None:
        """The lease has ended."""
        self.lease_until = NEVER

    def supersede(self) -> None:
        """A voter promised a higher epoch: only a new epoch can bring the lease back."""
        self.superseded = True

    def resume(self) -> None:
        """The lease is valid again."""
        self.lease_until = self.lease.until

    def end(self) -> None:
        """Lead no longer."""
        self.epoch, self.forced, self.lease_until = 0, False, NEVER

    def release(self) -> None:
        """Release the epoch for ever, and lead no longer."""
        self.released = self.epoch
        self._node.voter.release(self._node.start, self.epoch)
        self._release_to = set(self._everyone())
        self.end()

    def tell_release(self) -> None:
        """Tell each node of the release, again until it has answered or a higher epoch is known."""
        if self._release_to and self._cluster.epoch > self.released:
            self._release_to.clear()
        for name in sorted(self._release_to):
            self._node.outbox.ask(name, RELEASE, for_epoch=self.released)

    def release_answered(self, node: str) -> None:
        """``node`` has confirmed our release."""
        self._release_to.discard(node)

    def _everyone(self) -> tuple[str, ...]:
        return (*self._cluster.others, *self._node.membership.agents)

    def may_act(self, now: float) -> bool:
        """Whether the lease is valid at this instant."""
        return now < self.lease_until

    def is_beaten_by(self, epoch: int) -> bool:
        """Whether a voter that promised ``epoch`` to another server can no longer support our epoch."""
        return bool(self.epoch) and epoch > self.epoch and not self.forced

    def needs(self, voter: str, now: float) -> bool:
        """Whether the lease would be over without the answers of ``voter``."""
        return self.lease.until_without(voter) <= now

    def quorum_answers(self, now: float) -> bool:
        """Whether a quorum has answered heartbeats of this leadership lately, also those sent while holding."""
        return self.lease.regarded_until > now

    def answered(self, answer: Beat) -> bool:
        """Process the answer to a heartbeat of ours. Returns whether it counts for the lease."""
        node = answer.node
        if answer.epoch == self.epoch and (answer.leader == self._node.name or node in self._cluster.peers):
            self._unproved.discard(node)
        elif answer.epoch < self.epoch:
            self._unproved.add(node)
        if answer.no or NON_VOTING in answer.flags or answer.re is None:
            return False
        self.lease.answered(node, answer.re[1])
        return True

    def count(self, state: str, now: float) -> bool:
        """Extend the lease by the answers counted so far. Returns whether a lease that had ended is valid again."""
        if self.superseded:
            return False
        if self.forced and now >= self.began_at + self._node.membership.timing.silence:
            # only now is the lease surely over that our voters may have given to a former leader
            self.forced = self.lease.until <= now
        if state == ACTIVE and not self.forced:
            self.lease_until = self.lease.until
        return state == HOLDING and self.lease.until > now

    def follow_list(self, now: float) -> None:
        """Count answers by the present list of voters from now on."""
        self.lease.change(self._node.voter.state.voters, self._node.quorum, self._node.membership.agents)

    def answering(self, now: float) -> str:
        """The names of the voters whose answers still count for the lease."""
        return ", ".join(self.lease.answering(now))

    def why_no_lease(self, now: float) -> str:
        """Why the lease ended, as a sentence."""
        names, fresh = self.lease.voters.names, self.lease.answering(now)
        non_voting = [f"; {name} has no vote" for name in names if name in self._cluster.non_voting]
        return (
            f"only {len(fresh)} of {len(names)} voters answer"
            f" ({', '.join(fresh) or 'none'}), {self.lease.quorum} are needed{''.join(non_voting)}"
        )

    def announces(self, state: str, now: float) -> str:
        """The state that heartbeats name. A holding server that a quorum answers says ``active``, since only answers
        to such heartbeats renew the lease."""
        return ACTIVE if state == HOLDING and not self.superseded and self.quorum_answers(now) else state

    def send(self, to: str, kind: str, state: str, now: float, **more: Any) -> None:
        """Send a heartbeat to ``to``, with the proof if that node does not follow us yet. Its answer counts for the
        lease."""
        announced = self.announces(state, now)
        more["interval"] = self._node.membership.timing.interval
        if self.epoch:
            more["lease"] = self.lease.length
            if to in self._unproved:
                kind, more["proof"] = PROOF, self._proof_text
        beat = self._node.outbox.ask(to, kind, state=announced, **more)
        self._cluster.clocks.sent(to, beat.seq, now)
        if self.epoch and to in self.lease.voters.names:
            self.lease.sent(beat.seq, to, announced == ACTIVE, now)

    @property
    def votes_itself(self) -> bool:
        """Whether our own vote counts for our lease."""
        return bool(self.epoch) and self._node.name in self.lease.voters.names and self._node.voter.has_vote
