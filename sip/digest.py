"""Digest authentication, both sides (RFC 3261 section 22, RFC 7616, RFC 8760; RFC 2617 peers without ``qop``).

Strings from the wire are ISO 8859-1, a character a byte; our own user names and passwords are text, hashed as UTF-8.
Nothing here writes a log, and no ``repr`` shows a password or a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from sip.actions import Flow
from sip.bearer import BearerTokens, token_of
from sip.overload.auth_throttle import AuthThrottle
from sip.requests import ResponseSpec
from sip.wire.errors import Malformed
from sip.wire.grammar import quote
from sip.wire.headers import AuthParams
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

ALGORITHMS: Final = {"sha-512-256": "sha512_256", "sha-256": "sha256", "md5": "md5"}
"""The algorithms of RFC 8760 by their lower-case names, the strongest first, and what hashlib calls them."""

_SPELLED: Final = {"sha-512-256": "SHA-512-256", "sha-256": "SHA-256", "md5": "MD5"}
_STRENGTH: Final = {name: rank for rank, name in enumerate(ALGORITHMS)}
_MAC_LENGTH: Final = 32
_STAMP_LENGTH: Final = 14
_MAX_REALMS: Final = 8


class Authorization(NamedTuple):
    """Credentials for the next try."""

    name: str
    """``authorization`` or ``proxy-authorization``."""
    line: str
    realm: str
    first: bool
    """Whether it answers a new challenge instead of reusing the nonce of an earlier one."""
    renewed: bool = False
    """Whether the challenge said ``stale=true``: only the nonce before was too old."""


class Refusal(NamedTuple):
    """Why another try is of no use."""

    because: str


@dataclass(slots=True)
class _Session:
    """An answered challenge; its nonce is reused with the next nonce count."""

    name: str
    realm: str
    nonce: str
    algorithm: str
    session: bool
    qop: bool
    opaque: str | None
    count: int = 0


class DigestClient:
    """Answers challenges for one user. Keeps the last challenges, so that later requests need no second try."""

    __slots__ = ("_password", "_random", "_sessions", "username")

    def __init__(self, username: str, password: str, random: Random) -> None:
        """``random`` makes the cnonces; a shell gives a ``SystemRandom``."""
        self.username = username
        self._password = password
        self._random = random
        self._sessions: dict[tuple[str, str], _Session] = {}

    def __repr__(self) -> str:
        return f"<DigestClient {self.username}>"

    def answer(
        self, response: Response, method: str, uri: str, sent: Iterable[Authorization] = ()
    ) -> tuple[Authorization, ...] | Refusal:
        """The credentials of the next try for the challenges of a 401 or 407: one for each realm, by the strongest
        algorithm that we support; credentials that were sent for other realms are sent again.

        ``method`` and ``uri`` are those of the request to come (its Request-URI as it goes on the wire), ``sent``
        what :meth:`answer` or :meth:`authorize` returned for the challenged one. A realm is answered once for each
        request, and once more when it says that the nonce was stale (RFC 3261 section 22.2), so that no peer can
        challenge for ever.
        """
        name = "proxy-authorization" if response.status == 407 else "authorization"
        challenges = _read_challenges(response, name)
        if not challenges:
            return Refusal(f"the {response.status} has no challenge that can be answered")
        before = {(one.name, one.realm): one for one in sent}
        for session, stale in challenges.values():
            tried = before.get((name, session.realm))
            # a reused nonce may have expired although the peer does not say stale=true
            if tried is not None and (tried.renewed if stale else tried.first):
                return Refusal(f"user {self.username} or its password is refused in the realm {session.realm!r}")
        for session, _ in challenges.values():
            former = self._sessions.pop((name, session.realm), None)
            if former is not None and former.nonce == session.nonce:
                session.count = former.count  # a count from 1 would be taken for a replay (RFC 7616 section 3.4.5)
            self._sessions[name, session.realm] = session
            if len(self._sessions) > _MAX_REALMS:
                del self._sessions[next(iter(self._sessions))]
        again = [self._sessions[key] for key in before if key in self._sessions and key[1] not in challenges]
        return (
            *(
                self._signed(session, method, uri)._replace(
                    first=True, renewed=stale and (name, session.realm) in before
                )
                for session, stale in challenges.values()
            ),
            *(self._signed(session, method, uri) for session in again),
        )

    def authorize(self, method: str, uri: str) -> list[Authorization]:
        """Credentials for a request that was not challenged yet, by challenges answered before; may be none."""
        return [self._signed(session, method, uri) for session in self._sessions.values() if session.qop]

    def reset(self) -> None:
        """Forget the challenges, for instance when another registrar is used."""
        self._sessions.clear()

    def _signed(self, session: _Session, method: str, uri: str) -> Authorization:
        session.count += 1
        cnonce = f"{self._random.getrandbits(64):016x}"
        username = self.username.encode().decode("latin-1")
        secret = _secret_hash(session.algorithm, self.username, session.realm, self._password)
        if session.session:
            secret = _hash(session.algorithm, f"{secret}:{session.nonce}:{cnonce}")
        count = f"{session.count:08x}"
        nc = f"{count}:{cnonce}" if session.qop else ""
        digest = _digest(session.algorithm, secret, session.nonce, nc, method, uri)
        algorithm = _SPELLED[session.algorithm] + ("-sess" if session.session else "")
        parts = [
            f"username={quote(username)}",
            f"realm={quote(session.realm)}",
            f"nonce={quote(session.nonce)}",
            f'uri="{uri}"',
            f'response="{digest}"',
            f"algorithm={algorithm}",
        ]
        if session.qop:
            parts += ["qop=auth", f"nc={count}"]
        if session.qop or session.session:
            parts.append(f'cnonce="{cnonce}"')
        if session.opaque is not None:
            parts.append(f"opaque={quote(session.opaque)}")
        spelled = "Proxy-Authorization" if session.name == "proxy-authorization" else "Authorization"
        line = f"{spelled}: Digest {', '.join(parts)}"
        return Authorization(session.name, line, session.realm, False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking a request's credentials."""

    accepted: bool
    username: str
    """Whose they are (claimed, when not accepted); ``""`` without credentials."""
    because: str
    stale: bool = False
    """The nonce has expired or is not ours: the challenge has to say ``stale=true``, so that the client tries again
    without asking its user."""
    wait: float = 0.0
    """Seconds for which the sender is held back for wrong passwords; the credentials were not checked."""
    wrong: bool = False
    """The password was wrong, or there is no such user."""
    until: float = math.inf
    """When the credentials expire."""
    token: bool = False
    """They were a token (RFC 8898)."""


@dataclass(slots=True)
class DigestServer:
    """Challenges requests and checks credentials for one realm. Nonces are not stored: each holds its time and a MAC
    by our secret."""

    realm: str
    secret: bytes = field(repr=False)
    """Random, at least 16 bytes; a new one makes all nonces stale."""
    password_of: Callable[[str], str | None] = field(repr=False)
    """The password of a user; ``None``: there is no such user."""
    algorithms_of: Callable[[str], tuple[str, ...]] = field(default=lambda _: ("MD5", "SHA-256"), repr=False)
    """The algorithms that a user is offered, in this order; no other is accepted. Many phones read only the first
    challenge, and old ones support only MD5: it comes first until a device has used a better one."""
    hosts: frozenset[str] = frozenset()
    """Our names and addresses, in lower case; in the ``uri`` of credentials they count as one host."""
    nonce_life: float = 300.0
    """Seconds for which a nonce is valid."""
    memory: int = 20_000
    """Nonce counts kept at most; beyond that the oldest nonces become stale early."""
    throttle: AuthThrottle = field(default_factory=AuthThrottle, repr=False)
    tokens: BearerTokens | None = field(default=None, repr=False)
    """Checks tokens, which browsers may send instead of digest credentials."""
    _counts: OrderedDict[tuple[str, str, str], int] = field(default_factory=OrderedDict, repr=False)
    _floor: int = field(default=-1, repr=False)
    _last_stamp: int = field(default=0, repr=False)
    _used: OrderedDict[tuple[str, Flow], str] = field(default_factory=OrderedDict, repr=False)
    """The algorithm that a user's device on a flow used last, where it is not the first one offered."""

    def challenge(
        self, now: float, proxy: bool = False, stale: bool = False, flow: Flow | None = None, user: str = ""
    ) -> list[str]:
        """Header lines for a 401, or with ``proxy`` for a 407. With ``flow`` the nonce is valid for its host only."""
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        # unique even for several requests at one instant, since each nonce has nonce counts of its own
        self._last_stamp = max(int(now * 1e6), self._last_stamp + 1)
        nonce = self._nonce(self._last_stamp, flow)
        tail = ", stale=true" if stale else ""
        return [
            f'{name}: Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{tail}'
            for algorithm in self._in_order(user, flow)
        ]

    def refusal(
        self, verdict: Verdict, flow: Flow, user: str, now: float, proxy: bool = False
    ) -> ResponseSpec | None:
        """The response to credentials that were not accepted: a challenge, or 503 while the sender is held back;
        ``None``: no response, when he goes on asking. ``user``, whose credentials are wanted, decides the order of
        the algorithms."""
        if not verdict.wait:
            lines = self.challenge(now, proxy, verdict.stale, flow, user)
            if self.tokens is not None and self.tokens.meets(flow):
                # at the end: clients that support only Digest read only the first challenge
                error = ', error="invalid_token"' if verdict.token else ""
                name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
                lines.append(f"{name}: Bearer realm={quote(self.realm)}{error}")
            return ResponseSpec(407 if proxy else 401, verdict.because, tuple(lines))
        if not self.throttle.hears(flow, now):
            return None
        # Not 403, after which phones give up: a phone with the right password may share this address.
        return ResponseSpec(503, verdict.because, (f"Retry-After: {math.ceil(verdict.wait)}",))

    def check(self, request: Request, now: float, proxy: bool = False, flow: Flow | None = None) -> Verdict:
        """Check the credentials of a request; never raises, whatever it holds. With ``flow``, by which it came,
        nonces of other hosts are stale and wrong passwords are limited."""
        given = self._credentials(request.all("proxy-authorization" if proxy else "authorization"))
        if given is None and self.tokens is not None and flow is not None and self.tokens.meets(flow):
            return self._check_token(self.tokens, request, flow, now)
        if given is None:
            return Verdict(False, "", f"no credentials for the realm {self.realm}")
        written = given.get("username") or ""
        username = self._bare(written)
        user = username.encode("latin-1").decode("utf-8", "replace")
        algorithm = (given.get("algorithm") or "MD5").lower()
        if algorithm not in (offered.lower() for offered in self._offered(user)):
            return Verdict(False, username, "an algorithm that was not offered")
        uri, nonce, response = given.get("uri") or "", given.get("nonce") or "", (given.get("response") or "").lower()
        if not self._same_resource(uri, request.uri):
            return Verdict(False, username, "the uri of the credentials is not that of the request")
        qop, cnonce, nc = given.get("qop"), given.get("cnonce") or "", (given.get("nc") or "").lower()
        if qop is not None and (qop.lower() != "auth" or not cnonce or not _is_count(nc) or len(cnonce) > 128):
            return Verdict(False, username, "qop, nc or cnonce cannot be read")
        stamp = self._stamp(nonce, flow)
        if stamp is None:
            return Verdict(False, username, "a nonce that is not ours", stale=True)
        if flow is not None and (wait := self.throttle.wait(flow, user, now)) > 0.0:
            return Verdict(False, username, f"too many wrong passwords: not looked at for {wait:.0f} s", False, wait)
        password = self.password_of(user)
        # also for an unknown user, so that the response time does not tell which users exist
        secret = _secret_hash(algorithm, written.encode("latin-1"), self.realm, password or "")
        middle = f"{nc}:{cnonce}" if qop is not None else ""
        expected = _digest(algorithm, secret, nonce, middle, request.method, uri, qop or "auth")
        good = hmac.compare_digest(expected.encode("latin-1"), response.encode("latin-1"))
        if not good or password is None:
            if flow is not None:
                self.throttle.failed(flow, user, now)
            return Verdict(False, username, f"no user {username!r} with that password", wrong=True)
        age = now - stamp / 1e6
        if not -1.0 <= age <= self.nonce_life or stamp <= self._floor:
            return Verdict(False, username, "the nonce is too old", stale=True)
        key = (nonce, username, cnonce) if qop is not None else (nonce, username, response)
        if not self._remember(key, int(nc, 16) if qop is not None else 1):
            return Verdict(False, username, "the nonce count was used before", stale=True)
        if flow is not None:
            self.throttle.proved(flow, user)
            self._note_algorithm(user, flow, algorithm)
        return Verdict(True, username, f"user {username} proved its password")

    def _check_token(self, tokens: BearerTokens, request: Request, flow: Flow, now: float) -> Verdict:
        """Check a token. It is read from Authorization for every method, since clients put it there in calls, too."""
        values = request.all("authorization") + request.all("proxy-authorization")
        token = next(filter(None, map(token_of, values)), None)
        if token is None:
            return Verdict(False, "", f"no credentials for the realm {self.realm}")
        found = tokens.check(token, now)
        if found.accepted:
            self.throttle.proved(flow, found.user)
        elif (wait := self.throttle.wait(flow, found.user, now)) > 0.0:
            return Verdict(False, found.user, f"too many wrong tokens: not heard for {wait:.0f} s", False, wait)
        elif found.forged:
            self.throttle.failed(flow, found.user, now)
        return Verdict(found.accepted, found.user, found.because, wrong=found.forged, until=found.until, token=True)

    def _offered(self, user: str) -> list[str]:
        return [one for one in self.algorithms_of(user) if ALGORITHMS[one.lower()] in hashlib.algorithms_available]

    def _in_order(self, user: str, flow: Flow | None) -> list[str]:
        """The algorithms to offer, first the one that the user's device on that flow used last (RFC 8760 section
        2.4)."""
        offered = self._offered(user)
        used = self._used.get((user, flow)) if flow is not None else None
        return sorted(offered, key=lambda one: one.lower() != used) if used else offered

    def _same_resource(self, one: str, other: str) -> bool:
        """RFC 7616 section 3.4.6 asks for the same resource, not the same text: user and host are compared."""
        if one == other:
            return True
        try:
            return Uri.parse(one).same_user_and_host(Uri.parse(other), self.hosts)
        except Malformed:
            return False

    def _bare(self, username: str) -> str:
        """The user of ``user@host`` where the host is the realm or one of ours, as some devices write it."""
        user, at, host = username.rpartition("@")
        return user if at and host.lower() in {self.realm.lower(), *self.hosts} else username

    def _note_algorithm(self, user: str, flow: Flow, algorithm: str) -> None:
        key = user, flow
        self._used.pop(key, None)
        if algorithm != self._offered(user)[0].lower():
            self._used[key] = algorithm
            if len(self._used) > self.memory:
                self._used.popitem(last=False)

    def _credentials(self, values: Iterable[str]) -> AuthParams | None:
        for value in values:
            for given in AuthParams.parse_all(value):
                if given.scheme.lower() == "digest" and given.get("realm") == self.realm:
                    return given
        return None

    def _nonce(self, stamp: int, flow: Flow | None) -> str:
        text = f"{max(stamp, 0):0{_STAMP_LENGTH}x}"
        host = flow.remote[0] if flow is not None else ""
        mac = hmac.new(self.secret, f"{text}:{self.realm}:{host}".encode(), "sha256").hexdigest()
        return text + mac[:_MAC_LENGTH]

    def _stamp(self, nonce: str, flow: Flow | None) -> int | None:
        """The time in microseconds at which a nonce was made; ``None``: it was not made by us for that host."""
        if len(nonce) != _STAMP_LENGTH + _MAC_LENGTH or not nonce.isascii():
            return None
        try:
            stamp = int(nonce[:_STAMP_LENGTH], 16)
        except ValueError:
            return None
        return stamp if hmac.compare_digest(self._nonce(stamp, flow), nonce) else None

    def _remember(self, key: tuple[str, str, str], count: int) -> bool:
        """Note a nonce count; ``False`` when it, or a later one, was seen before (RFC 7616 section 3.4.5)."""
        if self._counts.get(key, 0) >= count:
            return False
        self._counts[key] = count
        if len(self._counts) > self.memory:
            (nonce, _, _), _ = self._counts.popitem(last=False)
            self._floor = max(self._floor, int(nonce[:_STAMP_LENGTH], 16))
        return True


def _read_challenges(response: Response, name: str) -> dict[str, tuple[_Session, bool]]:
    """By realm the challenge with the strongest algorithm, and whether it says that only the nonce was stale."""
    found: dict[str, tuple[_Session, bool]] = {}
    for value in response.all("proxy-authenticate" if name == "proxy-authorization" else "www-authenticate"):
        for given in AuthParams.parse_all(value):
            read = _read_challenge(given, name)
            if read is None or len(found) >= _MAX_REALMS:
                continue
            known = found.get(read[0].realm)
            if known is None or _STRENGTH[read[0].algorithm] < _STRENGTH[known[0].algorithm]:
                found[read[0].realm] = read
    return found


def _read_challenge(given: AuthParams, name: str) -> tuple[_Session, bool] | None:
    """A challenge that we can answer, and whether it says that only the nonce was stale."""
    algorithm, dash, session = (given.get("algorithm") or "MD5").lower().rpartition("-sess")
    if not dash:
        algorithm, session = session, ""
    elif session:
        return None
    nonce, realm, qop = given.get("nonce"), given.get("realm"), given.get("qop")
    if given.scheme.lower() != "digest" or algorithm not in ALGORITHMS or nonce is None or realm is None:
        return None
    if ALGORITHMS[algorithm] not in hashlib.algorithms_available:
        return None
    if qop and "auth" not in (part.strip().lower() for part in qop.split(",")):
        return None
    stale = (given.get("stale") or "").lower() == "true"
    found = _Session(name, realm, nonce, algorithm, bool(dash), bool(qop), given.get("opaque"))
    return found, stale


def _hash(algorithm: str, text: str | bytes) -> str:
    data = text.encode("latin-1") if isinstance(text, str) else text
    return hashlib.new(ALGORITHMS[algorithm], data, usedforsecurity=False).hexdigest()


def _secret_hash(algorithm: str, username: str | bytes, realm: str, password: str) -> str:
    """H(A1) of RFC 7616 section 3.4.2."""
    user = username.encode() if isinstance(username, str) else username
    return _hash(algorithm, b":".join((user, realm.encode("latin-1", "replace"), password.encode())))


def _digest(algorithm: str, secret: str, nonce: str, counted: str, method: str, uri: str, qop: str = "auth") -> str:
    """The response of RFC 7616 section 3.4.1; ``counted`` is ``nc:cnonce``, empty without qop (RFC 2069)."""
    about = _hash(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{counted}:{qop}" if counted else nonce
    return _hash(algorithm, f"{secret}:{middle}:{about}")


def _is_count(nc: str) -> bool:
    return len(nc) == 8 and all(c in "0123456789abcdef" for c in nc)
