"""SUBSCRIBEs of servers for the agent's list: which are granted, and what a takeover or a reset changes before the
list is sent (docs/line-dialog.md)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from gateway_agent.call import Call
from gateway_agent.dialog_list import SubscriptionFilter
from gateway_agent.line import Line
from gateway_agent.list_subscription import PACKAGES, ListSubscription, Publication
from heartbeat.header import BeatError
from heartbeat.proof import Proof
from sip.actions import Flow
from sip.dialog import dialog_key
from sip.header_policy import ALLOW
from sip.packages.line_dialog import (
    LINE_STATE_TAG,
    OBSERVE,
    PACKAGE,
    PURPOSES,
    RESET,
    TAKEOVER,
    BadRecord,
    ListRequest,
)
from sip.requests import ResponseSpec
from sip.subscription import Granted, judge
from sip.transaction import ServerTransaction
from sip.wire.message import Request

logger = logging.getLogger(__name__)

MOST_SUBSCRIPTIONS: Final = 256
MOST_PENDING: Final = 256


class SubscribeRefused(Exception):
    """A SUBSCRIBE that cannot be granted: the status to answer with, and a sentence that says why."""

    def __init__(self, status: int, because: str) -> None:
        super().__init__(because)
        self.status = status


class Handover:
    """All subscriptions of servers at this agent."""

    def __init__(
        self,
        publication: Publication,
        *,
        counters: Counter[str],
        offer: Callable[[Proof, float], str],
        refuse: Callable[[Request, Flow, str, float], None],
        adopt: Callable[[str, Flow, float], None],
        adopted: Callable[[str, Flow, bool, float], None],
        reset: Callable[[SubscriptionFilter, str, float], None],
    ) -> None:
        """``offer`` verifies a proof of leadership and returns why it is not accepted, ``""`` when it is. ``refuse``
        answers 403 with the leader that the agent knows. ``adopt`` makes a server, on its connection, the one that
        has the agent's calls; ``adopted`` is called once its SUBSCRIBE is answered, with whether it keeps line
        states. ``reset`` drops calls.
        """
        self._publication = publication
        self._stack = publication.stack
        self._voter = publication.voter
        self._counters = counters
        self._offer = offer
        self._refuse = refuse
        self._adopt = adopt
        self._adopted = adopted
        self._reset = reset
        self._resets: list[tuple[SubscriptionFilter, str]] = []
        """Resets that wait for the return: the calls that they would drop are not restored yet."""
        self.subscriptions: set[ListSubscription] = set()
        self._pending: list[tuple[Proof, Callable[[float], None]]] = []
        """Actions that wait until a proof is stored on disk, each with that proof."""

    def knows(self, request: Request) -> bool:
        """Whether a SUBSCRIBE in a dialog belongs to a subscription here."""
        return dialog_key(request.call_id, request.to_tag) in self._stack.legs

    def subscribe(self, transaction: ServerTransaction, request: Request, server: str, now: float) -> None:
        """Handle a SUBSCRIBE of the server ``server``, which is authenticated on this connection."""
        stack = self._stack
        found = judge(request, PACKAGES)
        try:
            if isinstance(found, ResponseSpec):
                raise SubscribeRefused(found.status, found.because)
            wanted = filter_of(found, request, server)
            if len(self.subscriptions) >= MOST_SUBSCRIPTIONS or len(self._pending) >= MOST_PENDING:
                raise SubscribeRefused(503, "too many subscriptions")
        except SubscribeRefused as refusal:
            lines: tuple[str, ...] = found.lines if isinstance(found, ResponseSpec) else ()
            if refusal.status == 489 and not lines:
                lines = (f"Allow-Events: {PACKAGE}",)  # RFC 6665 section 8.2.1: mandatory in a 489
            self._counters["refused subscriptions"] += 1
            logger.warning("a SUBSCRIBE of %s is refused: %s", server, refusal)
            stack.reply(transaction, refusal.status, now, lines=lines, tag=stack.token())
            return
        if wanted.proof is None:
            self._observe(transaction, request, found, wanted, server, now)
            return
        fault = self._offer(wanted.proof, now)
        if fault:
            logger.warning("a SUBSCRIBE of %s is refused: %s", server, fault)
            self._fenced(transaction, request, server, now)
            return

        def obey(now: float) -> None:
            self._obey(transaction, request, found, wanted, server, now)

        self._pending.append((wanted.proof, obey))
        self.obedience_changed(now)

    def _observe(
        self,
        transaction: ServerTransaction,
        request: Request,
        granted: Granted,
        wanted: SubscriptionFilter,
        server: str,
        now: float,
    ) -> None:
        """Grant a subscription that only observes: at once, unless a takeover of the same server waits for the disk.
        Then it is granted after that: with a subscription granted the server would at once send requests in calls,
        which are still refused."""
        proof = next((proof for proof, _ in self._pending if proof.node == server), None)
        if proof is None:
            self._grant(transaction, request, granted, wanted, now)
        else:
            self._pending.append((proof, lambda then: self._grant(transaction, request, granted, wanted, then)))

    def wait(self, server: str, epoch: int, act: Callable[[float], None]) -> bool:
        """Postpone ``act``, for a request that came behind a takeover of the same server and epoch, until that
        takeover is on disk. Returns ``False`` when there is no such takeover, or too much waits."""
        for proof, _ in self._pending:
            if proof.node == server and proof.epoch == epoch and len(self._pending) < MOST_PENDING:
                self._pending.append((proof, act))
                return True
        return False

    def obedience_changed(self, now: float) -> None:
        """The leader that the agent obeys is on disk: do what waited for that epoch."""
        epoch = self._voter.leadership.epoch
        ready = [pending for pending in self._pending if pending[0].epoch <= epoch]
        self._pending = [pending for pending in self._pending if pending[0].epoch > epoch]
        for _, obey in ready:
            obey(now)

    def _obey(
        self,
        transaction: ServerTransaction,
        request: Request,
        granted: Granted,
        wanted: SubscriptionFilter,
        server: str,
        now: float,
    ) -> None:
        proof = wanted.proof
        assert proof is not None
        if not self._voter.obeys(server, proof.epoch):
            self._fenced(transaction, request, server, now)
            return
        if wanted.purpose == TAKEOVER:
            for other in list(self.subscriptions):
                if other.wanted.purpose == TAKEOVER:
                    other.terminate()
        self._adopt(server, transaction.flow, now)
        if wanted.purpose == RESET:
            if self._publication.ready():
                self._reset(wanted, server, now)
            else:
                self._resets.append((wanted, server))
        flow = transaction.flow
        self._grant(transaction, request, granted, wanted, now)
        if wanted.purpose == TAKEOVER:
            self._adopted(server, flow, _keeps(request), now)

    def returned(self, now: float) -> None:
        """The return is complete: do the resets that waited, and send the lists that were asked for."""
        resets, self._resets = self._resets, []
        for wanted, server in resets:
            self._reset(wanted, server, now)
        for subscription in list(self.subscriptions):
            subscription.go_on(now)

    def _grant(
        self,
        transaction: ServerTransaction,
        request: Request,
        granted: Granted,
        wanted: SubscriptionFilter,
        now: float,
    ) -> None:
        stack, flow = self._stack, transaction.flow
        subscription = ListSubscription(
            self._publication, flow, request, granted, wanted, self.subscriptions.discard, _keeps(request), now
        )
        self.subscriptions.add(subscription)
        reply = granted.reply()
        lines = (stack.contact(flow), ALLOW, *reply.lines)
        if wanted.purpose == TAKEOVER and _keeps(request) and not self._publication.ready():
            lines = (*lines, f"Supported: {LINE_STATE_TAG}")
        stack.reply(transaction, reply.status, now, lines=lines, tag=subscription.dialog.local_tag)
        subscription.wake()
        subscription.go_on(now)

    def _fenced(self, transaction: ServerTransaction, request: Request, server: str, now: float) -> None:
        """Answer 403 with the leader that the agent knows, outside the transaction, which is removed."""
        self._stack.transactions.remove(transaction)
        self._refuse(request, transaction.flow, server, now)

    def call_changed(self, call: Call, now: float, at_once: bool) -> None:
        """A call has changed without a message to the servers: tell them, soon or ``at_once``."""
        for subscription in self.subscriptions:
            if call.server is not None:
                subscription.call_changed(call.server.dialog.call_id, now)
                if at_once:
                    subscription.tell_gathered(now)

    def subscriptions_changed(self, now: float) -> None:
        """Subscriptions of devices have changed without a message to the servers: tell them."""
        for subscription in self.subscriptions:
            subscription.subscriptions_changed(now)

    def key_changed(self, calls: Iterable[Call], lines: Iterable[Line], now: float) -> None:
        """The key that signs line states has changed: send all of them anew."""
        for call in list(calls):
            self.call_changed(call, now, at_once=False)
        self.subscriptions_changed(now)
        for line in list(lines):
            self.line_changed(line, now)

    def line_changed(self, line: Line, now: float) -> None:
        """A line has changed: tell all subscribers."""
        for subscription in list(self.subscriptions):
            subscription.line_changed(line, now)

    def flow_lost(self, flow: Flow) -> None:
        """A connection broke: end the subscriptions on it."""
        for subscription in [one for one in self.subscriptions if one.flow == flow]:
            subscription.terminate()


def _keeps(request: Request) -> bool:
    """Whether the server that subscribes keeps line states (docs/wire.md)."""
    return LINE_STATE_TAG in (request.get("supported") or "")


def filter_of(granted: Granted, request: Request, server: str) -> SubscriptionFilter:
    """What the SUBSCRIBE of ``server`` asks for. Raises :class:`SubscribeRefused`."""
    purpose = next((str(value) for name, value in granted.event.params if name.lower() == "purpose"), OBSERVE)
    if purpose not in PURPOSES:
        raise SubscribeRefused(489, f"the purpose {purpose!r} is not known")
    try:
        asked = ListRequest.decode(request.body)
    except BadRecord as error:
        raise SubscribeRefused(400, str(error)) from None
    return SubscriptionFilter(purpose, None if purpose == OBSERVE else _proof(asked, server), asked)


def _proof(asked: ListRequest, server: str) -> Proof:
    if asked.proof is None:
        raise SubscribeRefused(400, "proof is missing")
    try:
        proof = Proof.parse(asked.proof)
    except BeatError as error:
        raise SubscribeRefused(400, str(error)) from None
    if proof.epoch != asked.epoch:
        raise SubscribeRefused(400, "epoch is not that of the proof")
    if proof.node != server:
        raise SubscribeRefused(403, f"the proof is that of {proof.node}")
    return proof
