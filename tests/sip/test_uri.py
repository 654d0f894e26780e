"""URIs: read, written, compared (RFC 3261 section 19.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.wire.errors import Malformed
from sip.wire.uri import Uri, host_port, user_of


@pytest.mark.parametrize(
    "text",
    [
        "sip:example.com",
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:a@[2001:db8::1]:5061;lr;x=[1]",
        "sip:[::ffff:192.0.2.1]",
        "sip:192.0.2.1:65535",
        "sip:b@h?a&c=",
        "sip:a:@h",
        "tel:+1-201-555-0123;ext=5;phone-context=example.com",
        "tel:911",
    ],
)
def test_what_is_read_is_written_alike(text: str) -> None:
    assert str(Uri.parse(text)) == text


def test_the_parts() -> None:
    uri = Uri.parse("SIPS:al%69ce:pw@[2001:DB8::1]:5061;Transport=TCP;lr;maddr=1.2.3.4?Subject=x")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == ("sips", "al%69ce", "pw", "2001:DB8::1", 5061)
    assert uri.transport == "tcp" and uri.loose and uri.get("maddr") == "1.2.3.4" and uri.get("ttl") is None
    assert uri.headers == (("Subject", "x"),) and uri.dialled == "alice"
    assert host_port("sip:b@h:5070") == ("h", 5070) and host_port("sip:[::1]") == ("::1", None)
    assert not Uri.parse("sip:h").loose and Uri.parse("sip:h").transport == ""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("tel:+1(201)555.0123", "+12015550123"),
        ("sip:+49-30-123;phone-context=x@h", "+4930123"),
        ("sip:bob-by@h", "bob-by"),
        ("sip:*21@h", "*21"),
        ("sip:a%40b@h", "a@b"),
        ("sip:%00%0d%0a@h", "%00%0d%0a"),
        ("sip:h", ""),
    ],
)
def test_what_was_dialled(text: str, user: str) -> None:
    assert user_of(text) == user


@pytest.mark.parametrize(
    "text",
    [
        "", "sip", "sip:", "sip:@h", "sip:a@", "sip:a b@h", "sip:a@h:0", "sip:a@h:65536", "sip:a@h:x",
        "sip:a@b@c d", "sip:a@[::1", "sip:a@h\r\n", "sip:a@h>", '"sip:a@h', "sip:a@h?x?y", "tel:",
        "tel:x y", "sip:a@h\x00", "<sip:a@h>",
    ],
)  # fmt: skip
def test_bad_ones_are_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["urn:service:sos", "http://example.com", "mailto:a@b"])
def test_other_schemes_get_their_own_status(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        Uri.parse(text)
    assert caught.value.status == 416


# The examples of RFC 3261 section 19.1.4, and some of our own.
SAME = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0:0::1]"),
    ("sip:a@h.example", "sip:a@h.example."),
    ("tel:+1-201-555-0123", "tel:+1.201.555.0123"),
    ("tel:7042;phone-context=example.com;ext=1-2", "tel:7042;EXT=12;phone-context=EXAMPLE.com"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:bob@h", "sips:bob@h"),
    ("sip:bob@h", "sip:h"),
    ("sip:bob:x@h", "sip:bob:y@h"),
    ("sip:%00@h", "sip:%00%00@h"),
    ("sip:a%40b@h", "sip:a%3ab@h"),
    ("sip:h;maddr=1.1.1.1", "sip:h"),
    ("tel:+12", "tel:12"),
    ("tel:12;ext=1", "tel:12"),
]


@pytest.mark.parametrize(("one", "other", "same"), [(*p, True) for p in SAME] + [(*p, False) for p in DIFFERENT])
def test_comparison(one: str, other: str, same: bool) -> None:
    assert Uri.parse(one).matches(Uri.parse(other)) is same
    assert Uri.parse(other).matches(Uri.parse(one)) is same
    assert Uri.parse(one).matches(Uri.parse(one))


def test_long_uris_are_read_but_not_kept() -> None:
    text = "sip:" + "a" * 5000 + "@h"
    assert Uri.parse(text) is not Uri.parse(text) and Uri.parse("sip:a@h") is Uri.parse("sip:a@h")


CHARS = st.sampled_from("abcZ019-_.!~*'()&=+$,%41")


@given(
    st.sampled_from(["sip", "sips"]),
    st.text(CHARS, max_size=8),
    st.sampled_from(["h", "a.example", "192.0.2.1", "[::1]"]),
    st.one_of(st.none(), st.integers(1, 65535)),
    st.lists(st.tuples(st.sampled_from(["lr", "x", "ob"]), st.one_of(st.none(), st.text(st.sampled_from("ab1[]"))))),
)
def test_any_uri_comes_back(
    scheme: str, user: str, host: str, port: int | None, params: list[tuple[str, str | None]]
) -> None:
    tail = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)
    text = f"{scheme}:{user + '@' if user else ''}{host}{'' if port is None else f':{port}'}{tail}"
    assert str(Uri.parse(text)) == text
    assert Uri.parse(text).matches(Uri.parse(str(Uri.parse(text))))


@pytest.mark.parametrize(
    "text, user, uri",
    [
        ("sip:+33166;npdi;rn=+33177@h;user=phone", ";npdi;rn=+33177", ";user=phone"),
        ("sip:+33-1.66;isub=12@h", ";isub=12", ""),
        ("sip:%2B33166;tgrp=t1;trunk-context=x@h;USER=Phone", ";tgrp=t1;trunk-context=x", ";user=phone"),
        ("tel:1660;phone-context=x.example", ";phone-context=x.example", ";user=phone"),
        ("sip:alice;day=tuesday@h", "", ""),
        ("sip:+33166@h", "", ""),
        ("sip:h", "", ""),
    ],
)
def test_what_a_number_carries_besides_its_digits(text: str, user: str, uri: str) -> None:
    assert Uri.parse(text).number_params == (user, uri)


@pytest.mark.parametrize("text", ["sip:a@h;", "sip:a@h;;lr", "sip:a@h;lr;;", "tel:+33;;ext=1"])
def test_empty_parameters_are_read_over(text: str) -> None:
    assert "" not in [name for name, _ in Uri.parse(text).params]
