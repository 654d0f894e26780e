"""Changes of the list of voters by the leader: one voter at a time, one change after the other.

Steps of a change: the new list is written to our disk; it is sent to all nodes; a quorum of the old list adopts it;
only then a new voter, or one that lost its file, gets its vote, with a promise that covers every epoch that it may
have granted and forgotten. If no voter of that quorum has granted an epoch above the present one, that is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from heartbeat.cluster_view import ClusterView, VoterStatus
from heartbeat.decision import What
from heartbeat.header import PREVOTE, START, VOTERS
from heartbeat.membership import majority
from heartbeat.participant import Participant
from heartbeat.proof import VoterList


@dataclass(frozen=True, slots=True)
class Change:
    """One step from ``old`` to ``new``."""

    old: VoterList
    new: VoterList
    admit: str = ""
    """The node that gets a vote at the end; empty: none."""
    because: str = ""
    """Reason, half a sentence."""
    forced: bool = False
    """Made by an operator's force: no quorum is waited for."""

    def committed(self, statuses: Mapping[str, VoterStatus]) -> bool:
        """Whether a quorum of the old list has adopted the new one, so that the old list can elect no leader.

        The node to be admitted does not count, since it may have forgotten its grants.
        """
        return self.forced or len(self._moved(statuses)) >= self.old.quorum

    def superseded(self, statuses: Mapping[str, VoterStatus], epoch: int) -> bool:
        """Whether the old list can elect no leader above ``epoch``, whatever grants the admitted node has forgotten.

        Each quorum of the old list shares a voter with those that adopted the new one; that voter had granted nothing
        above ``epoch`` to another when it did, and grants nothing by the old list since.
        """
        clean = [name for name in self._moved(statuses) if statuses[name].promised_to_others <= epoch]
        return not self.forced and len(clean) >= self.old.quorum

    def _moved(self, statuses: Mapping[str, VoterStatus]) -> list[str]:
        new, others = self.new.generation, (name for name in self.old.names if name != self.admit)
        return [name for name in others if name in statuses and statuses[name].generation >= new]


def next_change(
    current: VoterList,
    wanted: tuple[str, ...],
    filed: int,
    epoch: int,
    generations: Mapping[str, int],
    lost: tuple[str, ...],
    restore: tuple[str, ...],
    seen: Collection[str],
    quorum_wanted: int = 0,
) -> Change | None:
    """The next change of the list ``current``; None if none is due.

    ``wanted`` and ``filed``: the site file's list and its number; ``lost``: voters without a vote that never had one;
    ``restore``: those whose vote an operator restores; ``seen``: nodes seen with a vote. A voter is removed only if
    these are a quorum of the remaining list (``quorum_wanted`` at least), lest the site is without a quorum for good.
    """
    names, number, admit, because = current.names, current.filed, "", ""
    if any(generations.get(name, 0) > current.generation for name in current.names):
        because = "a voter lives by a later list that did not become the site's"
    elif again := [name for name in (*restore, *lost) if name in current.names]:
        admit = again[0]
        because = f"{admit} votes again" if admit in restore else f"{admit} starts to vote"
    elif filed > current.filed:
        names = current.step_towards(wanted)
        added = [name for name in names if name not in current.names]
        least = max(majority(len(names)), min(quorum_wanted, len(names)))
        if len(names) < len(current.names) and sum(name in seen for name in names) < least:
            return None
        admit = added[0] if added else ""
        number = filed if set(names) == set(wanted) else current.filed
        because = f"the site file's list number {filed} is {', '.join(wanted)}"
    else:
        return None
    new = current.next(epoch, names, number)
    return None if new is None else Change(current, new, admit, because)


class Reconfiguration:
    """Makes the changes of one server, one at a time. ``when_changed`` is called when a new list is on disk."""

    def __init__(
        self, node: Participant, cluster: ClusterView, when_changed: Callable[[float], None], now: float
    ) -> None:
        self.change: Change | None = None
        """The change that is under way."""
        self._node = node
        self._cluster = cluster
        self._when_changed = when_changed
        self._admitted = 0
        """Incarnation of the node that this change has sent its vote to; 0: not sent yet."""
        self._restore: list[str] = []
        """Voters whose vote an operator restores."""
        self._list_at = now
        self._no_list_said = False

    def request_list(self, now: float) -> None:
        """Ask for the list of voters, since this server has none: nodes that have one answer a pre-vote with it."""
        node = self._node
        if now < self._list_at:
            return
        self._list_at = now + node.membership.timing.interval
        known = [name for name, generation in self._cluster.generations.items() if generation]
        for name in known:
            node.outbox.ask(name, PREVOTE, list=node.voter.state.voters.text)
        if not known and not self._no_list_said:
            self._no_list_said = True
            said = f"{node.name} cannot ask for votes: it knows no list of voters; `b2bua init` says that the site"
            node.outbox.decide(What.REFUSED, f"{said} starts for the first time", now)

    def restore_vote(self, voter: str, may_admit: bool, force: bool, now: float) -> str:
        """Have the vote of a voter without its epoch file restored. Returns why that is refused, as a sentence;
        empty: it is not."""
        node, cluster, voters = self._node, self._cluster, self._node.voter.state.voters
        if voter not in voters.names:
            return f"{voter} is no voter of this site"
        if force:
            new = voters.next(max(cluster.epoch, 1), voters.names, voters.filed)
            if new is None:
                return "the list of voters was changed too often under one epoch; switch over first"
            self._begin(Change(voters, new, voter, f"{voter} votes again by force", forced=True), now)
            return ""
        if not may_admit:
            return f"{node.name} has no quorum; readmit at the active server, or by force"
        if voter not in cluster.non_voting | cluster.voting:
            return f"nothing was heard of {voter} yet; start it first"
        if voter not in cluster.non_voting:
            return f"{voter} has its vote"
        if voter not in self._restore:
            self._restore.append(voter)
        return ""

    def withdraw(self) -> None:
        """Our leadership has begun or ended: abandon the change under way."""
        self.change = None

    def tend(self, epoch: int, may_change: bool, may_admit: bool, superseded: bool, now: float) -> None:
        """Send the list to nodes with an older one, and continue a change, or begin one that is due.

        ``epoch``: ours, 0 when we do not lead; ``may_change``: we lead with a lease from a quorum; ``may_admit``: we
        lead and a quorum answers, which suffices to give a voter of the list its vote; ``superseded``: a voter has
        promised a higher epoch.
        """
        node, change, voters = self._node, self.change, self._node.on_disk.voters
        if not voters.names or voters != node.voter.state.voters:
            return
        generations = {**self._cluster.generations, node.name: voters.generation}
        if epoch or (change is not None and change.forced):
            told = dict.fromkeys((*self._cluster.others, *voters.names, *(change.old.names if change else ())))
            for name in told:
                if name != node.name and generations.get(name, voters.generation) < voters.generation:
                    node.outbox.ask(name, VOTERS, list=voters.text)
        if change is not None:
            self._go_on(change, epoch, superseded)
        elif may_change or may_admit:
            cluster, members = self._cluster, node.membership
            lost = tuple(sorted(cluster.non_voting - cluster.voting))
            self._restore = [voter for voter in self._restore if voter in cluster.non_voting]
            free = may_change and self._is_followed(voters, epoch)
            wanted, filed = (members.voters, members.generation) if free else (voters.names, voters.filed)
            seen = cluster.known_voters() | ({node.name} if node.voter.has_vote else set())
            due = next_change(
                voters, wanted, filed, epoch, generations, lost, tuple(self._restore), seen, members.quorum_wanted
            )
            if due is not None:
                self._begin(due, now)

    def _is_followed(self, voters: VoterList, epoch: int) -> bool:
        """Whether a quorum follows our epoch, on disk. Then a list that an earlier leader made, but few nodes
        adopted, can elect no leader; before, its quorum and that of a list made by us might have no voter in
        common."""
        statuses = self._statuses()
        following = [name for name in voters.names if name in statuses and statuses[name].epoch == epoch]
        return len(following) >= voters.quorum

    def _statuses(self) -> dict[str, VoterStatus]:
        """The last status of all nodes with a vote, our own included."""
        node, statuses = self._node, dict(self._cluster.statuses)
        statuses.pop(node.name, None)
        if node.voter.has_vote:
            disk, promised = node.on_disk, node.voter.state.promised_to_others(node.start)
            statuses[node.name] = VoterStatus(disk.voters.generation, promised, disk.leadership.epoch)
        return statuses

    def _begin(self, change: Change, now: float) -> None:
        node, new = self._node, change.new
        self.change, self._admitted = change, 0
        node.voter.take_list(new, new.made_under)
        names = ", ".join(new.names)
        said = f"the voters are {names} from now on (generation {new.generation}): {change.because}"
        node.outbox.decide(What.VOTERS, said, now)
        node.when_durable(self._when_changed, now)

    def _go_on(self, change: Change, epoch: int, superseded: bool) -> None:
        node, cluster, admit = self._node, self._cluster, change.admit
        statuses = self._statuses()
        if not change.committed(statuses):
            return
        votes = admit in cluster.known_voters()
        incarnation = cluster.incarnations.get(admit, 0)
        if not admit or (votes and cluster.generations.get(admit, 0) >= change.new.generation):
            self.change = None
        elif self._admitted not in (0, incarnation) and not change.forced:
            # it has restarted, and may have had its vote by this list and lost it: only another list can admit it
            self.change = None
        else:
            self._admitted = incarnation
            above = epoch
            if superseded or not change.superseded(statuses, epoch):
                above = max(cluster.promised_epoch, cluster.epoch, node.voter.state.promised_epoch) + 1
            flags = (admit, f"{START}{incarnation}")
            node.outbox.ask(admit, VOTERS, list=change.new.text, for_epoch=above, flags=flags)
