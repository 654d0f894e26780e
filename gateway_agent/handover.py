"""The notifier of package line-dialog: the agent's list in parts, then changes of lines (docs/wire.md)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway_agent import records
from gateway_agent.records import Gone
from heartbeat.header import BeatError
from heartbeat.proof import Proof
from sip.actions import Flow
from sip.dialog import Dialog, called_by, dialog_key
from sip.header_policy import ALLOW
from sip.notifier import Granted, Notifier, Package, judge
from sip.requests import ResponseSpec
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.call import Call
    from gateway_agent.core import Core
    from gateway_agent.line import Line

logger = logging.getLogger(__name__)

PACKAGE: Final = "line-dialog"
PACKAGES: Final = {PACKAGE: Package(min_expires=60, max_expires=86400, default_expires=3600)}
BODY: Final = "application/line-dialog+json-seq"
OBSERVE: Final = "observe"
TAKEOVER: Final = "takeover"
RESET: Final = "reset"
PURPOSES: Final = (OBSERVE, TAKEOVER, RESET)
STATES: Final = ("idle", "out-of-service")

MOST_PART: Final = 60_000
"""Bytes of a part, unless a single record is longer."""
MOST_UNANSWERED: Final = 2
MOST_SUBSCRIPTIONS: Final = 256
MOST_PENDING: Final = 256
DUE: Final = "expires"


Text = tuple[str, Gone | None]
"""A record, and the ended call that it is about."""


class Refused(Exception):
    """A SUBSCRIBE that cannot be granted: status and a sentence."""

    def __init__(self, status: int, because: str) -> None:
        super().__init__(because)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wish:
    """What a SUBSCRIBE asks for."""

    purpose: str
    proof: Proof | None = None
    lines: frozenset[str] | None = None
    """Only these; ``None``: all."""
    least_priority: int = 0
    call_ids: frozenset[str] | None = None
    """Only these server dialogs; ``None``: all."""
    state: str = "idle"
    """For a reset: what becomes of the lines."""

    def wants(self, line: Line) -> bool:
        return line.settings.priority >= self.least_priority and (self.lines is None or line.name in self.lines)


class Subscription:
    """One server's subscription: a dialog, its list under way, the changes that wait behind it."""

    def __init__(
        self, handover: Handover, transaction: ServerTransaction, request: Request, granted: Granted, wish: Wish,
        now: float,
    ) -> None:  # fmt: skip
        core = handover.core
        self.handover = handover
        self.wish = wish
        self.flow = transaction.flow
        self.generation = 0
        self.unanswered = 0
        self.version = 1
        self.part = 0
        self.dialog = Dialog(called_by(request, core.stack.token()))
        self.notifier = Notifier(granted, PACKAGES, now)
        self.changed: dict[str, Line] = {}
        self._texts: Iterator[Text | None] | None = handover.texts(wish)
        self._carried: Text | None = None
        self._urgent = False
        """The part under way has what somebody waits for: nothing follows before the server is done with it."""
        core.stack.legs[self.key] = self

    @property
    def key(self) -> str:
        return dialog_key(self.dialog.call_id, self.dialog.local_tag)

    def go_on(self, now: float) -> None:
        """Send what may be sent now: at most two parts without an answer, nothing behind an urgent one."""
        while self.unanswered < MOST_UNANSWERED and not self.notifier.ended and not self._urgent:
            if self._texts is not None:
                self._next_part(now)
            elif self.changed:
                self._tell_changes(now)
            elif self.notifier.owed:
                self.version += 1
                self.part = 0
                self._send([], [], True, now)
            else:
                return

    def _next_part(self, now: float) -> None:
        """The next part of the list, made at its turn: what a record says is true when it leaves."""
        assert self._texts is not None
        texts: list[str] = []
        told: list[Gone] = []
        size = 200
        carried, self._carried = self._carried, None
        for one in self._texts if carried is None else chain((carried,), self._texts):
            if one is None:
                if texts:
                    self._urgent = True
                    break
                continue
            if texts and size + len(one[0]) + 2 > MOST_PART:
                self._carried = one
                break
            size += len(one[0]) + 2
            texts.append(one[0])
            if one[1] is not None:
                told.append(one[1])
        else:
            self._texts = None
        self._send(texts, told, self._texts is None, now)

    def _tell_changes(self, now: float) -> None:
        texts = [records.of_line(line) for line in self.changed.values()]
        self.changed = {}
        self.version += 1
        self.part = 0
        self._send(texts, [], True, now)

    def _send(self, texts: list[str], told: list[Gone], complete: bool, now: float) -> None:
        self.part += 1
        head = records.of_head(self.handover.core, self.version, self.part, complete)
        body = "".join(f"\x1e{text}\n" for text in (head, *texts)).encode("latin-1")
        self.notifier.notify(now, (f"Content-Type: {BODY}",), body, more=not complete)
        self._notify(told, now)

    def _notify(self, told: list[Gone], now: float) -> None:
        stack = self.handover.core.stack
        for ask in self.notifier.to_do():
            branch = stack.branch()
            self.dialog.local_cseq += 1
            uri, text = self.dialog.lines("NOTIFY", self.dialog.local_cseq, stack.via(self.flow, branch))
            lines = "".join(f"{line}\r\n" for line in ask.lines)
            data = (
                f"NOTIFY {uri} SIP/2.0\r\n{text}{stack.contact(self.flow)}\r\nMax-Forwards: 70\r\n{lines}"
                f"Content-Length: {len(ask.body)}\r\n\r\n"
            ).encode("latin-1") + ask.body
            self.unanswered += 1
            self.handover.sent += 1
            stack.request("NOTIFY", data, branch, self.flow, self, now, told)

    # -- as the user of its NOTIFYs -------------------------------------------------------------------------------

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            return
        self.unanswered -= 1
        self._urgent = False
        if response.status < 300 and self.wish.purpose != OBSERVE:
            for gone in transaction.context:
                gone.told_at = now
        self.notifier.answered(response)
        self._after(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.unanswered -= 1
        self.notifier.failed("a NOTIFY had no answer")
        self._after(now)

    def _after(self, now: float) -> None:
        if self.notifier.ended and (self._texts is None or self.notifier.because.startswith("a NOTIFY")):
            self.forget()
        else:
            self.go_on(now)

    # -- as a dialog ----------------------------------------------------------------------------------------------

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        stack = self.handover.core.stack
        if request.method != "SUBSCRIBE" or transaction.flow != self.flow:
            stack.reply(transaction, 481, now)
            return
        if request.cseq <= self.dialog.remote_cseq:
            stack.reply(transaction, 500, now)
            return
        self.dialog.remote_cseq = request.cseq
        reply = self.notifier.refresh(request, now)
        stack.reply(transaction, reply.status, now, lines=(stack.contact(self.flow), *reply.lines))
        if self.notifier.state == "active":
            self.changed.update(
                (line.name, line) for line in self.handover.core.lines.values() if self.wish.wants(line)
            )
        self.wake()
        self.go_on(now)

    def receive_ack(self, ack: Request, now: float) -> None:
        pass

    def due(self, cause: str, now: float) -> None:
        self.notifier.handle_timer(now)
        self._notify([], now)
        self.forget()

    def wake(self) -> None:
        self.generation += 1
        at = self.notifier.get_timer()
        if at is not None:
            self.handover.core.stack.deadlines.set(at, self, DUE)

    def forget(self) -> None:
        self.generation += 1
        self._texts = None
        self.handover.core.stack.legs.pop(self.key, None)
        self.handover.subscriptions.discard(self)


class _Class(NamedTuple):
    """What a list has of one priority, in the order in which it is told; lines and ended calls come last."""

    urgent: list[Call]
    """With a request under way, or an answer of which the other side has not heard."""
    fresh: list[Call]
    """New, and no server has said anything that its device could hear."""
    ringing: list[Call]
    others: list[Call]
    lines: list[Line]
    gone: list[Gone]

    def place(self, call: Call) -> None:
        if call.server is not None and call.server.awaits_ack:
            self.urgent.append(call)
        elif not call.sent and not call.received:
            self.others.append(call)
        elif call.answered_at is None and not any(sent.cancelled for sent in call.sent):
            (self.fresh if call.ringing_at is None else self.ringing).append(call)
        else:
            self.urgent.append(call)


class Handover:
    """All subscriptions of servers at this agent."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.subscriptions: set[Subscription] = set()
        self.sent = 0
        """NOTIFYs sent."""
        self._pending: list[tuple[Proof, Callable[[float], None]]] = []

    def knows(self, request: Request) -> bool:
        """Whether a SUBSCRIBE in a dialog belongs to a subscription here."""
        return dialog_key(request.call_id, request.to_tag) in self.core.stack.legs

    def subscribe(self, transaction: ServerTransaction, request: Request, server: str, now: float) -> None:
        """A SUBSCRIBE of the server ``server``, which proved itself on this connection."""
        stack = self.core.stack
        found = judge(request, PACKAGES)
        try:
            if isinstance(found, ResponseSpec):
                raise Refused(found.status, found.because)
            wish = read_wish(found, request, server)
            if len(self.subscriptions) >= MOST_SUBSCRIPTIONS or len(self._pending) >= MOST_PENDING:
                raise Refused(503, "too many subscriptions")
        except Refused as refusal:
            lines: tuple[str, ...] = found.lines if isinstance(found, ResponseSpec) else ()
            if refusal.status == 489 and not lines:
                lines = (f"Allow-Events: {PACKAGE}",)  # RFC 6665 section 8.2.1: mandatory in a 489
            self.core.counters["refused subscriptions"] += 1
            logger.warning("a SUBSCRIBE of %s is refused: %s", server, refusal)
            stack.reply(transaction, refusal.status, now, lines=lines, tag=stack.token())
            return
        if wish.proof is None:
            self._observe(transaction, request, found, wish, server, now)
            return
        fault = self.core.links.fence.offer(wish.proof, now)
        self.core.links.pump(now)
        if fault:
            logger.warning("a SUBSCRIBE of %s is refused: %s", server, fault)
            self._fenced(transaction, request, server, now)
            return

        def obey(now: float) -> None:
            self._obey(transaction, request, found, wish, server, now)

        self._pending.append((wish.proof, obey))
        self.obedience_changed(now)

    def _observe(
        self, transaction: ServerTransaction, request: Request, granted: Granted, wish: Wish, server: str, now: float
    ) -> None:
        """At once, but not before a takeover of the same server that waits for the disk: with a dialog in its hands
        it would send on what the fence still refuses."""
        proof = next((proof for proof, _ in self._pending if proof.node == server), None)
        if proof is None:
            self._grant(transaction, request, granted, wish, now)
        else:
            self._pending.append((proof, lambda then: self._grant(transaction, request, granted, wish, then)))

    def wait(self, server: str, epoch: int, act: Callable[[float], None]) -> bool:
        """Keep what a server sent behind a takeover that waits for the disk; ``False`` when there is none."""
        for proof, _ in self._pending:
            if proof.node == server and proof.epoch == epoch and len(self._pending) < MOST_PENDING:
                self._pending.append((proof, act))
                return True
        return False

    def obedience_changed(self, now: float) -> None:
        """The fence's word is on disk: go on with those who brought their proofs."""
        epoch = self.core.links.fence.leadership.epoch
        ready = [pending for pending in self._pending if pending[0].epoch <= epoch]
        self._pending = [pending for pending in self._pending if pending[0].epoch > epoch]
        for _, obey in ready:
            obey(now)

    def _obey(
        self, transaction: ServerTransaction, request: Request, granted: Granted, wish: Wish, server: str, now: float
    ) -> None:
        proof, core = wish.proof, self.core
        assert proof is not None
        if not core.links.fence.obeys(server, proof.epoch):
            self._fenced(transaction, request, server, now)
            return
        for other in list(self.subscriptions):
            if other.wish.purpose == TAKEOVER and wish.purpose == TAKEOVER:
                other.forget()
        core.adopt(server, transaction.flow, now)
        if wish.purpose == RESET:
            core.reset(wish, server, now)
        self._grant(transaction, request, granted, wish, now)

    def _grant(
        self, transaction: ServerTransaction, request: Request, granted: Granted, wish: Wish, now: float
    ) -> None:
        stack = self.core.stack
        subscription = Subscription(self, transaction, request, granted, wish, now)
        self.subscriptions.add(subscription)
        reply = granted.reply()
        lines = (stack.contact(transaction.flow), ALLOW, *reply.lines)
        stack.reply(transaction, reply.status, now, lines=lines, tag=subscription.dialog.local_tag)
        subscription.wake()
        subscription.go_on(now)

    def _fenced(self, transaction: ServerTransaction, request: Request, server: str, now: float) -> None:
        """403 with what the agent knows; the transaction is not needed for it."""
        self.core.stack.forget(transaction)
        self.core.links.refuse(request, transaction.flow, server, now)

    def line_changed(self, line: Line, now: float) -> None:
        """Tell whoever watches; what changes while a NOTIFY is unanswered goes with the next."""
        for subscription in list(self.subscriptions):
            if subscription.notifier.state == "active" and subscription.wish.wants(line):
                subscription.changed[line.name] = line
                subscription.go_on(now)

    def flow_lost(self, flow: Flow) -> None:
        for subscription in [one for one in self.subscriptions if one.flow == flow]:
            subscription.forget()

    # -- the list -------------------------------------------------------------------------------------------------

    def texts(self, wish: Wish) -> Iterator[Text | None]:
        """The records of a list: highest priority first, in one priority requests under way first, and of these last
        what only rings: an INVITE that no server has answered at all is given up by its agent some time.

        None ends a part: before it stands what somebody waits for inside a call.

        What there is is settled now, what is said of it when its turn comes.
        """
        core = self.core
        if wish.call_ids is not None:
            living = [call for call in map(core.by_call_id.get, wish.call_ids) if call is not None]
            return self._some(living, [gone for gone in core.gone if gone.call_id in wish.call_ids])
        classes: dict[int, _Class] = {}
        for line in core.lines.values():
            if wish.wants(line):
                classes.setdefault(line.settings.priority, _Class([], [], [], [], [], [])).lines.append(line)
        wanted = {line.name for each in classes.values() for line in each.lines}
        for call in core.calls.values():
            if call.line.name in wanted:
                classes[call.line.settings.priority].place(call)
        for gone in reversed(core.gone):  # the last ones first: of those the former server wrote no record, perhaps
            if gone.line.name in wanted:
                classes[gone.line.settings.priority].gone.append(gone)
        return self._said(classes)

    def _said(self, classes: dict[int, _Class]) -> Iterator[Text | None]:
        for priority in sorted(classes, reverse=True):
            one = classes[priority]
            for calls in (one.urgent, one.fresh, one.ringing, one.others):
                for call in calls:
                    yield from self._of_call(call)
                if calls is one.urgent:
                    yield None
            for line in one.lines:
                yield records.of_line(line), None
            for gone in one.gone:
                yield records.of_gone(gone, self.core.now), gone

    def _some(self, living: list[Call], ended: list[Gone]) -> Iterator[Text]:
        for call in living:
            yield from self._of_call(call)
        for gone in ended:
            yield records.of_gone(gone, self.core.now), gone

    def _of_call(self, call: Call) -> Iterator[Text]:
        """The record of a call; of one that ended since the list was begun, the short one."""
        if call.gone is not None:
            yield records.of_gone(call.gone, self.core.now), call.gone
        else:
            yield records.of_call(call, self.core.now), None


def read_wish(granted: Granted, request: Request, server: str) -> Wish:
    """What a SUBSCRIBE asks for. Raises :class:`Refused`; nothing was changed then."""
    purpose = next((value for name, value in granted.event.params if name.lower() == "purpose"), OBSERVE)
    if purpose not in PURPOSES:
        raise Refused(489, f"the purpose {purpose!r} is not known")
    value: Any = {}
    if request.body:
        try:
            value = json.loads(request.body)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is no JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is no JSON object")
    lines, least = value.get("lines"), value.get("least-priority", 0)
    call_ids, state = value.get("call-id"), value.get("state", "idle")
    if isinstance(call_ids, str):
        call_ids = [call_ids]
    if lines is not None and not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        raise Refused(400, "lines is no list of names")
    if call_ids is not None and not (isinstance(call_ids, list) and all(isinstance(each, str) for each in call_ids)):
        raise Refused(400, "call-id is neither a text nor a list of them")
    if not isinstance(least, int) or state not in STATES:
        raise Refused(400, "least-priority or state cannot be read")
    proof = None
    if purpose != OBSERVE:
        proof = _proof(value, server)
    only = frozenset(lines) if lines is not None else None
    return Wish(str(purpose), proof, only, least, frozenset(call_ids) if call_ids is not None else None, state)


def _proof(value: dict[str, Any], server: str) -> Proof:
    text, epoch = value.get("proof"), value.get("epoch")
    if not isinstance(text, str):
        raise Refused(400, "proof is missing")
    try:
        proof = Proof.parse(text)
    except BeatError as error:
        raise Refused(400, str(error)) from None
    if proof.epoch != epoch:
        raise Refused(400, "epoch is not that of the proof")
    if proof.node != server:
        raise Refused(403, f"the proof is that of {proof.node}")
    return proof
