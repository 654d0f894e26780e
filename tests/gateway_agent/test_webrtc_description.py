"""Session descriptions between browsers and plain RTP, whatever they say."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.webrtc.description import Format, agreed, described, offered
from sip.wire.sdp import SdpError
from tests.gateway_agent.test_webrtc_calls import PHONE, page

PCMA, PCMU, OPUS = Format(8, "PCMA", 8000), Format(0, "PCMU", 8000), Format(96, "opus", 48000, "2")
EVENTS, WIDE = Format(101, "telephone-event", 8000), Format(102, "telephone-event", 48000)


def payloads(formats: list[Format]) -> list[tuple[int, str]]:
    return [(one.payload, one.name) for one in formats]


def test_what_is_offered_besides_gets_a_number_that_is_free() -> None:
    taken = Format(111, "opus", 48000, "2"), Format(101, "telephone-event", 48000)
    assert payloads(offered(taken, False)) == [
        (111, "opus"), (8, "PCMA"), (0, "PCMU"), (101, "telephone-event"), (96, "telephone-event"),
    ]  # fmt: skip
    assert payloads(offered([PCMA], True)) == [(8, "PCMA"), (0, "PCMU"), (111, "opus")]


def test_nothing_to_pass_is_said() -> None:
    with pytest.raises(SdpError, match="G729"):
        offered([Format(18, "G729", 8000), EVENTS], True)
    with pytest.raises(SdpError, match="none of the codecs"):
        agreed([EVENTS], [PCMA])


@pytest.mark.parametrize(
    "answer, offer, transcodes, events",
    [
        ([PCMA, EVENTS], [OPUS, PCMA, EVENTS], False, (101, 101)),
        ([PCMA, EVENTS], [OPUS, EVENTS, WIDE], True, (101, 102)),
        ([PCMU], [OPUS, PCMU, EVENTS], False, (-1, -1)),
        ([OPUS, WIDE], [PCMA, EVENTS], True, (102, 101)),
    ],
)
def test_the_codec_that_both_have_is_taken_and_keys_go_with_its_clock(
    answer: list[Format], offer: list[Format], transcodes: bool, events: tuple[int, int]
) -> None:
    there, here, told = agreed(answer, offer)
    assert (there.codec != here.codec) is transcodes
    assert (there.events, here.events) == events
    assert told[0].payload == here.payload and len(told) == 1 + (events[1] >= 0)


@pytest.mark.parametrize(
    "old, new",
    [
        (b"a=ice-ufrag:abcd", b"a=ice-ufrag:ab"),
        (b"a=ice-pwd:browser", b"a=ice-pwd:\xff"),
        (b"a=fingerprint:sha-256", b"a=fingerprint:md5"),
    ],
)
def test_a_browser_without_ice_or_a_fingerprint_is_refused(old: bytes, new: bytes) -> None:
    body = page()
    assert old in body
    with pytest.raises(SdpError, match="no ICE credentials, or no fingerprint"):
        described(body.replace(old, new), True)


def test_what_only_looks_like_a_number_is_passed_over() -> None:
    """A superscript is a digit, and no number."""
    assert described(PHONE.replace(b"RTP/AVP ", b"RTP/AVP \xb2 "), False).formats == described(PHONE, False).formats
    line = next(line for line in page().splitlines(True) if line.startswith(b"a=candidate:"))
    fields = line.split(b" ")
    odd = b" ".join((*fields[:5], "²".encode(), *fields[6:]))
    assert described(page().replace(line, odd + line), True).browser == described(page(), True).browser


@pytest.mark.parametrize(
    "place",
    [
        "127.0.0.41 0", "127.0.0.41 65536", "127.0.0.41 99999999999", "127.0.0.41 -1", "224.0.0.1 5000",
        "255.255.255.255 5000", "0.0.0.0 5000", ":: 5000", "ff02::1 5000", "somewhere.example 5000",
    ],
)  # fmt: skip
def test_a_candidate_at_which_no_single_host_can_be_is_none(place: str) -> None:
    line = f"a=candidate:1 1 udp 2113937151 {place} typ host generation 0\r\n".encode()
    first = next(each for each in page().splitlines(True) if each.startswith(b"a=candidate:"))
    assert described(page().replace(first, line + first), True).browser == described(page(), True).browser


def test_candidates_are_bounded() -> None:
    line = b"a=candidate:1 1 udp 2113937151 127.0.0.41 51472 typ host generation 0\r\n"
    found = described(page().replace(line, line * 100), True)
    assert found.browser is not None and len(found.browser.candidates) == 16


def test_secured_rtp_of_a_phone_is_not_taken_for_plain() -> None:
    assert described(PHONE.replace(b"RTP/AVP", b"RTP/SAVP"), False).led == -1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whatever_is_said_is_read_or_refused(seed: int, browser: bool) -> None:
    random, body = Random(seed), bytearray(page() if browser else PHONE)
    for _ in range(random.randrange(1, 12)):
        if not body:
            break  # nothing is left to be changed
        at = random.randrange(len(body))
        match random.randrange(3):
            case 0:
                body[at] = random.randrange(256)
            case 1:
                del body[at : at + random.randrange(40)]
            case _:
                body[at:at] = body[at : at + random.randrange(60)]
    try:
        found = described(bytes(body), browser)
        if found.led >= 0:
            offered(found.formats, not browser)
    except SdpError:
        pass
