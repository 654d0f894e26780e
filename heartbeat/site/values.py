"""The small values of a site file: addresses, secrets, number patterns. Each parses from the text of the file.

``parse`` raises :class:`ValueError` with the second half of a sentence ("must be like udp:192.0.2.1:5060, is ...");
the reader puts the place in the file before it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from sip.endpoint import DEFAULT_PORT, TRANSPORTS


class Within(NamedTuple):
    """Limits of a number, both included."""

    least: float
    most: float


def figure(number: float) -> str:
    """A number in plain notation: no exponent, no trailing zeros."""
    return f"{number:.0f}" if number % 1 == 0 else f"{number:g}"


Seconds = Annotated[float, Within(0, 86400)]
Host = Annotated[str, "host"]
"""A host, with or without a port."""
Url = Annotated[str, "URL"]
"""An HTTP address (RFC 9110)."""
Origin = Annotated[str, "origin"]
"""The origin of web pages (RFC 6454), or ``*``."""
NameOf = Annotated[str, "name"]
"""The name of another table of the file."""
Number = Annotated[str, "number"]
"""A telephone number or user name, as in the user part of a SIP URI."""

Https = Annotated[str, "https URL"]
"""A URL of a file on a web server."""
Field = Annotated[str, "field"]
"""The name of a header field."""
HeaderLine = Annotated[str, "header line"]
"""A header field with its value."""
Regex = Annotated[str, "regular expression"]
"""A regular expression of Python."""
HeaderText = Annotated[str, "header text"]
"""Part of the value of a header field."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def split_host_port(text: str) -> tuple[str, int | None]:
    """``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address; the port is None when absent."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"has an unclosed [ or text after it: {text!r}")
        port = rest[1:]
        ipaddress.IPv6Address(host)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    elif ":" in text:
        ipaddress.IPv6Address(text)
    if not host or not re.fullmatch(r"[0-9A-Za-z._:\-]+", host):
        raise ValueError(f"must name a host, is {text!r}")
    if not port and not text.endswith(":"):
        return host, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"must have a port from 1 to 65535, is {text!r}")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a program of the site listens at, written ``tls:192.0.2.1:5061`` or ``udp:[::1]:5060``."""

    transport: str
    """One of :data:`sip.endpoint.TRANSPORTS`."""
    host: str
    """Numeric host without brackets, or ``localhost``."""
    port: int
    """1 to 65535."""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        transport, colon, rest = text.partition(":")
        if not colon or transport not in TRANSPORTS:
            raise ValueError(
                f"must be like udp:192.0.2.1:5060, tcp:, tls:[2001:db8::1]:5061, ws: or wss:, is {text!r}"
            )
        host, port = split_host_port(rest)
        if port is None:
            raise ValueError(f"must have a port, like {transport}:{rest}:{DEFAULT_PORT[transport]}, is {text!r}")
        if host == "localhost":
            host = "127.0.0.1"
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(f"must name a numeric address to listen at, is {text!r}") from None
        return cls(transport, host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as sockets take them."""
        return self.host, self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Api:
    """Where a program answers its commands: ``unix:/run/holdfast/m1.sock`` or ``tcp:127.0.0.1:8080``."""

    path: str = ""
    """Path of the UNIX socket; empty for TCP. ``load`` makes it absolute (relative to the site file)."""
    host: str = ""
    """Numeric host for TCP."""
    port: int = 0
    """Port for TCP."""

    @classmethod
    def parse(cls, text: str) -> Api:
        scheme, _, rest = text.partition(":")
        if scheme == "unix" and rest:
            return cls(path=rest)
        if scheme == "tcp":
            endpoint = Endpoint.parse(text)
            return cls(host=endpoint.host, port=endpoint.port)
        raise ValueError(f"must be like unix:/run/holdfast/m1.sock or tcp:127.0.0.1:8080, is {text!r}")

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else str(Endpoint("tcp", self.host, self.port))


@dataclass(frozen=True, slots=True)
class Secret:
    """A key or password. The site file says where it is kept; its text never shows in ``repr``, ``str`` or logs."""

    source: str
    """``env NAME``, ``file PATH`` or ``secret NAME``, as written in the site file."""
    value: bytes | None = field(default=None, repr=False, compare=False)
    """What was read there, one trailing line end removed; None when it is missing."""
    problem: str = field(default="", compare=False)
    """Why ``value`` is missing, as a half sentence; empty when it is there."""
    warning: str = field(default="", compare=False)
    """What is wrong with the place of a secret that is there, as a half sentence; empty when all is well."""

    def reveal(self) -> bytes:
        """The secret itself. Raises :class:`LookupError` with a sentence when it is missing."""
        if self.value is None:
            raise LookupError(f"The secret from {self.source} is missing: {self.problem or 'it was not read'}.")
        return self.value

    def __str__(self) -> str:
        return f"<secret from {self.source}>"


@dataclass(frozen=True, slots=True)
class Source:
    """Addresses that a trunk's requests come from: ``192.0.2.0/24``, ``2001:db8::1``, ``192.0.2.1:5070``."""

    network: Network
    """A single address is a network of one."""
    port: int | None = None
    """Only from this port; None for any."""

    @classmethod
    def parse(cls, text: str) -> Source:
        try:
            if "/" in text:
                return cls(ipaddress.ip_network(text))
            host, port = split_host_port(text)
            return cls(ipaddress.ip_network(host), port)
        except ValueError as error:
            raise ValueError(f"must be an address, address:port or network/bits: {error}") from None

    def overlaps(self, other: Source) -> bool:
        """Whether some address and port belong to both."""
        if self.port is not None and other.port is not None and self.port != other.port:
            return False
        if isinstance(self.network, ipaddress.IPv4Network):
            return isinstance(other.network, ipaddress.IPv4Network) and self.network.overlaps(other.network)
        return isinstance(other.network, ipaddress.IPv6Network) and self.network.overlaps(other.network)

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        text = str(self.network.network_address) if single else str(self.network)
        if self.port is None:
            return text
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"


@dataclass(frozen=True, slots=True)
class PeerUri:
    """A SIP URI that requests are sent to: ``sip:192.0.2.1:5070;transport=tcp`` (a name is resolved by RFC 3263).
    ``sips:`` is TLS, and says in the Request-URI that nobody shall listen in."""

    host: str
    """Numeric address without brackets, or a domain name."""
    port: int | None = None
    """None: RFC 3263 finds it."""
    transport: str = ""
    """``udp``, ``tcp``, ``tls``, or empty: RFC 3263 finds it (udp for a numeric address, tls for ``sips:``)."""
    secure: bool = False
    """Whether it is a ``sips`` URI."""

    @classmethod
    def parse(cls, text: str) -> PeerUri:
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in ("sip", "sips") or "@" in text:
            raise ValueError(f"must be like sip:192.0.2.1:5060 or sip:carrier.example;transport=tls, is {text!r}")
        rest, *parameters = rest.split(";")
        transport = ""
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name != "transport" or value not in ("udp", "tcp", "tls"):
                raise ValueError(f"may have only ;transport=udp, ;transport=tcp or ;transport=tls, is {text!r}")
            transport = value
        if scheme == "sips" and transport == "udp":
            raise ValueError(f"cannot be sips by UDP: sips is TLS over TCP, is {text!r}")
        host, port = split_host_port(rest)
        return cls(host, port, "" if scheme == "sips" else transport, scheme == "sips")

    @property
    def is_tls(self) -> bool:
        """Whether it is reached by TLS and nothing else."""
        return self.secure or self.transport == "tls"

    @property
    def network(self) -> Network | None:
        """Its numeric address as a network of one; None for a name."""
        try:
            return ipaddress.ip_network(self.host)
        except ValueError:
            return None

    @property
    def uri(self) -> str:
        """The URI again, as requests and the resolver take it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        transport = f";transport={self.transport}" if self.transport else ""
        return f"{'sips' if self.secure else 'sip'}:{host}{port}{transport}"

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of numbers: ``1001`` itself; ``+33*`` all that begin so; ``?`` one character; ``[2-4]`` one of these.

    A star at the end stands for any rest, also an empty one; anywhere else it is the star key.
    """

    text: str
    """As written in the site file."""
    exact: bool = field(init=False, compare=False, repr=False)
    """True when the text matches only itself."""
    prefix: str | None = field(init=False, compare=False, repr=False)
    """When all that is asked is how a number begins: this beginning; else None."""
    _regex: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        rest = self.text.endswith("*")
        body = self.text[:-1] if rest else self.text
        plain = not any(c in "?[]" for c in body)
        if "]" in re.sub(r"\[[^\[\]]+\]", "", body) or "[" in re.sub(r"\[[^\[\]]+\]", "", body):
            raise ValueError(f"has a [ or ] without its partner: {self.text!r}")
        parts = re.findall(r"\[[^\[\]]+\]|.", body, re.DOTALL)
        try:
            regex = re.compile("".join(map(_as_regex, parts)) + (".*" if rest else ""), re.DOTALL)
        except re.error:
            raise ValueError(f"has a range that runs backwards: {self.text!r}") from None
        object.__setattr__(self, "exact", plain and not rest)
        object.__setattr__(self, "prefix", body if plain and rest else None)
        object.__setattr__(self, "_regex", regex)

    @classmethod
    def parse(cls, text: str) -> Pattern:
        if not text or len(text) > 64:
            raise ValueError(f"must be a pattern of 1 to 64 characters, is {text!r}")
        return cls(text)

    def matches(self, number: str) -> bool:
        """True when ``number`` (the user part of a URI) belongs to the set."""
        return self._regex.fullmatch(number) is not None

    def covers(self, other: Pattern) -> bool:
        """True when all numbers of ``other`` are known to belong to this one too."""
        if self.text == other.text or (other.exact and self.matches(other.text)):
            return True
        return self.prefix is not None and other.lead.startswith(self.prefix)

    @property
    def lead(self) -> str:
        """The common beginning of all its numbers."""
        return re.split(r"[?\[]", self.text.removesuffix("*"), maxsplit=1)[0]

    def __str__(self) -> str:
        return self.text


def _as_regex(part: str) -> str:
    if part == "?":
        return "."
    if len(part) > 1:
        return "[" + re.escape(part[1:-1]).replace(r"\-", "-") + "]"
    return re.escape(part)
