"""The shell that drives one core: it has the sockets, the clock, the resolver and storage, and calls the core."""

from __future__ import annotations

import asyncio
import logging
import signal
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from sip.actions import Certified, Close, Flow, Flush, Open, Resolve, Send, Store
from sip.io import huge_pages
from sip.io.acceptor import Limits
from sip.io.clock import boottime
from sip.io.codec import Codecs
from sip.io.gc_tuning import GarbageCollector
from sip.io.ticker import Ticker
from sip.io.transport import Transport
from sip.location import Place
from sip.message_ring import Note

logger = logging.getLogger(__name__)
T = TypeVar("T")

_ROUNDS: Final = 100  # of to_do and next_event after one input; more is an endless loop in the core
_WAIT_AFTER_FAILURE: Final = 0.1


class PumpedCore(Protocol):
    """The interface of a core, see `sip.actions`."""

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """A datagram, or bytes of a stream."""

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A flow is ``open``, ``lost`` or ``unreachable``."""

    def done(self, request: Any, result: Any, now: float) -> None:
        """The result of an action."""

    def handle_timer(self, now: float) -> None:
        """The time of :meth:`get_timer` has come."""

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called; None: not at all."""

    def to_do(self) -> list[Any]:
        """The actions since the last call."""

    def next_event(self) -> Any:
        """The next event for the program, or None."""


class Names(Protocol):
    """What carries out `Resolve`; `sip.io.dns.Resolver` is one."""

    def look(self, uri: str, now: float) -> list[Place] | str | None:
        """The result from the cache; None when DNS has to be asked."""

    async def resolve(self, uri: str) -> list[Place] | str:
        """Ask DNS. An empty list: there are no places; a string: why DNS did not answer. Never raises."""


class Pump:
    """Drives one core on one loop. An exception in the core loses the input that caused it, never the process."""

    def __init__(
        self,
        core: PumpedCore,
        listeners: Iterable[str],
        loop: asyncio.AbstractEventLoop,
        *,
        names: Names | None = None,
        store: Callable[[str, str], None] | None = None,
        on_event: Callable[[Any], None] | None = None,
        on_reload: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        others: Mapping[type, Callable[[Any], None]] | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = boottime,
        codecs: Codecs | None = None,
    ) -> None:
        """``listeners`` are spelled ``udp:host:port``, ``tcp:host:port``; see `sip.io.transport`. ``codecs`` are
        needed for TLS and WebSocket.

        ``store(name, value)`` writes durably; it runs in a thread, one call at a time and in order, and raises when
        it fails. ``on_event`` is called with each event of `next_event`; ``others`` carries out actions of further
        types. ``on_reload`` is called by `reload`, ``on_stop`` by `terminate`: it calls `stop` when the program may
        end. Raises `BadEndpoint`.
        """
        self.core = core
        self.clock = clock
        self.transport = Transport(listeners, self, loop, limits, clock, codecs)
        self.failures = 0
        """Inputs on which the core raised."""
        self.inputs = 0
        """Datagrams, stream pieces and timers handed to the core."""
        self.note: Note | None = None
        """Called for each message that is sent, except urgent ones."""
        self.waited: Callable[[str, float, float], None] = _unheard
        """Called with a source (a listener, or ``loop``), how many seconds its input has waited, and the time."""
        self._loop = loop
        self._names = names
        self._store = store
        self._on_event = on_event
        self._on_reload = on_reload
        self._on_stop = on_stop
        self.others = dict(others or {})
        """Functions that carry out actions of further types."""
        self._writer: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._stopping = False
        self._stopped = asyncio.Event()
        self._not_before = 0.0
        self._ticker = Ticker(loop, clock, self._look, lambda wait, now: self.waited("loop", wait, now))
        self._logged_at = 0.0
        self._collector = GarbageCollector()

    def start(self) -> None:
        """Open the sockets and start the core. Raises `TransportError` when an address cannot be bound."""
        self.transport.open()
        now = self.clock()
        self._collector.start(now)
        huge_pages.collapse()
        self._ticker.start()
        self.flush()

    async def run(self) -> None:
        """Start, and return after `stop`. Signals are the program's: see `obey_signals`."""
        self.start()
        try:
            await self._stopped.wait()
        finally:
            self.close()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    def close(self) -> None:
        """Send what the core still has to send, then close everything."""
        self.flush()
        self._ticker.stop()
        for task in self._tasks:
            task.cancel()
        self.transport.close()
        if self._writer is not None:
            self._writer.shutdown()

    def ask(self, verb: Callable[..., T], *args: Any) -> T:
        """Call a method of the core, ``verb(*args, now)``, then carry out its actions. Raises what it raises."""
        try:
            return verb(*args, self.clock())
        finally:
            self.flush()

    def take_longest_stall(self) -> float:
        """The longest stall of the loop since the last call, in seconds (a SIGSTOP counts)."""
        return self._ticker.take_longest_stall()

    def figures(self) -> dict[str, float]:
        """Figures of pump and transport by name, in counts, bytes and seconds. Does not reset the longest stall."""
        own = {"inputs": self.inputs, "failures": self.failures, "longest_stall_s": self._ticker.longest_stall_s}
        return own | {"longest_collection_s": self._collector.longest_s} | self.transport.figures()

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Called by the transport: pass a datagram or bytes of a stream to the core."""
        self.inputs += 1
        try:
            self.core.receive(data, flow, now)
        except Exception as error:
            self._failed("receive", flow, error)

    def flow_changed(self, flow: Flow, state: str, now: float, names: tuple[str, ...] = ()) -> None:
        """Called by the transport: pass a change of a flow to the core."""
        try:
            if names:
                self.core.done(Certified(flow), names, now)
            self.core.flow_changed(flow, state, now)
        except Exception as error:
            self._failed("flow_changed", flow, error)

    def flush(self) -> None:
        """Carry out the core's actions, pass on its events, and serve its deadlines when they are due."""
        if self._draining:  # a handler of an event called `ask`: the loop below continues
            return
        self._draining = True
        try:
            for _ in range(_ROUNDS):
                if not self._drain():
                    break
        except Exception as error:
            self._failed("to_do", None, error)
        finally:
            self._draining = False
        self.transport.flush()
        self._ticker.awake()

    def _drain(self) -> bool:
        """One round of actions and events; returns whether another one is needed."""
        more = False
        note, now = self.note, 0.0
        for action in self.core.to_do():
            kind = type(action)
            if kind is Send:
                if note is not None and not action.urgent:
                    now = now or self.clock()
                    note(action.data, action.flow, now, True)
                self.transport.send(action)
            elif kind is Open:
                self.transport.connect(action)
            elif kind is Close:
                self.transport.disconnect(action)
            elif kind is Flush:
                self.transport.flush()
            elif kind is Resolve:
                more |= self._resolve(action)
            elif kind is Store:
                self._write(action)
            elif kind in self.others:
                self._guarded("action", action, self.others[kind], action)
                more = True
            else:
                logger.error("nobody does %s", kind.__name__)
        while (event := self.core.next_event()) is not None:
            if self._on_event is not None:
                self._guarded("event", event, self._on_event, event)
                more = True
        return more

    def _resolve(self, request: Resolve) -> bool:
        """Carry out `Resolve`; returns whether the result was in the cache."""
        if self._names is None:
            logger.error("no resolver for %s", request.uri)
            return False
        targets = self._names.look(request.uri, self.clock())
        if targets is not None:
            self._guarded("done", request, self.core.done, request, targets, self.clock())
            return True
        self._spawn(self._ask_names(self._names, request))
        return False

    async def _ask_names(self, names: Names, request: Resolve) -> None:
        self._done(request, await names.resolve(request.uri))

    def _write(self, request: Store) -> None:
        if self._store is None:
            logger.error("no store for %s", request.name)
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, "store")
        writing = self._writer.submit(self._store, request.name, request.value)
        writing.add_done_callback(lambda future: self._written(request, future))

    def _written(self, request: Store, future: Future[None]) -> None:
        error = future.exception()
        result = None if error is None else f"{request.name} was not stored: {error}"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done, request, result)

    def _done(self, request: Resolve | Store, result: object) -> None:
        self._guarded("done", request, self.core.done, request, result, self.clock())
        self.flush()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self, now: float) -> float | None:
        """A tick: serve deadlines and the garbage collector. Returns the next deadline, for the ticker."""
        at: float | None = now
        try:
            at = self._serve_deadlines(now)
        except Exception as error:
            self._failed("handle_timer", None, error)
        self._collector.collect(self.inputs, now)
        return at

    def _serve_deadlines(self, now: float) -> float | None:
        """Let the core serve its deadlines that have come; returns the next one."""
        at = self.core.get_timer()
        if at is None or at > now or now < self._not_before:
            return at
        self.inputs += 1
        self._not_before = now + _WAIT_AFTER_FAILURE
        self.core.handle_timer(now)
        self._not_before = 0.0
        self.flush()
        return self.core.get_timer()

    def terminate(self) -> None:
        """On SIGTERM and SIGINT: end in an orderly way; the second time at once."""
        if self._stopping or self._on_stop is None:
            self.stop()
            return
        self._stopping = True
        self._guarded("stop", None, self._on_stop)
        self.flush()

    def reload(self) -> None:
        """On SIGHUP: read the configuration again."""
        if self._on_reload is not None:
            self._guarded("reload", None, self._on_reload)
            self.flush()

    def _guarded(self, verb: str, subject: object, act: Callable[..., None], *args: Any) -> None:
        try:
            act(*args)
        except Exception as error:
            self._failed(verb, subject, error)

    def _failed(self, verb: str, subject: object, error: Exception) -> None:
        """Log a failure, after the first 20 at most one a second."""
        self.failures += 1
        now = self.clock()
        if self.failures > 20 and now - self._logged_at < 1.0:
            return
        self._logged_at = now
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
        about = f" ({subject.remote[0]}:{subject.remote[1]})" if isinstance(subject, Flow) else ""
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        logger.error("%s failed%s: %s at %s; %d failures so far", verb, about, what, place, self.failures)
        logger.debug("the failure in full", exc_info=error)


def _unheard(source: str, wait: float, now: float) -> None:
    pass


@contextmanager
def obey_signals(loop: asyncio.AbstractEventLoop, pumps: Sequence[Pump]) -> Iterator[None]:
    """While the context lasts, SIGTERM and SIGINT end all ``pumps``, and SIGHUP reloads them."""

    def all_of(act: Callable[[Pump], None]) -> None:
        for pump in pumps:
            act(pump)

    signals = {signal.SIGTERM: Pump.terminate, signal.SIGINT: Pump.terminate, signal.SIGHUP: Pump.reload}
    for number, act in signals.items():
        loop.add_signal_handler(number, all_of, act)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
