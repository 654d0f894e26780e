"""The provisioned part of a site: versions, changes, and how it stands beside the site file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heartbeat.site.explain import explain
from heartbeat.site.load import PROVISIONED, SiteError, load, parse
from heartbeat.site.model import Site
from heartbeat.site.pitfalls import warnings
from heartbeat.site.provisioned import NOTHING, Change, Provisioned, ProvisionError, Version

TEXT = """
[site]
name = "paris"
key = { env = "KEY" }
provisioned = "last"
[servers.m1]
listen = "tcp:127.0.0.1:5161"
[agents.gw1]
sip = "udp:127.0.0.11:5060"
[lines.carrier]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 3
[[routes]]
match = "112"
to = "carrier"
"""
PHONE = {"kind": "phone", "agent": "gw1", "numbers": ["1001"], "password": {"secret": "alice"}}


def part(**tables: dict[str, Any]) -> Provisioned:
    return NOTHING.changed(Change.of(tables), 1)


def site(found: Provisioned, text: str = TEXT) -> Site:
    return parse(text, Path("/etc/x/site.toml"), {"KEY": "0123456789abcdef"}, provisioned=found)


def complaints(found: Provisioned, text: str = TEXT) -> tuple[str, ...]:
    with pytest.raises(SiteError) as refused:
        site(found, text)
    return refused.value.complaints


def wrong(found: Provisioned, change: Any) -> tuple[str, ...]:
    with pytest.raises(ProvisionError) as refused:
        found.changed(Change.of(change), 1)
    return refused.value.complaints


def test_versions_are_ordered_by_the_epoch_and_then_by_their_number() -> None:
    assert Version(2, 1) > Version(1, 9) > Version(1, 8) > Version()
    assert Version.parse("2.31") == (2, 31) and str(Version(2, 31)) == "2.31"
    for text in ("", "2", "2.", ".3", "a.1", "-1.2", "1.2.3", "9" * 40 + ".1"):
        with pytest.raises(ValueError, match="no version"):
            Version.parse(text)


def test_what_is_put_is_there_and_what_is_deleted_is_not() -> None:
    first = part(lines={"alice": PHONE}, routes={"out": {"match": "0*", "to": ["carrier"]}})
    assert first.version == (1, 1) and first.lines == {"alice": PHONE}
    second = first.changed(Change.of({"lines": {"alice": None, "bob": PHONE}}), 3)
    assert (second.version, list(second.lines), list(second.routes)) == ((3, 2), ["bob"], ["out"])
    assert second.changed(Change.of({"routes": {"out": None}}), 2).version == (3, 3), "it never falls"
    assert Provisioned.decode(second.encode()) == Provisioned.unpack(second.packed) == second


def test_routes_keep_their_place_and_may_be_put_before_another() -> None:
    one = {"match": "1", "to": ["carrier"]}
    found = part(routes={"a": one, "b": one}).changed(Change.of({"routes": {"c": {**one, "before": "b"}}}), 1)
    assert list(found.routes) == ["a", "c", "b"] and found.routes["c"] == one
    assert list(found.changed(Change.of({"routes": {"a": {"match": "9", "to": ["carrier"]}}}), 1).routes) == [
        "a", "c", "b"
    ]  # fmt: skip
    assert wrong(found, {"routes": {"d": {**one, "before": "z"}}}) == (
        "routes.d.before: names 'z', and there is no such other provisioned route",
    )


def test_a_change_that_is_none_is_refused_with_all_that_is_wrong() -> None:
    for value in (None, [], {}, {"lines": []}, "x"):
        with pytest.raises(ProvisionError, match="a change is like"):
            Change.of(value)
    with pytest.raises(ProvisionError) as refused:
        Change.of({"groups": {}, "lines": {"a": 1}, "routes": {"b": []}})
    assert len(refused.value.complaints) == 3
    assert wrong(NOTHING, {"lines": {"x": None}, "routes": {"y": None}}) == (
        "lines.x: is not provisioned, so it cannot be deleted",
        "routes.y: is not provisioned, so it cannot be deleted",
    )


def test_who_provisions_cannot_name_files_or_environments() -> None:
    found = wrong(
        NOTHING,
        {
            "lines": {
                "a": {**PHONE, "password": {"file": "/etc/shadow"}},
                "b": {"register": {"password": {"env": "KEY"}}},
                "c": {"ca": "/etc/x.pem"},
                "d": {"station": {"file": "/etc/hostname"}},
            }
        },
    )
    assert [sentence.partition(":")[0] for sentence in found] == [
        "lines.a.password",
        "lines.b.register.password",
        "lines.c.ca",
        "lines.d.station",
    ]


def test_the_words_of_a_change_are_names_alone() -> None:
    change = Change.of({"lines": {"a": {"user": "not said"}, "b": None}, "routes": {"r": None}})
    assert change.words == "line put: a; line deleted: b; route deleted: r"


def test_its_lines_and_routes_are_part_of_the_site() -> None:
    found = part(lines={"alice": PHONE}, routes={"out": {"match": "0*", "to": ["carrier"], "from": "alice"}})
    last, first = site(found), site(found, TEXT.replace('"last"', '"first"'))
    assert list(last.lines) == ["alice", "carrier"] and last.lines["alice"].numbers == ("1001",)
    assert [last.route_place(i) for i in range(2)] == ["routes[1]", "routes.out"]
    assert [first.route_place(i) for i in range(2)] == ["routes.out", "routes[1]"]
    assert last.digest != first.digest != site(NOTHING, TEXT.replace('"last"', '"first"')).digest
    assert explain(last).summary.endswith(" Of these 1 line and 1 route by API, version 1.1.")
    assert last.membership().given == "1.1" and site(NOTHING).membership().given == ""


def test_it_is_checked_with_the_file_and_called_by_name() -> None:
    found = part(
        lines={"alice": {"kind": "phone", "agent": "gw9"}, "carrier": PHONE},
        routes={"out": {"match": "0*", "to": ["nobody"], "prefx": "1"}, "in": {"match": "112", "to": ["nobody"]}},
    )
    said = complaints(found)
    assert "lines.carrier: is provisioned, and in site.toml too: delete one" in said
    assert "routes.out.prefx: is not known: did you mean prefix?" in said
    assert any(sentence.startswith("lines.alice.agent: names gw9") for sentence in said)
    assert "routes.in.match: is never used: routes[1] takes 112 already" in said
    shadowed = part(routes={"out": {"match": "0*", "to": ["carrier"]}, "more": {"match": "01*", "to": ["carrier"]}})
    assert [w for w in warnings(site(shadowed, TEXT + PHONE_LINE)) if "never used" in w] == [
        "routes.more: is never used: routes.out takes its calls; put it before"
    ]


PHONE_LINE = """
[lines.zoe]
kind = "phone"
agent = "gw1"
password = { env = "KEY" }
"""


def test_two_routes_have_no_name_in_common() -> None:
    named = TEXT.replace("[[routes]]\n", '[[routes]]\nname = "out"\n')
    assert complaints(part(routes={"out": {"match": "0*", "to": ["carrier"]}}), named) == (
        "routes[1].name: another route is called out, too",
    )


def test_each_node_has_its_own_file_and_commands_read_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "0123456789abcdef")
    path = tmp_path / "site.toml"
    path.write_text(TEXT)
    assert load(path).provisioned == NOTHING
    first = part(routes={"a": {"match": "1", "to": ["carrier"]}})
    second = first.changed(Change.of({"routes": {"b": {"match": "2", "to": ["carrier"]}}}), 1)
    for node, found in (("m1", second), ("gw1", first)):
        (tmp_path / "state" / node).mkdir(parents=True)
        (tmp_path / "state" / node / PROVISIONED).write_text(found.encode())
    assert load(path).provisioned == load(path, "m1").provisioned == second
    assert load(path, "gw1").provisioned == first
    (tmp_path / "state" / "m1" / PROVISIONED).write_text("{")
    assert load(path).provisioned == first
    with pytest.raises(SiteError, match="move it away, and it comes anew"):
        load(path, "m1")
    path.write_text(TEXT.replace('provisioned = "last"\n', ""))
    assert load(path, "m1").provisioned == NOTHING


def test_a_server_s_seal_goes_with_it_and_fits_nothing_else() -> None:
    key = b"the key of the site, long"
    part = Provisioned().changed(
        Change(routes={"a": {"match": "1*", "to": ["t"]}, "b": {"match": "2*", "to": ["t"]}}), 3
    )
    sealed = part.sealed("paris", key)
    assert sealed.version == part.version and not part.is_sealed("paris", (key,))
    for same in (sealed, Provisioned.decode(sealed.encode()), Provisioned.unpack(sealed.packed)):
        assert same == sealed and same.is_sealed("paris", (b"another", key))
    assert not sealed.is_sealed("paris", (b"another",)) and not sealed.is_sealed("lyon", (key,))
    turned = Provisioned(sealed.version, sealed.lines, dict(reversed(sealed.routes.items())), sealed.seal)
    later = Provisioned(Version(99, 1), sealed.lines, sealed.routes, sealed.seal)
    assert not turned.is_sealed("paris", (key,)) and not later.is_sealed("paris", (key,))
    assert not sealed.changed(Change(routes={"a": None}), 4).seal
    assert Provisioned.decode(sealed.encode().replace(f'"{sealed.seal}"', "5")).seal == ""


@pytest.mark.parametrize("place", [["a"], {"a": "b"}, 5, True])
def test_a_route_is_put_before_a_name_and_nothing_else(place: object) -> None:
    [said] = wrong(NOTHING, {"routes": {"a": {"match": "1", "to": "carrier", "before": place}}})
    assert said.startswith("routes.a.before: names")
