"""Processes the statements that a server receives from other nodes: what it learns from each of them, and what it
does for each kind of request and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from heartbeat import ballot
from heartbeat.candidate import PREPARED, Candidate, ElectionEvent
from heartbeat.cluster_view import ClusterView, why_non_voting
from heartbeat.death import Death, commitment_of
from heartbeat.decision import What
from heartbeat.detector import Detector
from heartbeat.header import (
    ACTIVE,
    BEAT,
    GRANT,
    HANDOVER,
    HOLDING,
    LEFT,
    PREVOTE,
    PROOF,
    QUERY,
    READY,
    RELEASE,
    STANDBY,
    VOTERS,
    Beat,
)
from heartbeat.heartbeats import Heartbeats
from heartbeat.leader import Leader
from heartbeat.participant import Participant
from heartbeat.proof_renewal import ProofRenewal
from heartbeat.server_role import RoleEvent, ServerRole
from heartbeat.standby import Standby
from heartbeat.switchover import Switchover
from sip.overload.token_bucket import TokenBucket

_MOST_LATE: Final = 5
"""Messages of an earlier start that may come in a row, late or doubled; this many are reported."""

_MOST_REPORTS: Final = 20
_REPORTS_AGAIN: Final = 1 / 60
"""A second; so many reports about one node at once, and then at this rate."""

Take = Callable[["Inbox", Beat, float], None]


class Inbox:
    """Checks the messages that one server receives and passes them to its parts."""

    def __init__(
        self,
        node: Participant,
        cluster: ClusterView,
        detector: Detector,
        role: ServerRole,
        standby: Standby,
        candidate: Candidate,
        leader: Leader,
        heartbeats: Heartbeats,
        switchover: Switchover,
        proof_renewal: ProofRenewal,
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._detector = detector
        self._role = role
        self._standby = standby
        self._candidate = candidate
        self._leader = leader
        self._heartbeats = heartbeats
        self._switchover = switchover
        self._proof_renewal = proof_renewal
        self._outlived: dict[str, int] = {}
        """Server -> number of messages in a row that came from an earlier start of it."""
        self._taken_for_dead = False
        self._reports: dict[str, TokenBucket] = {}
        """Node -> how much of what it says of itself is reported."""
        self._ask_at: dict[str, float] = {}
        """Server -> when it may be sent a QUERY again."""

    def receive(self, beat: Beat, sender: str, now: float) -> bool:
        """Process a message from node ``sender``. Returns whether it was accepted and may have changed something."""
        node, server = self._node, sender in self._cluster.peers
        if not server and sender not in node.membership.agents:
            return node.ignore("no node of the site")
        if not node.is_meant(beat, sender):
            return False
        current = node.knows_our_start(beat)
        if beat.re is None and server and not current and not self._may_be_taken(beat, now):
            return False
        if not node.is_new(beat):
            self._report_outlived(beat, sender, now)
            return False
        self._outlived.pop(sender, None)
        if node.voter.has_ended(beat.start):
            # a late message, or the server lives in spite of it: then it must be told why it is ignored
            if beat.re is None:
                node.answer(beat, now, no="ended")
            return node.ignore("a start that has died")
        if beat.re is not None and not current:
            return node.ignore("answer to an earlier start")
        if beat.re is None and not server:
            # agents send no requests: this statement came with an agent's refusal of a request of a call
            self._learn(beat, now)
            return False
        take = (self._REQUESTS if beat.re is None else self._ANSWERS).get(beat.kind)
        if take is None:
            return node.ignore("unknown kind")
        if current:
            self._learn(beat, now)
        take(self, beat, now)
        return True

    def revealed(self, death: Death, now: float) -> bool:
        """A supervisor reports that a server has died. The report is not signed: it is believed when the hash of its
        secret is the commitment of a start that we know. Returns whether it changed anything."""
        node, cluster, commitment = self._node, self._cluster, commitment_of(death.secret)
        peer = cluster.peers.get(death.node)
        known = [] if peer is None else [peer.led, peer.beat.start if peer.beat is not None else None]
        start = next((one for one in known if one is not None and one.commitment == commitment), None)
        if start is None or death.site != node.membership.site:
            return node.ignore("a death of nobody")
        if node.voter.has_ended(start):
            return False
        node.voter.end(death.secret)  # on disk with what the voter decides next
        led = cluster.learn_death(death, start)
        if peer is None or peer.death is None:
            return False  # it had left, or has been started again already
        if led:
            self._standby.judged(self._detector.reveal(death.how), now)
            self._candidate.hurry(now)
        else:
            said = f"{death.node} is dead: its supervisor saw it end {death.how}"
            node.outbox.decide(What.DEAD, said, now, node=death.node)
        return True

    def _may_be_taken(self, beat: Beat, now: float) -> bool:
        """Whether to process a request that does not name our present start. It may be recorded and replayed by
        anybody, so it proves nothing about its sender, who is sent a QUERY. Requests other than heartbeats that
        name no start at all are answered all the same: the sender may not know ours yet, or has an older version."""
        node, timing = self._node, self._node.membership.timing
        if now >= self._ask_at.get(beat.node, now):
            self._ask_at[beat.node] = now + timing.interval / 2
            node.outbox.ask(beat.node, QUERY, for_incarnation=beat.incarnation)
        if beat.for_incarnation:
            return node.ignore("meant for an earlier start")
        return beat.kind not in (BEAT, PROOF) or node.ignore("not known to be new")

    def _report_outlived(self, beat: Beat, sender: str, now: float) -> None:
        """Report once when all messages of another server come from an earlier start of it: nothing else shows that
        it is not heard."""
        last = self._node.incarnation_of(sender)
        if sender not in self._cluster.peers or beat.node != sender or beat.incarnation >= last:
            return
        refused = self._outlived[sender] = self._outlived.get(sender, 0) + 1
        if refused == _MOST_LATE:
            said = (
                f"{sender} is not heard: it says that this is its start {beat.incarnation}, after {last}: it runs"
                f" from an old epoch file, or lost its file while its clock was behind; stop it, set its clock, move"
                f" the file away and start it again"
            )
            self._node.outbox.decide(What.REFUSED, said, now, node=sender)

    def _learn(self, beat: Beat, now: float) -> None:
        node, cluster, name = self._node, self._cluster, beat.node
        if cluster.learn(beat) and node.membership.runs_another_file(beat.config):
            said = f"{name} runs from another site file ({beat.config}, ours is {node.membership.config})"
            self._report(What.DRIFT, said, name, now)
        if name in cluster.peers:
            self._learn_server(beat, now)
        else:
            cluster.learn_agent(name, now)
            self._role.learn_leader(beat.epoch, beat.leader, now)
            if beat.leader and beat.heard is not None and beat.leader == self._detector.subject:
                self._detector.witness(name, beat.heard, now)
        if beat.re is not None:
            cluster.clocks.answered(name, beat.re[1], beat.clock, now)
        if said := cluster.learn_disk(beat):
            self._report(What.DISK, said, name, now)
        if cluster.learn_vote(beat, node.voter.state.voters.names):
            self._report(What.NO_VOTE, why_non_voting(name, name in cluster.voting), name, now)

    def _report(self, what: What, said: str, sender: str, now: float) -> None:
        """Report what a node says of itself, at a limited rate: it may say the opposite in each of its statements,
        and the history and the log are not to be filled with that."""
        reports = self._reports.get(sender)
        if reports is None:
            reports = self._reports[sender] = TokenBucket(_REPORTS_AGAIN, _MOST_REPORTS, now)
        if reports.take(now):
            self._node.outbox.decide(what, said, now, node=sender)

    def _learn_server(self, beat: Beat, now: float) -> None:
        timing = self._node.membership.timing
        self._cluster.learn_server(beat, 3 * max(timing.slow_interval, timing.interval), now)
        if beat.state in (ACTIVE, HOLDING):
            self._role.learn_leader(beat.epoch, beat.node, now)
        elif beat.leader and beat.leader != beat.node:
            self._role.learn_leader(beat.epoch, beat.leader, now)
        if beat.node == self._detector.subject:
            self._standby.judged(self._detector.hear(beat.state, now), now)

    def _heartbeat(self, beat: Beat, now: float) -> None:
        node, no = self._node, ""
        if beat.node == self._detector.subject:
            self._detector.expect(beat.interval)
        if beat.proof:
            double_votes = self._role.double_votes
            for voter in double_votes.compare(beat.proof, node.membership.keys):
                node.outbox.decide(What.VOTED_TWICE, double_votes.found[voter], now, node=voter)
        node.offered(beat, now)
        if beat.state in (ACTIVE, HOLDING):
            no = node.voter.hear(beat, now)
        elif beat.state == LEFT and self._role.state == STANDBY and beat.node == self._detector.subject:
            node.voter.release(beat.start, beat.epoch)
        node.answer(beat, now, no=no)

    def _query(self, query: Beat, now: float) -> None:
        self._node.answer(query, now)

    def _prevote(self, ask: Beat, now: float) -> None:
        ballot.answer_prevote(self._node, ask, now)

    def _vote_request(self, request: Beat, now: float) -> None:
        node = self._node
        ballot.answer_request(node, request, now)
        self._role.meet_promise(node.voter.state.promised_to_others(node.start), node.name, now)

    def _release(self, beat: Beat, now: float) -> None:
        self._node.voter.release(beat.start, beat.for_epoch)
        self._node.answer(beat, now)
        if beat.node != self._detector.subject or beat.for_epoch < self._cluster.epoch:
            return
        self._standby.judged(self._detector.release(), now)
        self._candidate.step(ElectionEvent.RELEASED, now)

    def _handover(self, beat: Beat, now: float) -> None:
        """The leader asks us to take over: it releases its lease when a quorum would elect us."""
        node, candidate = self._node, self._candidate
        if self._role.state != STANDBY:
            node.answer(beat, now, no=self._role.state)
            return
        if candidate.election is None:
            self._role.start_election(f"{beat.node} hands over", now, planned=True)
        elif candidate.phase == PREPARED:
            node.outbox.ask(beat.node, READY, for_epoch=beat.for_epoch)
        node.answer(beat, now, no="no-list" if candidate.election is None else "")

    def _ready(self, beat: Beat, now: float) -> None:
        """The server to which we hand over would win a quorum once our lease is released: release it."""
        switchover = self._switchover
        due = beat.node == switchover.to and beat.for_epoch == self._leader.epoch
        self._node.answer(beat, now, no="" if due else "not-now")
        if due:
            self._role.step(RoleEvent.RELEASED, f"{switchover.to} takes over, {switchover.because}", now)

    def _list(self, beat: Beat, now: float) -> None:
        self._node.list_told(beat, now)

    _REQUESTS: ClassVar[Mapping[str, Take]] = {
        BEAT: _heartbeat,
        PROOF: _heartbeat,
        QUERY: _query,
        PREVOTE: _prevote,
        GRANT: _vote_request,
        RELEASE: _release,
        HANDOVER: _handover,
        READY: _ready,
        VOTERS: _list,
    }

    def _heartbeat_answered(self, answer: Beat, now: float) -> None:
        leader, role = self._leader, self._role
        if not leader.epoch:
            return
        quiet = not leader.quorum_answers(now)
        if leader.answered(answer):
            role.count(now)
            if quiet and role.state == HOLDING and leader.quorum_answers(now):
                self._heartbeats.hurry(now)
        if answer.no == "ended" and not self._taken_for_dead:
            self._taken_for_dead = True
            said = (
                f"{answer.node} takes this start of {self._node.name} for dead: its secret was revealed; restart"
                f" {self._node.name}, and see that nothing else runs under its name"
            )
            self._node.outbox.decide(What.REFUSED, said, now, node=answer.node)
        role.meet_promise(answer.promised_to_others, answer.node, now)

    def _vote_answered(self, answer: Beat, now: float) -> None:
        self._candidate.answered(answer, now)
        if answer.kind == GRANT:
            self._proof_renewal.answered(answer)

    def _release_answered(self, answer: Beat, now: float) -> None:
        self._leader.release_answered(answer.node)

    def _handover_answered(self, answer: Beat, now: float) -> None:
        self._switchover.answered(answer)

    def _list_answered(self, answer: Beat, now: float) -> None:
        self._role.meet_promise(answer.promised_to_others, answer.node, now)

    def _only_learnt_from(self, answer: Beat, now: float) -> None:
        """Nothing to do: ``_learn`` has processed the answer already."""

    _ANSWERS: ClassVar[Mapping[str, Take]] = {
        BEAT: _heartbeat_answered,
        PROOF: _heartbeat_answered,
        QUERY: _only_learnt_from,
        PREVOTE: _vote_answered,
        GRANT: _vote_answered,
        RELEASE: _release_answered,
        HANDOVER: _handover_answered,
        READY: _only_learnt_from,
        VOTERS: _list_answered,
    }
