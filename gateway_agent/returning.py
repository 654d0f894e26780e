"""The return: a restarted agent asks a server for the state that it had before, once per start and before anything
else (docs/wire.md).

Until the return is complete the agent tells nothing of its list, does not answer that a call is unknown, and lets
requests and responses that may belong to a returning call wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway_agent import registration_state, subscription_state
from gateway_agent.call import Call
from gateway_agent.call_restoration import CallRestoration, NotRestorable
from gateway_agent.call_table import CallTable
from gateway_agent.line import Line
from gateway_agent.line_snapshot import LineStates
from gateway_agent.line_state import LineState, bound_to, decode
from gateway_agent.seal import LineStateError
from gateway_agent.server_connections import ConnectionServices
from gateway_agent.subscriptions import Subscriptions
from sip.actions import Flow
from sip.dialog import UAC, Dialog, DialogState, dialog_key
from sip.layer import Stack
from sip.packages.json_values import seconds_of, text_of
from sip.packages.line_dialog import (
    ACCEPT,
    PACKAGE,
    RETURN,
    TERMINATED,
    BadRecord,
    Head,
    ReturnRecord,
    members_of,
    split,
)
from sip.references import is_of_transfer
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.headers import bracketed
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

DUE: Final = "wanted still"
AGAIN: Final = 0.2
"""Seconds until a server that refused, or does not lead now, is asked again."""
LONGEST: Final = 5.0
"""Seconds that the whole return may take once a server was asked."""
MOST_WAITING: Final = 10_000
"""Requests that may wait; further ones are refused with Retry-After."""

Waiting = tuple[ServerTransaction, Request, Flow, float]
Requested = Callable[[ServerTransaction, Request, Flow, float], None]
"""Handles a request that belongs to no known dialog; the flow is where the request came from."""


class WaitingMessages:
    """Requests and responses that came before the return was complete. They are handled afterwards, in their
    order."""

    def __init__(self, stack: Stack, hold: Callable[[], float], requested: Requested) -> None:
        """``hold`` gives the seconds for which a message waits at most; ``requested`` handles requests that belong to
        no leg even after the return."""
        self.generation = 0
        self._stack = stack
        self._hold = hold
        self._requested = requested
        self._waiting: list[Waiting] = []
        self._responses: list[tuple[bytes, Flow, float]] = []

    def keep_response(self, response: Response, flow: Flow, now: float) -> None:
        """Let a response wait whose client transaction may come back with its call. The sender might repeat it, but
        only half a second later. Dropped when too many wait."""
        if len(self._responses) < MOST_WAITING:
            self._responses.append((response.to_bytes(), flow, now))

    def release_responses(self, now: float) -> None:
        """The client transactions are restored: handle the responses that waited, before servers ask for anything
        more."""
        responses, self._responses = self._responses, []
        for data, flow, at in responses:
            if now - at <= self._hold():
                self._stack.receive_message(data, flow, now)

    def keep(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Let a request wait; an INVITE is answered 100 (RFC 3261 section 17.2.1)."""
        if len(self._waiting) >= MOST_WAITING:
            self._stack.respond_stateless(transaction, 503 if not request.to_tag else 500, ("Retry-After: 5",))
            return
        if request.method == "INVITE":
            self._stack.reply(transaction, 100, now)
        if not self._waiting:
            self._stack.deadlines.set(now + self._hold(), self, DUE)
        self._waiting.append((transaction, request, source, now))

    def release(self, now: float) -> None:
        """The return is complete: handle the requests that waited."""
        self.generation += 1
        waiting, self._waiting = self._waiting, []
        for transaction, request, source, _ in waiting:
            if not self._is_unhandled(transaction):
                continue
            leg = self._stack.legs.get(dialog_key(request.call_id, request.to_tag)) if request.to_tag else None
            if leg is not None:
                leg.receive(transaction, request, now)
            else:
                self._requested(transaction, request, source, now)

    def _is_unhandled(self, transaction: ServerTransaction) -> bool:
        """Whether a transaction still has to be handled. A request that the agent had before its restart may have
        been restored with its call, as another transaction with the same key."""
        return transaction.open and self._stack.servers.get(transaction.key) is transaction

    def due(self, cause: str, now: float) -> None:
        """Refuse the requests that have waited too long because no server returns anything. Their senders may try
        again (RFC 4320: no late 408; and no 481 merely for want of a server)."""
        until = now - self._hold() + 0.001
        over = [one for one in self._waiting if one[3] <= until]
        self._waiting = [one for one in self._waiting if one[3] > until]
        for transaction, request, _, _ in over:
            if self._is_unhandled(transaction):
                status = 500 if request.to_tag else 503
                tag = "" if request.to_tag else self._stack.token()
                self._stack.reply(transaction, status, now, lines=("Retry-After: 5",), tag=tag)
        if self._waiting:
            self._stack.deadlines.set(self._waiting[0][3] + self._hold(), self, DUE)


class EndedDialog:
    """A dialog that ended before this start of the agent. It answers a BYE that the device sends again, for
    64*T1."""

    __slots__ = ("_key", "_stack", "flow", "generation")

    def __init__(self, stack: Stack, dialog: DialogState, flow: Flow) -> None:
        self._stack = stack
        self._key = dialog_key(dialog.call_id, dialog.local_tag)
        self.flow = flow
        self.generation = 0
        stack.legs.setdefault(self._key, self)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        self._stack.reply(transaction, 200 if request.method == "BYE" else 481, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Ignored: no ACK belongs to this dialog."""

    def due(self, cause: str, now: float) -> None:
        if self._stack.legs.get(self._key) is self:
            del self._stack.legs[self._key]


class Return:
    """The subscription by which a restarted agent gets its state back; one for each start of an agent. Each function
    in ``done`` is called when everything is back, or nothing can be had."""

    def __init__(
        self,
        site: str,
        services: ConnectionServices,
        waiting_messages: WaitingMessages,
        restoration: CallRestoration,
        line_states: LineStates,
        table: CallTable,
        decided: Callable[[str, str, float], None],
        lines: Mapping[str, Line],
        subscriptions: Subscriptions,
        done: Sequence[Callable[[float], None]],
    ) -> None:
        self.complete = False
        self.generation = 0
        self._site = site
        self._agent = services.agent
        self._stack = services.stack
        self.waiting_messages = waiting_messages
        self._restoration = restoration
        self._line_states = line_states
        self._table = table
        self._keys = services.keys
        self._counters = services.counters
        self._decided = decided
        self._lines = lines
        self._subscriptions = subscriptions
        self._done = done
        self._server = ""
        self._flow: Flow | None = None
        self._dialog: Dialog | None = None
        self._until = 0.0
        self.back = 0
        """Calls that came back."""
        self.withheld = 0
        """Calls that could not be restored."""

    def ask(self, server: str, flow: Flow, keeps: bool, now: float) -> None:
        """``server`` has adopted the agent: ask it for the agent's state, unless the return is complete. ``keeps``
        says whether it keeps line states at all."""
        self._line_states.kept = keeps
        if self.complete or (flow == self._flow and self._dialog is not None):
            return
        self._forget()
        self._server, self._flow = server, flow
        if not keeps:
            self._finish(f"{server} keeps no line states", now)
            return
        self._until = now + LONGEST
        self._subscribe(now)

    def flow_lost(self, flow: Flow) -> None:
        """A connection broke; if it was the one on which the state was asked for, it is asked for again on the
        next."""
        if flow == self._flow:
            self._forget()

    # The subscription.

    @property
    def flow(self) -> Flow:
        assert self._flow is not None
        return self._flow

    def _subscribe(self, now: float) -> None:
        stack, flow = self._stack, self.flow
        call_id, tag, branch = stack.token() + stack.token(), stack.token(), stack.branch()
        state = DialogState(
            call_id, tag, "", f"<sip:{self._agent}@{self._site}>", f"<sip:{self._server}@{self._site}>", 1
        )
        self._dialog = Dialog(state)
        stack.legs[dialog_key(call_id, tag)] = self
        host, port = flow.remote
        uri = f"sip:{self._server}@{bracketed(host)}:{port};transport=tcp"
        _, head = self._dialog.head("SUBSCRIBE", 1, stack.via(flow, branch))
        lines = (
            *head,
            stack.contact(flow),
            "Max-Forwards: 70",
            f"Event: {PACKAGE};purpose={RETURN}",
            f"Accept: {ACCEPT}",
            "Expires: 0",
        )
        stack.request("SUBSCRIBE", request_bytes("SUBSCRIBE", uri, lines, b""), branch, flow, self, now)
        self.generation += 1
        stack.deadlines.set(self._until, self, DUE)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to our SUBSCRIBE."""
        if response.status < 300 or self.complete or transaction.flow != self._flow:
            return
        if response.status in (405, 489, 501):
            self._finish(f"{self._server} gives nothing back", now)
        else:
            self._later(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.flow == self._flow and not self.complete:
            self._later(now)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A NOTIFY with a part of the records that the server has kept."""
        if request.method != "NOTIFY" or transaction.flow != self._flow or self.complete:
            self._stack.reply(transaction, 481, now)
            return
        try:
            pieces = split(request.body)
            head = Head.decode(pieces[0]) if pieces else None
        except BadRecord:
            self._stack.reply(transaction, 400, now)
            return
        for piece in pieces[1:]:
            self._take(piece, now)
        self._stack.reply(transaction, 200, now)
        if head is not None and head.complete:
            self._finish("", now, head.covered)
        elif (request.get("subscription-state") or "").startswith("terminated"):
            self._later(now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Ignored: no ACK belongs to this dialog."""

    def due(self, cause: str, now: float) -> None:
        if self.complete or self._flow is None:
            return
        if now >= self._until:
            self._finish(f"{self._server} did not give everything back in {LONGEST:g} s", now)
        else:
            self._subscribe(now)

    def _later(self, now: float) -> None:
        if self._dialog is not None:
            self._stack.legs.pop(self._dialog.key, None)
        self.generation += 1
        self._stack.deadlines.set(min(now + AGAIN, self._until), self, DUE)

    def _forget(self) -> None:
        if self._dialog is not None:
            self._stack.legs.pop(self._dialog.key, None)
        self._dialog = self._flow = None
        self.generation += 1

    def _finish(self, because: str, now: float, covered: bool = True) -> None:
        """Complete the return. ``because`` says why nothing came back, ``""`` when the server gave its records;
        ``covered``: the server had itself been told of all calls of the agent."""
        self.complete = True
        server = self._server
        self._forget()
        if because or self.back or self.withheld or not covered:
            said = because or f"{server} gave {self.back} calls back"
            if not covered:
                said += "; it leads since a moment ago, and may not have heard of others"
            if self.withheld:
                said += f"; {self.withheld} cannot be restored"
            self._decided("return", said, now)
        self.waiting_messages.release_responses(now)
        for told in self._done:
            told(now)
        if not server:
            self.waiting_messages.release(now)

    # The records in it.

    def _take(self, piece: bytes, now: float) -> None:
        """Restore what one record describes; a fault in it does not affect the other records."""
        try:
            members = members_of(piece)
            if "call-id" in members:
                self._restore(ReturnRecord.of(members), now)
            elif "subscription" in members:
                age = seconds_of(members.get("line-state-age")) or 0.0
                self._subscribe_again(text_of(members["subscription"]), text_of(members.get("line-state")), age, now)
            elif "line" in members:
                age = seconds_of(members.get("line-state-age")) or 0.0
                self._register(text_of(members["line"]), text_of(members.get("line-state")), age, now)
        except (BadRecord, LineStateError, NotRestorable) as fault:
            self._withhold(str(fault), now)
        except Exception as error:  # a fault of ours, in one of many calls
            self._withhold(repr(error), now)

    def _register(self, name: str, text: str, age: float, now: float) -> None:
        """Restore the devices that were registered for a line."""
        line = self._lines.get(name)
        if line is not None:
            bound = registration_state.bound_to(self._site, self._agent, name)
            line.far_side.resume(registration_state.decode(text, bound, self._keys()), age, now)

    def _subscribe_again(self, dialog: str, text: str, age: float, now: float) -> None:
        """Restore a subscription of a device."""
        bound = subscription_state.bound_to(self._site, self._agent, dialog)
        self._subscriptions.resume(subscription_state.decode(text, bound, self._keys()), age, now)

    def _restore(self, told: ReturnRecord, now: float) -> None:
        dialog = told.record.dialog
        if dialog.call_id in self._table.by_call_id:
            return
        if told.record.state == TERMINATED:
            self._remember(told, now)
            return
        tag = dialog.local_tag if dialog.direction == UAC else dialog.remote_tag
        state = self._decoded(told, tag)
        call: Call = self._restoration.restore(state, told.record, told.age, now)
        self._table.enter(call)
        self.back += 1

    def _decoded(self, told: ReturnRecord, tag: str) -> LineState:
        bound = bound_to(self._site, self._agent, told.record.dialog.call_id, tag)
        return decode(told.line_state, bound, self._keys())

    def _remember(self, told: ReturnRecord, now: float) -> None:
        """Go on answering in a call that has ended: its device may not have got the answer to its BYE, or to its
        INVITE."""
        dialog = told.record.dialog
        try:
            state = self._decoded(told, dialog.remote_tag)
        except LineStateError:
            state = self._decoded(told, dialog.local_tag)
        for one in state.dialogs:
            ended = EndedDialog(self._stack, one.dialog, one.flow)
            self._stack.deadlines.set_about(now + self._stack.timers.lifetime, ended, DUE)
        self._restoration.conclude(state, now)

    def _withhold(self, because: str, now: float) -> None:
        self.withheld += 1
        self._counters["not restorable"] += 1
        self._stack.limited_logger.warning(logger, now, "a call cannot be restored: %s", because)


def may_wait(request: Request) -> bool:
    """Whether a request may belong to a call or a subscription that the return restores."""
    if request.method == "NOTIFY":
        return is_of_transfer(request) or request.to_tag != "" or "call-origin" in request
    if request.method == "SUBSCRIBE":  # a server's own asks for the list, which is sent after the return
        return request.to_tag != "" or "call-origin" in request
    return request.method not in ("REGISTER", "OPTIONS")
