"""Header values: read, written; Via stamped and followed back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sip.wire.errors import Malformed
from sip.wire.grammar import is_token, number, parse_params, quote, split_commas, top, unquote
from sip.wire.headers import (
    AuthParams,
    CSeq,
    Event,
    NameAddr,
    Reason,
    SessionExpires,
    SubscriptionState,
    Via,
    retry_after,
    same_address,
    stamp_received,
    tokens,
)

SOURCE = ("192.0.2.4", 5062)


@pytest.mark.parametrize(
    ("line", "source", "stamped"),
    [
        ("Via: SIP/2.0/UDP 192.0.2.4:5062;branch=x", SOURCE, None),
        ("Via: SIP/2.0/UDP 192.0.2.4;branch=x", SOURCE, None),
        ("Via: SIP/2.0/UDP 192.0.2.4;rport;branch=x", SOURCE,
         "Via: SIP/2.0/UDP 192.0.2.4;rport=5062;branch=x;received=192.0.2.4"),
        ("Via: SIP/2.0/UDP 10.0.0.1;branch=x;rport", SOURCE,
         "Via: SIP/2.0/UDP 10.0.0.1;branch=x;rport=5062;received=192.0.2.4"),
        ("v:SIP/2.0/UDP host.example;branch=x ", SOURCE, "v:SIP/2.0/UDP host.example;branch=x;received=192.0.2.4 "),
        ("Via: SIP/2.0/UDP h;RPORT ;branch=x", SOURCE, "Via: SIP/2.0/UDP h;rport=5062 ;branch=x;received=192.0.2.4"),
        ("Via: SIP/2.0/UDP h;rport=1;received=9.9.9.9", SOURCE, "Via: SIP/2.0/UDP h;rport=5062;received=192.0.2.4"),
        ("Via: SIP/2.0/UDP h;Received = 9.9.9.9;x", SOURCE, "Via: SIP/2.0/UDP h;Received = 192.0.2.4;x"),
        ("Via: SIP/2.0/UDP h;rport;RECEIVED=9.9.9.9", SOURCE, "Via: SIP/2.0/UDP h;rport=5062;RECEIVED=192.0.2.4"),
        ("Via: SIP/2.0/UDP h;rportal", SOURCE, "Via: SIP/2.0/UDP h;rportal;received=192.0.2.4"),
        (
            'Via: SIP/2.0/UDP h;x=",;rport";rport , SIP/2.0/UDP i;rport',
            SOURCE,
            'Via: SIP/2.0/UDP h;x=",;rport";rport=5062;received=192.0.2.4 , SIP/2.0/UDP i;rport',
        ),
        (
            "Via: SIP / 2.0\r\n / UDP h\r\n ;branch=x",
            SOURCE,
            "Via: SIP / 2.0\r\n / UDP h\r\n ;branch=x;received=192.0.2.4",
        ),
        ("Via: SIP/2.0/UDP [2001:DB8:0::1]:5060;branch=x", ("2001:db8::1", 5060), None),
        ("Via: SIP/2.0/UDP [2001:db8::1]", ("2001:db8::2", 1), "Via: SIP/2.0/UDP [2001:db8::1];received=2001:db8::2"),
        ("Via: SIP/2.0/UDP [:::]", ("2001:db8::2", 1), "Via: SIP/2.0/UDP [:::];received=2001:db8::2"),
    ],
)  # fmt: skip
def test_stamping_changes_what_it_must_and_nothing_else(
    line: str, source: tuple[str, int], stamped: str | None
) -> None:
    result = stamp_received(line, source)
    assert result == (stamped or line)
    assert stamp_received(result, source) == result
    via = Via.parse(result.partition(":")[2])
    assert same_address(via.received or via.host, source[0])
    assert via.rport == (source[1] if "rport=" in result.lower() else None)


@pytest.mark.parametrize(
    "line", ["Via:", "Via: SIP/2.0/UDP", "Via: UDP h", "Via: SIP/2.0/UDP h i", "Via: SIP/2.0/UDP ;rport"]
)
def test_a_via_without_a_sent_by_cannot_be_answered(line: str) -> None:
    with pytest.raises(Malformed):
        stamp_received(line, SOURCE)


def test_via_in_parts() -> None:
    via = Via.parse('SIP/2.0/UDP [::1]:5070;branch=z9hG4bKx;x="a,b";rport , SIP/2.0/TCP other')
    assert (via.transport, via.host, via.port, via.branch, via.rport, via.received) == (
        "UDP", "::1", 5070, "z9hG4bKx", None, "",
    )  # fmt: skip
    assert str(via) == 'SIP/2.0/UDP [::1]:5070;branch=z9hG4bKx;x="a,b";rport'
    for bad in ("SIP/2.0/UDP h:99999", "SIP/2.0/UDP h:0", "SIP/2.0 h", ""):
        with pytest.raises(Malformed):
            Via.parse(bad)


@pytest.mark.parametrize(
    ("value", "display", "uri", "written"),
    [
        ("<sip:a@b;lr>;tag=1", "", "sip:a@b;lr", "<sip:a@b;lr>;tag=1"),
        ("sip:a@b;tag=1", "", "sip:a@b", "<sip:a@b>;tag=1"),
        ("Bob B. <sip:a@b>;tag=1", "Bob B.", "sip:a@b", '"Bob B." <sip:a@b>;tag=1'),
        ('"B \\"o\\" <b>;,"<sip:a@b> ; tag = 1', 'B "o" <b>;,', "sip:a@b", '"B \\"o\\" <b>;," <sip:a@b>;tag=1'),
        ("*", "", "*", "*"),
        ("tel:+1;tag=1", "", "tel:+1", "<tel:+1>;tag=1"),
        ('<sip:a@b>;x="a;b>";tag=1', "", "sip:a@b", '<sip:a@b>;x="a;b>";tag=1'),
    ],
)
def test_name_addr(value: str, display: str, uri: str, written: str) -> None:
    found = NameAddr.parse(value)
    assert (found.display, found.uri, str(found)) == (display, uri, written)
    assert found.tag == ("" if uri == "*" else "1")
    assert NameAddr.parse(written) == found


def test_name_addr_parameters() -> None:
    found = NameAddr.parse('<sip:a@b>;Expires=60;q=0.5;ob;n="x y"')
    assert found.number("expires") == 60 and found.get("ob") == "" and found.get("n") == "x y"
    assert found.get("z") is None and found.number("q") is None


@pytest.mark.parametrize(
    "value", ["", "<>", '"a" sip:a@b', "<sip:a@b", '"a <sip:a@b>', "sip:a b", ";tag=1", "<sip:a@b> x"]
)
def test_bad_name_addr(value: str) -> None:
    with pytest.raises(Malformed):
        NameAddr.parse(value)


@pytest.mark.parametrize(
    ("read", "value", "written"),
    [
        (CSeq.parse, "0009\tINVITE", "9 INVITE"),
        (CSeq.parse, "4294967295 X", "4294967295 X"),
        (Event.parse, "Dialog ;id=7", "dialog;id=7"),
        (SubscriptionState.parse, "Active;expires=5", "active;expires=5"),
        (SessionExpires.parse, "1800;Refresher=UAS", "1800;refresher=uas"),
        (SessionExpires.parse, "90;refresher=me", "90"),
        (Reason.parse, 'Q.850 ;cause=16;text="Normal; call"', 'Q.850;cause=16;text="Normal; call"'),
        (Reason.parse, "SIP;cause=x", "SIP"),
        (AuthParams.parse, 'Digest  realm="a,b",  nonce=x', 'Digest realm="a,b", nonce=x'),
    ],
)
def test_read_and_written(read: Callable[[str], object], value: str, written: str) -> None:
    assert str(read(value)) == written
    assert read(written) == read(value)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (CSeq.parse, "INVITE"),
        (CSeq.parse, "4294967296 INVITE"),
        (CSeq.parse, "-1 INVITE"),
        (CSeq.parse, "1 IN/VITE"),
        (Event.parse, "a b"),
        (SubscriptionState.parse, ";x"),
        (SessionExpires.parse, "soon"),
        (Reason.parse, ""),
        (AuthParams.parse, "Digest realm"),
        (AuthParams.parse, '"x" y=z'),
    ],
)
def test_bad_values(read: Callable[[str], object], value: str) -> None:
    with pytest.raises(Malformed):
        read(value)


def test_details() -> None:
    assert Event.parse("dialog;id=7").id == "7"
    state = SubscriptionState.parse("terminated;reason=GiveUp;retry-after=9;expires=x")
    assert (state.reason, state.retry_after, state.expires) == ("giveup", 9, None)
    assert Reason.parse('SIP;cause=200;text="a"') == Reason("SIP", 200, "a")
    assert retry_after("18000;duration=3600") == 18000 and retry_after(" 120 (in a meeting)") == 120
    assert retry_after("never") is None and retry_after(None) is None and retry_after("9" * 99) == 0xFFFFFFFF
    assert tokens(["a, b", "", "c,,d "]) == ("a", "b", "c", "d") and tokens("x") == ("x",) and tokens(None) == ()
    assert repr(AuthParams.parse("Digest response=secret")) == "<Digest …>"


def test_grammar() -> None:
    assert is_token("a-b.!%*_+`'~") and not is_token("") and not is_token("a b")
    assert unquote(quote('a"\\b')) == 'a"\\b' and unquote('"') == '"' and unquote("x") == "x"
    assert list(split_commas('a, "b,c" , <d,e>;x="f,",,g')) == ["a", '"b,c"', '<d,e>;x="f,"', "", "g"]
    assert list(split_commas('a,"b,c')) == ["a", '"b,c'] and list(split_commas("a,")) == ["a", ""]
    assert top(" a , b") == "a" and top("a") == "a"
    assert parse_params(';a; b = 1 ;c="x;y";;=z') == (("a", None), ("b", "1"), ("c", '"x;y"'), ("", "z"))
    assert number("007") == 7 and number("1" * 30) == 0xFFFFFFFF and number("²") is None and number("-1") is None
