"""How urgent a call says it is (RFC 3261 section 20.26, RFC 4412, RFC 7135)."""

from __future__ import annotations

import pytest

from sip.priority import priority_of
from sip.wire.message import Request, parse


@pytest.mark.parametrize(
    ("lines", "priority"),
    [
        ("", 0),
        ("Priority: Emergency", 9),
        ("Priority: urgent", 5),
        ("Priority: non-urgent", 0),
        ("Resource-Priority: esnet.1", 9),
        ("Resource-Priority: dsn.flash", 7),
        ("Resource-Priority: DSN.Flash-Override", 8),
        ("Resource-Priority: dsn.routine", 0),
        ("Resource-Priority: q735.0", 8),
        ("Resource-Priority: q735.4", 0),
        ("Resource-Priority: drsn.flash-override-override", 9),
        ("Resource-Priority: ets.0, wps.3", 8),
        ("Resource-Priority: unknown.9, wps.3\r\nResource-Priority: dsn.immediate", 6),
        ("Resource-Priority: dsn", 0),
        ("Priority: urgent\r\nResource-Priority: dsn.priority", 5),
    ],
)
def test_the_highest_of_what_is_said_counts(lines: str, priority: int) -> None:
    end = "\r\n" if lines else ""
    head = f"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{lines}{end}"
    found = parse(f"{head}From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n".encode())
    assert isinstance(found, Request)
    assert priority_of(found) == priority
