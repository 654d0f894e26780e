"""Faults planted into the rules of votes, one at a time: the search must find each. A rule whose loss it cannot see
is a rule that it does not search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from heartbeat import lease as leases
from heartbeat.election import Election
from heartbeat.header import Beat, ReplayWindow
from heartbeat.leader import Leader
from heartbeat.lease import Lease
from heartbeat.outbox import Outbox
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof, VoterList
from heartbeat.voter import Vote, Voter
from tests.search.explorer import CLAIM, CRASH, CUT, DIE, HOLD, LOSE_FILE, SLIP, SUSPECT, SWITCH


@dataclass(frozen=True)
class Planted:
    """One rule that is gone."""

    name: str
    rule: str
    """The rule, as docs/heartbeat.md has it."""
    kinds: frozenset[str]
    """What must be able to go wrong for it to matter."""
    most: int
    patches: tuple[tuple[Any, str, Any], ...]
    begin: str = "peace"

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The rules without it."""
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                stack.enter_context(patch.object(owner, name, value))
            yield


def _grant_without_hearing(self: Voter, request: Beat, now: float) -> Vote:
    heard, vote = self.heard, _GRANT(self, request, now)
    self.heard = heard
    return vote


def _judge_promised(self: Voter, ask: Beat, now: float) -> Vote:
    vote = _JUDGE(self, ask, now)
    return Vote(voters=self.state.voters) if vote.no == "promised" else vote


def _judge_young(self: Voter, ask: Beat, now: float) -> Vote:
    since, self._since = self._since, float("-inf")
    try:
        return _JUDGE(self, ask, now)
    finally:
        self._since = since


def _judge_non_voting(self: Voter, ask: Beat, now: float) -> Vote:
    """Who lost its file takes the list that is told and votes at once."""
    vote = _JUDGE(self, ask, now)
    if vote.no in ("mute", "voters", "young") and self.state.non_voting:
        return Vote(voters=VoterList.parse(ask.list))
    return vote


def _hear_released(self: Voter, beat: Beat, now: float) -> str:
    if self.heard is not None and self.heard.released:
        self.heard = replace(self.heard, released=False)
    return _HEAR(self, beat, now)


def _say_at_once(self: Outbox, state: PersistentState, act: Callable[[float], None], now: float) -> None:
    self.persist(state)
    act(now)


def _count_from_arrival(self: Lease, voter: str, seq: int) -> None:
    item = self._sent.pop(seq, None)
    if item is not None and item[0] == voter:
        newest = max((at for _, at, _ in self._sent.values()), default=item[1])
        self.count(voter, max(newest, item[1]), item[2])


def _keep_lease(self: Leader) -> None:
    until = self.lease_until
    _RELEASE(self)
    self.lease_until = until


def _adopt_older(self: Voter, proof: Proof, keys: Any, lease: float = 0.0, commitment: str = "") -> str:
    if proof.epoch < self.state.leadership.epoch:
        self.state = replace(self.state, leadership=replace(self.state.leadership, epoch=0))
    return _ADOPT(self, proof, keys, lease, commitment)


def _hear_all(self: ReplayWindow, beat: Beat) -> bool:
    self.start_anew(beat)
    return True


_GRANT, _JUDGE, _HEAR, _RELEASE, _ADOPT = Voter.grant, Voter.judge, Voter.hear, Leader.release, Voter.adopt
_QUORUM_TH = leases.quorum_th


def _kinds(*kinds: str) -> frozenset[str]:
    return frozenset(kinds)


PLANTED: tuple[Planted, ...] = (
    Planted(
        "no-silence",
        "a voter grants only when it has heard no lease-holder for lease and margin",
        _kinds(SUSPECT),
        1,
        ((Voter, "_wait", lambda self, ask, mine, now: 0.0),),
    ),
    Planted(
        "no-margin",
        "it waits margin beyond the lease, for clocks that run apart",
        _kinds(SLIP, CLAIM, CUT),
        3,
        ((Voter, "_silence", lambda self, lease: max(lease, self.membership.timing.lease)),),
    ),
    Planted(
        "twice",
        "it grants an epoch once",
        _kinds(SUSPECT, CRASH, CUT),
        2,
        ((Voter, "judge", _judge_promised),),
    ),
    Planted(
        "before-disk",
        "nothing is said before what it rests on is on disk",
        _kinds(CLAIM, CUT),
        2,
        ((Outbox, "when_durable", _say_at_once),),
    ),
    Planted(
        "young",
        "a voter that has just started grants nothing for lease and margin",
        _kinds(CRASH, CLAIM),
        2,
        ((Voter, "judge", _judge_young),),
    ),
    Planted(
        "lost-file",
        "a voter that has lost its file has no vote",
        _kinds(LOSE_FILE, CLAIM),
        2,
        ((Voter, "judge", _judge_non_voting),),
    ),
    Planted(
        "grant-unheard",
        "a grant counts as hearing the candidate",
        _kinds(CLAIM, DIE),
        2,
        ((Voter, "grant", _grant_without_hearing),),
    ),
    Planted(
        "old-beats",
        "a voter refuses beats of an epoch below the highest that it granted or adopted to another",
        _kinds(CUT, CLAIM),
        2,
        ((Voter, "objection", lambda self, start, epoch: ""),),
    ),
    Planted(
        "released",
        "a release is final",
        _kinds(SWITCH, HOLD),
        2,
        ((Voter, "hear", _hear_released), (Leader, "release", _keep_lease)),
    ),
    Planted(
        "from-arrival",
        "the lease counts from when the beat was sent",
        _kinds(HOLD, CUT),
        2,
        ((Lease, "answered", _count_from_arrival),),
    ),
    Planted(
        "any-death",
        "a revealed death lifts the wait only for the start that has died",
        _kinds(DIE, CLAIM),
        2,
        ((Voter, "_is_dead", lambda self, start, secrets: bool(secrets)),),
    ),
    Planted(
        "minority",
        "a quorum is over half",
        _kinds(CUT, CLAIM),
        2,
        (
            (leases, "quorum_th", lambda instants, quorum, agents: _QUORUM_TH(instants, 1, agents)),
            (VoterList, "quorum", property(lambda self: 1)),
        ),
    ),
    Planted(
        "older-proof",
        "an agent obeys the highest epoch that it saw proved, and hears nothing of an epoch that is over",
        _kinds(SWITCH, HOLD),
        2,
        ((Voter, "adopt", _adopt_older), (ReplayWindow, "fresh", _hear_all)),
        begin="won",
    ),
    Planted(
        "unproved",
        "only the grants of a quorum are a proof",
        _kinds(CUT, CLAIM),
        2,
        ((Election, "wins", lambda self: bool(self.grants)), (Proof, "fault", lambda self, keys, site: "")),
    ),
)
