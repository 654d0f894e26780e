"""The rules of one voter: which server it heard, which epochs it granted, which leadership it follows. They hold for
agents, and for a server that votes. docs/heartbeat.md gives the reason for each rule.

``Voter`` changes ``state`` by replacing it; its owner writes the new value to disk before any message that depends on
it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from heartbeat.death import commitment_of
from heartbeat.header import ACTIVE, AS_IF_RELEASED, FIRST, Beat, BeatError, Start
from heartbeat.membership import Membership
from heartbeat.persistent_state import Granted, Leadership, PersistentState
from heartbeat.proof import ListRank, Proof, VoterList, sign_grant
from heartbeat.timing import Timing

NOBODY: Final = ""
_MOST_GRANTED: Final = 16
_MOST_ENDED: Final = 16


@dataclass(frozen=True, slots=True)
class Vote:
    """A voter's answer to "would you grant me this epoch?"."""

    no: str = ""
    """The reason for a no: ``mute`` (it has no vote), ``voters`` (it uses another list of voters), ``promised`` (that
    or a higher epoch to another), ``young`` (started too recently), ``heard`` (a leader, within its lease), ``ended``
    (this start of the candidate is known to have died); empty: yes."""
    wait: float | None = None
    """Seconds of silence after which it would say yes; None when time alone changes nothing."""
    voters: VoterList | None = None
    """The list of voters that it would use after the grant."""

    def __bool__(self) -> bool:
        return not self.no


@dataclass(frozen=True, slots=True)
class _Heard:
    """The server that was last heard as active or granted an epoch: it may still have its lease. ``at``: when, on the
    core's clock; ``lease``: seconds."""

    start: Start
    epoch: int
    at: float
    lease: float
    released: bool = False


class Voter:
    """One node's memory of servers and grants, and the decisions that follow from it. It does no I/O."""

    def __init__(self, name: str, membership: Membership, state: PersistentState, now: float) -> None:
        self.name = name
        self.membership = membership
        self.state = state
        self.heard: _Heard | None = None
        """The server whose heartbeat or vote request was counted last."""
        self._since = now

    def reload(self, membership: Membership) -> None:
        """Use a changed site file from now on."""
        self.membership = membership

    @property
    def list_rank(self) -> ListRank:
        """The rank of our list of voters among others."""
        return self.state.voters.rank(self.state.leadership.epoch)

    @property
    def has_vote(self) -> bool:
        """Whether the grants of this node and its answers to heartbeats count."""
        return not self.state.non_voting and self.name in self.state.voters.names

    def has_ended(self, start: Start) -> bool:
        """Whether that start of a server has died: its secret was revealed."""
        return start.commitment in self.state.ended

    def end(self, secret: str) -> None:
        """The start of a server with this secret has died: its heartbeats are refused and it is granted nothing."""
        self._end((secret,))

    def objection(self, start: Start, epoch: int) -> str:
        """Why a heartbeat of a leader, in that start and under that epoch, is refused; empty when it is accepted.

        A leadership that was neither proved to this node nor granted by it is refused too: otherwise a voter could
        keep alive a leadership that it does not remember.
        """
        if self.has_ended(start):
            return "ended"
        if epoch < self.state.promised_to_others(start):
            return "stale"
        leadership = self.state.leadership
        if (leadership.node, leadership.incarnation, leadership.epoch) == (start.node, start.incarnation, epoch):
            return ""
        if Granted(epoch, *start) in self.state.granted:
            return ""
        return "unproved"

    def hear(self, beat: Beat, now: float) -> str:
        """Note the sender of an ``active`` heartbeat as heard. Returns why the heartbeat was refused, or empty."""
        no = self.objection(beat.start, beat.epoch)
        if not no and beat.state == ACTIVE:
            heard = self.heard
            if heard is not None and heard.released and heard.start == beat.start and beat.epoch <= heard.epoch:
                return "released"
            lease = beat.lease or 0.0
            if heard is not None and (heard.start, heard.epoch) == (beat.start, beat.epoch):
                lease = max(lease, heard.lease)
            self.heard = _Heard(beat.start, beat.epoch, now, lease)
            if lease > self.state.lease:
                self._change(lease=lease)
        return no

    def release(self, start: Start, epoch: int) -> None:
        """``start`` has released ``epoch`` for ever. This says nothing about another start of the same server."""
        if self.heard is not None and self.heard.start == start and self.heard.epoch <= epoch:
            self.heard = replace(self.heard, released=True)

    def judge(self, ask: Beat, now: float) -> Vote:
        """Whether the epoch ``ask.for_epoch`` would be granted to the sender. Changes nothing."""
        voters = self._list_for(ask)
        if voters is None:
            return Vote("mute" if self.state.non_voting else "voters")
        began = FIRST in ask.flags and self.state.voters.generation <= 1 and not self.state.promised_epoch
        if (self.state.non_voting and not began) or self.name not in voters.names:
            return Vote("mute")
        if self.has_ended(ask.start):
            return Vote("ended")
        mine = self.heard is not None and self.heard.start == ask.start
        again = mine and Granted(ask.for_epoch, *ask.start) in self.state.granted
        if ask.for_epoch <= self.state.promised_epoch and not (again and ask.for_epoch == self.state.promised_epoch):
            return Vote("promised")
        young = self._since + self._silence(self.state.lease) - now
        if young > 0:
            return Vote("young", max(young, self._wait(ask, mine, now)))
        wait = self._wait(ask, mine, now)
        return Vote("heard", wait) if wait > 0 else Vote(voters=voters)

    def _wait(self, ask: Beat, mine: bool, now: float) -> float:
        if self.heard is None or mine or self.heard.released or AS_IF_RELEASED in ask.flags:
            return 0.0
        if self._is_dead(self.heard.start, ask.deaths):
            return 0.0
        return max(0.0, self.heard.at + self._silence(self.heard.lease) - now)

    def _is_dead(self, start: Start, secrets: Sequence[str]) -> bool:
        return self.has_ended(start) or start.commitment in map(commitment_of, secrets)

    def _silence(self, lease: float) -> float:
        """Seconds of silence after which a lease of that many seconds is surely over. Its holder may use another site
        file than this node."""
        timing = self.membership.timing
        if lease <= timing.lease:
            return timing.silence
        return lease + max(timing.margin, Timing(lease=lease).margin)

    def _list_for(self, ask: Beat) -> VoterList | None:
        """The list of voters by which ``ask`` would be voted on; None when it is not ours and cannot replace ours."""
        own = self.state.voters
        try:
            theirs = VoterList.parse(ask.list)
        except BeatError:
            return None
        if theirs == own:
            return own
        if own.generation == 0:
            return theirs if FIRST in ask.flags else None
        return theirs if theirs.names and theirs.rank(ask.epoch) > self.list_rank else None

    def grant(self, request: Beat, now: float) -> Vote:
        """Grant ``request.for_epoch`` to the sender if the rules allow it. A grant counts as hearing the candidate.

        Only a pre-vote may assume that the leader releases its lease; in a vote request that flag is ignored.
        """
        vote = self.judge(replace(request, flags=tuple(f for f in request.flags if f != AS_IF_RELEASED)), now)
        if vote.voters is not None:
            lease = request.lease or 0.0
            self.heard = _Heard(request.start, request.for_epoch, now, lease)
            self._end(request.deaths)
            granted = Granted(request.for_epoch, *request.start)
            if granted not in self.state.granted or vote.voters != self.state.voters or lease > self.state.lease:
                self._note(granted, voters=vote.voters, non_voting=False, lease=lease)
        return vote

    def signature(self, request: Beat, key: bytes) -> str:
        """Our grant of ``request``, signed. Only to be called after ``grant`` said yes and the state is on disk."""
        return sign_grant(
            key,
            self.membership.site,
            self.name,
            request.for_epoch,
            request.node,
            request.incarnation,
            self.state.voters,
        )

    def adopt(self, proof: Proof, keys: Sequence[bytes], lease: float = 0.0, commitment: str = "") -> str:
        """Follow the leader that ``proof`` names, as soon as the state is on disk. Returns why the proof is refused,
        as a sentence, or empty; also empty for the leadership that is followed already.

        ``lease`` (seconds) and ``commitment`` come from the message with the proof. The lease of an earlier epoch is
        over, since a quorum has waited for its end.
        """
        leadership = self.state.leadership
        if (proof.epoch, proof.node, proof.incarnation) == (
            leadership.epoch,
            leadership.node,
            leadership.incarnation,
        ):
            return ""
        weaker = leadership.forced and not proof.forced and proof.epoch == leadership.epoch
        if proof.epoch <= leadership.epoch and not weaker:
            return (
                f"epoch {proof.epoch} of {proof.node} is over: {leadership.node} rules under epoch {leadership.epoch}"
            )
        fault = proof.fault(keys, self.membership.site)
        if fault:
            return fault
        own = self.state.voters
        told_before = own.made_under >= proof.epoch and own.generation > proof.voters.generation
        promise = self._promise_of(proof)
        self._note(
            promise or Granted(proof.epoch, proof.node, proof.incarnation, commitment),
            lease=max(lease, self.state.lease if promise is not None else 0.0),
            leadership=Leadership(proof.epoch, proof.node, proof.incarnation, proof.forced),
            # a later list made under an earlier epoch did not become the site's; but a forced epoch proves nothing
            # about lists
            voters=own
            if told_before or (proof.forced and own.generation > proof.voters.generation)
            else proof.voters,
            first=False,
        )
        return ""

    def _promise_of(self, proof: Proof) -> Granted | None:
        """Our own grant of the epoch in ``proof`` to the same start of the server, or None. A proof names a start by
        its incarnation only, a grant has its commitment too."""
        wanted = (proof.epoch, proof.node, proof.incarnation)
        granted = (one for one in self.state.granted if (one.epoch, one.node, one.incarnation) == wanted)
        return next(granted, None)

    def begin_site(self, voters: VoterList) -> None:
        """Start the site for the first time with this list of voters, by an operator's order."""
        self._change(first=True, non_voting=False, voters=voters)

    def take_list(self, voters: VoterList, epoch: int) -> bool:
        """Use the list of voters of a node that follows the leadership of ``epoch``, if it is later than ours.
        Returns whether it is.

        This gives no vote to a node that has none; ``admit`` does.
        """
        if voters.rank(epoch) <= self.list_rank:
            return False
        self._change(voters=voters)
        return True

    def admit(self, voters: VoterList, epoch: int, promised_to_others: int, now: float) -> bool:
        """Give this node its vote again, with the list of ``epoch``. It counts as having promised
        ``promised_to_others``, an epoch above all of earlier lists, to nobody. Returns False when it has a vote
        already, or its own list is later."""
        if not self.state.non_voting or voters.rank(epoch) < self.list_rank:
            return False
        self.heard = None
        self._since = now
        self._note(Granted(promised_to_others, NOBODY, 0), voters=voters, non_voting=False)
        return True

    def _note(self, granted: Granted, **changes: object) -> None:
        others = [old for old in self.state.granted if old.start != granted.start]
        same = [old for old in self.state.granted if old.start == granted.start and old.epoch > granted.epoch]
        latest = sorted((*others, *(same or [granted])), key=lambda one: -one.epoch)[:_MOST_GRANTED]
        self._change(granted=tuple(latest), **changes)

    def _end(self, secrets: Sequence[str]) -> None:
        """Remember that the starts with these secrets have died."""
        ended = self.state.ended
        for commitment in map(commitment_of, secrets):
            if commitment not in ended:
                ended = (commitment, *ended)
        if ended != self.state.ended:
            self._change(ended=ended[:_MOST_ENDED])

    def _change(self, **changes: object) -> None:
        self.state = replace(self.state, serial=self.state.serial + 1, **changes)  # type: ignore[arg-type]
