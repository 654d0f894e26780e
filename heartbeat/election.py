"""One attempt to win an epoch: the voters asked and their answers. It only counts; ``candidate`` sends the messages,
and its table leads from the pre-vote to the vote request and to the proof.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from heartbeat.header import GRANT, NO_DISK, Beat
from heartbeat.proof import Proof, VoterList

_MOST_ASKED: Final = 1024
_LEAST_ROUND: Final = 0.01
"""Seconds for which no voter's answer can make the next round begin."""


class _Question(NamedTuple):
    """A question to a voter that has not been answered yet."""

    voter: str
    epoch: int
    sent_at: float


class Grant(NamedTuple):
    """A voter's grant, in answer to a vote request."""

    signature: str
    sent_at: float
    """When the answered request was sent: the lease is counted from there."""
    promised_to_others: int
    """The highest epoch that this voter ever granted to another server."""


class Election:
    """The count of the votes of ``voters`` for ``epoch``. ``retry_at``: when to ask again."""

    def __init__(
        self,
        because: str,
        agents: Collection[str],
        now: float,
        planned: bool = False,
        renewal: bool = False,
        slack: float = 0.0,
        wait_for_more: bool = False,
    ) -> None:
        self.because = because
        """Why the election is held, as a sentence."""
        self.planned = planned
        """Whether it is for a switchover: the leader releases its lease when the pre-vote is won."""
        self.renewal = renewal
        """Whether it is held by a leader that met a voter's promise of a higher epoch."""
        self.voters = VoterList()
        self.quorum = 1
        self.epoch = 0
        self.began_at = now
        self.retry_at = now
        self.round_at = now
        """When this epoch was first asked for, in a pre-vote or in a vote request."""
        self.yes: set[str] = set()
        """The voters that would grant: by their newest answers in this round of the pre-vote, or shortly before."""
        self.refusals: dict[str, Beat] = {}
        """The newest refusal of each voter in this round."""
        self.grants: dict[str, Grant] = {}
        self._agents = agents
        self._slack = slack
        self._waits_for_more = wait_for_more
        self._waits_until: float | None = None
        self._willing: set[str] = set()
        """The voters that said yes to a pre-vote in any round."""
        self._asked: dict[int, _Question] = {}
        self._yes_at: dict[str, float] = {}
        """Voter -> when its yes came."""
        self._soonest = now
        """When the next round of the pre-vote may begin at the earliest."""

    def prevote(self, epoch: int, voters: VoterList, quorum: int, retry_at: float, now: float) -> None:
        """Begin a new round of the pre-vote for ``epoch``.

        An answer may end a round early. So that the answers of the others count all the same, however often one voter
        does that, a yes holds for half the time of a round, and one to a lower epoch for the higher one.
        """
        if voters != self.voters or epoch < self.epoch:
            self._asked.clear()
            self._yes_at.clear()
        self.voters, self.quorum = voters, quorum
        if epoch != self.epoch:
            self.grants.clear()
            self.round_at = now
        self.epoch = epoch
        self._soonest = now + _LEAST_ROUND
        self._next_round(retry_at)
        since = now - (retry_at - now) / 2
        self._yes_at = {voter: at for voter, at in self._yes_at.items() if at > since}
        self.yes.update(self._yes_at)

    def request_votes(self, retry_at: float, now: float) -> None:
        """Begin to ask for grants; from here on a switchover is like any other election."""
        self.planned = False
        self._ask_anew(now)
        self._next_round(retry_at)

    def repeat_request(self, retry_at: float) -> None:
        """Those who have not granted are asked again."""
        self._next_round(retry_at)

    def give_up_epoch(self, retry_at: float, now: float) -> None:
        """This epoch was not won: go on with the next higher one, since an epoch is requested once only."""
        self._ask_anew(now)
        self.epoch += 1
        self._next_round(retry_at)

    def retry(self, at: float) -> None:
        """Ask again at ``at``."""
        self.retry_at = at

    def hurry(self, at: float) -> None:
        """Ask again at ``at`` at the latest, but let a round last for a moment."""
        self.retry_at = min(self.retry_at, max(at, self._soonest))

    def _ask_anew(self, now: float) -> None:
        self.grants.clear()
        self._asked.clear()
        self._yes_at.clear()
        self.round_at = now

    def _next_round(self, retry_at: float) -> None:
        self.yes.clear()
        self.refusals.clear()
        self.retry_at = retry_at

    def asked(self, seq: int, voter: str, now: float) -> None:
        """Message number ``seq`` was sent to ask ``voter``."""
        if len(self._asked) > _MOST_ASKED:
            self._asked.clear()
        self._asked[seq] = _Question(voter, self.epoch, now)

    def answered(self, answer: Beat, now: float) -> None:
        """Count a voter's answer, also one to an earlier round; but not what it promised, when another epoch is asked
        for meanwhile."""
        node = answer.node
        asked = self._asked.pop(answer.re[1] if answer.re else -1, None)
        if asked is None or (asked.voter, asked.epoch) != (node, answer.for_epoch) or node not in self.voters.names:
            return
        if asked.epoch < self.epoch and (answer.kind == GRANT or answer.no == "promised"):
            return
        if answer.no:
            self.refused(node, answer)
            if answer.wait is not None:
                self.hurry(max(now + 0.001, self._eta(now) + self._slack))
        elif answer.kind == GRANT:
            self.granted(node, Grant(answer.grant, asked.sent_at, answer.promised_to_others))
        else:
            self.agreed(node)
            self._yes_at[node] = now
            self._willing.add(node)

    def agreed(self, voter: str) -> None:
        """``voter`` would grant."""
        self.refusals.pop(voter, None)
        self.yes.add(voter)

    def refused(self, voter: str, answer: Beat) -> None:
        """``voter`` would not grant, or did not grant."""
        self.yes.discard(voter)
        self._yes_at.pop(voter, None)
        self.refusals[voter] = answer

    def granted(self, voter: str, grant: Grant) -> None:
        """``voter`` granted. A later grant replaces an earlier one, since its request was sent later."""
        if grant.signature:
            self.refusals.pop(voter, None)
            self.grants[voter] = grant

    def _eta(self, now: float) -> float:
        """When a quorum would say yes by the answers so far; infinity when they do not show it."""
        waits = [0.0] * len(self.yes | self.grants.keys())
        waits += [no.wait for voter, no in self.refusals.items() if no.wait is not None and voter not in self.grants]
        waits.sort()
        if len(waits) < self.quorum:
            return float("inf")
        return now + (waits[-1] if self._waits_for_more else waits[self.quorum - 1])

    def wins_prevote(self, needed: Collection[str] = ()) -> bool:
        """Whether a quorum with an agent in it would grant, and all voters of ``needed`` that can vote would."""
        non_voting = {voter for voter, no in self.refusals.items() if no.no in ("mute", NO_DISK)}
        if not (self.yes | non_voting).issuperset(needed):
            return False
        return len(self.yes) >= self.quorum and not self.yes.isdisjoint(self._agents)

    def waits_for(self, present: set[str], now: float, timeout: float) -> bool:
        """Whether to wait for more voters although a quorum would grant: at the first start of a site, and for
        ``timeout`` seconds at most. Voters that are not ``present`` are not waited for, nor those that refuse for
        another reason than that they have just started.
        """
        if not self._waits_for_more:
            return False
        if self._waits_until is None:
            self._waits_until = now + timeout
        expected = {
            voter
            for voter in present - self.yes - self._willing
            if voter not in self.refusals or self.refusals[voter].no == "young"
        }
        self._waits_for_more = bool(expected) and now < self._waits_until
        return self._waits_for_more

    @property
    def waits(self) -> bool:
        """Whether a quorum would grant, and more voters are waited for."""
        return self._waits_for_more and self.wins_prevote()

    def wins(self) -> bool:
        """Whether a quorum granted, with at least one agent in it."""
        return len(self.grants) >= self.quorum and not self.grants.keys().isdisjoint(self._agents)

    def proof(self, node: str, incarnation: int) -> Proof:
        """The proof of the epoch that the grants make, for start ``incarnation`` of server ``node``."""
        grants = tuple((voter, grant.signature) for voter, grant in sorted(self.grants.items()))
        return Proof(self.epoch, node, incarnation, self.voters, grants)

    def none_between(self, epoch: int) -> bool:
        """Whether no other server can have won an epoch between ``epoch`` and ours, since a quorum granted none."""
        return sum(grant.promised_to_others <= epoch for grant in self.grants.values()) >= self.quorum

    @property
    def is_lost(self) -> bool:
        """Whether so many voters have promised higher epochs that the others are no quorum."""
        promised = [voter for voter, no in self.refusals.items() if no.promised_epoch > self.epoch]
        return len(self.voters.names) - len(promised) < self.quorum

    @property
    def highest_promise(self) -> int:
        """The highest epoch that a refusing voter has promised."""
        return max((no.promised_epoch for no in self.refusals.values()), default=0)

    @property
    def outcome(self) -> str:
        """The count so far, as text for operators."""
        said = self.yes | self.grants.keys()
        parts = [f"{len(said)} of {len(self.voters.names)} for it, {self.quorum} needed"]
        for voter in self.voters.names:
            no = self.refusals.get(voter)
            if no is not None:
                parts.append(f"{voter}: {_REFUSAL_REASONS.get(no.no, no.no).format(leader=no.leader or 'a server')}")
            elif voter not in said:
                parts.append(f"{voter}: no answer yet")
        return "; ".join(parts)


_REFUSAL_REASONS: Final = {
    "": "it has no vote",
    "mute": "it has no vote",
    "disk": "its disk takes nothing, so it cannot vote",
    "voters": "it lives by another list of voters",
    "promised": "it promised this epoch or a higher one already",
    "young": "it is not up long enough",
    "heard": "it has heard {leader}",
    "ended": "it was told that this start of the server has died",
}
