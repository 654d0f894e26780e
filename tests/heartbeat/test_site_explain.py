"""What ``b2bua check`` says of a site: its tables and the failures it survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.site.explain import Failure, explain
from heartbeat.site.load import load, parse
from heartbeat.site.model import Site

EXAMPLES = Path(__file__).parents[2] / "examples"


def site(agents: int, servers: int = 2, extra: str = "", head: str = "") -> Site:
    text = head + '[site]\nname = "s"\nkey = { env = "KEY" }\n'
    for i in range(1, servers + 1):
        role = "main" if i == 1 else "standby"
        text += f'[servers.m{i}]\nrole = "{role}"\nsip = "udp:127.0.0.{i}:5060"\n'
        text += f'listen = "tcp:127.0.0.{i}:5061"\nbeat = "udp:127.0.0.{i}:5062"\n'
    for i in range(1, agents + 1):
        text += f'[agents.g{i}]\nsip = "udp:127.0.1.{i}:5060"\n'
    return parse(text + extra, Path("/etc/site.toml"), {})


def survived(one: Site) -> dict[str, str]:
    return {f.failed: f.outcome + ("" if f.survived else "!") for f in explain(one).failures}


@pytest.mark.parametrize(
    ("agents", "outcomes"),
    [
        (
            1,
            {
                "m1": "takes over",
                "m2": "goes on",
                "g1": "ends!",
                "m1 and g1": "ends!",
                "m2 and g1": "ends!",
                "m1 and m2": "ends!",
                "the network between m1 and m2": "goes on",
            },
        ),
        (
            2,
            {
                "m1": "takes over",
                "m2": "goes on",
                "one of g1, g2": "goes on",
                "m1 and one of g1, g2": "takes over",
                "m2 and one of g1, g2": "holds",
                "g1 and g2": "ends!",
                "m1, g1 and g2": "ends!",
                "m1 and m2": "ends!",
                "the network between m1 and m2": "goes on",
            },
        ),
        (
            3,
            {
                "m1": "takes over",
                "m2": "goes on",
                "one of g1, g2, g3": "goes on",
                "m1 and one of g1, g2, g3": "takes over",
                "m2 and one of g1, g2, g3": "goes on",
                "two of g1, g2, g3": "holds",
                "m1 and two of g1, g2, g3": "ends!",
                "m1 and m2": "ends!",
                "the network between m1 and m2": "goes on",
            },
        ),
        (
            9,
            {
                "m1": "takes over",
                "m2": "goes on",
                "one of 7 agents like g1": "goes on",
                "one of g8, g9": "goes on",
                "m1 and one of 7 agents like g1": "takes over",
                "m2 and one of 7 agents like g1": "goes on",
                "two of 7 agents like g1": "goes on",
                "m1 and two of 7 agents like g1": "takes over",
                "m1 and m2": "ends!",
                "the network between m1 and m2": "goes on",
            },
        ),
    ],
)
def test_which_failures_a_site_survives(agents: int, outcomes: dict[str, str]):
    assert survived(site(agents)) == outcomes


def test_policies_change_what_happens():
    stop = site(3, head='[failover]\non_lost_quorum = "stop"\n')
    assert survived(stop)["two of g1, g2, g3"] == "stops!"
    alone = site(3, head="[failover]\ntakeover_without_quorum = true\n")
    assert survived(alone)["m1 and two of g1, g2, g3"] == "takes over"
    assert any("two servers may serve at once" in note for note in explain(alone).notes)
    own = '[lines.own]\nkind = "trunk"\nchannels = 1\npeer = "sip:127.0.0.9"\n'
    assert survived(site(1, extra=own))["g1"] == "holds!"
    assert survived(site(1, servers=1)) == {"m1": "ends!", "g1": "ends!", "m1 and g1": "ends!"}


def test_the_sentences():
    failures = {f.failed: f for f in explain(site(2)).failures}
    assert failures["m1 and one of g1, g2"] == Failure(
        "m1 and one of g1, g2",
        True,
        "takes over",
        "m2 takes over in 0.98 s with every call: 2 of 3 votes are left and 2 needed. The lines of the dead agent "
        "are out, and the other side of their calls is kept for 300 s: what only it knew of them died with m1, so "
        "they do not come back.",
    )
    assert failures["one of g1, g2"].sentence.endswith(
        "is kept for 300 s: started again by then, it has all of them back."
    )
    assert failures["m2 and one of g1, g2"].sentence.startswith(
        "m1 holds and serves: 1 of 3 votes are left and 2 needed, so nobody else may act, and it ends no call."
    )


def test_how_long_a_decision_takes():
    assert site(2).decision_time == 0.98
    assert site(2, head="[timing]\ninterval = 0.1\n").decision_time == 0.54
    assert explain(site(2)).decision == (
        "A takeover is decided 0.98 s after the last heartbeat that the voters heard: lease 0.8 s + margin 0.18 s, "
        "and 3 missed heartbeats of 0.2 s; 2 of 3 votes (g1, g2, m2) decide. "
        "Where only its process dies its supervisor says so: at once."
    )
    assert explain(load(EXAMPLES / "bench.toml")).decision.startswith("There is no stand-by")


def test_the_tables_of_the_example():
    paris = explain(load(EXAMPLES / "site.toml"))
    tables = {table.title: table for table in paris.tables}
    assert list(tables) == ["Servers", "Agents", "Lines", "Groups", "Routes"]
    assert all(len(row) == len(table.columns) for table in paris.tables for row in table.rows)
    assert tables["Servers"].rows[0][:3] == ("m1", "main", "tcp:127.0.0.1:5161")
    lines = {row[0]: row for row in tables["Lines"].rows}
    assert lines["carol"][7] == "cold, then idle"
    assert lines["alice"][8] == "when busy to 1003, after 20 s to 1003, shows +33123456001"
    assert tables["Groups"].rows[1] == ("outward", "weight", "carrier (3), pbx (1)")
    assert tables["Routes"].rows[2][1:4] == ("+338[0-9]*", "office", "refused with 403")
    assert paris.summary.startswith("Site paris: 2 servers, 2 agents, 5 lines, 5 routes; file ")
    assert "gw1 is the single point of failure of its own lines: carrier, alice." in paris.notes


def test_notes_on_what_nothing_reaches():
    extra = "".join(f'[lines.p{i}]\nkind = "phone"\nagent = "g1"\npassword = {{ env = "K" }}\n' for i in range(9))
    extra += '[groups.idle]\nlines = ["p1"]\n[[routes]]\nmatch = "0*"\nto = "p1"\nstrip = 1\nprefix = "9"\n'
    notes = explain(site(1, extra=extra)).notes
    assert "g1 is the single point of failure of its own lines: p0, p1, p2, p3, p4, p5, p6 and 2 more." in notes
    assert "p2 can call but is never called: no number of its own and no route leads there." in notes
    assert "idle is a group that no route names." in notes
    assert not any(note.startswith("p1 ") for note in notes)
