"""Proof that a server process has died: the secret that its supervisor draws, and reveals at its end
(docs/heartbeat.md).

For each start of a server its supervisor draws a *secret*. The server puts the hash of it, the *commitment*, into all
its statements. A node that gets a secret with that hash knows that this start has died, since only the supervisor has
the secret and reveals it after ``waitpid``. So the notice needs no signature, and the supervisor no key.

::

    OPTIONS sip:m2@192.0.2.2:5162 SIP/2.0
    Death: site=paris; node=m1; secret=5f0c...; by=signal-9
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sip.wire.build import request_bytes

DEATH: Final = "death"
"""The header field, in lower case."""
_DIGITS: Final = 32
_NOTICE: Final = re.compile(
    r"site=([^;\s]{1,64}); node=([^;\s]{1,64}); secret=([0-9a-f]{32}); by=(signal|status)-([0-9]{1,3})"
)


def commitment_of(secret: str) -> str:
    """The commitment to a secret: 128 bits of its hash in hexadecimal."""
    return sha256(b"death " + secret.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class Death:
    """The death of one start of a server."""

    site: str
    node: str
    secret: str
    by: str
    """The cause: ``signal-9``, ``status-1``. It is not authenticated: only for display."""

    @property
    def how(self) -> str:
        """The cause in words."""
        kind, _, number = self.by.partition("-")
        return f"by signal {number}" if kind == "signal" else f"with exit status {number}"

    @property
    def text(self) -> str:
        """The value of the header field."""
        return f"site={self.site}; node={self.node}; secret={self.secret}; by={self.by}"

    @classmethod
    def parse(cls, text: str) -> Death:
        """Raises ValueError."""
        found = _NOTICE.fullmatch(text)
        if found is None:
            raise ValueError("a Death header must read site=...; node=...; secret=...; by=signal-9")
        site, node, secret, kind, number = found.groups()
        return cls(site, node, secret, f"{kind}-{number}")


def notice(death: Death, local: str, remote: str, transport: str = "udp") -> bytes:
    """The OPTIONS that reports it, from and to ``host:port`` (an IPv6 address in brackets)."""
    mark = commitment_of(death.secret)[:16]
    lines = (
        f"Via: SIP/2.0/{transport.upper()} {local};branch=z9hG4bK{mark}",
        "Max-Forwards: 1",
        f"From: <sip:{death.node}@{death.site}>;tag={mark}",
        f"To: <sip:{remote}>",
        f"Call-ID: {mark}",
        "CSeq: 1 OPTIONS",
        f"Death: {death.text}",
    )
    return request_bytes("OPTIONS", f"sip:{remote}", lines)
