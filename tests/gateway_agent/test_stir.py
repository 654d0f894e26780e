"""Signed callers at an agent: what of a call is told, refused, signed, and passed as it is (RFC 8224, RFC 8588)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from heartbeat.signed_callers import crypto as crypto_of
from sip.actions import Fetch
from sip.device.stir import Stir, faults
from sip.stir.passport import Passport, date_line, header_line, read, to_be_signed
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, AgentFixture
from tests.gateway_agent.agent_fixture import site as site_of
from tests.sip.test_stir import Signed

URL = "https://cert.example.org/passport.cer"
CALLER, CALLED = "33155", "33166"


class Fixture(AgentFixture):
    """An agent with a clock, and a web server that is played by hand."""

    def __init__(self, trunk: str) -> None:
        super().__init__(trunk)
        core = self.core
        core.wall_offset = time.time() - self.now
        self.fetches: list[Fetch] = []
        crypto = crypto_of()
        lines = [line.settings for line in core.lines.values()]
        assert faults(lines, crypto) == []
        stir = core.environment.stir = Stir(core.stack, "paris", lambda: core.wall_offset, crypto)
        stir.load(lines)

    def pump(self) -> None:
        core = self.core
        taken = core.to_do

        def to_do() -> list[Any]:
            found = taken()
            if hasattr(self, "fetches"):
                self.fetches += [one for one in found if isinstance(one, Fetch)]
            return found

        core.to_do = to_do  # type: ignore[method-assign]
        try:
            super().pump()
        finally:
            core.to_do = taken  # type: ignore[method-assign]

    def answer(self, result: bytes | str) -> None:
        """The web server says it."""
        self.core.done(self.fetches.pop(0), result, self.now)
        self.pump()

    def invite(self, *lines: str, call_id: str = "dev-1", sender: str = "<sip:+33155@127.0.0.21>") -> None:
        self.request("INVITE", lines=lines, body=SDP, call_id=call_id, sender=sender)


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def verifying(signed: Signed, more: str = "") -> Fixture:
    return Fixture(f'stir_verify = {{ ca = "{signed.authority.path}"{more} }}')


def identity(signed: Signed, **changes: Any) -> str:
    passport = Passport(CALLER, (CALLED,), int(time.time()), "A", "x", "shaken", URL)
    return signed.line(passport._replace(**changes))


def test_a_caller_who_is_proved_is_told_so_when_the_certificate_is_here(signed: Signed) -> None:
    fixture = verifying(signed)
    line = identity(signed)
    fixture.invite(line, "P-Asserted-Identity: <sip:+33155@carrier.example;user=phone>")
    fixture.take(100)
    assert [one.url for one in fixture.fetches] == [URL] and not fixture.m1.inbox
    fixture.answer(signed.chain)
    asked: Request = fixture.m1.take("INVITE")
    told = "<sip:+33155;verstat=TN-Validation-Passed@paris;user=phone>"
    assert asked.all("p-asserted-identity") == [told]
    assert asked.line("identity") == line, "byte for byte"
    fixture.invite(line, call_id="dev-2")
    assert fixture.m1.take("INVITE").get("p-asserted-identity") == told and not fixture.fetches


def test_nobody_tells_us_by_himself_that_he_was_proved(signed: Signed) -> None:
    fixture = verifying(signed)
    fixture.invite("P-Asserted-Identity: <sip:+33155;verstat=TN-Validation-Passed@carrier.example;user=phone>")
    told = fixture.m1.take("INVITE").all("p-asserted-identity")
    assert told == ["<sip:+33155;verstat=No-TN-Validation@paris;user=phone>"]


def test_a_caller_who_is_somebody_else_is_told_or_refused(signed: Signed) -> None:
    fixture = verifying(signed)
    fixture.invite(identity(signed, caller="33199"))
    assert "verstat=TN-Validation-Failed" in (fixture.m1.take("INVITE").get("p-asserted-identity") or "")
    fixture = verifying(signed, ", required = true")
    fixture.invite(identity(signed, caller="33199"))
    fixture.take(438)
    fixture.invite(call_id="dev-2")
    fixture.take(428)
    fixture.invite(identity(signed, issued_at=int(time.time()) - 3600), call_id="dev-3")
    fixture.take(403)
    assert not fixture.m1.inbox and not fixture.core.calls


def test_a_call_that_waits_can_be_given_up(signed: Signed) -> None:
    fixture = verifying(signed)
    branch = fixture.request("INVITE", lines=(identity(signed),), body=SDP)
    fixture.take(100)
    fixture.request("CANCEL", branch=branch)
    assert {fixture.inbox[flow].popleft().status for flow in fixture.inbox for _ in range(2)} == {200, 487}  # type: ignore[attr-defined]
    fixture.answer(signed.chain)
    assert not fixture.m1.inbox and not fixture.core.calls


def test_without_its_certificate_a_call_goes_on_after_a_while(signed: Signed) -> None:
    fixture = verifying(signed)
    fixture.invite(identity(signed), "P-Asserted-Identity: <sip:+33155@carrier.example>")
    fixture.take(100)
    fixture.run(2.1)
    assert "verstat=No-TN-Validation" in (fixture.m1.take("INVITE").get("p-asserted-identity") or "")


def signing(tmp_path: Path, more: str = "") -> tuple[Signed, Fixture]:
    signed = Signed(tmp_path)
    key = tmp_path / "signer.key"
    return signed, Fixture(f'stir_sign = {{ key = {{ file = "{key}" }}, url = "{URL}"{more} }}')


def called(fixture: Fixture, *lines: str, sender: str = "<sip:+33155@paris>") -> Request:
    """A server calls the trunk."""
    uri, origin = "sip:+33166@gw1;line=trunk1", f"gw2;z9hG4bK{len(lines)};1"
    fixture.m1.request("INVITE", uri, lines, SDP, call_id=f"s{len(lines)}", origin=origin, sender=sender)
    fixture.m1.take(100)
    found: Request = fixture.take("INVITE")
    return found


@pytest.mark.parametrize(("more", "attest"), [("", "C"), (', attest = "B"', "B"), (', full = ["+331*"]', "A")])
def test_a_call_to_the_trunk_says_who_calls(tmp_path: Path, more: str, attest: str) -> None:
    signed, fixture = signing(tmp_path, more)
    invite = called(fixture)
    found = read(invite.get("identity") or "")
    passport = found.passport
    assert (passport.caller, passport.called, passport.attest, passport.url) == (CALLER, (CALLED,), attest, URL)
    assert abs(passport.issued_at - time.time()) < 30 and invite.get("date")
    assert signed.trust.checked(signed.chain, time.time()).has_signed(found.signed, found.signature)


def test_what_is_signed_already_passes_as_it_is(tmp_path: Path) -> None:
    signed, fixture = signing(tmp_path)
    line, date = identity(signed), date_line(time.time())
    invite = called(fixture, line, date)
    assert invite.all("identity") == [line.partition(": ")[2]] and invite.line("identity") == line
    assert invite.line("date") == date


def test_who_has_no_number_is_not_signed(tmp_path: Path) -> None:
    _, fixture = signing(tmp_path)
    assert "identity" not in called(fixture, sender='"Anonymous" <sip:anonymous@anonymous.invalid>')


def test_a_line_that_asks_for_nothing_passes_an_identity_byte_for_byte() -> None:
    fixture = AgentFixture()
    line = "Identity:  eyJ.x.y ; info=<https://a.example/b>;alg=ES256;ppt=shaken"
    fixture.request("INVITE", lines=(line,), body=SDP)
    fixture.take(100)
    assert fixture.m1.take("INVITE").line("identity") == line


def test_keys_and_authorities_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    (tmp_path / "ca").write_text("no authority")
    (tmp_path / "key").chmod(0o600)
    for trunk, said in (
        (f'stir_sign = {{ key = {{ file = "{tmp_path}/key" }}, url = "{URL}" }}', "stir_sign.key: is no private key"),
        (f'stir_verify = {{ ca = "{tmp_path}/ca" }}', "has no certificate in PEM"),
        (f'stir_verify = {{ ca = "{tmp_path}/none" }}', "cannot be read: No such file"),
    ):
        [sentence] = faults(site_of(trunk).lines_of("gw1"), crypto_of())
        assert sentence.startswith("lines.trunk1.stir_") and said in sentence


def test_an_identity_that_was_made_is_believed_by_who_verifies(tmp_path: Path) -> None:
    signed, fixture = signing(tmp_path, ', full = ["+33155"]')
    made = called(fixture)
    other = verifying(signed)
    other.invite(made.line("identity"), made.line("date"))
    other.take(100)
    other.answer(signed.chain)
    assert "verstat=TN-Validation-Passed" in (other.m1.take("INVITE").get("p-asserted-identity") or "")


def test_a_forged_one_is_not(signed: Signed) -> None:
    fixture = verifying(signed)
    passport = Passport(CALLER, (CALLED,), int(time.time()), "A", "x", "shaken", URL)
    fixture.invite(header_line(passport, to_be_signed(passport), bytes(63) + b"\x01"))
    fixture.take(100)
    fixture.answer(signed.chain)
    assert "verstat=TN-Validation-Failed" in (fixture.m1.take("INVITE").get("p-asserted-identity") or "")
