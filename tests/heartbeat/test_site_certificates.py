"""The certificates that a site file names: what is refused, what is warned of, what a reload does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from b2bua.cli import main
from heartbeat.site.certificates import CertificateError, OwnCertificates, read
from heartbeat.site.load import SiteError, load
from heartbeat.site.model import Site
from tests.certificates import Authority

SITE = """
[site]
name = "s"
key = { file = "site.key" }
[servers.m1]
listen = "tcp:127.0.0.1:5161"
[agents.a]
sip = ["udp:127.0.0.11:5060", "tls:127.0.0.11:5061"]
tls = { certificate = "a.pem", key = "a.key", ca = "ca.pem", clients = "asked" }
[lines.t]
kind = "trunk"
agent = "a"
peer = "sip:127.0.0.21;transport=tls"
channels = 3
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    key = tmp_path / "site.key"
    key.write_text("a key of sixteen bytes or more")
    key.chmod(0o600)
    return Authority(tmp_path)


def site(authority: Authority, text: str = SITE) -> Site:
    path = authority.directory / "site.toml"
    path.write_text(text)
    return load(path)


def check(authority: Authority, *words: str, text: str = SITE) -> tuple[int, str]:
    """``b2bua check``: its exit code and what it says."""
    site(authority, text)
    done = CliRunner().invoke(main, ["check", *words, str(authority.directory / "site.toml")], terminal_width=200)
    return done.exit_code, " ".join(done.output.split())


def test_all_is_well(authority: Authority) -> None:
    authority.issue("a", ["a.example"])
    assert read(site(authority), "a").complaints == read(site(authority), "a").warnings == ()
    assert check(authority)[0] == check(authority, "--node", "a")[0] == 0
    assert read(site(authority), "m1").credentials.certificates == ()


def test_what_cannot_be_used_is_refused_by_check_and_at_the_start(authority: Authority) -> None:
    assert check(authority)[0] == 0  # of another machine
    code, said = check(authority, "--node", "a")
    assert code == 3 and "agents.a.tls: " in said and "a.pem cannot be read: No such file" in said
    authority.issue("a", ["a.example"])
    authority.issue("b", ["b.example"])
    (authority.directory / "a.key").chmod(0o604)
    code, said = check(authority)
    assert code == 3 and "a.key can be read by everybody on this machine: chmod 600 it" in said
    with pytest.raises(CertificateError, match=r"agents.a.tls: .*a\.key can be read by everybody"):
        OwnCertificates(site(authority), "a")
    (authority.directory / "a.key").chmod(0o600)
    (authority.directory / "a.pem").write_bytes((authority.directory / "b.pem").read_bytes())
    code, said = check(authority)
    assert code == 3 and "a.key is not the key of the certificate" in said


def test_expired_ones_are_refused_by_check_and_warned_of_at_work(authority: Authority) -> None:
    authority.issue("a", ["a.example"], since=-90, until=-1)
    code, said = check(authority)
    assert code == 3 and "(a.example) has expired on 20" in said
    own = OwnCertificates(site(authority), "a")  # it has other things to do
    (warning,) = own.warnings(time.time())
    assert warning.startswith("a: the certificate ") and warning.endswith("renew it, then reload")
    assert own.ages(time.time())[0].expires_in < -80000
    authority.issue("a", ["a.example"], since=1)
    assert "is not valid before 20" in check(authority)[1]


@pytest.mark.parametrize(
    ("since", "until", "warns"), [(-60, 30, False), (-70, 20, True), (-1, 5, False), (-5, 1, True), (-1, 89, False)]
)
def test_the_end_is_told_of_in_time(authority: Authority, since: float, until: float, warns: bool) -> None:
    authority.issue("a", ["a.example"], since=since, until=until)
    own = OwnCertificates(site(authority), "a")
    assert bool(own.warnings(time.time())) == bool(read(site(authority), "a").warnings) == warns
    code, said = check(authority)
    assert code == 0 and ("expires on" in said) == warns
    (age,) = own.ages(time.time())
    assert (age.names, round(age.expires_in / 86400)) == (("a.example",), until)
    assert not OwnCertificates(site(authority, SITE.replace('"asked"', '"asked", warn_before = 0')), "a").warnings(
        time.time()
    )


def test_names_that_are_shown_must_be_in_a_certificate(authority: Authority) -> None:
    authority.issue("a", ["a.example"])
    line = SITE + 'advertise = "sbc.example:5061"\n'
    (warning,) = read(site(authority, line), "a").warnings
    assert warning == "lines.t.advertise: no certificate of a is for sbc.example: peers by TLS will not believe it"
    by = SITE.replace("[lines.t]", 'advertise_by = { tls = "sbc.example" }\n[lines.t]')
    assert "agents.a.advertise_by.tls: no certificate of a is for sbc.example" in check(authority, text=by)[1]
    authority.issue("b", ["sbc.example"])
    others = by.replace('"asked"', '"asked", others = [{ certificate = "b.pem", key = "b.key" }]')
    assert read(site(authority, others), "a").warnings == ()
    authority.issue("a", ["*.example"], common="a.example")
    assert "has no name by which a peer could know it (RFC 5922)" in read(site(authority), "a").warnings[0]


def test_a_reload_takes_what_is_well_only(authority: Authority) -> None:
    authority.issue("a", ["old.example"])
    own = OwnCertificates(site(authority), "a")
    assert own.codecs is not None
    (authority.directory / "a.key").write_text("nonsense")
    assert own.read(site(authority)).complaints
    assert own.codecs.credentials.certificates[0].names == ("old.example",)
    authority.issue("a", ["new.example"])
    own.take(site(authority), own.read(site(authority)))
    assert own.codecs.credentials.certificates[0].names == ("new.example",)


def test_who_asks_nobody_is_told_what_that_means(authority: Authority) -> None:
    authority.issue("a", ["a.example"])
    text = SITE.replace('clients = "asked"', 'clients = "ignored"') + 'certificate = "carrier.example"\n'
    assert "lines.t.certificate: a asks nobody who connects for a certificate" in check(authority, text=text)[1]


def test_a_program_without_tls_has_nothing_to_do_with_it(authority: Authority) -> None:
    text = SITE.replace(', "tls:127.0.0.11:5061"', "").replace(";transport=tls", "")
    plain = "\n".join(line for line in text.split("\n") if not line.startswith("tls"))
    assert OwnCertificates(site(authority, plain), "a").codecs is None
    assert OwnCertificates(site(authority), "m1").codecs is None


def test_a_list_of_authorities_is_read_too(authority: Authority) -> None:
    authority.issue("a", ["a.example"])
    text = SITE + 'ca = "carrier.pem"\n'
    assert "carrier.pem cannot be read" in read(site(authority, text), "a").complaints[0]
    with pytest.raises(SiteError, match=r"lines.t.ca: must name a file"):
        site(authority, SITE + 'ca = ""\n')
