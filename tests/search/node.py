"""One node of a site at a time: a real core, its disk and its clock, cloned before each event, and its *key*, a value
that is equal for two cores that will behave alike.

A key holds instants as ages, without which no state would ever come again, and leaves out what only people read.
Sequence numbers are not in it: what an answer does is told by the entry that its request left behind (`Slot`).
"""

from __future__ import annotations

import enum
import random
import types
from collections import deque
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Final, NamedTuple

from heartbeat.agent_voter import AgentVoter
from heartbeat.candidate import Candidate, ElectionEvent
from heartbeat.cluster_view import OtherServer
from heartbeat.death import Death, commitment_of
from heartbeat.decision import Persist, Tell, What
from heartbeat.election import Election, Grant
from heartbeat.header import STANDBY, Beat, ReplayWindow
from heartbeat.heartbeats import Heartbeats
from heartbeat.leader import Leader
from heartbeat.lease import Lease
from heartbeat.member import Member
from heartbeat.membership import Membership
from heartbeat.persistent_state import PersistentState
from heartbeat.promise_pace import FORGIVEN
from heartbeat.server_role import ServerRole

QUANTUM: Final = 1.0
"""Seconds of one tick of the search."""
LONGEST: Final = 5
"""Ticks that a message is held, a node stopped, a disk slow, at most."""

_MASK: Final = (1 << 64) - 1


class Steady(random.Random):
    """No chance: what a random number decides is when a timer comes, and timers come late by choice of the search."""

    def random(self) -> float:
        return 1.0


class Slot(NamedTuple):
    """What a request left behind at its sender, and its answer will find: ``age`` ticks old."""

    kind: str
    """``lease``: a beat that counts for it; ``vote``: a question of an election."""
    age: float
    active: bool


class Said(NamedTuple):
    """One message, without its number."""

    to: str
    beat: Beat | Death
    slot: Slot | None
    """Request: what it left at its sender; answer: what it finds at its receiver."""


class Facts(NamedTuple):
    """What the rules look at."""

    leads: int
    """The epoch that it leads under without an operator's force; 0: none."""
    incarnation: int
    may_act: bool
    fresh: tuple[str, ...]
    """The voters whose consent still counts for its lease."""
    granted: tuple[tuple[int, str, int], ...]
    obeys: tuple[int, str, int]
    """By its disk: epoch, server and start of the server."""
    disk_waits: bool
    up: bool
    state: str
    windows: tuple[tuple[str, int], ...]
    """Sender -> the last start of it that was heard."""


@dataclass(eq=False, slots=True)
class Node:
    """A machine: its core, if that is up, its file, and what the disk has not taken yet. Never changed: see `act`."""

    name: str
    site: Membership
    core: Member | AgentVoter | None
    now: float
    file: PersistentState | None
    writes: tuple[PersistentState, ...]
    starts: int
    asked: dict[tuple[str, int, int], Slot]
    """Requests that it may still answer."""
    deaths: tuple[str, ...] = ()
    """The secrets of its former starts, as its supervisor left them."""

    @property
    def secret(self) -> str:
        """That of its present start, if it is a server: its supervisor has it."""
        return f"{sum(self.name.encode()):04x}{self.starts:028x}" if self.name in self.site.servers else ""


class Outcome(NamedTuple):
    """What an event did."""

    node: Node
    said: tuple[Said, ...]
    numbers: tuple[int, ...]
    """``receive``: the numbers of what else is under way from that start of the sender, from now on."""
    proved: tuple[tuple[int, str, int], ...]
    granted: tuple[tuple[int, str, int], ...]
    """Signed grants that left: epoch, server, start."""
    story: tuple[str, ...]
    broken: str


Event = tuple[Any, ...]


# clones

_SHARED: Final = frozenset(id(table) for table in (ServerRole.TABLE, Candidate.TABLE))
_ATOMS: Final[set[type]] = {
    int,
    float,
    str,
    bytes,
    bool,
    type(None),
    frozenset,
    type,
    types.ModuleType,
    types.BuiltinMethodType,
}
"""Kinds of values that copies share; frozen ones join them as they are met."""


def clone(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of a core down to what closures hold. What is frozen is shared."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    copy = _CLONES.get(kind)
    if copy is None:
        copy = _way_to_clone(kind)
        if copy is None:
            _ATOMS.add(kind)
            return value
        _CLONES[kind] = copy
    return copy(value, memo)


def _way_to_clone(kind: type) -> Any:
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if frozen or issubclass(kind, (enum.Enum, random.Random)) or kind.__module__ in ("typing", "collections.abc"):
        return None
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return None
    if "__slots__" in vars(kind) and not kind.__dictoffset__:
        return _clone_slots
    return _clone_object if kind.__flags__ & 1 << 9 else None  # Py_TPFLAGS_HEAPTYPE: a class of ours


def _clone_dict(value: dict[Any, Any], memo: dict[int, Any]) -> Any:
    if id(value) in _SHARED:
        return value
    made = memo[id(value)] = dict(value)
    for key, item in value.items():
        if type(item) not in _ATOMS:
            made[key] = clone(item, memo)
    return made


def _clone_list(value: list[Any], memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = [clone(item, memo) for item in value]
    return made


def _clone_set(value: set[Any], memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = set(value)
    return made


def _clone_tuple(value: tuple[Any, ...], memo: dict[int, Any]) -> Any:
    for item in value:
        if type(item) not in _ATOMS:
            return tuple([clone(item, memo) for item in value])
    return value


def _clone_deque(value: deque[Any], memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = deque(value, value.maxlen)
    return made


def _clone_object(value: Any, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = object.__new__(type(value))
    fields = made.__dict__
    fields.update(value.__dict__)
    for name, item in value.__dict__.items():
        if type(item) not in _ATOMS:
            fields[name] = clone(item, memo)
    return made


def _clone_slots(value: Any, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = object.__new__(type(value))
    for name in type(value).__slots__:
        setattr(made, name, clone(getattr(value, name), memo))
    return made


def _clone_cell(value: types.CellType, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = types.CellType()
    made.cell_contents = clone(value.cell_contents, memo)
    return made


def _clone_function(value: types.FunctionType, memo: dict[int, Any]) -> Any:
    if value.__closure__ is None:
        return value
    cells = tuple([clone(cell, memo) for cell in value.__closure__])
    made = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
    made.__kwdefaults__ = value.__kwdefaults__
    memo[id(value)] = made
    return made


def _clone_method(value: types.MethodType, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = types.MethodType(value.__func__, clone(value.__self__, memo))
    return made


_CLONES: Final[dict[type, Any]] = {
    dict: _clone_dict,
    list: _clone_list,
    set: _clone_set,
    tuple: _clone_tuple,
    deque: _clone_deque,
    types.CellType: _clone_cell,
    types.FunctionType: _clone_function,
    types.MethodType: _clone_method,
}


# keys

INSTANTS: Final = frozenset(
    "at heard_at well_since changed_at due_at retry_at round_at began_at limit_at until regarded_until lease_until"
    " now sent_at _since _heard_at _query_at _query_all_at _start_at _started_at _watch_until _late_at"
    " _fewer_since _waits_until _list_at _now _ask_at _soonest".split()
)
"""Attributes, keys' owners and closed-over names that hold a reading of the node's clock."""
DEADLINES: Final = frozenset(
    "until regarded_until lease_until _watch_until _query_at _query_all_at _start_at _ask_at _soonest".split()
)
"""Instants that are only looked at to see whether they are past."""
DURATIONS: Final = frozenset("lease length wait load _slack _load heard".split())
FOR_PEOPLE: Final = frozenset(
    "ignored because _told _tell_at _told_non_voting _said _force_because _outlived beat _seq _calls _load"
    " _no_list_said disk_fault _name name logger _decisions _actions membership _membership _rng _table _replay"
    " _taken_for_dead _corroborated _suspect_at configs timing _timing __orig_class__ _heard_ago _when_changed"
    " _reports double_votes _promises clocks"
    " _node _cluster _standby _candidate _leader _heartbeats _switchover _reconfiguration _detector".split()
)
"""Attributes that decide nothing but words, or are the same in every state of one node, as what a part knows is."""
_MAPS_OF_INSTANTS: Final = frozenset(("_active", "_any", "answered", "_witnesses", "_ask_at", "_yes_at"))


class Unknown(AssertionError):
    """A field whose kind the search was not told: say in this module whether it is an instant."""


_PLAIN: Final = frozenset((int, str, bytes, bool, type(None)))
_NAMES: Final[dict[type, tuple[str, ...]]] = {}


def _names(kind: type, value: Any) -> tuple[str, ...]:
    found = _NAMES.get(kind)
    if found is None:
        names = kind.__slots__ if hasattr(kind, "__slots__") else sorted(value.__dict__)  # type: ignore[attr-defined]
        found = _NAMES[kind] = tuple([name for name in names if name not in FOR_PEOPLE])
    return found


class _Keys:
    """Walks one core."""

    def __init__(self, node: Node, serial: int) -> None:
        timing = node.site.timing
        self.now = node.now
        self.serial = serial
        self.asked = node.asked
        self.long_ago = -1.0 - max(timing.silence + 2 * timing.slow_interval, timing.lease + LONGEST * QUANTUM)
        """An instant so far back is as good as any before it: no time of the site is longer."""
        self.silent = -1.0 - timing.silence
        self._seen: dict[int, int] = {}

    def age(self, at: float, least: float) -> float:
        age = at - self.now
        return least if age < least else round(age, 6)

    def instant(self, name: str, at: float) -> float:
        if name in DEADLINES:
            return self.age(at, 0.0)
        return self.age(at, self.long_ago if name in _LONG else self.silent)

    def walk(self, name: str, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value - self.serial if name == "serial" or name == "_asked_serial" else value
        if kind is float:
            if name in INSTANTS:
                return self.instant(name, value)
            if name in DURATIONS:
                return round(value, 6)
            raise Unknown(f"the search does not know whether {name} is an instant or a duration")
        if kind is PersistentState:
            return self.state(value)
        special = _SPECIAL.get(kind)
        if special is None and issubclass(kind, tuple):
            special = _SPECIAL[kind] = _Keys._named
        if special is not None:
            return special(self, name, value)
        if isinstance(value, (enum.Enum, random.Random)):
            return str(value) if isinstance(value, enum.Enum) else ()
        return self._object(kind, value)

    def _grant(self, name: str, value: Grant) -> Any:
        return (value.signature, self.age(value.sent_at, self.silent), value.promised_to_others)

    def _dict(self, name: str, value: dict[Any, Any]) -> Any:
        if not value or id(value) in _SHARED:
            return ()
        if name in _MAPS_OF_INSTANTS:
            return tuple([(key, self.age(at, self.silent)) for key, at in sorted(value.items())])
        return tuple([(key, self.walk(str(key), item)) for key, item in sorted(value.items())])

    def _set(self, name: str, value: set[Any]) -> Any:
        return tuple(sorted(value))

    def _row(self, name: str, value: Any) -> Any:
        return tuple([item if type(item) is str else self.walk(name, item) for item in value])

    def _named(self, name: str, value: Any) -> Any:
        return tuple([self.walk(field, item) for field, item in zip(value._fields, value, strict=True)])

    def _nothing(self, name: str, value: Any) -> Any:
        return ()

    def _object(self, kind: type, value: Any) -> Any:
        seen = self._seen
        known = seen.get(id(value))
        if known is not None:
            return known
        seen[id(value)] = len(seen)
        whole = _WHOLE.get(kind)
        return self._fields(kind, value) if whole is None else whole(self, value)

    def _method(self, value: types.MethodType) -> Any:
        return (value.__name__, self.walk("self", value.__self__))

    def _function(self, value: types.FunctionType) -> Any:
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        held = tuple([(free, self.walk(free, cell.cell_contents)) for free, cell in cells])
        return (value.__code__.co_firstlineno, held)

    def _member(self, value: Member) -> Any:
        parts = (
            value.participant,
            value.cluster,
            value.detector,
            value.candidate,
            value.leader,
            value.reconfiguration,
            value._standby,
            value._heartbeats,
            value._switchover,
            value._proof_renewal,
        )
        asked = self._dict("_ask_at", value._inbox._ask_at)
        promises = tuple(
            [
                (voter, self.age(at, -FORGIVEN * pause), pause)
                for voter, (at, pause) in sorted(value._role._promises._last.items())
            ]
        )
        now = self.instant("_now", value._now)
        return (value.state, now, asked, promises, *[self.walk("part", part) for part in parts])

    def _other(self, value: OtherServer) -> Any:
        start = None if value.beat is None else value.beat.start
        times = (self.age(value.heard_at, self.long_ago), self.age(value.well_since, self.long_ago))
        return (value.state, times, value.reach, start, value.led, value.death)

    def _leader(self, value: Leader) -> Any:
        if not value.epoch:
            return (value.released, tuple(sorted(value._release_to)))
        return self._fields(Leader, value)

    def _lease(self, value: Lease) -> Any:
        sent = sorted((voter, round(at - self.now, 6), active) for voter, at, active in value._sent.values())
        return (tuple(sent), self._fields(Lease, value, ("_sent",)))

    def _election(self, value: Election) -> Any:
        asked = sorted((voter, epoch, round(at - self.now, 6)) for voter, epoch, at in value._asked.values())
        refusals = tuple(
            [(voter, no.no, no.wait, no.promised_epoch, no.leader) for voter, no in sorted(value.refusals.items())]
        )
        return (tuple(asked), refusals, self._fields(Election, value, ("_asked", "refusals")))

    def _heartbeats(self, value: Heartbeats) -> Any:
        return (min(value._rounds, 2), self._fields(Heartbeats, value, ("_rounds",)))

    def _beat(self, value: Beat) -> Any:
        slot = self.asked.get((value.node, value.incarnation, value.seq))
        return (value.node, value.kind, value.incarnation, value.for_epoch, value.list, value.flags, slot)

    def _fields(self, kind: type, value: Any, but: tuple[str, ...] = ()) -> Any:
        made = []
        for name in _names(kind, value):
            item = getattr(value, name)
            if type(item) is str or type(item) is bool:
                made.append(item)
            elif name not in but:
                made.append(self.walk(name, item))
        return tuple(made)

    def state(self, state: PersistentState) -> Any:
        return (
            state.incarnation,
            state.serial - self.serial,
            state.first,
            state.non_voting,
            state.voters.text,
            state.leadership,
            state.granted,
            state.ended,
            state.lease,
        )

    def windows(self, replay: ReplayWindow) -> Any:
        return tuple([(node, last[0], last[1], ~last[3] & _MASK) for node, last in sorted(replay._last.items())])


_LONG: Final = frozenset(("heard_at", "well_since", "_late_at", "due_at"))
_SPECIAL: Final[dict[type, Any]] = {
    Grant: _Keys._grant,
    dict: _Keys._dict,
    set: _Keys._set,
    frozenset: _Keys._set,
    tuple: _Keys._row,
    list: _Keys._row,
    type: _Keys._nothing,
    types.BuiltinFunctionType: _Keys._nothing,
    ReplayWindow: _Keys._nothing,
    Membership: _Keys._nothing,
}
_WHOLE: Final[dict[type, Any]] = {
    types.MethodType: _Keys._method,
    types.FunctionType: _Keys._function,
    Member: _Keys._member,
    OtherServer: _Keys._other,
    Leader: _Keys._leader,
    Lease: _Keys._lease,
    Election: _Keys._election,
    Heartbeats: _Keys._heartbeats,
    Beat: _Keys._beat,
}


def key_of(node: Node) -> Any:
    """Equal for two nodes that answer every event alike from now on."""
    core = node.core
    if core is None:
        serial = node.file.serial if node.file is not None else 0
        keys = _Keys(node, serial)
        return (None, node.file and keys.state(node.file), node.starts, node.deaths)
    keys = _Keys(node, core.participant.voter.state.serial)
    return (
        keys.walk("core", core),
        keys.windows(core.participant._replay),
        node.file and keys.state(node.file),
        tuple([keys.state(state) for state in node.writes]),
        node.starts,
        node.deaths,
    )


def facts_of(node: Node) -> Facts:
    """What the rules look at, in ``node``."""
    core = node.core
    state = node.file or PersistentState(incarnation=0)
    obeys = (state.leadership.epoch, state.leadership.node, state.leadership.incarnation)
    if core is None:
        granted = tuple((each.epoch, each.node, each.incarnation) for each in state.granted)
        return Facts(0, node.starts, False, (), granted, obeys, False, False, "", ())
    leads, may_act, fresh, role = 0, False, (), ""
    if isinstance(core, Member):
        leader, role = core.leader, core.state
        leads = 0 if leader.forced else leader.epoch
        may_act = core.may_act(node.now) and not leader.forced
        lease = leader.lease
        fresh = tuple(sorted(name for name, at in lease._active.items() if at + lease.length > node.now))
    leadership = core.participant.outbox.leadership
    obeys = (leadership.epoch, leadership.node, leadership.incarnation)
    granted = tuple((each.epoch, each.node, each.incarnation) for each in core.participant.voter.state.granted)
    windows = tuple(sorted((name, last[0]) for name, last in core.participant._replay._last.items()))
    return Facts(leads, node.starts, may_act, fresh, granted, obeys, bool(node.writes), True, role, windows)


# events


def act(node: Node, event: Event) -> Outcome:
    """``event`` happens to a copy of ``node``.

    | event | |
    | --- | --- |
    | tick, n, forget | n ticks pass, timers that are due fire; ``forget``: no answer is under way any more |
    | wait, n, forget | n ticks pass without timers: it is stopped, or down |
    | timers | those that are due fire |
    | receive, beat, slot, number, others | a message arrives |
    | disk | it takes all that was asked |
    | crash, written, kept | what was asked reached the disk before, or not; the file stays, or not |
    | full | the disk takes nothing of what was asked |
    | die, written | the process dies, and its supervisor says so |
    | reveal, death | that is heard |
    | start | |
    | suspect | a server asks for votes without a reason |
    | claim | it asks for the epoch itself, without a pre-vote |
    | switchover | an operator's wish |
    | ages, ((sender, n), ...) | what requests left behind at their senders is n ticks older |
    """
    fresh = Node(
        node.name,
        node.site,
        clone(node.core, {}),
        node.now,
        node.file,
        node.writes,
        node.starts,
        dict(node.asked),
        node.deaths,
    )
    return _Act(fresh).do(event)


class _Act:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.numbers: tuple[int, ...] = ()
        self.broken = ""
        self.said: list[Said] = []
        self.proved: list[tuple[int, str, int]] = []
        self.granted: list[tuple[int, str, int]] = []
        self.story: list[str] = []

    def do(self, event: Event) -> Outcome:
        node = self.node
        obeyed = node.file.leadership.epoch if node.file is not None else 0
        getattr(self, "_" + event[0])(*event[1:])
        if node.core is not None:
            self._drain(node.core)
        kept = node.file is not None
        if kept and node.file is not None and node.file.leadership.epoch < obeyed:
            self.broken = f"{node.name} fell from epoch {obeyed} to {node.file.leadership.epoch}"
        return Outcome(
            node,
            tuple(self.said),
            self.numbers,
            tuple(self.proved),
            tuple(self.granted),
            tuple(self.story),
            self.broken,
        )

    def _tick(self, ticks: int, forget: bool) -> None:
        self._wait(ticks, forget)
        self._timers()

    def _timers(self) -> None:
        core, now = self.node.core, self.node.now
        assert core is not None
        for _ in range(4):
            due = core.get_timer()
            if due is None or due > now + 1e-9:
                return
            core.handle_timer(max(due, now))
            self._drain(core)

    def _wait(self, ticks: int, forget: bool) -> None:
        core = self.node.core
        if forget and isinstance(core, Member):
            core.leader.lease._sent.clear()
            if core.candidate.election is not None:
                core.candidate.election._asked.clear()
        self.node.now += ticks * QUANTUM

    def _ages(self, ages: tuple[tuple[str, int], ...]) -> None:
        older = dict(ages)
        asked = self.node.asked
        for (who, start, number), slot in asked.items():
            asked[who, start, number] = slot._replace(age=slot.age + older.get(who, 0))

    def _receive(self, beat: Beat, slot: Slot | None, number: int, others: tuple[int, ...]) -> None:
        """``number`` and ``others``, what else is under way from that start of the sender, count from the highest
        that was heard of it."""
        node, core = self.node, self.node.core
        assert core is not None
        replay = core.participant._replay
        last = replay._last.get(beat.node)
        base = last[2] if last is not None and last[0] == beat.incarnation else 1_000_000
        re = None
        if beat.re is not None:
            re = (beat.re[0], self._number_of(beat.node, slot))
        elif slot is not None:
            node.asked[beat.node, beat.incarnation, base + number] = slot
        core.receive(replace(beat, seq=base + number, re=re), beat.node, node.now)
        self._renumber(replay, beat, base, others)
        self._drain(core)
        if not node.writes:
            node.asked.clear()

    def _renumber(self, replay: ReplayWindow, beat: Beat, base: int, others: tuple[int, ...]) -> None:
        """Only the order of numbers and what was not heard matters, so both are told by the least numbers that do."""
        self.numbers = others
        after = replay._last.get(beat.node)
        if after is None or after[0] != beat.incarnation:
            return
        moved = [other + base - after[2] for other in others]
        below = sorted({number for number in moved if number < 0}, reverse=True)
        above = sorted({number for number in moved if number > 0})
        rank = {0: 0} | {number: -1 - i for i, number in enumerate(below)}
        rank |= {number: 1 + i for i, number in enumerate(above)}
        unheard = 0
        for number in below:
            if number > -64 and not after[3] >> -number & 1:
                unheard |= 1 << -rank[number]
        replay._last[beat.node] = (*after[:3], _MASK & ~unheard)
        self.numbers = tuple([rank[number] for number in moved])

    def _number_of(self, voter: str, slot: Slot | None) -> int:
        """The number under which our request is known that left ``slot``; 0: it is not known any more."""
        core, now = self.node.core, self.node.now
        if slot is None or not isinstance(core, Member):
            return 0
        at = now - slot.age * QUANTUM
        if slot.kind == "lease":
            for seq, (who, sent_at, active) in core.leader.lease._sent.items():
                if who == voter and active == slot.active and abs(sent_at - at) < 1e-6:
                    return seq
        elif core.candidate.election is not None:
            for seq, (who, _, sent_at) in core.candidate.election._asked.items():
                if who == voter and abs(sent_at - at) < 1e-6:
                    return seq
        return 0

    def _disk(self) -> None:
        node, core = self.node, self.node.core
        assert core is not None
        writes, node.writes = node.writes, ()
        for state in writes:
            node.file = state
            core.persisted(state, node.now)
            self._drain(core)
        if not node.writes:
            node.asked.clear()

    def _crash(self, written: bool, kept: bool) -> None:
        node = self.node
        if written and node.writes:
            node.file = node.writes[-1]
        if not kept:
            node.file = None
        node.core, node.writes = None, ()
        node.asked.clear()

    def _full(self) -> None:
        node, core = self.node, self.node.core
        assert core is not None
        writes, node.writes = node.writes, ()
        for state in writes:
            core.not_persisted(state, "no space left", node.now)
            self._drain(core)

    def _die(self, written: bool) -> None:
        node = self.node
        if node.secret:
            node.deaths = (node.secret, *node.deaths)[:4]
            death = Death(node.site.site, node.name, node.secret, "signal-9")
            self.said += [Said(other, death, None) for other in node.site.servers if other != node.name]
        self._crash(written, True)

    def _reveal(self, death: Death) -> None:
        core = self.node.core
        assert isinstance(core, Member)
        core.revealed(death, self.node.now)
        self._drain(core)

    def _start(self) -> None:
        node = self.node
        node.starts += 1
        state = node.file or PersistentState(incarnation=0)
        node.file = replace(state, incarnation=node.starts, serial=state.serial + 1)
        if node.name in node.site.servers:
            commitment = commitment_of(node.secret)
            node.core = Member(node.name, node.site, node.file, Steady(), node.now, commitment, node.deaths)
        else:
            node.core = AgentVoter(node.name, node.site, node.file, node.now)
        self._timers()

    def _suspect(self) -> None:
        core, now = self.node.core, self.node.now
        assert isinstance(core, Member)
        if core.state == STANDBY and core.candidate.election is None:
            core._role.start_election("it suspects without a reason", now)

    def _claim(self) -> None:
        core, now = self.node.core, self.node.now
        assert isinstance(core, Member)
        self._suspect()
        core.candidate.step(ElectionEvent.AGREED, now)

    def _switchover(self) -> None:
        core = self.node.core
        assert isinstance(core, Member)
        core.switchover("", self.node.now)

    def _drain(self, core: Member | AgentVoter) -> None:
        node, now = self.node, self.node.now
        for action in core.to_do():
            if isinstance(action, Persist):
                node.writes = (*node.writes, action.state)
            elif isinstance(action, Tell):
                self.said.append(self._message(core, action, now))
        while (decision := core.next_event()) is not None:
            self.story.append(str(decision))
            if decision.what is What.BECAME_ACTIVE and decision.proof is not None and not decision.proof.forced:
                self.proved.append((decision.epoch, decision.proof.node, decision.proof.incarnation))

    def _message(self, core: Member | AgentVoter, tell: Tell, now: float) -> Said:
        beat, slot = tell.beat, None
        if beat.re is not None:
            slot = self.node.asked.get((tell.to, *beat.re))
            if beat.grant and not beat.no:
                self._signed((beat.for_epoch, tell.to, beat.re[0]))
            re = (beat.re[0], 0)
        else:
            re = None
            if isinstance(core, Member):
                slot = _slot(core, beat.seq, now)
        heard = None if beat.heard is None else min(beat.heard, 1.0 + self.node.site.timing.silence)
        return Said(tell.to, replace(beat, seq=0, re=re, load=0.0, heard=heard), slot)

    def _signed(self, grant: tuple[int, str, int]) -> None:
        """A signed grant leaves; it must be on disk."""
        self.granted.append(grant)
        file = self.node.file
        if file is None or not any(each.epoch >= grant[0] for each in file.granted if each.node == grant[1]):
            self.broken = f"{self.node.name} says that it granted epoch {grant[0]}, and its disk does not know"


def _slot(core: Member, seq: int, now: float) -> Slot | None:
    sent = core.leader.lease._sent.get(seq)
    if sent is not None:
        return Slot("lease", round((now - sent[1]) / QUANTUM, 6), sent[2])
    election = core.candidate.election
    asked = election._asked.get(seq) if election is not None else None
    return None if asked is None else Slot("vote", round((now - asked.sent_at) / QUANTUM, 6), True)
