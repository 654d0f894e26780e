"""Messages as bytes: what is built can be read again."""

from __future__ import annotations

from sip.wire.build import request_bytes, response_bytes
from sip.wire.message import Request, Response, parse

LINES = ("Via: SIP/2.0/UDP h;branch=z9hG4bKa", "From: <sip:a@h>;tag=1", "To: <sip:b@h>", "Call-ID: c", "CSeq: 1 INFO")


def test_a_request_ends_with_its_length_and_its_body() -> None:
    data = request_bytes("INFO", "sip:b@h", LINES, b"caf\xe9")
    assert data.endswith(b"CSeq: 1 INFO\r\nContent-Length: 4\r\n\r\ncaf\xe9")
    request = parse(data)
    assert isinstance(request, Request) and request.uri == "sip:b@h" and request.body == b"caf\xe9"


def test_a_response_has_the_phrase_of_its_rfc_or_the_one_given() -> None:
    assert response_bytes(486, "", LINES).startswith(b"SIP/2.0 486 Busy Here\r\nVia: ")
    assert response_bytes(486, "Not now", LINES).startswith(b"SIP/2.0 486 Not now\r\n")
    response = parse(response_bytes(299, "", LINES))
    assert isinstance(response, Response) and response.reason == "Unknown" and response.body == b""


def test_each_character_is_one_byte() -> None:
    assert response_bytes(200, "\xe9", ()) == b"SIP/2.0 200 \xe9\r\nContent-Length: 0\r\n\r\n"
