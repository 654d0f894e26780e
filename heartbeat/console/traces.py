"""Gathering the messages of calls from all reachable processes of a site, each message once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from heartbeat.console.client import Client, ask_all
from heartbeat.console.errors import ConsoleError, RefusedByProcess
from heartbeat.console.schema import can_be_shown
from heartbeat.console.views.calls import CallLeg, KnownCall, KnownCalls, Trace, TracedMessage

ROUNDS: Final = 5
"""Most rounds of requests, each with the ids found in the one before: from a device over its agent and a server to
the other agent."""
LONGEST_QUERY: Final = 3000
"""Characters of ids in one request."""
MOST_QUESTIONS: Final = 10
"""Requests for one call in a round."""
APART: Final = 5.0
"""Seconds by which the times of sender and receiver of one message may differ, with their clocks."""
MOST_CALLS: Final = 200
MOST_MESSAGES: Final = 5000
"""Calls and messages taken from one answer, so that a faulty or malicious process costs little."""
MOST_LEGS: Final = 1000
"""Dialogs of one call."""
T = TypeVar("T", KnownCalls, Trace)


@dataclass(frozen=True, slots=True)
class Hop:
    """A message between two ends."""

    at: float
    """When it was sent or, if that is not known, received; epoch seconds."""
    source: str
    """The sender: a node, a line, or an address."""
    target: str
    from_address: str
    """``host:port``; the host is ``""`` or the port 0 if it is not known."""
    to_address: str
    transport: str
    call_id: str
    text: str
    told_by: tuple[str, ...]
    """The nodes that have recorded it."""


@dataclass(frozen=True, slots=True)
class TracedCall:
    """A call with its recorded messages."""

    call: KnownCall
    hops: tuple[Hop, ...]
    """In the order of time."""


@dataclass(frozen=True, slots=True)
class Found:
    """The gathered calls."""

    calls: tuple[TracedCall, ...]
    missing: Mapping[str, str]
    """The nodes whose messages are missing, each with a sentence why."""


class Gathering:
    """Asks the processes of a site; one that does not answer is not asked again."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._clients = {client.name: client for client in clients}
        self.missing: dict[str, str] = {}

    def known(self, **params: str) -> list[KnownCall]:
        """The calls selected by ``params`` (see `KnownCalls`), each with the dialogs that all processes know of it.

        Latest first; calls whose start no server knows are last.
        """
        found = _merged(self._calls(params))
        found.sort(key=lambda call: call.started_at or 0.0, reverse=True)
        return [self._whole(call) for call in found[: int(params.get("limit", len(found)))]]

    def trace(self, calls: Sequence[KnownCall]) -> Found:
        """The same with their messages."""
        return Found(tuple(self._traced(call) for call in calls), self.missing)

    def _traced(self, call: KnownCall) -> TracedCall:
        said: dict[str, Trace] = {}
        for _ in range(ROUNDS):
            said = self._traces(call)
            told = {message.call_id for trace in said.values() for message in trace.messages}
            if told <= ids_of(call):
                break
            # the state token in a message has the id of a call whose server has failed
            call = self._whole(_with_ids(call, told))
        return TracedCall(call, tuple(joined({node: trace.messages for node, trace in said.items()})))

    def _whole(self, call: KnownCall) -> KnownCall:
        for _ in range(ROUNDS):
            before = ids_of(call)
            for each in _chunks(call):
                for other in self._calls({"id": each}):
                    if not before.isdisjoint(ids_of(other)):
                        call = _joined(call, other)
            if ids_of(call) == before:
                break
        return call

    def _calls(self, params: Mapping[str, str]) -> list[KnownCall]:
        found: list[KnownCall] = []
        for name, page in self._ask(KnownCalls, "call-ids", params).items():
            if self._clients[name].is_agent:
                wanted = frozenset(params.get("id", "").split(",")) - {""}
                found += _of_agent(page, wanted)
            else:
                found += page.calls
        return found

    def _traces(self, call: KnownCall) -> dict[str, Trace]:
        found: dict[str, Trace] = {}
        for each in _chunks(call):
            for name, trace in self._ask(Trace, "trace", {"id": each}).items():
                if not trace.memory:
                    self.missing[name] = f"{name} remembers no messages: the site file says so (trace.memory)."
                former = found[name].messages if name in found else ()
                found[name] = Trace(name, trace.memory, trace.oldest_at, (*former, *trace.messages))
        return found

    def _ask(self, kind: type[T], page: str, params: Mapping[str, str]) -> dict[str, T]:
        asked = ask_all(
            [client for name, client in self._clients.items() if name not in self.missing], page, **params
        )
        found: dict[str, T] = {}
        for name, answer in asked.items():
            try:
                if isinstance(answer, ConsoleError):
                    raise answer
                found[name] = _sound(self._clients[name].read(kind, answer))
            except RefusedByProcess as error:
                older = f"{name} is of a version that remembers no messages."
                self.missing[name] = older if error.status == 404 else error.sentence
            except ConsoleError as error:
                self.missing[name] = error.sentence
        return found


def _sound(page: T) -> T:
    """An answer cut to what is plausible."""
    if isinstance(page, KnownCalls):
        calls = [call for call in page.calls[:MOST_CALLS] if can_be_shown(call.started_at or 0.0)]
        return KnownCalls(tuple(replace(call, legs=call.legs[:MOST_LEGS]) for call in calls))
    messages = tuple(message for message in page.messages if can_be_shown(message.at))
    return Trace(page.node, page.memory, page.oldest_at, messages[-MOST_MESSAGES:])


def _of_agent(page: KnownCalls, wanted: frozenset[str]) -> Iterator[KnownCall]:
    """The calls of an agent's answer, which knows Call-IDs only; if ``wanted`` has ids, those with one of them."""
    for call in page.calls:
        if not wanted or any(leg.call_id in wanted for leg in call.legs):
            yield KnownCall("", call.legs)


def ids_of(call: KnownCall) -> frozenset[str]:
    """The ids by which a call is found: its own and its Call-IDs."""
    return frozenset([*([call.id] if call.id else []), *(leg.call_id for leg in call.legs)])


def unknown(call_id: str) -> KnownCall:
    """A call that no process knows, for a Call-ID of which there may be messages."""
    return KnownCall("", (CallLeg(call_id, "", ""),))


def _with_ids(call: KnownCall, told: Iterable[str]) -> KnownCall:
    more = tuple(CallLeg(each, "", "") for each in sorted(set(told) - ids_of(call)))
    return KnownCall(
        call.id, (*call.legs, *more)[:MOST_LEGS], call.caller, call.callee, call.state, call.started_at, call.names
    )


def _joined(one: KnownCall, two: KnownCall) -> KnownCall:
    """One call from what two processes know of it; fields of a server are preferred."""
    first, second = (one, two) if one.id or not two.id else (two, one)
    legs = {(leg.call_id, leg.node): leg for leg in (*one.legs, *two.legs)}
    return KnownCall(
        first.id,
        tuple(legs.values())[:MOST_LEGS],
        first.caller or second.caller,
        first.callee or second.callee,
        first.state or second.state,
        first.started_at or second.started_at,
        tuple(dict.fromkeys((*one.names, *two.names))),
    )


def _merged(calls: Iterable[KnownCall]) -> list[KnownCall]:
    """The calls, those with an id in common joined, in their order."""
    found: list[KnownCall] = []
    for call in calls:
        same = [each for each in found if not ids_of(each).isdisjoint(ids_of(call))]
        for each in same:
            call = _joined(each, call)
        if same:
            at = found.index(same[0])
            found = [each for each in found if each not in same]
            found.insert(at, call)
        else:
            found.append(call)
    return found


def _chunks(call: KnownCall) -> Iterable[str]:
    """The ids of a call, separated by commas, split into as many requests as needed, in their order."""
    return islice(_all_chunks(dict.fromkeys([call.id, *(leg.call_id for leg in call.legs)])), MOST_QUESTIONS)


def _all_chunks(ids: Iterable[str]) -> Iterator[str]:
    chunk = ""
    for each in ids:
        if chunk and len(chunk) + len(each) >= LONGEST_QUERY:
            yield chunk
            chunk = ""
        chunk = f"{chunk},{each}" if chunk else each
    if chunk:
        yield chunk


def joined(told: Mapping[str, Sequence[TracedMessage]]) -> list[Hop]:
    """The messages of all nodes by time; a message recorded by its sender and its receiver is joined to one."""
    came: dict[str, deque[tuple[str, TracedMessage]]] = defaultdict(deque)
    for node, messages in told.items():
        for message in messages:
            if not message.sent:
                came[message.text].append((node, message))
    hops = []
    for node, messages in told.items():
        for message in messages:
            if message.sent:
                hops.append(_hop(node, message, _taken(came.get(message.text), node, message.at)))
    for left in came.values():
        hops += [_received(node, message) for node, message in left]
    return sorted(hops, key=lambda hop: hop.at)


def _taken(came: deque[tuple[str, TracedMessage]] | None, sender: str, at: float) -> tuple[str, TracedMessage] | None:
    """Remove and return the first record of this message by a receiver other than ``sender``; None without one."""
    for each in came or ():
        if each[0] != sender and abs(each[1].at - at) <= APART:
            assert came is not None
            came.remove(each)
            return each
    return None


def _hop(node: str, message: TracedMessage, got: tuple[str, TracedMessage] | None) -> Hop:
    target = got[0] if got is not None else message.peer or message.remote
    source = got[1].remote if got is not None else message.local  # each end knows the other's address best
    told_by = (node, target) if got is not None else (node,)
    at, to, transport = message.at, message.remote, message.transport
    return Hop(at, node, target, source, to, transport, message.call_id, message.text, told_by)


def _received(node: str, message: TracedMessage) -> Hop:
    source = message.peer or message.remote
    return Hop(
        message.at,
        source,
        node,
        message.remote,
        message.local,
        message.transport,
        message.call_id,
        message.text,
        (node,),
    )
