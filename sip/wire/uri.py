"""SIP, SIPS and tel URIs (RFC 3261 section 19.1, RFC 3966)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from sip.wire.errors import Malformed
from sip.wire.grammar import HOST, Params, format_params, param, parse_params

_SIP: Final = re.compile(
    rf"(sips?):(?:([^@\x00-\x20<>\"]*+)@)?({HOST})(?::(\d{{1,5}}))?((?:;[^;?@\x00-\x20<>\"]*+)*+)(?:\?([^?@\x00-\x20<>\"]*+))?\Z",
    re.IGNORECASE,
)
_TEL: Final = re.compile(r"tel:(\+?[0-9A-Fa-f*#\-.()]++)((?:;[^;?@\x00-\x20<>\"]*+)*+)\Z", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_SEPARATORS: Final = str.maketrans("", "", "-.()")

# RFC 3261 section 19.1.2 and 19.1.4: characters that mean the same with or without an escape.
_UNRESERVED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")
_USER: Final = _UNRESERVED | frozenset("&=+$,;?/")
# RFC 3261 section 19.1.4: present in one of two URIs, these make them differ.
_SIGNIFICANT: Final = ("user", "ttl", "method", "maddr", "transport")
_CACHED: Final = 256
"""Longer URIs than this are not kept in the caches, which strangers can fill."""


class NumberParams(NamedTuple):
    """The parameters of a telephone number in a URI, as they came, each with its ``;``."""

    user: str
    """Parameters of the user part: ``;npdi;rn=+33177`` (RFC 4694, RFC 4904), ``;isub=1``, ``;phone-context=…``."""
    uri: str
    """``;user=phone``, or ``""``."""


NO_PARAMS: Final = NumberParams("", "")


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI split into its parts, escapes not resolved; ``str()`` joins them."""

    scheme: str
    """``sip``, ``sips`` or ``tel``, in lower case."""
    user: str
    """The user part, or the number of a tel URI; ``""`` for none."""
    host: str
    """A name or an address, IPv6 without brackets; ``""`` in a tel URI."""
    port: int | None = None
    params: Params = ()
    headers: Params = ()
    """The headers after ``?``."""
    password: str | None = None

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI without angle brackets.

        Raises:
            Malformed: with status 416 for a scheme other than sip, sips and tel, else 400.
        """
        return _parse_cached(text) if len(text) <= _CACHED else _parse(text)

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{self.user}{format_params(self.params)}"
        password = "" if self.password is None else f":{self.password}"
        user = f"{self.user}{password}@" if self.user or password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        headers = "&".join(name if value is None else f"{name}={value}" for name, value in self.headers)
        question = "?" if headers else ""
        return f"{self.scheme}:{user}{host}{port}{format_params(self.params)}{question}{headers}"

    def get(self, name: str) -> str | None:
        """A URI parameter by its lower-case name: its value, ``""`` for a flag, ``None`` when absent."""
        return param(self.params, name)

    @property
    def transport(self) -> str:
        """The ``transport`` parameter in lower case, ``""`` without one (RFC 3261 section 19.1.1)."""
        return (param(self.params, "transport") or "").lower()

    @property
    def loose(self) -> bool:
        """Whether this is a loose router (``lr``, RFC 3261 section 16.12)."""
        return param(self.params, "lr") is not None

    @property
    def dialled(self) -> str:
        """The user part with its escapes resolved; without visual separators and parameters when it is a number.

        Escaped control characters stay escaped, since it is written into header lines, logs and screens.
        """
        return plain_number(_PERCENT.sub(_resolved, self.user) if "%" in self.user else self.user)

    @property
    def number_params(self) -> NumberParams:
        """The parameters of the number; :data:`NO_PARAMS` when the user part is no number."""
        if self.scheme == "tel":  # RFC 3261 section 19.1.6
            return NumberParams(format_params(self.params), ";user=phone")
        user, uri = "", ""
        if ";" in self.user and _digits(_PERCENT.sub(_resolved, self.user)):
            user = self.user[self.user.index(";") :]
        if self.params and (param(self.params, "user") or "").lower() == "phone":
            uri = ";user=phone"
        return NumberParams(user, uri) if user or uri else NO_PARAMS

    def matches(self, other: Uri) -> bool:
        """Whether two URIs are equivalent (RFC 3261 section 19.1.4; tel: RFC 3966 section 4).

        Not transitive: a parameter that only one of them has is ignored, unless it is a significant one.
        """
        if self.scheme != other.scheme:
            return False
        if self.scheme == "tel":
            return self._tel_key() == other._tel_key()
        if (
            _unescaped(self.user, _USER) != _unescaped(other.user, _USER)
            or _unescaped(self.password or "", _USER) != _unescaped(other.password or "", _USER)
            or _host_key(self.host) != _host_key(other.host)
            or self.port != other.port
        ):
            return False
        mine, theirs = _folded(self.params), _folded(other.params)
        if any(mine.get(name) != theirs.get(name) for name in _SIGNIFICANT):
            return False
        if any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys()):
            return False
        return _header_key(self.headers) == _header_key(other.headers)

    def same_user_and_host(self, other: Uri, hosts: frozenset[str] = frozenset()) -> bool:
        """Whether two URIs have the same user and host; port and parameters do not count. All of ``hosts``, in lower
        case, are taken for one host. tel URIs are compared by :meth:`matches`."""
        if "tel" in (self.scheme, other.scheme):
            return self.matches(other)
        mine, theirs = _host_key(self.host), _host_key(other.host)
        return _unescaped(self.user, _USER) == _unescaped(other.user, _USER) and (
            mine == theirs or (mine in hosts and theirs in hosts)
        )

    def _tel_key(self) -> tuple[str, dict[str, str]]:
        folded = _folded(self.params)
        if "ext" in folded:
            folded["ext"] = folded["ext"].translate(_SEPARATORS)
        return self.user.translate(_SEPARATORS).lower(), folded


def plain_number(user: str) -> str:
    """An unescaped user part; without visual separators and parameters when it is a number."""
    return _digits(user) or user


def _digits(user: str) -> str:
    """The number in an unescaped user part, without visual separators and parameters; ``""`` when it is none."""
    digits = user.partition(";")[0].translate(_SEPARATORS)
    return digits if digits.isascii() and digits.lstrip("+").isdigit() else ""


def as_user(number: str) -> str:
    """A number or user name, such as :attr:`Uri.dialled`, escaped for a URI (RFC 3261 section 19.1.2)."""
    if number.isascii() and number.isalnum():
        return number
    return "".join(
        c if c in _USER else "".join(f"%{b:02X}" for b in c.encode("latin-1" if c < "\u0100" else "utf-8"))
        for c in number
    )


def with_params(uri: str, params: NumberParams) -> str:
    """The SIP URI ``uri``, which has a user part, with the parameters of its number."""
    user, at, rest = uri.partition("@")
    return f"{user}{params.user}@{rest}{params.uri}" if at else uri


def host_port(uri: str) -> tuple[str, int | None]:
    """The host (IPv6 without brackets) and the written port of a SIP URI; cached."""
    parsed = Uri.parse(uri)
    return parsed.host, parsed.port


def user_of(uri: str) -> str:
    """The user part of a SIP URI or the number of a tel URI, escapes resolved; ``""`` for none."""
    return _user_cached(uri) if len(uri) <= _CACHED else _parse(uri).dialled


@lru_cache(maxsize=4096)
def _user_cached(uri: str) -> str:
    return _parse_cached(uri).dialled


def _parse(text: str) -> Uri:
    found = _SIP.match(text)
    if found is None:
        phone = _TEL.match(text)
        if phone is not None:
            return Uri("tel", phone[1], "", params=parse_params(phone[2]))
        other = _SCHEME.match(text)
        if other is not None and other[1].lower() not in ("sip", "sips", "tel"):
            raise Malformed("only sip, sips and tel URIs are understood here", 416)
        raise Malformed("a URI cannot be read")
    scheme, userinfo, host, port, params, headers = found.groups()
    if userinfo == "" or (port is not None and not 0 < int(port) < 65536):
        raise Malformed("a URI with an empty user part or an impossible port")
    user, colon, password = (userinfo or "").partition(":")
    return Uri(
        scheme.lower(),
        user,
        host.strip("[]"),
        int(port) if port else None,
        parse_params(params) if params else (),
        _parse_headers(headers) if headers else (),
        password if colon else None,
    )


_parse_cached = lru_cache(maxsize=4096)(_parse)


def _parse_headers(text: str) -> Params:
    pairs = (part.partition("=") for part in text.split("&") if part)
    return tuple((name, value if equals else None) for name, equals, value in pairs)


def _resolved(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if " " <= char != "\x7f" else found[0]


def _unescaped(text: str, plain: frozenset[str]) -> str:
    """``text`` with escapes of characters in ``plain`` resolved, and all others in upper case."""
    if "%" not in text:
        return text

    def resolve(found: re.Match[str]) -> str:
        char = chr(int(found[1], 16))
        return char if char in plain else found[0].upper()

    return _PERCENT.sub(resolve, text)


def _folded(params: Params) -> dict[str, str]:
    return {
        _unescaped(name, _UNRESERVED).lower(): _unescaped(value or "", _UNRESERVED).lower() for name, value in params
    }


def _header_key(headers: Params) -> list[tuple[str, str]]:
    return sorted((_unescaped(k, _UNRESERVED).lower(), _unescaped(v or "", _UNRESERVED)) for k, v in headers)


def _host_key(host: str) -> str:
    return host.lower().rstrip(".") if ":" not in host else _spelled(host)


def _spelled(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()
