"""A server that does not lead: it watches the one that does, and says when there is reason for an election.

Watching has no effects but questions. While our own clock is suspect there is never a reason.
"""

from __future__ import annotations

from heartbeat import detector as d
from heartbeat.cluster_view import ClusterView
from heartbeat.decision import What
from heartbeat.detector import ClockSuspectMode, Detector, Judgement
from heartbeat.header import HOLDING, QUERY, STANDBY
from heartbeat.participant import Participant


class Standby:
    """What a server thinks of the one that leads."""

    def __init__(self, node: Participant, cluster: ClusterView, detector: Detector, now: float) -> None:
        self.paused = False
        """An operator wants no change of roles by itself."""
        self._node = node
        self._cluster = cluster
        self._detector = detector
        self._clock = ClockSuspectMode(node.membership.timing)
        self._query_at = self._query_all_at = now
        timing = node.membership.timing
        self._start_at = now + timing.interval + (0.0 if self._is_preferred else timing.silence + 2 * timing.interval)

    @property
    def _is_preferred(self) -> bool:
        return self._node.name == self._node.membership.preferred

    @property
    def nobody_heard(self) -> bool:
        """Nobody was heard who leads, by nobody."""
        return not self._detector.heard_of and self._detector.state == d.UNKNOWN

    @property
    def slack(self) -> float:
        """Seconds to wait beyond what the voters say, so that the preferred server is first."""
        return self._node.membership.timing.interval if self.nobody_heard and not self._is_preferred else 0.0

    @property
    def thinks_dead(self) -> bool:
        """Whether the leader is dead by all that we know."""
        return self._detector.state == d.DEAD

    def reload(self) -> None:
        """Live by the times of a changed site file."""
        self._detector.reload(self._node.membership.timing)
        self._clock.reload(self._node.membership.timing)

    def pause(self, paused: bool) -> bool:
        """Change no roles by itself from now on, or do so again; whether that is new."""
        changed, self.paused = self.paused != paused, paused
        return changed

    def due(self, now: float) -> list[float]:
        """The instants after ``now`` at which to look again."""
        return [at for at in (self._detector.next_at(now), self._start_at) if at is not None and at > now]

    def is_late(self, due_at: float, now: float) -> bool:
        """A timer that was due at ``due_at`` came ``now``: whether silence until now is our own fault."""
        return self._clock.tick(due_at, now)

    def watch(self, late: float, now: float) -> None:
        """Gather evidence; ``late`` are the seconds for which we could not listen, 0 in ordinary times."""
        node, timing = self._node, self._node.membership.timing
        if late:
            self._detector.grace(now)
            node.outbox.decide(
                What.WATCHING,
                f"{node.name} only watches for {timing.lease:g} s: its own timer came {late:.1f} s late",
                now,
            )
        self.judged(self._detector.judge(now), now)
        if self._detector.state != d.SUSPECT or now < self._query_at:
            return
        self._query_at = now + timing.interval
        asked = node.membership.agents
        if now < self._query_all_at:
            # a doubt may last as long as a cable is broken: the voters are enough to keep it up
            asked = tuple(name for name in asked if name in node.voter.state.voters.names)
        else:
            self._query_all_at = now + max(timing.slow_interval, timing.interval)
        for name in (*self._cluster.others, *asked):
            node.outbox.ask(name, QUERY)

    def judged(self, judgement: Judgement | None, now: float) -> None:
        """The detector thinks otherwise than before."""
        if judgement is not None:
            what, subject = What(judgement.state), self._detector.subject
            self._node.outbox.decide(what, judgement.because, now, node=subject)

    def follow(self, leader: str, now: float) -> None:
        """Watch ``leader`` from now on."""
        self._detector.watch(leader, now)

    def rest(self, now: float) -> None:
        """We let go of our epoch: leave the next one to another server for a while."""
        timing = self._node.membership.timing
        self._start_at = now + timing.silence + 2 * timing.interval
        self._detector.watch("", now)

    def reason(self, now: float) -> str:
        """Why to ask for votes now, as a sentence; empty when there is no reason."""
        if self.paused or (self._clock.watching(now) and not self._cluster.leader_died):
            return ""
        if self.nobody_heard:
            can_start = self._may_start(now) and not self._node.membership.alone
            return f"{self._node.name} hears nobody who rules" if can_start else ""
        if self._detector.state == d.DEAD:
            return "" if self._bears_with_it(now) else self._detector.verdict
        if self._detector.state == d.LEFT and now >= self._start_at:
            return f"{self._detector.subject} has left"
        return ""

    def _bears_with_it(self, now: float) -> bool:
        """The leader took over not long ago, and is there without a lease: in a site that is slow everywhere nobody
        has one, and each takeover makes it slower."""
        leader, membership = self._cluster.peers.get(self._detector.subject), self._node.membership
        holds = leader is not None and leader.state == HOLDING and now - leader.heard_at < membership.timing.silence
        return holds and now < self._cluster.changed_at + membership.hold_down

    def objection(self) -> str:
        """Why an election that this server began is not wanted any more, as a sentence; empty when it is."""
        if self.paused:
            return "an operator paused it"
        return f"{self._cluster.leader} is active" if self._detector.state in (d.ALIVE, d.SUSPECT) else ""

    def _may_start(self, now: float) -> bool:
        """Nobody was heard who leads: whether we may begin, or somebody else has the right of way."""
        timing, watched = self._node.membership.timing, self._detector
        start_at = self._start_at
        if watched.subject:
            start_at = max(start_at, watched.heard_at + timing.dead_after)
        first = self._cluster.peers.get(self._node.membership.preferred)
        if first is not None and first.state == STANDBY and now - first.heard_at < timing.silence:
            start_at = max(start_at, first.well_since + timing.silence + 2 * timing.interval)
        return now >= start_at
