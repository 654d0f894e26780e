"""What a server and an agent have in common: hearing, answering, keeping, and saying nothing before it is on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from heartbeat.decision import Action, Decision, Persist, Tell, What
from heartbeat.header import AGENT, NON_VOTING, START, Beat, BeatError, ReplayWindow
from heartbeat.membership import Membership
from heartbeat.persistent_state import Leadership, PersistentState
from heartbeat.proof import Proof, VoterList
from heartbeat.voter import Voter

_MOST_WAITING: Final = 256
_MOST_EVENTS: Final = 1000


class Node:
    """One node of a site. ``kept`` comes from the store, its boot counter already raised and on disk."""

    state: str = AGENT

    def __init__(self, name: str, membership: Membership, state: PersistentState, now: float) -> None:
        self.name = name
        self.membership = membership
        self.voter = Voter(name, membership, state, now)
        self.on_disk = state
        """The last value of ``voter.kept`` that the disk has."""
        self.ignored: dict[str, int] = {}
        """Beats that were dropped, by reason."""
        self.proof: Proof | None = None
        """The proof that was adopted last, or ours."""
        self._order = ReplayWindow()
        self._seq = 0
        self._to_do: list[Action] = []
        self._events: deque[Decision] = deque(maxlen=_MOST_EVENTS)
        self._waiting: list[tuple[int, Callable[[float], None]]] = []
        self._asked_serial = state.serial
        self._disk_fault = ""
        """Why the last value could not be written; told once."""
        self._calls = 0
        self._load = 0.0

    # what the outside asks

    def to_do(self) -> list[Action]:
        """What is to be done outside, in order; the list is handed over."""
        found, self._to_do = self._to_do, []
        return found

    def next_event(self) -> Decision | None:
        """The next decision."""
        return self._events.popleft() if self._events else None

    @property
    def epoch(self) -> int:
        """The highest proved epoch that is on disk here."""
        return self.on_disk.leadership.epoch

    @property
    def trouble(self) -> str:
        """Why the disk does not take what must be kept, as a sentence; empty when it does."""
        return f"{self.name} cannot keep its epochs: {self._disk_fault}" if self._disk_fault else ""

    def figures(self, calls: int, load: float) -> None:
        """What the next beats shall say of this node's work."""
        self._calls, self._load = calls, load

    def reload(self, membership: Membership) -> None:
        """Live by a changed site file."""
        self.membership = self.voter.membership = membership

    # the disk

    def persisted(self, state: PersistentState, now: float) -> None:
        """``kept`` is on disk; what waited for it may leave."""
        if state.serial <= self.on_disk.serial:
            return
        before, self.on_disk = self.on_disk, state
        if self._disk_fault:
            self._disk_fault = ""
            self._decide(What.DISK, f"{self.name} can keep its epochs again", now)
        if state.leadership != before.leadership:
            self._ruler_changed(state.leadership, now)
        ready = [item for item in self._waiting if item[0] <= state.serial]
        self._waiting = [item for item in self._waiting if item[0] > state.serial]
        for _, act in ready:
            act(now)

    def not_persisted(self, state: PersistentState, because: str, now: float) -> None:
        """``kept`` could not be written: what waited for it is never said. The value is asked for again."""
        self._waiting = [item for item in self._waiting if item[0] > state.serial]
        self._asked_serial = self.on_disk.serial
        if because != self._disk_fault:
            self._disk_fault = because
            self._decide(What.DISK, self.trouble, now)

    def _when_kept(self, act: Callable[[float], None], now: float) -> None:
        """Do ``act`` as soon as what the voter decided so far is on disk."""
        state = self.voter.state
        if state.serial <= self.on_disk.serial:
            act(now)
            return
        if state.serial > self._asked_serial:
            self._asked_serial = state.serial
            self._to_do.append(Persist(state))
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append((state.serial, act))

    # saying

    def stamp(self, to: str, now: float, state: str = "", **more: Any) -> Beat:
        """The next statement of this node to ``to``: who and how it is, and ``more`` fields."""
        self._seq += 1
        disk = self.on_disk
        return Beat(
            site=self.membership.site,
            node=self.name,
            incarnation=disk.incarnation,
            epoch=disk.leadership.epoch,
            state=state or self.state,
            seq=self._seq,
            to=to,
            calls=self._calls,
            capacity=self.membership.capacity,
            load=self._load,
            config=self.membership.config,
            voters=disk.voters.generation,
            **more,
        )

    def _ask(self, to: str, kind: str, now: float, **more: Any) -> Beat:
        beat = self.stamp(to, now, kind=kind, **more)
        self._to_do.append(Tell(to, beat))
        return beat

    def _answer(self, request: Beat, now: float, **more: Any) -> None:
        """Answer, when the disk has what the answer rests on."""

        def say(now: float) -> None:
            state = self.on_disk
            more.setdefault("promised_epoch", state.promised_epoch)
            if state.non_voting and self.name in self.membership.voters:
                more["flags"] = (NON_VOTING,)
            re = (request.incarnation, request.seq)
            beat = self.stamp(
                request.node,
                now,
                kind=request.kind,
                re=re,
                promised_to_others=state.promised_to_others(request.node),
                **self._heard(now),
                **more,
            )
            self._to_do.append(Tell(request.node, beat, re))

        self._when_kept(say, now)

    def _heard(self, now: float) -> dict[str, Any]:
        """The fields ``heard`` and ``holder`` of an answer."""
        return {}

    def _decide(self, what: What, because: str, now: float, **more: Any) -> None:
        self._events.append(Decision(what, because, now, **more))

    # hearing

    def _accepts(self, beat: Beat, sender: str) -> bool:
        """Whether ``beat`` is for us, from whom the connection belongs to, and new."""
        if beat.site != self.membership.site:
            return self._ignore("another site")
        if beat.node != sender or beat.node == self.name:
            return self._ignore("another sender")
        if beat.to and beat.to != self.name:
            return self._ignore("meant for another")
        if not self._order.fresh(beat):
            return self._ignore("replayed")
        return True

    def _ignore(self, reason: str) -> bool:
        self.ignored[reason] = self.ignored.get(reason, 0) + 1
        return False

    def opened(self, beat: Beat) -> None:
        """``beat`` came with an answer to our own challenge (see ``opening``), so it is no replay."""
        self._order.start_anew(beat)

    # a voter's part, the same for agents and for a voting server

    def _vote_asked(self, ask: Beat, now: float) -> None:
        judgement = self.voter.judge(ask, now)
        self._answer(ask, now, for_epoch=ask.for_epoch, **self._refusal(judgement.no, judgement.wait))

    def _grant_asked(self, claim: Beat, now: float) -> None:
        before = self.voter.state
        judgement = self.voter.grant(claim, now)
        if not judgement:
            self._answer(claim, now, for_epoch=claim.for_epoch, **self._refusal(judgement.no, judgement.wait))
            return
        if self.voter.state is not before:
            self._decide(
                What.GRANTED,
                f"{self.name} grants epoch {claim.for_epoch} to {claim.node}",
                now,
                epoch=claim.for_epoch,
                node=claim.node,
            )
        signature = self.voter.signature(claim, self.membership.keys[0])
        self._answer(claim, now, for_epoch=claim.for_epoch, grant=signature)

    def _refusal(self, no: str, wait: float | None) -> dict[str, Any]:
        fields: dict[str, Any] = {"no": no, "wait": wait}
        if no == "voters":
            fields["list"] = self.on_disk.voters.text
        return fields

    def _list_told(self, beat: Beat, now: float) -> None:
        """The server with the lease says by which list the site lives, and perhaps that we vote again."""
        try:
            voters = VoterList.parse(beat.list)
        except BeatError:
            self._answer(beat, now, no="list")
            return
        if self._is_admitted(beat) and self.voter.admit(voters, beat.for_epoch, now):
            self._decide(
                What.VOTERS, f"{self.name} votes from now on, above epoch {beat.for_epoch}", now, node=self.name
            )
        else:
            self.voter.take_list(voters)
        self._answer(beat, now)

    def _is_admitted(self, beat: Beat) -> bool:
        """Whether we are to vote from now on, in this start of ours: a later one may have forgotten more."""
        meant = [flag for flag in beat.flags if flag.startswith(START)]
        return self.name in beat.flags and meant in ([], [f"{START}{self.on_disk.incarnation}"])

    def offer(self, proof: Proof, now: float, lease: float = 0.0) -> str:
        """A proof came, in a beat (with its ``lease``) or in a SUBSCRIBE. Returns why it is refused, or empty.

        ``ADOPTED`` follows then; what is adopted already gives no event.
        """
        before = self.voter.state
        keys = (b"",) if self.membership.alone else self.membership.keys
        fault = self.voter.adopt(proof, keys, lease)
        if not fault and self.voter.state is not before:
            self.proof = proof
            self._when_kept(_nothing, now)
        return fault

    def _ruler_changed(self, leadership: Leadership, now: float) -> None:
        """Another ruler than before is on disk."""
        proof = self.proof if self.proof is not None and self.proof.epoch == leadership.epoch else None
        if leadership.forced or proof is None:
            by = "an operator's force"
        else:
            by = f"{len(proof.grants)} of {len(proof.voters.names)} voters"
        self._decide(
            What.ADOPTED,
            f"{self.name} obeys {leadership.node} under epoch {leadership.epoch}, by the word of {by}",
            now,
            epoch=leadership.epoch,
            node=leadership.node,
            proof=proof,
        )

    def _offered(self, beat: Beat, now: float) -> str:
        """The proof in ``beat``, if it has one and it is its sender's own."""
        if not beat.proof:
            return ""
        try:
            proof = Proof.parse(beat.proof)
        except BeatError as error:
            return str(error)
        if (proof.node, proof.incarnation) != (beat.node, beat.incarnation):
            return "a server may only bring its own proof"
        return self.offer(proof, now, beat.lease or 0.0)


def _nothing(now: float) -> None:
    """Only the disk was wanted."""
