"""Requests of servers outside dialogs: new calls, messages and subscriptions for the lines of an agent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from gateway_agent.call import Call
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.call_table import CallTable
from gateway_agent.channels import Busy
from gateway_agent.deduplication import key_of
from gateway_agent.line import Line
from gateway_agent.messages import ServerMessages
from gateway_agent.outgoing import Outgoing
from gateway_agent.server_side import ServerRequest
from gateway_agent.subscriptions import Subscriptions
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow
from sip.device.identity import line_parameter
from sip.transaction import ServerTransaction
from sip.wire.grammar import quote
from sip.wire.message import Request

logger = logging.getLogger(__name__)


class ServerRequests:
    """Handles requests of servers outside dialogs."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: CallTable,
        lines: Mapping[str, Line],
        host_towards: Callable[[Settings, Flow], str],
        draining: Callable[[], bool],
        subscriptions: Subscriptions,
    ) -> None:
        """``host_towards`` gives the agent's host as the far end of a flow is to see it, for a line."""
        self._environment = environment
        self._calls = calls
        self._lines = lines
        self._host_towards = host_towards
        self._draining = draining
        self._subscriptions = subscriptions
        self._messages = ServerMessages(environment, lines, host_towards)

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request of a server outside dialogs."""
        if request.method == "SUBSCRIBE":
            self._subscriptions.subscribed(transaction, request, now)
        elif request.method != "INVITE":
            self._messages.deliver(transaction, request, now)
        else:
            self.invited(transaction, request, now)

    def invited(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """The INVITE of a server for one of the lines."""
        line = self._lines.get(line_parameter(request.uri))
        if line is None:
            self._refuse(transaction, request, 404, "no such line here", now)
            return
        if self._draining():
            self._refuse(transaction, request, 503, "the agent drains", now)
            return

        def go_on(now: float) -> None:
            self._waited(waiting, line, now)

        if line.far_side.ready(go_on, now):
            self._call(transaction, line, now)
        else:  # names are being resolved, or the registrar has not answered yet
            waiting = ServerRequest(key_of(request), transaction, "INVITE", None)
            self._environment.deduplication.add(waiting, now)
            self._environment.stack.reply(transaction, 100, now)

    def _waited(self, waiting: ServerRequest, line: Line, now: float) -> None:
        """The line's far side is ready now. Meanwhile another server may have sent the INVITE again, or it may have
        been cancelled."""
        if waiting.transaction.open:
            self._call(waiting.transaction, line, now)
        else:  # it was cancelled
            waiting.answer(487, "", (), b"", self._environment.stack.token())
            self._environment.deduplication.answered(waiting, now)

    def _call(self, transaction: ServerTransaction, line: Line, now: float) -> None:
        """Send the INVITE of a server to the device of its line."""
        request = transaction.request
        assert request is not None
        targets = line.targets(now)
        if isinstance(targets, Busy):
            self._refuse(transaction, request, targets.status, targets.because, now)
            return
        channel = line.take(now)
        if isinstance(channel, Busy):
            self._refuse(transaction, request, channel.status, channel.because, now)
            return
        setup = Outgoing(targets, partial(self._host_towards, line.settings))
        call = Call(self._environment, setup, self._calls.next_id(), line, channel, _caller(request), now)
        if fault := call.description.reserve(request, now):
            line.channels.give(channel)
            call.description.release()
            self._environment.log.info(logger, now, "%s is not called: %s", call.label, fault.because)
            self._refuse(transaction, request, fault.status, fault.because, now, told=True)
            return
        setup.begin(call, transaction, request, now)
        self._calls.enter(call)
        self._environment.watched(line, now)

    def _refuse(
        self,
        transaction: ServerTransaction,
        request: Request,
        status: int,
        because: str,
        now: float,
        told: bool = False,
    ) -> None:
        """Refuse an INVITE of a server; its repeats get the same answer. ``told``: put the reason into the answer."""
        logger.debug("%s: %s", status, because)
        received = ServerRequest(key_of(request), transaction, "INVITE", None)
        stack, deduplication = self._environment.stack, self._environment.deduplication
        deduplication.add(received, now)
        lines: tuple[str, ...] = ("Retry-After: 5",) if status == 503 else ()
        if told:
            lines += (f"Reason: SIP;cause={status};text={quote(because)}",)
        answer = received.answer(status, "", lines, b"", stack.token())
        deduplication.answered(received, now)
        stack.reply(transaction, status, now, lines=answer.lines, tag=answer.tag)


def _caller(request: Request) -> str:
    value = request.get("from") or ""
    return value.partition("sip:")[2].partition("@")[0][:64]
