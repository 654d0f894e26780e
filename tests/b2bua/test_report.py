"""The takeover report: the evidence, the decision, the agents, the verdict for each call."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from b2bua.takeover.report import kind_of
from heartbeat.console.contract import Refused
from heartbeat.console.views.takeovers import AgentReport, Report, TakeoverSummary, Verdict
from heartbeat.persistent_state import PersistentState
from tests.b2bua.fake import Bench
from tests.b2bua.fake_agent import ServerFixture, record
from tests.consoles import seen


def test_the_first_start_of_a_site_is_no_takeover() -> None:
    fixture = ServerFixture()
    with pytest.raises(Refused, match="nothing over"):
        seen(fixture.bench.core, "report", {}, fixture.bench.now)
    assert seen(fixture.bench.core, "status", {}, fixture.bench.now)["last_takeover"] is None


def taken(fixture: ServerFixture) -> Bench:
    a, b = fixture.talk()
    c, _ = fixture.talk()
    fixture.gw1.records = [record(a), record(c)]
    fixture.gw2.records = [record(b)]
    fixture.die()
    return fixture.succeed()


def test_a_report_has_all_its_members_and_verdicts() -> None:
    bench = taken(ServerFixture())
    report = seen(bench.core, "report", {}, bench.now)
    assert report.keys() == get_type_hints(Report).keys()
    assert report["verdicts"] == {"kept": 1, "released": 1} and report["not_reached"] == []
    assert {each["verdict"]: each["state"] for each in report["calls"]} == {"kept": "there", "released": "gone"}
    assert all(each.keys() == get_type_hints(Verdict).keys() for each in report["calls"])
    assert all(each.keys() == get_type_hints(AgentReport).keys() for each in report["agents"])
    assert report["messages"] >= 4 and report["grants"] and report["evidence"]
    assert report["decided_at"] <= report["granted_at"] <= report["active_at"]
    assert len(seen(bench.core, "report", {"limit": "1"}, bench.now)["calls"]) == 1
    summary = seen(bench.core, "status", {}, bench.now)["last_takeover"]
    assert summary.keys() == get_type_hints(TakeoverSummary).keys()
    assert (summary["kept"], summary["lost"], summary["kind"]) == (1, 1, "takeover")


def test_it_is_explained_by_name_and_by_epoch() -> None:
    bench = taken(ServerFixture())
    for wanted in ("takeover", "2"):
        found = seen(bench.core, "explain", {"id": wanted}, bench.now)
        texts = [each["text"] for each in found["sentences"]]
        assert found["about"] == "takeover to epoch 2"
        assert any("after the decision" in text for text in texts) and "1 calls were kept" in texts
    with pytest.raises(Refused):
        seen(bench.core, "explain", {"id": "9"}, bench.now)


def test_an_agent_that_is_not_there_is_named() -> None:
    fixture = ServerFixture()
    fixture.talk()
    fixture.die()
    bench = fixture.succeed("gw2")
    assert seen(bench.core, "report", {}, bench.now)["not_reached"] == ["gw2"]


def test_a_restart_recovers_its_own_calls() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.gw1.records, fixture.gw2.records = [record(a)], [record(b)]
    fixture.die()
    disk = fixture.gw1.voter.participant.on_disk
    kept = PersistentState(
        incarnation=2, non_voting=False, voters=disk.voters, leadership=disk.leadership, granted=disk.granted
    )
    bench = Bench(fixture.bench.site, "m1", fixture.bench.now, kept)
    for agent in (fixture.gw1, fixture.gw2):
        agent.move(bench).connect()
    bench.serve()
    bench.after(0.1)
    report = seen(bench.core, "report", {}, bench.now)
    assert (report["kind"], report["epoch"], report["verdicts"]) == ("restart", 2, {"kept": 1})
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert a.statuses == [200]


@pytest.mark.parametrize(
    ("because", "old", "node", "kind"),
    [
        ("m1 is dead", "m1", "m2", "takeover"),
        ("an operator forces it", "m1", "m2", "force"),
        ("m2 hears nobody who rules", "", "m2", "restart"),
        ("m1 hears nobody who rules", "m1", "m1", "restart"),
        ("m1 hands over", "m1", "m2", "switchover"),
        ("m2 hands over", "m2", "m1", "failback"),
    ],
)
def test_kinds(because: str, old: str, node: str, kind: str) -> None:
    assert kind_of(because, old, node, "m1") == kind
