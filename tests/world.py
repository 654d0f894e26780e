"""One clock, one lossy network, any cores: the whole system in one thread, run from a seed.

::

    world = World(seed=7)
    world.add("m1", make, "127.0.0.1", ["tcp:127.0.0.1:5161"])      make(disk, now) -> core
    world.wires.cut("m1", "m2")                                       one way
    world.pause("m1"); world.kill("m1"); world.start("m1"); world.jump("m1", 2.0)
    world.run(until=20.0)
    print(world.ladder())

Each node has its own clock (an offset and a rate against the world's); ``now`` in a core is its node's. The same seed
gives the same run. ``crashes`` stop nodes at the n-th message that they receive, or at the n-th timer.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from sip.actions import Close, Flow, Flush, Open, Resolve, Send, Store
from sip.location import Place
from sip.wire.uri import host_port
from tests.wires import Delivery, Wires

BEFORE: Final = "before"
"""The message is lost with the process that never read it."""
UNSENT: Final = "unsent"
"""It was dealt with, but nothing of what follows from it has left."""
PARTLY: Final = "partly"
"""The first message that follows from it has left, the others have not."""
AFTER: Final = "after"
"""All that follows from it at once has left."""
MOMENTS: Final = (BEFORE, UNSENT, PARTLY, AFTER)

KILL: Final = "kill"
PAUSE: Final = "pause"
"""Only before and after: what is under way in a stopped process leaves when it goes on."""
RESET: Final = "reset"
"""The connection on which the message came breaks, with all that is under way on it."""
ACT: Final = "act"
"""Nothing fails: something is done instead (``Crash.act``). Only before and after."""

_CSEQ: Final = re.compile(rb"\r\nCSeq:[ \t]*[0-9]+[ \t]+([A-Z]+)[ \t]*\r\n", re.IGNORECASE)

SHORTEST_WAIT: Final = 0.001
"""As in ``sip.io.pump``."""


class Core(Protocol):
    """The verbs of ``sip.actions``."""

    def receive(self, data: bytes, flow: Flow, now: float) -> None: ...

    def flow_changed(self, flow: Flow, state: str, now: float) -> None: ...

    def done(self, request: Any, result: Any, now: float) -> None: ...

    def handle_timer(self, now: float) -> None: ...

    def get_timer(self) -> float | None: ...

    def to_do(self) -> list[Any]: ...

    def next_event(self) -> Any: ...


Disk = dict[str, str]
Make = Callable[[Disk, float], Core]


@dataclass(slots=True)
class Crash:
    """What happens to ``node`` at the ``index``-th message (from 0) that it receives and that ``counts``."""

    node: str
    index: int
    moment: str
    counts: Callable[[Delivery | None], bool] = lambda delivery: delivery is not None
    """Told of messages, and by None of timers that are due."""
    how: str = KILL
    lasts: float = 0.0
    """Seconds until a killed node is started, or a paused one resumed; 0: it is not."""
    act: Callable[[], None] | None = None
    seen: int = 0
    happened_at: float | None = None


class Line(NamedTuple):
    """One line of the trace."""

    at: float
    source: str
    target: str
    what: bytes | str
    mark: str


@dataclass(slots=True, eq=False)
class Node:
    """A machine with one process on it."""

    name: str
    make: Make
    host: str
    others: Mapping[type, Callable[[Any], None]]
    """Who does actions of further types, such as writing a call record."""
    core: Any = None
    """``None`` while it is dead."""
    life: int = 0
    """Which start of the process this is; 0 before the first and after a kill."""
    lives: int = 0
    paused: bool = False
    offset: float = 0.0
    rate: float = 1.0
    disk: Disk = field(default_factory=dict)
    """What its Store actions have put there; it survives the process."""
    events: list[Any] = field(default_factory=list)
    on_event: Callable[[Any], None] | None = None
    waiting: deque[tuple[str, tuple[Any, ...], Delivery | None]] = field(default_factory=deque)
    """What came while it was paused."""
    timer_at: float | None = None

    def clock(self, world_now: float) -> float:
        return world_now * self.rate + self.offset

    @property
    def alive(self) -> bool:
        return self.core is not None


class World:
    """See the module."""

    def __init__(self, seed: int = 0, trace: int = 5000) -> None:
        """``trace`` is how many of the last lines are kept."""
        self.seed = seed
        self.random = Random(seed)
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.wires = Wires(self)
        self.names: dict[str, list[Place]] = {}
        """Answers to Resolve; a URI with a numeric host needs none."""
        self.store_delay = 0.002
        self.crashes: list[Crash] = []
        self.watchers: list[Callable[[], None]] = []
        """Called after each step: where invariants are checked. They raise."""
        self.received: Counter[str] = Counter()
        """Messages by node."""
        self.listeners: list[Callable[[Delivery], None]] = []
        """Called before a message is handed to a node."""
        self.timer_listeners: list[Callable[[str], None]] = []
        """Told of a node whose timers are due, before they fire."""
        self.trace: deque[Line] = deque(maxlen=trace)
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._serial = count()

    # -- what a story says ------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        make: Make,
        host: str,
        listeners: Iterable[str],
        *,
        others: Mapping[type, Callable[[Any], None]] | None = None,
        on_event: Callable[[Any], None] | None = None,
        offset: float | None = None,
        rate: float = 1.0,
        start: bool = True,
    ) -> Node:
        """A node; ``host`` is where its connections come from, ``listeners`` are spelled ``udp:host:port``."""
        node = Node(name, make, host, others or {}, rate=rate, on_event=on_event)
        node.offset = self.random.uniform(1000.0, 2000.0) if offset is None else offset
        self.nodes[name] = node
        for listener in listeners:
            self.wires.listeners[listener] = (name, listener.partition(":")[2])
        if start:
            self.start(name)
        return node

    def start(self, name: str) -> Core:
        """Start the process: a core is made from what is on the disk."""
        node = self.nodes[name]
        assert node.core is None, f"{name} runs already"
        node.lives += 1
        node.life = node.lives
        node.paused = False
        self._say(name, "", "started", "")
        node.core = node.make(node.disk, node.clock(self.now))
        self._drain(node)
        core: Core = node.core
        return core

    def kill(self, name: str) -> None:
        """SIGKILL: its streams end, what it had not sent is lost; the disk stays."""
        node = self.nodes[name]
        if node.core is None:
            return
        self._say(name, "", "killed", "")
        node.core = None
        node.life = 0
        node.timer_at = None
        node.waiting.clear()
        self.wires.die(name)

    def pause(self, name: str) -> None:
        """SIGSTOP: streams stay, what comes waits."""
        self.nodes[name].paused = True
        self._say(name, "", "paused", "")

    def resume(self, name: str) -> None:
        """SIGCONT: timers and what waits are dealt with, in either order."""
        node = self.nodes[name]
        node.paused = False
        self._say(name, "", "resumed", "")
        if node.core is None:
            return
        if self.random.random() < 0.5:
            self._timer_due(node, node.life, None)
        waiting, node.waiting = node.waiting, deque()
        for verb, args, delivery in waiting:
            self._input(node, verb, args, delivery)
        if node.core is not None:
            self._timer_due(node, node.life, None)

    def jump(self, name: str, seconds: float) -> None:
        """The clock of a node runs ahead at once, as after a suspend."""
        node = self.nodes[name]
        node.offset += seconds
        self._say(name, "", f"clock + {seconds:.3f} s", "")
        if node.core is not None:
            self._set_timer(node)

    def ask(self, name: str, verb: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """An operator's or user's verb of a core: ``verb(*args, now=…)``, then what it wants is done."""
        node = self.nodes[name]
        result = verb(*args, now=node.clock(self.now), **more)
        self._drain(node)
        return result

    def later(self, after: float, act: Callable[..., Any], *args: Any) -> None:
        """Let something happen so many seconds from now."""
        self.at(self.now + after, act, *args)

    def run(self, until: float) -> None:
        """Let the world's time pass up to an instant."""
        while self._heap and self._heap[0][0] <= until:
            self.step()
        self.now = max(self.now, until)

    def run_until(self, true: Callable[[], bool], limit: float) -> bool:
        """Run until something is true, ``limit`` seconds from now at most; whether it became true."""
        end = self.now + limit
        while not true():
            if not self._heap or self._heap[0][0] > end:
                self.now = max(self.now, end)
                return true()
            self.step()
        return True

    def step(self) -> None:
        """One event."""
        at, _, act, args = heapq.heappop(self._heap)
        if at > self.now:
            self.now = at
        act(*args)
        for watch in self.watchers:
            watch()

    def ladder(self, last: int = 400, calls_only: bool = False) -> str:
        """The trace, a line a message."""
        lines = [line for line in self.trace if not (calls_only and _is_beat(line.what))]
        return "\n".join(_told(line) for line in lines[-last:])

    # -- what the wires say ------------------------------------------------------------------------------

    def at(self, at: float, act: Callable[..., Any], *args: Any) -> None:
        heapq.heappush(self._heap, (at, next(self._serial), act, args))

    def life_of(self, node: str) -> int:
        return self.nodes[node].life

    def note(self, source: str, target: str, data: bytes, mark: str) -> None:
        self.trace.append(Line(self.now, source, target, data, mark))

    def arrive(self, delivery: Delivery) -> None:
        node = self.nodes[delivery.target]
        mark = "" if node.alive else "dead"
        self.trace.append(Line(self.now, delivery.source, delivery.target, delivery.data, mark))
        if node.core is not None:
            self._input(node, "receive", (delivery.data, delivery.flow), delivery)

    def tell_flow(self, node: str, life: int, flow: Flow, state: str) -> None:
        target = self.nodes[node]
        if target.core is not None and target.life == life:
            self._say(node, "", f"{flow.local} {flow.remote[0]} {state}", "")
            self._input(target, "flow_changed", (flow, state), None)

    # -- inside ------------------------------------------------------------------------------

    def _input(self, node: Node, verb: str, args: tuple[Any, ...], delivery: Delivery | None) -> None:
        if node.core is None:
            return
        if node.paused:
            node.waiting.append((verb, args, delivery))
            return
        crash = self._crash_at(node, delivery) if delivery is not None else None
        moment = crash.moment if crash is not None else ""
        if crash is not None and moment == BEFORE:
            self._crash(crash, node, delivery)
            if node.paused:
                node.waiting.append((verb, args, delivery))
            if crash.how != ACT:
                return
            crash = None
        if delivery is not None:
            self.received[node.name] += 1
            for listen in self.listeners:
                listen(delivery)
        getattr(node.core, verb)(*args, node.clock(self.now))
        if moment == PARTLY:
            self._drain(node, 1)
        elif moment != UNSENT:
            self._drain(node)
        if crash is not None:
            self._crash(crash, node, delivery)

    def _crash(self, crash: Crash, node: Node, delivery: Delivery | None) -> None:
        if crash.how == ACT:
            assert crash.act is not None
            crash.act()
        elif crash.how == RESET:
            assert delivery is not None
            self._say(node.name, "", f"its connections with {delivery.source} break", "")
            self.wires.reset(node.name, delivery.source)
        elif crash.how == PAUSE:
            self.pause(node.name)
            if crash.lasts:
                self.later(crash.lasts, self.resume, node.name)
        else:
            self.kill(node.name)
            if crash.lasts:
                self.later(crash.lasts, self.start, node.name)

    def _crash_at(self, node: Node, delivery: Delivery | None) -> Crash | None:
        due = None
        for crash in self.crashes:
            if crash.happened_at is None and node.name == crash.node and crash.counts(delivery):
                crash.seen += 1
                if crash.seen - 1 == crash.index:
                    crash.happened_at, due = self.now, crash
        return due

    def _drain(self, node: Node, sends: int = -1) -> None:
        """Do what a core wants; with ``sends`` only up to so many messages."""
        core, busy = node.core, True
        while busy:
            busy = False
            for action in core.to_do():
                busy = True
                if isinstance(action, Send):
                    if sends == 0:
                        continue
                    sends -= 1
                self._do(node, action)
            while (event := core.next_event()) is not None:
                busy = True
                node.events.append(event)
                if node.on_event is not None:
                    node.on_event(event)
        self._set_timer(node)

    def _do(self, node: Node, action: Any) -> None:
        if isinstance(action, Send):
            if action.flow.transport == "udp":
                self.wires.datagram(node.name, action.flow, action.data)
            else:
                self.wires.send(node.name, action.flow, action.data)
        elif isinstance(action, Open):
            self.wires.open(node.name, node.host, action.flow)
        elif isinstance(action, Close):
            self.wires.close(node.name, action.flow)
        elif isinstance(action, Resolve):
            self.later(0.0, self._done, node, node.life, action, self._resolve(action.uri))
        elif isinstance(action, Store):
            self.later(self.store_delay, self._stored, node, node.life, action)
        elif not isinstance(action, Flush):  # each flow has a delay of its own here
            node.others[type(action)](action)

    def _resolve(self, uri: str) -> list[Place]:
        if uri in self.names:
            return self.names[uri]
        host, port = host_port(uri)
        transport = "tcp" if "transport=tcp" in uri.lower() else "udp"
        return [Place(transport, host.strip("[]"), port or 5060)]

    def _stored(self, node: Node, life: int, action: Store) -> None:
        if node.life == life:
            node.disk[action.name] = action.value
            self._done(node, life, action, None)

    def _done(self, node: Node, life: int, request: Any, result: Any) -> None:
        if node.life == life:
            self._input(node, "done", (request, result), None)

    def _set_timer(self, node: Node) -> None:
        if node.core is None:
            return
        at = node.core.get_timer()
        if at is None:
            node.timer_at = None
            return
        due = max((at - node.offset) / node.rate, self.now + SHORTEST_WAIT)
        if node.timer_at is None or due < node.timer_at or node.timer_at <= self.now:
            node.timer_at = due
            self.at(due, self._timer_due, node, node.life, due)

    def _timer_due(self, node: Node, life: int, due: float | None) -> None:
        """``due`` tells which entry of the heap this is: only the last one set counts."""
        if node.core is None or node.life != life or node.paused or (due is not None and due != node.timer_at):
            return
        now = node.clock(self.now)
        node.timer_at = None
        at = node.core.get_timer()
        if at is None or at > now + 1e-9:
            self._drain(node)
            return
        for listen in self.timer_listeners:
            listen(node.name)
        crash = self._crash_at(node, None) if self.crashes else None
        moment = crash.moment if crash is not None else ""
        if crash is not None and moment == BEFORE:
            self._crash(crash, node, None)
            if crash.how != ACT:
                return
            crash = None
        node.core.handle_timer(max(now, at))
        if moment == PARTLY:
            self._drain(node, 1)
        elif moment != UNSENT:
            self._drain(node)
        if crash is not None:
            self._crash(crash, node, None)

    def _say(self, source: str, target: str, what: str, mark: str) -> None:
        self.trace.append(Line(self.now, source, target, what, mark))


def method_of(data: bytes) -> str:
    """The method of a message or of what it answers; ``""`` when it has no CSeq."""
    found = _CSEQ.search(data, 0, data.find(b"\r\n\r\n") + 2)
    return found[1].decode("latin-1") if found else ""


def _is_beat(what: bytes | str) -> bool:
    return isinstance(what, bytes) and method_of(what) == "OPTIONS"


def _told(line: Line) -> str:
    if isinstance(line.what, str):
        return f"{line.at:10.4f}  {line.source:>6}  -- {line.what}"
    mark = f"  [{line.mark}]" if line.mark else ""
    return f"{line.at:10.4f}  {line.source:>6} -> {line.target:<6} {summary(line.what)}{mark}"


def summary(data: bytes) -> str:
    """A message in one line: what it is, of which call and transaction, and what it carries."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        found.setdefault(name.strip().lower(), value.strip())
    branch = found.get("via", "").partition("branch=")[2].partition(";")[0][-6:]
    extra = [f"{found.get('cseq', '')} {found.get('call-id', '')[:8]} {branch}"]
    extra += [
        f"{name}={found[name][:60]}"
        for name in ("call-origin", "line", "reason", "event", "retry-after")
        if name in found
    ]
    if "kind=" in found.get("heartbeat", ""):
        extra.append(found["heartbeat"].partition("kind=")[2].partition(";")[0])
    if body:
        extra.append(f"{len(body)} B")
    return f"{lines[0].removeprefix('SIP/2.0 ').removesuffix(' SIP/2.0'):44} {' '.join(extra)}"
