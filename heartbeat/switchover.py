"""The leader's side of a planned switchover, and the policies by which the leader begins one by itself."""

from __future__ import annotations

from heartbeat.cluster_view import DEAD, ClusterView
from heartbeat.decision import What
from heartbeat.header import HANDOVER, LEFT, STANDBY, Beat
from heartbeat.membership import RETURN
from heartbeat.participant import Participant


class Switchover:
    """The switchover of a leader, at most one at a time. ``to``: the server that is to take over; empty: none."""

    def __init__(self, node: Participant, cluster: ClusterView) -> None:
        self.to = ""
        self.because = ""
        self.limit_at = float("inf")
        """When the switchover is called off."""
        self._said = ""
        self._fewer_since: float | None = None
        """Since when another server reaches agents that we do not."""
        self._node = node
        self._cluster = cluster

    def objection(self, to: str, now: float) -> str:
        """Why the leader cannot hand over to ``to``, as a sentence; empty when it can."""
        peer, timing = self._cluster.peers.get(to), self._node.membership.timing
        if peer is None:
            return f"{to or 'nobody'} is no other server of this site"
        if now - peer.heard_at > 2 * timing.slow_interval + timing.silence or peer.state in (LEFT, DEAD):
            return f"{to} is not there: nothing was heard of it lately"
        return f"a switchover to {self.to} is under way" if self.to else ""

    def start(self, to: str, because: str, epoch: int, now: float) -> None:
        """Ask ``to`` to take over from our ``epoch``."""
        node = self._node
        self.to, self.because, self._said = to, because, "it has not answered"
        self.limit_at = now + node.membership.timing.switchover_limit
        node.outbox.decide(What.HANDING_OVER, f"{node.name} hands over to {to}: {because}", now, node=to)
        self.remind(epoch)

    def remind(self, epoch: int) -> None:
        """Repeat the request to take over."""
        if self.to:
            self._node.outbox.ask(self.to, HANDOVER, for_epoch=epoch)

    def answered(self, answer: Beat) -> None:
        """Note the other server's answer to the request."""
        if answer.node == self.to:
            self._said = f"it says {answer.no}" if answer.no else "it asks the voters, and is not ready"

    def expire(self, now: float) -> None:
        """Call the switchover off when its time is over."""
        if now >= self.limit_at:
            to = self.to
            self._node.outbox.decide(
                What.CALLED_OFF, f"the switchover to {to} is called off: {self._said}", now, node=to
            )
            self.to, self.limit_at = "", float("inf")

    def end(self) -> None:
        """Our leadership began or ended: no switchover is going on."""
        self.to, self.limit_at, self._fewer_since = "", float("inf"), None

    def follow_policies(self, reach: int, epoch: int, began_at: float, now: float) -> None:
        """Hand over by ourselves: to a server that reaches more agents, or back to the preferred one."""
        if self.to:
            return
        better = self._better(reach, now)
        if better and self._fewer_for(now) >= self._node.membership.timing.subset_after:
            self._fewer_since = None
            because = f"{better} reaches agents that {self._node.name} does not, for long enough"
            self.start(better, because, epoch, now)
        elif not better:
            self._fewer_since = None
            self._return(reach, epoch, began_at, now)

    def _better(self, reach: int, now: float) -> str:
        """A stand-by that reaches all agents that we reach, and more."""
        silence, better = self._node.membership.timing.silence, ""
        for name, peer in self._cluster.peers.items():
            present = peer.state == STANDBY and now - peer.heard_at < silence
            if present and reach != peer.reach and reach & ~peer.reach == 0:
                better = name
        return better

    def _fewer_for(self, now: float) -> float:
        if self._fewer_since is None:
            self._fewer_since = now
        return now - self._fewer_since

    def _return(self, reach: int, epoch: int, began_at: float, now: float) -> None:
        membership, timing = self._node.membership, self._node.membership.timing
        first = membership.preferred
        back = self._cluster.peers.get(first)
        if membership.failback != RETURN or back is None:
            return
        well = min(now - back.well_since, now - began_at)
        if back.state != STANDBY or now - back.heard_at >= timing.silence or well < membership.return_after:
            return
        if reach & ~back.reach == 0:
            self._cluster.well_from(first, now)
            self.start(first, f"{first} is preferred and has been well for {well:.0f} s", epoch, now)
