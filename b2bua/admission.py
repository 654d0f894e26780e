"""Admission of new calls: which first INVITEs are accepted, and the state of the call that is made from one."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

from b2bua.call import Call, CallServices
from b2bua.former_calls import FormerCalls
from b2bua.pickup import Joiner
from b2bua.replacement import UNDECIDED, Replacement
from b2bua.routing import CallRequest
from b2bua.state_token import MOST_CHARACTERS, CallState, call_id_of, origin_of
from heartbeat.site.lines import LineSettings
from sip.device.identity import NOTHING, with_fields
from sip.device.reliability import refused
from sip.device.session_id import line_of, made
from sip.device.session_timer import LEAST, asks_too_little
from sip.dialog import bare_uri
from sip.priority import priority_of
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request
from sip.wire.uri import user_of

NO_ROOM: Final = ("Retry-After: 5",)
"""Header lines of a 503 when a line has no free channel."""


class Admission:
    """Admits calls. A server has one instance for its whole life."""

    def __init__(self, services: CallServices, node: str, replay: FormerCalls, chance: Random) -> None:
        self.services = services
        self.node = node
        self.calls_seen = 0
        self._waiting: set[ServerTransaction] = set()
        """INVITEs of own lines that wait for a certificate, and INVITEs whose Replaces names a dialog that agents may
        still report."""
        self._replay = replay
        self._chance = chance

    def invited(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """Handle the first INVITE of a call, from an agent or, where ``agent`` is empty, from an own line."""
        services = self.services
        stack = services.stack
        line = (request.get("line") or "") if agent else services.own_lines.senders.of(transaction, request, now)
        if line is None:
            return
        known = services.site.lines.get(line.partition("/")[0])
        if known is None or known.agent != agent:
            stack.counters["strangers"] += 1
            stack.respond_stateless(transaction, 403)
            return
        origin = agent or self.node
        call_id = call_id_of(origin, request.call_id)
        former = services.calls.get(call_id)
        if former is not None:
            # a merged request (RFC 3261 section 8.2.2.2); or, after a takeover, the callee's leg was reported first
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
        if not agent and self._has_no_room(known.name, now):  # stateless, as the source address may be forged
            stack.respond_stateless(transaction, 503, NO_ROOM)
            return
        if agent:
            self._admit(transaction, request, request, agent, line, True, now)
            return
        # rules for headers may add a priority, so it is known only when they have been applied
        priority_known_later = known.trust_priority and bool(
            services.own_lines.caller_identity.policies[known.name].from_device_headers
        )
        try:
            if not priority_known_later and self._is_refused_for_overload(transaction, request, known, now):
                return
        except SipError:
            stack.reply(transaction, 404, now, tag=stack.token())
            return

        decided = waits = False

        def verified(believed: Request, status: int, now: float) -> None:
            nonlocal decided
            decided = True
            if waits:
                self._waiting.discard(transaction)
                if not transaction.open:  # cancelled meanwhile, or another server leads
                    return
                transaction.context = None
                status = status or self._refusal_after_wait(call_id, known.name, now)
            if status:
                lines = NO_ROOM if status == 503 else ()
                stack.reply(transaction, status, now, lines=lines, tag=stack.token())
            else:
                self._admit(transaction, request, believed, "", line, priority_known_later, now)

        try:
            services.own_lines.caller_identity.verify(known.name, request, verified, now)
        except SipError:
            if decided:
                raise
            stack.reply(transaction, 404, now, tag=stack.token())
            return
        if not decided:  # the certificate has to be fetched
            waits = True
            self._waiting.add(transaction)
            transaction.context = UNDECIDED
            stack.reply(transaction, 100, now)

    def _is_refused_for_overload(
        self, transaction: ServerTransaction, request: Request, line: LineSettings, now: float
    ) -> bool:
        """In overload, refuse an ordinary call of an own line before more work is done for it. Returns whether it was
        refused. Raises :class:`SipError` when it is for no number."""
        services, congestion = self.services, self.services.stack.congestion
        if not congestion.share_at(now) or "replaces" in request.first:
            return False
        if services.router.has_priorities or line.priority or line.trust_priority:
            called = user_of(f"sip:{services.own_lines.caller_identity.called(line.name, request)}@localhost")
            if services.router.priority(CallRequest(line.name, called, "", priority_of(request))):
                return False
        if not congestion.refuses(now):
            return False
        self._refuse_for_overload(transaction, now)
        return True

    def _refuse_for_overload(self, transaction: ServerTransaction, now: float) -> None:
        """Answer 503. On connections of agents a repeated INVITE must find the transaction (docs/wire.md)."""
        stack = self.services.stack
        stack.counters["congested"] += 1
        lines = (f"Retry-After: {self._chance.randint(2, 10)}",)
        if transaction.on_site_flow:
            stack.reply(transaction, 503, now, lines=lines, tag=stack.token())
        else:
            stack.refuse_for_overload(transaction, 503, lines, now)

    def _refusal_after_wait(self, call_id: str, line: str, now: float) -> int:
        """The status that refuses an INVITE which has waited, if things have changed meanwhile; 0 for none."""
        if call_id in self.services.calls:  # a merged request
            return 482
        return 503 if self._has_no_room(line, now) else 0

    def _has_no_room(self, line: str, now: float) -> bool:
        """Whether an own line can take no further call now, being full or busied out; counts the refusal."""
        known = self.services.site.lines.get(line)
        if known is None or not (
            self.services.own_lines.is_busied_out(line) or self.services.lines.is_full(known, now)
        ):
            return False
        self.services.stack.counters["no channel"] += 1
        return True

    def cancelled(self, invite: ServerTransaction, now: float) -> bool:
        """Whether a cancelled INVITE was still undecided; if so, it is answered 487."""
        if invite.context != UNDECIDED:  # by value: a compiled module may have its own copy of the string
            return False
        self.services.stack.reply(invite, 487, now, tag=self.services.stack.token())
        return True

    def drop(self, now: float) -> None:
        """Another server leads: drop waiting INVITEs of agents, which keep them for it; answer devices 503."""
        stack = self.services.stack
        for transaction in self._waiting:
            if transaction.on_site_flow:
                transaction.terminate()
            elif transaction.open:
                stack.reply(transaction, 503, now, lines=("Retry-After: 2",), tag=stack.token())
        self._waiting.clear()

    def _admit(
        self,
        transaction: ServerTransaction,
        request: Request,
        believed: Request,
        agent: str,
        line: str,
        may_refuse: bool,
        now: float,
    ) -> None:
        """Accept an INVITE whose caller is verified. ``believed``: the INVITE in the site's form. ``may_refuse``: it
        may still be refused because of overload."""
        services, stack = self.services, self.services.stack
        origin = agent or self.node
        call_id = call_id_of(origin, request.call_id)
        try:
            called = user_of(believed.uri)
        except SipError as error:
            status, reason = (400, f"Bad Request - {error}") if agent else (404, "")
            stack.reply(transaction, status, now, reason, tag=stack.token())
            return
        caller = _caller(believed)
        known = services.site.lines.get(line.partition("/")[0])
        if not agent and known is not None and known.session_id:
            believed = with_fields(believed, NOTHING, line_of(made(request.call_id), request))
        if "replaces" in request.first:
            joiner = Joiner(line, agent, request.call_id, caller)
            Replacement(services, self._replay.find, transaction, joiner, self._waiting, now).begin(now)
            return
        if may_refuse and stack.congestion.share_at(now) and not (agent and self._replay.is_expected(agent, call_id)):
            attempt = CallRequest(line.partition("/")[0], called, caller, priority_of(believed))
            if not services.router.priority(attempt) and stack.congestion.refuses(now):
                self._refuse_for_overload(transaction, now)
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
                session_id=(believed.get("session-id") or "")[:32],
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
    """The user part of From; ``""`` for an unknown URI scheme, which is no reason to refuse (RFC 4475 3.3.4)."""
    try:
        return user_of(bare_uri(request.from_untagged))
    except SipError:
        return ""
