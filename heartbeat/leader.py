"""The ruling half of a server: its role, its lease, its beats, handing over, and the list of voters.

The role is a table, ``TRANSITIONS``; campaigns for an epoch run beside it (see ``candidate``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from heartbeat import detector as d
from heartbeat.candidate import Candidate
from heartbeat.decision import What
from heartbeat.election import WON
from heartbeat.header import ACTIVE, BEAT, HANDOVER, HOLDING, NON_VOTING, PROOF, RELEASE, STANDBY, START, VOTERS, Beat
from heartbeat.lease import NEVER, Lease
from heartbeat.membership import RETURN, Membership
from heartbeat.persistent_state import Leadership, PersistentState
from heartbeat.reconfiguration import Change, Word, next_change


class Cause(Enum):
    """What moves the role of a server."""

    WON = "a quorum granted"
    FORCED = "an operator forced it"
    LEASE_ENDED = "no quorum answered in time"
    LEASE_RENEWED = "a quorum answers"
    PROMISE_MET = "a voter promised a higher epoch"
    OVERRULED = "another server rules"
    RELEASED = "it let go"


@dataclass(slots=True)
class Handover:
    """A planned switchover, as the server that lets go sees it."""

    to: str
    because: str
    limit_at: float
    said: str = "it has not answered"


_Action = Callable[["Leader", str, float], None]


class Leader(Candidate):
    """A server that may rule."""

    def __init__(
        self, name: str, membership: Membership, state: PersistentState, rng: random.Random, now: float
    ) -> None:
        super().__init__(name, membership, state, rng, now)
        self.forced = False
        """It rules by an operator's force, without a quorum."""
        self.change: Change | None = None
        """The change of the list of voters that is under way."""
        self._admitted = 0
        """The start of the node that was told to have its vote by this change; 0: none was."""
        self._lease = self._new_lease()
        self._lease_until = NEVER
        self._rule_epoch = 0
        self._outdated = False
        self._unproved: set[str] = set()
        self._proof_text = ""
        self._handover: Handover | None = None
        self._release_to: set[str] = set()
        self._reached: frozenset[str] | None = None
        self._fewer_since: float | None = None
        self._force_because = ""
        self._readmit: list[str] = []
        self._tick_at = now
        self._ticks = 0

    # the role

    def _step(self, cause: Cause, because: str, now: float) -> None:
        found = self.TRANSITIONS.get((self.state, cause))
        if found is None:
            return
        self.state, action = found
        action(self, because, now)

    def _begin_rule(self, because: str, now: float) -> None:
        campaign, leadership = self.campaign, self.on_disk.leadership
        again = campaign is not None and self._rule_epoch > 0 and campaign.nobody_between(self._rule_epoch)
        self.forced = leadership.forced
        self._lease = self._new_lease()
        if campaign is not None:
            for voter, (_, sent_at, _) in campaign.grants.items():
                self._lease.count(voter, sent_at, True)
        self.campaign, self._handover, self.change = None, None, None
        self._rule_epoch, self._outdated = leadership.epoch, False
        self._lease_until = float("inf") if self.forced else self._lease.until
        self._unproved = {*self.others, *self.membership.agents}
        self._proof_text = self.proof.text if self.proof is not None else ""
        self._release_to.clear()
        self.cluster.epoch, self.cluster.leader = leadership.epoch, self.name
        self._fewer_since, self._began_at = None, now
        self._decide(
            What.BECAME_ACTIVE,
            f"{self.name} is active under epoch {leadership.epoch}: {because}",
            now,
            epoch=leadership.epoch,
            node=self.name,
            proof=self.proof,
            again=again,
        )
        self._beat_everyone(now)

    def _hold(self, because: str, now: float) -> None:
        self._lease_until = NEVER
        self._decide(
            What.HOLDING, f"{self.name} holds under epoch {self._rule_epoch}: {because}", now, epoch=self._rule_epoch
        )
        self._beat_everyone(now)

    def _ask_anew(self, because: str, now: float) -> None:
        if not self._outdated:
            self._outdated = True
            self._hold(because, now)
        if self.campaign is None:
            self._start_campaign(because, now)

    def _resume_rule(self, because: str, now: float) -> None:
        self._lease_until = self._lease.until
        self._decide(
            What.LEASE_BACK, f"{self.name} has its lease back: {because}", now, epoch=self._rule_epoch, node=self.name
        )
        self._beat_everyone(now)

    def _stand_down(self, because: str, now: float) -> None:
        self._end_rule(now)
        self._decide(
            What.STOOD_DOWN,
            f"{self.name} stands by: {because}",
            now,
            epoch=self.cluster.epoch,
            node=self.cluster.leader,
        )
        for node in self.others:
            self._beat(node, now)

    def _let_go(self, because: str, now: float) -> None:
        epoch = self._rule_epoch
        self._released = epoch
        self.voter.release(self.name, epoch)
        self._end_rule(now)
        timing = self.membership.timing
        self._start_at = now + timing.silence + 2 * timing.interval
        self.detector.watch("", now)
        self._release_to = {*self.others, *self.membership.agents}
        self._decide(What.STOOD_DOWN, f"{self.name} let go of epoch {epoch}: {because}", now, epoch=epoch)
        self._tell_release(now)

    def _end_rule(self, now: float) -> None:
        self._lease_until, self.forced = NEVER, False
        self._rule_epoch = 0
        self._handover = self.change = None
        if self.campaign is not None and self.campaign.phase != WON:
            self.campaign = None

    TRANSITIONS: ClassVar[dict[tuple[str, Cause], tuple[str, _Action]]] = {
        (STANDBY, Cause.WON): (ACTIVE, _begin_rule),
        (STANDBY, Cause.FORCED): (ACTIVE, _begin_rule),
        (HOLDING, Cause.WON): (ACTIVE, _begin_rule),
        (HOLDING, Cause.FORCED): (ACTIVE, _begin_rule),
        (HOLDING, Cause.LEASE_RENEWED): (ACTIVE, _resume_rule),
        (HOLDING, Cause.PROMISE_MET): (HOLDING, _ask_anew),
        (HOLDING, Cause.OVERRULED): (STANDBY, _stand_down),
        (HOLDING, Cause.RELEASED): (STANDBY, _let_go),
        (ACTIVE, Cause.FORCED): (ACTIVE, _begin_rule),
        (ACTIVE, Cause.LEASE_ENDED): (HOLDING, _hold),
        (ACTIVE, Cause.PROMISE_MET): (HOLDING, _ask_anew),
        (ACTIVE, Cause.OVERRULED): (STANDBY, _stand_down),
        (ACTIVE, Cause.RELEASED): (STANDBY, _let_go),
    }

    def _ruler_changed(self, leadership: Leadership, now: float) -> None:
        if (leadership.node, leadership.incarnation) != (self.name, self.on_disk.incarnation):
            self._rules(leadership.epoch, leadership.node, now)
        elif self.cluster.epoch > leadership.epoch:
            self._call_off(
                f"{self.name} won epoch {leadership.epoch}, but {self.cluster.leader} rules meanwhile", now
            )
        elif leadership.forced:
            self._step(Cause.FORCED, self._force_because, now)
        else:
            campaign = self.campaign
            self._step(Cause.WON, "" if campaign is None else f"{campaign.because}; {campaign.outcome}", now)

    def _overruled(self, epoch: int, leader: str, now: float) -> None:
        if leader != self.name and self._rule_epoch and epoch >= self._rule_epoch:
            self._step(Cause.OVERRULED, f"{leader} rules under epoch {epoch}", now)

    def _meets(self, promised_to_others: int, voter: str, now: float) -> None:
        """``voter`` granted ``floor`` to another server, or to nobody."""
        if self._rule_epoch and promised_to_others > self._rule_epoch and not self.forced:
            self._step(Cause.PROMISE_MET, f"{voter} promised epoch {promised_to_others} to another", now)

    # the lease

    def _new_lease(self) -> Lease:
        voters = self.voter.state.voters
        return Lease(self.membership.timing.lease_time, voters, self.quorum, self.membership.agents)

    def _count(self, now: float) -> None:
        """Answers were counted: is there a lease now?"""
        if self._outdated:
            return
        if self.forced and now >= self._began_at + self.membership.timing.silence:
            # only now has whoever ruled before lost the lease that our voters had given it
            self.forced = self._lease.until <= now
        if self.state == ACTIVE and not self.forced:
            self._lease_until = self._lease.until
        elif self.state == HOLDING and self._lease.until > now:
            answering = ", ".join(self._lease.answering(now))
            self._step(Cause.LEASE_RENEWED, f"{answering} answer", now)

    def _why_no_lease(self, now: float) -> str:
        answering = self._lease.answering(now)
        mute = [f"; {name} has no vote" for name in self._lease.voters.names if name in self.cluster.non_voting]
        return (
            f"only {len(answering)} of {len(self._lease.voters.names)} voters answer"
            f" ({', '.join(answering) or 'none'}), {self._lease.quorum} are needed{''.join(mute)}"
        )

    def _beat_answered(self, answer: Beat, now: float) -> None:
        """A beat of ours was answered."""
        if not self._rule_epoch:
            return
        node = answer.node
        if answer.epoch == self._rule_epoch and (answer.leader == self.name or node in self.peers):
            self._unproved.discard(node)
        elif answer.epoch < self._rule_epoch:
            self._unproved.add(node)
        if not answer.no and NON_VOTING not in answer.flags and answer.re is not None:
            quiet = self._lease.regarded_until <= now
            self._lease.answered(node, answer.re[1])
            self._count(now)
            if quiet and self.state == HOLDING and self._lease.regarded_until > now:
                self._tick_at = now
        self._meets(answer.promised_to_others, node, now)

    # beats

    @property
    def _said(self) -> str:
        """The state that beats claim: a holding server that a quorum answers says active, to be renewed."""
        if self.state == HOLDING and not self._outdated and self._lease.regarded_until > self._now:
            return ACTIVE
        return self.state

    def _tick(self, now: float) -> None:
        timing = self.membership.timing
        parts = max(1, round(timing.slow_interval / timing.interval))
        self._ticks += 1
        ruling = self.state in (ACTIVE, HOLDING)
        fast = {*self.others, *self.voter.state.voters.names} if ruling else set()
        slow = [name for name in (*self.others, *self.membership.agents) if name not in fast]
        self._reach_now = self._reach(now)
        if self._ticks <= parts:
            # who has just started is known to the other servers at once, so that they do not start to compete with it
            fast.update(self.others)
        for node in (*sorted(fast - {self.name}), *slow[self._ticks % parts :: parts]):
            self._beat(node, now)
        self._beat_ourselves(now)
        self._tell_release(now)
        if self._handover is not None:
            self._ask(self._handover.to, HANDOVER, now, for_epoch=self._rule_epoch)
        self._tend_list(now)
        self._follow_policies(now)

    _reach_now = 0
    _now = NEVER

    def _beat(self, node: str, now: float) -> None:
        more: dict[str, Any] = {}
        if node in self.peers:
            more = {"reach": f"{self._reach_now:x}", **self._heard(now)}
        kind = BEAT
        if self._rule_epoch and node in self._unproved:
            kind, more["proof"] = PROOF, self._proof_text
        said = self._said
        if self._rule_epoch:
            more["lease"] = self._lease.length
        beat = self._ask(node, kind, now, state=said, **more)
        if self._rule_epoch and node in self._lease.voters.names:
            self._lease.sent(beat.seq, node, said == ACTIVE, now)

    def _beat_ourselves(self, now: float) -> None:
        """The voter that we are ourselves hears us too."""
        if not self._rule_epoch or self.name not in self._lease.voters.names or not self.voter.has_vote:
            return
        said, lease = self._said, self._lease
        if self.voter.hear(self.stamp(self.name, now, state=said, lease=lease.length), now):
            self._meets(self.voter.state.promised_to_others(self.name), self.name, now)
            return

        def count(later: float) -> None:
            if self._lease is lease:
                lease.count(self.name, now, said == ACTIVE)
                self._count(later)

        self._when_kept(count, now)

    def _beat_everyone(self, now: float) -> None:
        """A change of state is told at once."""
        self._beat_ourselves(now)
        for node in (*self.others, *self.membership.agents):
            self._beat(node, now)

    def _heard(self, now: float) -> dict[str, Any]:
        leadership = self.on_disk.leadership
        watched = self.detector.subject == leadership.node and self.detector.state != d.UNKNOWN
        return {"leader": leadership.node, "heard": now - self.detector.heard_at if watched else None}

    def _reach(self, now: float) -> int:
        """Bitmap of the agents that answered lately, and to which a connection is open as far as we were told."""
        timing, voters = self.membership.timing, self.voter.state.voters.names
        slowly = 1.5 * timing.slow_interval + timing.interval
        found = 0
        for bit, agent in enumerate(self.membership.agents):
            limit = timing.dead_after if self._rule_epoch and agent in voters else slowly
            answered = self.cluster.answered.get(agent, NEVER) + limit > now
            if answered and (self._reached is None or agent in self._reached):
                found |= 1 << bit
        return found

    # letting go

    def _tell_release(self, now: float) -> None:
        """Until each has answered or somebody rules above us."""
        if self._release_to and self.cluster.epoch > self._released:
            self._release_to.clear()
        for node in sorted(self._release_to):
            self._ask(node, RELEASE, now, for_epoch=self._released)

    def _hand_over(self, to: str, because: str, now: float) -> None:
        self._handover = Handover(to, because, now + self.membership.timing.switchover_limit)
        self._decide(What.HANDING_OVER, f"{self.name} hands over to {to}: {because}", now, node=to)
        self._ask(to, HANDOVER, now, for_epoch=self._rule_epoch)

    def _follow_policies(self, now: float) -> None:
        """Hand over by ourselves: to a server that reaches more agents, or back to the preferred one."""
        if self.state != ACTIVE or self.forced or self.paused or self._handover is not None:
            return
        timing, better = self.membership.timing, ""
        for name, peer in self.peers.items():
            here = peer.state == STANDBY and now - peer.heard_at < timing.silence
            if here and self._reach_now != peer.reach and self._reach_now & ~peer.reach == 0:
                better = name
        if not better:
            self._fewer_since = None
        elif self._fewer_since is None:
            self._fewer_since = now
        elif now - self._fewer_since >= timing.subset_after:
            self._fewer_since = None
            self._hand_over(better, f"{better} reaches agents that {self.name} does not, for long enough", now)
            return
        first = self.membership.preferred
        back = self.peers.get(first)
        if self.membership.failback != RETURN or back is None or better:
            return
        well = min(now - back.well_since, now - self._began_at)
        if back.state != STANDBY or now - back.heard_at >= timing.silence or well < timing.return_after:
            return
        if self._reach_now & ~back.reach == 0:
            back.well_since = now
            self._hand_over(first, f"{first} is preferred and has been well for {well:.0f} s", now)

    _began_at = NEVER

    # the list of voters

    def _begin_change(self, change: Change, now: float) -> None:
        self.change, self._admitted = change, 0
        self.voter.take_list(change.new)
        self._decide(
            What.VOTERS,
            f"the voters are {', '.join(change.new.names)} from now on (generation {change.new.generation}):"
            f" {change.because}",
            now,
        )
        self._when_kept(self._list_kept, now)

    def _list_kept(self, now: float) -> None:
        self._lease.change(self.voter.state.voters, self.quorum, self.membership.agents)

    def _tend_list(self, now: float) -> None:
        voters = self.on_disk.voters
        if not voters.names or voters != self.voter.state.voters:
            return
        generations = {**self.cluster.generations, self.name: voters.generation}
        change = self.change
        if self._rule_epoch or (change is not None and change.forced):
            told = dict.fromkeys((*self.others, *voters.names, *(change.old.names if change else ())))
            for node in told:
                if node != self.name and generations.get(node, voters.generation) < voters.generation:
                    self._ask(node, VOTERS, now, list=voters.text)
        if change is not None:
            self._end_change(change, now)
        elif self.state == ACTIVE and not self.forced:
            lost = tuple(sorted(self.cluster.non_voting - self.cluster.voting))
            self._readmit = [voter for voter in self._readmit if voter in self.cluster.non_voting]
            wanted, filed = self.membership.voters, self.membership.generation
            due = next_change(voters, wanted, filed, self._rule_epoch, generations, lost, tuple(self._readmit))
            if due is not None:
                self._begin_change(due, now)

    def _end_change(self, change: Change, now: float) -> None:
        admit, cluster = change.admit, self.cluster
        words = {
            **cluster.words,
            self.name: Word(self.on_disk.voters.generation, self.voter.state.promised_to_others(self.name)),
        }
        if not self.voter.has_vote:
            del words[self.name]
        if not change.settled(words):
            return
        voting = admit in cluster.voting and admit not in cluster.non_voting
        incarnation = cluster.boots.get(admit, 0)
        if not admit or (voting and cluster.generations.get(admit, 0) >= change.new.generation):
            self.change = None
        elif self._admitted not in (0, incarnation) and not change.forced:
            # it may have had its vote by this list and lost it again: only another list can admit it now
            self.change = None
        else:
            self._admitted = incarnation
            promised_to_others = self._rule_epoch
            if self._outdated or not change.spent(words, promised_to_others):
                promised_to_others = max(cluster.promised_epoch, cluster.epoch, self.voter.state.promised_epoch) + 1
            self._ask(
                admit,
                VOTERS,
                now,
                list=change.new.text,
                for_epoch=promised_to_others,
                flags=(admit, f"{START}{incarnation}"),
            )
