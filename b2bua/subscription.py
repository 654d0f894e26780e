"""A server's subscription to an agent's list of dialogs (RFC 6665 section 4.1, docs/line-dialog.md)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from sip.actions import Flow
from sip.dialog import dialog_key
from sip.layer import Stack
from sip.packages.line_dialog import ACCEPT, LINE_STATE_TAG, PACKAGE, REQUEST_TYPE, TAKEOVER, ListRequest
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.grammar import number
from sip.wire.headers import bracketed
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

ASKED: Final = "asked"
ACTIVE: Final = "active"
NOTIFY_WAIT: Final = "notify_wait"
"""A fetch (Expires: 0) that was granted, and waits for its NOTIFYs."""
WAITING: Final = "waiting"
TERMINATED: Final = "terminated"

GRANTED: Final = "granted"
FETCH_GRANTED: Final = "fetch granted"
REFUSED: Final = "refused"
FETCH_REFUSED: Final = "fetch refused"
LAST_NOTIFY: Final = "last NOTIFY"
DUE: Final = "due"
DROPPED: Final = "dropped"

EXPIRES: Final = 3600
"""Expires of a takeover's subscription, in seconds; all others are fetches."""
LEAST: Final = 60
"""Least duration assumed, in seconds, whatever the agent grants."""
SOON: Final = 1.0
"""Seconds until a new subscription after a timeout, or a refusal for a stale epoch."""
LATER: Final = 5.0
"""Seconds until a new subscription after any other refusal."""
RENEWED_AFTER: Final = 0.8
"""Share of the granted time after which a new subscription, with the whole list, replaces it."""


class Parties(NamedTuple):
    """The names of subscriber and notifier, and of their site."""

    server: str
    agent: str
    site: str


class SubscriptionOwner(Protocol):
    """The owner of a subscription."""

    def granted(self, subscription: Subscription, response: Response, now: float) -> None:
        """The agent has accepted the SUBSCRIBE."""

    def shows_higher_epoch(self, response: Response, now: float) -> bool:
        """Process a 403; returns whether it shows that the agent obeys a higher epoch."""

    def was_refused(self, subscription: Subscription, response: Response) -> None:
        """The agent has refused the SUBSCRIBE for another reason."""

    def notified(self, subscription: Subscription, transaction: ServerTransaction, now: float) -> None:
        """A NOTIFY came on the right connection; the owner answers it."""

    def ended(self, subscription: Subscription, now: float) -> None:
        """The subscription has ended."""

    def renew(self, now: float) -> None:
        """A new subscription is due."""


class Subscription:
    """One SUBSCRIBE of ours with its NOTIFYs. It is never refreshed, but replaced by a new subscription."""

    __slots__ = ("_call_id", "_owner", "_parties", "_stack", "_tag", "flow", "generation", "purpose", "state")

    TABLE: ClassVar[dict[tuple[str, str], tuple[str, Callable[[Subscription, float, float], None]]]]

    def __init__(self, stack: Stack, owner: SubscriptionOwner, parties: Parties, purpose: str, flow: Flow) -> None:
        self._stack = stack
        self._owner = owner
        self._parties = parties
        self.purpose = purpose
        self.flow = flow
        self.state = ASKED
        self.generation = 0
        self._call_id = stack.token() + stack.token()
        self._tag = stack.token()
        stack.legs[self._key] = self

    @property
    def _key(self) -> str:
        return dialog_key(self._call_id, self._tag)

    @property
    def _lasts(self) -> bool:
        return self.purpose == TAKEOVER

    def ask(self, asked: ListRequest, site_headers: Sequence[str], now: float) -> None:
        """Send the SUBSCRIBE."""
        stack, flow = self._stack, self.flow
        server, agent, site = self._parties
        branch = stack.branch()
        lines = [
            stack.via(flow, branch),
            "Max-Forwards: 70",
            f"From: <sip:{server}@{site}>;tag={self._tag}",
            f"To: <sip:{agent}@{site}>",
            f"Call-ID: {self._call_id}",
            "CSeq: 1 SUBSCRIBE",
            stack.contact(flow),
            f"Event: {PACKAGE};purpose={self.purpose}",
            f"Accept: {ACCEPT}",
            f"Supported: {LINE_STATE_TAG}",
            f"Expires: {EXPIRES if self._lasts else 0}",
            *site_headers,
            f"Content-Type: {REQUEST_TYPE}",
        ]
        uri = f"sip:{agent}@{bracketed(flow.remote[0])}:{flow.remote[1]}"
        data = request_bytes("SUBSCRIBE", uri, lines, asked.encode())
        stack.request("SUBSCRIBE", data, branch, flow, self, now)

    def drop(self, now: float) -> None:
        """End the subscription locally; further NOTIFYs are answered 481."""
        self._step(DROPPED, 0.0, now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        status = response.status
        if status < 200:
            return
        if status < 300:
            self._owner.granted(self, response, now)
            given = number(response.get("expires") or "") or EXPIRES
            lifetime = min(max(given, LEAST), EXPIRES)
            # RFC 6665 section 4.1.2.4: timer N bounds the wait for a NOTIFY
            after = RENEWED_AFTER * lifetime if self._lasts else self._stack.timers.lifetime
            self._step(GRANTED if self._lasts else FETCH_GRANTED, after, now)
        elif status == 403 and self._owner.shows_higher_epoch(response, now):
            self._step(REFUSED if self._lasts else FETCH_REFUSED, SOON, now)
        else:
            logger.warning("%s refused a %s subscription: %s", self._parties.agent, self.purpose, status)
            self._owner.was_refused(self, response)
            self._step(REFUSED if self._lasts else FETCH_REFUSED, LATER, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self._step(REFUSED if self._lasts else FETCH_REFUSED, SOON, now)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in the dialog: a NOTIFY on the agent's connection, or it is answered 481."""
        if request.method != "NOTIFY" or transaction.flow != self.flow:
            self._stack.reply(transaction, 481, now)
            return
        self._owner.notified(self, transaction, now)
        if (request.get("subscription-state") or "").startswith("terminated"):
            self._step(LAST_NOTIFY, SOON, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        """Ignored: there is no INVITE."""

    def due(self, cause: str, now: float) -> None:
        self._step(DUE, 0.0, now)

    def _step(self, event: str, after: float, now: float) -> None:
        """The only place where the state changes. ``after``: seconds until the event DUE."""
        entry = self.TABLE.get((self.state, event))
        if entry is None:
            return
        following, action = entry
        logger.debug(
            "%s subscription to %s: %s, %s -> %s", self.purpose, self._parties.agent, event, self.state, following
        )
        self.state = following
        action(self, after, now)

    def _wake(self, after: float, now: float) -> None:
        self.generation += 1
        self._stack.deadlines.set(now + after, self, DUE)

    def _back_off(self, after: float, now: float) -> None:
        self._end(after, now)
        self._wake(after, now)

    def _end(self, after: float, now: float) -> None:
        self.generation += 1
        self._stack.legs.pop(self._key, None)
        self._owner.ended(self, now)

    def _ask_anew(self, after: float, now: float) -> None:
        self._end(after, now)
        self._owner.renew(now)


Subscription.TABLE = {
    (ASKED, GRANTED): (ACTIVE, Subscription._wake),
    (ASKED, FETCH_GRANTED): (NOTIFY_WAIT, Subscription._wake),
    (ASKED, REFUSED): (WAITING, Subscription._back_off),
    (ASKED, FETCH_REFUSED): (TERMINATED, Subscription._end),
    (ASKED, LAST_NOTIFY): (TERMINATED, Subscription._end),
    (ASKED, DROPPED): (TERMINATED, Subscription._end),
    (ACTIVE, DUE): (TERMINATED, Subscription._ask_anew),
    (ACTIVE, LAST_NOTIFY): (WAITING, Subscription._back_off),
    (ACTIVE, DROPPED): (TERMINATED, Subscription._end),
    (NOTIFY_WAIT, LAST_NOTIFY): (TERMINATED, Subscription._end),
    (NOTIFY_WAIT, DUE): (TERMINATED, Subscription._end),
    (NOTIFY_WAIT, DROPPED): (TERMINATED, Subscription._end),
    (WAITING, DUE): (TERMINATED, Subscription._ask_anew),
    (WAITING, DROPPED): (TERMINATED, Subscription._end),
}
