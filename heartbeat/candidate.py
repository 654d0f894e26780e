"""The stand-by's half of a server: watch, ask around, and win an epoch. ``Member`` adds what a ruler does.

Watching has no effects; ``_act`` has. While our own clock is suspect only the first half runs.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from heartbeat import detector as d
from heartbeat.cluster_view import ClusterView, Peer, why_mute
from heartbeat.decision import What
from heartbeat.detector import ClockSuspectMode, Detector, Judgement
from heartbeat.election import CANVASS, CLAIM, WON, Campaign
from heartbeat.election import READY as PREPARED
from heartbeat.header import (
    ACTIVE,
    AS_IF_RELEASED,
    FIRST,
    GRANT,
    HOLDING,
    LEFT,
    NON_VOTING,
    PREVOTE,
    QUERY,
    READY,
    STANDBY,
    Beat,
    BeatError,
)
from heartbeat.lease import NEVER
from heartbeat.membership import Membership
from heartbeat.node import Node
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import VoterList
from heartbeat.reconfiguration import Word

_SELDOM: Final = 10.0
"""Seconds between two words on a campaign that lasts."""


class Candidate(Node):
    """A server as long as it does not rule."""

    state = STANDBY

    def __init__(
        self, name: str, membership: Membership, state: PersistentState, rng: random.Random, now: float
    ) -> None:
        super().__init__(name, membership, state, now)
        self.rng = rng
        self.cluster = ClusterView(epoch=state.leadership.epoch, promised_epoch=state.promised_epoch)
        self.peers = {server: Peer() for server in membership.server_names if server != name}
        self.paused = False
        self.detector = Detector(membership.timing, now)
        self.clock_suspect = ClockSuspectMode(membership.timing)
        self.campaign: Campaign | None = None
        self._released = 0
        """The highest epoch of ours that we let go of."""
        self._query_at = self._query_all_at = now
        self._started_at = now
        timing = membership.timing
        bias = 0.0 if name == membership.preferred else timing.silence + 2 * timing.interval
        self._start_at = now + timing.interval + bias
        self._no_list_said = False
        self._list_at = now

    # who is who

    @property
    def others(self) -> tuple[str, ...]:
        """The other servers."""
        return tuple(self.peers)

    @property
    def quorum(self) -> int:
        """How many voters of the list that we live by decide."""
        voters = self.voter.state.voters
        return max(voters.quorum, min(self.membership.quorum_wanted, len(voters.names)))

    def _nobody_heard(self) -> bool:
        return not self.detector.heard_of and self.detector.state == d.UNKNOWN

    def _may_start(self, now: float) -> bool:
        """Nobody was heard who rules: whether we may begin, or somebody else has the right of way."""
        timing, watched = self.membership.timing, self.detector
        begin_at = (
            self._start_at if not watched.subject else max(self._start_at, watched.heard_at + timing.dead_after)
        )
        first = self.peers.get(self.membership.preferred)
        if first is not None and first.state == STANDBY and now - first.heard_at < timing.silence:
            begin_at = max(begin_at, first.well_since + timing.silence + 2 * timing.interval)
        return now >= begin_at

    # watching

    def _learn(self, beat: Beat, now: float) -> None:
        """Everything that any message teaches, before it is acted on."""
        cluster, node = self.cluster, beat.node
        cluster.promised_epoch = max(cluster.promised_epoch, beat.promised_epoch, beat.promised_to_others)
        if beat.config and cluster.configs.get(node) != beat.config:
            cluster.configs[node] = beat.config
            if self.membership.config and beat.config != self.membership.config:
                self._decide(
                    What.DRIFT,
                    f"{node} runs from another site file ({beat.config}, ours is {self.membership.config})",
                    now,
                    node=node,
                )
        cluster.generations[node], cluster.boots[node] = beat.voters, beat.incarnation
        if node in self.peers:
            self._learn_server(beat, now)
        else:
            cluster.answered[node] = now
            self._rules(beat.epoch, beat.leader, now)
            if beat.leader and beat.heard is not None and beat.leader == self.detector.subject:
                self.detector.witness(node, beat.heard, now)
        if NON_VOTING in beat.flags:
            cluster.words.pop(node, None)
            if node not in cluster.non_voting and cluster.epoch:
                cluster.non_voting.add(node)
                self._decide(What.NO_VOTE, why_mute(node, node in cluster.voting), now, node=node)
        elif beat.re is not None and node in self.voter.state.voters.names:
            cluster.non_voting.discard(node)
            cluster.voting.add(node)
            cluster.words[node] = Word(beat.voters, beat.promised_to_others)

    def _learn_server(self, beat: Beat, now: float) -> None:
        peer = self.peers[beat.node]
        gap = now - peer.heard_at > 3 * max(self.membership.timing.slow_interval, self.membership.timing.interval)
        if gap or beat.state == LEFT or peer.state != beat.state:
            peer.well_since = now
        peer.state, peer.heard_at, peer.beat = beat.state, now, beat
        if beat.reach:
            peer.reach = _bitmap(beat.reach)
        if beat.state in (ACTIVE, HOLDING):
            self._rules(beat.epoch, beat.node, now)
        elif beat.leader and beat.leader != beat.node:
            self._rules(beat.epoch, beat.leader, now)
        if beat.node == self.detector.subject:
            self._judged(self.detector.hear(beat.state, now), now)

    def _rules(self, epoch: int, leader: str, now: float) -> None:
        """Somebody says that ``holder`` rules under ``epoch``."""
        cluster = self.cluster
        if not leader or epoch < cluster.epoch or (epoch == cluster.epoch and leader == cluster.leader):
            return
        before = cluster.leader
        cluster.epoch, cluster.leader = epoch, leader
        if leader != self.name:
            if before and before != leader and not (before == self.name and self._released):
                cluster.changed_at = now
            self.detector.watch(leader, now)
        self._overruled(epoch, leader, now)

    def _overruled(self, epoch: int, leader: str, now: float) -> None:
        """``holder`` is known to rule under ``epoch``, perhaps above us."""
        raise NotImplementedError

    def _judged(self, judgement: Judgement | None, now: float) -> None:
        if judgement is not None:
            self._decide(What(judgement.state), judgement.because, now, node=self.detector.subject)

    def _watch(self, due_at: float, now: float) -> None:
        """The half that gathers evidence."""
        late = self.clock_suspect.tick(due_at, now)
        if self.state != STANDBY:
            return
        if late:
            self.detector.grace(now)
            self._decide(
                What.WATCHING,
                f"{self.name} only watches for {self.membership.timing.lease_time:g} s:"
                f" its own timer came {now - due_at:.1f} s late",
                now,
            )
        self._judged(self.detector.judge(now), now)
        if self.detector.state == d.SUSPECT and now >= self._query_at:
            timing = self.membership.timing
            self._query_at = now + timing.interval
            asked = self.membership.agents
            if now < self._query_all_at:
                # a doubt may last as long as a cable is broken: the voters are enough to keep it up
                asked = tuple(name for name in asked if name in self.voter.state.voters.names)
            else:
                self._query_all_at = now + max(timing.slow_interval, timing.interval)
            for node in (*self.others, *asked):
                self._ask(node, QUERY, now)

    # acting

    def _act(self, now: float) -> None:
        """The half that asks for votes when there is reason to."""
        if self.state != STANDBY or self.campaign is not None or self.paused or self.clock_suspect.watching(now):
            return
        watched, state = self.detector.subject, self.detector.state
        if self._nobody_heard():
            if self._may_start(now) and not self.membership.alone:
                self._start_campaign(f"{self.name} hears nobody who rules", now)
        elif state == d.DEAD:
            self._start_campaign(self.detector.verdict, now)
        elif state == d.LEFT and now >= self._start_at:
            self._start_campaign(f"{watched} has left", now)

    def _start_campaign(self, because: str, now: float, planned: bool = False) -> None:
        voters = self.voter.state.voters
        if not voters.names:
            self._ask_for_list(now)
            return
        slack = 0.0
        if self._nobody_heard() and self.name != self.membership.preferred:
            slack = self.membership.timing.interval
        self.campaign = Campaign(because, voters, self.quorum, self.membership.agents, now, planned, slack)
        self.campaign.patient = self.voter.state.first
        self.campaign.tell_at = now + self.membership.timing.silence + self.membership.timing.lease_time
        self._decide(What.ASKING, f"{self.name} asks for votes: {because}", now)
        self._canvass(now)

    def _ask_for_list(self, now: float) -> None:
        """Without a list of voters nobody can be asked; but those who have one answer with it."""
        if now < self._list_at:
            return
        self._list_at = now + self.membership.timing.interval
        cluster = [node for node, generation in self.cluster.generations.items() if generation]
        for node in cluster:
            self._ask(node, PREVOTE, now, list=self.voter.state.voters.text)
        if not cluster and not self._no_list_said:
            self._no_list_said = True
            self._decide(
                What.REFUSED,
                f"{self.name} cannot ask for votes: it knows no list of voters; `b2bua init` says that the site"
                f" starts for the first time",
                now,
            )

    def _next_term(self) -> int:
        state = self.voter.state
        return max(self.cluster.epoch, self.cluster.promised_epoch, state.promised_epoch, state.leadership.epoch) + 1

    def _unanimous(self, now: float) -> bool:
        """Whether ``hold_down`` asks for every voter's yes."""
        automatic = self.state == STANDBY and self.campaign is not None and not self.campaign.planned
        return automatic and now < self.cluster.changed_at + self.membership.timing.hold_down

    def _canvass(self, now: float) -> None:
        campaign = self.campaign
        assert campaign is not None
        campaign.voters, campaign.quorum = self.voter.state.voters, self.quorum
        campaign.begin(CANVASS, self._next_term(), now)
        campaign.retry_at = now + self.membership.timing.interval * (1 + 0.1 * self.rng.random())
        ask = self._poll(PREVOTE, now)
        if ask is not None:
            judgement = self.voter.judge(ask, now)
            if judgement:
                campaign.yes.add(self.name)
            else:
                campaign.nos[self.name] = replace(ask, no=judgement.no, wait=judgement.wait)
        self._count_prevote(now)

    def _poll(self, kind: str, now: float) -> Beat | None:
        """Ask every voter; the question to ourselves, when we vote, is given back instead of sent."""
        campaign = self.campaign
        assert campaign is not None
        state = self.voter.state
        flags = (*((FIRST,) if state.first else ()), *((AS_IF_RELEASED,) if campaign.planned else ()))
        fields: dict[str, Any] = {"for_epoch": campaign.for_epoch, "list": campaign.voters.text, "flags": flags}
        if kind == GRANT:
            fields["lease"] = self.membership.timing.lease_time
        for voter in campaign.voters.names:
            if voter != self.name and voter not in campaign.grants:
                campaign.asked(self._ask(voter, kind, now, **fields).seq, voter, now)
        if self.name not in campaign.voters.names or self.name in campaign.grants:
            return None
        return self.stamp(self.name, now, kind=kind, **fields)

    def _voted(self, answer: Beat, now: float) -> None:
        """A voter answered a pre-vote or a claim."""
        campaign = self.campaign
        if answer.no == "voters":
            self._learn_list(answer, now)
        if campaign is None:
            return
        campaign.answered(answer, now)
        if campaign.phase == CANVASS:
            self._count_prevote(now)
        elif campaign.phase == CLAIM:
            self._count_grants(now)

    def _learn_list(self, answer: Beat, now: float) -> None:
        try:
            voters = VoterList.parse(answer.list)
        except BeatError:
            return
        if self.voter.take_list(voters):
            self._when_kept(lambda now: None, now)

    def _count_prevote(self, now: float) -> None:
        campaign = self.campaign
        assert campaign is not None
        if campaign.wins_prevote(self._unanimous(now)):
            if campaign.waits_for(self._here(campaign.voters, now), now, self.membership.timing.silence):
                return
            if campaign.planned:
                campaign.phase, campaign.phase_at = PREPARED, now
                campaign.retry_at = now + self.membership.timing.switchover_limit
                self._decide(What.READY, f"{self.name} would have a quorum: {campaign.outcome}", now)
                self._ask(self.cluster.leader, READY, now, for_epoch=self.cluster.epoch)
            else:
                self._claim(now)
        elif campaign.highest_promise >= campaign.for_epoch:
            campaign.retry_at = min(campaign.retry_at, now + self.membership.timing.interval / 10)

    def _here(self, voters: VoterList, now: float) -> set[str]:
        """The voters that were heard lately; soon after our own start all, since they may not have found us yet."""
        if now < self._started_at + self.membership.timing.silence:
            return set(voters.names)
        since = now - 2 * self.membership.timing.interval
        heard = {name: peer.heard_at for name, peer in self.peers.items()} | self.cluster.answered
        return {name for name in voters.names if heard.get(name, NEVER) > since}

    def _claim(self, now: float) -> None:
        campaign = self.campaign
        assert campaign is not None
        if campaign.phase != CLAIM:
            self._decide(
                What.TAKING_OVER,
                f"{self.name} claims epoch {campaign.for_epoch}: {campaign.because}; {campaign.outcome}",
                now,
                epoch=campaign.for_epoch,
                node=self.cluster.leader,
            )
        campaign.planned = False
        campaign.begin(CLAIM, campaign.for_epoch, now)
        campaign.retry_at = now + self.membership.timing.interval / 2
        claim = self._poll(GRANT, now)
        if claim is not None:
            self._claim_of_ourselves(claim, now)
        self._count_grants(now)

    def _claim_of_ourselves(self, claim: Beat, now: float) -> None:
        campaign = self.campaign
        assert campaign is not None
        judgement = self.voter.grant(claim, now)
        if not judgement:
            campaign.nos[self.name] = replace(claim, no=judgement.no, wait=judgement.wait)
            return
        signature, promised_to_others = (
            self.voter.signature(claim, self.membership.keys[0]),
            self.voter.state.promised_to_others(self.name),
        )

        def count(later: float) -> None:
            if self.campaign is campaign and campaign.phase == CLAIM and campaign.for_epoch == claim.for_epoch:
                campaign.granted(self.name, signature, now, promised_to_others)
                self._count_grants(later)

        self._when_kept(count, now)

    def _count_grants(self, now: float) -> None:
        campaign = self.campaign
        if campaign is None or campaign.phase != CLAIM or not campaign.wins():
            return
        campaign.phase, campaign.phase_at = WON, now
        fault = self.offer(campaign.proof(self.name, self.on_disk.incarnation), now)
        if fault:
            self._call_off(f"{self.name} won nothing: {fault}", now)

    def _campaign_due(self, now: float) -> None:
        """The campaign's own timer came."""
        campaign = self.campaign
        if campaign is None or now < campaign.retry_at:
            return
        timing = self.membership.timing
        if campaign.phase == CANVASS:
            if campaign.planned and now >= campaign.phase_at + timing.switchover_limit:
                self._call_off(f"{self.name} is not ready to take over: {campaign.outcome}", now)
            elif not self._wanted():
                self._call_off(f"{self.name} stops asking for votes: {self._why_not_wanted()}", now)
            elif self._may_do_without(campaign, now):
                self._seize(f"{campaign.because}, no quorum answers, and the site file allows it", now)
            else:
                self._tell_what_lacks(campaign, now)
                self._canvass(now)
        elif campaign.phase == PREPARED:
            self._call_off(f"{self.name} was ready, but {self.cluster.leader} did not let go", now)
        elif campaign.phase == CLAIM:
            if now >= campaign.phase_at + timing.lease_time or campaign.highest_promise > campaign.for_epoch:
                self._back_off(now)
            else:
                self._claim(now)
        else:
            self._won_late(now)

    def _tell_what_lacks(self, campaign: Campaign, now: float) -> None:
        """A campaign that lasts: say who is missing, and again when that changes, but not all the time."""
        if now < campaign.tell_at or campaign.planned or campaign.outcome == campaign.told:
            return
        if campaign.patient and campaign.wins_prevote(False):
            return
        campaign.told, campaign.tell_at = campaign.outcome, now + _SELDOM
        timing, lacks = self.membership.timing, campaign.outcome
        if campaign.wins_prevote(False) and self._unanimous(now):
            left = self.cluster.changed_at + timing.hold_down - now
            lacks += f"; every voter is needed for another {left:.0f} s, so soon after the last takeover"
        self._decide(What.ASKING, f"{self.name} has no quorum yet: {lacks}", now)

    def _won_late(self, now: float) -> None:
        """The epoch is won but the disk has not taken it: ask the disk again, as long as it takes."""
        assert self.campaign is not None
        self.campaign.retry_at = now + self.membership.timing.interval
        self._when_kept(lambda now: None, now)

    def _back_off(self, now: float) -> None:
        """The claim came to nothing. Its epoch is never claimed again, and the next try waits a random while."""
        campaign = self.campaign
        assert campaign is not None
        self._decide(What.CALLED_OFF, f"{self.name} did not win epoch {campaign.for_epoch}: {campaign.outcome}", now)
        interval = self.membership.timing.interval
        self.cluster.promised_epoch = max(self.cluster.promised_epoch, campaign.for_epoch, campaign.highest_promise)
        campaign.begin(CANVASS, campaign.for_epoch + 1, now)
        late = 0.0 if self.name == self.membership.preferred else interval
        campaign.retry_at = now + late + interval * (0.2 + self.rng.random())

    def _wanted(self) -> bool:
        """Whether the reason for the campaign still holds."""
        assert self.campaign is not None
        if self.campaign.planned or self.state != STANDBY:
            return True
        return not self.paused and self.detector.state not in (d.ALIVE, d.SUSPECT)

    def _why_not_wanted(self) -> str:
        return "an operator paused it" if self.paused else f"{self.cluster.leader} is active"

    def _may_do_without(self, campaign: Campaign, now: float) -> bool:
        """With ``takeover_without_quorum``: a quorum cannot even be reached; one that says no is obeyed."""
        timing = self.membership.timing
        return (
            self.membership.takeover_without_quorum
            and self.state == STANDBY
            and self.detector.state == d.DEAD
            and now >= campaign.began_at + timing.silence + timing.lease_time
            and len(campaign.yes | campaign.nos.keys()) < campaign.quorum
        )

    def _seize(self, because: str, now: float) -> None:
        """Rule without a quorum."""
        raise NotImplementedError

    def _call_off(self, because: str, now: float) -> None:
        self.campaign = None
        self._decide(What.CALLED_OFF, because, now)


def _bitmap(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
