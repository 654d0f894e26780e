"""The client side of registration (RFC 3261 section 10.2).

A pure state machine: it takes the final responses and the time, and returns the REGISTERs to send and the changes of
its state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from sip.digest import Authorization, DigestClient, Refusal
from sip.requests import OutgoingRequest
from sip.wire import headers
from sip.wire.errors import Malformed
from sip.wire.grammar import number
from sip.wire.headers import NameAddr
from sip.wire.message import Response, elements
from sip.wire.uri import Uri

IDLE: Final = "idle"
TRYING: Final = "trying"
REGISTERED: Final = "registered"
REFRESHING: Final = "refreshing"
WAITING: Final = "waiting"
CLOSING: Final = "closing"
LEAVING: Final = "leaving"
RETURNING: Final = "returning"

START: Final = "start"
LEAVE: Final = "leave"
REST: Final = "rest"
DUE: Final = "due"
ACCEPTED: Final = "accepted"
AGAIN: Final = "asked again"
FAILED: Final = "failed"

ANSWER_LIMIT: Final = 40.0
"""Seconds after which a REGISTER without any answer has failed: more than 64*T1, so only a safeguard."""
MAX_TRIES: Final = 4
"""REGISTERs in one attempt: the first, one for a challenge, one for a stale nonce, one for a 423."""
SOON: Final[tuple[float, ...]] = (0.5, 2.0)
"""Range in seconds of the random wait before a registration whose connection broke is renewed: a registrar that died
had many clients."""
BROKEN_WAIT: Final = 30.0
"""Seconds between two such renewals, for registrars that close each connection."""
REFUSED_WAIT: Final = 300.0
"""Least wait in seconds after the registrar refused the user: frequent tries get accounts locked."""
NEXT_WAIT: Final = 0.5
"""Seconds before the next of several registrars is tried."""
MAX_EXPIRES: Final = 86400 * 7


@dataclass(frozen=True, slots=True)
class Account:
    """The user to be registered, and the registrars."""

    registrars: tuple[str, ...]
    """Request-URIs without a user part, such as ``sip:carrier.example``; the next is tried when one fails."""
    aor: str
    """The address of record, e.g. ``sip:4930123@carrier.example``."""
    contact: str
    """A Contact value, e.g. ``<sip:trunk1@192.0.2.1:5060>``."""
    expires: int = 3600
    """Seconds to ask for."""
    base_wait: float = 30.0
    """Seconds to wait after all registrars failed once; doubles with each round (RFC 5626 section 4.5)."""
    max_wait: float = 1800.0


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """The registration succeeded, ended or failed."""

    registered: bool
    because: str
    at: float


def retry_wait(failures: int, base: float, most: float, random: Random) -> float:
    """Seconds to wait after so many failures in a row (RFC 5626 section 4.5): 50 to 100 % of the doubled base."""
    return min(most, base * 2.0 ** min(failures, 30)) * random.uniform(0.5, 1.0)


def refresh_after(granted: int, random: Random) -> float:
    """Seconds after which a registration granted for so long is refreshed.

    Early enough that a lost refresh can time out (32 s) and be tried again, and spread, so that many do not come at
    once.
    """
    latest = granted / 2 if granted <= 80 else granted - max(40.0, granted * 0.1)
    return latest * random.uniform(0.9, 1.0)


class Registration:
    """One account. ``call_id`` and ``tag`` are fresh for each process (RFC 3261 section 10.2)."""

    __slots__ = (
        "_accepted_at", "_contact", "_cseq", "_digest", "_due_at", "_events", "_expires", "_failures",
        "_index", "_lines", "_out", "_random", "_retry_after", "_sent", "account", "because",
        "expires_at", "service_route", "state", "tries",
    )  # fmt: skip

    TRANSITIONS: ClassVar[dict[tuple[str, str], tuple[str, Callable[[Registration, float], None]]]]

    def __init__(self, account: Account, digest: DigestClient | None, random: Random, call_id: str, tag: str) -> None:
        self.account = account
        self.state = IDLE
        self.because = "not started"
        """The reason for the state, in a sentence."""
        self.expires_at: float | None = None
        """When the binding at the registrar expires; ``None`` while there is none."""
        self.service_route: tuple[str, ...] = ()
        """The Service-Route of the registrar (RFC 3608): Routes of our requests."""
        self._contact = NameAddr.parse(account.contact)
        self._digest = digest
        self._random = random
        self._lines = (f"From: <{account.aor}>;tag={tag}", f"To: <{account.aor}>", f"Call-ID: {call_id}")
        self._cseq = 0
        self._expires = account.expires
        self._index = 0
        self._failures = 0
        self._retry_after = 0.0
        self.tries = 0
        """REGISTERs sent in this attempt; those after the first answer a challenge or a 423, and go to the same
        target."""
        self._sent: list[Authorization] = []
        self._accepted_at = 0.0
        self._due_at: float | None = None
        self._out: list[OutgoingRequest] = []
        self._events: deque[RegistrationChanged] = deque()

    @property
    def registered(self) -> bool:
        """Whether there is a binding at the registrar, as far as is known."""
        return self.expires_at is not None

    def use_contact(self, value: str) -> None:
        """Register this Contact value from now on; it depends on the target of the REGISTER."""
        self._contact = NameAddr.parse(value)

    @property
    def registrar(self) -> str:
        """The Request-URI of the registrar that is in use or tried next."""
        return self.account.registrars[self._index]

    def start(self, now: float) -> None:
        """Register, and stay registered. Does nothing when started already."""
        self._step(START, now)

    def stop(self, now: float) -> None:
        """Remove the binding, then stop; :meth:`start` registers again."""
        self._step(LEAVE if self.registered else REST, now)

    def renew(self, now: float) -> None:
        """The connection of the registration broke: register again, since calls may come only by it (RFC 5626 section
        4.5).

        A registrar that closes each connection gets one REGISTER every ``BROKEN_WAIT`` seconds.
        """
        if self.state == REGISTERED and self._due_at is not None:
            soon = max(now + self._random.uniform(*SOON), self._accepted_at + BROKEN_WAIT)
            self._due_at = min(self._due_at, soon)

    def answered(self, response: Response, now: float) -> None:
        """Take a response to the last REGISTER; provisional ones and those to earlier ones are ignored."""
        if response.status >= 200 and response.cseq == self._cseq and self.state not in (IDLE, WAITING, REGISTERED):
            self._step(self._judge(response, now), now)

    def failed(self, because: str, now: float) -> None:
        """The last REGISTER failed without an answer: timeout, name not resolved, connection refused."""
        self.because = f"{self.registrar}: {because}"
        self._step(FAILED, now)

    def handle_timer(self, now: float) -> None:
        if self.expires_at is not None and now >= self.expires_at:
            self._lose("the registration ran out", now)
        if self._due_at is not None and now >= self._due_at:
            self._due_at = None
            if self.state in (REGISTERED, WAITING):
                self._step(DUE, now)
            else:
                self.failed("no answer", now)

    def get_timer(self) -> float | None:
        return min((at for at in (self._due_at, self.expires_at) if at is not None), default=None)

    def to_do(self) -> list[OutgoingRequest]:
        """The requests to send now; handed over."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> RegistrationChanged | None:
        return self._events.popleft() if self._events else None

    def _step(self, cause: str, now: float) -> None:
        found = self.TRANSITIONS.get((self.state, cause))
        if found is not None:
            self.state, action = found
            action(self, now)

    def _judge(self, response: Response, now: float) -> str:
        """Take a final response; returns ``ACCEPTED``, ``AGAIN`` (send another REGISTER at once) or ``FAILED``."""
        self._retry_after = 0.0
        if response.status < 300:
            return self._judge_success(response, now)
        self.because = f"{self.registrar} answered {response.status} {response.reason}".rstrip()
        if self.tries < MAX_TRIES and self._can_ask_again(response):
            return AGAIN
        wait = headers.retry_after(response.get("retry-after")) or 0
        self._retry_after = min(float(wait), self.account.max_wait)
        if response.status in (401, 403, 404, 407):
            self._retry_after = max(self._retry_after, REFUSED_WAIT)
            self.expires_at = None
        return FAILED

    def _judge_success(self, response: Response, now: float) -> str:
        if self.state in (LEAVING, RETURNING):
            self.because = f"the binding at {self.registrar} is taken back"
            return ACCEPTED
        granted = min(_granted(response, self._contact, self._expires), MAX_EXPIRES)
        if not granted:
            self.because = f"{self.registrar} answered {response.status} without a binding of ours"
            return FAILED
        self.service_route = tuple(elements(response, "service-route"))
        self._accepted_at = now
        self._due_at = now + refresh_after(granted, self._random)
        self.because = f"registered with {self.registrar} for {granted} s"
        if not self.registered:
            self._events.append(RegistrationChanged(True, self.because, now))
        self.expires_at = now + granted
        return ACCEPTED

    def _can_ask_again(self, response: Response) -> bool:
        if response.status in (401, 407) and self._digest is not None:
            answer = self._digest.answer(response, "REGISTER", self.registrar, self._sent)
            if isinstance(answer, Refusal):
                self.because = f"{self.registrar}: {answer.because}"
                return False
            self._sent = list(answer)
            return True
        if response.status == 403 and self._sent and not any(one.first for one in self._sent):
            # some registrars answer so when they do not accept a nonce twice
            self._sent = []
            return True
        least = number(response.get("min-expires") or "") if response.status == 423 else None
        if least is not None and self._expires < least <= MAX_EXPIRES:  # RFC 3261 section 10.2.8
            self._expires = least
            self._sent = self._authorized()
            return True
        return False

    def _authorized(self) -> list[Authorization]:
        return self._digest.authorize("REGISTER", self.registrar) if self._digest is not None else []

    def _attempt(self, now: float) -> None:
        if not self._cseq:
            self.because = f"{self.registrar} has not answered yet"
        self.tries = 0
        self._sent = self._authorized()
        self._send(now)

    def _send(self, now: float) -> None:
        self.tries += 1
        self._cseq += 1
        self._due_at = now + ANSWER_LIMIT
        lines = (
            *self._lines,
            f"CSeq: {self._cseq} REGISTER",
            f"Contact: {self.account.contact}",
            f"Expires: {0 if self.state in (LEAVING, RETURNING) else self._expires}",
            *(authorization.line for authorization in self._sent),
        )
        self._out.append(OutgoingRequest("REGISTER", self.registrar, lines))

    def _keep(self, now: float) -> None:
        self._failures = 0

    def _back_off(self, now: float) -> None:
        """Go on to the next registrar; when all have failed, wait."""
        self._failures += 1
        count = len(self.account.registrars)
        self._index = (self._index + 1) % count
        if count > 1 and self._digest is not None:
            self._digest.reset()
        rounds, rest = divmod(self._failures, count)
        wait = NEXT_WAIT
        if not rest:
            wait = retry_wait(rounds - 1, self.account.base_wait, self.account.max_wait, self._random)
            wait = max(wait, self._retry_after)
        self._due_at = now + wait
        self.because = f"{self.because}; {self.registrar} is tried in {wait:.1f} s"
        if not self.registered:
            self._events.append(RegistrationChanged(False, self.because, now))

    def _rest(self, now: float) -> None:
        self._due_at = None
        self._failures = 0
        self.expires_at = None
        self._events.append(RegistrationChanged(False, self.because, now))

    def _go_on(self, now: float) -> None:
        """Go on once the pending answer has come (RFC 3261 section 10.2: no two REGISTERs at once)."""

    def _lose(self, because: str, now: float) -> None:
        self.expires_at = None
        self.because = because
        self._events.append(RegistrationChanged(False, because, now))


Registration.TRANSITIONS = {
    (IDLE, START): (TRYING, Registration._attempt),
    (TRYING, ACCEPTED): (REGISTERED, Registration._keep),
    (TRYING, AGAIN): (TRYING, Registration._send),
    (TRYING, FAILED): (WAITING, Registration._back_off),
    (TRYING, LEAVE): (CLOSING, Registration._go_on),
    (TRYING, REST): (CLOSING, Registration._go_on),
    (REGISTERED, DUE): (REFRESHING, Registration._attempt),
    (REGISTERED, LEAVE): (LEAVING, Registration._attempt),
    (REFRESHING, ACCEPTED): (REGISTERED, Registration._keep),
    (REFRESHING, AGAIN): (REFRESHING, Registration._send),
    (REFRESHING, FAILED): (WAITING, Registration._back_off),
    (REFRESHING, LEAVE): (CLOSING, Registration._go_on),
    (REFRESHING, REST): (CLOSING, Registration._go_on),
    (WAITING, DUE): (TRYING, Registration._attempt),
    (WAITING, LEAVE): (LEAVING, Registration._attempt),
    (WAITING, REST): (IDLE, Registration._rest),
    (CLOSING, START): (TRYING, Registration._go_on),
    (CLOSING, ACCEPTED): (LEAVING, Registration._attempt),
    (CLOSING, AGAIN): (LEAVING, Registration._send),
    (CLOSING, FAILED): (IDLE, Registration._rest),
    (LEAVING, ACCEPTED): (IDLE, Registration._rest),
    (LEAVING, AGAIN): (LEAVING, Registration._send),
    (LEAVING, FAILED): (IDLE, Registration._rest),
    (LEAVING, START): (RETURNING, Registration._go_on),
    (RETURNING, ACCEPTED): (TRYING, Registration._attempt),
    (RETURNING, AGAIN): (RETURNING, Registration._send),
    (RETURNING, FAILED): (TRYING, Registration._attempt),
    (RETURNING, LEAVE): (LEAVING, Registration._go_on),
    (RETURNING, REST): (LEAVING, Registration._go_on),
}


def _granted(response: Response, ours: NameAddr, asked: int) -> int:
    """The seconds that a 200 gives to our own Contact (RFC 3261 section 10.2.4), for which we asked for so many; 0
    when it is not there."""
    general = number(response.get("expires") or "")
    otherwise = asked if general is None else general
    own = Uri.parse(ours.uri)
    found = elements(response, "contact")
    perhaps: list[int] = []
    for value in found:
        try:
            contact = NameAddr.parse(value)
            uri = Uri.parse(contact.uri)
        except Malformed:
            continue
        seconds = contact.number("expires")
        granted = otherwise if seconds is None else seconds
        if contact.uri == ours.uri or uri.matches(own):
            return granted
        if uri.user == own.user or len(found) == 1:
            perhaps.append(granted)
    # the registrar lists no Contact, or ours was rewritten on the way: of several take the shortest
    return min(filter(None, perhaps), default=general or (0 if found else asked))
