"""Repeated requests: a server sends a request again that it, or another server, sent before. It gets the same
responses as the first time (docs/wire.md)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway_agent.deduplication import Deduplication, key_of
from gateway_agent.server_side import ServerRequest
from sip.layer import Stack
from sip.transaction import ServerTransaction
from sip.wire.message import Request


class Repeats:
    """Recognises and answers repeated requests, for a whole agent."""

    __slots__ = ("_by_call_id", "_counters", "_deduplication", "_stack")

    def __init__(
        self,
        stack: Stack,
        deduplication: Deduplication[ServerRequest],
        counters: Counter[str],
        by_call_id: dict[str, Any],
    ) -> None:
        """``by_call_id``: the calls by the Call-ID of their server dialog."""
        self._stack = stack
        self._deduplication = deduplication
        self._counters = counters
        self._by_call_id = by_call_id

    def is_repeat(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Returns whether a server sent this request before; then it has been answered here, as far as
        there are responses, and the former transaction, while it is unanswered, goes on in place of this one."""
        received = self._deduplication.get(key_of(request))
        if received is None or received.method != request.method:
            return False
        self._counters["repeats"] += 1
        stack, side = self._stack, received.side
        leg = side.leg if side is not None and not side.ended else None
        invite = request.method == "INVITE"
        if side is not None and leg is not None:
            side.note_token(request)
            if invite and not request.to_tag:
                call = self._by_call_id.pop(leg.dialog.call_id, None)
                leg.dialogs.repeated(request, transaction.flow, leg)
                if call is not None:
                    self._by_call_id[leg.dialog.call_id] = call
            leg.dialog.remote_cseq = max(leg.dialog.remote_cseq, request.cseq)
        if received.final is None:
            stack.transactions.repeated(received.transaction, transaction)
            transaction = received.transaction
            if invite:
                stack.reply(transaction, 100, now)  # a CANCEL must not have to wait for the device
            answers = received.provisionals
        else:
            transaction.context = leg
            answers = [*received.provisionals, received.final]  # the calling device may not have heard that it rang
        own_tag = side.leg.dialog.local_tag if side is not None and side.leg is not None else ""
        for answer in answers:
            own = (stack.contact(transaction.flow),) if invite and answer.status < 300 else ()
            lines = (*own, *answer.lines)
            data = stack.reply(
                transaction, answer.status, now, answer.reason, lines, answer.body, answer.tag or own_tag
            )
            if invite and answer.status // 100 == 2 and leg is not None:
                leg.server_invite.expect_ack(data, request.cseq)
        return True
