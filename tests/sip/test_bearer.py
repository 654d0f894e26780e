"""Signed tokens (RFC 8898, RFC 7519): what is taken, until when, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.actions import Flow
from sip.bearer import LONGEST, BearerTokens, token_of
from sip.digest import DigestServer
from sip.registrar import Registrar
from sip.wire.message import Request, parse
from tests.tokens import KEY, text, token

WALL = 1_700_000_000.0
NOW = 50.0
GOOD: dict[str, Any] = {"user": "alice", "exp": WALL + 100}
BROWSER = Flow("wss", "127.0.0.11:7443#1", ("127.0.0.41", 51000))
PHONE = Flow("udp", "127.0.0.11:5060", ("127.0.0.41", 5060))


def tokens(key: bytes | None = KEY, offset: float | None = WALL - NOW) -> BearerTokens:
    return BearerTokens("paris", lambda: key, lambda: offset, lambda user: user == "alice")


@pytest.mark.parametrize(
    "claims",
    [
        GOOD,
        {**GOOD, "nbf": WALL - 1, "aud": "paris"},
        {**GOOD, "aud": ["web", "paris"], "iat": WALL, "name": "Zoë"},
        {**GOOD, "nbf": WALL + 4},
        {**GOOD, "exp": WALL - 4},
    ],
)
def test_a_signed_token_is_taken_until_it_ends(claims: dict[str, Any]) -> None:
    found = tokens().check(token(claims), NOW)
    assert (found.accepted, found.user) == (True, "alice")
    assert found.until == pytest.approx(claims["exp"] - WALL + NOW + 5)


@pytest.mark.parametrize(
    ("claims", "because"),
    [
        ({"user": "alice"}, "without user or exp"),
        ({"exp": WALL + 100}, "without user or exp"),
        ({**GOOD, "user": 7}, "without user or exp"),
        ({**GOOD, "exp": True}, "without user or exp"),
        ({**GOOD, "exp": "never"}, "without user or exp"),
        ({**GOOD, "exp": 10**400}, "without user or exp"),
        (b'{"user": "alice", "exp": Infinity}', "without user or exp"),
        ({**GOOD, "nbf": "x"}, "nbf is no instant"),
        ({**GOOD, "exp": WALL - 6}, "has expired"),
        ({**GOOD, "nbf": WALL + 6}, "not valid yet"),
        ({**GOOD, "aud": "london"}, "at another realm"),
        ({**GOOD, "aud": []}, "at another realm"),
        ({**GOOD, "user": "bob"}, "no browser's user"),
    ],
)
def test_a_token_of_the_application_that_does_not_hold(claims: Any, because: str) -> None:
    found = tokens().check(token(claims), NOW)
    assert not found.accepted and not found.forged
    assert because in found.because


NONE = ".".join((text(b'{"alg": "none"}'), text(b'{"user": "alice", "exp": 9999999999}'), ""))


@pytest.mark.parametrize(
    "forged",
    [
        token(GOOD, b"another key of thirty-two bytes!!"),
        token(GOOD, header={"alg": "none"}),
        NONE,
        token(GOOD, header={"alg": "HS512"}, hashed="sha512"),
        token(GOOD, header={"alg": "hs256"}),
        token(GOOD, header={"alg": "HS256", "crit": ["b64"], "b64": False}),
        token(GOOD)[:-2],
        token(GOOD) + "A",
        token(b"[]"),
        token(b"no JSON"),
        token(b"[" * 3000),
        "a.b.c",
        "a.b",
        "",
        ".." ,
        "é.é.é",
        "!.!.!",
        token({**GOOD, "more": "x" * LONGEST}),
    ],
)  # fmt: skip
def test_a_forged_token_is_not_taken(forged: str) -> None:
    found = tokens().check(forged, NOW)
    assert not found.accepted and found.forged


def test_each_part_is_signed() -> None:
    good, other = token(GOOD).split("."), token({**GOOD, "user": "bob"}, header={"alg": "HS256"}).split(".")
    for place in range(3):
        mixed = [*good]
        mixed[place] = other[place]
        assert tokens().check(".".join(mixed), NOW).forged


def test_without_a_key_or_a_clock_none_is_taken() -> None:
    assert not tokens(key=None).check(token(GOOD), NOW).accepted
    assert not tokens(offset=None).check(token(GOOD), NOW).accepted
    assert not tokens(key=None).meets(BROWSER)
    assert tokens().meets(BROWSER) and not tokens().meets(PHONE) and not tokens().meets(None)


@given(st.text())
def test_no_text_raises(said: str) -> None:
    assert not tokens().check(said, NOW).accepted


@pytest.mark.parametrize(
    ("value", "found"),
    [("Bearer a.b.c", "a.b.c"), ("bearer  a.b.c ", "a.b.c"), ("Digest a=b", None), ("Bearer", ""), ("", None)],
)
def test_the_token_of_a_header(value: str, found: str | None) -> None:
    assert token_of(value) == found


def served(**changes: Any) -> DigestServer:
    return DigestServer("paris", b"k" * 32, {"alice": "secret"}.get, tokens=tokens(**changes))


def request(*lines: str, method: str = "REGISTER") -> Request:
    head = [
        f"{method} sip:paris SIP/2.0", "Via: SIP/2.0/WSS x.invalid;branch=z9hG4bK1", "From: <sip:alice@paris>;tag=1",
        "To: <sip:alice@paris>", "Call-ID: 1", f"CSeq: 1 {method}", "Contact: <sip:alice@x.invalid;transport=ws>",
        "Expires: 600", *lines, "", "",
    ]  # fmt: skip
    found = parse("\r\n".join(head).encode())
    assert isinstance(found, Request)
    return found


def test_a_browser_is_offered_tokens_after_digest_and_nobody_else() -> None:
    server = served()
    for flow, schemes in ((BROWSER, ["Digest", "Digest", "Bearer"]), (PHONE, ["Digest", "Digest"])):
        reply = server.refusal(server.check(request(), NOW, flow=flow), flow, "alice", NOW)
        assert reply is not None
        assert [line.split()[1] for line in reply.lines] == schemes
        assert 'error="' not in reply.lines[-1]


def test_a_refused_token_is_said_to_be_one() -> None:
    server = served()
    old = f"Authorization: Bearer {token({**GOOD, 'exp': WALL - 60})}"
    verdict = server.check(request(old), NOW, flow=BROWSER)
    reply = server.refusal(verdict, BROWSER, "alice", NOW, proxy=True)
    assert reply is not None and reply.status == 407
    assert reply.lines[-1] == 'Proxy-Authenticate: Bearer realm="paris", error="invalid_token"'
    assert not verdict.wrong


@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization"])
@pytest.mark.parametrize("proxy", [False, True])
def test_a_token_is_read_in_either_header(name: str, proxy: bool) -> None:
    line = f"{name}: Bearer {token(GOOD)}"
    found = served().check(request(line, method="INVITE"), NOW, proxy=proxy, flow=BROWSER)
    assert (found.accepted, found.username) == (True, "alice")
    assert not served().check(request(line, method="INVITE"), NOW, proxy=proxy, flow=PHONE).accepted


def test_who_forges_tokens_is_held_back_and_the_true_user_is_not() -> None:
    server = served()
    forged = f"Authorization: Bearer {token(GOOD, b'another key of thirty-two bytes!!')}"
    for _ in range(100):
        verdict = server.check(request(forged), NOW, flow=BROWSER)
    assert verdict.wait > 0.0
    assert server.check(request(f"Authorization: Bearer {token(GOOD)}"), NOW, flow=BROWSER).accepted


def test_a_registration_does_not_outlive_its_token() -> None:
    registrar = Registrar(lambda uri: "alice", served())
    outcome = registrar.register(request(f"Authorization: Bearer {token(GOOD)}"), BROWSER, NOW)
    assert outcome.reply is not None and outcome.reply.status == 200
    assert outcome.reply.lines[0].endswith(";expires=105")
