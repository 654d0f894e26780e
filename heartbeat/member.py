"""A call server's membership in a site: whether it may act as the leader, and how it wins, keeps, loses and hands
over the leadership. A sans-I/O core::

    receive(beat, sender, now)  handle_timer(now)  persisted(state, now)           inputs
    revealed(death, now)
    get_timer()  to_do()  next_event()                                             outputs
    may_act(now)  state  serves                                                    asked on the path of each call
    switchover  force  pause  resume  restore_vote  leave  peers_reached  reload   verbs
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from heartbeat import first_start
from heartbeat.candidate import Candidate
from heartbeat.cluster_view import ClusterView
from heartbeat.death import Death
from heartbeat.decision import Action, Decision, What
from heartbeat.detector import Detector
from heartbeat.header import ACTIVE, HOLDING, STANDBY, Beat
from heartbeat.heartbeats import Heartbeats
from heartbeat.inbox import Inbox
from heartbeat.leader import Leader
from heartbeat.membership import HOLD, Membership
from heartbeat.participant import Participant
from heartbeat.persistent_state import PersistentState
from heartbeat.proof_renewal import ProofRenewal
from heartbeat.reconfiguration import Reconfiguration
from heartbeat.server_role import RoleEvent, RoleMachine, ServerRole
from heartbeat.standby import Standby
from heartbeat.switchover import Switchover


class Member:
    """One call server of a site. ``state`` comes from the disk, its incarnation already raised and written.

    ``commitment`` is that of this start (`heartbeat.death`), empty without a supervisor; ``deaths`` are the secrets
    of former starts, which prove that these have ended.
    """

    def __init__(
        self,
        name: str,
        membership: Membership,
        state: PersistentState,
        rng: random.Random,
        now: float,
        commitment: str = "",
        deaths: Sequence[str] = (),
    ) -> None:
        machine = RoleMachine(name, ServerRole.TABLE, STANDBY)
        detector = Detector(membership.timing, now)
        node = Participant(name, membership, state, lambda: machine.state, detector.heard_ago, now, commitment)
        cluster = ClusterView(name, state.leadership.epoch, state.promised_epoch)
        cluster.set_servers(membership.servers)
        cluster.deaths = tuple(deaths)
        standby = Standby(node, cluster, detector, now)
        candidate = Candidate(node, cluster, rng, now)
        leader = Leader(node, cluster)
        heartbeats = Heartbeats(node, cluster, leader, rng, now)
        switchover = Switchover(node, cluster)
        reconfiguration = Reconfiguration(node, cluster, leader.follow_list, now)
        proof_renewal = ProofRenewal(node, leader, now)
        role = ServerRole(machine, node, cluster, standby, candidate, leader, heartbeats, switchover, reconfiguration)
        self.participant = node
        self.cluster = cluster
        self.detector = detector
        self.candidate = candidate
        self.leader = leader
        self.reconfiguration = reconfiguration
        self.double_votes = role.double_votes
        self._role = role
        self._standby = standby
        self._heartbeats = heartbeats
        self._switchover = switchover
        self._proof_renewal = proof_renewal
        self._inbox = Inbox(
            node, cluster, detector, role, standby, candidate, leader, heartbeats, switchover, proof_renewal
        )
        self._now = now

    def may_act(self, now: float) -> bool:
        """Whether this server has the lease at this instant. To be asked immediately before anything is sent on the
        strength of it."""
        return now < self.leader.lease_until

    @property
    def state(self) -> str:
        """``active``, ``holding``, ``standby`` or ``left``."""
        return self._role.state

    @property
    def serves(self) -> bool:
        """Whether calls are served at all: active, or holding by the policy ``hold``."""
        policy = self.participant.membership.on_lost_quorum
        return self.state == ACTIVE or (self.state == HOLDING and policy == HOLD)

    @property
    def paused(self) -> bool:
        """Whether an operator has paused automatic changes of roles."""
        return self._standby.paused

    def receive(self, beat: Beat, sender: str, now: float) -> None:
        """Process a verified statement; ``sender`` is the node that the connection or address belongs to."""
        self._now = now
        if self._inbox.receive(beat, sender, now):
            self._act(now)

    def revealed(self, death: Death, now: float) -> None:
        """The supervisor of another server reports that the server has died."""
        self._now = now
        if self._inbox.revealed(death, now):
            self._act(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``."""
        self._now = now
        node, standby, heartbeats = self.participant, self._standby, self._heartbeats
        late = now - heartbeats.due_at
        unheard = standby.is_late(heartbeats.due_at, now)
        if self.state == STANDBY:
            standby.watch(late if unheard else 0.0, now)
            if node.membership.alone:
                self._lead_alone(now)
        self._role.check_lease(late if late > node.membership.timing.interval else 0.0, now)
        if heartbeats.schedule(now):
            self._tick(now)
        objection = standby.objection() if self.state == STANDBY else ""
        without_quorum = self.candidate.handle_timer(objection, self.state == STANDBY and standby.judges_dead, now)
        if without_quorum:
            self._role.force(without_quorum, now)
        self._act(now)
        self._switchover.expire(now)

    def get_timer(self) -> float:
        """When ``handle_timer`` is due; there is always a next heartbeat."""
        due = [self._heartbeats.due_at, self.candidate.retry_at, self._switchover.limit_at]
        state = self._role.state
        if state == ACTIVE:
            due.append(self.leader.lease_until)
        elif state == STANDBY:
            due += self._standby.due(self._now)
        return min(due)

    def to_do(self) -> list[Action]:
        """The actions to be carried out by the shell, in order; each is returned once."""
        return self.participant.outbox.to_do()

    def next_event(self) -> Decision | None:
        """The next decision."""
        return self.participant.outbox.next_event()

    def persisted(self, state: PersistentState, now: float) -> None:
        """``state`` is on disk: what waited for it is sent."""
        outbox = self.participant.outbox
        before = outbox.leadership
        outbox.persisted(state, now)
        if outbox.leadership != before:
            self._role.apply(outbox.leadership, now)
        outbox.release(now)

    def not_persisted(self, state: PersistentState, because: str, now: float) -> None:
        """``state`` could not be written: what waited for it is never sent.

        A new leadership is followed all the same, also our own: the grants that it rests on are on the disks of other
        nodes, and our own vote, which cannot be kept, is not among them.
        """
        outbox, leadership = self.participant.outbox, self.participant.voter.state.leadership
        outbox.not_persisted(state, because, now)
        if leadership.epoch > outbox.leadership.epoch:
            outbox.leadership = leadership
            self._role.apply(leadership, now)

    def _tick(self, now: float) -> None:
        role, leader = self._role, self.leader
        self._heartbeats.next_round(self.state, now)
        role.count_own_vote(now)
        leader.tell_release()
        self._switchover.remind(leader.epoch)
        self._proof_renewal.tend(now)
        has_lease = self.state == ACTIVE and not leader.forced
        self.reconfiguration.tend(leader.epoch, has_lease, self._may_admit(now), leader.superseded, now)
        if has_lease and not self.paused:
            self._switchover.follow_policies(self._heartbeats.reach, leader.epoch, leader.began_at, now)

    def _act(self, now: float) -> None:
        """Ask for votes when there is reason to."""
        if self.state == STANDBY and self.candidate.election is None:
            reason = self._standby.reason(now)
            if reason:
                self._role.start_election(reason, now)

    def _lead_alone(self, now: float) -> None:
        node = self.participant
        leadership = node.voter.state.leadership
        if (leadership.node, leadership.incarnation) != (node.name, node.on_disk.incarnation):
            self._role.force("it is the only node of its site", now)
        node.outbox.persist(node.voter.state)

    def switchover(self, to: str, now: float, because: str = "an operator asks for it") -> str:
        """Hand over to ``to`` (the other server when empty). Returns why not, or empty; the outcome is an event."""
        node, cluster = self.participant, self.cluster
        to = to or next(iter(cluster.others), "")
        if self.state in (ACTIVE, HOLDING):
            fault = self._switchover.objection(to, now)
        else:
            fault = f"{node.name} does not rule; {cluster.leader or 'no server'} does, ask it"
        if fault:
            node.outbox.decide(What.REFUSED, f"no switchover: {fault}", now, node=to)
        else:
            self._switchover.start(to, because, self.leader.epoch, now)
        return fault

    def force(self, now: float, because: str = "an operator forces it") -> str:
        """Lead without a quorum: take the agents that can be reached, release nothing. Returns why not, or empty.

        In a site without voters it is a first start, with the nodes that can be reached.
        """
        node = self.participant
        if not node.voter.state.voters.names and not node.membership.alone:
            return first_start.begin_with_the_reached(node, self.cluster, now)
        self._role.force(because, now)
        return ""

    def pause(self, now: float) -> None:
        """Stop automatic takeovers and hand-overs; everything else goes on."""
        if self._standby.pause(True):
            said = f"{self.participant.name} changes no roles by itself any more: an operator paused it"
            self.participant.outbox.decide(What.PAUSED, said, now)

    def resume(self, now: float) -> None:
        """Undo ``pause``."""
        if self._standby.pause(False):
            said = f"{self.participant.name} takes over by itself again"
            self.participant.outbox.decide(What.RESUMED, said, now)

    def restore_vote(self, voter: str, now: float, force: bool = False) -> str:
        """Give a voter that has lost its epoch file its vote again. Returns why not, or empty.

        ``force`` is for a site that has no quorum because of that loss: the operator confirms that no server leads by
        the grant that was lost.
        """
        may_admit = self.may_act(now) or self._may_admit(now)
        return self.reconfiguration.restore_vote(voter, may_admit, force, now)

    def _may_admit(self, now: float) -> bool:
        """Whether we lead, active or holding, and a quorum answers us."""
        leader = self.leader
        return (
            self.state in (ACTIVE, HOLDING)
            and not leader.forced
            and not leader.superseded
            and leader.quorum_answers(now)
        )

    def leave(self, now: float) -> None:
        """Shut down: release the lease, if we lead, and tell the other nodes that we have left."""
        self._role.step(RoleEvent.RELEASED, "it shuts down", now)
        self._role.step(RoleEvent.SHUT_DOWN, "", now)

    def peers_reached(self, names: Iterable[str], now: float) -> None:
        """The agents to which an authenticated connection is open. Without this call only answers to heartbeats show
        which agents are reached."""
        self._heartbeats.connected(names)

    def reload(self, membership: Membership) -> None:
        """Use a changed site file from now on; its timing applies from the next lease on."""
        self.participant.reload(membership)
        self.cluster.set_servers(membership.servers)
        self._standby.reload()
