"""One attempt to win an epoch: the pre-vote, the claim, and what the voters said. Arithmetic only; no messages.

canvass --quorum would--> claim --quorum granted--> won        (planned: canvass --> ready --release--> claim)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from heartbeat.header import Beat
from heartbeat.proof import Proof, VoterList

CANVASS: Final = "canvass"
READY: Final = "ready"
CLAIM: Final = "claim"
WON: Final = "won"


class Campaign:
    """For ``term``, asked of ``voters``. ``retry_at`` says when to ask again."""

    def __init__(
        self,
        because: str,
        voters: VoterList,
        quorum: int,
        agents: Collection[str],
        now: float,
        planned: bool = False,
        slack: float = 0.0,
    ) -> None:
        self.because = because
        """Why it is made, a sentence for people."""
        self.voters = voters
        self.quorum = quorum
        self.agents = agents
        self.planned = planned
        """A switchover: the lease-holder lets go when the pre-vote is won."""
        self.slack = slack
        """Seconds to wait beyond what the voters say, so that the preferred server is first."""
        self.patient = False
        """At the first start of a site who is there and will soon say yes is waited for, so that all vote at once."""
        self._patient_until: float | None = None
        self._willing: set[str] = set()
        """Who said yes in any round."""
        self.phase = CANVASS
        self.for_epoch = 0
        self.began_at = now
        self.retry_at = now
        self.phase_at = now
        """When this phase began."""
        self.told = ""
        """The outcome that people were last told of while it lasted, and when the next one may be told."""
        self.tell_at = float("inf")
        self._asked: dict[int, tuple[str, float]] = {}
        self.yes: set[str] = set()
        self.nos: dict[str, Beat] = {}
        """The newest refusals of this round."""
        self.grants: dict[str, tuple[str, float, int]] = {}
        """Voter -> signature, when the claim was sent, the highest epoch that it ever granted to another."""

    def begin(self, phase: str, for_epoch: int, now: float) -> None:
        """A new round, of questions or of claims."""
        if phase != self.phase or for_epoch != self.for_epoch:
            self.grants.clear()
            self._asked.clear()
            self.phase_at = now
        self.phase, self.for_epoch = phase, for_epoch
        self.yes.clear()
        self.nos.clear()

    def asked(self, seq: int, voter: str, now: float) -> None:
        """Message ``seq`` asks ``voter``."""
        if len(self._asked) > 1024:
            self._asked.clear()
        self._asked[seq] = (voter, now)

    def answered(self, answer: Beat, now: float) -> None:
        """What a voter said; answers to other rounds count as far as they still mean the same."""
        item = self._asked.pop(answer.re[1] if answer.re else -1, None)
        if (
            item is None
            or item[0] != answer.node
            or answer.for_epoch != self.for_epoch
            or answer.node not in self.voters.names
        ):
            return
        if answer.no:
            self.nos[answer.node] = answer
            if answer.wait is not None:
                self.retry_at = min(self.retry_at, max(now + 0.001, self._eta(now) + self.slack))
        elif self.phase == CLAIM:
            self.granted(answer.node, answer.grant, item[1], answer.promised_to_others)
        else:
            self.yes.add(answer.node)
            self._willing.add(answer.node)

    def granted(self, voter: str, signature: str, sent_at: float, promised_to_others: int) -> None:
        """``voter`` grants. The first signature is as good as a later one; the later sending counts."""
        if signature:
            self.nos.pop(voter, None)
            self.grants[voter] = (signature, sent_at, promised_to_others)

    def _eta(self, now: float) -> float:
        """When a quorum would say yes, as far as the answers tell."""
        waits = [0.0] * len(self.yes | self.grants.keys())
        waits += [no.wait for voter, no in self.nos.items() if no.wait is not None and voter not in self.grants]
        waits.sort()
        if len(waits) < self.quorum:
            return float("inf")
        return now + (waits[-1] if self.patient else waits[self.quorum - 1])

    def wins_prevote(self, unanimous: bool) -> bool:
        """A quorum would grant; all who have a vote would, where nothing less will do."""
        non_voting = {voter for voter, no in self.nos.items() if no.no == "mute"}
        if unanimous and not (self.yes | non_voting).issuperset(self.voters.names):
            return False
        return len(self.yes) >= self.quorum and not self.yes.isdisjoint(self.agents)

    def waits_for(self, here: set[str], now: float, patience: float) -> bool:
        """A quorum would grant; whether to wait for more voters, for ``patience`` seconds at most.

        Who is not ``here`` is not waited for, nor who says no for another reason than that it has just started.
        """
        if not self.patient:
            return False
        if self._patient_until is None:
            self._patient_until = now + patience
        expected = {
            voter
            for voter in here - self.yes - self._willing
            if voter not in self.nos or self.nos[voter].no == "young"
        }
        self.patient = bool(expected) and now < self._patient_until
        return self.patient

    def wins(self) -> bool:
        """A quorum granted, an agent among it."""
        return len(self.grants) >= self.quorum and not self.grants.keys().isdisjoint(self.agents)

    def proof(self, node: str, incarnation: int) -> Proof:
        """What the grants add up to."""
        grants = tuple((voter, grant[0]) for voter, grant in sorted(self.grants.items()))
        return Proof(self.for_epoch, node, incarnation, self.voters, grants)

    def nobody_between(self, epoch: int) -> bool:
        """No other server can have won an epoch between ``epoch`` and ours: a quorum granted none to another."""
        return sum(promised_to_others <= epoch for _, _, promised_to_others in self.grants.values()) >= self.quorum

    @property
    def highest_promise(self) -> int:
        """The highest epoch that a refusing voter has promised."""
        return max((no.promised_epoch for no in self.nos.values()), default=0)

    @property
    def outcome(self) -> str:
        """How it stands, for people."""
        said = self.grants if self.phase in (CLAIM, WON) else self.yes
        parts = [f"{len(said)} of {len(self.voters.names)} for it, {self.quorum} needed"]
        for voter in self.voters.names:
            no = self.nos.get(voter)
            if no is not None:
                parts.append(f"{voter}: {_SAYINGS.get(no.no, no.no).format(holder=no.leader or 'a server')}")
            elif voter not in said:
                parts.append(f"{voter}: no answer yet")
        return "; ".join(parts)


_SAYINGS: Final = {
    "": "it has no vote",
    "mute": "it has no vote",
    "voters": "it lives by another list of voters",
    "promised": "it promised this epoch or a higher one already",
    "young": "it is not up long enough",
    "heard": "it has heard {holder}",
}
