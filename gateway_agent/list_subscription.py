"""One server's subscription to the agent's list: the notifier's half (RFC 6665 section 4.2, docs/line-dialog.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from gateway_agent.call import Call
from gateway_agent.dialog_list import END_OF_PART, DialogList, Item, SubscriptionFilter
from gateway_agent.line import Line
from gateway_agent.records import Recorder, of_line, of_terminated
from gateway_agent.terminated_call import TerminatedCall
from heartbeat.agent_voter import AgentVoter
from sip.actions import Flow
from sip.dialog import Dialog, called_by, dialog_key
from sip.layer import Stack
from sip.packages.line_dialog import LIST_TYPE, PACKAGE, TAKEOVER, Head, LineRecord, StateRecord, body_of
from sip.subscription import ACTIVE, TERMINATED, Granted, Notifier, Package
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.message import Request, Response

PACKAGES: Final = {PACKAGE: Package(min_expires=60, max_expires=86400, default_expires=3600)}
MOST_PART: Final = 60_000
"""Bytes of one NOTIFY (a part of the list), unless a single record is longer."""
MOST_UNANSWERED: Final = 2
DUE: Final = "expires"
GATHERED: Final = 1.0
"""Seconds for which changes at devices are collected before a server is told."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What all list subscriptions of an agent share: what they report, and the services that they use."""

    site: str
    agent: str
    voter: AgentVoter
    """Knows the leader that the agent obeys, and the agent's incarnation."""
    stack: Stack
    contents: DialogList
    recorder: Recorder
    ready: Callable[[], bool]
    """Whether the list may be sent: not before the return of an agent that has just started."""
    line_state: Callable[[Call, float], str]
    """Returns the line state of a call, for servers to keep."""
    line_record: Callable[[Line, float], LineRecord]
    """Returns the record of a line."""
    heard: Callable[[float], None]
    """Called when a server has answered the whole list: requests that it sent before that answer are here by then."""
    subscriptions: Callable[[float], Iterator[tuple[str, str, float]]]
    """Returns key, text for servers to keep, and seconds until expiry of each subscription of a device."""


class _Gathered:
    """The timer of a subscription for changes that are being collected."""

    __slots__ = ("_subscription", "generation")

    def __init__(self, subscription: ListSubscription) -> None:
        self._subscription = subscription
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        self._subscription.tell_gathered(now)


class ListSubscription:
    """One subscription of a server: its dialog, the list that is being sent, and changes that are sent after it."""

    def __init__(
        self,
        publication: Publication,
        flow: Flow,
        request: Request,
        granted: Granted,
        wanted: SubscriptionFilter,
        ended: Callable[[ListSubscription], None],
        keeps: bool,
        now: float,
    ) -> None:
        self.wanted = wanted
        self.flow = flow
        self.generation = 0
        self.unanswered = 0
        self.version = 1
        self.part = 0
        self._publication = publication
        self._ended = ended
        self._stack = publication.stack
        self.dialog = Dialog(called_by(request, self._stack.token()))
        self.notifier = Notifier(granted, PACKAGES, now)
        self.keeps = keeps
        """Whether the server keeps line states."""
        self._changed: dict[str, Line] = {}
        self._ripe = False
        self._dirty: dict[str, None] = {}
        """Call-IDs of calls that have changed at their devices without a message to the servers."""
        self._begun = False
        self._items: Iterator[Item | None] | None = None
        self._states: Iterator[str] | None = None
        """The Call-IDs of calls whose line states are still to be sent after the list."""
        self._subscriptions: Iterator[tuple[str, str, float]] | None = None
        """Subscriptions of devices that are still to be sent, after the line states."""
        self._carried: tuple[Item, ...] = ()
        """The item that did not fit into the last part."""
        self._urgent = False
        """The part under way has requests for which somebody in a call waits: the next part is sent only after the
        server has answered it."""
        self._stack.legs[self.key] = self

    @property
    def key(self) -> str:
        return dialog_key(self.dialog.call_id, self.dialog.local_tag)

    def go_on(self, now: float) -> None:
        """Send what may be sent now: at most two parts without an answer, and nothing after an urgent one."""
        if not self._begun:
            if not self._publication.ready() or self.notifier.state is TERMINATED:
                return
            self._begun = True
            self._items = self._publication.contents.items(self.wanted)
            if self.keeps and self.wanted.purpose == TAKEOVER:
                self._states = iter(self._publication.contents.call_ids())
                self._subscriptions = self._publication.subscriptions(now)
        while self.unanswered < MOST_UNANSWERED and self.notifier.state is not TERMINATED and not self._urgent:
            if self._items is not None:
                self._next_part(now)
            elif self._states is not None:
                self._tell_states(self._states, now)
            elif self._subscriptions is not None:
                self._tell_subscriptions(self._subscriptions, now)
            elif self._ripe and self._dirty:
                self._tell_states(iter(tuple(self._dirty)), now)
            elif self._changed:
                self._tell_changes(now)
            elif self.notifier.owed:
                self.version += 1
                self.part = 0
                self._send([], [], True, now)
            else:
                return

    def tell_gathered(self, now: float) -> None:
        """Send the changes at devices that were collected."""
        self._ripe = True
        self.go_on(now)

    def line_changed(self, line: Line, now: float) -> None:
        """Report a changed line; while too many NOTIFYs are unanswered, with the next one."""
        if self.notifier.state is ACTIVE and self.wanted.wants(line):
            self._changed[line.name] = line
            self.go_on(now)

    def _next_part(self, now: float) -> None:
        """Send the next part of the list. Its records are made only now, so that they are true when they are sent."""
        assert self._items is not None
        texts: list[str] = []
        told: list[TerminatedCall] = []
        size = 200
        carried, self._carried = self._carried, ()
        for item in chain(carried, self._items):
            if item is END_OF_PART:
                if texts:
                    self._urgent = True
                    break
                continue
            text, ended = self._encoded(item, now)
            if texts and size + len(text) + 2 > MOST_PART:
                self._carried = (item,)
                break
            size += len(text) + 2
            texts.append(text)
            if ended is not None:
                told.append(ended)
        else:
            self._items = None
        self._send(texts, told, self._items is None, now)

    def _encoded(self, item: Item, now: float) -> tuple[str, TerminatedCall | None]:
        """The record of an item as text, with the ended call in it if it is one. A call that ended since the list was
        begun gets the record of an ended call."""
        if isinstance(item, Line):
            return self._line_record(item, now).encode(), None
        ended = item if isinstance(item, TerminatedCall) else item.gone
        if ended is not None:
            return of_terminated(ended, now).encode(), ended
        assert isinstance(item, Call)
        return self._publication.recorder.of_call(item, now).encode(), None

    def call_changed(self, call_id: str, now: float) -> None:
        """A call has changed at its device without a message to the servers: send its line state soon."""
        if self.keeps and self._begun and self.wanted.purpose == TAKEOVER and self.notifier.state is ACTIVE:
            if not self._dirty:
                self._stack.deadlines.set(now + GATHERED, _Gathered(self), DUE)
            self._dirty[call_id] = None

    def subscriptions_changed(self, now: float) -> None:
        """A subscription of a device has changed: send all of them again, since that is rare."""
        if self.keeps and self._begun and self.wanted.purpose == TAKEOVER and self.notifier.state is ACTIVE:
            self._subscriptions = self._publication.subscriptions(now)
            self.go_on(now)

    def _tell_states(self, call_ids: Iterator[str], now: float) -> None:
        """Send line states, as many as fit into one part: those of all calls after the list, else those of changed
        calls."""
        behind = self._states is not None
        texts: list[str] = []
        size = 200
        contents, line_state = self._publication.contents, self._publication.line_state
        covered = behind
        for call_id in call_ids:
            self._dirty.pop(call_id, None)
            call = contents.call(call_id)
            if call is None or call.end is not None:
                continue
            text = StateRecord(line_state(call, now), call_id).encode()
            texts.append(text)
            size += len(text) + 2
            if size > MOST_PART:
                covered = False
                break
        else:
            self._states = None
        self._ripe = self._ripe and bool(self._dirty)
        self.version += 1
        self.part = 0
        self._send(texts, [], True, now, covered)

    def _tell_subscriptions(self, subscriptions: Iterator[tuple[str, str, float]], now: float) -> None:
        """Send subscriptions of devices, as many as fit into one part."""
        texts: list[str] = []
        size = 200
        for key, text, lasts in subscriptions:
            texts.append(StateRecord(text, key, lasts).encode())
            size += len(texts[-1]) + 2
            if size > MOST_PART:
                break
        else:
            self._subscriptions = None
        if texts:
            self.version += 1
            self.part = 0
            self._send(texts, [], True, now)

    def _line_record(self, line: Line, now: float) -> LineRecord:
        """The record of a line; only the leading server gets it with the part that servers keep."""
        return self._publication.line_record(line, now) if self.wanted.purpose == TAKEOVER else of_line(line)

    def _tell_changes(self, now: float) -> None:
        texts = [self._line_record(line, now).encode() for line in self._changed.values()]
        self._changed = {}
        self.version += 1
        self.part = 0
        self._send(texts, [], True, now)

    def _send(
        self, texts: list[str], told: list[TerminatedCall], complete: bool, now: float, covered: bool = False
    ) -> None:
        self.part += 1
        publication, voter = self._publication, self._publication.voter
        head = Head(
            publication.site,
            publication.agent,
            voter.participant.on_disk.incarnation,
            voter.leadership.epoch,
            self.version,
            self.part,
            complete,
            covered,
        )
        self.notifier.notify(
            now, (f"Content-Type: {LIST_TYPE}",), body_of((head.encode(), *texts)), more=not complete
        )
        self._notify(told, now)

    def _notify(self, told: list[TerminatedCall], now: float) -> None:
        stack = self._stack
        for ask in self.notifier.to_do():
            branch = stack.branch()
            self.dialog.local_cseq += 1
            uri, head = self.dialog.head("NOTIFY", self.dialog.local_cseq, stack.via(self.flow, branch))
            lines = (*head, stack.contact(self.flow), "Max-Forwards: 70", *ask.lines)
            data = request_bytes("NOTIFY", uri, lines, ask.body)
            self.unanswered += 1
            stack.request("NOTIFY", data, branch, self.flow, self, now, told)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to a NOTIFY."""
        if response.status < 200:
            return
        self.unanswered -= 1
        self._urgent = False
        if response.status < 300 and self.wanted.proof is not None:
            for each in transaction.context:
                each.told(self.wanted.proof.epoch, now)
        self.notifier.answered(response, now)
        if self._items is None and self.wanted.purpose == TAKEOVER:
            self._publication.heard(now)
        self._after(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.unanswered -= 1
        self.notifier.failed(now)
        self._after(now)

    def _after(self, now: float) -> None:
        if self.notifier.state is TERMINATED:
            self.terminate()
        else:
            self.go_on(now)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A SUBSCRIBE in the dialog refreshes or ends the subscription."""
        stack = self._stack
        if request.method != "SUBSCRIBE" or transaction.flow != self.flow:
            stack.reply(transaction, 481, now)
            return
        if request.cseq <= self.dialog.remote_cseq:
            stack.reply(transaction, 500, now)
            return
        self.dialog.remote_cseq = request.cseq
        reply = self.notifier.refresh(request, now)
        stack.reply(transaction, reply.status, now, lines=(stack.contact(self.flow), *reply.lines))
        if self.notifier.state is ACTIVE:
            lines = self._publication.contents.lines.values()
            self._changed.update((line.name, line) for line in lines if self.wanted.wants(line))
        self.wake()
        self.go_on(now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Ignored: no ACK belongs to this dialog."""

    def due(self, cause: str, now: float) -> None:
        self.notifier.handle_timer(now)
        self._notify([], now)
        self.terminate()

    def wake(self) -> None:
        """Set the timer for the expiry of the subscription."""
        self.generation += 1
        at = self.notifier.get_timer()
        if at is not None:
            self._stack.deadlines.set(at, self, DUE)

    def terminate(self) -> None:
        """End the subscription without a message."""
        self.generation += 1
        self._items = None
        self._stack.legs.pop(self.key, None)
        self._ended(self)
