"""A trunk that wants to be registered with: a softphone that accepts whatever registers."""

from __future__ import annotations

from examples.softphone_core import Softphone
from sip.transaction import ServerTransaction
from sip.wire.message import Request

EXPIRES_S = 8
"""So short that it is renewed in the middle of a call."""


class Registrar(Softphone):
    """RFC 3261 section 10.3 without a password: what is tried is that a registration survives."""

    def begun(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        if request.method != "REGISTER":
            super().begun(transaction, request, now)
            return
        lines = [f"Contact: {value};expires={EXPIRES_S}" for value in request.all("contact")]
        self.stack.reply(transaction, 200, now, lines=lines, tag=self.stack.token())
