"""A rehearsal tells what the takeover behind it really keeps and loses; an audit finds what does not agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from b2bua.takeover.verdicts import KEPT, REPLAYED
from examples.softphone_call import TALKING, Policy
from heartbeat.console.contract import Refused
from tests.consoles import ordered, seen
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.stories.test_direct import registers, town
from tests.stories.test_stories import begun, taken_over


def look(sim: SiteSimulation, node: str, verb: str, page: str, until: float = 15.0) -> Any:
    """Have a server look, and what it saw."""
    progress = sim.world.ask(node, lambda now: ordered(sim.server(node), verb, {}, now))

    def done() -> bool:
        said = sim.world.ask(node, lambda now: seen(sim.server(node), "progress", {"id": progress["id"]}, now))
        return bool(said["state"] == "done")

    assert sim.world.run_until(done, until)
    return sim.world.ask(node, lambda now: seen(sim.server(node), page, {}, now))


def rehearsed(sim: SiteSimulation, node: str = "s1") -> Any:
    return look(sim, node, "rehearse", "rehearsal")


def audited(sim: SiteSimulation, node: str = "m1") -> Any:
    return look(sim, node, "audit", "audit")


def everything(sim: SiteSimulation) -> tuple[Any, ...]:
    """What a rehearsal must not change: who leads, whom agents obey, and what devices have heard."""
    obeyed = [sim.agent(name).obedience.adopted for name in ("gw1", "gw2")]
    calls = {name: sim.calls_of(name) for name in ("m1", "s1", "gw1", "gw2")}
    return sim.active, obeyed, calls, {name: dict(sim.heard(name)) for name in ("west", "east")}


def test_a_rehearsal_changes_nothing_and_tells_what_the_takeover_keeps() -> None:
    sim = begun()
    sim.talk()
    sim.policy("west", Policy(ring_after=0.1, answer_after=None))
    sim.call("east", "300")  # it rings
    sim.world.run(sim.world.now + 1.0)
    before = everything(sim)
    found = rehearsed(sim)
    assert everything(sim) == before
    assert (found["node"], found["active"], found["obstacles"]) == ("s1", "m1", [])
    assert found["lost"] == found["waiting"] == 0 and found["kept"] == sim.calls_of("m1") > 0
    assert {agent["agent"] for agent in found["agents"]} == {"gw1", "gw2"}
    assert all(agent["complete_at"] is not None for agent in found["agents"]) and found["took"] < 1.0
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 3.0)
    report = sim.world.ask("s1", lambda now: seen(sim.server("s1"), "report", {}, now))
    counted = Counter(report["verdicts"])
    assert counted[KEPT] + counted[REPLAYED] == found["kept"] and not counted["released"]


def test_calls_without_agents_are_counted_by_the_word_of_the_active_server() -> None:
    sim = town()
    sim.policy("zoe", Policy(ring_after=0.1, answer_after=8.0))
    call = sim.call("yves", "1009")
    sim.world.run(sim.world.now + 3.0)
    found = rehearsed(sim)
    assert found["verdicts"] == {"unkept": 1} and (found["kept"], found["lost"]) == (0, 1)
    assert found["without_agents"].startswith("m1 has 1 call between lines without agents")
    [named] = rehearsed(sim, "m1")["calls"]
    assert (named["verdict"], named["state"]) == ("unkept", "ringing")
    sim.world.run(sim.world.now + 9.0)
    assert call.state is TALKING
    for node in ("s1", "m1"):
        found = rehearsed(sim, node)
        assert found["verdicts"] == {"carried": 1} and (found["kept"], found["lost"]) == (1, 0)
    assert audited(sim)["without_agents"] == 1
    sim.world.kill("m1")
    for name in ("yves", "zoe"):
        registers(sim, name)
    taken_over(sim)
    sim.do("yves", "hold", call)
    sim.world.run(sim.world.now + 1.0)
    assert sim.calls_of("s1") == 1, "as was said"


def test_a_stand_by_that_asks_agents_seldom_knows_that_they_would_answer() -> None:
    """It asks every 2 s, and a lease is 0.8 s by default."""
    sim = begun(site=site_of(interval=0.2))
    for _ in range(12):
        sim.world.run(sim.world.now + 0.37)
        assert rehearsed(sim)["obstacles"] == []
    page = sim.world.ask("s1", lambda now: seen(sim.server("s1"), "status", {}, now))
    assert page["voters"]["answering"] == len(page["voters"]["names"]) == 3
    sim.world.kill("gw1")
    sim.world.run(sim.world.now + 4.0)
    page = sim.world.ask("s1", lambda now: seen(sim.server("s1"), "status", {}, now))
    assert page["voters"]["answering"] == 2


def test_a_cold_line_loses_its_calls() -> None:
    sim = begun(who=("west", "east", "cold"))
    sim.talk()
    sim.talk("west", "400", "cold")
    found = rehearsed(sim)
    assert found["lost"] == 1 and found["verdicts"] == {"kept": 1, "reset": 1}
    assert [(call["verdict"], call["because"]) for call in found["calls"]] == [
        ("reset", "cold is cold: its calls are dropped")
    ]


def test_an_agent_that_does_not_reach_the_stand_by_is_an_obstacle_and_its_calls_wait() -> None:
    sim = begun()
    sim.talk()
    sim.world.wires.cut("gw2", "s1", both=True)
    sim.world.run(sim.world.now + 6.0)
    found = rehearsed(sim)
    assert found["waiting"] == 1 and found["kept"] == 0 and not found["lost"]
    assert any("gw2" in sentence for sentence in found["obstacles"])


def test_calls_that_come_and_go_meanwhile_are_no_loss() -> None:
    sim = begun()
    for index in range(30):
        sim.world.later(0.05 * index, lambda: sim.call("west", "200"))
    for _ in range(4):
        assert rehearsed(sim)["lost"] == 0


def test_a_paused_stand_by_says_so() -> None:
    sim = begun()
    sim.world.ask("s1", lambda now: ordered(sim.server("s1"), "pause", {}, now))
    assert rehearsed(sim)["obstacles"] == ["s1 takes nothing over by itself: it is paused"]


def test_without_a_quorum_nobody_could_take_over() -> None:
    sim = begun()
    sim.world.kill("gw1")
    sim.world.kill("gw2")
    sim.world.run(sim.world.now + 5.0)
    found = rehearsed(sim)
    assert any("voters would answer s1" in sentence for sentence in found["obstacles"])
    assert "gw1 is not connected to s1" in found["obstacles"]


# -- audits -------------------------------------------------------------------------------------------------------


def test_an_audit_of_a_site_at_work_finds_nothing() -> None:
    sim = begun()
    sim.talk()
    ended, _ = sim.talk()
    sim.do("west", "bye", ended)
    for index in range(40):
        sim.world.later(0.05 * index, lambda: sim.call("west", "200"))
    sim.world.run(sim.world.now + 0.5)
    found = audited(sim)
    assert found["faults"] == [] and found["not_checked"] == [] and found["unrecorded"] == []
    assert found["calls"] >= 1 and found["dialogs"] >= 2 and found["ended"] >= 1


@pytest.mark.parametrize(("where", "what"), [("server", "orphan"), ("agent", "missing")])
def test_an_audit_finds_a_call_of_which_one_side_knows_nothing(where: str, what: str) -> None:
    sim = begun()
    sim.talk()
    server = sim.server("m1")
    [call] = server.calls.values()
    if where == "server":  # the server has forgotten it, by whatever fault
        for leg in call.bridge.legs:
            leg.end()
        server.calls.clear()
    else:
        agent = sim.agent("gw2")
        [lost] = agent.calls.values()
        del agent.calls[lost.id]
        agent.by_call_id.clear()
    found = audited(sim)
    agents = {"gw1", "gw2"} if where == "server" else {"gw2"}
    assert {(fault["what"], fault["agent"], fault["id"]) for fault in found["faults"]} == {
        (what, agent, call.id) for agent in agents
    }


def test_an_audit_names_ended_calls_whose_records_are_not_remembered() -> None:
    sim = begun()
    call, _ = sim.talk()
    [served] = sim.server("m1").calls
    sim.do("west", "bye", call)
    sim.world.run(sim.world.now + 0.3)
    assert audited(sim)["unrecorded"] == []
    sim.server("m1").records.ended.clear()
    assert audited(sim)["unrecorded"] == [served]


def test_a_stand_by_has_nothing_to_audit() -> None:
    sim = begun()
    with pytest.raises(Refused, match="s1 is not active, so it has no calls to compare; ask m1"):
        sim.world.ask("s1", lambda now: ordered(sim.server("s1"), "audit", {}, now))
