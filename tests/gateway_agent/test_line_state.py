"""The line state: encoding, signature, limits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.line_state import (
    Anchored,
    DeviceDialog,
    LineState,
    PendingInvite,
    SentInvite,
    bound_to,
    decode,
    encode,
)
from gateway_agent.media.ports import Pair, Remote
from gateway_agent.seal import LONGEST, LONGEST_PLAIN, LineStateError
from gateway_agent.webrtc.anchor import GatewayState
from gateway_agent.webrtc.legs import Browser, Leg, Session, Stream
from heartbeat.mac import mac_of
from sip.actions import Flow
from sip.device.session_timer import SessionTimerState
from sip.dialog import UAC, UAS, DialogState
from sip.offer_answer import AGREED, OfferAnswerState

KEY = b"a key of some length"
BOUND = bound_to("paris", "gw1", "b127986e0a", "e6d55a38")

texts = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
numbers = st.integers(0, 2**31)
spans = st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3))
bodies = st.binary(max_size=300)
ports = st.integers(1024, 65535)
pairs = st.builds(Pair, texts, ports)
flags = st.booleans()
descriptions = st.builds(OfferAnswerState, texts, bodies, bodies, bodies, bodies, bodies)
dialogs = st.builds(
    DeviceDialog,
    st.builds(
        DialogState,
        texts,
        texts,
        texts,
        texts,
        texts,
        numbers,
        numbers,
        texts,
        st.lists(texts, max_size=3).map(tuple),
        st.sampled_from([UAC, UAS]),
    ),
    st.builds(Flow, st.sampled_from(["udp", "tcp"]), texts, st.tuples(texts, ports)),
    texts,
    st.none() | st.builds(PendingInvite, texts, numbers, flags, st.lists(texts, max_size=2).map(tuple)),
)
legs = st.builds(Leg, texts, texts, ports, texts, texts, texts, st.lists(texts, max_size=2).map(tuple))
streams = st.builds(Stream, texts, numbers, ports, ports, numbers)
sessions = st.builds(
    Session,
    *(texts, texts, ports, texts, flags, flags),
    st.builds(Browser, texts, texts, st.lists(texts, max_size=2).map(tuple), st.lists(texts, max_size=2).map(tuple)),
    st.builds(Remote, texts, ports, ports, texts, flags, texts, st.lists(ports, max_size=2).map(tuple)),
    streams,
    streams,
)
states = st.builds(
    LineState,
    st.sampled_from(["in", "out"]),
    texts,
    numbers,
    texts,
    texts,
    spans,
    st.none() | spans,
    st.none() | spans,
    texts,
    numbers,
    texts,
    numbers,
    st.tuples(numbers, numbers),
    st.lists(dialogs, max_size=2).map(tuple),
    bodies,
    st.none() | st.builds(SentInvite, texts, numbers, flags),
    descriptions,
    descriptions,
    bodies,
    texts,
    st.none() | st.builds(SessionTimerState, numbers, numbers, numbers, flags, numbers, spans, spans),
    st.none()
    | st.builds(
        Anchored,
        st.lists(st.tuples(pairs, pairs), max_size=3).map(tuple),
        st.tuples(flags, flags),
        st.tuples(flags, flags),
        spans,
        spans,
        texts,
        st.lists(texts, max_size=3).map(tuple),
    ),
    gateway=st.none() | st.builds(GatewayState, legs, legs, st.none() | sessions),
)


@settings(max_examples=200, deadline=None)
@given(states)
def test_what_was_encoded_comes_back_equal(state: LineState) -> None:
    text = encode(state, 41, 3, BOUND, KEY)
    assert len(text) <= LONGEST and text.isascii() and text.isprintable() and text.count(".") == 4
    if ".-." in text:
        with pytest.raises(LineStateError, match="longer"):
            decode(text, BOUND, [KEY])
    else:
        assert decode(text, BOUND, [b"another", KEY]) == state


def plain() -> LineState:
    """A talking call of a trunk, as most are."""
    sdp = b"v=0\r\no=alice 1 1 IN IP4 192.0.2.31\r\ns=-\r\nc=IN IP4 192.0.2.31\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    other = sdp.replace(b"alice", b"-").replace(b".31", b".22")
    dialog = DialogState(
        "3848276298220188511@atlanta.example.com", "a6c85cf1ab23", "1928301774", "<sip:2001@paris>", "<sip:1@paris>"
    )
    return LineState(
        "in",
        "carrier",
        7,
        "2001",
        answered=48.0,
        dialogs=(DeviceDialog(dialog, Flow("udp", "192.0.2.11:5060", ("192.0.2.31", 5060))),),
        device=OfferAnswerState(AGREED, other, sdp, newest=other),
        server=OfferAnswerState(AGREED, sdp, other, newest=sdp),
        standing=sdp,
        host="192.0.2.31",
    )


def test_the_header_of_an_ordinary_call_is_short() -> None:
    assert len(encode(plain(), 1_795_380_501, 3, BOUND, KEY)) < 650


def test_what_a_server_reads_of_it_stands_in_front() -> None:
    assert encode(plain(), 41, 3, BOUND, KEY).startswith("2.41.3.")
    assert encode(plain()._replace(standing=b"a long one" * 200), 41, 3, BOUND, KEY).startswith("1.41.3.")


SIGNS = "~^|`}"


@pytest.mark.parametrize("sign", SIGNS)
def test_one_with_a_sign_that_means_something_in_the_plain_form_is_packed(sign: str) -> None:
    state = plain()._replace(number=f"20{sign}01")
    text = encode(state, 41, 3, BOUND, KEY)
    assert text.startswith("1.41.3.") and decode(text, BOUND, [KEY]) == state


@pytest.mark.parametrize(
    "number", ["", "..", '"', "\\", '","', "\\r\\n", "\r\n", "\\\r\na=rtpmap:", "IN IP4 ", "{[]", "Jos\xe9 \x7f"]
)
def test_a_text_that_looks_like_what_the_plain_form_has_signs_for_comes_back_as_it_was(number: str) -> None:
    state = plain()._replace(number=number, standing=number.encode("latin-1"))
    text = encode(state, 41, 3, BOUND, KEY)
    assert text.startswith("2.41.3.") and decode(text, BOUND, [KEY]) == state


def test_one_that_is_longer_than_the_plain_form_may_be_is_packed() -> None:
    def whole(length: int) -> LineState:
        return plain()._replace(number="1" * length)

    over = next(length for length in range(3000) if encode(whole(length), 4, 3, BOUND, KEY).startswith("1."))
    assert len(encode(whole(over - 1), 4, 3, BOUND, KEY)) in range(LONGEST_PLAIN - 150, LONGEST_PLAIN + 32)
    for length in (over - 1, over):
        assert decode(encode(whole(length), 4, 3, BOUND, KEY), BOUND, [KEY]) == whole(length)


def test_what_the_versions_before_have_said_is_read() -> None:
    before = (
        "1.41.3.hZPBCoMwEER7LvQnPItkN2o2l+J/FA/bYEFQKtpDP7/ZRmtLTXsJ7CyZwMzLXLrjcWylUJMmqBQkkqVPNqSY+0ieQjhOSvrzvGjK"
        "CU2JlhAVEBUAFd869sRnzZ37oWsyd+29GZeOCncBPqOW3iySVmBMvnQvj1YDj+10XKR1VuFloeObCClNZb44eFExKxqiXESYXGUBN8hQ++HD"
        "8+3PkE2trutdjDO5grjF2bL5ydlhPxtz17pmy1xDzFw2f8wf.S6jWitRzzAhKl7vhkIkZkg"
    )
    assert decode(before, BOUND, [KEY]) == plain()
    swapped = before.rpartition(".")[0]
    mac = mac_of(f"line state {BOUND} {swapped}", KEY).replace("-", "+").replace("_", "/")
    assert decode(f"{swapped}.{mac}", BOUND, [KEY]) == plain()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:], "not signed"),
        (lambda text: text[:-2], "not signed"),
        (lambda text: "2.42" + text[4:], "not signed"),
        (lambda text: "1" + text[1:], "not signed"),
        (lambda text: text + "é", "not signed"),
        (lambda text: "", "not signed"),
        (lambda text: text * 20, "longer"),
    ],
)
def test_what_was_changed_is_not_believed(spoil: object, why: str) -> None:
    text = encode(plain(), 41, 3, BOUND, KEY)
    with pytest.raises(LineStateError, match=why):
        decode(spoil(text), BOUND, [KEY])  # type: ignore[operator]


def test_it_is_good_for_its_dialog_alone() -> None:
    text = encode(plain(), 41, 3, BOUND, KEY)
    for other in (
        bound_to("rome", "gw1", "b127986e0a", "e6d55a38"),
        bound_to("paris", "gw2", "b127986e0a", "e6d55a38"),
        bound_to("paris", "gw1", "another", "e6d55a38"),
        bound_to("paris", "gw1", "b127986e0a", "another"),
    ):
        with pytest.raises(LineStateError, match="not signed"):
            decode(text, other, [KEY])


def test_one_that_would_be_too_long_says_so() -> None:
    huge = plain()._replace(standing=Random(1).randbytes(6000))
    text = encode(huge, 41, 3, BOUND, KEY)
    assert text.startswith("1.41.3.-.") and len(text) < 64
    with pytest.raises(LineStateError, match="longer than 4096"):
        decode(text, BOUND, [KEY])


@pytest.mark.parametrize("version", ["3", "", "02"])
def test_another_version_is_not_guessed_at(version: str) -> None:
    text = encode(plain(), 41, 3, BOUND, KEY)
    said = version + text.rpartition(".")[0][1:]
    with pytest.raises(LineStateError, match=f"format {version}"):
        decode(f"{said}.{mac_of(f'line state {BOUND} {said}', KEY)}", BOUND, [KEY])


@pytest.mark.parametrize("payload", ["", "7", "[", "[]", "{}", "null", "1.2"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_what_is_signed_and_cannot_be_read_is_refused(payload: str, version: str) -> None:
    said = f"{version}.41.3.{payload}"
    with pytest.raises(LineStateError, match="cannot be read"):
        decode(f"{said}.{mac_of(f'line state {BOUND} {said}', KEY)}", BOUND, [KEY])
