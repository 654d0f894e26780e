"""The session description of a message, found in its body and replaced there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.wire import sdp_body
from tests.sip.test_sdp import PHONE

MIXED = (
    b"preamble\r\n--b=1\r\n"
    b"Content-Type: application/isup; version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n"
    b"\x01\x00\r\n--b=\xff\r\n--b=1\r\n"
    b"content-type:\r\n Application/SDP\r\n\r\n" + PHONE + b"\r\n--b=1--\r\nepilogue"
)


def found(content_type: str, body: bytes) -> bytes | None:
    where = sdp_body.find_sdp(content_type, body)
    return None if where is None else body[where]


@pytest.mark.parametrize("content_type", ["application/sdp", "Application/SDP ;charset=x", " application / sdp"])
def test_a_plain_body_is_the_description(content_type: str) -> None:
    assert found(content_type, PHONE) == PHONE


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/sdpx", "", "multipart/mixed", "multipart/mixed;boundary=other"]
)
def test_other_bodies_have_none(content_type: str) -> None:
    assert found(content_type, MIXED) is None
    assert found("application/sdp", b"") is None


def test_the_description_is_found_among_parts_and_replaced_in_place() -> None:
    kind = 'multipart/mixed; charset=x; Boundary="b=1"'
    where = sdp_body.find_sdp(kind, MIXED)
    assert where is not None
    assert MIXED[where] == PHONE
    assert sdp_body.replace(MIXED, where, PHONE) == MIXED
    assert sdp_body.replace(MIXED, where, b"v=0") == MIXED.replace(PHONE, b"v=0")


def test_nested_parts_are_searched_to_a_depth() -> None:
    def nested(depth: int) -> tuple[str, bytes]:
        kind, body = "application/sdp", PHONE
        for level in range(depth):
            body = b"--x%d\r\nContent-Type: %b\r\n\r\n%b\r\n--x%d--\r\n" % (level, kind.encode(), body, level)
            kind = f"multipart/mixed;boundary=x{level}"
        return kind, body

    assert found(*nested(sdp_body.MAX_NESTING)) == PHONE
    assert found(*nested(sdp_body.MAX_NESTING + 1)) is None


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n",
        b"Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n",
        b"",
    ],
)
def test_parts_that_are_not_the_session_are_passed_over(fields: bytes) -> None:
    body = b"--x\r\n%b\r\n%b\r\n--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--" % (fields, PHONE)
    assert found("multipart/mixed;boundary=x", body) == b"v=0"


def test_the_number_of_parts_is_limited() -> None:
    body = b"--x\n\nfiller\n" * sdp_body.MAX_PARTS + b"--x\nContent-Type: application/sdp\n\nv=0\n--x--"
    assert found("multipart/mixed;boundary=x", body) is None
    assert found("multipart/mixed;boundary=x", body[len(b"--x\n\nfiller\n") :]) == b"v=0"
    assert found("multipart/mixed;boundary=x", b"--x\nContent-Type: application/sdp\n--x--") is None


@given(
    st.text(max_size=40), st.lists(st.sampled_from([*MIXED.splitlines(keepends=True), b"--b=1", b"\n"]), max_size=20)
)
def test_no_body_and_no_type_makes_the_search_fail(kind: str, lines: list[bytes]) -> None:
    for content_type in (kind, 'multipart/mixed;boundary="b=1"', "multipart/mixed;boundary=" + kind):
        where = sdp_body.find_sdp(content_type, b"".join(lines))
        assert where is None or 0 <= where.start <= where.stop <= len(b"".join(lines))
