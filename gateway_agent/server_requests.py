"""New calls that servers have for the lines of an agent."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from gateway_agent.call import Call
from gateway_agent.deduplication import key_of
from gateway_agent.line import Busy, Line
from gateway_agent.numbers import line_parameter
from gateway_agent.outgoing import Outgoing
from gateway_agent.server_side import Received
from sip.transaction import ServerTransaction
from sip.wire.message import Request

if TYPE_CHECKING:
    from gateway_agent.core import Core

logger = logging.getLogger(__name__)


class Arrivals:
    """Takes INVITEs of servers."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def invited(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """The INVITE of a server for one of the lines."""
        core = self.core
        line = core.lines.get(line_parameter(request.uri))
        if line is None:
            self._refuse(transaction, request, 404, "no such line here", now)
            return
        if core.draining:
            self._refuse(transaction, request, 503, "the agent drains", now)
            return
        if not line.ready(partial(self._call, transaction, line), now):  # the names of its peers are still looked up
            core.stack.reply(transaction, 100, now)
            return
        self._call(transaction, line, now)

    def _call(self, transaction: ServerTransaction, line: Line, now: float) -> None:
        """Send the INVITE of a server to the device of its line."""
        core, request = self.core, transaction.request
        if request is None or not transaction.open:  # cancelled meanwhile
            return
        targets = line.targets(now)
        if isinstance(targets, Busy):
            self._refuse(transaction, request, targets.status, targets.because, now)
            return
        channel = line.take(now)
        if isinstance(channel, Busy):
            self._refuse(transaction, request, channel.status, channel.because, now)
            return
        setup = Outgoing(targets, partial(core.host_towards, line.settings))
        call = Call(core.environment, setup, core.next_id(), line, channel, _caller(request), now)
        if fault := call.description.anchor.reserve():
            line.give(channel, now)
            self._refuse(transaction, request, 503, fault, now)
            return
        setup.begin(call, transaction, request, now)
        core.enter(call)

    def _refuse(
        self, transaction: ServerTransaction, request: Request, status: int, because: str, now: float
    ) -> None:
        """Refuse an INVITE of a server; a repeat is refused alike."""
        logger.debug("%s: %s", status, because)
        received = Received(key_of(request), transaction, "INVITE", None)
        self.core.memory.add(received, now)
        lines = ("Retry-After: 5",) if status == 503 else ()
        answer = received.answer(status, "", lines, b"", self.core.stack.token())
        self.core.memory.answered(received, now)
        self.core.stack.reply(transaction, status, now, lines=answer.lines, tag=answer.tag)


def _caller(request: Request) -> str:
    value = request.get("from") or ""
    return value.partition("sip:")[2].partition("@")[0][:64]
