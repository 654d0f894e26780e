"""Signed tokens instead of passwords (RFC 8898): JSON Web Tokens that a web application signs for its users.

A token is a JWS in its compact form (RFC 7515 section 7.1) by HMAC with SHA-256 (``HS256``, RFC 7518 section 3.2),
and by no other algorithm: the header that names one is not trustworthy before it is verified (RFC 8725 section 3.1).
Of its claims (RFC 7519) ``user``, whom it is for, and ``exp``, its end, are required; ``nbf`` and ``aud`` are checked
where present.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sip.actions import Flow

WEB: Final = ("ws", "wss")
"""Transports of browsers."""
SHORTEST_KEY: Final = 32
"""Bytes of a key: no fewer than the hash has (RFC 7518 section 3.2)."""
LONGEST: Final = 4096
"""Characters of a token; a longer one is refused."""
LEEWAY: Final = 5.0
"""Seconds by which the clock of the web application may differ from ours (RFC 7519 section 4.1.4)."""


class TokenVerdict(NamedTuple):
    """The result of checking a token."""

    accepted: bool
    user: str
    """Whose it is (claimed, when not accepted)."""
    because: str
    forged: bool = False
    """It is malformed, or its signature does not verify with the key."""
    until: float = 0.0
    """When it expires, by our clock."""


class BearerTokens:
    """Checks the tokens of one realm. ``key`` returns the key, ``None`` where tokens are not accepted;
    ``wall_offset`` the seconds between ``now`` and epoch time, ``None`` while unknown; ``takes`` whether a user may
    have tokens."""

    __slots__ = ("_key", "_takes", "_wall_offset", "realm")

    def __init__(
        self,
        realm: str,
        key: Callable[[], bytes | None],
        wall_offset: Callable[[], float | None],
        takes: Callable[[str], bool],
    ) -> None:
        self.realm = realm
        self._key = key
        self._wall_offset = wall_offset
        self._takes = takes

    def meets(self, flow: Flow | None) -> bool:
        """Whether a token is accepted by this flow: only by WebSocket, from browsers, and where a key
        is configured."""
        return flow is not None and flow.transport in WEB and self._key() is not None

    def check(self, token: str, now: float) -> TokenVerdict:
        """Check a token; never raises, whatever its text."""
        key, offset = self._key(), self._wall_offset()
        if key is None or offset is None:
            return TokenVerdict(False, "", "no tokens are taken here now")
        signed, dot, signature = token.rpartition(".")
        head, second, payload = signed.partition(".")
        if not dot or not second or "." in payload or len(token) > LONGEST or not token.isascii():
            return TokenVerdict(False, "", "a token that is no JSON Web Token", forged=True)
        header, claims, mac = _object(head), _object(payload), _bytes(signature)
        if header is None or claims is None or mac is None:
            return TokenVerdict(False, "", "a token that cannot be read", forged=True)
        said = claims.get("user")
        user = said if isinstance(said, str) else ""
        if header.get("alg") != "HS256" or "crit" in header:
            return TokenVerdict(False, user, "a token by another algorithm than HS256", forged=True)
        if not hmac.compare_digest(hmac.digest(key, signed.encode("ascii"), hashlib.sha256), mac):
            return TokenVerdict(False, user, f"a token for {user!r} that another key has signed", forged=True)
        return self._judge(user, claims, now, offset)

    def _judge(self, user: str, claims: dict[str, Any], now: float, offset: float) -> TokenVerdict:
        """Check the claims of a token whose signature is right."""
        ends, begins = _instant(claims.get("exp")), _instant(claims.get("nbf", 0))
        audience = claims.get("aud", self.realm)
        if not user or ends is None or begins is None:
            return TokenVerdict(False, user, "a token without user or exp, or whose nbf is no instant")
        if self.realm not in (audience if isinstance(audience, list) else [audience]):
            return TokenVerdict(False, user, f"a token for {user!r} at another realm than {self.realm}")
        if now + offset >= ends + LEEWAY:
            return TokenVerdict(False, user, f"the token of {user!r} has expired")
        if now + offset < begins - LEEWAY:
            return TokenVerdict(False, user, f"the token of {user!r} is not valid yet")
        if not self._takes(user):
            return TokenVerdict(False, user, f"a token for {user!r}, who is no browser's user here")
        return TokenVerdict(True, user, f"user {user} showed a token", until=ends + LEEWAY - offset)


def token_of(value: str) -> str | None:
    """The token of an Authorization header value; ``None``: it has another scheme (RFC 8898 section 4)."""
    scheme, _, rest = value.strip(" \t").partition(" ")
    return rest.strip(" \t") if scheme.lower() == "bearer" else None


def _bytes(text: str) -> bytes | None:
    """Decode base64url without padding (RFC 7515 section 2); ``None``: it is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None


def _object(text: str) -> dict[str, Any] | None:
    data = _bytes(text)
    try:
        found = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _instant(value: object) -> float | None:
    """A NumericDate in seconds (RFC 7519 section 2); ``None``: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
