"""Digest authentication of phones, and the answers to requests that fail it (RFC 3261 section 22)."""

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
    """Authenticates phones; one for each agent or server."""

    def __init__(self, stack: Stack, digest: DigestServer) -> None:
        self._stack = stack
        self.digest = digest
        self.unanswered = UnansweredChallenges(stack)

    def check(self, request: Request, source: Flow, now: float, proxy: bool = False) -> Verdict:
        """Check the credentials of a request: Proxy-Authorization if ``proxy`` (calls), else Authorization
        (REGISTER)."""
        return self.digest.check(request, now, proxy=proxy, flow=source)

    def proves(
        self,
        user: str,
        meets: Callable[[Flow], bool],
        transaction: ServerTransaction,
        request: Request,
        now: float,
    ) -> bool:
        """Whether a request in a phone's dialog from a new flow has valid credentials of ``user``, and ``meets``
        permits that flow. If not, it is answered.
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
        """Challenge a request that was not accepted as that of ``user``; after too many wrong guesses drop it."""
        self.answer(transaction, self.digest.refusal(verdict, source, user, now, proxy=proxy))

    def answer(self, transaction: ServerTransaction, reply: ResponseSpec | None) -> None:
        """Answer statelessly; None: drop the request."""
        if reply is not None:
            self._stack.respond_stateless(transaction, reply.status, reply.lines)
            return
        transaction.generation += 1
        self._stack.transactions.remove(transaction)

    def refused(self, user: str, verdict: Verdict, request: Request, source: Flow, now: float) -> None:
        """The REGISTER of a phone was not accepted: log the reason for the operator."""
        host = source.remote[0]
        if "authorization" not in request:
            self.unanswered.challenged(user, host, now)
            return
        self.unanswered.came_back(user)
        if not (verdict.stale or verdict.wait or verdict.wrong):
            said = "%s at %s cannot register, its credentials are not taken: %s; look at the phone's settings"
            self._stack.limited_logger.warning(logger, now, said, user, host, verdict.because)

    def note(self, wrong: int, source: Flow, now: float) -> None:
        """Log a wrong password and count it for bans, if ``digest.throttle.wrong`` is no longer ``wrong``."""
        throttle = self.digest.throttle
        if throttle.wrong != wrong:
            self._stack.bans.offend(source, "wrong password", now)
            user = next(reversed(throttle.by_user))
            said = "a wrong password for %r from %s: if that is a phone of yours, compare it with that of its line"
            self._stack.limited_logger.warning(logger, now, said, user, source.remote[0])
