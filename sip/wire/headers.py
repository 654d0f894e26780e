"""Header values as frozen values: ``X.parse(value)`` reads one, ``str(x)`` writes one.

``value`` is the text after the colon; where a header may hold a list, it is one element, see
:func:`sip.wire.grammar.split_commas`. Reading tolerates what RFC 4475 shows to be harmless (empty parameters, odd
spacing); what must be refused is refused by :func:`sip.wire.validation.validate`. All errors are
:class:`~sip.wire.errors.Malformed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from sip.actions import Address
from sip.wire import grammar
from sip.wire.errors import Malformed
from sip.wire.grammar import (
    HOST,
    QUOTED,
    QUOTED_OR_OPEN,
    TOKEN,
    WS,
    Params,
    format_params,
    number,
    param,
    parse_params,
)

_VIA: Final = re.compile(
    rf"{WS}*+SIP{WS}*+/{WS}*+{TOKEN}++{WS}*+/{WS}*+({TOKEN}++){WS}++({HOST}){WS}*+(?::{WS}*+(\d{{1,5}}))?{WS}*+(?=[;,]|\Z)",
    re.IGNORECASE,
)
_VIA_PARAMS: Final = re.compile(rf'(?:[^,"]++|{QUOTED_OR_OPEN})*+', re.DOTALL)
_RPORT: Final = re.compile(rf";{WS}*+rport(?:{WS}*+={WS}*+[^;, \t\r\n]*+)?(?=[;, \t\r\n]|\Z)", re.IGNORECASE)
_KEEP: Final = re.compile(rf"(;{WS}*+keep)(?=[;, \t\r\n]|\Z)", re.IGNORECASE)
KEPT: Final = 120
"""Seconds between keep-alives that we recommend for a stream (RFC 6223 section 4.3); few NATs drop it sooner."""
_QUOTED: Final = re.compile(QUOTED_OR_OPEN, re.DOTALL)
_RECEIVED: Final = re.compile(rf";{WS}*+received{WS}*+={WS}*+([^;, \t\r\n]*+)", re.IGNORECASE)
_SCHEME: Final = re.compile(rf"{TOKEN}++(?:{WS}++[^= \t\r\n]|\Z)")
"""The beginning of a challenge, as no parameter begins: a scheme, alone or followed by a space and a parameter."""
_LEADING_NUMBER: Final = re.compile(rf"{WS}*+([0-9]++)")
_NAME_ADDR: Final = re.compile(rf'{WS}*+({QUOTED}|[^"<]*+){WS}*+<([^<>"]*+)>{WS}*+((?:;.*+)?)\Z', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Via:
    """One Via (RFC 3261 section 20.42)."""

    transport: str
    """As it came, usually upper case."""
    host: str
    """The host of sent-by, IPv6 without brackets."""
    port: int | None = None
    """The port of sent-by, when it is written."""
    params: Params = ()

    @classmethod
    def parse(cls, value: str) -> Via:
        """The first Via of a header value."""
        found = _VIA.match(value)
        if found is None:
            raise Malformed("the Via header cannot be read")
        transport, host, port = found.groups()
        rest = value[found.end() :]
        if "," in rest:
            cut = _VIA_PARAMS.match(rest)
            rest = cut.group() if cut else rest
        if port is not None and not 0 < int(port) < 65536:
            raise Malformed("the port in Via is not one")
        return cls(transport, host.strip("[]"), int(port) if port else None, parse_params(rest))

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {bracketed(self.host)}{port}{format_params(self.params)}"

    def get(self, name: str) -> str | None:
        """A parameter by its lower-case name: ``""`` for a flag, ``None`` if absent."""
        return param(self.params, name)

    @property
    def branch(self) -> str:
        return param(self.params, "branch") or ""

    @property
    def received(self) -> str:
        """The source address of the request; ``""`` when no element has added it."""
        return (param(self.params, "received") or "").strip("[]")

    @property
    def rport(self) -> int | None:
        """The source port of the request (RFC 3581); ``None`` when not asked for, or not filled in yet."""
        port = number(param(self.params, "rport") or "")
        return port if port is not None and 0 < port < 65536 else None


def stamp_received(line: str, source: Address) -> str:
    """The topmost Via line of a request from ``source`` with its ``received`` and ``rport`` parameters.

    ``received`` is added when the host of sent-by is not the source address (RFC 3261 section 18.2.1) or when
    ``rport`` was asked for, which is then filled in (RFC 3581 section 4). Values that the sender wrote itself are
    overwritten. All other bytes stay.

    Raises:
        Malformed: the Via cannot be read, so no answer can be addressed.
    """
    if ";rport" in line and (stamped := _stamp_plain(line, source)) is not None:
        return stamped
    found = _VIA.match(line, line.find(":") + 1)
    if found is None:
        raise Malformed("the Via header cannot be read")
    at = found.end()
    rest, tail = line[at:], ""
    if "," in rest and (cut := _VIA_PARAMS.match(rest)) is not None:
        rest, tail = cut.group(), rest[cut.end() :]
    lower = rest.lower()
    asked = _RPORT.search(_masked(rest)) if "rport" in lower else None
    if asked is not None:
        rest = f"{rest[: asked.start()]};rport={source[1]}{rest[asked.end() :]}"
    elif "received" not in lower and found[2] == source[0]:
        return line
    if (noted := _RECEIVED.search(_masked(rest))) is not None:
        rest = f"{rest[: noted.start(1)]}{source[0]}{rest[noted.end(1) :]}"
    elif asked is not None or not same_address(found[2].strip("[]"), source[0]):
        kept = rest.rstrip(" \t\r\n")
        rest = f"{kept};received={source[0]}{rest[len(kept) :]}"
    return f"{line[:at]}{rest}{tail}"


def keep_answered(line: str) -> str:
    """The topmost Via line with a value in its ``keep`` parameter, if it has one without a value: :data:`KEPT`
    seconds (RFC 6223 section 4.3)."""
    found = _VIA.match(line, line.find(":") + 1)
    if found is None:
        return line
    first, comma, others = line[found.end() :].partition(",")
    return line[: found.end()] + _KEEP.sub(rf"\1={KEPT}", first, count=1) + comma + others


def _stamp_plain(line: str, source: Address) -> str | None:
    """:func:`stamp_received` for the usual line at half the cost: one Via with an empty ``rport``, nothing quoted,
    no ``received``. None for any other line."""
    at = line.find(";rport")
    after = line[at + 6 : at + 7]
    if (after and after != ";") or "," in line or '"' in line or "received" in line.lower():
        return None
    if _VIA.match(line, line.find(":") + 1) is None:
        raise Malformed("the Via header cannot be read")
    return f"{line[:at]};rport={source[1]}{line[at + 6 :]};received={source[0]}"


def _masked(text: str) -> str:
    """``text`` with its quoted strings overwritten, so that a search finds nothing in them; the length stays."""
    return text if '"' not in text else _QUOTED.sub(lambda found: "x" * len(found[0]), text)


def same_address(one: str, other: str) -> bool:
    """Whether two numeric addresses are equal, however an IPv6 address is spelled."""
    if one == other:
        return True
    if ":" not in one or ":" not in other:
        return False
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """A host as URIs and Via have it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route, Record-Route, Refer-To and their like (RFC 3261 section 20.10)."""

    uri: str
    """The URI as it came, without the angle brackets; read it with :meth:`sip.wire.uri.Uri.parse`."""
    display: str = ""
    """The display name, without quotes and escapes; ``""`` for none."""
    params: Params = ()

    @classmethod
    def parse(cls, value: str) -> NameAddr:
        """One element; ``*`` (a Contact of REGISTER) is the URI ``*``."""
        found = _NAME_ADDR.match(value)
        if found is not None:
            display, uri, rest = found.groups()
            uri = uri.strip(" \t\r\n")
        elif "<" in value or '"' in value.partition(";")[0]:
            raise Malformed("an address cannot be read: quotes or angle brackets do not match")
        else:
            # RFC 3261 section 20: without angle brackets all parameters are the header's.
            uri, semicolon, rest = value.strip(" \t\r\n").partition(";")
            display, uri, rest = "", uri.rstrip(" \t\r\n"), semicolon + rest
        if not uri or " " in uri:
            raise Malformed("an address without a URI")
        return cls(uri, grammar.unquote(display.strip(" \t\r\n")), parse_params(rest) if rest else ())

    def __str__(self) -> str:
        if self.uri == "*":
            return "*"
        if not self.display:
            return f"<{self.uri}>{format_params(self.params)}"
        return f"{grammar.quote(self.display)} <{self.uri}>{format_params(self.params)}"

    @property
    def tag(self) -> str:
        return param(self.params, "tag") or ""

    def get(self, name: str) -> str | None:
        """A header parameter by its lower-case name: its unquoted value, ``""`` for a flag, ``None`` if absent."""
        return param(self.params, name)

    @property
    def q(self) -> float:
        """The q value of a Contact, 0 to 1 with three digits (RFC 3261 section 25.1); 1 if absent or invalid."""
        text = param(self.params, "q")
        try:
            value = float(text) if text and len(text) < 8 else 1.0
        except ValueError:
            return 1.0
        return round(value, 3) if 0.0 <= value <= 1.0 else 1.0

    def number(self, name: str) -> int | None:
        """A numeric header parameter, such as ``expires``; ``None`` when it is absent or no number."""
        return number(param(self.params, name) or "")


@dataclass(frozen=True, slots=True)
class CSeq:
    """RFC 3261 section 20.16."""

    number: int
    method: str

    @classmethod
    def parse(cls, value: str) -> CSeq:
        digits, _, method = value.replace("\t", " ").partition(" ")
        found = number(digits, 1 << 32)
        method = method.strip(" \r\n")
        if found is None or found > 0xFFFFFFFF or not grammar.is_token(method):
            raise Malformed("the CSeq header cannot be read")
        return cls(found, method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class Event:
    """RFC 6665 section 8.2.1: the package of a subscription, and which subscription of a dialog."""

    package: str
    """With its templates, e.g. ``presence.winfo``; lower case."""
    params: Params = ()

    @classmethod
    def parse(cls, value: str) -> Event:
        package, _, rest = value.partition(";")
        package = package.strip(" \t").lower()
        if not grammar.is_token(package):
            raise Malformed("the Event header cannot be read")
        return cls(package, parse_params(rest))

    def __str__(self) -> str:
        return self.package + format_params(self.params)

    @property
    def id(self) -> str:
        return param(self.params, "id") or ""


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """RFC 6665 section 4.1.3 and 8.2.3."""

    state: str
    """``active``, ``pending``, ``terminated`` or an extension; lower case."""
    params: Params = ()

    @classmethod
    def parse(cls, value: str) -> SubscriptionState:
        state, _, rest = value.partition(";")
        state = state.strip(" \t").lower()
        if not grammar.is_token(state):
            raise Malformed("the Subscription-State header cannot be read")
        return cls(state, parse_params(rest))

    def __str__(self) -> str:
        return self.state + format_params(self.params)

    @property
    def expires(self) -> int | None:
        """Seconds until the subscription expires; ``None`` when absent."""
        return number(param(self.params, "expires") or "")

    @property
    def reason(self) -> str:
        """Why it was terminated: ``deactivated``, ``probation``, …, in lower case; ``""`` when absent."""
        return (param(self.params, "reason") or "").lower()

    @property
    def retry_after(self) -> int | None:
        return number(param(self.params, "retry-after") or "")


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """Session-Expires, and Min-SE without a refresher (RFC 4028 sections 4 and 5)."""

    seconds: int
    refresher: str = ""
    """``uac``, ``uas`` or ``""``."""

    @classmethod
    def parse(cls, value: str) -> SessionExpires:
        digits, _, rest = value.partition(";")
        seconds = number(digits.strip(" \t"))
        if seconds is None:
            raise Malformed("Session-Expires or Min-SE is no number")
        refresher = (param(parse_params(rest), "refresher") or "").lower() if rest else ""
        return cls(seconds, refresher if refresher in ("uac", "uas") else "")

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


@dataclass(frozen=True, slots=True)
class Reason:
    """RFC 3326: why a request was sent, e.g. ``Q.850;cause=16;text="Normal call clearing"``."""

    protocol: str
    cause: int | None = None
    text: str = ""

    @classmethod
    def parse(cls, value: str) -> Reason:
        """One element of the header's list."""
        protocol, _, rest = value.partition(";")
        protocol = protocol.strip(" \t")
        if not grammar.is_token(protocol):
            raise Malformed("the Reason header cannot be read")
        params = parse_params(rest)
        return cls(protocol, number(param(params, "cause") or ""), param(params, "text") or "")

    def __str__(self) -> str:
        cause = "" if self.cause is None else f";cause={self.cause}"
        return f"{self.protocol}{cause}" + (f";text={grammar.quote(self.text)}" if self.text else "")


def retry_after(value: str | None) -> int | None:
    """The seconds of a Retry-After header (RFC 3261 section 20.33), at most 2**32-1; ``None`` when it has none."""
    found = _LEADING_NUMBER.match(value) if value else None
    return number(found[1]) if found else None


def tokens(values: list[str] | str | None) -> tuple[str, ...]:
    """The tokens of one header value, or of the values of several lines: Allow, Supported, Require, Allow-Events…"""
    if values is None:
        return ()
    lines = [values] if isinstance(values, str) else values
    return tuple(token for line in lines for token in (part.strip(" \t\r\n") for part in line.split(",")) if token)


@dataclass(frozen=True, slots=True)
class AuthParams:
    """A challenge or credentials: a scheme and its parameters (RFC 3261 sections 20.7, 20.27, 20.28, 20.44).

    Its ``repr`` leaves the parameters out, as they may hold secrets.
    """

    scheme: str
    """As it came, e.g. ``Digest``."""
    params: Params = ()
    """Values as they came, quotes kept."""

    @classmethod
    def parse(cls, value: str) -> AuthParams:
        scheme, rest = (*value.split(None, 1), "", "")[:2]
        if not grammar.is_token(scheme):
            raise Malformed("an authentication header cannot be read")
        params = []
        for part in grammar.split_commas(rest):
            name, equals, text = part.partition("=")
            name = name.strip(" \t")
            if equals and grammar.is_token(name):
                params.append((name, text.strip(" \t\r\n")))
            elif part:
                raise Malformed("an authentication header cannot be read")
        return cls(scheme, tuple(params))

    @classmethod
    def parse_all(cls, value: str) -> list[AuthParams]:
        """The challenges of one header value, which may hold several (RFC 7235 section 4.1). One that cannot be read
        is left out; a scheme alone has no parameters."""
        pieces: list[str] = []
        for part in grammar.split_commas(value):
            if _SCHEME.match(part) is not None or not pieces:
                pieces.append(part)
            else:
                pieces[-1] += f", {part}"
        found = []
        for piece in pieces:
            try:
                found.append(cls.parse(piece))
            except Malformed:
                continue
        return found

    def __str__(self) -> str:
        return f"{self.scheme} " + ", ".join(f"{name}={value}" for name, value in self.params)

    def __repr__(self) -> str:
        return f"<{self.scheme} …>"

    def get(self, name: str) -> str | None:
        """The unquoted value of a parameter, by its lower-case name."""
        return param(self.params, name)
