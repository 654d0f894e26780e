"""Numbers on their way through a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway_agent.numbers import from_device, to_device
from sip.wire.errors import Malformed
from sip.wire.message import Request, parse
from tests.gateway_agent.agent_fixture import site

LINE = site().lines["trunk1"]


def invite(uri: str, sender: str = "<sip:+33155@h>") -> Request:
    text = f"INVITE {uri} SIP/2.0\r\nFrom: {sender};tag=f\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
    request = parse(text.encode())
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(
    "uri, onward",
    [
        ("sip:+33166@h", "sip:+33166@m1"),
        ("sip:+33166;npdi;rn=+33177@h;user=phone", "sip:+33166;npdi;rn=+33177@m1;user=phone"),
        ("sip:+33166;isub=1234@h", "sip:+33166;isub=1234@m1"),
        ("sip:+33166;tgrp=tg1;trunk-context=x@h", "sip:+33166;tgrp=tg1;trunk-context=x@m1"),
        ("tel:1660;phone-context=x.example", "sip:1660;phone-context=x.example@m1;user=phone"),
        ("sip:alice;day=tuesday@h", "sip:alice;day=tuesday@m1"),
    ],
)
def test_what_is_said_of_a_number_crosses(uri: str, onward: str) -> None:
    assert from_device(LINE, invite(uri), "paris").uri("m1") == onward
    named = onward.replace("@m1", "@gw1;line=trunk1")
    assert to_device(LINE, invite(named), "gw1", "h").uri("m1") == onward


def test_what_is_said_of_the_caller_crosses_with_his_number_alone() -> None:
    request = invite("sip:1@h", '"A" <sip:+33155;cpc=ordinary@h;user=phone>')
    assert from_device(LINE, request, "paris").sender == '"A" <sip:+33155;cpc=ordinary@paris;user=phone>'
    assert to_device(LINE, request, "gw1", "h").sender == '"A" <sip:+33155;cpc=ordinary@gw1;user=phone>'
    shown = replace(LINE, caller_number="+33100")
    assert from_device(shown, request, "paris").sender == '"A" <sip:+33100@paris>'


def test_a_caller_of_another_scheme_crosses_as_he_is() -> None:
    request = invite("sip:1@h", '"A" <http://example.com/a>')
    told = from_device(LINE, request, "paris")
    assert (told.sender, told.caller) == ('"A" <http://example.com/a>', "")
    assert to_device(LINE, request, "gw1", "h").sender == told.sender
    shown = replace(LINE, caller_number="+33100")
    assert from_device(shown, request, "paris").sender == "<sip:+33100@paris>"


@pytest.mark.parametrize("uri", ["sip:h", "sip:h;user=phone"])
def test_a_request_uri_without_a_number_is_no_call(uri: str) -> None:
    with pytest.raises(Malformed):
        from_device(LINE, invite(uri), "paris")
