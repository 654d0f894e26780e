"""New calls: from whom a first INVITE is taken, and what is known of the call from it."""

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
from sip.device.reliability import refused
from sip.device.session_timer import LEAST, asks_too_little
from sip.dialog import bare_uri
from sip.priority import priority_of
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request
from sip.wire.uri import user_of

NO_ROOM: Final = ("Retry-After: 5",)
"""The header lines of a 503 for want of a channel."""


class Admission:
    """One for the life of a server."""

    def __init__(self, services: CallServices, node: str, replay: FormerCalls, chance: Random) -> None:
        self.services = services
        self.node = node
        self.calls_seen = 0
        self._waiting: set[ServerTransaction] = set()
        """INVITEs of lines that wait for a certificate, and any that name a dialog which may be told still."""
        self._replay = replay
        self._chance = chance

    def invited(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """The first INVITE of a call, from that agent or from a line of the server's own."""
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
        if not agent and self._has_no_room(known.name, now):  # nothing is kept: its address may be forged
            stack.respond_stateless(transaction, 503, NO_ROOM)
            return
        if agent:
            self._admit(transaction, request, request, agent, line, now)
            return

        decided = waits = False

        def verified(believed: Request, status: int, now: float) -> None:
            nonlocal decided
            decided = True
            if waits:
                self._waiting.discard(transaction)
                if not transaction.open:  # cancelled meanwhile, or another server's
                    return
                transaction.context = None
                status = status or self._lost_its_turn(call_id, known.name, now)
            if status:
                lines = NO_ROOM if status == 503 else ()
                stack.reply(transaction, status, now, lines=lines, tag=stack.token())
            else:
                self._admit(transaction, request, believed, "", line, now)

        try:
            services.own_lines.caller_identity.verify(known.name, request, verified, now)
        except SipError:
            if decided:
                raise
            stack.reply(transaction, 404, now, tag=stack.token())
            return
        if not decided:  # for want of a certificate
            waits = True
            self._waiting.add(transaction)
            transaction.context = UNDECIDED
            stack.reply(transaction, 100, now)

    def _lost_its_turn(self, call_id: str, line: str, now: float) -> int:
        """The status that refuses an INVITE which has waited, by what has come meanwhile; 0 for none."""
        if call_id in self.services.calls:  # the same request by two ways
            return 482
        return 503 if self._has_no_room(line, now) else 0

    def _has_no_room(self, line: str, now: float) -> bool:
        """Whether a line of the server's own is to have no further call at the moment, which is counted."""
        known = self.services.site.lines.get(line)
        if known is None or not (
            self.services.own_lines.is_busied_out(line) or self.services.lines.is_full(known, now)
        ):
            return False
        self.services.stack.counters["no channel"] += 1
        return True

    def cancelled(self, invite: ServerTransaction, now: float) -> bool:
        """Whether a CANCEL was for an INVITE of which nothing is decided; it is answered then."""
        if invite.context != UNDECIDED:  # equal, not the same: here it is machine code's own, there Python's
            return False
        self.services.stack.reply(invite, 487, now, tag=self.services.stack.token())
        return True

    def drop(self, now: float) -> None:
        """Another server leads: agents have kept for it what waits, and nothing of it is known to devices."""
        stack = self.services.stack
        for transaction in self._waiting:
            if transaction.on_site_flow:
                transaction.terminate()
            elif transaction.open:
                stack.reply(transaction, 503, now, lines=("Retry-After: 2",), tag=stack.token())
        self._waiting.clear()

    def _admit(
        self, transaction: ServerTransaction, request: Request, believed: Request, agent: str, line: str, now: float
    ) -> None:
        """Take an INVITE of which it is known who calls; ``believed``: the same in the site's form."""
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
        if "replaces" in request.first:
            joiner = Joiner(line, agent, request.call_id, caller)
            Replacement(services, self._replay.find, transaction, joiner, self._waiting, now).begin(now)
            return
        if stack.congestion.share_at(now) and not (agent and self._replay.is_expected(agent, call_id)):
            attempt = CallRequest(line.partition("/")[0], called, caller, priority_of(believed))
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
