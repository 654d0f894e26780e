"""Keys in descriptions (RFC 4568): read as far as we follow them, taken away, put in."""

from __future__ import annotations

from base64 import b64encode

import pytest

from sip.wire import sdes
from sip.wire.sdes import SUITES, Crypto
from sip.wire.sdp import SdpError

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
KEY = bytes(range(30))
KEY64 = b64encode(KEY).decode()
AUDIO = "m=audio 4000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"
LINE = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY64}\r\n"


def body(*parts: str) -> bytes:
    return (HEAD + "".join(parts)).encode()


@pytest.mark.parametrize(
    "line, tag, suite",
    [
        (LINE, "1", SUITES[0]),
        (LINE.replace(":1 ", ":007 "), "007", SUITES[0]),
        (LINE.replace("_80", "_32"), "1", SUITES[1]),
        (LINE.replace("AES_CM", "aes_cm"), "1", SUITES[0]),
        (LINE.replace("\r", "|2^20\r"), "1", SUITES[0]),
        (LINE.replace("\r", "|1048576\r"), "1", SUITES[0]),
        (LINE.replace("\r", " WSH=64 -NEW\r"), "1", SUITES[0]),
        (LINE.replace("\r\n", "\n"), "1", SUITES[0]),
        (LINE.replace("AES_CM", "F8") + LINE.replace(":1 ", ":2 "), "2", SUITES[0]),
        (f"a=crypto:1 AEAD_AES_256_GCM inline:{b64encode(bytes(44)).decode()}\r\n" + LINE, "1", SUITES[0]),
        (LINE + LINE.replace(":1 ", ":2 ").replace("_80", "_32"), "1", SUITES[0]),
    ],
)
def test_the_first_line_that_we_can_follow_is_taken(line: str, tag: str, suite: str) -> None:
    assert sdes.keys(body(AUDIO, line)) == [Crypto(tag, suite, KEY)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE.replace("\r", "|2^20|1:4\r"),  # an MKI
        LINE.replace("\r", f";inline:{KEY64}\r"),
        LINE.replace("\r", " UNENCRYPTED_SRTP\r"),
        LINE.replace("\r", " KDR=1\r"),
        LINE.replace(KEY64, KEY64[:-4]),
        LINE.replace(KEY64, KEY64[:-1]),
        LINE.replace("inline:", "uri:"),
        LINE.replace(":1 ", ":x "),
    ],
)
def test_a_line_that_we_cannot_follow_is_none(line: str) -> None:
    with pytest.raises(SdpError, match="no a=crypto line"):
        sdes.keys(body(AUDIO, line))


@pytest.mark.parametrize("proto", ["RTP/AVP", "RTP/AVPF", "UDP/TLS/RTP/SAVPF"])
def test_what_is_secured_in_no_way_or_another_is_refused(proto: str) -> None:
    with pytest.raises(SdpError, match="is described"):
        sdes.keys(body(AUDIO.replace("RTP/SAVP", proto), LINE))


def test_what_is_refused_or_no_rtp_needs_no_key() -> None:
    parts = ("m=video 0 RTP/SAVP 96\r\n", "m=image 4002 udptl t38\r\n", AUDIO, LINE)
    assert sdes.keys(body(*parts)) == [None, None, Crypto("1", SUITES[0], KEY)]


def test_keys_are_taken_away_and_put_in_for_each_section() -> None:
    said = body(AUDIO, LINE, "a=sendrecv\r\n", "m=audio 0 RTP/SAVPF 0\r\n", "m=image 4002 udptl t38\r\n")
    plain = sdes.plain(said)
    assert plain == body(
        AUDIO.replace("SAVP", "AVP"), "a=sendrecv\r\n", "m=audio 0 RTP/AVPF 0\r\n", "m=image 4002 udptl t38\r\n"
    )
    lines = [Crypto("4", SUITES[1], KEY)]
    assert sdes.secured(plain, [lines, [], lines]) == body(
        AUDIO, "a=sendrecv\r\n", f"a=crypto:4 {SUITES[1]} inline:{KEY64}\r\n", "m=audio 0 RTP/SAVPF 0\r\n",
        "m=image 4002 udptl t38\r\n",
    )  # fmt: skip


def test_a_body_that_ends_without_a_line_end_gets_its_line_all_the_same() -> None:
    plain = body("m=audio 4000 RTP/AVP 0")
    assert sdes.secured(plain, [[Crypto("1", SUITES[0], KEY)]]) == body("m=audio 4000 RTP/SAVP 0\r\n", LINE)


def test_a_key_is_not_shown() -> None:
    assert KEY64 not in repr(Crypto("1", SUITES[0], KEY)) and repr(KEY) not in repr(Crypto("1", SUITES[0], KEY))
