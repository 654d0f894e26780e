"""The network of the simulated World: datagrams that get lost, doubled and late; streams that stall, break and reset.

Paths are between nodes, by name, and each direction of a path can be cut alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from sip.actions import Address, Flow

CONNECT_S: Final = 5.0
"""As in ``sip.io.transport``: a connect takes no longer."""
PATIENCE_S: Final = 30.0
"""TCP_USER_TIMEOUT of ``sip.io.stream``: what is not acknowledged for so long ends the connection."""
RETRY_S: Final = 0.2
"""How often TCP tries again while a path is cut."""
WINDOW: Final = 10
"""Chunks that travel although no acknowledgement comes back."""


@dataclass(slots=True)
class Weather:
    """What the network does. Probabilities and seconds."""

    delay: float = 0.001
    jitter: float = 0.0002
    """Up to so much is added to the delay."""
    loss: float = 0.0
    """Of a datagram; a chunk of a stream comes ``late`` instead."""
    double: float = 0.0
    """Of a datagram."""
    late: float = 0.0
    """Of a datagram or chunk; datagrams overtake each other by this."""
    late_by: float = 0.3
    """At most."""


class Delivery(NamedTuple):
    """Bytes that arrive at a node."""

    source: str
    target: str
    data: bytes
    flow: Flow
    """As the target names it."""


class Host(Protocol):
    """What the wires need of the world."""

    now: float
    random: Random

    def at(self, at: float, act: Callable[..., None], *args: Any) -> None: ...

    def arrive(self, delivery: Delivery) -> None: ...

    def tell_flow(self, node: str, life: int, flow: Flow, state: str) -> None: ...

    def life_of(self, node: str) -> int: ...

    def note(self, source: str, target: str, data: bytes, mark: str) -> None: ...


class End:
    """One end of a stream: who, in which life, and how it names the stream."""

    __slots__ = ("flow", "life", "node", "open")

    def __init__(self, node: str, life: int, flow: Flow) -> None:
        self.node = node
        self.life = life
        self.flow = flow
        self.open = True


class Pipe:
    """One direction of a stream."""

    __slots__ = ("blocked_at", "moving", "queue", "ready_at", "unacked")

    def __init__(self) -> None:
        self.queue: deque[tuple[float, bytes]] = deque()
        self.ready_at = 0.0
        self.moving = False
        self.blocked_at: float | None = None
        self.unacked = 0


class Stream:
    """A connection: two ends, a pipe from each to the other."""

    __slots__ = ("accepted", "ends", "pipes")

    def __init__(self, caller: End, callee: End) -> None:
        self.ends = (caller, callee)
        self.pipes = (Pipe(), Pipe())
        self.accepted = False


FIN: Final = b""


class Wires:
    """All paths of one world."""

    def __init__(self, world: Host) -> None:
        self.world = world
        self.weather = Weather()
        self.cuts: set[tuple[str, str]] = set()
        self.listeners: dict[str, tuple[str, str]] = {}
        """``udp:host:port`` to (node, the ``local`` of its flows)."""
        self.streams: dict[tuple[str, Flow], Stream] = {}
        """By node and its flow."""
        self._last: dict[tuple[str, str], float] = {}
        self._ports = 40_000
        self._accepted = 0

    # -- paths -----------------------------------------------------------------------------------------------------

    def cut(self, source: str, target: str, both: bool = False) -> None:
        """Nothing gets from ``source`` to ``target`` any more."""
        self.cuts.add((source, target))
        if both:
            self.cuts.add((target, source))

    def heal(self, source: str = "", target: str = "") -> None:
        """Undo cuts between two nodes, or all."""
        if source:
            self.cuts -= {(source, target), (target, source)}
        else:
            self.cuts.clear()

    def travel(self) -> float:
        weather, random = self.weather, self.world.random
        took = weather.delay + weather.jitter * random.random()
        if weather.late and random.random() < weather.late:
            took += weather.late_by * random.random()
        return took

    # -- datagrams -------------------------------------------------------------------------------------------------

    def datagram(self, node: str, flow: Flow, data: bytes) -> None:
        """Send one from ``node``."""
        world, weather = self.world, self.weather
        target = self.listeners.get(f"udp:{spelled(flow.remote)}")
        if target is None:
            world.note(node, spelled(flow.remote), data, "nobody there")
            return
        name, local = target
        host, _, port = flow.local.rpartition(":")
        back = Flow("udp", local, (host.strip("[]"), int(port)))
        copies = 1
        if weather.loss and world.random.random() < weather.loss:
            copies -= 1
        if weather.double and world.random.random() < weather.double:
            copies += 1
        if (node, name) in self.cuts or not copies:
            world.note(node, name, data, "lost")
            return
        for _ in range(copies):
            at = world.now + self.travel()
            last = self._last.get((node, name), 0.0)
            if at < last and not weather.late:  # jitter alone lets no datagram overtake another
                at = last
            self._last[node, name] = max(at, last)
            world.at(at, self._datagram_arrives, Delivery(node, name, data, back))

    def _datagram_arrives(self, delivery: Delivery) -> None:
        if (delivery.source, delivery.target) in self.cuts:
            self.world.note(delivery.source, delivery.target, delivery.data, "lost")
        else:
            self.world.arrive(delivery)

    # -- streams -----------------------------------------------------------------------------------------------------

    def open(self, node: str, host: str, flow: Flow) -> None:
        """Connect; the end is told by ``flow_changed``."""
        if (node, flow) in self.streams:
            return
        source = flow.local.rpartition("@")[2] if "@" in flow.local else host
        self._ports += 1
        caller = End(node, self.world.life_of(node), flow)
        callee = End("", 0, Flow("tcp", "", (source, self._ports)))
        stream = self.streams[node, flow] = Stream(caller, callee)
        self.world.at(self.world.now + self.travel(), self._connect, stream, self.world.now + CONNECT_S)

    def _connect(self, stream: Stream, limit_at: float) -> None:
        world = self.world
        caller, callee = stream.ends
        if not caller.open or world.life_of(caller.node) != caller.life:
            return
        target = self.listeners.get(f"tcp:{spelled(caller.flow.remote)}")
        if target is not None and {(caller.node, target[0]), (target[0], caller.node)} & self.cuts:
            if world.now < limit_at:
                world.at(world.now + 0.5, self._connect, stream, limit_at)
                return
            self._lose(stream, caller)
        elif target is None or world.life_of(target[0]) == 0:
            self._lose(stream, caller)
        else:
            name, local = target
            self._accepted += 1
            callee.node, callee.life = name, world.life_of(name)
            callee.flow = callee.flow._replace(local=f"{local}#{self._accepted}")
            self.streams[name, callee.flow] = stream
            stream.accepted = True
            world.tell_flow(name, callee.life, callee.flow, "open")
            world.at(world.now + self.travel(), world.tell_flow, caller.node, caller.life, caller.flow, "open")
            for pipe in stream.pipes:
                pipe.ready_at = world.now + 2 * self.weather.delay
            self._move(stream, 0)

    def send(self, node: str, flow: Flow, data: bytes) -> None:
        """Write to a stream; what is sent while it connects waits."""
        stream = self.streams.get((node, flow))
        if stream is None:
            self.world.note(node, spelled(flow.remote), data, "no such stream")
            return
        side = 0 if stream.ends[0].node == node and stream.ends[0].flow == flow else 1
        self._queue(stream, side, data)

    def _queue(self, stream: Stream, side: int, data: bytes) -> None:
        pipe = stream.pipes[side]
        pipe.ready_at = max(pipe.ready_at, self.world.now + self.travel())
        pipe.queue.append((pipe.ready_at, data))
        self._move(stream, side)

    def _move(self, stream: Stream, side: int) -> None:
        """See that the first chunk of a pipe arrives."""
        pipe = stream.pipes[side]
        if stream.accepted and pipe.queue and not pipe.moving:
            pipe.moving = True
            self.world.at(max(pipe.queue[0][0], self.world.now), self._chunk_due, stream, side)

    def _chunk_due(self, stream: Stream, side: int) -> None:
        pipe = stream.pipes[side]
        pipe.moving = False
        sender, receiver = stream.ends[side], stream.ends[1 - side]
        if not pipe.queue:
            return
        world = self.world
        there, back = (sender.node, receiver.node) in self.cuts, (receiver.node, sender.node) in self.cuts
        if not back:
            pipe.unacked = 0
        if there or (back and pipe.unacked >= WINDOW):
            if pipe.blocked_at is None:
                pipe.blocked_at = world.now
            if world.now - pipe.blocked_at >= PATIENCE_S:
                self._lose(stream, sender)
                self._lose(stream, receiver)
                return
            pipe.moving = True
            world.at(world.now + RETRY_S, self._chunk_due, stream, side)
            return
        pipe.blocked_at = None
        pipe.unacked += back
        _, data = pipe.queue.popleft()
        if data == FIN:
            self._lose(stream, receiver)
            return
        if not receiver.open or world.life_of(receiver.node) != receiver.life:
            world.note(sender.node, receiver.node, data, "reset")
            self._lose(stream, sender)
            return
        world.arrive(Delivery(sender.node, receiver.node, data, receiver.flow))
        self._move(stream, side)

    def close(self, node: str, flow: Flow) -> None:
        """Close one end after what waits; it is not told."""
        stream = self.streams.pop((node, flow), None)
        if stream is not None:
            side = 0 if stream.ends[0].node == node and stream.ends[0].flow == flow else 1
            stream.ends[side].open = False
            self._queue(stream, side, FIN)

    def reset(self, one: str, other: str) -> None:
        """Break every stream between two nodes; both ends learn it."""
        for stream in list(dict.fromkeys(self.streams.values())):
            if {end.node for end in stream.ends} == {one, other}:
                for end in stream.ends:
                    self._lose(stream, end)

    def die(self, node: str) -> None:
        """The process is gone: what it wrote still travels, then the other end sees the end of the stream."""
        for name, flow in [key for key in self.streams if key[0] == node]:
            self.close(name, flow)

    def _lose(self, stream: Stream, end: End) -> None:
        if end.open:
            end.open = False
            self.streams.pop((end.node, end.flow), None)
            self.world.at(self.world.now + self.travel(), self.world.tell_flow, end.node, end.life, end.flow, "lost")


def spelled(address: Address) -> str:
    """``host:port`` with brackets around IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
