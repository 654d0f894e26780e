"""A call server's part: may it decide, and how does it win, keep, lose and hand over the right to.

::

    receive(beat, sender, now)  handle_timer(now)  persisted(kept, now)          inputs
    get_timer()  to_do()  next_event()                                           outputs
    may_act(now)  state  epoch  serves                                           asked on the path of each call
    switchover  force  pause  resume  readmit  leave  peers_reached  reload      verbs
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from heartbeat.cluster_view import Peer
from heartbeat.decision import What
from heartbeat.election import READY as PREPARED
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
from heartbeat.leader import Cause, Leader
from heartbeat.membership import HOLD, Membership
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import FORCED, Proof, sign_grant
from heartbeat.reconfiguration import Change

_MOST_LATE: Final = 5
"""Messages of an earlier start that may come in a row, late or doubled, before that is worth a word."""

_Take = Callable[["Member", Beat, float], None]


class Member(Leader):
    """One call server of a site."""

    def __init__(
        self, name: str, membership: Membership, state: PersistentState, rng: random.Random, now: float
    ) -> None:
        super().__init__(name, membership, state, rng, now)
        self._fallen: dict[str, int] = {}
        """Server -> messages of an earlier start of it that came in a row."""

    # asked on the path of calls

    def may_act(self, now: float) -> bool:
        """Whether this server has the lease at this very instant: ask immediately before you write an order."""
        return now < self._lease_until

    @property
    def serves(self) -> bool:
        """Whether calls are served at all: active, or holding by the policy ``hold``."""
        return self.state == ACTIVE or (self.state == HOLDING and self.membership.on_lost_quorum == HOLD)

    @property
    def lease_until(self) -> float:
        """When the lease ends; minus infinity without one, infinity where none is needed."""
        return self._lease_until

    # the contract

    def receive(self, beat: Beat, sender: str, now: float) -> None:
        """``beat`` is verified; ``sender`` is the node that the connection or address belongs to."""
        self._now = now
        if sender not in self.peers and sender not in self.membership.agents:
            self._ignore("no node of the site")
            return
        if not self._accepts(beat, sender):
            self._refused_start(beat, sender, now)
            return
        self._fallen.pop(sender, None)
        if beat.re is not None and beat.re[0] != self.on_disk.incarnation:
            self._ignore("answer to an earlier start")
            return
        if beat.re is None and sender not in self.peers:
            # an agent asks nothing: this stands in its refusal of a request of a call
            self._learn(beat, now)
            return
        take = (self._REQUESTS if beat.re is None else self._ANSWERS).get(beat.kind)
        if take is None:
            self._ignore("unknown kind")
            return
        self._learn(beat, now)
        take(self, beat, now)
        self._act(now)

    def handle_timer(self, now: float) -> None:
        """Time passed."""
        self._now = now
        self._watch(self._tick_at, now)
        if self.membership.alone and self.state == STANDBY:
            self._rule_alone(now)
        if self.state == ACTIVE and now >= self._lease_until:
            late = now - self._tick_at
            stopped = f"it was stopped itself, for {late:.1f} s" if late > self.membership.timing.interval else ""
            self._step(Cause.LEASE_ENDED, stopped or self._why_no_lease(now), now)
        if now >= self._tick_at:
            interval = self.membership.timing.interval
            self._tick_at = now + interval * (0.9 + 0.1 * self.rng.random())
            self._tick(now)
        self._campaign_due(now)
        self._act(now)
        handover = self._handover
        if handover is not None and now >= handover.limit_at:
            self._handover = None
            self._decide(
                What.CALLED_OFF,
                f"the switchover to {handover.to} is called off: {handover.said}",
                now,
                node=handover.to,
            )

    def get_timer(self) -> float:
        """When ``handle_timer`` is due; there is always a next beat."""
        due = [self._tick_at]
        if self.state == ACTIVE:
            due.append(self._lease_until)
        elif self.state == STANDBY:
            judged_at = self.detector.next_at(self._now)
            due += [at for at in (judged_at, self._start_at) if at is not None and at > self._now]
        if self.campaign is not None:
            due.append(self.campaign.retry_at)
        if self._handover is not None:
            due.append(self._handover.limit_at)
        return min(due)

    # an operator's verbs

    def switchover(self, to: str, now: float, because: str = "an operator asks for it") -> str:
        """Hand over to ``to`` (the other server when empty). Returns why not, or empty; the outcome is an event."""
        to = to or next(iter(self.others), "")
        peer = self.peers.get(to)
        fault = ""
        if self.state not in (ACTIVE, HOLDING):
            fault = f"{self.name} does not rule; {self.cluster.leader or 'no server'} does, ask it"
        elif peer is None:
            fault = f"{to or 'nobody'} is no other server of this site"
        elif now - peer.heard_at > self._quiet or peer.state == LEFT:
            fault = f"{to} is not there: nothing was heard of it lately"
        elif self._handover is not None:
            fault = f"a switchover to {self._handover.to} is under way"
        if fault:
            self._decide(What.REFUSED, f"no switchover: {fault}", now, node=to)
            return fault
        self._hand_over(to, because, now)
        return ""

    def force(self, now: float, because: str = "an operator forces it") -> None:
        """Rule without a quorum: take the agents that can be reached, release nothing."""
        self._seize(because, now)

    def _rule_alone(self, now: float) -> None:
        leadership = self.voter.state.leadership
        if (leadership.node, leadership.incarnation) != (self.name, self.on_disk.incarnation):
            self._seize("it is the only node of its site", now)
        self._when_kept(lambda now: None, now)

    def _seize(self, because: str, now: float) -> None:
        key, voters = b"" if self.membership.alone else self.membership.keys[0], self.voter.state.voters
        for_epoch, incarnation = self._next_term(), self.on_disk.incarnation
        signature = sign_grant(key, self.membership.site, FORCED, for_epoch, self.name, incarnation, voters)
        self.campaign, self._force_because = None, because
        self.offer(Proof(for_epoch, self.name, incarnation, voters, ((FORCED, signature),)), now)

    def pause(self, now: float) -> None:
        """No takeover or hand-over by itself from now on; everything else goes on."""
        if self.paused:
            return
        self.paused = True
        self._decide(What.PAUSED, f"{self.name} changes no roles by itself any more: an operator paused it", now)

    def resume(self, now: float) -> None:
        """Undo ``pause``."""
        if not self.paused:
            return
        self.paused = False
        self._decide(What.RESUMED, f"{self.name} takes over by itself again", now)

    def readmit(self, voter: str, now: float, force: bool = False) -> str:
        """Give a voter without its epoch file a vote again. Returns why not, or empty.

        ``force`` is for a site that has no quorum because of that very loss: the operator vouches that no server
        rules by the forgotten grant.
        """
        voters = self.voter.state.voters
        if voter not in voters.names:
            return f"{voter} is no voter of this site"
        if force:
            new = voters.next(max(self.cluster.epoch, 1), voters.names, voters.filed)
            if new is None:
                return "the list of voters was changed too often under one epoch; switch over first"
            self._begin_change(Change(voters, new, voter, f"{voter} votes again by force", forced=True), now)
            return ""
        if not self.may_act(now):
            return f"{self.name} has no lease; readmit at the active server, or by force"
        if voter not in self.cluster.non_voting | self.cluster.voting:
            return f"nothing was heard of {voter} yet; start it first"
        if voter not in self.cluster.non_voting:
            return f"{voter} has its vote"
        if voter not in self._readmit:
            self._readmit.append(voter)
        return ""

    def leave(self, now: float) -> None:
        """Say goodbye: let go of the epoch, if we rule, and be counted as left."""
        self._step(Cause.RELEASED, "it shuts down", now)
        self.campaign, self.state = None, LEFT
        for node in (*self.others, *self.membership.agents):
            self._ask(node, BEAT, now)

    def peers_reached(self, names: Iterable[str], now: float) -> None:
        """The agents to which a proved connection is open; without this call answers to beats alone count."""
        self._reached = frozenset(names)

    def reload(self, membership: Membership) -> None:
        """Live by a changed site file; its timing holds from the next lease on."""
        super().reload(membership)
        self.detector.timing = membership.timing
        others = (name for name in membership.server_names if name != self.name)
        self.peers = {name: self.peers.get(name) or Peer() for name in others}

    @property
    def _quiet(self) -> float:
        """Silence after which a server counts as gone where nothing depends on it."""
        return 2 * self.membership.timing.slow_interval + self.membership.timing.silence

    def _refused_start(self, beat: Beat, sender: str, now: float) -> None:
        """Tell once when all that another server says belongs to an earlier start of it: nobody else would."""
        last = self._order.start_of(sender)
        if sender not in self.peers or beat.node != sender or beat.incarnation >= last:
            return
        refused = self._fallen[sender] = self._fallen.get(sender, 0) + 1
        if refused == _MOST_LATE:
            self._decide(
                What.REFUSED,
                f"{sender} is not heard: it says that this is its start {beat.incarnation}, after {last}: it runs"
                f" from an old epoch file, or lost its file while its clock was behind; stop it, set its clock,"
                f" move the file away and start it again",
                now,
                node=sender,
            )

    # requests of the other servers

    def _beaten(self, beat: Beat, now: float) -> None:
        self._offered(beat, now)
        no = ""
        if beat.state in (ACTIVE, HOLDING):
            no = self.voter.hear(beat, now)
        elif beat.state == LEFT and self.state == STANDBY and beat.node == self.detector.subject:
            self.voter.release(beat.node, beat.epoch)
        self._answer(beat, now, no=no)

    def _queried(self, query: Beat, now: float) -> None:
        self._answer(query, now)

    def _claimed(self, claim: Beat, now: float) -> None:
        self._grant_asked(claim, now)
        self._meets(self.voter.state.promised_to_others(self.name), self.name, now)

    def _released_by(self, beat: Beat, now: float) -> None:
        self.voter.release(beat.node, beat.for_epoch)
        self._answer(beat, now)
        if beat.node != self.detector.subject or beat.for_epoch < self.cluster.epoch:
            return
        self._judged(self.detector.release(), now)
        if self.campaign is not None and self.campaign.phase == PREPARED:
            self._claim(now)

    def _handed_over(self, beat: Beat, now: float) -> None:
        """The ruling server would let go if we had a quorum."""
        if self.state != STANDBY:
            self._answer(beat, now, no=self.state)
            return
        if self.campaign is None:
            self._start_campaign(f"{beat.node} hands over", now, planned=True)
        elif self.campaign.phase == PREPARED:
            self._ask(beat.node, READY, now, for_epoch=beat.for_epoch)
        said = "no-list" if self.campaign is None else ""
        self._answer(beat, now, no=said)

    def _ready(self, beat: Beat, now: float) -> None:
        """The other one has a quorum as if we had let go; so let go."""
        handover = self._handover
        due = handover is not None and handover.to == beat.node and beat.for_epoch == self._rule_epoch
        self._answer(beat, now, no="" if due else "not-now")
        if handover is not None and due:
            self._step(Cause.RELEASED, f"{handover.to} takes over, {handover.because}", now)

    # answers

    def _query_answered(self, answer: Beat, now: float) -> None:
        """What it teaches was learnt already."""

    def _release_answered(self, answer: Beat, now: float) -> None:
        self._release_to.discard(answer.node)

    def _handover_answered(self, answer: Beat, now: float) -> None:
        if self._handover is not None and answer.node == self._handover.to:
            self._handover.said = f"it says {answer.no}" if answer.no else "it asks the voters, and is not ready"

    def _list_answered(self, answer: Beat, now: float) -> None:
        self._meets(answer.promised_to_others, answer.node, now)

    _REQUESTS: ClassVar[dict[str, _Take]] = {
        BEAT: _beaten,
        PROOF: _beaten,
        QUERY: _queried,
        PREVOTE: lambda self, beat, now: self._vote_asked(beat, now),
        GRANT: _claimed,
        RELEASE: _released_by,
        HANDOVER: _handed_over,
        READY: _ready,
        VOTERS: lambda self, beat, now: self._list_told(beat, now),
    }
    _ANSWERS: ClassVar[dict[str, _Take]] = {
        BEAT: lambda self, beat, now: self._beat_answered(beat, now),
        PROOF: lambda self, beat, now: self._beat_answered(beat, now),
        QUERY: _query_answered,
        PREVOTE: lambda self, beat, now: self._voted(beat, now),
        GRANT: lambda self, beat, now: self._voted(beat, now),
        RELEASE: _release_answered,
        HANDOVER: _handover_answered,
        READY: _query_answered,
        VOTERS: _list_answered,
    }
