import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.wire import sdp
from sip.wire.sdp import MediaAddress, Origin, SdpError

PHONE = (
    b"v=0\r\n"
    b"o=alice 2890844526 2890844527 IN IP4 192.0.2.1\r\n"
    b"s=-\r\n"
    b"c=IN IP4 192.0.2.1\r\n"
    b"t=0 0\r\n"
    b"m=audio 49170 RTP/AVP 0 8 101\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\n"
    b"a=sendrecv\r\n"
)
VIDEO = (
    b"v=0\r\n"
    b"o=- 1 1 IN IP6 2001:db8::1\r\n"
    b"s=-\r\n"
    b"t=0 0\r\n"
    b"a=ice-ufrag:F7gI\r\n"
    b"m=audio 50000 RTP/SAVPF 111\r\n"
    b"i=the voice\r\n"
    b"c=IN IP6 2001:db8::1\r\n"
    b"a=rtcp:50005 IN IP6 2001:db8::1\r\n"
    b"a=candidate:1 1 UDP 2130706431 2001:db8::1 50000 typ host\r\n"
    b"a=end-of-candidates\r\n"
    b"a=sendonly\r\n"
    b"m=video 0 RTP/SAVPF 96\r\n"
    b"m=image 50010 udptl t38\r\n"
    b"c=IN IP6 2001:db8::2\r\n"
)


def audio(*, session: bytes = b"", connection: bytes = b"192.0.2.1", port: int = 4000, own: bytes = b"") -> bytes:
    return b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 %b\r\nt=0 0\r\n%bm=audio %d RTP/AVP 0\r\n%b" % (
        connection,
        session,
        port,
        own,
    )


# --- Origin


def test_the_origin_is_read_and_written_as_it_was() -> None:
    origin = sdp.origin_of(PHONE)
    assert origin == Origin(b"alice", b"2890844526", 2890844527, b"IN IP4", b"192.0.2.1")
    assert sdp.parse_origin(bytes(origin)) == origin
    assert sdp.with_origin(PHONE, origin) == PHONE
    assert sdp.origin_of(PHONE.replace(b"IN IP4 192.0.2.1\r\ns=", b"IN IP4 192.0.2.1 \t\r\ns=", 1)) == origin


def test_only_the_origin_line_changes() -> None:
    changed = sdp.with_origin(VIDEO, Origin(b"gw", b"7", 3, b"IN IP4", b"198.51.100.7"))
    assert changed == VIDEO.replace(b"o=- 1 1 IN IP6 2001:db8::1\r\n", b"o=gw 7 3 IN IP4 198.51.100.7\r\n")


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_the_line_end_stays(end: bytes) -> None:
    body = PHONE.replace(b"\r\n", end)
    assert sdp.with_origin(body, sdp.origin_of(body)) == body


def test_a_user_name_with_spaces_is_kept() -> None:
    body = PHONE.replace(b"o=alice ", b"o=SIP UA  ")
    assert sdp.origin_of(body).username == b"SIP UA "
    assert sdp.with_origin(body, sdp.origin_of(body)) == body


def test_same_but_origin_ignores_the_origin_alone() -> None:
    other = sdp.with_origin(PHONE, Origin(b"gw", b"7", 3, b"IN IP4", b"198.51.100.7"))
    assert sdp.same_but_origin(PHONE, other)
    assert not sdp.same_but_origin(PHONE, other.replace(b"49170", b"49172"))
    assert not sdp.same_but_origin(PHONE, other.replace(b"v=0", b"v=1"))
    assert sdp.same_but_origin(b"junk", b"junk")
    assert not sdp.same_but_origin(b"junk", PHONE)


def test_a_successor_counts_up_only_when_something_else_changed() -> None:
    from_another = PHONE.replace(b"o=alice 2890844526 2890844527", b"o=bob 5 900")
    assert sdp.continued(PHONE, from_another) == PHONE
    held = sdp.continued(PHONE, from_another.replace(b"a=sendrecv", b"a=sendonly"))
    assert held == PHONE.replace(b"a=sendrecv", b"a=sendonly").replace(b"2890844527", b"2890844528")


@pytest.mark.parametrize(
    "line",
    [
        b"o=alice 1 1 IN IP4",
        b"o=alice 1 one IN IP4 192.0.2.1",
        b"o=alice 1 -1 IN IP4 192.0.2.1",
        b"o=alice 1 " + b"9" * 21 + b" IN IP4 192.0.2.1",
        b"o=alice  1 1  IN IP4 ",
        b"x=1",
    ],
)
def test_a_broken_origin_is_an_error(line: bytes) -> None:
    with pytest.raises(SdpError):
        sdp.origin_of(PHONE.replace(b"o=alice 2890844526 2890844527 IN IP4 192.0.2.1", line))


def test_an_origin_behind_the_media_or_in_an_endless_body_is_an_error() -> None:
    with pytest.raises(SdpError, match="after an m= line"):
        sdp.with_origin(b"v=0\r\nm=audio 1 RTP/AVP 0\r\no=- 1 1 IN IP4 192.0.2.1\r\n", sdp.origin_of(PHONE))
    with pytest.raises(SdpError, match="longer than"):
        sdp.origin_of(PHONE + b"a=x\r\n" * 20_000)


# --- Direction


@pytest.mark.parametrize("stated", ["sendrecv", "sendonly", "recvonly", "inactive"])
def test_direction_of_the_section_goes_before_that_of_the_session(stated: str) -> None:
    line = b"a=" + stated.encode() + b"\r\n"
    assert sdp.direction(audio(session=line)) == stated
    assert sdp.direction(audio(session=b"a=inactive\r\n", own=line)) == stated
    assert sdp.is_hold(audio(own=line)) == (stated in ("sendonly", "inactive"))


def test_direction_is_sendrecv_when_nothing_is_said_and_inactive_when_refused() -> None:
    assert sdp.direction(audio()) == "sendrecv"
    assert sdp.direction(audio(port=0)) == "inactive"
    assert sdp.direction(audio(own=b"a=sendonlyish\r\na=x-sendonly\r\n")) == "sendrecv"


def test_direction_is_that_of_the_first_audio_section() -> None:
    body = audio(own=b"a=recvonly\r\nm=audio 5000 RTP/AVP 0\r\na=inactive\r\n")
    assert sdp.direction(body) == "recvonly"
    behind_video = body.replace(b"m=audio 4000", b"m=video 4000")
    assert sdp.direction(behind_video) == "inactive"
    assert sdp.direction(body.replace(b"m=audio", b"m=video")) == "recvonly"


def test_an_address_of_zeros_is_the_old_hold() -> None:
    assert sdp.direction(audio(connection=b"0.0.0.0")) == "sendonly"
    assert sdp.direction(audio(connection=b"0.0.0.0", own=b"a=recvonly\r\n")) == "inactive"
    assert sdp.direction(audio(connection=b"0.0.0.0", own=b"c=IN IP4 192.0.2.1\r\n")) == "sendrecv"
    assert sdp.is_hold(audio(own=b"c=IN IP4 0.0.0.0\r\n"))


@pytest.mark.parametrize("place", ["session", "own"])
def test_an_address_of_zeros_is_no_hold_where_ice_has_not_gathered_yet(place: str) -> None:
    """RFC 8829 section 5.2.1."""
    ice = {place: b"a=ice-ufrag:mg30\r\na=ice-pwd:0123456789012345678901\r\n"}
    assert sdp.direction(audio(connection=b"0.0.0.0", **ice)) == "sendrecv"
    assert sdp.direction(audio(connection=b"::", **ice)) == "sendrecv"
    stated = {place: ice[place] + b"a=sendonly\r\n"}
    assert sdp.direction(audio(connection=b"0.0.0.0", **stated)) == "sendonly"


# --- Endpoints


def test_endpoints_are_listed_in_order() -> None:
    audio = MediaAddress("192.0.2.1", 49170, 49171, "RTP/AVP", "audio", False, 1, ("0", "8", "101"))
    assert sdp.endpoints(PHONE) == [audio]
    assert sdp.endpoints(VIDEO) == [
        MediaAddress("2001:db8::1", 50000, 50005, "RTP/SAVPF", "audio", False, 1, ("111",)),
        MediaAddress("", 0, 0, "RTP/SAVPF", "video", True, 1, ("96",)),
        MediaAddress("2001:db8::2", 50010, 50011, "udptl", "image", False, 1, ("t38",)),
    ]
    assert [one.is_rtp for one in sdp.endpoints(VIDEO)] == [True, True, False]


@pytest.mark.parametrize(
    "proto, datagrams, rtp",
    [
        ("RTP/AVP", True, True),
        ("UDP/TLS/RTP/SAVPF", True, True),
        ("udptl", True, False),
        ("UDP/TLS/UDPTL", True, False),
        ("UDP/BFCP", True, False),
        ("UDP/DTLS/SCTP", True, False),
        ("udp", True, False),
        ("TCP/MSRP", False, False),
        ("TCP/RTP/AVP", False, False),
        ("TCP/TLS/BFCP", False, False),
    ],
)
def test_what_is_carried_by_datagrams(proto: str, datagrams: bool, rtp: bool) -> None:
    [one] = sdp.endpoints(audio().replace(b"RTP/AVP", proto.encode()))
    assert (one.is_datagrams, one.is_rtp) == (datagrams, rtp)


@pytest.mark.parametrize(
    "lines, address",
    [
        (b"c=IN IP4 192.0.2.1/127\r\n", "192.0.2.1"),
        (b"c=IN  IP4\t192.0.2.1 \r\n", "192.0.2.1"),
        (b"c=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\n", "192.0.2.1"),
        (b"c=IN IP4 media.example\r\n", "media.example"),
        (b"", ""),
    ],
)
def test_addresses_as_devices_write_them(lines: bytes, address: str) -> None:
    for body in (
        PHONE.replace(b"c=IN IP4 192.0.2.1\r\n", lines),
        PHONE.replace(b"c=IN IP4 192.0.2.1\r\n", b"") + lines,
    ):
        assert [one.address for one in sdp.endpoints(body)] == [address]
        moved = sdp.with_endpoints(body, [("127.0.0.1", 20000)])
        assert [one.address for one in sdp.endpoints(moved)] == ["127.0.0.1"]
        assert b"192.0.2.1" not in moved.partition(b"s=-")[2] and b"media.example" not in moved


def test_a_section_that_is_refused_keeps_nothing_but_its_name() -> None:
    body = (
        PHONE
        + b"m=message 2855/2 TCP/MSRP *\r\nc=IN IP4 192.0.2.9\r\na=mid:2\r\na=path:msrp://192.0.2.9:2855/x;tcp\r\n"
    )
    moved = sdp.with_endpoints(body, [("127.0.0.1", 20000), ("127.0.0.1", 0)])
    assert moved.endswith(b"a=sendrecv\r\nm=message 0 TCP/MSRP *\r\na=mid:2\r\n")
    rejected = body.replace(b"2855/2", b"0")
    assert b"192.0.2.9\r\n" not in sdp.with_endpoints(rejected, [("127.0.0.1", 20000), None])


def test_a_description_of_which_nothing_can_be_carried_says_no_address() -> None:
    assert sdp.refused(PHONE) == (
        b"v=0\r\no=alice 2890844526 2890844527 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
        b"m=audio 0 RTP/AVP 0 8 101\r\n"
    )
    assert sdp.refused(b"v=0\r\n") == b""


def test_media_moves_and_all_else_stays() -> None:
    moved = sdp.with_endpoints(PHONE, [("127.0.0.1", 20000)])
    assert moved == PHONE.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4 127.0.0.1").replace(b"49170", b"20000")


def test_media_moves_to_another_address_family_without_its_candidates() -> None:
    moved = sdp.with_endpoints(VIDEO, [("127.0.0.1", 20000), None, ("::1", 30000)])
    assert moved == (
        b"v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nt=0 0\r\n"
        b"m=audio 20000 RTP/SAVPF 111\r\ni=the voice\r\nc=IN IP4 127.0.0.1\r\na=rtcp:20001 IN IP4 127.0.0.1\r\n"
        b"a=sendonly\r\n"
        b"m=video 0 RTP/SAVPF 96\r\n"
        b"m=image 30000 udptl t38\r\nc=IN IP6 ::1\r\n"
    )
    assert b"a=candidate" in sdp.with_endpoints(VIDEO, [("127.0.0.1", 20000), None, None], keep_ice=True)


def test_rtcp_on_the_port_of_rtp_stays_there() -> None:
    body = audio(own=b"a=rtcp:4000\r\na=rtcp-mux\r\n")
    assert b"a=rtcp:20000\r\na=rtcp-mux\r\n" in sdp.with_endpoints(body, [("127.0.0.1", 20000)])
    assert b"a=rtcp:20001\r\n" in sdp.with_endpoints(body.replace(b"rtcp:4000", b"rtcp:4009"), [("127.0.0.1", 20000)])


def test_sections_that_shared_an_address_and_part_get_their_own() -> None:
    body = audio(own=b"i=x\r\na=ptime:20\r\nm=video 5000 RTP/AVP 31\r\n")
    stays = sdp.with_endpoints(body, [("127.0.0.1", 20000), None])
    assert stays.endswith(
        b"m=audio 20000 RTP/AVP 0\r\ni=x\r\na=ptime:20\r\nm=video 5000 RTP/AVP 31\r\nc=IN IP4 192.0.2.1\r\n"
    )
    apart = sdp.with_endpoints(body, [("127.0.0.1", 20000), ("127.0.0.2", 30000)])
    assert apart.endswith(b"m=video 30000 RTP/AVP 31\r\nc=IN IP4 127.0.0.2\r\n")
    first_stays = sdp.with_endpoints(body, [None, ("127.0.0.2", 30000)])
    assert b"m=audio 4000 RTP/AVP 0\r\ni=x\r\nc=IN IP4 192.0.2.1\r\na=ptime:20\r\n" in first_stays
    cut = sdp.with_endpoints(body.removesuffix(b"\r\n"), [("127.0.0.1", 20000), ("127.0.0.2", 30000)])
    assert sdp.endpoints(cut)[1].address == "127.0.0.2"


def test_an_address_of_zeros_stays_a_hold_when_media_moves() -> None:
    held = audio(connection=b"0.0.0.0")
    assert sdp.with_endpoints(held, [("127.0.0.1", 20000)]) == held.replace(b"4000", b"20000")
    assert sdp.is_hold(sdp.with_endpoints(held, [("::1", 20000)]))


def test_a_wrong_number_of_places_is_our_own_fault() -> None:
    with pytest.raises(ValueError, match="2 places for 1"):
        sdp.with_endpoints(PHONE, [None, None])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"v=0\r\n",
        PHONE.replace(b"c=IN IP4 192.0.2.1\r\n", b"c=IN IP4\r\n"),
        PHONE.replace(b"c=IN IP4 192.0.2.1\r\n", b"c=IN IP4 233.252.0.1/127\r\n"),
        PHONE.replace(b"c=IN IP4 192.0.2.1\r\n", b"c=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\n"),
        PHONE.replace(b"49170", b"99999"),
        PHONE.replace(b"49170", b"49170/2"),
        PHONE.replace(b"m=audio 49170", b"m=audio"),
        PHONE + b"m=audio 1 RTP/AVP 0\r\n" * sdp.MAX_SECTIONS,
        PHONE + b"a=x\r\n" * 20_000,
    ],
)
def test_media_that_cannot_be_moved_is_an_error(body: bytes) -> None:
    with pytest.raises(SdpError):
        sdp.with_endpoints(body, [("127.0.0.1", 20000)] * len(sdp.endpoints(body)))


def test_a_port_for_rtcp_out_of_range_is_an_error() -> None:
    with pytest.raises(SdpError, match="RTCP"):
        sdp.endpoints(audio(port=65_535))


# --- Anything at all

PIECES = [
    *PHONE.splitlines(keepends=True),
    *VIDEO.splitlines(keepends=True),
    b"\r\n",
    b"m=",
    b"c=IN IP4 \xff",
    b"o=\n",
]
BODIES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))


@given(BODIES)
def test_garbage_raises_nothing_but_sdp_errors(body: bytes) -> None:
    for read in (sdp.origin_of, sdp.direction, sdp.is_hold, sdp.endpoints):
        try:
            read(body)
        except SdpError as error:
            assert str(error)
    try:
        sdp.with_endpoints(body, [("127.0.0.1", 20000)] * len(sdp.endpoints(body)))
        sdp.continued(body, body)
    except SdpError:
        pass


def test_a_line_ends_at_a_line_feed_alone_so_nothing_unrefused_comes_out_of_another() -> None:
    odd = PHONE + b"\rm=audio 400 RTP/AVP 0\r\n"
    assert len(sdp.endpoints(odd)) == 1
    assert [one.rejected for one in sdp.endpoints(sdp.refused(odd))] == [True]
    assert "a=x\x0bm=audio 4 RTP/AVP 0" in sdp.lines(PHONE + b"a=x\x0bm=audio 4 RTP/AVP 0\r\n")[1]


def test_what_stands_behind_the_address_of_an_origin_is_none_of_it() -> None:
    odd = PHONE.replace(b"192.0.2.1\r\ns=", b"192.0.2.1\r \r\ns=", 1)
    assert sdp.origin_of(odd) == sdp.origin_of(PHONE) == sdp.origin_of(sdp.with_origin(odd, sdp.origin_of(odd)))


@given(BODIES)
def test_nothing_changes_but_what_is_asked(body: bytes) -> None:
    try:
        assert sdp.with_endpoints(body, [None] * len(sdp.endpoints(body)), keep_ice=True) == body
        assert sdp.same_but_origin(body, sdp.with_origin(body, sdp.origin_of(PHONE)))
    except SdpError:
        pass


def test_an_answer_by_which_nothing_flows_yet_refuses_what_is_no_plain_rtp() -> None:
    offer = (
        b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=x\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=group:BUNDLE a v\r\n"
        b"m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=mid:a\r\n"
        b"a=rtcp:4001\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\na=sendrecv\r\n"
        b"m=video 5000 UDP/TLS/RTP/SAVPF 97\r\na=mid:v\r\na=fingerprint:sha-256 AA\r\nm=image 0 udptl t38\r\n"
    )
    answer = sdp.inactive(offer)
    assert b"192.0.2.1" not in answer and sdp.direction(answer) == "inactive"
    assert [line.decode() for line in answer.split(b"\r\n")[5:]] == [
        "m=audio 9 RTP/AVP 8 96",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=mid:a",
        "a=inactive",
        "m=video 0 UDP/TLS/RTP/SAVPF 97",
        "a=mid:v",
        "m=image 0 udptl t38",
        "",
    ]
    with pytest.raises(SdpError):
        sdp.inactive(offer.replace(b"RTP/AVP 8", b"RTP/SAVP 8"))
    with pytest.raises(SdpError):
        sdp.inactive(offer.replace(b"m=audio 4000", b"m=audio 0"))


SECURED = (
    b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=x\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=group:BUNDLE a v d\r\n"
    b"%bm=audio 4000 %b 8\r\na=mid:a\r\n%ba=sendrecv\r\n"
)
KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


@pytest.mark.parametrize(
    ("proto", "head", "lines", "answered"),
    [
        (
            "RTP/SAVP",
            b"",
            b"a=crypto:1 UNKNOWN inline:" + KEY + b"\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:" + KEY + b"\r\n",
            [r"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:[A-Za-z0-9+/]{40}"],
        ),
        (
            "RTP/SAVPF",
            b"",
            b"a=crypto:7 AEAD_AES_256_GCM inline:" + KEY + b"|2^31\r\n",
            [r"a=crypto:7 AEAD_AES_256_GCM inline:[A-Za-z0-9+/]{59}="],
        ),
        (
            "UDP/TLS/RTP/SAVPF",
            b"",
            b"a=setup:actpass\r\na=fingerprint:sha-256 AA\r\na=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\na=rtcp-mux\r\n",
            [
                "a=setup:passive",
                r"a=fingerprint:sha-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}",
                "a=ice-ufrag:[0-9a-f]{8}",
                "a=ice-pwd:[0-9a-f]{24}",
                "a=rtcp-mux",
            ],
        ),
        (
            "UDP/TLS/RTP/SAVP",
            b"a=fingerprint:sha-256 AA\r\na=setup:passive\r\n",
            b"",
            ["a=setup:active", r"a=fingerprint:sha-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}"],
        ),
        ("RTP/SAVP", b"", b"", None),
        ("RTP/SAVP", b"", b"a=key-mgmt:mikey AQAFgM0X\r\n", None),
        ("UDP/TLS/RTP/SAVP", b"", b"", None),
        ("UDP/TLS/RTP/SAVP", b"", b"a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:" + KEY + b"\r\n", None),
        ("udptl", b"", b"a=fingerprint:sha-256 AA\r\n", None),
    ],
)
def test_secured_media_is_at_rest_with_keys_that_nobody_has(
    proto: str, head: bytes, lines: bytes, answered: list[str] | None
) -> None:
    offer = SECURED % (head, proto.encode(), lines)
    with pytest.raises(SdpError):
        sdp.inactive(offer)
    if answered is None:
        with pytest.raises(SdpError):
            sdp.inactive(offer, b"chance")
        return
    answer = sdp.inactive(offer, b"chance").decode()
    assert sdp.direction(answer.encode()) == "inactive" and KEY.decode() not in answer
    start, _, section = answer.partition("m=")
    assert ("a=group:BUNDLE a\r\n" in start) is ("fingerprint" in section)
    first, mid, *rest = section.split("\r\n")
    assert (first, mid, rest[-2:]) == (f"audio 9 {proto} 8", "a=mid:a", ["a=inactive", ""])
    assert len(rest) == len(answered) + 2
    assert all(re.fullmatch(wanted, line) for wanted, line in zip(answered, rest, strict=False)), rest
    assert sdp.inactive(offer, b"another").decode() != answer


def test_a_carriage_return_in_what_is_refused_begins_no_section() -> None:
    head = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=x\r\nt=0 0\r\n"
    offer = head + b"m=audio 4 RTP/AVP 0\r\nm=image 5 udptl t38\rm=video 6 x y\r\n"
    assert len(sdp.endpoints(sdp.inactive(offer))) == len(sdp.endpoints(offer)) == 2


@given(st.binary(max_size=300))
def test_an_answer_to_anything_can_be_read(body: bytes) -> None:
    try:
        answer = sdp.inactive(b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=x\r\nm=audio 4 RTP/AVP 0\r\n" + body, b"chance")
    except SdpError:
        return
    assert len(sdp.endpoints(answer)) >= 1 and sdp.direction(answer) == "inactive"


# --- Sections -------------------------------------------------------------------------------------------------------

HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
AUDIO = b"m=audio 4000 RTP/AVP 0\r\na=mid:0\r\n"
CAMERA = b"m=video 4002 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=mid:1\r\na=sendonly\r\n"
FAX = b"m=image 4004/1 udptl t38\r\nc=IN IP4 192.0.2.9\r\na=T38FaxVersion:0\r\n"
OWN = AUDIO.replace(b"a=", b"c=IN IP4 192.0.2.7\r\na=")
"""With an address of its own."""


@pytest.mark.parametrize(
    ("body", "known", "added"),
    [
        (HEAD + AUDIO, HEAD + AUDIO, b""),
        (HEAD + AUDIO + CAMERA, HEAD + AUDIO, b""),
        (HEAD + AUDIO, HEAD + AUDIO + CAMERA, b"m=video 0 RTP/AVP 96 97\r\na=mid:1\r\n"),
        (HEAD + AUDIO, HEAD + CAMERA + FAX, b"m=image 0 udptl t38\r\n"),
        (HEAD + AUDIO, HEAD + FAX + AUDIO + CAMERA, b"m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96 97\r\na=mid:1\r\n"),
        # a name that is taken, by a section or by a group, is not given twice
        (HEAD + AUDIO.replace(b":0", b":1"), HEAD + AUDIO + CAMERA, b"m=video 0 RTP/AVP 96 97\r\n"),
        (HEAD + b"a=group:BUNDLE 0 1\r\n" + AUDIO, HEAD + AUDIO + CAMERA, b"m=video 0 RTP/AVP 96 97\r\n"),
        # each section has an address where the session has none (RFC 8866 section 5.7)
        (HEAD.replace(b"c=", b"b=") + OWN, HEAD + OWN + FAX, b"m=image 0 udptl t38\r\nc=IN IP4 192.0.2.7\r\n"),
        # an outline is as good
        (HEAD + AUDIO, b"\nm=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\n", b"m=video 0 RTP/AVP 96\r\n"),
        ((HEAD + AUDIO).rstrip(), HEAD + AUDIO + CAMERA, b"\r\nm=video 0 RTP/AVP 96 97\r\na=mid:1\r\n"),
    ],
)  # fmt: skip
def test_the_sections_of_a_session_are_offered_refused(body: bytes, known: bytes, added: bytes) -> None:
    assert sdp.padded(body, known) == body + added


@pytest.mark.parametrize(
    ("group", "number", "kept"),
    [
        (b"", 3, b""),
        (b"a=group:BUNDLE 0 1\r\n", 3, b"a=group:BUNDLE 0 1\r\n"),
        (b"a=group:BUNDLE 0 1\r\n", 1, b"a=group:BUNDLE 0\r\n"),
        (b"a=group:LS 1 0\r\na=group:BUNDLE 10 1 0\r\n", 1, b"a=group:LS 0\r\na=group:BUNDLE 10 0\r\n"),
        (b"a=group:BUNDLE 1\r\na=group:LS 1\r\n", 1, b"a=group:BUNDLE\r\na=group:LS\r\n"),
    ],
)
def test_an_answer_is_cut_to_the_sections_of_its_offer(group: bytes, number: int, kept: bytes) -> None:
    parts = [AUDIO, CAMERA, FAX]
    assert sdp.shortened(HEAD + group + b"".join(parts), number) == HEAD + kept + b"".join(parts[:number])


def test_an_outline_has_what_is_needed_of_each_section() -> None:
    assert sdp.outline(HEAD + AUDIO + CAMERA + FAX) == (
        b"m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\nm=image 0 udptl t38\n"
    )
    with pytest.raises(SdpError):
        sdp.outline(HEAD)


@pytest.mark.parametrize("known", [b"", HEAD, HEAD + AUDIO * 65, HEAD + AUDIO + b"m=video x\r\n"])
def test_sections_that_cannot_be_read_are_none(known: bytes) -> None:
    with pytest.raises(SdpError):
        sdp.padded(HEAD + AUDIO, known)


SOMETHING = st.lists(
    st.sampled_from([AUDIO, CAMERA, FAX, OWN, b"m=application 9 TCP/BFCP *\n"]), min_size=1, max_size=5
)


@given(SOMETHING, SOMETHING)
def test_whatever_was_known_the_sections_can_be_read(body: list[bytes], known: list[bytes]) -> None:
    said, told = HEAD + b"".join(body), HEAD + b"".join(known)
    found = sdp.endpoints(sdp.padded(said, told))
    assert len(found) == sdp.count(sdp.padded(said, told)) == max(len(body), len(known))
    assert found[: len(body)] == sdp.endpoints(said)
    assert [one.media for one in found[len(body) :]] == [one.media for one in sdp.endpoints(told)[len(body) :]]
    assert all(one.rejected for one in found[len(body) :])
    assert sdp.shortened(sdp.padded(said, told), len(body)) == said
    assert sdp.padded(said, b"\n" + sdp.outline(told)).count(b"\nm=") == len(found)
