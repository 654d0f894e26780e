"""Gathering the messages of calls from all reachable processes of a site, each message once."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final, NamedTuple, TypeVar

from heartbeat import tracing
from heartbeat.console.client import Client, ask_all
from heartbeat.console.errors import ConsoleError, RefusedByProcess
from heartbeat.console.schema import can_be_shown
from heartbeat.console.views.calls import CallLeg, KnownCall, KnownCalls, Trace, TracedMessage
from sip.message_ring import LONGEST

ROUNDS: Final = 5
"""Most rounds of requests, each with the ids found in the one before: from a device over its agent and a server to
the other agent."""
LONGEST_QUERY: Final = 3000
"""Characters of ids in one request."""
MOST_QUESTIONS: Final = 10
"""Requests for the ids of one call in a round."""
MOST_KNOWN: Final = 100
"""Calls in one answer to a request with ids."""
APART: Final = 5.0
"""Seconds by which the times of sender and receiver of one message may differ, with their clocks."""
MOST_CALLS: Final = 200
MOST_MESSAGES: Final = 5000
"""Calls and messages taken from one answer, so that a faulty or malicious process costs little."""
MOST_LEGS: Final = 1000
"""Dialogs of one call."""
_TOKENS: Final = re.compile(r"(?im)^Call-State[ \t]*:[ \t]*1\.[0-9]{1,9}\.([0-9a-z]{1,64})\.")
"""The call id in a state token, as in `heartbeat.tracing`; in bodies it is blanked (`sip.redaction`)."""
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
    """Asks the processes of a site, for many calls at once; one that does not answer is not asked again."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._clients = {client.name: client for client in clients}
        self.missing: dict[str, str] = {}

    def known(self, **params: str) -> list[KnownCall]:
        """The calls selected by ``params`` (see `KnownCalls`), each with the dialogs that all processes know of it.

        Latest first; calls whose start no server knows are last.
        """
        wanted = frozenset(params.get("id", "").split(",")) - {""}
        asked = self._ask(KnownCalls, "call-ids", **params)
        found = _merged(call for name, page in asked for call in self._of(name, page, wanted))
        found.sort(key=lambda call: call.started_at or 0.0, reverse=True)
        return self._whole(found[: int(params.get("limit", len(found)))])

    def trace(self, calls: Sequence[KnownCall]) -> Found:
        """The calls with their messages."""
        each = [_Traced(call) for call in calls]
        for _ in range(ROUNDS):
            wanted = [one.new_ids() for one in each]
            if not any(wanted):
                break
            for number, node, message in self._messages(wanted):
                each[number].take(node, message)
            # the state token in a message has the id of a call whose server has failed
            more = [one for one in each if one.has_news()]
            for one, call in zip(more, self._whole([one.with_news() for one in more]), strict=True):
                one.call = call
        return Found(tuple(TracedCall(one.call, tuple(joined(one.told()))) for one in each), self.missing)

    def _whole(self, calls: Sequence[KnownCall]) -> list[KnownCall]:
        """The calls with the dialogs that all processes know of them."""
        whole, asked = list(calls), [set[str]() for _ in calls]
        for _ in range(ROUNDS):
            wanted = [_next_ids(call, seen) for call, seen in zip(whole, asked, strict=True)]
            if not any(wanted):
                break
            others, by_id = list[KnownCall](), defaultdict[str, list[int]](list)
            for _, name, page in self._ask_for(KnownCalls, "call-ids", wanted, limit=str(MOST_KNOWN)):
                for other in self._of(name, page, frozenset(chain.from_iterable(wanted))):
                    for each in ids_of(other):
                        by_id[each].append(len(others))
                    others.append(other)
            for number, call in enumerate(whole):
                # in the order of the answers: the dialogs of a call are bounded, and an agent may lie
                for at in sorted({at for each in ids_of(call) for at in by_id.get(each, ())}):
                    whole[number] = _joined(whole[number], others[at])
        return whole

    def _of(self, name: str, page: KnownCalls, wanted: frozenset[str]) -> Iterable[KnownCall]:
        return _of_agent(page, wanted) if self._clients[name].is_agent else page.calls

    def _messages(self, wanted: Sequence[Sequence[str]]) -> Iterator[tuple[int, str, TracedMessage]]:
        """The messages with one of the ids ``wanted`` for each call, with the number of the call and the node."""
        owners: dict[str, list[int]] = defaultdict(list)
        for number, ids in enumerate(wanted):
            for each in ids:
                owners[each].append(number)
        unclear: dict[str, set[int]] = defaultdict(set)
        for question, name, trace in self._ask_for(Trace, "trace", wanted):
            if not trace.memory:
                self.missing[name] = f"{name} remembers no messages: the site file says so (trace.memory)."
            for message in trace.messages:
                if len(question) == 1:
                    own = {*question[0].numbers}
                else:
                    own = {number for each in _found_by(message) for number in owners.get(each, ())}
                yield from ((number, name, message) for number in own)
                if not own and not message.by:
                    unclear[name].update(number for part in question for number in part.numbers)
        for name, of in unclear.items():  # a former version does not say by which id it found a message
            for number in sorted(of):
                alone = [ids if at == number else () for at, ids in enumerate(wanted)]
                for _, _, trace in self._ask_for(Trace, "trace", alone, [name]):
                    yield from ((number, name, message) for message in trace.messages)

    def _ask_for(
        self,
        kind: type[T],
        page: str,
        wanted: Sequence[Sequence[str]],
        names: Sequence[str] | None = None,
        **params: str,
    ) -> Iterator[tuple[list[_Part], str, T]]:
        """Request the ids ``wanted`` for each call, those of many calls in one request.

        Yields the parts of a request, a node and its answer. An answer is bounded: a node whose answer may be
        incomplete is asked again with two requests of half as many parts.
        """
        waiting = deque((question, names) for question in _questions(wanted))
        while waiting:
            question, whom = waiting.popleft()
            cut = list[str]()
            ids = ",".join(dict.fromkeys(chain.from_iterable(part.ids for part in question)))
            for name, answer in self._ask(kind, page, whom, id=ids, **params):
                if len(question) > 1 and _may_be_cut(answer):
                    cut.append(name)
                else:
                    yield question, name, answer
            if cut:
                half = len(question) // 2
                waiting += [(question[:half], cut), (question[half:], cut)]

    def _ask(
        self, kind: type[T], page: str, names: Sequence[str] | None = None, **params: str
    ) -> list[tuple[str, T]]:
        """The page from the named processes, or from all."""
        asked = ask_all(
            [
                client
                for name, client in self._clients.items()
                if name not in self.missing and (names is None or name in names)
            ],
            page,
            **params,
        )
        found: list[tuple[str, T]] = []
        for name, answer in asked.items():
            try:
                if isinstance(answer, ConsoleError):
                    raise answer
                found.append((name, _sound(self._clients[name].read(kind, answer))))
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


class _Part(NamedTuple):
    """A part of a request: ids, and the numbers of the calls to which they belong."""

    ids: tuple[str, ...]
    numbers: tuple[int, ...]


def _questions(wanted: Sequence[Sequence[str]]) -> list[list[_Part]]:
    """The ids of all calls, in as few requests as possible."""
    numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, ids in enumerate(wanted):
        for some in islice(_pieces(ids), MOST_QUESTIONS):
            numbers[tuple(some)].append(number)
    found: list[list[_Part]] = []
    room = 0
    for part in (_Part(ids, tuple(of)) for ids, of in numbers.items()):
        length = sum(len(each) + 1 for each in part.ids)
        if not found or length > room:
            found.append([])
            room = LONGEST_QUERY
        found[-1].append(part)
        room -= length
    return found


def _pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    piece, length = list[str](), 0
    for each in ids:
        if piece and length + len(each) >= LONGEST_QUERY:
            yield piece
            piece, length = [], 0
        piece.append(each)
        length += len(each) + 1
    if piece:
        yield piece


def _next_ids(call: KnownCall, asked: set[str]) -> list[str]:
    """The ids of a call that were not requested yet, in the order in which they were found."""
    found = [
        each for each in dict.fromkeys([call.id, *(leg.call_id for leg in call.legs)]) if each and each not in asked
    ]
    asked.update(found)
    return found


def _may_be_cut(answer: KnownCalls | Trace) -> bool:
    """Whether an answer may be incomplete because it has reached its limit."""
    if isinstance(answer, KnownCalls):
        return len(answer.calls) >= MOST_KNOWN
    length = sum(len(message.text) for message in answer.messages)
    return len(answer.messages) >= tracing.MOST_MESSAGES or length > tracing.MOST_BYTES - LONGEST


def _found_by(message: TracedMessage) -> Iterable[str]:
    """The requested ids by which a message was found. A former version does not say: then those that can be read."""
    return message.by or (message.call_id, *_TOKENS.findall(message.text))


class _Traced:
    """A call and the messages of it found so far."""

    def __init__(self, call: KnownCall) -> None:
        self.call = call
        self._asked: set[str] = set()
        self._told: dict[str, dict[tuple[object, ...], TracedMessage]] = defaultdict(dict)

    def new_ids(self) -> list[str]:
        """The ids to request next."""
        return _next_ids(self.call, self._asked)

    def take(self, node: str, message: TracedMessage) -> None:
        """Add a message that ``node`` has recorded."""
        m = message
        self._told[node][m.at, m.sent, m.local, m.remote, m.text] = m

    def has_news(self) -> bool:
        """Whether messages have Call-IDs that the call does not have yet."""
        return not self._call_ids() <= ids_of(self.call)

    def with_news(self) -> KnownCall:
        """The call with these Call-IDs."""
        return _with_ids(self.call, self._call_ids())

    def _call_ids(self) -> set[str]:
        return {message.call_id for told in self._told.values() for message in told.values()}

    def told(self) -> dict[str, list[TracedMessage]]:
        """The messages of each node, in the order of time."""
        return {node: sorted(told.values(), key=lambda message: message.at) for node, told in self._told.items()}


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
