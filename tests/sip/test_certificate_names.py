"""For whom a certificate speaks (RFC 5922 section 7)."""

from __future__ import annotations

from typing import Any

import pytest

from sip.certificate_names import identities, speaks_for

CN = ((("commonName", "cn.example"),),)


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        ({}, ()),
        ({"subject": CN}, ("cn.example",)),
        ({"subject": CN, "subjectAltName": (("DNS", "San.Example."),)}, ("san.example",)),
        ({"subject": CN, "subjectAltName": (("email", "a@b.example"),)}, ()),
        ({"subjectAltName": (("DNS", "*.example"), ("DNS", "a.example"))}, ("a.example",)),
        ({"subject": ((("commonName", "*.example"),),)}, ()),
        ({"subjectAltName": (("URI", "sip:a.example"), ("DNS", "b.example"))}, ("a.example",)),
        ({"subjectAltName": (("URI", "sip:bob@a.example"), ("DNS", "b.example"))}, ("b.example",)),
        ({"subjectAltName": (("URI", "https://a.example"), ("DNS", "b.example"))}, ("b.example",)),
        ({"subjectAltName": (("URI", "sip:"), ("URI", "nonsense"), ("DNS", "b.example"))}, ("b.example",)),
        ({"subjectAltName": (("DNS", "a.example"), ("IP Address", "192.0.2.1"))}, ("a.example", "192.0.2.1")),
        ({"subjectAltName": (("IP Address", "2001:DB8:0:0:0:0:0:1\n"),)}, ("2001:DB8:0:0:0:0:0:1",)),
    ],
)
def test_identities(certificate: dict[str, Any], names: tuple[str, ...]) -> None:
    assert identities(certificate) == names


def test_a_certificate_speaks_for_whole_names_only() -> None:
    names = ("a.example", "2001:db8:0:0::1", "192.0.2.1")
    for wanted in ("a.example", "A.Example.", "2001:db8::1", "192.0.2.1"):
        assert speaks_for(names, ["other.example", wanted])
    for wanted in ("x.a.example", "example", "", "192.0.2.10", "2001:db8::2"):
        assert not speaks_for(names, [wanted])
    assert not speaks_for((), ["a.example"])
    assert not speaks_for(("*.example",), ["a.example"])
