"""Return of state to an agent that has restarted (docs/line-dialog.md, ``purpose=return``): the line states that the
server keeps for it, with records of its dialogs.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from b2bua.agent_connection import AgentConnection
from b2bua.call import Call, CallServices, legs_of
from b2bua.line_states import KeptState, LineStates
from b2bua.transfer_parts import call_of
from sip.actions import Flow
from sip.dialog import UAS, Dialog, DialogState, called_by, dialog_key
from sip.invite import InviteUsage
from sip.packages.line_dialog import (
    ACK_AWAITED,
    CONFIRMED,
    EARLY,
    LIST_TYPE,
    NO_ACK,
    PACKAGE,
    RETURN,
    TERMINATED,
    Ack,
    DialogRecord,
    EarlyDialog,
    Head,
    LineStateRecord,
    ReceivedRequest,
    ReturnRecord,
    SentRequest,
    SubscriptionRecord,
    body_of,
)
from sip.requests import ResponseSpec
from sip.subscription import Granted, Notifier, Package, judge
from sip.transaction import ACCEPTED, ClientTransaction, ServerTransaction
from sip.transaction import COMPLETED as REFUSED
from sip.transaction import CONFIRMED as REFUSED_AND_ACKED
from sip.wire.build import request_bytes
from sip.wire.message import Request, Response, parse

logger = logging.getLogger(__name__)

PACKAGES: Final = {PACKAGE: Package(min_expires=60, max_expires=3600, default_expires=0)}
MOST_PART: Final = 60_000
MOST_UNANSWERED: Final = 2


class Item(NamedTuple):
    """One record to be returned, encoded."""

    text: str
    call_id: str = ""
    """Call-ID of the dialog that is restored from it; ``""`` for other records."""


class LineReturn:
    """One return to one agent: a subscription that delivers one list and then ends."""

    def __init__(
        self,
        services: CallServices,
        agent: str,
        kept: LineStates,
        former: Flow | None,
        formers: Iterable[Flow],
        may_act: Callable[[float], bool],
        complete: Callable[[float], None],
    ) -> None:
        """``former``: the agent's connection before this one. ``formers``: those of several former incarnations, as
        each may have died before its device got what had been returned. ``complete`` is called when the agent has
        everything."""
        self._services = services
        self._stack = services.stack
        self._agent = agent
        self._kept = kept
        self._former = former
        self._formers = frozenset(formers)
        self._may_act = may_act
        self._complete = complete
        self._items: Iterator[Item] | None = None
        self._carried: Item | None = None
        self._crossed: set[str] = set()
        """Call-IDs of the agent's INVITEs whose CANCEL crossed the server's 2xx."""
        self._part = 0
        self._unanswered: deque[list[str]] = deque()
        """For each part without an answer, the Call-IDs in it."""
        self.generation = 0

    def begin(self, transaction: ServerTransaction, request: Request, granted: Granted, now: float) -> None:
        """Grant the SUBSCRIBE and send the first parts."""
        stack = self._stack
        self._flow = transaction.flow
        self._dialog = Dialog(called_by(request, stack.token()))
        self._notifier = Notifier(granted, PACKAGES, now)
        stack.legs[self._key] = self
        reply = granted.reply()
        lines = (stack.contact(self._flow), *reply.lines)
        stack.reply(transaction, reply.status, now, lines=lines, tag=self._dialog.local_tag)
        self._items = self._records(now)
        self._go_on(now)

    @property
    def flow(self) -> Flow:
        return self._flow

    @property
    def _key(self) -> str:
        return dialog_key(self._dialog.call_id, self._dialog.local_tag)

    def _go_on(self, now: float) -> None:
        while self._items is not None and len(self._unanswered) < MOST_UNANSWERED:
            if not self._may_act(now):  # without the lease, another server may have newer states
                self._end()
                return
            self._next_part(self._items, now)

    def broken(self) -> None:
        """The connection is lost: a record in an unanswered part may have crashed the agent."""
        for call_ids in self._unanswered:
            self._kept.died_of(call_ids)
        self._unanswered.clear()
        for client in [client for client in self._stack.clients.values() if client.user is self]:
            client.terminate()
        self._end()

    def _next_part(self, items: Iterator[Item], now: float) -> None:
        """Send a part with as many records as fit. A record that may have crashed the agent before goes alone."""
        part: list[Item] = [self._carried] if self._carried is not None else []
        size, self._carried = 200 + sum(len(one.text) + 2 for one in part), None
        if not (part and self._kept.suspects(part[0].call_id)):
            for one in items:
                full = size + len(one.text) + 2 > MOST_PART or self._kept.suspects(one.call_id)
                if part and full:
                    self._carried = one
                    break
                size += len(one.text) + 2
                part.append(one)
                if full:
                    break
            else:
                self._items = None
        self._send(part, self._items is None, now)

    def _send(self, part: list[Item], complete: bool, now: float) -> None:
        stack, services = self._stack, self._services
        self._part += 1
        covered = complete and self._kept.complete  # a new leader may not have got all line states yet
        head = Head(services.site.name, self._agent, 0, services.records.epoch, 1, self._part, complete, covered)
        body = body_of((head.encode(), *(one.text for one in part)))
        self._notifier.notify(now, (f"Content-Type: {LIST_TYPE}",), body, more=not complete)
        for ask in self._notifier.to_do():
            self._dialog.local_cseq += 1
            branch = stack.branch()
            uri, lines = self._dialog.head("NOTIFY", self._dialog.local_cseq, stack.via(self._flow, branch))
            lines += (stack.contact(self._flow), "Max-Forwards: 70", *services.site_headers, *ask.lines)
            self._unanswered.append([one.call_id for one in part if one.call_id])
            data = request_bytes("NOTIFY", uri, lines, ask.body)
            stack.request("NOTIFY", data, branch, self._flow, self, now, complete)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The agent has answered a part: send the next one, or end."""
        if response.status < 200 or not self._unanswered:
            return
        self._unanswered.popleft()
        if response.status >= 300:
            self._end()
        elif transaction.context:
            self._end()
            self._complete(now)
        else:
            self._go_on(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self._end()

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        self._stack.reply(transaction, 481, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Nothing to do: no ACK belongs to a subscription."""

    def _end(self) -> None:
        self._items = None
        self._stack.legs.pop(self._key, None)

    # What is given back.

    def _records(self, now: float) -> Iterator[Item]:
        """The records in order: lines, subscriptions, dialogs with pending transactions, other dialogs. Dialogs that
        may have crashed the agent come last among these."""
        for line, state in self._kept.lines.items():
            yield Item(LineStateRecord(line, state.text, now - state.at).encode())
        for key, state in self._kept.subscriptions(now):
            yield Item(SubscriptionRecord(key, state.text, now - state.at).encode())
        self._crossed = {
            parse(transaction.last).call_id
            for transaction in self._stack.servers.values()
            if transaction.flow in self._formers
            and transaction.state == ACCEPTED
            and transaction.last
            and self._is_cancelled(transaction)
        }
        asked: defaultdict[InviteUsage, list[ClientTransaction]] = defaultdict(list)
        for client in self._stack.clients.values():
            if client.flow == self._former and not client.answered and isinstance(client.user, InviteUsage):
                asked[client.user].append(client)
        legs = [
            (call, leg)
            for call in self._services.calls.values()
            for leg in legs_of(call)
            if call.agent_of(leg) == self._agent and not leg.ended and leg not in asked
        ]
        urgent: list[tuple[Call | None, InviteUsage]] = [(call_of(leg), leg) for leg in asked]
        urgent += [(call, leg) for call, leg in legs if leg.server_invite.pending is not None]
        others = [(call, leg) for call, leg in legs if leg.server_invite.pending is None]
        in_order = sorted((*urgent, *others), key=lambda one: self._kept.suspects(one[1].dialog.call_id))
        for call, leg in in_order:
            kept = self._kept.to_give(leg.dialog.call_id)
            if kept is not None and (leg in asked or not leg.ended):
                record = self._record(call, leg, asked.get(leg, ()), kept, now)
                yield Item(record.encode(), leg.dialog.call_id)
        for transaction in list(self._stack.servers.values()):
            if transaction.flow in self._formers:
                if transaction.key.endswith(" BYE"):
                    yield from map(Item, self._parted(transaction, now))
                elif transaction.state in (REFUSED, REFUSED_AND_ACKED) and transaction.last.startswith(b"SIP/2.0 "):
                    yield from map(Item, self._refused(transaction, now))

    def _is_cancelled(self, invite: ServerTransaction) -> bool:
        """Whether a CANCEL came for an INVITE, while its transaction is still known."""
        return f"{invite.key.removesuffix('INVITE')}CANCEL" in self._stack.servers

    def _parted(self, transaction: ServerTransaction, now: float) -> Iterator[str]:
        """A dialog that the agent has ended: its device may not have got the answer to its BYE."""
        bye = transaction.request or (parse(transaction.last) if transaction.last else None)
        kept = self._kept.get(bye.call_id) if bye is not None else None
        if bye is not None and kept is not None and kept.usable:
            dialog = DialogState(bye.call_id, bye.to_tag, bye.from_tag, bye.to_untagged, bye.from_untagged)
            yield ReturnRecord(DialogRecord(dialog, state=TERMINATED), kept.text, now - kept.at).encode()

    def _refused(self, transaction: ServerTransaction, now: float) -> Iterator[str]:
        """A refused call of the agent's device: the agent may have died before its device got the refusal."""
        answer = parse(transaction.last)
        kept = self._kept.get(answer.call_id)
        if not isinstance(answer, Response) or answer.cseq_method != "INVITE" or kept is None or not kept.usable:
            return
        if dialog_key(answer.call_id, answer.to_tag) in self._stack.legs:
            return  # it was a re-INVITE: its call goes on, and has its own record
        ours, theirs = answer.to_untagged, answer.from_untagged
        dialog = DialogState(
            answer.call_id, answer.to_tag, answer.from_tag, ours, theirs, 0, answer.cseq, direction=UAS
        )
        early = (EarlyDialog(answer.to_tag, (transaction.last,)),)
        yield ReturnRecord(DialogRecord(dialog, state=EARLY, early=early), kept.text, now - kept.at).encode()

    def _record(
        self, call: Call | None, leg: InviteUsage, asked: Iterable[ClientTransaction], kept: KeptState, now: float
    ) -> ReturnRecord:
        dialog = leg.dialog.export()
        received = []
        for client in asked:
            if client.method == "CANCEL":
                continue
            request = parse(client.request)
            if request.to_tag:  # the first INVITE is recognised by its origin key, whatever its CSeq
                dialog = dialog._replace(local_cseq=min(dialog.local_cseq, request.cseq - 1))
            received.append(
                ReceivedRequest(client.request, request.get("call-origin") or "", b"", leg.client_invite.cancelling)
            )
        pending = leg.server_invite.pending
        sent: tuple[SentRequest, ...] = ()
        early: tuple[EarlyDialog, ...] = ()
        last = leg.server_invite.success
        if pending is not None and pending.request is not None:
            request = pending.request
            sent, last = (SentRequest(request.to_bytes(), self._is_cancelled(pending)),), pending.last
        if last:
            response = parse(last)
            if isinstance(response, Response) and response.status > 100:
                early = (EarlyDialog(response.to_tag, (last,)),)
        if pending is None and dialog.call_id in self._crossed:
            sent = (SentRequest(b"", True),)
        age = now - kept.at
        ack = NO_ACK
        if leg.ack.pending:
            ack = Ack(ACK_AWAITED, b"", leg.ack.cseq)
        elif leg.ack.cseq and age <= self._stack.timers.lifetime:
            ack = Ack("", leg.ack.message(), leg.ack.cseq)
        token = ""
        if call is not None:
            lines = self._services.token_lines(call, self._agent)
            token = lines[0].partition(": ")[2] if lines else ""
        record = DialogRecord(
            dialog,
            token,
            CONFIRMED if leg.established else EARLY,
            sent=sent,
            received=tuple(received),
            early=early,
            ack=ack,
        )
        return ReturnRecord(record, kept.text, age)


def give_back(
    services: CallServices,
    connection: AgentConnection,
    may_act: Callable[[float], bool],
    transaction: ServerTransaction,
    request: Request,
    now: float,
) -> None:
    """Handle the SUBSCRIBE of a restarted agent for its state; ``may_act``: whether this server has its lease."""
    found = judge(request, PACKAGES)
    purpose = ""
    if isinstance(found, Granted):
        purpose = next((str(value) for name, value in found.event.params if name.lower() == "purpose"), "")
        if purpose != RETURN:
            found = ResponseSpec(489, f"the purpose {purpose!r} is not known", (f"Allow-Events: {PACKAGE}",))
    if isinstance(found, ResponseSpec):
        services.stack.respond_stateless(transaction, found.status, found.lines)
        return
    granted, starts = found, connection.former_starts

    def begin(now: float) -> None:
        former = starts.resend_from[0] if starts.resend_from is not None else None
        formers = [*starts.connections, *([former] if former is not None else ())]
        kept, settle = connection.line_states, connection.settle
        one = LineReturn(services, connection.name, kept, former, formers, may_act, settle)
        connection.broken = one.broken
        one.begin(transaction, request, granted, now)

    starts.when_read(begin, now)
