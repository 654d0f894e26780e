"""What a running node takes from a changed file, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.agent_key import AgentKey, derive
from heartbeat.site.load import parse
from heartbeat.site.model import Site
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.reload import changes, reload_complaints, without_late_lines

TEXT = """
[site]
name = "s"
key = { env = "OLD" }
[timing]
interval = 0.5
[failover]
failback = "stay"
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
[lines.t]
kind = "trunk"
agent = "a"
channels = 3
peer = "sip:127.0.0.21"
[[routes]]
match = "0*"
to = "t"
"""


def site(text: str = TEXT) -> Site:
    return parse(text, Path("/etc/site.toml"), {"OLD": "the old key, long", "NEW": "the new key, long"})


def keyed(key: str, previous: str = "") -> Site:
    """The site as agent ``a`` reads it: each key is the old or the new one of the site, or its own of that."""
    words = {"OLD": "the old key, long", "NEW": "the new key, long"}
    for name, word in list(words.items()):
        words[f"OWN_{name}"] = AgentKey("s", "a", derive(word.encode(), "s", "a")).text
    more = f'\nprevious_key = {{ env = "{previous}" }}' if previous else ""
    return parse(
        TEXT.replace('key = { env = "OLD" }', f'key = {{ env = "{key}" }}{more}'), Path("/etc/site.toml"), words
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (("OLD",), ("OWN_OLD", "OLD"), ""),
        (("OWN_OLD", "OLD"), ("OWN_OLD",), ""),
        (("OWN_OLD",), ("OWN_OLD", "OWN_NEW"), ""),
        (("OWN_OLD",), ("OWN_NEW", "OWN_OLD"), ""),
        (("OLD",), ("OWN_OLD",), "site.key: is another one: keep the old key as previous_key"),
        (("OWN_OLD",), ("OWN_NEW",), "site.key: is another one: keep the old key as previous_key"),
        (
            ("OWN_OLD",),
            ("OLD", "OWN_OLD"),
            "site.key: cannot change from an agent's own key to the site key while it",
        ),
    ],
)
def test_an_agent_comes_to_a_key_of_its_own(before: tuple[str, ...], after: tuple[str, ...], said: str) -> None:
    old, new = keyed(*before), keyed(*after)
    assert missing_secrets(old, "a") == missing_secrets(new, "a") == []
    found = reload_complaints(old, new, "a")
    assert [each[: len(said)] for each in found] == ([said] if said else [])
    assert len(new.membership().keys) == len(after) and not any(b"agent:" in key for key in new.membership().keys)
    wrong = [each for each in missing_secrets(new, "m1") if "a server needs the site key itself" in each]
    assert len(wrong) == sum(name.startswith("OWN") for name in after)


def complaints(old: str, new: str, node: str = "m1") -> list[str]:
    assert old in TEXT
    return reload_complaints(site(), site(TEXT.replace(old, new, 1)), node)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("channels = 3", "channels = 5"),
        ('match = "0*"', 'match = "1*"'),
        ('[[routes]]\nmatch = "0*"\nto = "t"', ""),
        ('failback = "stay"', 'failback = "return"'),
        ("interval = 0.5", "interval = 0.5\nhold_attempt = 4"),
        ("[failover]", "[trace]\nmemory = 0\n[failover]"),
        ('listen = "tcp:127.0.0.1:5061"', 'listen = "tcp:127.0.0.1:5061"\ncapacity = 9'),
        ("[lines.t]", '[lines.u]\nkind = "trunk"\nagent = "b"\nchannels = 1\npeer = "sip:127.0.0.2"\n[lines.t]'),
        ('key = { env = "OLD" }', 'key = { env = "OLD" }\nprevious_key = { env = "NEW" }'),
        ('key = { env = "OLD" }', 'key = { env = "NEW" }\nprevious_key = { env = "OLD" }'),
        # Where devices reach an agent is no other node's affair.
        ("udp:127.0.0.12:5060", "udp:127.0.0.13:5060"),
    ],
)
def test_taken(old: str, new: str):
    assert complaints(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "node", "place"),
    [
        ('name = "s"', 'name = "t"\nrealm = "s"', "m1", "site.name"),
        ('name = "s"', 'name = "s"\nrealm = "r"', "m1", "site.realm"),
        ('key = { env = "OLD" }', 'key = { env = "NEW" }', "m1", "site.key"),
        ("interval = 0.5", "interval = 0.5\nt1 = 0.4", "m1", "timing.t1"),
        ("interval = 0.5", "interval = 0.5\nmargin = 0.4", "a", "timing.margin"),
        ('failback = "stay"', 'voters = ["a"]', "m1", "failover.voters"),
        ('failback = "stay"', "generation = 2", "m1", "failover.generation"),
        ("[agents.b]", '[agents.c]\nsip = "udp:127.0.0.13:5060"\n[agents.b]', "m1", "agents"),
        ("tcp:127.0.0.1:5061", "tcp:127.0.0.1:5071", "m1", "servers.m1.listen"),
        ("tcp:127.0.0.2:5061", "tcp:127.0.0.2:5071", "m1", "servers.m2.listen"),
        ("tcp:127.0.0.2:5061", "tcp:127.0.0.2:5071", "a", "servers.m2.listen"),
        ("udp:127.0.0.11:5060", "udp:127.0.0.11:5070", "a", "agents.a.sip"),
        ('agent = "a"', 'agent = "b"', "m1", "lines.t"),
    ],
)
def test_refused(old: str, new: str, node: str, place: str):
    (sentence,) = complaints(old, new, node)
    assert sentence.startswith(f"{place}: ")


def test_a_changed_interval_is_told_with_what_follows_from_it():
    assert [c.split(":")[0] for c in complaints("interval = 0.5", "interval = 0.25")] == [
        "timing.interval",
        "timing.lease",
        "timing.margin",
    ]


PHONE = '[lines.p]\nkind = "phone"\nagent = "a"\npassword = { env = "WORD" }\n'


def test_a_new_line_whose_password_is_not_there_waits_for_a_restart_alone():
    old = parse(TEXT, Path("/x/site.toml"), {"OLD": "k" * 16})
    new = parse(TEXT.replace("channels = 3", "channels = 4") + PHONE, Path("/x/site.toml"), {"OLD": "k" * 16})
    taken, late = without_late_lines(old, new, "a")
    assert late == ["lines.p: is left out until a is restarted: the environment variable WORD is not set"]
    assert taken.lines["t"].channels == 4 and "p" not in taken.lines and taken.digest == new.digest
    assert missing_secrets(taken, "a") == []
    for node in ("b", "m1"):  # who needs no password of it
        assert without_late_lines(old, new, node)[0].lines == new.lines
    running = parse(TEXT + PHONE, Path("/x/site.toml"), {"OLD": "k" * 16, "WORD": "w"})
    kept, late = without_late_lines(running, new, "a")
    assert late == [] and missing_secrets(kept, "a"), "a line that runs is not taken away for that"


def test_a_phone_is_added_by_a_reload_when_its_password_is_in_the_directory_of_secrets(tmp_path: Path):
    phone, file = PHONE.replace('env = "WORD"', 'secret = "p"'), tmp_path / "site.toml"
    environment = {"OLD": "k" * 16}
    old, without = parse(TEXT, file, environment), parse(TEXT + phone, file, environment)
    kept, late = without_late_lines(old, without, "a")
    assert late == [] and missing_secrets(kept, "a") == [
        f"lines.p.password: the file {tmp_path}/secrets/p cannot be read: No such file or directory"
    ]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "p").write_text("word\n")
    new = parse(TEXT + phone, file, environment)
    taken, late = without_late_lines(old, new, "a")
    assert late == [] and "p" in taken.lines
    assert missing_secrets(new, "a") == [] == reload_complaints(old, new, "a")
    assert changes(old, new) == ["line new: p"]
    (tmp_path / "secrets" / "p").write_text("another\n")
    assert changes(new, parse(TEXT + phone, file, environment)) == ["line changed: p"], "and so is a new password"


def test_what_is_new_in_a_file_is_said_in_short() -> None:
    old = site()
    assert changes(old, site()) == []
    more = TEXT + "".join(
        f'[lines.p{n}]\nkind = "trunk"\nagent = "a"\nchannels = 1\npeer = "sip:127.0.1.{n}"\n' for n in range(12)
    )
    new = site(more.replace("channels = 3", "channels = 4").replace('to = "t"', 'to = "p0"'))
    assert changes(old, new) == [
        "lines new: p0, p1, p2, p3, p4, p5, p6, p7, p8, p9 and 2 more",
        "line changed: t",
        "routes changed: 1, 1 before",
    ]
    assert changes(new, old)[0] == "lines gone: p0, p1, p2, p3, p4, p5, p6, p7, p8, p9 and 2 more"


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('failback = "stay"', 'failback = "return"', ["failover changed"]),
        ("interval = 0.5", "interval = 0.5\nagent_grace = 90", ["timing changed"]),
        ('key = { env = "OLD" }', 'key = { env = "OLD" }\nca = "ca.pem"', ["site.ca changed"]),
        ('"OLD" }', '"OLD" }\nprevious_key = { env = "NEW" }', ["previous_key is new"]),
        (
            '{ env = "OLD" }',
            '{ env = "NEW" }\nprevious_key = { env = "OLD" }',
            ["the site key is another one", "previous_key is new"],
        ),
    ],
)
def test_nothing_that_is_taken_goes_unsaid(was: str, now: str, said: list[str]) -> None:
    assert was in TEXT
    new = site(TEXT.replace(was, now, 1))
    assert changes(site(), new) == said and changes(new, new) == []


def test_a_previous_key_that_is_taken_away_is_said() -> None:
    with_it = site(TEXT.replace('"OLD" }', '"OLD" }\nprevious_key = { env = "NEW" }', 1))
    assert changes(with_it, site()) == ["previous_key is gone"]


def test_a_new_token_of_the_api_is_said() -> None:
    api = '[servers.m1]\napi = "tcp:127.0.0.1:8080"\napi_token = { env = "TOKEN" }'
    old, new = (
        parse(
            TEXT.replace("[servers.m1]", api, 1), Path("/etc/site.toml"), {"OLD": "the old key, long", "TOKEN": token}
        )
        for token in ("one", "another")
    )
    assert changes(old, old) == [] and changes(old, new) == ["server m1 changed"]


@pytest.mark.parametrize(
    ("lines", "table"),
    [
        ('[hooks]\nurl = "https://x/"\nkey = { env = "WORD" }\n', "hooks"),
        ('[records.webhook]\nurl = "https://x/"\nkey = { env = "WORD" }\n', "records"),
        ('[records.postgres]\nconnect = "host=db"\npassword = { env = "WORD" }\n', "records"),
    ],
)
def test_another_secret_in_the_same_place_is_taken_and_said(lines: str, table: str) -> None:
    words = {"OLD": "the old key, long"}
    old, new = (parse(TEXT + lines, Path("/etc/site.toml"), {**words, "WORD": word}) for word in ("one", "another"))
    assert changes(old, old) == [] and changes(old, new) == [f"{table} changed"]
