"""The spelling of listeners, and numeric hosts. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from sip.wire.errors import SipError

TRANSPORTS: Final = ("udp", "tcp", "tls", "ws", "wss")
SECURE: Final = frozenset({"tls", "wss"})
"""Transports over TLS."""
WHOLE: Final = frozenset({"udp", "ws", "wss"})
"""Transports that keep message boundaries (RFC 7118 section 5)."""
DEFAULT_PORT: Final = MappingProxyType({"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443})
"""RFC 3261 section 19.1.2, RFC 7118 section 5.2.2."""


class BadEndpoint(SipError):
    """A listener's specification is malformed; the text says how to write it."""


@lru_cache(maxsize=4096)
def is_numeric(host: str) -> bool:
    """Whether ``host`` is an IPv4 or IPv6 address (without brackets); a socket would block on DNS for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def is_private(host: str) -> bool:
    """Whether a numeric host is not globally reachable (RFC 1918, RFC 4193, RFC 6598 and the like)."""
    return not ipaddress.ip_address(host.partition("%")[0]).is_global


@lru_cache(maxsize=4096)
def plain_host(host: str) -> str:
    """The canonical text of a numeric host; an IPv4-mapped IPv6 address becomes IPv4."""
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """A listener as the site file spells it: ``udp:127.0.0.1:5060`` or ``tls:[::1]:5061``."""

    transport: str
    """One of `TRANSPORTS`."""
    host: str
    """Numeric, without brackets."""
    port: int
    """0: any free one."""
    local: str
    """The specification without its scheme: the ``local`` of UDP flows."""

    @classmethod
    def parse(cls, text: str) -> ListenerAddress:
        """Raises `BadEndpoint` where the text is malformed."""
        transport, _, local = text.partition(":")
        host, _, port = local.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if transport not in TRANSPORTS:
            raise BadEndpoint(f"{text!r} is no listener: write udp:host:port, tcp:, tls:, ws: or wss:")
        if not is_numeric(host):
            raise BadEndpoint(f"{text!r} needs a numeric host, IPv6 in brackets: udp:127.0.0.1:5060")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise BadEndpoint(f"{text!r} needs a port from 0 to 65535 at its end")
        return cls(transport, host, int(port), local)
