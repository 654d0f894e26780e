"""The quick reading of usual shapes says what the full one says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sip.wire import validation
from sip.wire.headers import Via
from sip.wire.message import PLAIN_ADDRESS, Request, parse, tag_of, without_tag

_PIECES = st.lists(
    st.sampled_from(
        ['"', "<", ">", ";", "tag=", "tag", "=", "sip:", "a@b", " ", "\t", "x", "1", "-", ",", "%", "é", "\\", "TAG="]
    )
    | st.sampled_from(
        ["<sip:a@b>", ";tag=1a", '"A B" ', "branch=", "z9hG4bK", "UDP ", "SIP/2.0/", "127.0.0.1", ":5060", "[::1]"]
    ),
    max_size=9,
).map("".join)


_ADDRESSES = _PIECES | st.builds(lambda a, b: f"{a}<sip:a@b>{b}", _PIECES, _PIECES)
_VIAS = st.builds(lambda a, b: f"SIP/2.0/UDP 127.0.0.1{a};branch=z9hG4bKx{b}", _PIECES, _PIECES) | _PIECES


@given(_ADDRESSES)
def test_a_plain_contact_is_read_as_any_other(value: str) -> None:
    found = PLAIN_ADDRESS.match(f"Contact: {value}")
    if found is not None:
        value = value.strip(" \t")
        assert validation._ONE_ADDRESS.match(value)
        assert found[1] == without_tag(value)
        assert (found[2] or "") == tag_of(value)


@given(_ADDRESSES)
def test_a_plain_address_is_read_as_any_other(value: str) -> None:
    request = _with("SIP/2.0/UDP a", value)
    if request.plain:
        assert validation._ONE_ADDRESS.match(value.strip())
    assert request.from_untagged == without_tag(value.strip(" \t"))
    assert request.from_tag == tag_of(value.strip(" \t"))


@given(_VIAS)
def test_a_plain_via_is_read_as_any_other(value: str) -> None:
    request = _with(value, "<sip:a@b>")
    if request.plain:
        assert validation._VIAS.match(value.strip())
        via = Via.parse(value.strip())
        assert request.branch == ("" if via.branch == "z9hG4bK" else via.branch)
        host = f"[{via.host}]" if ":" in via.host else via.host
        assert request.sent_by == (host if via.port is None else f"{host}:{via.port}").lower()


def _with(via: str, sender: str) -> Request:
    text = f"OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: {sender}\r\nTo: <sip:a@b>\r\nCSeq: 1 OPTIONS\r\n\r\n"
    request = parse(text.encode("latin-1"))
    assert isinstance(request, Request)
    return request
