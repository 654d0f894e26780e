"""Who a phone is: digest, and the answer to whoever is not who he would have to be (RFC 3261 section 22)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sip.actions import Flow
from sip.device.unanswered_challenges import UnansweredChallenges
from sip.digest import DigestServer, Verdict
from sip.layer import Stack
from sip.requests import ResponseSpec
from sip.transaction import ServerTransaction
from sip.wire.message import Request

logger = logging.getLogger(__name__)


class PhoneAuthentication:
    """One for each agent or server."""

    def __init__(self, stack: Stack, digest: DigestServer) -> None:
        self._stack = stack
        self.digest = digest
        self.unanswered = UnansweredChallenges(stack)

    def check(self, request: Request, source: Flow, now: float, proxy: bool = False) -> Verdict:
        """Whose credentials a request has; ``proxy``: those of calls, else those of REGISTER."""
        return self.digest.check(request, now, proxy=proxy, flow=source)

    def proves(
        self,
        user: str,
        meets: Callable[[Flow], bool],
        transaction: ServerTransaction,
        request: Request,
        now: float,
    ) -> bool:
        """Whether a request in a phone's dialog that came from another flow has that phone's password, and the phone
        ``meets`` that flow; else it is answered.
        """
        source = transaction.flow
        wrong = self.digest.throttle.wrong
        verdict = self.check(request, source, now, proxy=True)
        if verdict.accepted and verdict.username == user and meets(source):
            self._stack.know(source.remote[0], now)
            return True
        if verdict.accepted:
            self._stack.respond_stateless(transaction, 403)
        else:
            self.refuse(transaction, verdict, source, user, now, proxy=True)
        self.note(wrong, source, now)
        return False

    def refuse(
        self,
        transaction: ServerTransaction,
        verdict: Verdict,
        source: Flow,
        user: str,
        now: float,
        proxy: bool = False,
    ) -> None:
        """Challenge who was not accepted as ``user``, or do not answer who has guessed too often."""
        self.answer(transaction, self.digest.refusal(verdict, source, user, now, proxy=proxy))

    def answer(self, transaction: ServerTransaction, reply: ResponseSpec | None) -> None:
        """Answer without keeping anything, or do not answer at all."""
        if reply is not None:
            self._stack.respond_stateless(transaction, reply.status, reply.lines)
            return
        transaction.generation += 1
        self._stack.transactions.remove(transaction)

    def refused(self, user: str, verdict: Verdict, request: Request, source: Flow, now: float) -> None:
        """The REGISTER of a phone was not accepted: see to it that an operator hears why, when it goes on so."""
        host = source.remote[0]
        if "authorization" not in request:
            self.unanswered.challenged(user, host, now)
            return
        self.unanswered.came_back(user)
        if not (verdict.stale or verdict.wait or verdict.wrong):
            said = "%s at %s cannot register, its credentials are not taken: %s; look at the phone's settings"
            self._stack.limited_logger.warning(logger, now, said, user, host, verdict.because)

    def note(self, wrong: int, source: Flow, now: float) -> None:
        """Log a wrong password, when there was one since ``digest.throttle.wrong`` was ``wrong``."""
        throttle = self.digest.throttle
        if throttle.wrong != wrong:
            self._stack.bans.offend(source, "wrong password", now)
            user = next(reversed(throttle.by_user))
            said = "a wrong password for %r from %s: if that is a phone of yours, compare it with that of its line"
            self._stack.limited_logger.warning(logger, now, said, user, source.remote[0])
