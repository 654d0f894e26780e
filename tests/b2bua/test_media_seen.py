"""What a server notes of the media of a call, for its record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.media_seen import NOTHING_SEEN, refusal_of, seen_of
from sip.wire.message import Response, parse

HEAD = "v=0\r\no=a 1 1 IN IP4 127.0.0.9\r\ns=-\r\n"


def answer(body: bytes, kind: str = "application/sdp", status: str = "200 OK", more: str = "") -> Response:
    text = (
        f"SIP/2.0 {status}\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:b@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:b@127.0.0.1>\r\n{more}"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    message = parse(text.encode() + body)
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("description", "codec", "place"),
    [
        ("c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\n", "PCMA", "127.0.0.1:4000"),
        ("t=0 0\r\nm=audio 4000 RTP/AVP 96\r\nc=IN IP6 ::1\r\na=rtpmap:96 opus/48000/2\r\n", "opus", "[::1]:4000"),
        ("c=IN IP4 127.0.0.1\nt=0 0\nm=audio 4000/2 RTP/AVP 9\n", "G722", "127.0.0.1:4000"),
        ("c=IN IP4 127.0.0.1\r\nm=image 9 udptl t38\r\n", "", "127.0.0.1:9"),
        ("m=audio 1 RTP/AVP 0\r\nm=video 2 RTP/AVP 1\r\nc=IN IP4 127.0.0.1\r\n", "PCMU", ""),
        ("c=IN IP4 \x1b[2J\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 \x1b[2J/8000\r\n", "", ""),
        ("c=IN\r\nm=audio\r\n", "", ""),
        ("", "", ""),
    ],
)
def test_codec_and_place_are_those_of_the_first_section(description: str, codec: str, place: str) -> None:
    seen = seen_of(None, answer((HEAD + description).encode()))
    assert seen == NOTHING_SEEN._replace(status=200, codec=codec, callee=place)


@given(st.binary(max_size=300))
def test_no_description_raises(body: bytes) -> None:
    seen = seen_of(None, answer(HEAD.encode() + body))
    assert len(seen.codec) <= 64 and len(seen.callee) <= 80


def test_a_refusal_tells_status_and_reason() -> None:
    said = answer(b"", status="486 Busy", more="Reason: Q.850;cause=17\r\n")
    assert refusal_of(said) == NOTHING_SEEN._replace(status=486, reason="Q.850;cause=17")
