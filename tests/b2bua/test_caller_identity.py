"""Signed callers at trunks of the server's own (RFC 8224, RFC 8588)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.signed_callers import crypto
from sip.actions import Fetch
from sip.device.stir import Stir
from sip.stir.passport import Passport, read
from tests.b2bua.fake import SDP, Side
from tests.b2bua.trunk_fixture import OWN, TrunkFixture
from tests.sip.test_stir import Signed

URL = "https://cert.example.org/passport.cer"
CALLER, CALLED = "33155", "33166"
SENDER = "P-Asserted-Identity: <sip:+33155@carrier.example;user=phone>"


class Fixture(TrunkFixture):
    """Two trunks of a server with a clock, and a web server that is played by hand. ``line`` wants ``settings``."""

    def __init__(self, line: str, settings: str, text: str = OWN) -> None:
        super().__init__(text.replace(f"[lines.{line}]\n", f"[lines.{line}]\n{settings}\n"))
        core = self.bench.core
        core.records.wall_offset = time.time() - self.bench.now
        self.fetches: list[Fetch] = []
        core.own_lines.caller_identity.stir = Stir(core.stack, "paris", lambda: core.records.wall_offset, crypto())
        core.own_lines.load(core.site, self.bench.now)
        taken = core.to_do

        def to_do() -> list[Any]:
            found = taken()
            self.fetches += [one for one in found if isinstance(one, Fetch)]
            return [one for one in found if not isinstance(one, Fetch)]

        core.to_do = to_do  # type: ignore[method-assign]

    def answer(self, result: bytes | str) -> None:
        """The web server says it."""
        self.bench.core.done(self.fetches.pop(0), result, self.bench.now)
        self.bench.pump()

    def call(self, *lines: str) -> Side:
        return self.left.call("+33166", SDP, lines, caller="+33155")

    def told(self) -> str | None:
        """What the other trunk hears of who calls."""
        return self.right.called.take("INVITE").get("p-asserted-identity")

    @property
    def waiting(self) -> bool:
        return not self.right.sides and not self.bench.core.calls


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def verifying(signed: Signed, more: str = "") -> Fixture:
    return Fixture("in", f'stir_verify = {{ ca = "{signed.authority.path}"{more} }}')


def identity(signed: Signed, **changes: Any) -> str:
    passport = Passport(CALLER, (CALLED,), int(time.time()), "A", "x", "shaken", URL)
    return signed.line(passport._replace(**changes))


def test_a_caller_who_is_proved_is_told_so_when_the_certificate_is_here(signed: Signed) -> None:
    fixture = verifying(signed)
    line = identity(signed)
    a = fixture.call(line, SENDER)
    assert a.statuses == [100] and fixture.waiting and [one.url for one in fixture.fetches] == [URL]
    fixture.answer(signed.chain)
    invite = fixture.right.called.asked[0]
    assert "verstat=TN-Validation-Passed" in (invite.get("p-asserted-identity") or "")
    assert invite.line("identity") == line, "byte for byte"
    fixture.call(line, SENDER)
    assert "verstat=TN-Validation-Passed" in (fixture.told() or "") and not fixture.fetches


def test_nobody_tells_us_by_himself_that_he_was_proved(signed: Signed) -> None:
    fixture = verifying(signed)
    fixture.call("P-Asserted-Identity: <sip:+33155;verstat=TN-Validation-Passed@carrier.example;user=phone>")
    assert "verstat=No-TN-Validation" in (fixture.told() or "")


@pytest.mark.parametrize(
    ("changes", "status"), [({"caller": "33199"}, 438), ({"issued_at": 1}, 403), (None, 428)], ids=str
)
def test_who_is_somebody_else_is_refused_where_that_is_wanted(
    signed: Signed, changes: dict[str, Any] | None, status: int
) -> None:
    fixture = verifying(signed, ", required = true")
    a = fixture.call(*([identity(signed, **changes)] if changes is not None else []))
    assert a.statuses[-1] == status and fixture.waiting
    fixture.nothing_left()


@pytest.mark.parametrize("how", ["given up", "twice", "another server", "gone"])
def test_what_becomes_of_a_call_that_waits(signed: Signed, how: str) -> None:
    fixture = verifying(signed)
    a = fixture.call(identity(signed))
    assert a.statuses == [100]
    core, now = fixture.bench.core, fixture.bench.now
    if how == "given up":
        a.cancel()
        assert sorted(a.statuses) == [200, 487]
    elif how == "twice":
        fixture.left.call("+33166", SDP, [identity(signed)], caller="+33155", call_id=a.call_id)
    elif how == "another server":
        core.leadership_changes.step_down(now)
    else:
        core.own_lines.load(without(core.site, "in"), now)
    fixture.answer(signed.chain)
    assert len(core.calls) == (how == "twice")
    if how == "twice":
        assert 482 in fixture.left.sides[-1].statuses + a.statuses
    elif how == "gone":
        assert a.statuses == [403]
    fixture.bench.after(200)
    assert not core.stack.servers


@pytest.mark.parametrize("limit", ["channels = 2", "channels = 100\ncps = 2", "channels = 100\nbusied out"])
def test_calls_that_have_waited_get_no_more_channels_than_others(signed: Signed, limit: str) -> None:
    limit, _, out = limit.partition("\nbusied")
    settings = f'stir_verify = {{ ca = "{signed.authority.path}" }}\n{limit}'
    fixture = Fixture("in", settings, OWN.replace("capacity = 4", "capacity = 40").replace("channels = 100\n", "", 1))
    calls = [fixture.call(identity(signed), SENDER) for _ in range(6)]
    assert fixture.waiting
    core = fixture.bench.core
    if out:
        core.own_lines.busy_out("in", True, fixture.bench.now)
    fixture.answer(signed.chain)
    assert core.lines.loads["in"].busy == (0 if out else 2)
    assert [call.statuses[-1] for call in calls].count(503) == (6 if out else 4)


def without(site: Any, name: str) -> Any:
    """The site without that line."""
    return replace(site, lines={each: line for each, line in site.lines.items() if each != name})


def test_without_its_certificate_a_call_goes_on_after_a_while(signed: Signed) -> None:
    fixture = verifying(signed)
    fixture.call(identity(signed), SENDER)
    fixture.bench.after(2.1)
    assert "verstat=No-TN-Validation" in (fixture.told() or "")


def signing(tmp_path: Path, more: str = "") -> tuple[Signed, Fixture]:
    signed = Signed(tmp_path)
    key = tmp_path / "signer.key"
    return signed, Fixture("out", f'stir_sign = {{ key = {{ file = "{key}" }}, url = "{URL}"{more} }}')


@pytest.mark.parametrize(("more", "attest"), [("", "C"), (', attest = "B"', "B"), (', full = ["+331*"]', "A")])
def test_a_call_to_the_trunk_says_who_calls(tmp_path: Path, more: str, attest: str) -> None:
    signed, fixture = signing(tmp_path, more)
    fixture.call()
    invite = fixture.right.called.take("INVITE")
    found = read(invite.get("identity") or "")
    passport = found.passport
    assert (passport.caller, passport.called, passport.attest, passport.url) == (CALLER, (CALLED,), attest, URL)
    assert invite.get("date")
    assert signed.trust.checked(signed.chain, time.time()).has_signed(found.signed, found.signature)


def test_what_is_signed_already_passes_as_it_is(tmp_path: Path) -> None:
    signed, fixture = signing(tmp_path)
    line = identity(signed)
    fixture.call(line)
    assert fixture.right.called.take("INVITE").all("identity") == [line.partition(": ")[2]]
