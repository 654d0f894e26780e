"""Verification of a call's Identity (RFC 8224 section 6.2, RFC 8588 section 7). A core: it is passed the time.

Certificates are fetched in the background and cached; a call whose certificate is missing waits for it for `WAIT`
seconds. The result is passed on as ``verstat`` in P-Asserted-Identity (3GPP TS 24.229 section 7.2A.20).
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
"""Seconds by which ``iat`` and Date may differ from our time (RFC 8224 section 6.2.2)."""
WAIT: Final = 2.0
"""Seconds that a call waits for a certificate."""
KEPT: Final = 86_400.0
"""Seconds for which a certificate is cached; in the second half it is refreshed when it is used."""
AGAIN: Final = 60.0
"""Seconds until a certificate is fetched again that could not be fetched."""
MOST_KEPT: Final = 1000
MOST_WAITING: Final = 500
"""Calls that may wait; further ones go on at once, as not validated."""
MOST_UNDER_WAY: Final = 32
"""Certificates that are fetched at the same time."""


class Verdict(NamedTuple):
    """The result of a verification."""

    verstat: str
    status: int = 0
    """The status that refuses the call where the line requires a valid Identity; 0: it is valid."""
    because: str = ""


class CheckedKey(Protocol):
    """A certificate that was verified."""

    until: float

    def has_signed(self, data: bytes, signature: bytes) -> bool: ...


class Trust(Protocol):
    """The trusted authorities of a line."""

    def checked(self, chain: bytes, at: float) -> CheckedKey: ...


class Fetched:
    """The cache entry of one URL."""

    __slots__ = ("asked_at", "chain", "until", "waiting")

    def __init__(self) -> None:
        self.chain = b""
        """The PEM; empty: it could not be fetched, or has not come yet."""
        self.until = 0.0
        self.asked_at: float | None = None
        """When the fetch under way began; None: there is none."""
        self.waiting: list[Waiting] = []


class Waiting:
    """A call that waits for a certificate."""

    __slots__ = ("done", "generation", "then")

    def __init__(self, then: Callable[[float], None]) -> None:
        self.then = then
        self.done = False
        self.generation = 0

    def go_on(self, now: float) -> None:
        """Go on with the call: the certificate came, failed, or took too long."""
        if not self.done:
            self.done = True
            self.then(now)

    def due(self, cause: str, now: float) -> None:
        self.go_on(now)


class Certificates:
    """The signers' certificates by URL: requested by ``fetch``, whose results are passed to :meth:`fetched`."""

    def __init__(self, fetch: Callable[[str], None], wake: Callable[[float, Waiting], None]) -> None:
        """``wake`` sets a deadline for a waiting call."""
        self._fetch = fetch
        self._wake = wake
        self._known: dict[str, Fetched] = {}
        self._under_way = 0

    def chain(self, url: str, now: float) -> bytes:
        """The cached PEM; empty: there is none."""
        known = self._known.get(url)
        return known.chain if known is not None and now < known.until else b""

    def ready(self, url: str, then: Callable[[float], None], now: float) -> bool:
        """Whether the result for a URL is known; False: ``then`` is called when it is, or after `WAIT`."""
        known = self._known.get(url)
        if known is not None and known.asked_at is None and now < known.until:
            if known.chain and now > known.until - KEPT / 2:
                self._ask(url, known, now)  # refreshed before it expires; the cached one is used meanwhile
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
        """Take the PEM, or the error text."""
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
    """A call to be verified."""

    request: Request
    caller: str
    """The calling number that it states, as its sender wrote it."""
    called: str


class Verifier:
    """Verifies the calls of one line."""

    def __init__(self, trust: Trust, hosts: tuple[str, ...], certificates: Certificates) -> None:
        """``hosts``: the hosts from which certificates are fetched; empty: all."""
        self._trust = trust
        self._hosts = frozenset(host.lower() for host in hosts)
        self._certificates = certificates

    def verify(self, call: Call, wall: float | None, then: Callable[[Verdict, float], None], now: float) -> None:
        """Call ``then`` with the verdict on ``call``, at once or when its certificate has come; ``wall``: epoch time
        minus ``now``; None: unknown."""
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
        """The first Identity whose claims match the call; None and the verdict, where none does."""
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
