"""One attempt to win an epoch: whom it is asked of and what the voters said. Arithmetic only; no messages.

What leads from the pre-vote to the vote request and to the proof is the table of ``candidate``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from heartbeat.header import GRANT, NO_DISK, Beat
from heartbeat.proof import Proof, VoterList

_MOST_ASKED: Final = 1024


class Grant(NamedTuple):
    """A voter's consent to a vote request."""

    signature: str
    sent_at: float
    """When the request was sent that it answers: its lease counts from there."""
    promised_to_others: int
    """The highest epoch that this voter ever granted to another server."""


class Election:
    """Asks ``voters`` for ``epoch``. ``retry_at`` says when to ask again."""

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
        """Why it is held, a sentence for people."""
        self.planned = planned
        """A switchover: the leader releases its lease when the pre-vote is won."""
        self.renewal = renewal
        """It is held by a leader that met a promise above its epoch."""
        self.voters = VoterList()
        self.quorum = 1
        self.epoch = 0
        self.began_at = now
        self.retry_at = now
        self.round_at = now
        """Since when this epoch is asked for, in a pre-vote or a vote request."""
        self.yes: set[str] = set()
        """Who would grant, in this round of the pre-vote."""
        self.refusals: dict[str, Beat] = {}
        """The newest refusals of this round."""
        self.grants: dict[str, Grant] = {}
        self._agents = agents
        self._slack = slack
        self._waits_for_more = wait_for_more
        self._waits_until: float | None = None
        self._willing: set[str] = set()
        """Who said yes in any round."""
        self._asked: dict[int, tuple[str, float]] = {}

    def prevote(self, epoch: int, voters: VoterList, quorum: int, retry_at: float, now: float) -> None:
        """A new round of questions whether ``epoch`` would be granted."""
        self.voters, self.quorum = voters, quorum
        if epoch != self.epoch:
            self._ask_anew(now)
        self.epoch = epoch
        self._next_round(retry_at)

    def request_votes(self, retry_at: float, now: float) -> None:
        """The grants are asked for, whether this was a switchover or not."""
        self.planned = False
        self._ask_anew(now)
        self._next_round(retry_at)

    def repeat_request(self, retry_at: float) -> None:
        """Those who have not granted are asked again."""
        self._next_round(retry_at)

    def give_up_epoch(self, retry_at: float, now: float) -> None:
        """This epoch was not won, and is never requested again."""
        self._ask_anew(now)
        self.epoch += 1
        self._next_round(retry_at)

    def retry(self, at: float) -> None:
        """Ask again at ``at``."""
        self.retry_at = at

    def hurry(self, at: float) -> None:
        """Ask again at ``at`` at the latest."""
        self.retry_at = min(self.retry_at, at)

    def _ask_anew(self, now: float) -> None:
        self.grants.clear()
        self._asked.clear()
        self.round_at = now

    def _next_round(self, retry_at: float) -> None:
        self.yes.clear()
        self.refusals.clear()
        self.retry_at = retry_at

    def asked(self, seq: int, voter: str, now: float) -> None:
        """Message ``seq`` asks ``voter``."""
        if len(self._asked) > _MOST_ASKED:
            self._asked.clear()
        self._asked[seq] = (voter, now)

    def answered(self, answer: Beat, now: float) -> None:
        """What a voter said; answers to other rounds count as far as they still mean the same."""
        node = answer.node
        asked, sent_at = self._asked.pop(answer.re[1] if answer.re else -1, ("", 0.0))
        if asked != node or answer.for_epoch != self.epoch or node not in self.voters.names:
            return
        if answer.no:
            self.refused(node, answer)
            if answer.wait is not None:
                self.hurry(max(now + 0.001, self._eta(now) + self._slack))
        elif answer.kind == GRANT:
            self.granted(node, Grant(answer.grant, sent_at, answer.promised_to_others))
        else:
            self.agreed(node)
            self._willing.add(node)

    def agreed(self, voter: str) -> None:
        """``voter`` would grant."""
        self.yes.add(voter)

    def refused(self, voter: str, answer: Beat) -> None:
        """``voter`` would not grant, or did not."""
        self.refusals[voter] = answer

    def granted(self, voter: str, grant: Grant) -> None:
        """``voter`` grants. Its first signature is as good as a later one; the later sending counts."""
        if grant.signature:
            self.refusals.pop(voter, None)
            self.grants[voter] = grant

    def _eta(self, now: float) -> float:
        """When a quorum would say yes, as far as the answers tell."""
        waits = [0.0] * len(self.yes | self.grants.keys())
        waits += [no.wait for voter, no in self.refusals.items() if no.wait is not None and voter not in self.grants]
        waits.sort()
        if len(waits) < self.quorum:
            return float("inf")
        return now + (waits[-1] if self._waits_for_more else waits[self.quorum - 1])

    def wins_prevote(self, needed: Collection[str] = ()) -> bool:
        """A quorum would grant; so would all those of ``needed`` who have a vote."""
        non_voting = {voter for voter, no in self.refusals.items() if no.no in ("mute", NO_DISK)}
        if not (self.yes | non_voting).issuperset(needed):
            return False
        return len(self.yes) >= self.quorum and not self.yes.isdisjoint(self._agents)

    def waits_for(self, present: set[str], now: float, patience: float) -> bool:
        """A quorum would grant; whether to wait for more voters, at a first start, for ``patience`` seconds at most.

        Who is not ``present`` is not waited for, nor who says no for another reason than that it has just started.
        """
        if not self._waits_for_more:
            return False
        if self._waits_until is None:
            self._waits_until = now + patience
        expected = {
            voter
            for voter in present - self.yes - self._willing
            if voter not in self.refusals or self.refusals[voter].no == "young"
        }
        self._waits_for_more = bool(expected) and now < self._waits_until
        return self._waits_for_more

    @property
    def waits(self) -> bool:
        """A quorum would grant, and more voters are waited for."""
        return self._waits_for_more and self.wins_prevote()

    def wins(self) -> bool:
        """A quorum granted, an agent among it."""
        return len(self.grants) >= self.quorum and not self.grants.keys().isdisjoint(self._agents)

    def proof(self, node: str, incarnation: int) -> Proof:
        """What the grants add up to."""
        grants = tuple((voter, grant.signature) for voter, grant in sorted(self.grants.items()))
        return Proof(self.epoch, node, incarnation, self.voters, grants)

    def nobody_between(self, epoch: int) -> bool:
        """No other server can have won an epoch between ``epoch`` and ours: a quorum granted none to another."""
        return sum(grant.promised_to_others <= epoch for grant in self.grants.values()) >= self.quorum

    @property
    def highest_promise(self) -> int:
        """The highest epoch that a refusing voter has promised."""
        return max((no.promised_epoch for no in self.refusals.values()), default=0)

    @property
    def outcome(self) -> str:
        """How it stands, for people."""
        said = self.yes | self.grants.keys()
        parts = [f"{len(said)} of {len(self.voters.names)} for it, {self.quorum} needed"]
        for voter in self.voters.names:
            no = self.refusals.get(voter)
            if no is not None:
                parts.append(f"{voter}: {_SAYINGS.get(no.no, no.no).format(leader=no.leader or 'a server')}")
            elif voter not in said:
                parts.append(f"{voter}: no answer yet")
        return "; ".join(parts)


_SAYINGS: Final = {
    "": "it has no vote",
    "mute": "it has no vote",
    "disk": "its disk takes nothing, so it cannot vote",
    "voters": "it lives by another list of voters",
    "promised": "it promised this epoch or a higher one already",
    "young": "it is not up long enough",
    "heard": "it has heard {leader}",
    "ended": "it was told that this start of the server has died",
}
