"""Redirections to other numbers (RFC 3261 sections 8.1.3.4, 21.3)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.redirection import LONGEST_PARAMS, MOST_CONTACTS, Redirect, contact_lines, redirects_of
from sip.wire.message import Response, parse
from tests.sip.two_stacks import End


def moved(*contacts: str, status: int = 302) -> Response:
    lines = (f"SIP/2.0 {status} Moved", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@x>;tag=a")
    more = ("To: <sip:b@x>;tag=b", "Call-ID: c", "CSeq: 1 INVITE", *(f"Contact: {each}" for each in contacts), "", "")
    message = parse("\r\n".join((*lines, *more)).encode())
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("contacts", "found"),
    [
        ((), []),
        (("<sip:1001@x>",), [Redirect("1001")]),
        (("sip:1001@10.0.0.1:5070;q=0.2",), [Redirect("1001", "", 0.2)]),
        (("<tel:+33-1-55;ext=3>",), [Redirect("+33155", ";ext=3")]),
        (("<sip:+33155;npdi;rn=+33177@x;user=phone>",), [Redirect("+33155", ";npdi;rn=+33177")]),
        (("<sip:+33155;tgrp=t1;trunk-context=x@y>",), [Redirect("+33155", ";tgrp=t1;trunk-context=x")]),
        (("<sip:a@x>;q=0.1, <sip:b@x>", "<sip:c@x>;q=0.5"), [("b", "", 1.0), ("c", "", 0.5), ("a", "", 0.1)]),
        (("<sip:a@x>;q=1e-5, <sip:b@x>;q=nan",), [("b", "", 1.0), ("a", "", 0.0)]),
        (("<", "<mailto:a@x>", "<sip:x>", "<sip:a@x>"), [Redirect("a")]),
        ((f"<sip:+1;rn={'9' * LONGEST_PARAMS}@x>",), [Redirect("+1")]),
    ],
)
def test_the_contacts_of_a_3xx_the_most_wanted_first(contacts: tuple[str, ...], found: list[Redirect]) -> None:
    assert list(redirects_of(moved(*contacts))) == found


@pytest.mark.parametrize(("status", "number"), [(300, 1), (301, 1), (302, 1), (305, 0), (380, 0), (404, 0), (200, 0)])
def test_only_what_names_another_number_is_one(status: int, number: int) -> None:
    assert len(redirects_of(moved("<sip:1001@x>", status=status))) == number
    assert redirects_of(None) == ()


def test_there_is_an_end_of_contacts() -> None:
    assert len(redirects_of(moved(*(f"<sip:{number}@x>" for number in range(100))))) == MOST_CONTACTS


def test_passed_on_it_names_the_numbers_at_our_address() -> None:
    stack = End("m", 5000).stack
    flow = Flow("tcp", "127.0.0.1:5000", ("127.0.0.7", 5060))
    lines = contact_lines(moved("<sip:+33155;rn=+1@10.0.0.1;transport=udp>;q=0.25, <sip:100%25@z>"), stack, flow)
    assert lines == [
        "Contact: <sip:100%25@127.0.0.1:5000;transport=tcp>;q=1",
        "Contact: <sip:+33155;rn=+1@127.0.0.1:5000;transport=tcp>;q=0.25",
    ]
