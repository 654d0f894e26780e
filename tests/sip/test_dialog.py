"""Dialog state: what a call is made again from."""

from __future__ import annotations

import pytest

from sip.dialog import UAS, Dialog, DialogState, bare_uri, called_by, contact_uri
from sip.wire.message import Request, Response, parse, without_tag

INVITE = (
    b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n"
    b"Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n"
    b'From: "A, B" <sip:a@x;user=phone>;x=1;tag=fa\r\nTo: <sip:b@x>\r\nCall-ID: c1\r\nCSeq: 4 INVITE\r\n'
    b'Contact: "me" <sip:a@127.0.0.1:5070;transport=tcp>;expires=5\r\nContent-Length: 0\r\n\r\n'
)


def test_the_called_side_takes_the_routes_as_they_came() -> None:
    request = parse(INVITE)
    assert isinstance(request, Request)
    state = called_by(request, "tb")
    assert state == DialogState(
        call_id="c1",
        local_tag="tb",
        remote_tag="fa",
        local="<sip:b@x>",
        remote='"A, B" <sip:a@x;user=phone>;x=1',
        local_cseq=0,
        remote_cseq=4,
        target="sip:a@127.0.0.1:5070;transport=tcp",
        route_set=("<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>"),
        direction=UAS,
    )
    assert Dialog(state).export() == state


def test_the_calling_side_takes_them_in_reverse() -> None:
    answer = parse(
        INVITE.replace(b"INVITE sip:b@x SIP/2.0", b"SIP/2.0 200 OK").replace(b"To: <sip:b@x>", b"To: b;tag=tb")
    )
    assert isinstance(answer, Response)
    dialog = Dialog(DialogState("c1", "fa", "", "<sip:a@x>", "<sip:b@x>", local_cseq=4, target="sip:b@x"))
    dialog.establish(answer)
    assert dialog.route_set == ("<sip:p3;lr>", "<sip:p2;lr>", "<sip:p1;lr>") and dialog.remote_tag == "tb"
    uri, head = dialog.head("BYE", 5, "Via: v")
    assert uri == "sip:a@127.0.0.1:5070;transport=tcp"
    assert head == [
        "Via: v", "Route: <sip:p3;lr>", "Route: <sip:p2;lr>", "Route: <sip:p1;lr>",
        "From: <sip:a@x>;tag=fa", "To: <sip:b@x>;tag=tb", "Call-ID: c1", "CSeq: 5 BYE",
    ]  # fmt: skip


def test_a_strict_router_stands_in_the_request_uri() -> None:
    state = DialogState(
        "c", "l", "r", "<sip:a@x>", "<sip:b@x>", target="sip:t@y", route_set=("<sip:s>", "<sip:p;lr>")
    )
    uri, head = Dialog(state).head("BYE", 1, "Via: v")
    assert uri == "sip:s" and head[1:3] == ["Route: <sip:p;lr>", "Route: <sip:t@y>"]


@pytest.mark.parametrize(
    "value, uri",
    [
        ("<sip:a@x;lr>;q=1", "sip:a@x;lr"),
        ("sip:a@x;q=1", "sip:a@x"),
        ('"a <b>" <sip:c@x>', "sip:c@x"),
        ("Bob <sip:c@x>", "sip:c@x"),
    ],
)
def test_the_uri_of_an_address(value: str, uri: str) -> None:
    assert bare_uri(value) == uri


@pytest.mark.parametrize(
    "value, bare",
    [
        ("<sip:a@x>;tag=1", "<sip:a@x>"),
        ("<sip:a@x>", "<sip:a@x>"),
        ("<sip:a@x>;tag=1;y=2", "<sip:a@x>;y=2"),
        ("<sip:a@x> ; tag=1", "<sip:a@x>"),
        ("sip:a@x;tag=1", "sip:a@x"),
    ],
)
def test_a_tag_is_taken_off(value: str, bare: str) -> None:
    assert without_tag(value) == bare


@pytest.mark.parametrize(
    "route, loose",
    [
        ("<sip:p;lr>", True),
        ("<sip:p;LR=on>", True),
        ("<sip:p;transport=udp;lr>;x=1", True),
        ("<sip:p1;lrx=1@h>", False),
        ("<sip:p1;lr@h>", False),
        ("<sip:h;lrx>", False),
        ("<sip:h>;lr", False),
        ("<sip:a b@h>", True),  # cannot be read, so it cannot stand in a request line
    ],
)
def test_a_router_is_loose_by_its_uri_parameter_alone(route: str, loose: bool) -> None:
    state = DialogState("c", "l", "r", "<sip:a@x>", "<sip:b@x>", target="sip:t@y", route_set=(route,))
    uri, head = Dialog(state).head("BYE", 1, "Via: v")
    assert (uri == "sip:t@y") == loose
    assert (f"Route: {route}" in head) == loose


@pytest.mark.parametrize(
    "lines, uri",
    [
        ("", ""),
        ("Contact: *", ""),
        ("Contact: <sip:a@h>", "sip:a@h"),
        ("m: sip:a@h;q=1", "sip:a@h"),
        ('Contact: "a, <b>" <sip:a@h;x=1>;q=1', "sip:a@h;x=1"),
        ("Contact: <sip:a@h?Subject=x>", "sip:a@h"),
        ("Contact: <sip:a,b@h>", "sip:a,b@h"),
        ("Contact: <sip:a@h>, <sip:b@h>", ""),
        ("Contact: <sip:a@h>\r\nContact: <sip:b@h>", ""),
        ("Contact: <sip:bob x@h>", ""),
        ("Contact: <sip <sip:m1>", ""),
        ("Contact: sip:b@h SIP/2.0", ""),
        ("Contact: <mailto:a@b>", ""),
        ("Contact: <tel:+1>", ""),
        ("Contact: <sips:a@h>", ""),
    ],
)
def test_a_contact_that_may_stand_in_a_request_line(lines: str, uri: str) -> None:
    with_it = INVITE.replace(
        b'Contact: "me" <sip:a@127.0.0.1:5070;transport=tcp>;expires=5\r\n', lines.encode() + b"\r\n" * bool(lines)
    )
    assert contact_uri(parse(with_it)) == uri
