"""What crosses from leg to leg."""

from sip.header_policy import DEVICE_HOP, crossing, passable_tag, unsupported
from sip.wire.message import Request, parse

INVITE = (
    b"INVITE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nf: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
    b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:a@h>\r\nX-Odd :  spaced   value\r\nk: timer, 100rel,ice\r\n"
    b"Allow: INVITE,ACK,PRACK\r\nRequire: timer\r\nSession-Expires: 90\r\nLine: t/1\r\nc: text/plain\r\n"
    b"Authorization: Digest x=1\r\nContent-Length: 2\r\n\r\nhi"
)


def invite(**changed: bytes) -> Request:
    data = INVITE
    for old, new in changed.items():
        data = data.replace(old.encode(), new)
    message = parse(data)
    assert isinstance(message, Request)
    return message


def test_all_but_the_hops_own_crosses_byte_for_byte() -> None:
    assert crossing(invite()) == [
        "X-Odd :  spaced   value",
        "k: ice",
        "Allow: INVITE, ACK",
        "Session-Expires: 90",
        "c: text/plain",
        "Authorization: Digest x=1",
    ]


def test_digest_and_session_timer_stay_between_an_agent_and_its_device() -> None:
    assert crossing(invite(), DEVICE_HOP)[3:] == ["c: text/plain"]


def test_a_list_of_which_all_may_pass_is_not_written_anew() -> None:
    assert "Allow: INVITE,ACK,INFO" in crossing(invite(PRACK=b"INFO"))


def test_no_end_is_told_of_an_extension_that_would_have_to_be_kept_on_this_hop() -> None:
    """RFC 7614: who hears of ``explicitsub`` may require it, and would subscribe to an address of the far side's."""
    message = invite()
    message.set("supported", "Supported: explicitsub, nosub, norefersub, tdialog")
    assert "Supported: nosub, tdialog" in crossing(message)


def test_an_empty_supported_says_something_and_an_empty_require_nothing() -> None:
    message = invite()
    message.set("supported", "Supported:")
    message.set("require", "Require:")
    lines = crossing(message)
    assert "Supported:" in lines
    assert "Require:" not in lines


def test_what_must_be_understood_and_is_not() -> None:
    assert unsupported(invite()) == []
    message = invite()
    message.set("require", "Require: 100rel, ice, Foo")
    assert unsupported(message) == ["Foo"]


def test_tags_pass_when_they_are_short_tokens() -> None:
    assert passable_tag("a-b.c") == "a-b.c"
    assert passable_tag("") == ""
    assert passable_tag("x" * 64) == "x" * 64
    assert passable_tag("x" * 65) == passable_tag("x" * 65) != passable_tag("y" * 65)
    assert len(passable_tag('a"b')) == 24
