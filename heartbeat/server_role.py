"""The role of a server as a state table, with the actions of its transitions.

Elections are in ``candidate``: a stand-by holds one to become leader, a holding leader one for a newer epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar

from heartbeat.candidate import Candidate, ElectionEvent
from heartbeat.cluster_view import ClusterView
from heartbeat.decision import What
from heartbeat.double_votes import DoubleVotes
from heartbeat.header import ACTIVE, BEAT, HOLDING, LEFT, STANDBY
from heartbeat.heartbeats import Heartbeats
from heartbeat.leader import Leader
from heartbeat.participant import Participant
from heartbeat.persistent_state import Leadership
from heartbeat.promise_pace import PromisePace
from heartbeat.proof import FORCED, Proof, sign_grant
from heartbeat.reconfiguration import Reconfiguration
from heartbeat.standby import Standby
from heartbeat.state_machine import StateMachine
from heartbeat.switchover import Switchover


class RoleEvent(Enum):
    """The events of the role table."""

    WON = "a quorum granted"
    FORCED = "an operator forced it"
    LEASE_ENDED = "no quorum answered in time"
    LEASE_RENEWED = "a quorum answers"
    PROMISE_MET = "a voter promised a higher epoch"
    OVERRULED = "another server leads"
    RELEASED = "it released its lease"
    SHUT_DOWN = "it shuts down"


Step = Callable[["ServerRole", str, float], None]
RoleMachine = StateMachine[Step]


class ServerRole:
    """The role of one server. Each transition has a sentence that says why."""

    def __init__(
        self,
        machine: RoleMachine,
        node: Participant,
        cluster: ClusterView,
        standby: Standby,
        candidate: Candidate,
        leader: Leader,
        heartbeats: Heartbeats,
        switchover: Switchover,
        reconfiguration: Reconfiguration,
    ) -> None:
        self._machine = machine
        self._node = node
        self._cluster = cluster
        self._standby = standby
        self._candidate = candidate
        self._leader = leader
        self._heartbeats = heartbeats
        self._switchover = switchover
        self._reconfiguration = reconfiguration
        self._force_because = ""
        self.double_votes = DoubleVotes(node.name, node.membership.site)
        self._promises = PromisePace(node.membership.timing.silence)

    @property
    def state(self) -> str:
        """``standby``, ``active``, ``holding`` or ``left``."""
        return self._machine.state

    def step(self, event: RoleEvent, because: str, now: float) -> None:
        """Process an event; events without a transition in the present state are ignored."""
        action = self._machine.step(event)
        if action is not None:
            action(self, because, now)

    def _begin_leadership(self, because: str, now: float) -> None:
        node, leader, election = self._node, self._leader, self._candidate.election
        won = node.outbox.leadership
        again = election is not None and leader.epoch > 0 and election.none_between(leader.epoch)
        leader.begin(won.epoch, won.forced, election, now)
        self._candidate.step(ElectionEvent.CONCLUDED, now)
        self._switchover.end()
        self._reconfiguration.withdraw()
        self._cluster.lead(won.epoch)
        node.outbox.decide(
            What.BECAME_ACTIVE,
            f"{node.name} is active under epoch {won.epoch}: {because}",
            now,
            epoch=won.epoch,
            node=node.name,
            proof=node.proof,
            again=again,
        )
        self._tell_everyone(now)

    def _hold(self, because: str, now: float) -> None:
        node, leader = self._node, self._leader
        leader.hold()
        said = f"{node.name} holds under epoch {leader.epoch}: {because}"
        node.outbox.decide(What.HOLDING, said, now, epoch=leader.epoch)
        self._tell_everyone(now)

    def _ask_anew(self, because: str, now: float) -> None:
        if not self._leader.superseded:
            self._leader.supersede()
            self._hold(because, now)
        if self._candidate.election is None:
            self.start_election(because, now, renewal=True)

    def _resume(self, because: str, now: float) -> None:
        node, leader = self._node, self._leader
        leader.resume()
        said = f"{node.name} has its lease back: {because}"
        node.outbox.decide(What.LEASE_BACK, said, now, epoch=leader.epoch, node=node.name)
        self._tell_everyone(now)

    def _step_down(self, because: str, now: float) -> None:
        node, cluster = self._node, self._cluster
        leader = self._leader
        self.double_votes.overruled(leader.epoch, cluster.epoch, leader.lease.supporters(now), node.proof)
        leader.end()
        self._end_leadership(now)
        said = f"{node.name} stands by: {because}"
        node.outbox.decide(What.STEPPED_DOWN, said, now, epoch=cluster.epoch, node=cluster.leader)
        for name in cluster.others:
            self._heartbeats.send(name, self.state, now)

    def _release_lease(self, because: str, now: float) -> None:
        node, epoch = self._node, self._leader.epoch
        self._leader.release()
        self._end_leadership(now)
        self._standby.rest(now)
        node.outbox.decide(What.STEPPED_DOWN, f"{node.name} let go of epoch {epoch}: {because}", now, epoch=epoch)
        self._leader.tell_release()

    def _say_goodbye(self, because: str, now: float) -> None:
        self._candidate.step(ElectionEvent.CONCLUDED, now)
        for name in (*self._cluster.others, *self._node.membership.agents):
            self._node.outbox.ask(name, BEAT)

    TABLE: ClassVar[dict[tuple[str, Enum], tuple[str, Step]]] = {
        (STANDBY, RoleEvent.WON): (ACTIVE, _begin_leadership),
        (STANDBY, RoleEvent.FORCED): (ACTIVE, _begin_leadership),
        (STANDBY, RoleEvent.SHUT_DOWN): (LEFT, _say_goodbye),
        (HOLDING, RoleEvent.WON): (ACTIVE, _begin_leadership),
        (HOLDING, RoleEvent.FORCED): (ACTIVE, _begin_leadership),
        (HOLDING, RoleEvent.LEASE_RENEWED): (ACTIVE, _resume),
        (HOLDING, RoleEvent.PROMISE_MET): (HOLDING, _ask_anew),
        (HOLDING, RoleEvent.OVERRULED): (STANDBY, _step_down),
        (HOLDING, RoleEvent.RELEASED): (STANDBY, _release_lease),
        (ACTIVE, RoleEvent.FORCED): (ACTIVE, _begin_leadership),
        (ACTIVE, RoleEvent.LEASE_ENDED): (HOLDING, _hold),
        (ACTIVE, RoleEvent.PROMISE_MET): (HOLDING, _ask_anew),
        (ACTIVE, RoleEvent.OVERRULED): (STANDBY, _step_down),
        (ACTIVE, RoleEvent.RELEASED): (STANDBY, _release_lease),
    }

    def _end_leadership(self, now: float) -> None:
        self._switchover.end()
        self._reconfiguration.withdraw()
        self._candidate.step(ElectionEvent.OVERRULED, now)

    def _tell_everyone(self, now: float) -> None:
        self.count_own_vote(now)
        self._heartbeats.everyone(self.state, now)

    def start_election(self, because: str, now: float, planned: bool = False, renewal: bool = False) -> None:
        """Start an election, or ask for the list of voters first if it is not known."""
        if self._node.voter.state.voters.names:
            self._candidate.start(because, self._standby.slack, now, planned, renewal)
        else:
            self._reconfiguration.request_list(now)

    def force(self, because: str, now: float) -> None:
        """Become leader without a quorum, as soon as the epoch is on disk."""
        node, state = self._node, self._node.voter.state
        key = b"" if node.membership.alone else node.membership.keys[0]
        epoch, incarnation, site = self._cluster.next_epoch(state), node.on_disk.incarnation, node.membership.site
        signature = sign_grant(key, site, FORCED, epoch, node.name, incarnation, state.voters)
        self._candidate.step(ElectionEvent.CONCLUDED, now)
        self._force_because = because
        proof = Proof(epoch, node.name, incarnation, state.voters, ((FORCED, signature),))
        node.offer(proof, now, commitment=node.start.commitment)

    def apply(self, leadership: Leadership, now: float) -> None:
        """A new leadership, perhaps our own, is on disk, or the disk cannot be written: act on it."""
        node, cluster, election = self._node, self._cluster, self._candidate.election
        epoch = leadership.epoch
        if (leadership.node, leadership.incarnation) != (node.name, node.on_disk.incarnation):
            self.learn_leader(epoch, leadership.node, now)
        elif cluster.epoch > epoch:
            said = f"{node.name} won epoch {epoch}, but {cluster.leader} rules meanwhile"
            self._candidate.call_off(said, now)
        elif leadership.forced:
            self.step(RoleEvent.FORCED, self._force_because, now)
        else:
            because = "" if election is None else f"{election.because}; {election.outcome}"
            if node.has_no_disk:
                because += f"; only in memory, since the disk of {node.name} takes nothing, and without its own vote"
            self.step(RoleEvent.WON, because, now)

    def learn_leader(self, epoch: int, leader: str, now: float) -> None:
        """A message shows that ``leader`` leads under ``epoch``."""
        if not self._cluster.learn_leader(epoch, leader, self._leader.released > 0, now):
            return
        if leader != self._node.name:
            self._standby.follow(leader, now)
            if self._leader.epoch and epoch >= self._leader.epoch:
                self.step(RoleEvent.OVERRULED, f"{leader} rules under epoch {epoch}", now)

    def meet_promise(self, epoch: int, voter: str, now: float) -> None:
        """``voter`` has promised ``epoch`` to another start, or to none. Only a newer epoch brings its vote back; how
        often one is asked for because of one voter is limited, since a stolen agent may say this for ever."""
        leader = self._leader
        if not leader.is_beaten_by(epoch) or voter not in leader.lease.voters.names:
            return
        if not leader.superseded and not self._promises.counts(voter, leader.needs(voter, now), now):
            return
        self.step(RoleEvent.PROMISE_MET, f"{voter} promised epoch {epoch} to another", now)

    def count(self, now: float) -> None:
        """Answers have come: check whether there is a lease again."""
        if self._leader.count(self.state, now):
            self.step(RoleEvent.LEASE_RENEWED, f"{self._leader.answering(now)} answer", now)

    def check_lease(self, stopped_for: float, now: float) -> None:
        """Check whether the lease has ended. ``stopped_for``: seconds for which this process itself was stopped."""
        if self.state == ACTIVE and not self._leader.may_act(now):
            stopped = f"it was stopped itself, for {stopped_for:.1f} s" if stopped_for else ""
            self.step(RoleEvent.LEASE_ENDED, stopped or self._leader.why_no_lease(now), now)

    def count_own_vote(self, now: float) -> None:
        """Let our own voter hear our heartbeat; its answer counts for the lease once it is on disk."""
        node, leader = self._node, self._leader
        if not leader.votes_itself:
            return
        lease, announced = leader.lease, leader.announces(self.state, now)
        if node.voter.hear(node.stamp(node.name, state=announced, lease=lease.length), now):
            self.meet_promise(node.voter.state.promised_to_others(node.start), node.name, now)
            return

        def count(later: float) -> None:
            if leader.lease is lease:
                lease.count(node.name, now, announced == ACTIVE)
                self.count(later)

        node.when_durable(count, now)
