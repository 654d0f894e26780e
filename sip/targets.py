"""Where to send a request: the order of targets of RFC 3263, with the weights of RFC 2782. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """One place to try."""

    transport: str
    """``udp`` or ``tcp``."""
    host: str
    """Numeric, without brackets."""
    port: int
