"""How a listener is spelled, and what a numeric host is. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from sip.wire.errors import SipError


class BadEndpoint(SipError):
    """A listener cannot be read; the sentence says how to spell it."""


@lru_cache(maxsize=4096)
def is_numeric(host: str) -> bool:
    """Whether ``host`` is an IPv4 or IPv6 address (without brackets); a name would make a socket ask DNS and wait."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """A listener as the site file spells it: ``udp:127.0.0.1:5060`` or ``tcp:[::1]:5060``."""

    transport: str
    """``udp`` or ``tcp``."""
    host: str
    """Numeric, without brackets."""
    port: int
    """0: any free one."""
    local: str
    """The specification without its scheme: the ``local`` of UDP flows."""

    @classmethod
    def parse(cls, text: str) -> ListenerAddress:
        """Raises `BadEndpoint` with a sentence."""
        transport, _, local = text.partition(":")
        host, _, port = local.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if transport not in ("udp", "tcp"):
            raise BadEndpoint(f"{text!r} is no listener: write udp:host:port or tcp:host:port")
        if not is_numeric(host):
            raise BadEndpoint(f"{text!r} needs a numeric host, IPv6 in brackets: udp:127.0.0.1:5060")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise BadEndpoint(f"{text!r} needs a port from 0 to 65535 at its end")
        return cls(transport, host, int(port), local)
