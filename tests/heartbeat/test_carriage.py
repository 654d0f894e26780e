"""Statements as OPTIONS and their answers, read by our own SIP."""

from __future__ import annotations

import pytest

from heartbeat import carriage
from heartbeat.header import Beat, BeatError
from sip.wire.message import Request, Response, parse
from sip.wire.validation import validate

KEYS = (b"new" * 8, b"old" * 8)
BEAT = Beat("paris", "m1", 41, 7, "active", 1841, "beat", "gw1", 812, 5000, 0.31, "9c41d0aa", 3)
VIA = "Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKx;rport"


def asked(beat: Beat = BEAT, key: bytes = KEYS[0], host: str = "127.0.0.2") -> Request:
    message = parse(carriage.request(beat, key, VIA, (host, 5070), "c1-m1-gw1", 12))
    assert isinstance(message, Request)
    validate(message)
    return message


def test_a_beat_is_an_ordinary_options() -> None:
    message = asked()
    assert (message.method, message.uri, message.cseq) == ("OPTIONS", "sip:gw1@127.0.0.2:5070", 12)
    assert carriage.beat_in(message, KEYS) == BEAT
    assert asked(host="::1").uri == "sip:gw1@[::1]:5070"


@pytest.mark.parametrize("no, status", [("", 200), ("stale", 403)])
def test_its_answer_carries_the_verdict_signed(no: str, status: int) -> None:
    said = Beat("paris", "gw1", 3, 7, "agent", 5, "beat", "m1", re=(41, 1841), no=no, leader="m1", heard=0.12)
    answer = parse(carriage.answer(asked(), said, KEYS[1]))
    assert isinstance(answer, Response) and answer.status == status and answer.to_tag
    assert (answer.call_id, answer.cseq, answer.get("via")) == ("c1-m1-gw1", 12, VIA[5:])
    assert carriage.beat_in(answer, KEYS) == said


def test_a_beat_in_another_message_or_under_another_key_is_none() -> None:
    message = asked()
    with pytest.raises(BeatError, match="mac"):
        carriage.beat_in(message, (b"stranger",))
    message.set("call-id", "Call-ID: another")
    moved = parse(message.to_bytes())
    with pytest.raises(BeatError, match="mac"):
        carriage.beat_in(moved, KEYS)


def test_a_plain_options_has_no_beat() -> None:
    lines = asked().to_bytes().split(b"\r\n")
    message = parse(b"\r\n".join(line for line in lines if not line.startswith(b"Heartbeat:")))
    with pytest.raises(BeatError, match="no Heartbeat header"):
        carriage.beat_in(message, KEYS)


def test_an_answer_without_a_beat_says_what_that_means() -> None:
    refused = parse(b"SIP/2.0 403 Forbidden\r\n" + VIA.encode() + b"\r\nCSeq: 12 OPTIONS\r\nCall-ID: c\r\n\r\n")
    assert isinstance(refused, Response)
    with pytest.raises(BeatError) as fault:
        carriage.beat_in(refused, KEYS)
    assert str(fault.value) == (
        "it answers 403 without a Heartbeat header: it has another site key, or is no node of this site"
    )
