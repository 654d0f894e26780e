"""Whose request it is, by the address that it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.site.load import parse
from heartbeat.site.sources import SourceTable

TEXT = """
[site]
name = "x"
key = { env = "KEY" }
[servers.m1]
role = "main"
sip = ["udp:127.0.0.1:5060"]
"""
LINE = """
[lines.%s]
kind = "trunk"
peer = "sip:%s.example"
from = %s
channels = 1
"""
SOURCES = {
    "carrier": ["192.0.2.1:5060", "2001:DB8::1"],
    "branch": ["192.0.2.1:5080"],
    "pbx": ["10.0.0.0/8", "2001:db8:1::/48"],
}


def table() -> SourceTable:
    lines = [LINE % (name, name, str(sources).replace("'", '"')) for name, sources in SOURCES.items()]
    site = parse(TEXT + "".join(lines), Path("site.toml"), {"KEY": "0123456789abcdef"})
    return SourceTable(site.lines.values())


@pytest.mark.parametrize(
    ("host", "port", "stream", "name"),
    [
        ("192.0.2.1", 5060, False, "carrier"),
        ("192.0.2.1", 5080, False, "branch"),
        ("192.0.2.1", 40000, False, ""),
        ("192.0.2.1", 40000, True, "carrier"),
        ("2001:db8:0:0:0:0:0:1", 9, False, "carrier"),
        ("2001:db8:1:ffff::1", 9, False, "pbx"),
        ("2001:db8:2::1", 9, False, ""),
        ("10.9.9.9", 9, False, "pbx"),
        ("::ffff:10.9.9.9", 9, False, "pbx"),
        ("fe80::1%eth0", 9, False, ""),
        ("carrier.example", 9, False, ""),
        ("", 9, False, ""),
    ],
)
def test_the_trunk_of_a_source(host: str, port: int, stream: bool, name: str) -> None:
    sources = table()
    for _ in range(2):  # the second time from memory
        found = sources.line(host, port, stream)
        assert (found.name if found is not None else "") == name
