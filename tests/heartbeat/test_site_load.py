"""The site file read into values."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from heartbeat.agent_key import AgentKey
from heartbeat.site.load import SiteError, load, parse
from heartbeat.site.model import Site, digest
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.pitfalls import warnings
from heartbeat.site.sources import MOST_REMEMBERED, SourceTable
from heartbeat.site.values import Api, Endpoint, Pattern, PeerUri, Secret, Source
from heartbeat.timing import faults
from sip.device.identity import rewritten

EXAMPLES = Path(__file__).parents[2] / "examples"
KEYS = {"KEY": "0123456789abcdef", "PASS": "sesame"}
SMALL = """
[site]
name = "s"
key = { env = "KEY" }
[servers.m1]
sip = "udp:127.0.0.1:5060"
[lines.t]
kind = "trunk"
channels = 3
peer = "sip:127.0.0.1:5080"
"""
PAIR = """
[site]
name = "s"
key = { env = "KEY" }
[servers.m1]
listen = "tcp:127.0.0.1:5061"
beat = "udp:127.0.0.1:5062"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5061"
beat = "udp:127.0.0.2:5062"
[agents.a]
sip = "udp:127.0.0.11:5060"
[agents.b]
sip = "udp:127.0.0.12:5060"
[lines.alice]
kind = "phone"
agent = "a"
password = { env = "PASS" }
"""


def site(text: str = SMALL, environment: dict[str, str] = KEYS) -> Site:
    return parse(text, Path("/etc/holdfast/site.toml"), environment)


def test_the_examples_are_good():
    bench = load(EXAMPLES / "bench.toml")
    assert bench.lines["out"].at_servers and bench.lines["out"].peer[0].uri == "sip:127.0.0.1:5080"
    assert SourceTable(bench.lines_of("")).line("127.9.9.9", 1234) is bench.lines["out"]
    paris = load(EXAMPLES / "site.toml")
    assert (paris.main.name, paris.standby and paris.standby.name) == ("m1", "m2")
    assert paris.electors == ("gw1", "gw2", "m2") and paris.quorum == 2
    assert paris.lines["alice"].forward.after == 20.0
    assert paris.agent_priority("gw2") == 1
    with pytest.raises(SiteError, match="PARIS_KEY"):
        load(EXAMPLES / "site.toml", "m1")


def test_defaults_are_filled_in():
    one = site()
    assert (one.timing.lease, one.timing.margin, one.timing.round_trip) == (0.8, 0.18, 0.1)
    quick = site("[timing]\ninterval = 0.1\n" + SMALL)
    assert (quick.timing.lease, quick.timing.margin, quick.timing.round_trip) == (0.4, 0.14, 0.05)
    assert one.lines["t"].source == (Source(ipaddress.ip_network("127.0.0.1/32")),)
    assert one.servers["m1"].state_dir == Path("/etc/holdfast/state/m1")
    assert one.servers["m1"].cdr_dir == Path("/etc/holdfast/state/m1/cdr")
    assert one.servers["m1"].api_address == Api("/etc/holdfast/state/m1/m1.sock")
    assert one.realm == "s" and one.standby is None


def test_defaults_of_a_line_go_by_its_kind():
    trunk, phone = site().lines["t"], site(PAIR).lines["alice"]
    assert (trunk.answer_within, phone.answer_within, phone.keep_alive, trunk.nat) == (4.0, 5.0, 30.0, False)
    assert phone.digest == ("MD5", "SHA-256")
    changed = site(SMALL + "answer_within = 1.5\nnat = true\n").lines["t"]
    assert (changed.answer_within, changed.nat) == (1.5, True)


def test_small_answers():
    pair = site(PAIR)
    assert pair.phone("a", "alice") is pair.lines["alice"]
    assert pair.phone("b", "alice") is None
    assert pair.lines["alice"].aor_user == "alice"
    assert pair.agents["a"].api_address.path.endswith("/state/a/a.sock")
    assert pair.members("alice") == ("alice",)
    assert pair.servers["m1"].reach == Endpoint("tcp", "127.0.0.1", 5061)
    assert site().servers["m1"].beat_reach is None
    behind = site(PAIR.replace("[servers.m1]", '[servers.m1]\nadvertise = "sip.example:7000"'))
    assert behind.servers["m1"].reach == Endpoint("tcp", "sip.example", 7000)
    with pytest.raises(TypeError):
        pair.lines["x"] = pair.lines["alice"]  # type: ignore[index]


def test_the_votes_have_their_membership_from_it():
    pair = site(PAIR)
    members = pair.membership("m1")
    assert faults(members.timing) == [] and (members.servers, members.standby) == (("m1", "m2"), "m2")
    assert members.voters == ("a", "b", "m2") and members.quorum == 2
    assert members.config == pair.digest and members.keys == (b"0123456789abcdef",)
    assert members.timing.lease == 0.8 and members.preferred == "m1"
    assert site().membership().alone


def test_an_agent_with_a_key_of_its_own_says_the_digest_without_keys_and_judges_nobody():
    own = AgentKey("paris", "a", bytes(32)).text
    servers, agent = site(PAIR).membership("m1"), site(PAIR, {"KEY": own}).membership()
    assert servers.config == site(PAIR).digest != agent.config == site(PAIR).digest_without_keys
    assert not servers.runs_another_file(agent.config) and not servers.runs_another_file(servers.config)
    assert servers.runs_another_file("01234567") and not servers.runs_another_file("")
    assert not agent.runs_another_file(servers.config) and not agent.runs_another_file("01234567")


def test_the_digest_stands_for_the_meaning():
    digest = site().digest
    assert len(digest) == 8 and int(digest, 16) >= 0
    turned = SMALL.replace("channels = 3\n", "").replace(
        "[lines.t]", "# a comment\n[lines.t]\nchannels = 3\npriority = 0"
    )
    assert site(turned).digest == digest
    assert site(SMALL, {"KEY": "another key, but at the same place"}).digest == digest
    assert parse(SMALL, Path("/elsewhere/site.toml"), KEYS).digest == digest
    assert site(SMALL.replace("channels = 3", "channels = 4")).digest != digest
    assert site(SMALL.replace('"KEY"', '"PASS"')).digest != digest
    elsewhere = site(SMALL.replace('"KEY"', '"PASS"'))
    assert elsewhere.digest_without_keys == site(SMALL).digest_without_keys != digest
    swapped = PAIR.replace("[agents.a]", "[agents.x]").replace("[agents.b]", "[agents.a]")
    assert site(swapped.replace("[agents.x]", "[agents.b]")).digest != site(PAIR).digest


def test_a_setting_that_a_later_version_adds_changes_no_digest_until_somebody_sets_it():
    found = site()
    later = dataclasses.make_dataclass(
        "Later", [("added", str, "as ever")], bases=(type(found.failover),), frozen=True
    )
    as_ever, other = (dataclasses.replace(found, failover=each) for each in (later(), later(added="otherwise")))
    assert digest(as_ever) == found.digest != digest(other)
    assert site(SMALL + "[failover]\nhold_down = 30.0\n").digest == found.digest
    assert site(SMALL + "[failover]\nhold_down = 31.0\n").digest != found.digest


def test_secrets_are_never_shown():
    pair = site(PAIR)
    secret = pair.lines["alice"].password
    assert secret is not None and secret.reveal() == b"sesame"
    shown = f"{pair!r} {secret} {secret!r} {pair.identity.key} {pair.membership()!r}"
    assert "sesame" not in shown and "0123456789abcdef" not in shown
    assert str(secret) == "<secret from env PASS>"
    odd = site(PAIR, {**KEYS, "PASS": "caf\udce9"}).lines["alice"].password
    assert odd is not None and odd.reveal() == b"caf\xe9", "the environment is bytes"
    with pytest.raises(SiteError) as caught:
        site(SMALL.replace('{ env = "KEY" }', '"my secret key"'))
    assert "my secret key" not in str(caught.value)
    assert str(caught.value).startswith('site.key: must be {secret = "NAME"}')


def test_missing_secrets_are_named_for_those_who_need_them(tmp_path: Path):
    pair = site(PAIR, {})
    assert missing_secrets(pair, "m1") == ["site.key: the environment variable KEY is not set"]
    assert missing_secrets(pair, "b") == missing_secrets(pair, "m1")
    assert missing_secrets(pair, "a")[1:] == missing_secrets(pair)[1:]
    assert missing_secrets(pair)[1] == "lines.alice.password: the environment variable PASS is not set"
    with pytest.raises(LookupError, match="env KEY is missing: the environment variable KEY is not set"):
        pair.identity.key.reveal()
    assert missing_secrets(site(SMALL, {"KEY": "short"})) == ["site.key: must have at least 16 bytes, has 5"]
    with pytest.raises(LookupError, match="it was not read"):
        Secret("env X").reveal()
    file = tmp_path / "site.toml"
    file.write_text(SMALL.replace('env = "KEY"', 'file = "key"'))
    assert "cannot be read" in missing_secrets(load(file))[0]
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_bytes(b"\r\n")
    assert missing_secrets(load(file)) == [f"site.key: the file {tmp_path / 'key'} is empty"]
    (tmp_path / "key").write_bytes(b"sixteen bytes ok\n")
    assert load(file, "m1").identity.key.reveal() == b"sixteen bytes ok"
    (tmp_path / "key").chmod(0o644)
    said = f"site.key: everybody on this machine may read {tmp_path / 'key'}: chmod 600 it"
    assert warnings(load(file)) == [said]
    assert missing_secrets(load(file), "m1") == [f"{said}, and have a new key made"]
    with pytest.raises(SiteError, match="may read"):
        load(file, "m1")
    (tmp_path / "key").chmod(0o640)
    assert warnings(load(file)) == missing_secrets(load(file), "m1") == []


def test_a_password_that_everybody_may_read_is_a_warning_alone(tmp_path: Path):
    """It is of one line, and whoever reads it can do no more than that telephone."""
    word = tmp_path / "word"
    word.write_text("a word for the telephone")
    word.chmod(0o644)
    text = PAIR.replace('{ env = "PASS" }', '{ file = "word" }')
    found = parse(text, tmp_path / "site.toml", KEYS)
    assert missing_secrets(found, "a") == []
    assert warnings(found) == [f"lines.alice.password: everybody on this machine may read {word}: chmod 600 it"]


def test_what_cannot_be_loaded(tmp_path: Path):
    file = tmp_path / "site.toml"
    with pytest.raises(SiteError, match=r"cannot be read: No such file"):
        load(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SiteError, match="cannot be read"):
        load(file)
    file.write_text("a = ")
    with pytest.raises(SiteError, match="is not TOML"):
        load(file)
    file.write_text(SMALL)
    with pytest.raises(SiteError, match="has no server or agent m9: it has m1"):
        load(file, "m9")


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("1001", ["1001"], ["10011", "100", ""]),
        ("+33*", ["+33", "+331"], ["+34", "33"]),
        ("*", ["", "anything"], []),
        ("*97", ["*97"], ["97", "x97"]),
        ("2??", ["200", "2ab"], ["20", "2000"]),
        ("1[2-4]", ["12", "14"], ["15", "1", "1-"]),
        ("[*]", ["*"], ["", "1"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[^1]", ["1", "^"], ["2"]),
    ],
)
def test_patterns(text: str, matching: list[str], others: list[str]):
    pattern = Pattern.parse(text)
    assert all(pattern.matches(number) for number in matching)
    assert not any(pattern.matches(number) for number in others)


def test_what_patterns_tell_the_router():
    assert Pattern.parse("1001").exact and Pattern.parse("*97").exact
    assert (Pattern.parse("+33*").prefix, Pattern.parse("*").prefix) == ("+33", "")
    assert Pattern.parse("1?*").prefix is None and not Pattern.parse("1?").exact


@pytest.mark.parametrize("text", ["", "1[2", "1]2", "[[1]]", "[]", "[9-1]", "x" * 65])
def test_bad_patterns(text: str):
    with pytest.raises(ValueError):
        Pattern.parse(text)


def test_numbers_are_rewritten_by_the_first_rule_that_matches():
    rules_ = '[{ match = "00*", strip = 2, prefix = "+" }, { match = "0*", strip = 1, prefix = "+33" }]'
    line = site(SMALL + f"to_device.called = {rules_}\n").lines["t"]
    called = line.to_device.called
    assert [rewritten(called, n) for n in ("0044", "0123", "7")] == ["+44", "+33123", "7"]


@pytest.mark.parametrize(
    "text",
    ["tcp:192.0.2.1:5061", "udp:[::1]:5060", "udp:0.0.0.0:1", "tls:[::1]:5061", "wss:192.0.2.1:443"],
)
def test_endpoints_are_written_as_they_are_read(text: str):
    assert str(Endpoint.parse(text)) == text


def test_addresses():
    assert Endpoint.parse("udp:localhost:5060").address == ("127.0.0.1", 5060)
    assert str(Api.parse("unix:/x/y.sock")) == "unix:/x/y.sock"
    assert str(Api.parse("tcp:[::1]:80")) == "tcp:[::1]:80"
    assert str(PeerUri.parse("sip:[2001:db8::1]:5070;transport=tcp")) == "sip:[2001:db8::1]:5070;transport=tcp"
    assert PeerUri.parse("sip:carrier.example") == PeerUri("carrier.example")
    for text in ("sip:carrier.example:5061;transport=tls", "sips:carrier.example", "sips:[2001:db8::1]:5071"):
        assert PeerUri.parse(text).uri == text and PeerUri.parse(text).is_tls
    assert PeerUri.parse("sips:carrier.example;transport=tls").uri == "sips:carrier.example"
    for text in ("192.0.2.0/24", "192.0.2.1", "192.0.2.1:5070", "2001:db8::/32", "[::1]:5060"):
        assert str(Source.parse(text)) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Endpoint, "192.0.2.1:5060"),
        (Endpoint, "sctp:192.0.2.1:5061"),
        (Endpoint, "udp:192.0.2.1"),
        (Endpoint, "udp:192.0.2.1:0"),
        (Endpoint, "udp:192.0.2.1:x"),
        (Endpoint, "udp:192.0.2.1:"),
        (Endpoint, "udp:host.example:5060"),
        (Endpoint, "udp:[::1:5060"),
        (Endpoint, "udp:::1:5060"),
        (Api, "unix:"),
        (Api, "/run/x"),
        (PeerUri, "192.0.2.1"),
        (PeerUri, "sip:user@192.0.2.1"),
        (PeerUri, "sip:192.0.2.1;transport=wss"),
        (PeerUri, "sips:192.0.2.1;transport=udp"),
        (PeerUri, "tel:192.0.2.1"),
        (PeerUri, "sip:192.0.2.1;lr"),
        (PeerUri, "sip:"),
        (PeerUri, "sip:[::1]x"),
        (Source, "192.0.2.1/24"),
        (Source, "host.example"),
        (Source, "1:2:3"),
    ],
)
def test_bad_addresses(kind: type[Endpoint | Api | PeerUri | Source], text: str):
    with pytest.raises(ValueError):
        kind.parse(text)


def test_a_request_belongs_to_the_trunk_of_its_address():
    text = SMALL + (
        'from = ["192.0.2.0/24", "2001:db8::/32"]\n'
        '[lines.u]\nkind = "trunk"\nchannels = 1\npeer = "sip:127.0.0.1:5070"\nfrom = "127.0.0.1:5070"\n'
    )
    one = site(text)
    table = SourceTable(one.lines_of(""))
    assert table.line("192.0.2.77", 9) is table.line("192.0.2.77", 9) is one.lines["t"]
    assert table.line("::ffff:192.0.2.77", 9) is one.lines["t"]
    assert table.line("2001:db8::7", 9) is one.lines["t"]
    assert table.line("127.0.0.1", 5070) is one.lines["u"]
    assert table.line("127.0.0.1", 5071) is None
    assert table.line("192.0.3.1", 9) is None
    assert table.line("not an address", 9) is None
    for port in range(MOST_REMEMBERED + 10):
        table.line("198.51.100.1", port)
    assert len(table._remembered) <= MOST_REMEMBERED


def test_a_secret_by_name_is_a_file_beside_the_site_file_or_a_credential_of_systemd(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "credentials").mkdir()
    for directory, name in (("secrets", "one"), ("credentials", "one"), ("credentials", "two")):
        kept = tmp_path / directory / name
        kept.write_text(f"{directory} {name} of 16 bytes\n")
        kept.chmod(0o600)

    def key(name: str, environment: dict[str, str]):
        text = SMALL.replace('{ env = "KEY" }', f'{{ secret = "{name}" }}')
        return parse(text, tmp_path / "site.toml", environment).identity.key

    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert key("one", {}).value == key("one", credentials).value == b"secrets one of 16 bytes"
    assert key("two", credentials).value == b"credentials two of 16 bytes"
    missing = key("two", {})
    assert missing.value is None and missing.source == "secret two"
    assert missing.problem == f"the file {tmp_path}/secrets/two cannot be read: No such file or directory"
    (tmp_path / "secrets" / "one").chmod(0o644)
    assert key("one", {}).warning.endswith("secrets/one: chmod 600 it")


@pytest.mark.parametrize("name", ["", "../site.key", "/etc/passwd", ".hidden", "a b", "x" * 65])
def test_a_secret_is_named_by_a_name_and_no_path(name, tmp_path):
    with pytest.raises(SiteError, match=r"^site\.key: "):
        parse(SMALL.replace('{ env = "KEY" }', f'{{ secret = "{name}" }}'), tmp_path / "site.toml", {})
