"""The Identity header and the PASSporT in it (RFC 8224 section 4, RFC 8225, and RFC 8588 for ``shaken``). Pure.

Only the full form is supported: that of ``shaken`` is never compact (RFC 8588 section 6), and the compact form holds
nothing that is not in the message itself.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from email.utils import formatdate, mktime_tz, parsedate_tz
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from sip.wire.errors import Malformed
from sip.wire.grammar import param, parse_params
from sip.wire.message import Message, elements

Attest = Literal["A", "B", "C"]
"""Attestation (RFC 8588 section 4). A, full: the caller is ours and may use the number; B, partial: the caller is
ours; C, gateway: the call entered the network here."""

LONGEST: Final = 8192
"""Characters of an Identity header; longer ones are refused."""
MOST: Final = 4
"""Identity headers of a call that are checked."""
ALGORITHM: Final = "ES256"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_SEPARATORS: Final = re.compile(r"[\s().\-]")
_NUMBER: Final = re.compile(r"[0-9*#]+\Z")


class Passport(NamedTuple):
    """The claims of a PASSporT."""

    caller: str
    """``orig``, a number in its canonical form."""
    called: tuple[str, ...]
    """``dest``, likewise."""
    issued_at: int
    """``iat``, epoch seconds."""
    attest: str = ""
    origid: str = ""
    """``attest`` and ``origid`` (``shaken`` only): the attestation, and an opaque identifier of the call's origin."""
    kind: str = ""
    """``ppt``; ``""`` for one without an extension."""
    url: str = ""
    """``x5u``: the URL of its certificate."""


class IdentityHeader(NamedTuple):
    """One Identity header."""

    passport: Passport
    signed: bytes
    """The signed bytes as received: header and payload, in base64url."""
    signature: bytes
    """r and s, 32 bytes each (RFC 7518 section 3.4)."""


def canonical(number: str) -> str:
    """The canonical form of a number (RFC 8224 section 8.3): without separators and ``+``; ``""``: it is no
    number."""
    digits = _SEPARATORS.sub("", number).removeprefix("+")
    return digits if _NUMBER.match(digits) else ""


def to_be_signed(passport: Passport) -> bytes:
    """Header and payload of a ``shaken`` PASSporT in the deterministic form (RFC 8225 section 9), in base64url."""
    header = {"alg": ALGORITHM, "ppt": "shaken", "typ": "passport", "x5u": passport.url}
    payload = {
        "attest": passport.attest,
        "dest": {"tn": list(passport.called)},
        "iat": passport.issued_at,
        "orig": {"tn": passport.caller},
        "origid": passport.origid,
    }
    return b".".join((_encoded(header), _encoded(payload)))


def origid_of(name: str) -> str:
    """A UUID (RFC 9562 section 5.8) made from a name: always the same, and it does not reveal the name."""
    digest = blake2b(name.encode(), digest_size=16).hexdigest()
    variant = "89ab"[int(digest[16], 16) % 4]
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:]}"


def header_line(passport: Passport, signed: bytes, signature: bytes) -> str:
    """The Identity header line."""
    token = b".".join((signed, _base64(signature))).decode()
    return f"Identity: {token};info=<{passport.url}>;alg={ALGORITHM};ppt=shaken"


def date_line(at: float) -> str:
    """The Date header line (RFC 3261 section 20.17) for ``at``, epoch seconds."""
    return f"Date: {formatdate(at, usegmt=True)}"


def date_of(message: Message) -> float | None:
    """The Date of a message in epoch seconds; None: it has none. Raises :class:`Malformed`."""
    value = message.get("date")
    if value is None:
        return None
    parsed = parsedate_tz(value[:64])
    if parsed is None:
        raise Malformed("a Date that cannot be read")
    try:
        return float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        raise Malformed("a Date that is no date") from None


def identities(message: Message) -> list[str]:
    """The values of a message's Identity headers."""
    return elements(message, "identity")[:MOST] if "identity" in message.first else []


def read(value: str) -> IdentityHeader:
    """Parse one value of Identity. Raises :class:`Malformed`."""
    if len(value) > LONGEST:
        raise Malformed("an Identity of more than 8,192 characters")
    token, _, rest = value.strip().partition(";")
    token = token.strip()
    if not _TOKEN.match(token):
        raise Malformed("an Identity that is not in full form")
    params = parse_params(";" + rest if rest else "")
    info = (param(params, "info") or "").strip("<>")
    header_text, payload_text, signature_text = token.split(".")
    header, payload = _decoded(header_text), _decoded(payload_text)
    signature = _unbase64(signature_text)
    if header.get("typ") != "passport" or header.get("alg") != ALGORITHM or len(signature) != 64:
        raise Malformed("an Identity that is no PASSporT signed by ES256")
    if (param(params, "alg") or ALGORITHM).strip('"') != ALGORITHM:
        raise Malformed("an Identity that names another algorithm than its PASSporT")
    kind, url = _text(header.get("ppt")), _text(header.get("x5u"))
    if (param(params, "ppt") or "").strip('"') != kind or info != url or not url:
        raise Malformed("an Identity whose parameters say something else than its PASSporT")
    if kind not in ("", "shaken"):
        raise Malformed(f"an Identity of the extension {kind[:32]!r}")
    orig, dest, issued_at = payload.get("orig"), payload.get("dest"), payload.get("iat")
    called = dest.get("tn") if isinstance(dest, dict) else None
    numbers = [called] if isinstance(called, str) else called if isinstance(called, list) else []
    caller = _text(orig.get("tn")) if isinstance(orig, dict) else ""
    if not caller or not isinstance(issued_at, int) or isinstance(issued_at, bool):
        raise Malformed("a PASSporT without orig or iat")
    passport = Passport(
        canonical(caller),
        tuple(canonical(_text(one)) for one in numbers[:16]),
        issued_at,
        _text(payload.get("attest")),
        _text(payload.get("origid")),
        kind,
        url,
    )
    return IdentityHeader(passport, f"{header_text}.{payload_text}".encode(), signature)


def _encoded(value: dict[str, Any]) -> bytes:
    return _base64(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = json.loads(_unbase64(text).decode())
    except (ValueError, RecursionError):
        raise Malformed("a PASSporT that is no JSON") from None
    if not isinstance(value, dict):
        raise Malformed("a PASSporT that is no JSON object")
    return value


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _unbase64(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise Malformed("a PASSporT that is no base64") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 2048 and value.isprintable() else ""
