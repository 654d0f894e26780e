"""The messages and decisions of one node of a site. No message is sent before the state that it depends on is on
disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from heartbeat import version
from heartbeat.decision import Action, Decision, Persist, Tell, What
from heartbeat.header import FAILED, Beat, Figures
from heartbeat.membership import Membership
from heartbeat.persistent_state import PersistentState

_MOST_WAITING: Final = 256
_MOST_EVENTS: Final = 1000


class Outbox:
    """The actions and decisions of one node, in order. ``role`` returns the state that its heartbeats name."""

    def __init__(
        self,
        name: str,
        membership: Membership,
        state: PersistentState,
        role: Callable[[], str],
        start_of: Callable[[str], int],
        commitment: str = "",
    ) -> None:
        """``start_of`` returns the last known incarnation of a node, 0 for none."""
        self.on_disk = state
        """The last state that was written to disk."""
        self.leadership = state.leadership
        """The leadership that this node follows: the one on disk or, while the disk cannot be written, the one
        adopted in memory."""
        self.disk_fault = ""
        """Why the last state could not be written; empty when it was."""
        self._name = name
        self._membership = membership
        self._role = role
        self._commitment = commitment
        self._version = version()
        self._start_of = start_of
        self._seq = 0
        self._figures = Figures()
        self._actions: list[Action] = []
        self._decisions: deque[Decision] = deque(maxlen=_MOST_EVENTS)
        self._waiting: list[tuple[int, Callable[[float], None]]] = []
        self._asked_serial = state.serial
        self._testing = False

    def to_do(self) -> list[Action]:
        """The actions to be carried out by the shell, in order; each is returned once."""
        found, self._actions = self._actions, []
        return found

    def next_event(self) -> Decision | None:
        """The next decision, or None."""
        return self._decisions.popleft() if self._decisions else None

    def decide(self, what: What, because: str, now: float, **more: Any) -> None:
        """Add a decision; ``because`` is its text, a whole sentence."""
        self._decisions.append(Decision(what, because, now, **more))

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
        self._figures = Figures(calls, load, clock, unwritten, carried, unkept)

    def reload(self, membership: Membership) -> None:
        """Use a changed site file from now on."""
        self._membership = membership

    def stamp(self, to: str, state: str = "", **more: Any) -> Beat:
        """Make the next statement of this node to ``to``: its identity and state, and ``more`` fields of a `Beat`."""
        self._seq += 1
        disk, figures = self.on_disk, self._figures
        if "for_incarnation" not in more and to in self._membership.servers:
            more["for_incarnation"] = self._start_of(to)
        return Beat(
            site=self._membership.site,
            node=self._name,
            incarnation=disk.incarnation,
            epoch=self.leadership.epoch,
            state=state or self._role(),
            seq=self._seq,
            to=to,
            calls=figures.calls,
            capacity=self._membership.capacity,
            load=figures.load,
            config=self._membership.config,
            given=self._membership.given,
            version=self._version,
            voters=disk.voters.generation,
            commitment=self._commitment,
            clock=figures.clock,
            unwritten=figures.unwritten,
            carried=figures.carried,
            unkept=figures.unkept,
            disk=FAILED if self.disk_fault else "",
            **more,
        )

    def ask(self, to: str, kind: str, **more: Any) -> Beat:
        """Send a request of that kind to node ``to``, and return it."""
        beat = self.stamp(to, kind=kind, **more)
        self._actions.append(Tell(to, beat))
        return beat

    def answer(self, request: Beat, **more: Any) -> None:
        """Send the answer to ``request`` now."""
        re = (request.incarnation, request.seq)
        beat = self.stamp(request.node, kind=request.kind, re=re, **more)
        self._actions.append(Tell(request.node, beat, (request.start, request.seq)))

    def when_durable(self, state: PersistentState, act: Callable[[float], None], now: float) -> None:
        """Call ``act`` as soon as ``state`` is on disk: at once if it is already, never if it cannot be written."""
        if state.serial <= self.on_disk.serial:
            act(now)
            return
        self.persist(state)
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append((state.serial, act))

    def persist(self, state: PersistentState) -> None:
        """Ask the shell to write ``state``, unless it was asked to already."""
        if state.serial > self._asked_serial:
            self._asked_serial = state.serial
            self._actions.append(Persist(state))

    def test_disk(self, state: PersistentState) -> None:
        """Have ``state`` written even if it is on disk already, to find out whether the disk can be written."""
        if state.serial > self.on_disk.serial:
            self.persist(state)
        elif not self._testing:
            self._testing = True
            self._actions.append(Persist(state))

    def persisted(self, state: PersistentState, now: float) -> None:
        """``state`` is on disk. The caller then calls `release`."""
        self._testing = False
        if state.serial < self.on_disk.serial:
            return
        self.on_disk = state
        if state.leadership.epoch >= self.leadership.epoch:
            self.leadership = state.leadership
        if self.disk_fault:
            self.disk_fault = ""
            self.decide(What.DISK, f"{self._name} can keep its epochs again", now)

    def release(self, now: float) -> None:
        """Call what waited for the state that is on disk now."""
        serial = self.on_disk.serial
        ready = [act for due, act in self._waiting if due <= serial]
        self._waiting = [item for item in self._waiting if item[0] > serial]
        for act in ready:
            act(now)

    def not_persisted(self, state: PersistentState, because: str, now: float) -> None:
        """``state`` could not be written: what waited for it is dropped. `persist` can ask for the state again."""
        self._testing = False
        self._waiting = [item for item in self._waiting if item[0] > state.serial]
        self._asked_serial = self.on_disk.serial
        if because != self.disk_fault:
            self.disk_fault = because
            self.decide(What.DISK, self.trouble, now)

    @property
    def trouble(self) -> str:
        """Why the disk cannot be written, as a sentence; empty when it can."""
        return f"{self._name} cannot keep its epochs: {self.disk_fault}" if self.disk_fault else ""
