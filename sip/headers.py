"""Header values as frozen values: ``X.parse(value)`` reads one, ``str(x)`` writes one.

A value is what stands behind the colon; where a header may hold a list, :func:`sip.grammar.split_commas` comes first.
Reading is forgiving where RFC 4475 allows it (empty parameters, odd spacing): what must be refused is refused by
:func:`sip.message.validate`. All errors are :class:`~sip.errors.Malformed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from sip import grammar
from sip.errors import Malformed
from sip.grammar import HOST, QUOTED, TOKEN, WS, Params, format_params, param, parse_params
from sip.rim import Address

_VIA: Final = re.compile(
    rf"{WS}*+SIP{WS}*+/{WS}*+{TOKEN}++{WS}*+/{WS}*+({TOKEN}++){WS}++({HOST}){WS}*+(?::{WS}*+(\d{{1,5}}))?{WS}*+(?=[;,]|\Z)",
    re.IGNORECASE,
)
_VIA_PARAMS: Final = re.compile(rf'(?:[^,"]++|"(?:[^"\\]++|\\.?)*+"?+)*+', re.DOTALL)
_RPORT: Final = re.compile(rf";{WS}*+rport{WS}*+(?:={WS}*+[^;, \t\r\n]*+)?(?=[;, \t\r\n]|\Z)", re.IGNORECASE)
_QUOTED: Final = re.compile(QUOTED, re.DOTALL)
_RECEIVED: Final = re.compile(rf";{WS}*+received{WS}*+={WS}*+([^;, \t\r\n]*+)", re.IGNORECASE)
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

    @property
    def branch(self) -> str:
        return param(self.params, "branch") or ""

    @property
    def received(self) -> str:
        """The address the request really came from, ``""`` when no one noted it."""
        return (param(self.params, "received") or "").strip("[]")

    @property
    def rport(self) -> int | None:
        """The port the request really came from (RFC 3581); ``None`` when not asked for, or not yet filled in."""
        port = grammar.number(param(self.params, "rport") or "")
        return port if port is not None and 0 < port < 65536 else None


def response_address(via: Via) -> Address:
    """Where the response to a request with this topmost Via goes on UDP, or when its connection is gone.

    RFC 3261 section 18.2.2 and RFC 3581 section 4. The Via must have been stamped (:func:`stamp_received`); then the
    host is a numeric address unless ``maddr`` is no number, which is passed over.
    """
    maddr = (param(via.params, "maddr") or "").strip("[]")
    default = 5061 if via.transport.upper() in ("TLS", "WSS") else 5060
    if maddr and is_address(maddr):
        return maddr, via.port or default
    return via.received or via.host, via.rport or via.port or default


def stamp_received(line: str, source: Address) -> str:
    """The topmost Via line, as it came from the network, with the address that it came from.

    ``received`` is added when the host of sent-by is not the source address (RFC 3261 section 18.2.1) or when
    ``rport`` was asked for, which is then filled in (RFC 3581 section 4). What the sender itself wrote into either is
    overwritten when it is wrong. All other bytes stay.

    Raises:
        Malformed: the sent-by cannot be read, so no answer can be addressed.
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


def _stamp_plain(line: str, source: Address) -> str | None:
    """The usual case at half the price: one Via with an empty ``rport``, nothing quoted, no ``received``."""
    at = line.find(";rport")
    after = line[at + 6 : at + 7]
    if (after and after != ";") or "," in line or '"' in line or "received" in line.lower():
        return None
    if _VIA.match(line, line.find(":") + 1) is None:
        raise Malformed("the Via header cannot be read")
    return f"{line[:at]};rport={source[1]}{line[at + 6 :]};received={source[0]}"


def _masked(text: str) -> str:
    """Quoted strings blanked out, so that a search cannot find anything inside them; the length stays."""
    return text if '"' not in text else _QUOTED.sub(lambda found: "x" * len(found[0]), text)


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address (without brackets) and not as a name."""
    return ":" in host or (host[-1:].isdigit() and host.count(".") == 3 and host.replace(".", "").isdigit())


def same_address(one: str, other: str) -> bool:
    """Whether two numeric addresses are the same one, whatever the spelling of an IPv6 address."""
    if one == other:
        return True
    if ":" not in one or ":" not in other:
        return False
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """A host as it stands in URIs and Via: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route, Record-Route, Refer-To and their like (RFC 3261 section 20.10)."""

    uri: str
    """The URI as it came, without the angle brackets; read it with :meth:`sip.uri.Uri.parse`."""
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

    def with_tag(self, tag: str) -> NameAddr:
        return NameAddr(self.uri, self.display, grammar.with_param(self.params, "tag", tag))
