"""What servers ask of an agent outside the dialogs that it knows: new calls, and requests that came before."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from gateway_agent.deduplication import Received, key_of
from gateway_agent.line import Busy, Line
from gateway_agent.numbers import line_parameter
from gateway_agent.outgoing import Outgoing
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request

if TYPE_CHECKING:
    from gateway_agent.core import Core

logger = logging.getLogger(__name__)


class Arrivals:
    """Takes INVITEs of servers, and recognises what was sent on before by whatever server."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def invited(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """The INVITE of a server for one of the lines."""
        received = Received(key_of(request), transaction, "INVITE", None)
        self.core.memory.add(received, now)
        line = self.core.lines.get(line_parameter(request.uri))
        if line is None:
            self._refuse(received, 404, "no such line here", now)
            return
        if self.core.draining:
            self._refuse(received, 503, "the agent drains", now)
            return
        if not line.ready(partial(self._call, received, line), now):  # the names of its peers are still looked up
            self.core.stack.reply(transaction, 100, now)
            return
        self._call(received, line, now)

    def _call(self, received: Received, line: Line, now: float) -> None:
        """Send the INVITE of a server to the device of its line."""
        transaction = received.transaction
        request = transaction.request
        if request is None or not transaction.open:  # cancelled meanwhile
            return
        targets = line.targets(now)
        channel = line.take(now) if not isinstance(targets, Busy) else targets
        if isinstance(targets, Busy) or isinstance(channel, Busy):
            busy = targets if isinstance(targets, Busy) else channel
            assert isinstance(busy, Busy)
            self._refuse(received, busy.status, busy.because, now)
            return
        call = Outgoing(self.core, line, channel, _caller(request), now)
        if fault := call.description.anchor.reserve():
            line.give(channel, now)
            self._refuse(received, 503, fault, now)
            return
        try:
            call.begin(transaction, request, received, targets, now)
        except SipError as error:
            line.give(channel, now)
            call.description.anchor.release()
            received.call = None
            if call.server is not None:
                call.server.end()
            self._refuse(received, 400, str(error), now)
            return
        self.core.enter(call)

    def _refuse(self, received: Received, status: int, because: str, now: float) -> None:
        """Refuse an INVITE of a server; a repeat is refused alike."""
        logger.debug("%s: %s", status, because)
        lines = ("Retry-After: 5",) if status == 503 else ()
        answer = received.answer(status, "", lines, b"", self.core.stack.token())
        self.core.memory.answered(received, now)
        self.core.stack.reply(received.transaction, status, now, lines=answer.lines, tag=answer.tag)

    def recognise(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether a server, perhaps another one, sent this request before; it is then answered as it was."""
        received = self.core.memory.get(key_of(request))
        if received is None or received.method != request.method:
            return False
        self.core.counters["repeats"] += 1
        core = self.core
        stack, old, call = core.stack, received.transaction, received.call
        if old.open:
            old.abandon()
        received.transaction = transaction
        leg = call.server if call is not None and call.ended is None else None
        invite = request.method == "INVITE"
        if call is not None and leg is not None:
            token = request.get("call-state")
            if token:
                call.token = token
            if invite and not request.to_tag:
                self.core.by_call_id.pop(leg.dialog.call_id, None)
                leg.repeated(request, transaction)
                self.core.by_call_id[leg.dialog.call_id] = call
            leg.dialog.remote_cseq = max(leg.dialog.remote_cseq, request.cseq)
            transaction.context = leg
        answers = received.provisionals
        if received.final is not None:
            answers = [*answers, received.final]  # the calling device may not have heard that it rang
        elif invite:
            if leg is not None:
                leg.invite = transaction
            stack.reply(transaction, 100, now)  # a CANCEL must not have to wait for the device
        for answer in answers:
            own = (stack.contact(transaction.flow),) if invite and answer.status < 300 else ()
            lines = (*own, *answer.lines)
            tag = answer.tag or (call.server.dialog.local_tag if call is not None and call.server is not None else "")
            data = stack.reply(transaction, answer.status, now, answer.reason, lines, answer.body, tag)
            if invite and answer.status // 100 == 2 and leg is not None:
                leg.await_ack(data, request.cseq)
        return True


def _caller(request: Request) -> str:
    value = request.get("from") or ""
    return value.partition("sip:")[2].partition("@")[0][:64]
