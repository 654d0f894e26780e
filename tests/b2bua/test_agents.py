"""The server's side of its agents: openings, votes by their connections, subscriptions, lists in parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.handshake import Initiator
from heartbeat.header import BEAT, OPEN
from sip.actions import Flow
from sip.wire.message import Response, parse
from tests.b2bua.fake import Bench, Peer, site_of
from tests.b2bua.fake_agent import AGENTS, FakeAgent, ServerFixture, record
from tests.consoles import ordered, seen


def test_the_site_is_won_by_the_votes_of_agents_and_every_agent_is_asked() -> None:
    fixture = ServerFixture()
    core = fixture.bench.core
    assert core.epoch == 1 and core.serving and core.agents.reached == ["gw1", "gw2"]
    for agent in (fixture.gw1, fixture.gw2):
        [(purpose, body, request)] = agent.asked
        assert purpose == "takeover" and body["epoch"] == 1 and body["proof"] == core.member.participant.proof.text  # type: ignore[union-attr]
        assert request.get("expires") == "3600" and request.get("event") == "line-dialog;purpose=takeover"
        assert request.get("accept") == "application/line-dialog+json-seq;version=1"
        assert agent.voter.leadership.node == "m1" and agent.notified == [200]
    assert "the lists of all agents reached are complete, after 0.000 s" in fixture.bench.decisions


def test_beats_keep_the_lease_and_the_loss_of_all_agents_ends_nothing() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.bench.after(30)
    assert fixture.bench.core.member.state == "active"
    fixture.gw1.offline = fixture.gw2.offline = True
    fixture.bench.after(5)
    assert fixture.bench.core.member.state == "holding" and fixture.bench.core.serving
    assert len(fixture.bench.core.calls) == 1
    fixture.gw1.offline = fixture.gw2.offline = False
    fixture.bench.after(3)
    assert fixture.bench.core.member.state == "active"
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]


def test_a_site_that_is_to_stop_without_quorum_answers_503() -> None:
    from tests.b2bua.fake_agent import AGENTS

    fixture = ServerFixture(AGENTS + '[failover]\non_lost_quorum = "stop"\n')
    fixture.gw2.offline = True
    fixture.gw1.voter.participant.voter.state = replace(fixture.gw1.voter.participant.voter.state, non_voting=True)
    fixture.gw1.voter.participant.outbox.on_disk = fixture.gw1.voter.participant.voter.state
    fixture.bench.after(10)
    assert fixture.bench.core.member.state == "holding" and not fixture.bench.core.serving
    assert fixture.gw1.call("1002").statuses == [503]


def opening(bench: Bench, name: str = "gw1") -> FakeAgent:
    """A connection that has said nothing yet."""
    agent = FakeAgent(bench, name, "alice", port=43000)
    agent.flow = Flow("tcp", f"127.0.0.1:5161#x{len(bench.agents)}", ("127.0.0.1", 43000))
    bench.agents[agent.flow] = agent
    bench.core.flow_changed(agent.flow, "open", bench.now)
    agent.caller = Initiator("m1", "cd" * 16)
    return agent


def test_an_opening_with_a_wrong_echo_is_refused() -> None:
    fixture = ServerFixture()
    agent = opening(fixture.bench)
    stamp = agent.voter.participant.stamp("m1")
    agent.tell(replace(stamp, kind=OPEN, to="m1", echo="ff" * 16))
    assert agent.flow in fixture.bench.closed and not agent.connected
    assert fixture.bench.core.agents.connections["gw1"].flow == fixture.gw1.flow


def test_another_kind_of_beat_does_not_open() -> None:
    fixture = ServerFixture()
    agent = opening(fixture.bench)
    agent.tell(replace(agent.voter.participant.stamp("m1"), kind=BEAT, to="m1"))
    assert agent.flow in fixture.bench.closed


def test_an_opening_meant_for_another_server_is_refused() -> None:
    fixture = ServerFixture()
    agent = opening(fixture.bench)
    agent.tell(Initiator("m2", "ab" * 16).hello(agent.voter.participant.stamp("m2")))
    assert agent.flow in fixture.bench.closed


def test_who_has_the_key_but_is_no_agent_is_turned_away() -> None:
    fixture = ServerFixture()
    agent = opening(fixture.bench, "gw9")
    assert agent.caller is not None
    agent.tell(agent.caller.hello(agent.voter.participant.stamp("m1")))
    assert agent.flow in fixture.bench.closed and "gw9" not in fixture.bench.core.agents.connections


def test_a_second_connection_replaces_the_first_and_calls_move_to_it() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    old = fixture.gw1.flow
    fixture.gw1.records = [record(a)]
    fixture.gw1.connect()
    assert old in fixture.bench.closed and fixture.bench.core.agents.connections["gw1"].flow == fixture.gw1.flow
    b.say("INFO")
    a.answer(a.take("INFO"), 200)
    assert b.statuses == [200]
    del fixture.bench.agents[old]
    fixture.bench.core.flow_changed(old, "lost", fixture.bench.now)
    fixture.bench.pump()
    assert fixture.bench.core.agents.connections["gw1"].flow == fixture.gw1.flow


def test_a_connection_lost_in_the_middle_of_its_opening_leaves_nothing() -> None:
    fixture = ServerFixture()
    agent = opening(fixture.bench)
    fixture.bench.core.flow_changed(agent.flow, "lost", fixture.bench.now)
    core = fixture.bench.core
    assert not core.agents._responders and agent.flow not in core.stack.unauthenticated_flows


def test_a_list_in_parts() -> None:
    fixture = ServerFixture()
    pairs = [fixture.talk() for _ in range(4)]
    first = [record(a) for a, _ in pairs]
    fixture.die()
    fixture.gw1.silent = True
    fixture.gw2.records = [record(b) for _, b in pairs]
    bench = fixture.succeed()
    connection = bench.core.agents.connections["gw1"]
    assert fixture.gw1.notify(records=first[:2], complete=False) == 200
    assert not connection.complete and connection.dialogs == 2 and connection.parts == 1
    assert seen(bench.core, "status", {}, bench.now)["state"] == "active", "as soon as it rules"
    bench.after(3.0)
    said = "gw1 has not told its list for 3 s: its calls wait"
    assert said in seen(bench.core, "status", {}, bench.now)["warnings"]
    assert fixture.gw1.notify(records=first[2:]) == 200
    assert connection.complete and connection.dialogs == 4 and connection.parts == 2
    bench.after(0.1)
    assert len(bench.core.calls) == 4


def test_changes_of_lines_come_with_the_subscription() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [
        {"line": "bob", "in-service": False, "why": "nobody is registered"},
        {"line": 7},
        {"line": "alice"},
    ]
    assert fixture.gw2.notify(records=[]) == 200
    a = fixture.gw1.call("1003")
    assert fixture.gw2.called.asked[-1].uri.endswith("carol")
    b = fixture.gw1.call("1002")
    assert fixture.gw1.called.asked[-1].uri.endswith("dave")  # bob is out of service and forwarded
    assert (a.statuses, b.statuses) == ([100], [100, 181])
    [bob] = seen(fixture.bench.core, "lines", {"line": "bob"}, fixture.bench.now)["lines"]
    assert bob["state"] == "out of service" and bob["why"] == "nobody is registered"
    fixture.gw2.lines = [{"line": "bob", "in-service": True}]
    fixture.gw2.notify(records=[])
    fixture.gw1.call("1002")
    assert fixture.gw2.called.asked[-1].uri.endswith("bob")


@pytest.mark.parametrize("status", [403, 489, 500])
def test_a_refused_subscription_is_tried_again_later(status: int) -> None:
    fixture = ServerFixture()
    agent = fixture.gw2
    asked = len(agent.asked)
    agent.disconnect()
    real = agent._subscribed
    agent._subscribed = lambda request: agent.asked.append(("x", {}, request))  # type: ignore[method-assign]
    agent.connect()
    _, _, request = agent.asked[-1]
    Peer.receive(agent, b"")
    agent._subscribed = real  # type: ignore[method-assign]
    from tests.b2bua.fake import Side

    Side(agent, request.call_id, "t", "", "", "").answer(request, status)
    assert not fixture.bench.core.agents.connections["gw2"].complete
    fixture.bench.after(5.1)
    assert len(agent.asked) == asked + 2 and fixture.bench.core.agents.connections["gw2"].complete


def test_a_subscription_is_refreshed_before_it_ends() -> None:
    fixture = ServerFixture()
    before = len(fixture.gw1.asked)
    fixture.bench.after(2881)
    assert len(fixture.gw1.asked) == before + 1 and fixture.bench.core.agents.all_complete
    assert len(fixture.bench.core.stack.legs) == 2


def test_a_subscription_that_nobody_answers_is_made_anew() -> None:
    fixture = ServerFixture()
    fixture.gw2.disconnect()
    fixture.gw2._subscribed = lambda request: None  # type: ignore[method-assign]
    fixture.gw2.connect()
    legs = len(fixture.bench.core.stack.legs)
    del fixture.gw2._subscribed
    fixture.bench.after(35)
    assert fixture.bench.core.agents.connections["gw2"].complete
    assert len(fixture.bench.core.stack.legs) == legs


def test_an_operator_resets_lines() -> None:
    fixture = ServerFixture()
    ordered(fixture.bench.core, "reset", {"lines": "bob,carol", "state": "out of service"}, fixture.bench.now)
    fixture.bench.pump()
    purpose, body, _ = fixture.gw2.asked[-1]
    assert purpose == "reset" and body["lines"] == ["bob", "carol"] and body["state"] == "out-of-service"


def test_beats_between_the_servers_are_believed_by_their_mac_alone() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    flow = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162))
    stranger = FakeAgent(bench, "m2", "x", port=5162)
    stranger.flow = flow
    counters = bench.core.stack.counters
    beat = stranger.voter.participant.stamp("m1", state="standby", for_incarnation=1)
    bench.beats.clear()
    stranger.tell(beat)
    answers = [parse(send.data) for send in bench.beats if send.flow == flow]
    assert [each.status for each in answers if isinstance(each, Response)] == [200]
    bench.beats.clear()
    stranger.keys = (b"a wrong key, long",)
    stranger.tell(replace(beat, seq=99))
    assert counters["bad beats"] == 1
    for garbage in (b"junk", b"\x00", b"INVITE sip:x SIP/2.0\r\n\r\n"):
        stranger.send(garbage)
    assert not bench.beats and bench.core.member.cluster.peers["m2"].beat is not None


def test_what_an_agent_tells_of_a_line_is_known_when_the_server_reads_the_file_later() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [{"line": "eve", "kind": "phone", "in-service": False, "why": "no device is registered"}]
    fixture.gw2.notify(0)
    more = '[lines.eve]\nkind = "phone"\nagent = "gw2"\nnumbers = ["1005"]\npassword = { env = "KEY" }\n[[routes]]\n'
    core = fixture.bench.core
    core.reload(site_of(AGENTS.replace("[[routes]]\n", more, 1)), fixture.bench.now)
    [row] = seen(core, "lines", {"line": "eve"}, fixture.bench.now)["lines"]
    assert (row["state"], row["why"]) == ("out of service", "no device is registered")
