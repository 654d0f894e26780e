"""Every schedule of a small site that has at most so many misfortunes, breadth first.

Between misfortunes a site runs in one way: messages arrive at once, disks write at once, timers come when they are
due. So a state is searched once, whatever led to it, and time has no end: the search is over when nothing new comes.
A *round* delivers what was said in the round before; when nothing is under way a *tick* passes. Nodes act apart in a
round, and their order changes nothing, so it is fixed. What happens to agents to which nothing happened yet happens
to the first of them: they are alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from heartbeat.death import Death
from heartbeat.header import ACTIVE, STANDBY, Beat
from heartbeat.membership import Membership
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import VoterList
from tests.search.node import LONGEST, Event, Facts, Node, Outcome, Slot, act, facts_of, key_of

MOST_HELD: Final = 2
MOST_QUEUED: Final = 4

LOSE, HOLD, DOUBLE, DIE, CRASH, LOSE_FILE, STOP, CUT, SLIP, SUSPECT, CLAIM, SWITCH, DISK, FULL = (
    "lose hold double die crash lose-file stop cut slip suspect claim switchover slow-disk full-disk".split()
)
MISFORTUNES: Final = frozenset(
    (LOSE, HOLD, DOUBLE, DIE, CRASH, LOSE_FILE, STOP, CUT, SLIP, SUSPECT, CLAIM, SWITCH, DISK, FULL)
)
"""What can happen: to a message, to a node, to the network; and a server that asks for votes (`SUSPECT`), or for an
epoch without having asked (`CLAIM`), whatever it knows: only votes may make anybody act, not what a server thinks."""


class Message(NamedTuple):
    """One message under way; ``number`` is its rank among those of its sender's start, from what was heard last."""

    sender: int
    to: int
    start: int
    beat: int
    slot: Slot | None
    number: int


class Held(NamedTuple):
    """A message that waits: by misfortune, or because its receiver is stopped."""

    message: Message
    ticks: int
    queued: bool


class State(NamedTuple):
    """The whole site at one instant."""

    nodes: tuple[int, ...]
    flight: tuple[Message, ...]
    held: tuple[Held, ...]
    stopped: tuple[tuple[int, int], ...]
    """Node, ticks since."""
    slow: tuple[tuple[int, int], ...]
    """Node whose disk does not answer, ticks since."""
    cuts: int
    """Bit ``5 * from + to``."""
    slips: int
    """Whose clock gains a tick at the next one."""
    left: int
    """Misfortunes that may still happen."""
    touched: int
    past: int
    """What was granted and proved, as `Explorer` numbers it."""


Step = tuple[Any, ...]


class Past(NamedTuple):
    """What must never be contradicted later."""

    proved: tuple[tuple[int, str, int], ...] = ()
    granted: tuple[tuple[str, int, str, int], ...] = ()


class Broken(Exception):
    """A rule does not hold."""


@dataclass
class Found:
    """A rule that does not hold, and how that came."""

    rule: str
    steps: list[Step]
    story: list[str]

    def __str__(self) -> str:
        return "\n".join((*self.story, f"BROKEN: {self.rule}"))


@dataclass
class Result:
    """What a search saw."""

    states: int = 0
    steps: int = 0
    events: int = 0
    """Different events of single nodes that real cores worked out."""
    depth: int = 0
    whole: bool = True
    """Nothing was left out."""
    found: Found | None = None


@dataclass
class Explorer:
    """Searches one site. ``kinds`` are the misfortunes that happen, ``most`` how many."""

    site: Membership
    kinds: frozenset[str] = MISFORTUNES
    most: int = 2
    init: str = "m1"
    names: tuple[str, ...] = ()
    _reps: list[Node] = field(default_factory=list)
    _facts: list[Facts] = field(default_factory=list)
    _ids: dict[Any, int] = field(default_factory=dict)
    _beats: list[Beat | Death] = field(default_factory=list)
    _beat_ids: dict[Beat | Death, int] = field(default_factory=dict)
    _pasts: list[Past] = field(default_factory=list)
    _past_ids: dict[Past, int] = field(default_factory=dict)
    _memo: dict[tuple[int, Event], tuple[int, Outcome, tuple[tuple[int, int, Slot | None], ...]]] = field(
        default_factory=dict
    )
    _tell: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.names = (*self.site.servers, *self.site.agents)
        self._index = {name: number for number, name in enumerate(self.names)}
        self._servers = len(self.site.servers)

    # single nodes

    def _enter(self, node: Node) -> int:
        key = (node.name, key_of(node))
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self._reps)
            self._reps.append(node)
            self._facts.append(facts_of(node))
        return found

    def _past(self, past: Past) -> int:
        found = self._past_ids.get(past)
        if found is None:
            found = self._past_ids[past] = len(self._pasts)
            self._pasts.append(past)
        return found

    def _do(self, node: int, event: Event) -> tuple[int, Outcome, tuple[tuple[int, int, Slot | None], ...]]:
        found = self._memo.get((node, event))
        if found is None:
            heard = event[0] in ("receive", "reveal")
            real = (event[0], self._beats[event[1]], *event[2:]) if heard else event
            outcome = act(self._reps[node], real)
            said = []
            for one in outcome.said:
                beat = self._beat_ids.get(one.beat)
                if beat is None:
                    beat = self._beat_ids[one.beat] = len(self._beats)
                    self._beats.append(one.beat)
                said.append((self._index[one.to], beat, one.slot))
            found = self._memo[node, event] = (self._enter(outcome.node), outcome, tuple(said))
        return found

    # the site

    def start(self) -> State:
        """Everything off; ``init`` was said at one server."""
        nodes = []
        for name in self.names:
            file = None
            if name == self.init:
                voters = VoterList(1, self.site.voters, self.site.generation)
                file = PersistentState(incarnation=0, first=True, non_voting=False, voters=voters)
            nodes.append(self._enter(Node(name, self.site, None, 1000.0, file, (), 0, {})))
        return State(tuple(nodes), (), (), (), (), 0, 0, self.most, 0, self._past(Past()))

    def first_start(self) -> State:
        """All were just started for the first time."""
        state = self.start()
        for node in range(len(self.names)):
            state = self.step(state, ("start", node))
        return state

    def won(self) -> State:
        """The first leader has just won its epoch, and nobody heard of it."""
        state = self.first_start()
        while not self._facts[state.nodes[0]].may_act:
            state = self.step(state, self._onward(state))
        return state

    def peace(self) -> State:
        """Nothing happened until nothing changes any more."""
        state = self.first_start()
        seen: set[State] = set()
        while state not in seen:
            seen.add(state)
            state = self.step(state, self._onward(state))
        while state.flight:
            state = self.step(state, self._onward(state))
        assert self._facts[state.nodes[0]].may_act, "the site did not come up"
        return state._replace(touched=0)

    def _onward(self, state: State) -> Step:
        busy = state.flight or any(self._writes(state, node) for node in range(len(self.names)))
        return ("round",) if busy else ("tick",)

    def _writes(self, state: State, node: int) -> bool:
        facts = self._facts[state.nodes[node]]
        return (
            facts.disk_waits
            and all(slow != node for slow, _ in state.slow)
            and all(stopped != node for stopped, _ in state.stopped)
        )

    def step(self, state: State, step: Step) -> State:
        """What follows; raises `Broken`."""
        return _Step(self, state).do(step)

    def steps(self, state: State) -> Iterator[Step]:
        """All that may come next."""
        onward = self._onward(state)
        if not self._overdue(state):
            yield onward
        for number, held in enumerate(state.held):
            if not held.queued:
                yield ("release", number)
        if onward[0] == "tick":
            yield from self._ends(state)
        if state.left:
            yield from self._messages(state)
            yield from self._crashes(state)
            if onward[0] == "tick":
                yield from self._boundary(state)

    def _overdue(self, state: State) -> bool:
        """Whether a misfortune has lasted as long as it may: something else than a tick must come."""
        if self._onward(state)[0] != "tick":
            return False
        return any(ticks >= LONGEST for _, ticks in (*state.stopped, *state.slow))

    def _ends(self, state: State) -> Iterator[Step]:
        for node in range(len(self.names)):
            if not self._facts[state.nodes[node]].up:
                yield ("start", node)
        for node, _ in state.stopped:
            yield ("go on", node, True)
            yield ("go on", node, False)
        for node, _ in state.slow:
            yield ("disk works", node)
        if state.cuts:
            yield ("heal",)

    def _eligible(self, state: State, node: int) -> bool:
        """Of the agents that nothing happened to only the first one."""
        if node < self._servers or state.touched >> node & 1:
            return True
        return all(state.touched >> other & 1 for other in range(self._servers, node))

    def _messages(self, state: State) -> Iterator[Step]:
        room = sum(not held.queued for held in state.held) < MOST_HELD
        for number, message in enumerate(state.flight):
            if not (self._eligible(state, message.sender) and self._eligible(state, message.to)):
                continue
            if LOSE in self.kinds:
                yield (LOSE, number)
            if room and HOLD in self.kinds:
                yield (HOLD, number)
            if room and DOUBLE in self.kinds:
                yield (DOUBLE, number)

    def _crashes(self, state: State) -> Iterator[Step]:
        for node in range(len(self.names)):
            facts = self._facts[state.nodes[node]]
            if not facts.up or not self._eligible(state, node):
                continue
            if CRASH in self.kinds:
                yield (CRASH, node, False)
                if facts.disk_waits:
                    yield (CRASH, node, True)
            if DIE in self.kinds and node < self._servers:
                yield (DIE, node, False)
                if facts.disk_waits:
                    yield (DIE, node, True)
            if FULL in self.kinds and self._writes(state, node):
                yield (FULL, node)
            if LOSE_FILE in self.kinds:
                yield (LOSE_FILE, node)
            if DISK in self.kinds and self._writes(state, node):
                yield (DISK, node)
            if CLAIM in self.kinds and node < self._servers and all(node != other for other, _ in state.stopped):
                yield (CLAIM, node)

    def _boundary(self, state: State) -> Iterator[Step]:
        stopped = {node for node, _ in state.stopped}
        for node in range(len(self.names)):
            facts = self._facts[state.nodes[node]]
            if not self._eligible(state, node) or not facts.up or node in stopped:
                continue
            if STOP in self.kinds:
                yield (STOP, node)
            if SLIP in self.kinds and not state.slips:
                yield (SLIP, node)
            if CUT in self.kinds and not state.cuts:
                yield (CUT, node, "away")
                if node < self._servers:
                    yield (CUT, node, "deaf")
                    yield (CUT, node, "dumb")
                else:
                    for server in self.site.servers:
                        yield (CUT, node, server)
            if node < self._servers:
                if SUSPECT in self.kinds and facts.state == STANDBY:
                    yield (SUSPECT, node)
                if SWITCH in self.kinds and facts.state == ACTIVE:
                    yield (SWITCH, node)
        if CUT in self.kinds and not state.cuts:
            yield (CUT, 0, self.names[1])

    def _whole(self, message: Message) -> tuple[Any, ...]:
        return (*message[:3], self._beats[message.beat], message.slot, message.number)

    # the search

    def search(
        self,
        begin: str = "peace",
        most_states: int | None = None,
        progress: Callable[[Result, int], None] | None = None,
    ) -> Result:
        """Breadth first from ``peace``, ``first_start`` or ``won``, until nothing new comes, a rule is broken, or
        ``most_states``."""
        result = Result()
        try:
            began: State = getattr(self, begin)()
        except Broken as broken:
            result.found = Found(str(broken), [], ["before any misfortune"])
            return result
        parents: dict[State, tuple[State, Step] | None] = {began: None}
        todo, following = deque((began,)), deque[State]()
        while todo:
            state = todo.popleft()
            for step in self.steps(state):
                result.steps += 1
                try:
                    found = self.step(state, step)
                except Broken as broken:
                    result.found = self._tell_story(parents, state, step, str(broken))
                    todo.clear()
                    following.clear()
                    break
                if found not in parents:
                    parents[found] = (state, step)
                    following.append(found)
            if progress is not None and result.steps & 0xFFF < 16:
                result.states, result.events = len(parents), len(self._memo)
                progress(result, len(todo) + len(following))
            if not todo:
                todo, following = following, todo
                result.depth += bool(todo)
            if most_states is not None and len(parents) >= most_states and todo:
                result.whole = False
                break
        result.states, result.events = len(parents), len(self._memo)
        return result

    def _tell_story(
        self, parents: dict[State, tuple[State, Step] | None], state: State, last: Step, rule: str
    ) -> Found:
        steps = [last]
        while (before := parents[state]) is not None:
            state, step = before
            steps.append(step)
        steps.reverse()
        return Found(rule, steps, self.tell(state, steps))

    def tell(self, state: State, steps: list[Step]) -> list[str]:
        """The story of ``steps`` from ``state``, a sentence a line."""
        lines: list[str] = []
        ticks = 0
        self._tell = lambda line: lines.append(f"{ticks:3}  {line}")
        try:
            for step in steps:
                if step[0] == "tick":
                    ticks += 1
                elif step[0] != "round":
                    self._tell(f"* {self._say(state, step)}")
                try:
                    state = self.step(state, step)
                except Broken:
                    break
        finally:
            self._tell = None
        return lines

    def _say(self, state: State, step: Step) -> str:
        kind, name = step[0], self.names
        if kind in (LOSE, HOLD, DOUBLE):
            return f"{_WORDS[kind]}: {self.describe(state.flight[step[1]])}"
        if kind == "release":
            return f"now comes {self.describe(state.held[step[1]].message)}"
        if kind == CUT and step[2] in name:
            return f"{name[step[1]]} and {step[2]} do not hear each other any more"
        if kind in (CRASH, DIE):
            how = "dies with its machine" if kind == CRASH else "dies"
            return f"{name[step[1]]} {how}, {'after' if step[2] else 'before'} its disk has what was asked for"
        if kind == "go on":
            return f"{name[step[1]]} goes on, {'messages' if step[2] else 'timers'} first"
        who = name[step[1]] if len(step) > 1 else ""
        how = _CUTS[step[2]] if kind == CUT else ""
        return f"{who} {_WORDS.get(kind, kind)}{how}".strip()

    def describe(self, message: Message) -> str:
        """A message as people name it."""
        beat, names = self._beats[message.beat], self.names
        if isinstance(beat, Death):
            return f"the word of {beat.node}'s supervisor to {names[message.to]}, that it has died"
        what = beat.kind if beat.re is None else f"answer to {beat.kind}"
        more = f" for epoch {beat.for_epoch}" if beat.for_epoch else f" under epoch {beat.epoch}"
        no = f", no: {beat.no}" if beat.no else ""
        return f"{what}{more} from {names[message.sender]} ({beat.state}) to {names[message.to]}{no}"


_WORDS: Final = {
    LOSE: "lost",
    HOLD: "held back",
    DOUBLE: "doubled, the second held back",
    LOSE_FILE: "dies and loses its file",
    STOP: "is stopped",
    CUT: "",
    SLIP: "has a clock that gains a tick",
    SUSPECT: "asks for votes without a reason",
    CLAIM: "claims an epoch without having asked for votes",
    SWITCH: "is told to hand over",
    DISK: "has a disk that does not answer",
    FULL: "has a disk that takes nothing now",
    "start": "starts",
    "heal": "the network is whole again",
    "disk works": "has a disk that answers again",
}
_CUTS: Final = {"away": "is cut off", "deaf": "hears nobody any more", "dumb": "is heard by nobody any more"}


class _Step:
    """One step of one state."""

    def __init__(self, explorer: Explorer, state: State) -> None:
        self.x = explorer
        self.before = state
        self.nodes = list(state.nodes)
        self.said: list[tuple[int, int, int, Slot | None]] = []
        self.held = list(state.held)
        self.past = explorer._pasts[state.past]
        self.new_past = False

    def do(self, step: Step) -> State:
        state = getattr(self, "_" + step[0].replace("-", "_").replace(" ", "_"))(*step[1:])
        return self._checked(state)

    def _event(self, node: int, event: Event) -> Outcome:
        found, outcome, said = self.x._do(self.nodes[node], event)
        self.nodes[node] = found
        for to, beat, slot in said:
            self.said.append((node, to, beat, slot))
        if outcome.broken:
            raise Broken(outcome.broken)
        if outcome.proved or outcome.granted:
            self._remember(self.x.names[node], outcome)
        if self.x._tell is not None:
            for line in outcome.story:
                self.x._tell(f"{self.x.names[node]}: {line}")
        return outcome

    def _remember(self, name: str, outcome: Outcome) -> None:
        proved, granted = dict.fromkeys(self.past.proved), dict.fromkeys(self.past.granted)
        proved.update(dict.fromkeys(outcome.proved))
        granted.update(dict.fromkeys((name, *grant) for grant in outcome.granted))
        self.past = Past(tuple(sorted(proved)), tuple(sorted(granted)))
        self.new_past = True
        if len({epoch for epoch, _, _ in proved}) < len(proved):
            raise Broken(f"two servers lead under one epoch: {sorted(proved)[-2:]}")
        if len({(voter, epoch) for voter, epoch, _, _ in granted}) < len(granted):
            own = [grant[1:] for grant in sorted(granted) if grant[0] == name]
            raise Broken(f"{name} granted one epoch twice: {own}")

    def _checked(self, state: State) -> State:
        x = self.x
        if state.nodes == self.before.nodes:
            return state
        facts = [x._facts[node] for node in state.nodes]
        servers = facts[: x._servers]
        if sum(server.may_act for server in servers) > 1:
            names = [name for name, server in zip(x.names, servers, strict=False) if server.may_act]
            raise Broken(f"two servers have a lease: {' and '.join(names)}")
        for number, leader in enumerate(servers):
            if not leader.leads or not leader.up:
                continue
            for voter in leader.fresh:
                for epoch, node, _ in facts[x._index[voter]].granted:
                    if epoch > leader.leads and node not in ("", x.names[number]):
                        raise Broken(
                            f"{voter} granted epoch {epoch} to {node} while its answer to {x.names[number]} still"
                            f" counts for the lease of epoch {leader.leads}"
                        )
        proved = {epoch: (node, start) for epoch, node, start in self.past.proved}
        for number in range(x._servers, len(facts)):
            epoch, node, start = facts[number].obeys
            if epoch and proved.get(epoch) != (node, start):
                raise Broken(f"{x.names[number]} obeys {node} under epoch {epoch}, which it never won")
        return state

    # time

    def _round(self) -> State:
        x, before = self.x, self.before
        inbox: list[list[Message]] = [[] for _ in x.names]
        stopped = {node for node, _ in before.stopped}
        for message in before.flight:
            inbox[message.to].append(message)
        for node, messages in enumerate(inbox):
            if x._writes(before, node):
                self._event(node, ("disk",))
            if not messages:
                continue
            if not x._facts[self.nodes[node]].up:
                continue
            if node in stopped:
                self._queue(node, messages)
                continue
            while messages:
                self._deliver(messages)
        return self._after(before, flight=())

    def _deliver(self, messages: list[Message]) -> None:
        message = messages.pop(0)
        link = message[:3]
        others = [m.number for m in messages if m[:3] == link]
        held = [i for i, h in enumerate(self.held) if h.message[:3] == link]
        numbers = tuple(sorted({*others, *(self.held[i].message.number for i in held)}))
        if isinstance(self.x._beats[message.beat], Death):
            self._event(message.to, ("reveal", message.beat))
            return
        outcome = self._event(message.to, ("receive", message.beat, message.slot, message.number, numbers))
        if not numbers or outcome.numbers == numbers:
            return
        now = dict(zip(numbers, outcome.numbers, strict=True))
        for i, other in enumerate(messages):
            if other[:3] == link:
                messages[i] = other._replace(number=now[other.number])
        for i in held:
            one = self.held[i]
            self.held[i] = one._replace(message=one.message._replace(number=now[one.message.number]))

    def _queue(self, node: int, messages: list[Message]) -> None:
        for message in messages:
            self.held.append(Held(message, 0, True))
        mine = [i for i, held in enumerate(self.held) if held.queued and held.message.to == node]
        for i in reversed(mine[:-MOST_QUEUED]):
            del self.held[i]

    def _tick(self) -> State:
        x, before = self.x, self.before
        stopped = {node for node, _ in before.stopped}
        ticks = [1 + (before.slips >> node & 1) for node in range(len(x.names))]
        ages = tuple(zip(x.names, ticks, strict=True))
        forget = not before.held and not any(x._facts[node].disk_waits for node in self.nodes)
        for node in range(len(x.names)):
            facts = x._facts[self.nodes[node]]
            if facts.disk_waits:
                self._event(node, ("ages", ages))
            runs = facts.up and node not in stopped
            self._event(node, ("tick" if runs else "wait", ticks[node], forget))
        self.held = [self._older(held, ticks) for held in self.held if held.queued or held.ticks < LONGEST]
        return self._after(
            before,
            slips=0,
            stopped=tuple([(node, age + 1) for node, age in before.stopped]),
            slow=tuple([(node, age + 1) for node, age in before.slow]),
        )

    def _older(self, held: Held, ticks: list[int]) -> Held:
        message = held.message
        if message.slot is not None:
            beat = self.x._beats[message.beat]
            asker = message.sender if isinstance(beat, Beat) and beat.re is None else message.to
            message = message._replace(slot=message.slot._replace(age=message.slot.age + ticks[asker]))
        return Held(message, held.ticks + 1, held.queued)

    def _after(self, state: State, **changes: Any) -> State:
        """The state with what was said under way."""
        x = self.x
        cuts = changes.get("cuts", state.cuts)
        flight = list(changes.pop("flight", state.flight))
        size = len(x.names)
        for sender, to, beat, slot in self.said:
            if cuts >> (size * sender + to) & 1:
                continue
            start = x._facts[self.nodes[sender]].incarnation
            link = (sender, to, start)
            number = 1
            if self.held or flight:
                above = [m.number for m in flight if m[:3] == link]
                above += [held.message.number for held in self.held if held.message[:3] == link]
                number = 1 + max(0, max(above, default=0))
            flight.append(Message(sender, to, start, beat, slot, number))
        past = x._past(self.past) if self.new_past else state.past
        return state._replace(
            nodes=tuple(self.nodes), flight=tuple(flight), held=tuple(self.held), past=past, **changes
        )

    # ends

    def _start(self, node: int) -> State:
        self._event(node, ("start",))
        return self._after(self.before)

    def _release(self, number: int) -> State:
        message = self.held.pop(number).message
        return self._after(self.before, flight=(*self.before.flight, message))

    def _go_on(self, node: int, messages_first: bool) -> State:
        mine = [held.message for held in self.held if held.queued and held.message.to == node]
        self.held = [held for held in self.held if not (held.queued and held.message.to == node)]
        if not messages_first:
            self._event(node, ("timers",))
        stopped = tuple([one for one in self.before.stopped if one[0] != node])
        return self._after(self.before, flight=(*self.before.flight, *mine), stopped=stopped)

    def _disk_works(self, node: int) -> State:
        return self.before._replace(slow=tuple([one for one in self.before.slow if one[0] != node]))

    def _heal(self) -> State:
        return self.before._replace(cuts=0)

    # misfortunes

    def _touch(self, *nodes: int) -> dict[str, int]:
        touched = self.before.touched
        for node in nodes:
            touched |= 1 << node
        return {"left": self.before.left - 1, "touched": touched}

    def _lose(self, number: int) -> State:
        flight = list(self.before.flight)
        message = flight.pop(number)
        return self._after(self.before, flight=flight, **self._touch(message.sender, message.to))

    def _hold(self, number: int) -> State:
        flight = list(self.before.flight)
        message = flight.pop(number)
        self.held.append(Held(message, 0, False))
        return self._after(self.before, flight=flight, **self._touch(message.sender, message.to))

    def _double(self, number: int) -> State:
        message = self.before.flight[number]
        self.held.append(Held(message, 0, False))
        return self._after(self.before, **self._touch(message.sender, message.to))

    def _crash(self, node: int, written: bool) -> State:
        return self._gone(node, ("crash", written, True))

    def _lose_file(self, node: int) -> State:
        return self._gone(node, ("crash", False, False))

    def _die(self, node: int, written: bool) -> State:
        return self._gone(node, ("die", written))

    def _full_disk(self, node: int) -> State:
        self._event(node, ("full",))
        return self._after(self.before, **self._touch(node))

    def _gone(self, node: int, event: Event) -> State:
        self._event(node, event)
        self.held = [held for held in self.held if not (held.queued and held.message.to == node)]
        return self._after(
            self.before,
            stopped=tuple([one for one in self.before.stopped if one[0] != node]),
            slow=tuple([one for one in self.before.slow if one[0] != node]),
            **self._touch(node),
        )

    def _stop(self, node: int) -> State:
        return self.before._replace(stopped=(*self.before.stopped, (node, 0)), **self._touch(node))

    def _slow_disk(self, node: int) -> State:
        return self.before._replace(slow=(*self.before.slow, (node, 0)), **self._touch(node))

    def _slip(self, node: int) -> State:
        return self.before._replace(slips=1 << node, **self._touch(node))

    def _cut(self, node: int, how: str) -> State:
        size, cuts = len(self.x.names), 0
        others = (self.x._index[how],) if how in self.x.names else range(size)
        for other in others:
            if other != node:
                cuts |= (how != "deaf") << (size * node + other)
                cuts |= (how != "dumb") << (size * other + node)
        return self.before._replace(cuts=cuts, **self._touch(node))

    def _claim(self, node: int) -> State:
        self._event(node, ("claim",))
        return self._after(self.before, **self._touch(node))

    def _suspect(self, node: int) -> State:
        self._event(node, ("suspect",))
        return self._after(self.before, **self._touch(node))

    def _switchover(self, node: int) -> State:
        self._event(node, ("switchover",))
        return self._after(self.before, **self._touch(node))
