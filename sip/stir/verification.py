"""Whether a call is from who it says, by its Identity (RFC 8224 section 6.2, RFC 8588 section 7). Told the time.

A certificate is fetched once, off the path of messages, and kept; a call whose certificate is not here waits for it,
for a short while. What is found goes on as ``verstat`` in P-Asserted-Identity (3GPP TS 24.229 section 7.2A.20).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from sip.stir.passport import IdentityHeader, canonical, date_of, identities, read
from sip.wire.errors import Malformed
from sip.wire.message import Request

PASSED: Final = "TN-Validation-Passed"
FAILED: Final = "TN-Validation-Failed"
NONE: Final = "No-TN-Validation"
FRESH: Final = 60.0
"""Seconds that an Identity, and the Date beside it, may be old, or ahead (RFC 8224 section 6.2.2)."""
WAIT: Final = 2.0
"""Seconds that a call waits for a certificate."""
KEPT: Final = 86_400.0
"""Seconds for which a certificate is kept; the first half of that, it is not asked for anew."""
AGAIN: Final = 60.0
"""Seconds until one that could not be had is asked for again."""
MOST_KEPT: Final = 1000
MOST_WAITING: Final = 500
"""Calls that wait; what comes above that goes on at once, as not validated."""
MOST_UNDER_WAY: Final = 32
"""Certificates that are fetched at once."""


class Verdict(NamedTuple):
    """What was found."""

    verstat: str
    status: int = 0
    """With which a call is refused where the line requires an identity; 0: it is in order."""
    because: str = ""


class CheckedKey(Protocol):
    """A certificate that holds."""

    until: float

    def has_signed(self, data: bytes, signature: bytes) -> bool: ...


class Trust(Protocol):
    """The authorities of a line."""

    def checked(self, chain: bytes, at: float) -> CheckedKey: ...


class Fetched:
    """What is known of one URL."""

    __slots__ = ("asked_at", "chain", "until", "waiting")

    def __init__(self) -> None:
        self.chain = b""
        """The PEM; empty where it could not be had, or is not here yet."""
        self.until = 0.0
        self.asked_at: float | None = None
        """Since when it is fetched; None: it is not."""
        self.waiting: list[Waiting] = []


class Waiting:
    """A call that waits for a certificate."""

    __slots__ = ("done", "generation", "then")

    def __init__(self, then: Callable[[float], None]) -> None:
        self.then = then
        self.done = False
        self.generation = 0

    def go_on(self, now: float) -> None:
        """It is here, cannot be had, or takes too long."""
        if not self.done:
            self.done = True
            self.then(now)

    def due(self, cause: str, now: float) -> None:
        self.go_on(now)


class Certificates:
    """Those of who signs, by their URLs: asked for through ``fetch``, answered by :meth:`fetched`."""

    def __init__(self, fetch: Callable[[str], None], wake: Callable[[float, Waiting], None]) -> None:
        """``wake`` sets an alarm."""
        self._fetch = fetch
        self._wake = wake
        self._known: dict[str, Fetched] = {}
        self._under_way = 0

    def chain(self, url: str, now: float) -> bytes:
        """What is here."""
        known = self._known.get(url)
        return known.chain if known is not None and now < known.until else b""

    def ready(self, url: str, then: Callable[[float], None], now: float) -> bool:
        """Whether it is known what there is; False: ``then`` is called when it is, or after `WAIT`."""
        known = self._known.get(url)
        if known is not None and known.asked_at is None and now < known.until:
            if known.chain and now > known.until - KEPT / 2:
                self._ask(url, known, now)  # ahead of its end; what is here does meanwhile
            return True
        if sum(len(one.waiting) for one in self._known.values()) >= MOST_WAITING:
            return True
        if known is not None and known.chain and now < known.until:
            return True  # it is being fetched anew
        if known is None:
            self._make_room(now)
            known = self._known[url] = Fetched()
        self._ask(url, known, now)
        if known.asked_at is None:
            return True  # too many are under way
        waiting = Waiting(then)
        known.waiting.append(waiting)
        self._wake(now + WAIT, waiting)
        return False

    def fetched(self, url: str, result: bytes | str, now: float) -> None:
        """The PEM is here, or a sentence says why not."""
        known = self._known.get(url)
        if known is None or known.asked_at is None:
            return
        self._under_way -= 1
        known.asked_at = None
        if isinstance(result, bytes):
            known.chain, known.until = result, now + KEPT
        elif now >= known.until or not known.chain:
            known.chain, known.until = b"", now + AGAIN
        waiting, known.waiting = known.waiting, []
        for one in waiting:
            one.go_on(now)

    def _ask(self, url: str, known: Fetched, now: float) -> None:
        if known.asked_at is None and self._under_way < MOST_UNDER_WAY:
            known.asked_at = now
            self._under_way += 1
            self._fetch(url)

    def _make_room(self, now: float) -> None:
        if len(self._known) >= MOST_KEPT:
            idle = [url for url, one in self._known.items() if one.asked_at is None]
            for url in sorted(idle, key=lambda url: self._known[url].until)[: MOST_KEPT // 10]:
                del self._known[url]


class Call(NamedTuple):
    """A call that is to be judged."""

    request: Request
    caller: str
    """The number that it says it is from, as its sender wrote it."""
    called: str


class Verifier:
    """Judges the calls of one line."""

    def __init__(self, trust: Trust, hosts: tuple[str, ...], certificates: Certificates) -> None:
        """``hosts``: from which certificates are fetched; none: from all."""
        self._trust = trust
        self._hosts = frozenset(host.lower() for host in hosts)
        self._certificates = certificates

    def verify(self, call: Call, wall: float | None, then: Callable[[Verdict, float], None], now: float) -> None:
        """Say what ``call`` is, at once or when its certificate is here; ``wall`` makes a wall clock of ``now``."""
        if wall is None:
            then(Verdict(NONE, 0, "the time is not known yet"), now)
            return
        verdict, found = self._first(call, now + wall)
        if found is None:
            then(verdict, now)
            return
        url = found.passport.url

        def judge(now: float) -> None:
            then(self._judge(found, now, wall), now)

        if self._certificates.ready(url, judge, now):
            judge(now)

    def _first(self, call: Call, at: float) -> tuple[Verdict, IdentityHeader | None]:
        """The first Identity whose claims fit the call; or why there is none."""
        values = identities(call.request)
        if not values:
            return Verdict(NONE, 428, "without Identity"), None
        verdict = Verdict(FAILED, 438, "an Identity that cannot be read")
        for value in values:
            try:
                found = read(value)
                date = date_of(call.request)
            except Malformed as error:
                verdict = Verdict(FAILED, 438, str(error))
                continue
            verdict = self._claims(found, date, call, at)
            if not verdict.status:
                return verdict, found
        return verdict, None

    def _claims(self, found: IdentityHeader, date: float | None, call: Call, at: float) -> Verdict:
        passport = found.passport
        if abs(at - passport.issued_at) > FRESH or (date is not None and abs(at - date) > FRESH):
            return Verdict(FAILED, 403, "an Identity that is stale")  # RFC 8224 section 6.2.2: Stale Date
        if passport.caller != canonical(call.caller) or not passport.caller:
            return Verdict(FAILED, 438, "an Identity of another caller")
        if canonical(call.called) not in passport.called:
            return Verdict(FAILED, 438, "an Identity for another number called")
        if not self._may_fetch(passport.url):
            return Verdict(FAILED, 436, "a certificate where none is fetched from")
        return Verdict(PASSED)

    def _may_fetch(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        plain = parts.scheme == "https" and host and not parts.username and port in (None, 443, 8443)
        return bool(plain) and (not self._hosts or host in self._hosts)

    def _judge(self, found: IdentityHeader, now: float, wall: float) -> Verdict:
        chain = self._certificates.chain(found.passport.url, now)
        if not chain:
            return Verdict(NONE, 436, "its certificate cannot be had")
        try:
            key = self._trust.checked(chain, now + wall)
        except ValueError as error:
            return Verdict(FAILED, 437, str(error))
        if not key.has_signed(found.signed, found.signature):
            return Verdict(FAILED, 438, "a signature that is not that of its certificate")
        return Verdict(PASSED)
