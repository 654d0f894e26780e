"""An agent's part: which server it obeys, and what it grants. An agent obeys exactly one server at a time.

`AgentVoter` needs no timer of its own: it answers. ``obeys`` is asked for each request and costs two comparisons.
"""

from __future__ import annotations

from heartbeat import ballot
from heartbeat.decision import Action, Decision, What
from heartbeat.header import (
    ACTIVE,
    AGENT,
    BEAT,
    GRANT,
    HANDOVER,
    HOLDING,
    PREVOTE,
    PROOF,
    QUERY,
    READY,
    RELEASE,
    VOTERS,
    Beat,
)
from heartbeat.membership import Membership
from heartbeat.participant import Participant
from heartbeat.persistent_state import Leadership, PersistentState


class AgentVoter:
    """One agent. ``membership.servers`` are the only ones whose word counts."""

    def __init__(self, name: str, membership: Membership, state: PersistentState, now: float) -> None:
        self.participant = Participant(
            name, membership, state, lambda: AGENT, lambda leader, now: self.silent_for(now), now
        )
        self._told_non_voting = False
        self._heard_at: float | None = None

    @property
    def leadership(self) -> Leadership:
        """Whom this agent obeys: the highest proved epoch on disk, or in memory while the disk takes nothing. Epoch 0
        and no name: nobody yet."""
        return self.participant.outbox.leadership

    @property
    def released(self) -> bool:
        """Whether the server that was heard last let go of its epoch."""
        heard = self.participant.voter.heard
        return heard is not None and heard.released

    def obeys(self, node: str, epoch: int) -> bool:
        """Whether a request that ``node`` sent under ``epoch`` may act on this agent's lines; otherwise 403."""
        leadership = self.participant.outbox.leadership
        return epoch == leadership.epoch and node == leadership.node

    def refusal(self, node: str, epoch: int) -> str:
        """Why such a request is refused, as a sentence; empty when it is not."""
        name, leadership = self.participant.name, self.leadership
        if self.obeys(node, epoch):
            return ""
        if not leadership.node:
            return f"{name} obeys no server yet: none has brought a proof"
        return f"{name} obeys {leadership.node} under epoch {leadership.epoch}, not {node} under epoch {epoch}"

    def silent_for(self, now: float) -> float | None:
        """Seconds since the obeyed server was last heard to be active; None: never since our start."""
        return None if self._heard_at is None else now - self._heard_at

    def receive(self, beat: Beat, sender: str, now: float) -> None:
        """``beat`` is verified; ``sender`` is who the connection belongs to."""
        node = self.participant
        if beat.re is not None or sender not in node.membership.servers:
            node.ignore("no server of the site")
            return
        if not node.is_meant(beat, sender) or not node.is_new(beat):
            return
        if beat.kind in (BEAT, PROOF):
            self._heartbeat(beat, now)
        elif beat.kind == PREVOTE:
            ballot.answer_prevote(node, beat, now)
        elif beat.kind == GRANT:
            ballot.answer_request(node, beat, now)
        elif beat.kind == RELEASE:
            node.voter.release(beat.start, beat.for_epoch)
            node.answer(beat, now)
        elif beat.kind == VOTERS:
            node.list_told(beat, now)
        elif beat.kind == QUERY:
            node.answer(beat, now)
        elif beat.kind in (HANDOVER, READY):
            node.answer(beat, now, no="agent")
        else:
            node.ignore("unknown kind")

    def handle_timer(self, now: float) -> None:
        """Nothing is due, ever; here for the one contract of all cores."""

    def get_timer(self) -> float | None:
        """None, always."""
        return None

    def to_do(self) -> list[Action]:
        """What is to be done outside, in order; the list is handed over."""
        return self.participant.outbox.to_do()

    def next_event(self) -> Decision | None:
        """The next decision. ``ADOPTED``: another leadership than before is on disk."""
        return self.participant.outbox.next_event()

    def persisted(self, state: PersistentState, now: float) -> None:
        """``state`` is on disk; what waited for it may leave."""
        outbox = self.participant.outbox
        before = outbox.leadership
        outbox.persisted(state, now)
        if outbox.leadership != before:
            self._adopted(outbox.leadership, now)
        outbox.release(now)

    def not_persisted(self, state: PersistentState, because: str, now: float) -> None:
        """``state`` could not be written: what waited for it is never said. A server that proved itself is obeyed all
        the same: by that nobody wins a vote, and the calls of this agent need it."""
        outbox, adopted = self.participant.outbox, self.participant.voter.state.leadership
        outbox.not_persisted(state, because, now)
        if adopted.epoch > outbox.leadership.epoch:
            outbox.leadership = adopted
            self._adopted(adopted, now)

    def reload(self, membership: Membership) -> None:
        """Live by a changed site file."""
        self.participant.reload(membership)

    def _adopted(self, leadership: Leadership, now: float) -> None:
        node, epoch = self.participant, leadership.epoch
        proof = node.proof if node.proof is not None and node.proof.epoch == epoch else None
        if leadership.forced or proof is None:
            by = "an operator's force"
        else:
            by = f"{len(proof.grants)} of {len(proof.voters.names)} voters"
        said = f"{node.name} obeys {leadership.node} under epoch {epoch}, by the word of {by}"
        if node.has_no_disk:
            said += "; only in memory, since its disk takes nothing, and without a vote"
        node.outbox.decide(What.ADOPTED, said, now, epoch=epoch, node=leadership.node, proof=proof)

    def _heartbeat(self, beat: Beat, now: float) -> None:
        node, voter = self.participant, self.participant.voter
        node.offered(beat, now)
        if beat.state not in (ACTIVE, HOLDING):
            node.answer(beat, now)
            return
        no = voter.hear(beat, now)
        leadership = voter.state.leadership
        if not no and beat.state == ACTIVE and (beat.node, beat.epoch) == (leadership.node, leadership.epoch):
            self._heard_at = now
        if voter.state.non_voting and node.name in voter.state.voters.names and not self._told_non_voting:
            self._told_non_voting = True
            said = (
                f"{node.name} has no vote yet: it started without an epoch file; the active server gives it one, or,"
                f" if it had one before, `b2bua readmit {node.name}`"
            )
            node.outbox.decide(What.NO_VOTE, said, now)
        node.answer(beat, now, no=no)
