"""Signed callers: the PASSporT, its signature, its certificate, and what a call has to fit (RFC 8224, 8225, 8588)."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sip.stir import verification
from sip.stir.es256 import Authorities, Signer, Unsupported
from sip.stir.passport import (
    Passport,
    canonical,
    date_line,
    date_of,
    header_line,
    origid_of,
    read,
    to_be_signed,
)
from sip.stir.verification import (
    FAILED,
    FRESH,
    KEPT,
    MOST_KEPT,
    MOST_UNDER_WAY,
    MOST_WAITING,
    NONE,
    PASSED,
    WAIT,
    Call,
    Certificates,
    Verdict,
    Verifier,
)
from sip.wire.errors import Malformed
from sip.wire.message import Request, parse
from tests.certificates import Authority

URL = "https://cert.example.org/passport.cer"
NOW = 1_443_208_345
EXAMPLE = Passport("12155551212", ("12125551213",), NOW, "A", "123e4567-e89b-12d3-a456-426655440000", "shaken", URL)


def decoded(part: bytes) -> str:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode()


def test_a_passport_has_the_form_of_the_rfc_s_example() -> None:
    header, payload = map(decoded, to_be_signed(EXAMPLE).split(b"."))
    assert header == '{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}'
    assert payload == (  # RFC 8588 section 6
        '{"attest":"A","dest":{"tn":["12125551213"]},"iat":1443208345,"orig":{"tn":"12155551212"},'
        '"origid":"123e4567-e89b-12d3-a456-426655440000"}'
    )


def test_what_is_written_is_read() -> None:
    signed = to_be_signed(EXAMPLE)
    line = header_line(EXAMPLE, signed, b"s" * 64)
    found = read(line.partition(": ")[2])
    assert (found.passport, found.signed, found.signature) == (EXAMPLE, signed, b"s" * 64)


@pytest.mark.parametrize(
    ("number", "told"),
    [("+1 (215) 555-12.12", "12155551212"), ("0140506070", "0140506070"), ("alice", ""), ("", ""), ("*69", "*69")],
)
def test_numbers_are_compared_in_their_canonical_form(number: str, told: str) -> None:
    assert canonical(number) == told


def test_an_origin_has_a_name_that_is_a_uuid_and_the_same_each_time() -> None:
    assert origid_of("paris/trunk1") == origid_of("paris/trunk1") != origid_of("paris/trunk2")
    assert [len(part) for part in origid_of("x").split("-")] == [8, 4, 4, 4, 12]


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


HEADER = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": URL}
PAYLOAD = {"attest": "A", "dest": {"tn": ["1"]}, "iat": NOW, "orig": {"tn": "2"}, "origid": "x"}
SIGNATURE = urlsafe_b64encode(b"s" * 64).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("header", "payload", "signature", "params"),
    [
        ({**HEADER, "alg": "none"}, PAYLOAD, SIGNATURE, ";ppt=shaken"),
        ({**HEADER, "alg": "HS256"}, PAYLOAD, SIGNATURE, ";ppt=shaken"),
        ({**HEADER, "typ": "jwt"}, PAYLOAD, SIGNATURE, ";ppt=shaken"),
        ({**HEADER, "ppt": "div"}, PAYLOAD, SIGNATURE, ";ppt=div"),
        ({**HEADER, "x5u": "https://other.example/"}, PAYLOAD, SIGNATURE, ";ppt=shaken"),
        (HEADER, PAYLOAD, SIGNATURE, ""),
        (HEADER, PAYLOAD, SIGNATURE, ";ppt=shaken;alg=RS256"),
        (HEADER, PAYLOAD, "AAAA", ";ppt=shaken"),
        (HEADER, {**PAYLOAD, "iat": "now"}, SIGNATURE, ";ppt=shaken"),
        (HEADER, {**PAYLOAD, "iat": True}, SIGNATURE, ";ppt=shaken"),
        (HEADER, {**PAYLOAD, "orig": {}}, SIGNATURE, ";ppt=shaken"),
        (HEADER, {**PAYLOAD, "orig": "2"}, SIGNATURE, ";ppt=shaken"),
        (HEADER, ["x"], SIGNATURE, ";ppt=shaken"),
        ("x", PAYLOAD, SIGNATURE, ";ppt=shaken"),
    ],
)
def test_what_is_no_passport_of_ours_is_refused(header: Any, payload: Any, signature: str, params: str) -> None:
    with pytest.raises(Malformed):
        read(f"{encoded(header)}.{encoded(payload)}.{signature};info=<{URL}>{params}")


@pytest.mark.parametrize(
    "value", ["", "..x;info=<https://a/>", "a.b.c", "a.b", "é.b.c", "a" * 9000, "AAAA.AAAA.AAAA;info=<x>"]
)
def test_what_is_no_identity_is_refused(value: str) -> None:
    with pytest.raises(Malformed):
        read(value)


class Signed:
    """A caller's provider: its authority, its certificate and its key."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.authority = Authority(directory)
        files = self.authority.issue("signer", **more)
        self.chain = Path(files.certificate).read_bytes()
        self.signer = Signer(Path(files.key).read_bytes())
        self.trust = Authorities(self.authority.path.read_bytes())

    def line(self, passport: Passport) -> str:
        data = to_be_signed(passport)
        return header_line(passport, data, self.signer.sign(data))


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def test_a_signature_is_that_of_its_key_alone(signed: Signed, tmp_path: Path) -> None:
    key = signed.trust.checked(signed.chain, time.time())
    made = signed.signer.sign(b"data")
    assert len(made) == 64 and key.has_signed(b"data", made)
    assert not key.has_signed(b"date", made)
    assert not key.has_signed(b"data", bytes(64))
    other = Signed(tmp_path / "other")
    assert not key.has_signed(b"data", other.signer.sign(b"data"))
    with pytest.raises(Unsupported, match="no authority of ours"):
        signed.trust.checked(other.chain, time.time())


@pytest.mark.parametrize(("since", "until"), [(-10.0, -1.0), (1.0, 10.0)])
def test_a_certificate_counts_in_its_time(since: float, until: float, tmp_path: Path) -> None:
    signed = Signed(tmp_path, since=since, until=until)
    with pytest.raises(Unsupported, match="expired, or is not valid yet"):
        signed.trust.checked(signed.chain, time.time())


def test_a_certificate_that_is_no_authority_s_issues_none(tmp_path: Path) -> None:
    signed = Signed(tmp_path)
    leaf = Authorities(signed.chain)  # it is trusted by itself
    assert leaf.checked(signed.chain, time.time()).until > time.time()
    other = Signed(tmp_path / "other")
    with pytest.raises(Unsupported):
        leaf.checked(other.chain + signed.chain, time.time())


@pytest.mark.parametrize("text", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_or_key_is_said(text: bytes, signed: Signed) -> None:
    with pytest.raises(Unsupported):
        Authorities(text)
    with pytest.raises(Unsupported):
        Signer(text)
    with pytest.raises(Unsupported):
        signed.trust.checked(text, time.time())


# What a call has to fit.


def call(line: str, caller: str = "+12155551212", called: str = "+12125551213", date: float | None = None) -> Call:
    lines = [f"INVITE sip:{called}@x SIP/2.0", "Via: SIP/2.0/UDP x;branch=z9hG4bK1", "From: <sip:a@x>;tag=1"]
    lines += ["To: <sip:b@x>", "Call-ID: c", "CSeq: 1 INVITE", *([line] if line else [])]
    lines += [date_line(date)] if date is not None else []
    message = parse("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
    assert isinstance(message, Request)
    return Call(message, caller, called)


class Bench:
    """A verifier, whose certificates come when they are told to."""

    def __init__(self, signed: Signed, hosts: tuple[str, ...] = ()) -> None:
        self.asked: list[str] = []
        self.alarms: list[tuple[float, Any]] = []
        self.certificates = Certificates(self.asked.append, lambda at, one: self.alarms.append((at, one)))
        self.verifier = Verifier(signed.trust, hosts, self.certificates)
        self.found: list[Verdict] = []
        self.start = time.time()

    def verify(self, one: Call, now: float = 0.0) -> None:
        self.verifier.verify(one, self.start, lambda verdict, at: self.found.append(verdict), now)


def fresh(**changes: Any) -> Passport:
    return EXAMPLE._replace(issued_at=int(time.time()), **changes)


def test_a_call_waits_for_the_certificate_once_and_it_is_kept(signed: Signed) -> None:
    bench = Bench(signed)
    one = call(signed.line(fresh()), date=time.time())
    bench.verify(one)
    assert bench.asked == [URL] and not bench.found
    bench.certificates.fetched(URL, signed.chain, 0.5)
    assert bench.found == [Verdict(PASSED)]
    bench.verify(one, 1.0)
    assert bench.asked == [URL] and bench.found == [Verdict(PASSED)] * 2


def test_a_call_does_not_wait_for_ever(signed: Signed) -> None:
    bench = Bench(signed)
    bench.verify(call(signed.line(fresh())))
    [(at, waiting)] = bench.alarms
    assert at == WAIT
    waiting.due("", at)
    assert bench.found == [Verdict(NONE, 436, "its certificate cannot be had")]
    bench.certificates.fetched(URL, signed.chain, 3.0)
    assert len(bench.found) == 1


def test_a_certificate_that_cannot_be_had_is_asked_for_again_after_a_while(signed: Signed) -> None:
    bench = Bench(signed)
    one = call(signed.line(fresh()))
    bench.verify(one)
    bench.certificates.fetched(URL, "404", 0.1)
    bench.verify(one, 1.0)
    assert [verdict.status for verdict in bench.found] == [436, 436] and bench.asked == [URL]
    later = verification.AGAIN + 0.2
    bench.verify(call(signed.line(EXAMPLE._replace(issued_at=int(bench.start + later)))), later)
    assert bench.asked == [URL, URL]


def test_a_certificate_is_fetched_anew_before_its_end_and_kept_where_that_fails(signed: Signed) -> None:
    bench = Bench(signed)
    known = bench.certificates
    assert not known.ready(URL, lambda now: None, 0.0)
    known.fetched(URL, b"one", 0.0)
    later = KEPT * 0.75
    assert known.ready(URL, lambda now: None, later) and bench.asked == [URL, URL]
    known.fetched(URL, "no", later)
    assert known.chain(URL, later) == b"one" and known.chain(URL, KEPT) == b""


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (lambda s: call(""), 428),
        (lambda s: call("Identity: x"), 438),
        (lambda s: call(s.line(fresh()), caller="+19995551212"), 438),
        (lambda s: call(s.line(fresh()), called="+19995551212"), 438),
        (lambda s: call(s.line(EXAMPLE)), 403),
        (lambda s: call(s.line(EXAMPLE._replace(issued_at=int(time.time() + FRESH + 10)))), 403),
        (lambda s: call(s.line(fresh()), date=time.time() - FRESH - 10), 403),
        (lambda s: call(s.line(fresh()) + "\r\nDate: yesterday"), 438),
        (lambda s: call(s.line(fresh(url="http://cert.example.org/a"))), 436),
        (lambda s: call(s.line(fresh(url="https://cert.example.org:22/a"))), 436),
        (lambda s: call(s.line(fresh(url="https://a@cert.example.org/a"))), 436),
        (lambda s: call(s.line(fresh(url="https://other.example.org/a"))), 436),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_fetched(
    made: Callable[[Signed], Call], status: int, signed: Signed
) -> None:
    bench = Bench(signed, hosts=("cert.example.org",))
    bench.verify(made(signed))
    [verdict] = bench.found
    assert verdict.status == status and verdict.verstat == (NONE if status == 428 else FAILED) and not bench.asked


def test_what_was_changed_on_the_way_does_not_hold(signed: Signed, tmp_path: Path) -> None:
    passport = fresh()
    header, payload, _ = signed.line(passport).partition(": ")[2].partition(";")[0].split(".")
    forged = header_line(passport, f"{header}.{payload}".encode(), bytes(63) + b"\x01")
    other = Signed(tmp_path / "other")
    for line, chain, status in (
        (forged, signed.chain, 438),
        (other.line(passport), signed.chain, 438),
        (other.line(passport), other.chain, 437),
    ):
        bench = Bench(signed)
        bench.verify(call(line))
        bench.certificates.fetched(URL, chain, 0.1)
        assert [(one.verstat, one.status) for one in bench.found] == [(FAILED, status)]


def test_the_second_of_two_identities_may_be_the_one(signed: Signed) -> None:
    bench = Bench(signed)
    bench.verify(call(f"{signed.line(EXAMPLE)}\r\n{signed.line(fresh())}"))
    bench.certificates.fetched(URL, signed.chain, 0.1)
    assert bench.found == [Verdict(PASSED)]


def test_without_a_clock_nothing_is_said(signed: Signed) -> None:
    bench = Bench(signed)
    bench.verifier.verify(call(signed.line(fresh())), None, lambda verdict, now: bench.found.append(verdict), 0.0)
    assert bench.found[0].verstat == NONE and bench.found[0].status == 0


def test_what_strangers_name_is_bounded() -> None:
    asked: list[str] = []
    certificates = Certificates(asked.append, lambda at, one: None)
    waiting = [certificates.ready(f"https://x/{n}", lambda now: None, 0.0) for n in range(MOST_UNDER_WAY + 5)]
    assert waiting == [False] * MOST_UNDER_WAY + [True] * 5 and len(asked) == MOST_UNDER_WAY
    more = [certificates.ready("https://x/0", lambda now: None, 0.0) for _ in range(MOST_WAITING)]
    assert more.count(True) == MOST_UNDER_WAY
    for n in range(3 * MOST_KEPT):
        certificates.fetched(f"https://x/{n}", b"x", 1.0)
        certificates.ready(f"https://y/{n}", lambda now: None, 1.0)
        certificates.fetched(f"https://y/{n}", b"x", 1.0)
    assert len(certificates._known) <= MOST_KEPT


def test_a_date_is_read_as_rfc_3261_writes_it() -> None:
    request = call("").request
    assert date_of(request) is None
    assert date_of(call("", date=NOW).request) == NOW
