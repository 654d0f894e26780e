"""A server that does not lead: it watches the leader and decides when there is reason for an election.

Watching only sends queries. While our own clock is suspect there is no reason, unless the leader's death was
reported.
"""

from __future__ import annotations

from heartbeat import detector as d
from heartbeat.cluster_view import ClusterView
from heartbeat.decision import What
from heartbeat.detector import ClockSuspectMode, Detector, Judgement
from heartbeat.header import HOLDING, QUERY, STANDBY
from heartbeat.participant import Participant


class Standby:
    """A server's judgement of the leader."""

    def __init__(self, node: Participant, cluster: ClusterView, detector: Detector, now: float) -> None:
        self.paused = False
        """Whether an operator has switched off automatic takeovers."""
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
        """Whether no leader was ever heard, neither by us nor by others."""
        return not self._detector.heard_of and self._detector.state == d.UNKNOWN

    @property
    def slack(self) -> float:
        """Seconds to wait longer than the voters demand, so that the preferred server is first."""
        return self._node.membership.timing.interval if self.nobody_heard and not self._is_preferred else 0.0

    @property
    def judges_dead(self) -> bool:
        """Whether the detector takes the leader for dead."""
        return self._detector.state == d.DEAD

    def reload(self) -> None:
        """Use the timing of a changed site file."""
        self._detector.reload(self._node.membership.timing)
        self._clock.reload(self._node.membership.timing)

    def pause(self, paused: bool) -> bool:
        """Switch automatic takeovers off (True) or on again; returns whether that was a change."""
        changed, self.paused = self.paused != paused, paused
        return changed

    def due(self, now: float) -> list[float]:
        """The times after ``now`` at which there may be a reason for an election."""
        return [at for at in (self._detector.next_at(now), self._start_at) if at is not None and at > now]

    def is_late(self, due_at: float, now: float) -> bool:
        """Note that a timer due at ``due_at`` fired ``now``; whether it was so late that silence until now may be our
        own fault."""
        return self._clock.tick(due_at, now)

    def watch(self, late: float, now: float) -> None:
        """Judge the leader, and query other nodes about a suspect one. ``late``: seconds for which we could not
        listen; 0: our timers are on time."""
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
            # a suspicion may last as long as a link is broken: it is enough to query the voters
            asked = tuple(name for name in asked if name in node.voter.state.voters.names)
        else:
            self._query_all_at = now + max(timing.slow_interval, timing.interval)
        for name in (*self._cluster.others, *asked):
            node.outbox.ask(name, QUERY)

    def judged(self, judgement: Judgement | None, now: float) -> None:
        """Report a changed judgement of the detector."""
        if judgement is not None:
            what, subject = What(judgement.state), self._detector.subject
            self._node.outbox.decide(what, judgement.because, now, node=subject)

    def follow(self, leader: str, now: float) -> None:
        """Watch ``leader`` from now on."""
        self._detector.watch(leader, now)

    def rest(self, now: float) -> None:
        """We have released our lease: leave the lead to another server for a while."""
        timing = self._node.membership.timing
        self._start_at = now + timing.silence + 2 * timing.interval
        self._detector.watch("", now)

    def reason(self, now: float) -> str:
        """Why to start an election now, as a sentence; empty: there is no reason."""
        if self.paused or (self._clock.watching(now) and not self._cluster.leader_died):
            return ""
        if self.nobody_heard:
            can_start = self._may_start(now) and not self._node.membership.alone
            return f"{self._node.name} hears nobody who rules" if can_start else ""
        if self._detector.state == d.DEAD:
            return "" if self._tolerates_holding(now) else self._detector.verdict
        if self._detector.state == d.LEFT and now >= self._start_at:
            return f"{self._detector.subject} has left"
        return ""

    def _tolerates_holding(self, now: float) -> bool:
        """Whether to tolerate a leader that took over recently and reports that it holds without a lease: if the
        whole site is slow, no leader would have one, and each takeover would make it slower."""
        leader, membership = self._cluster.peers.get(self._detector.subject), self._node.membership
        holds = leader is not None and leader.state == HOLDING and now - leader.heard_at < membership.timing.silence
        return holds and now < self._cluster.changed_at + membership.hold_down

    def objection(self) -> str:
        """Why an election that this server began is to be called off, as a sentence; empty: it is not."""
        if self.paused:
            return "an operator paused it"
        return f"{self._cluster.leader} is active" if self._detector.state in (d.ALIVE, d.SUSPECT) else ""

    def _may_start(self, now: float) -> bool:
        """Without a leader: whether we may start an election, or must leave it to the preferred server."""
        timing, watched = self._node.membership.timing, self._detector
        start_at = self._start_at
        if watched.subject:
            start_at = max(start_at, watched.heard_at + timing.dead_after)
        first = self._cluster.peers.get(self._node.membership.preferred)
        if first is not None and first.state == STANDBY and now - first.heard_at < timing.silence:
            start_at = max(start_at, first.well_since + timing.silence + 2 * timing.interval)
        return now >= start_at
