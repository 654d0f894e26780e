"""The candidate's side of an election: a pre-vote asks the voters whether they would grant an epoch, then a vote
request asks them to grant it.

Elections are held by a stand-by, and by a leader that met a voter's promise of a higher epoch; so they have a state
machine of their own, beside that of the role (``server_role``). A lost pre-vote has no effect on anybody: epochs are
granted only after a won one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, ClassVar, Final

from heartbeat import ballot
from heartbeat.cluster_view import ClusterView
from heartbeat.decision import What
from heartbeat.election import Election, Grant
from heartbeat.header import AS_IF_RELEASED, FIRST, GRANT, PREVOTE, READY, Beat
from heartbeat.participant import Participant
from heartbeat.persistent_state import Leadership
from heartbeat.state_machine import StateMachine

SLOW_DISK: Final = 2.0
"""Least time in seconds that a vote request waits for answers: voters first write their grants to disk."""
_SELDOM: Final = 10.0
"""Seconds between two reports on an election that lasts."""

IDLE: Final = "none"
ASKING: Final = "prevote"
PREPARED: Final = "ready"
REQUESTING: Final = "requesting"
WON: Final = "won"


class ElectionEvent(Enum):
    """The events of an election; the values are for the log."""

    BEGUN = "there is reason"
    DUE = "time to ask again"
    AGREED = "a quorum would grant"
    AGREED_IF_RELEASED = "a quorum would grant after a release"
    RELEASED = "the leader released its lease"
    GRANTED = "a quorum granted"
    REFUSED = "no quorum granted"
    CALLED_OFF = "called off"
    OVERRULED = "another server leads"
    CONCLUDED = "nothing is wanted any more"


class Candidate:
    """The elections of one server, one at a time."""

    def __init__(self, node: Participant, cluster: ClusterView, rng: random.Random, now: float) -> None:
        self.election: Election | None = None
        self._node = node
        self._cluster = cluster
        self._rng = rng
        self._phase: StateMachine[Callable[[Candidate, Election, float], None]]
        self._phase = StateMachine(f"{node.name}'s election", self.TABLE, IDLE)
        self._started_at = now
        self._leadership = Leadership()
        """The leadership that we followed when the voters were last asked."""
        self._told = ""
        """The interim outcome that was last reported to operators; ``_tell_at``: when the next may be."""
        self._tell_at = now

    @property
    def phase(self) -> str:
        """The state of the election; ``none``: there is none."""
        return self._phase.state

    @property
    def retry_at(self) -> float:
        """When ``handle_timer`` is due; infinity without an election."""
        return float("inf") if self.election is None else self.election.retry_at

    def start(self, because: str, slack: float, now: float, planned: bool = False, renewal: bool = False) -> None:
        """Start an election. The list of voters must be known, and no other election may be going on.

        ``because``: the reason, as a sentence; ``slack``: seconds that are added to the waits that voters name;
        ``planned``: for a switchover that the leader asked for; ``renewal``: of a leader, for a new epoch.
        """
        node, timing = self._node, self._node.membership.timing
        first = node.voter.state.first
        self.election = Election(because, node.membership.agents, now, planned, renewal, slack, wait_for_more=first)
        self._told, self._tell_at = "", now + timing.silence + timing.lease
        node.outbox.decide(What.ASKING, f"{node.name} asks for votes: {because}", now)
        self.step(ElectionEvent.BEGUN, now)

    def step(self, event: ElectionEvent, now: float) -> None:
        """Process an event by ``TABLE``."""
        action = self._phase.step(event)
        if action is not None and self.election is not None:
            action(self, self.election, now)

    def call_off(self, because: str, now: float) -> None:
        """End the election without a result, for the reason given as a sentence."""
        self._node.outbox.decide(What.CALLED_OFF, because, now)
        self.step(ElectionEvent.CALLED_OFF, now)

    def hurry(self, now: float) -> None:
        """Ask the voters again at once: something became known that may change their answers."""
        if self.election is not None:
            self.election.hurry(now)

    def handle_timer(self, objection: str, leader_dead: bool, now: float) -> str:
        """Ask again when that is due. ``objection``: why the election is not wanted any more, or empty.

        Returns the reason to lead without a quorum, or empty: it is given when none can be reached and the site file
        allows it (``takeover_without_quorum``).
        """
        election, node, timing = self.election, self._node, self._node.membership.timing
        if election is None or now < election.retry_at:
            return ""
        if self.phase == ASKING:
            late = now >= election.began_at + timing.switchover_limit
            if election.planned and late:
                self.call_off(f"{node.name} is not ready to take over: {election.outcome}", now)
            elif objection and not election.planned and not election.renewal:
                self.call_off(f"{node.name} stops asking for votes: {objection}", now)
            elif leader_dead and self._may_lead_without_quorum(election, now):
                return f"{election.because}, no quorum answers, and the site file allows it"
            else:
                self._report_lacking(election, now)
                self.step(ElectionEvent.DUE, now)
        elif self.phase == PREPARED:
            self.call_off(f"{node.name} was ready, but {self._cluster.leader} did not let go", now)
        elif self.phase == REQUESTING and (
            now >= election.round_at + max(timing.lease, SLOW_DISK) or election.is_lost
        ):
            self.step(ElectionEvent.REFUSED, now)
        else:
            self.step(ElectionEvent.DUE, now)
        return ""

    def answered(self, answer: Beat, now: float) -> None:
        """A voter answered a pre-vote or a vote request."""
        if answer.no == "voters":
            self._node.learn_list(answer)
        election = self.election
        if election is None:
            return
        election.answered(answer, now)
        if self.phase == ASKING:
            self._count_prevote(election, now)
        elif self.phase == REQUESTING:
            self._count_grants(election, now)

    def _ask_voters(self, election: Election, now: float) -> None:
        node, voters = self._node, self._node.voter.state.voters
        self._leadership = node.voter.state.leadership
        retry_at = now + node.membership.timing.interval * (1 + 0.1 * self._rng.random())
        election.prevote(self._cluster.next_epoch(node.voter.state), voters, node.quorum, retry_at, now)
        own = self._poll(election, PREVOTE, now)
        if own is not None:
            vote = ballot.judge(node, own, now)
            if vote:
                election.agreed(node.name)
            else:
                election.refused(node.name, replace(own, no=vote.no, wait=vote.wait))

    def _report_ready(self, election: Election, now: float) -> None:
        node, cluster = self._node, self._cluster
        election.retry(now + node.membership.timing.switchover_limit)
        node.outbox.decide(What.READY, f"{node.name} would have a quorum: {election.outcome}", now)
        node.outbox.ask(cluster.leader, READY, for_epoch=cluster.epoch)

    def _request_votes(self, election: Election, now: float) -> None:
        node, epoch = self._node, election.epoch
        said = f"{node.name} requests votes for epoch {epoch}: {election.because}; {election.outcome}"
        node.outbox.decide(What.TAKING_OVER, said, now, epoch=epoch, node=self._cluster.leader)
        election.request_votes(now + node.membership.timing.interval / 2, now)
        self._request(election, now)

    def _repeat_request(self, election: Election, now: float) -> None:
        election.repeat_request(now + self._node.membership.timing.interval / 2)
        self._request(election, now)

    def _request(self, election: Election, now: float) -> None:
        if self._node.voter.state.leadership != self._leadership:
            # the list of voters may have changed with it: our old list, sent with the new epoch, would look as if it
            # were the new leader's
            self.step(ElectionEvent.REFUSED, now)
            return
        own = self._poll(election, GRANT, now)
        if own is not None:
            self._request_own_vote(election, own, now)

    def _request_own_vote(self, election: Election, request: Beat, now: float) -> None:
        node = self._node
        vote = ballot.grant(node, request, now)
        if not vote:
            election.refused(node.name, replace(request, no=vote.no, wait=vote.wait))
            return
        signature = node.voter.signature(request, node.membership.keys[0])
        grant = Grant(signature, now, node.voter.state.promised_to_others(node.start))

        def count(later: float) -> None:
            if self.election is election and self.phase == REQUESTING and election.epoch == request.for_epoch:
                election.granted(node.name, grant)
                self._count_grants(election, later)

        node.when_durable(count, now)

    def _back_off(self, election: Election, now: float) -> None:
        """The vote request failed: ask again with a higher epoch, after a random time (longer for a server that is
        not preferred)."""
        node, interval = self._node, self._node.membership.timing.interval
        said = f"{node.name} did not win epoch {election.epoch}: {election.outcome}"
        node.outbox.decide(What.CALLED_OFF, said, now)
        self._cluster.promise(max(election.epoch, election.highest_promise))
        late = 0.0 if node.name == node.membership.preferred else interval
        election.give_up_epoch(now + late + interval * (0.2 + self._rng.random()), now)

    def _offer_proof(self, election: Election, now: float) -> None:
        node = self._node
        proof = election.proof(node.name, node.on_disk.incarnation)
        fault = node.offer(proof, now, commitment=node.start.commitment)
        if fault:
            self.call_off(f"{node.name} won nothing: {fault}", now)

    def _ask_disk_again(self, election: Election, now: float) -> None:
        """The epoch is won but not on disk yet: ask the disk again, without limit."""
        election.retry(now + self._node.membership.timing.interval)
        self._node.outbox.persist(self._node.voter.state)

    def _end(self, election: Election, now: float) -> None:
        self.election = None

    TABLE: ClassVar[dict[tuple[str, Enum], tuple[str, Callable[[Candidate, Election, float], None]]]] = {
        (IDLE, ElectionEvent.BEGUN): (ASKING, _ask_voters),
        (ASKING, ElectionEvent.DUE): (ASKING, _ask_voters),
        (ASKING, ElectionEvent.AGREED): (REQUESTING, _request_votes),
        (ASKING, ElectionEvent.AGREED_IF_RELEASED): (PREPARED, _report_ready),
        (ASKING, ElectionEvent.CALLED_OFF): (IDLE, _end),
        (ASKING, ElectionEvent.OVERRULED): (IDLE, _end),
        (ASKING, ElectionEvent.CONCLUDED): (IDLE, _end),
        (PREPARED, ElectionEvent.RELEASED): (REQUESTING, _request_votes),
        (PREPARED, ElectionEvent.CALLED_OFF): (IDLE, _end),
        (PREPARED, ElectionEvent.OVERRULED): (IDLE, _end),
        (PREPARED, ElectionEvent.CONCLUDED): (IDLE, _end),
        (REQUESTING, ElectionEvent.DUE): (REQUESTING, _repeat_request),
        (REQUESTING, ElectionEvent.GRANTED): (WON, _offer_proof),
        (REQUESTING, ElectionEvent.REFUSED): (ASKING, _back_off),
        (REQUESTING, ElectionEvent.CALLED_OFF): (IDLE, _end),
        (REQUESTING, ElectionEvent.OVERRULED): (IDLE, _end),
        (REQUESTING, ElectionEvent.CONCLUDED): (IDLE, _end),
        (WON, ElectionEvent.DUE): (WON, _ask_disk_again),
        (WON, ElectionEvent.CALLED_OFF): (IDLE, _end),
        (WON, ElectionEvent.CONCLUDED): (IDLE, _end),
    }

    def _poll(self, election: Election, kind: str, now: float) -> Beat | None:
        """Send a pre-vote or vote request to every voter that has not granted the epoch. When we vote ourselves, the
        request to us is returned instead of sent."""
        node, names = self._node, election.voters.names
        first = (FIRST,) if node.voter.state.first else ()
        flags = (*first, *((AS_IF_RELEASED,) if election.planned else ()))
        fields: dict[str, Any] = {"for_epoch": election.epoch, "list": election.voters.text, "flags": flags}
        fields["deaths"] = self._cluster.deaths
        if kind == GRANT:
            fields["lease"] = node.membership.timing.lease
        for voter in names:
            if voter != node.name and voter not in election.grants:
                election.asked(node.outbox.ask(voter, kind, **fields).seq, voter, now)
        if node.name not in names or node.name in election.grants:
            return None
        return node.stamp(node.name, kind=kind, **fields)

    def _count_prevote(self, election: Election, now: float) -> None:
        timing, names = self._node.membership.timing, election.voters.names
        if election.wins_prevote(self._needed(election, now)):
            # soon after our own start some voters may not be connected to us yet: all count as present
            new = now < self._started_at + timing.silence
            present = set(names) if new else self._cluster.present(names, now - 2 * timing.interval)
            if not election.waits_for(present, now, timing.silence):
                event = ElectionEvent.AGREED_IF_RELEASED if election.planned else ElectionEvent.AGREED
                self.step(event, now)
        elif election.highest_promise >= election.epoch:
            election.hurry(now + timing.interval / 10)

    def _count_grants(self, election: Election, now: float) -> None:
        if election.wins():
            self.step(ElectionEvent.GRANTED, now)

    def _needed(self, election: Election, now: float) -> set[str]:
        """The voters whose yes is required, besides a quorum, within ``hold_down`` seconds of the last takeover: all
        that were heard within a lease, but not the leader that is to be replaced. Nobody when that is known to
        have died."""
        node, cluster = self._node, self._cluster
        automatic = not election.renewal and not election.planned and not cluster.leader_died
        if not automatic or now >= cluster.changed_at + node.membership.hold_down:
            return set()
        names = election.voters.names
        needed = cluster.present(names, now - node.membership.timing.lease) | ({node.name} & set(names))
        return needed - {cluster.leader}

    def _may_lead_without_quorum(self, election: Election, now: float) -> bool:
        """Whether ``takeover_without_quorum`` allows to lead now: only while fewer voters answer than a quorum has. A
        quorum that answers no is respected."""
        membership = self._node.membership
        timeout = membership.timing.silence + membership.timing.lease
        return (
            membership.takeover_without_quorum
            and not election.renewal
            and now >= election.began_at + timeout
            and len(election.yes | election.refusals.keys()) < election.quorum
        )

    def _report_lacking(self, election: Election, now: float) -> None:
        """Report what an election that lasts still needs, and again when that changes, ``_SELDOM`` seconds apart."""
        lacks = election.outcome
        if now < self._tell_at or election.planned or lacks == self._told or election.waits:
            return
        self._told, self._tell_at = lacks, now + _SELDOM
        if election.wins_prevote() and self._needed(election, now):
            left = self._cluster.changed_at + self._node.membership.hold_down - now
            lacks += (
                f"; every voter that is there is needed for another {left:.0f} s, so soon after the last takeover"
            )
        self._node.outbox.decide(What.ASKING, f"{self._node.name} has no quorum yet: {lacks}", now)
