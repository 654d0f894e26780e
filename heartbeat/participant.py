"""What servers and agents have in common: which statements they accept, how they answer as voters, and which leader
they follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heartbeat.decision import What
from heartbeat.header import DRAINING, MOST_CODES, NO_DISK, NON_VOTING, START, Beat, BeatError, ReplayWindow, Start
from heartbeat.membership import Membership
from heartbeat.outbox import Outbox
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof, VoterList
from heartbeat.voter import Voter


class Participant:
    """One node of a site. ``state`` comes from the disk, its incarnation already raised and written.

    ``role`` returns the state that its heartbeats name, ``heard_ago`` the seconds since it heard an active heartbeat
    of a server. ``commitment`` is that of this start (`heartbeat.death`), empty without a supervisor.
    """

    def __init__(
        self,
        name: str,
        membership: Membership,
        state: PersistentState,
        role: Callable[[], str],
        heard_ago: Callable[[str, float], float | None],
        now: float,
        commitment: str = "",
    ) -> None:
        self.name = name
        self.start = Start(name, state.incarnation, commitment)
        """This start of the node."""
        self.membership = membership
        self.voter = Voter(name, membership, state, now)
        self._replay = ReplayWindow()
        self.outbox = Outbox(name, membership, state, role, self._replay.start_of, commitment)
        self.ignored: dict[str, int] = {}
        """Number of statements that were dropped, by reason."""
        self.proof: Proof | None = None
        """The proof that was last adopted, or our own."""
        self._drains = False
        self.warns: tuple[str, ...] = ()
        """The codes of the alerts about this agent's process, for its answers to heartbeats."""
        self._heard_ago = heard_ago

    @property
    def on_disk(self) -> PersistentState:
        """The last state that was written to disk."""
        return self.outbox.on_disk

    @property
    def epoch(self) -> int:
        """The highest proved epoch that this node follows."""
        return self.outbox.leadership.epoch

    @property
    def trouble(self) -> str:
        """Why the disk cannot be written, as a sentence; empty when it can."""
        return self.outbox.trouble

    @property
    def quorum(self) -> int:
        """How many voters of our list make a quorum."""
        voters = self.voter.state.voters
        return max(voters.quorum, min(self.membership.quorum_wanted, len(voters.names)))

    def reload(self, membership: Membership) -> None:
        """Use a changed site file from now on."""
        self.membership = membership
        self.voter.reload(membership)
        self.outbox.reload(membership)

    def is_meant(self, beat: Beat, sender: str) -> bool:
        """Whether ``beat`` is meant for this node, and was made by ``sender``, the node that the connection belongs
        to."""
        if beat.site != self.membership.site:
            return self.ignore("another site")
        if beat.node != sender or beat.node == self.name:
            return self.ignore("another sender")
        if beat.to and beat.to != self.name:
            return self.ignore("meant for another")
        return True

    def is_new(self, beat: Beat) -> bool:
        """Whether ``beat`` was not received before in this start of our node."""
        return self._replay.fresh(beat) or self.ignore("replayed")

    def knows_our_start(self, beat: Beat) -> bool:
        """Whether ``beat`` was made during this start of our node: it answers a message of it, or names it.

        Any other may have been recorded earlier, which a node that has just started cannot detect by itself.
        """
        ours = self.on_disk.incarnation
        return beat.for_incarnation == ours if beat.re is None else beat.re[0] == ours

    def ignore(self, reason: str) -> bool:
        """Count a dropped statement. Always returns False."""
        self.ignored[reason] = self.ignored.get(reason, 0) + 1
        return False

    def opened(self, beat: Beat) -> None:
        """``beat`` came with an answer to our own challenge (see ``handshake``), so it is no replay."""
        self._replay.start_anew(beat)

    def incarnation_of(self, node: str) -> int:
        """The incarnation of the last start of ``node`` that was heard; 0: none."""
        return self._replay.start_of(node)

    def stamp(self, to: str, **more: Any) -> Beat:
        """Make the next statement of this node to ``to``, with ``more`` fields; the caller sends it."""
        return self.outbox.stamp(to, **more)

    def figures(
        self,
        calls: int,
        load: float,
        clock: float | None = None,
        unwritten: float | None = None,
        carried: int = 0,
        unkept: int = 0,
    ) -> None:
        """Set the figures that the next heartbeats carry about this node's calls and clock (see `header.Beat`)."""
        self.outbox.figures(calls, load, clock, unwritten, carried, unkept)

    def drain(self, drains: bool) -> None:
        """Set whether this agent refuses new calls by an operator's order; its answers to heartbeats say so."""
        self._drains = drains

    def when_durable(self, act: Callable[[float], None], now: float) -> None:
        """Call ``act`` as soon as the present state of the voter is on disk."""
        self.outbox.when_durable(self.voter.state, act, now)

    def heard(self, now: float) -> dict[str, Any]:
        """The fields of a `Beat` that name the leader which this node follows and the seconds since its last active
        heartbeat."""
        leader = self.outbox.leadership.node
        return {"leader": leader, "heard": self._heard_ago(leader, now)}

    def answer(self, request: Beat, now: float, **more: Any) -> None:
        """Send the answer to ``request`` as soon as the state that it depends on is on disk."""

        def say(now: float) -> None:
            disk = self.on_disk
            more.setdefault("promised_epoch", disk.promised_epoch)
            if disk.non_voting or self._drains:
                more["flags"] = (*((NON_VOTING,) if disk.non_voting else ()), *((DRAINING,) if self._drains else ()))
            if self.warns:
                more["warns"] = self.warns[:MOST_CODES]
            more["promised_to_others"] = disk.promised_to_others(request.start)
            self.outbox.answer(request, **self.heard(now), **more)

        if self.has_no_disk and self.voter.state.serial > self.on_disk.serial:
            # it follows the leader from memory, but cannot vote until its disk can be written
            more["no"] = more.get("no") or NO_DISK
            say(now)
            self.test_disk()
        else:
            self.when_durable(say, now)

    @property
    def has_no_disk(self) -> bool:
        """Whether the last write to disk failed: then nothing is granted."""
        return bool(self.outbox.disk_fault)

    def test_disk(self) -> None:
        """Find out whether the disk can be written, by writing the voter's state."""
        self.outbox.test_disk(self.voter.state)

    def list_told(self, beat: Beat, now: float) -> None:
        """The server with the lease sends the list of voters, and may give us our vote again."""
        try:
            voters = VoterList.parse(beat.list)
        except BeatError:
            self.answer(beat, now, no="list")
            return
        if self._is_admitted(beat) and self.voter.admit(voters, beat.epoch, beat.for_epoch, now):
            said = f"{self.name} votes from now on, above epoch {beat.for_epoch}"
            self.outbox.decide(What.VOTERS, said, now, node=self.name)
        else:
            self.voter.take_list(voters, beat.epoch)
        self.answer(beat, now)

    def learn_list(self, answer: Beat) -> None:
        """A voter refused because it uses another list of voters, and sent that: use it if it is later than ours."""
        try:
            voters = VoterList.parse(answer.list)
        except BeatError:
            return
        if self.voter.take_list(voters, answer.epoch):
            self.outbox.persist(self.voter.state)

    def _is_admitted(self, beat: Beat) -> bool:
        """Whether the leader gives us our vote again, for this start of our node: a later start may have lost
        more."""
        meant = [flag for flag in beat.flags if flag.startswith(START)]
        return self.name in beat.flags and meant in ([], [f"{START}{self.on_disk.incarnation}"])

    def offer(self, proof: Proof, now: float, lease: float = 0.0, commitment: str = "") -> str:
        """Adopt a proof that came in a heartbeat (with its ``lease`` in seconds and ``commitment``) or in a
        SUBSCRIBE. Returns why it is refused, or empty. A newly adopted leadership is written to disk.
        """
        before = self.voter.state
        keys = (b"",) if self.membership.alone else self.membership.keys
        fault = self.voter.adopt(proof, keys, lease, commitment)
        if not fault and self.voter.state is not before:
            self.proof = proof
            self.outbox.persist(self.voter.state)
        return fault

    def offered(self, beat: Beat, now: float) -> str:
        """Adopt the proof in ``beat``, if there is one, as `offer` does. It must be the sender's own."""
        if not beat.proof:
            return ""
        try:
            proof = Proof.parse(beat.proof)
        except BeatError as error:
            return str(error)
        if (proof.node, proof.incarnation) != (beat.node, beat.incarnation):
            return "a server may only bring its own proof"
        return self.offer(proof, now, beat.lease or 0.0, beat.commitment)
