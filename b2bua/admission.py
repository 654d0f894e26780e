"""New calls: from whom a first INVITE is taken, and what is known of the call from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

from b2bua.call import Call, CallServices
from b2bua.pickup import Joiner
from b2bua.replacement import Replacement
from b2bua.routing import CallRequest
from b2bua.state_token import MOST_CHARACTERS, CallState, call_id_of, origin_of
from sip.actions import Flow
from sip.device.reliability import refused
from sip.device.session_timer import LEAST, asks_too_little
from sip.dialog import bare_uri
from sip.priority import priority_of
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request
from sip.wire.uri import user_of


class OwnTrunks(Protocol):
    """The trunks of the server itself."""

    def line_of(self, flow: Flow) -> str: ...

    def is_busied_out(self, line: str) -> bool: ...

    def believed(self, line: str, request: Request) -> Request: ...


class FormerCalls(Protocol):
    """Calls that a former server may have had."""

    def find(self, key: str, now: float) -> bool: ...

    def is_expected(self, agent: str, call_id: str) -> bool: ...

    def resume(self, call: Call, now: float) -> None: ...

    def adopt(self, call: Call, admit: Callable[[float], None], now: float) -> bool: ...


class Admission:
    """One for the life of a server."""

    def __init__(
        self, services: CallServices, node: str, trunks: OwnTrunks, replay: FormerCalls, chance: Random
    ) -> None:
        self.services = services
        self.node = node
        self.calls_seen = 0
        self._trunks = trunks
        self._replay = replay
        self._chance = chance

    def invited(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """The first INVITE of a call, from that agent or from a trunk of the server's own."""
        services = self.services
        stack = services.stack
        line = (request.get("line") or "") if agent else self._trunks.line_of(transaction.flow)
        known = services.site.lines.get(line.partition("/")[0])
        if known is None or known.agent != agent:
            stack.counters["strangers"] += 1
            stack.respond_stateless(transaction, 403)
            return
        origin = agent or self.node
        call_id = call_id_of(origin, request.call_id)
        former = services.calls.get(call_id)
        if former is not None:
            # RFC 3261 section 8.2.2.2: the same request by two ways; or a callee's side of it was handed over first
            if not agent or not self._replay.adopt(former, partial(former.admit, transaction, request, request), now):
                stack.reply(transaction, 482, now, tag=stack.token())
            return
        timer = known.session_timer
        if not agent and (lines := asks_too_little(request, timer.min_se if timer is not None else LEAST)):
            stack.respond_stateless(transaction, 422, lines)
            return
        wanted = known.reliable
        if not agent and wanted != "supported" and (refusal := refused(wanted, request)) is not None:
            stack.respond_stateless(transaction, refusal.status, refusal.lines)
            return
        if not agent and (
            self._trunks.is_busied_out(known.name) or services.lines.is_full(known, now)
        ):  # nothing is kept: its address may be forged
            stack.counters["no channel"] += 1
            stack.respond_stateless(transaction, 503, ("Retry-After: 5",))
            return
        try:
            believed = request if agent else self._trunks.believed(known.name, request)
            called = user_of(believed.uri)
        except SipError as error:
            status, reason = (400, f"Bad Request - {error}") if agent else (404, "")
            stack.reply(transaction, status, now, reason, tag=stack.token())
            return
        caller = _caller(believed)
        if "replaces" in request.first:
            joiner = Joiner(line, agent, request.call_id, caller)
            Replacement(services, self._replay.find, transaction, joiner, now).begin(now)
            return
        if stack.congestion.share_at(now) and not (agent and self._replay.is_expected(agent, call_id)):
            attempt = CallRequest(known.name, called, caller, priority_of(believed))
            if not services.router.priority(attempt) and stack.congestion.refuses(now):
                stack.counters["congested"] += 1
                later = f"Retry-After: {self._chance.randint(2, 10)}"
                stack.reply(transaction, 503, now, lines=(later,), tag=stack.token())
                return
        records = services.records
        call = services.calls[call_id] = Call(
            services,
            CallState(
                call_id,
                origin=origin_of(origin, request.branch),
                caller=caller[:MOST_CHARACTERS],
                callee=called[:MOST_CHARACTERS],
                caller_line=line[:MOST_CHARACTERS],
                caller_agent=agent,
                caller_dialog=request.call_id if agent else "",
                started=now + records.wall_offset,
                session_id=(request.get("session-id") or "")[:32],
                epochs=(records.epoch,),
            ),
            records.wall_offset,
        )
        self.calls_seen += 1
        call.admit(transaction, request, believed, now)
        call.take_line(line, now)
        if agent and self._replay.is_expected(agent, call_id):
            self._replay.resume(call, now)
        else:
            call.start(now)


def _caller(request: Request) -> str:
    """The number or name of From; ``""`` where its scheme is none of ours, which refuses no call (RFC 4475 3.3.4)."""
    try:
        return user_of(bare_uri(request.from_untagged))
    except SipError:
        return ""
