"""An operator's verbs: what is refused at once, and when each is done."""

from __future__ import annotations

import pytest

from heartbeat.console.contract import Refused
from tests.b2bua.fake import Bench
from tests.b2bua.fake_agent import FakeAgent, ServerFixture
from tests.consoles import ordered, seen


def ask(bench: Bench, verb: str, **params: str) -> dict[str, object]:
    found = dict(ordered(bench.core, verb, params, bench.now))
    bench.pump()
    return found


def again(bench: Bench, order: dict[str, object]) -> dict[str, object]:
    return dict(seen(bench.core, "progress", {"id": str(order["id"])}, bench.now))


def test_unknown_verbs_and_orders_are_refused() -> None:
    fixture = ServerFixture()
    with pytest.raises(Refused, match="no verb dance"):
        ask(fixture.bench, "dance")
    for order in ("", "reset-7"):
        with pytest.raises(Refused, match="no order"):
            again(fixture.bench, {"id": order})


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "no line is named"),
        ({"lines": ","}, "no line is named"),
        ({"lines": "bob,nobody"}, "nobody is no line"),
        ({"lines": "bob/0"}, "bob/0 is no channel of bob"),
        ({"lines": "bob/x"}, "bob/x is no channel of bob"),
        ({"lines": "bob/²"}, "bob/² is no channel of bob"),
    ],
)
def test_a_reset_that_cannot_be(params: dict[str, str], sentence: str) -> None:
    fixture = ServerFixture()
    asked = len(fixture.gw2.asked)
    with pytest.raises(Refused, match=sentence):
        ask(fixture.bench, "reset", **params)
    assert len(fixture.gw2.asked) == asked


def test_a_reset_is_done_when_the_calls_on_the_lines_are_gone() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    order = ask(fixture.bench, "reset", lines="bob/1")
    assert fixture.gw2.asked[-1][0] == "reset" and fixture.gw2.asked[-1][1]["lines"] == ["bob/1"]
    bye = a.take("BYE")
    assert bye.get("reason") == 'SIP;cause=503;text="Reset by m1"'
    a.answer(bye, 200)
    b.answer(b.take("BYE"), 481)  # the agent has ended that side by itself
    order = again(fixture.bench, order)
    assert order["state"] == "done" and order["sentence"] == "bob/1 is reset to idle"
    (record,) = fixture.bench.cdrs
    assert (record.result, record.ended_by) == ("reset", "server")
    assert ask(fixture.bench, "reset", lines="all")["state"] == "done"
    assert {each[0] for each in fixture.gw1.asked} == {"takeover", "reset"}


def test_a_reset_of_lines_whose_agent_is_away_or_from_a_stand_by_is_refused() -> None:
    fixture = ServerFixture()
    fixture.gw2.disconnect()
    with pytest.raises(Refused, match="gw2, which has bob, is not connected"):
        ask(fixture.bench, "reset", lines="alice,bob")
    standby = Bench(fixture.bench.site, "m2")
    with pytest.raises(Refused, match="m2 is not active"):
        ask(standby, "reset", lines="bob")


def test_a_hangup_ends_one_call_on_both_sides_and_is_noted() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.talk()
    call = next(iter(fixture.bench.core.calls))
    order = ask(fixture.bench, "hangup", call=call)
    assert (order["state"], order["sentence"]) == (
        "done",
        f"caller to 1002 ({call}) is ended by an operator",
    )
    for side in (a, b):
        bye = side.take("BYE")
        assert bye.get("reason") == 'SIP;cause=200;text="Ended by an operator"'
        side.answer(bye, 200)
    (record,) = fixture.bench.cdrs
    assert (record.result, record.ended_by) == ("answered", "server") and len(fixture.bench.core.calls) == 1
    assert fixture.bench.core.history[-1].code == "hangup" and call in fixture.bench.core.history[-1].because


def test_a_hangup_of_a_call_that_rings_refuses_its_caller() -> None:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    fixture.gw2.called.ring()
    order = ask(fixture.bench, "hangup", call=next(iter(fixture.bench.core.calls)))
    assert a.statuses == [100, 180, 480]
    assert order["state"] == "done" and [each.method for each in fixture.gw2.called.asked] == ["INVITE", "CANCEL"]


def test_a_hangup_that_cannot_be() -> None:
    fixture = ServerFixture()
    fixture.talk()
    for params, sentence in (({}, "no call .no id given."), ({"call": "nothing"}, "no call nothing stands here")):
        with pytest.raises(Refused, match=sentence):
            ask(fixture.bench, "hangup", **params)
    with pytest.raises(Refused, match="m2 is not active"):
        ask(Bench(fixture.bench.site, "m2"), "hangup", call="x")
    assert len(fixture.bench.core.calls) == 1


def told(fixture: ServerFixture, why: str) -> None:
    fixture.gw2.lines = [{"line": "bob", "kind": "phone", "in-service": not why, "why": why}]
    fixture.gw2.notify(0)


def test_a_line_is_busied_out_and_taken_back_without_harm_to_its_calls() -> None:
    fixture = ServerFixture()
    fixture.talk()
    order = ask(fixture.bench, "busyout", line="bob")
    purpose, body, _ = fixture.gw2.asked[-1]
    assert (purpose, body["lines"], body["state"]) == ("reset", ["bob"], "busied-out")
    assert order["state"] == "running" and order["sentence"] == "gw2 has not said that it does so"
    told(fixture, "busied out by m1")
    assert again(fixture.bench, order)["sentence"] == "bob takes no new calls; its calls go on"
    assert len(fixture.bench.core.calls) == 1
    fixture.gw1.call("1002")
    assert "1004" in fixture.gw1.called.asked[0].uri, "a new call is forwarded, as from a phone that is not there"
    order = ask(fixture.bench, "busyout", line="bob", end="yes")
    assert fixture.gw2.asked[-1][1]["state"] == "back"
    told(fixture, "")
    assert again(fixture.bench, order)["state"] == "done"
    assert [each.code for each in fixture.bench.core.history].count("busyout") == 2


def test_an_agent_that_starts_anew_is_told_what_is_busied_out() -> None:
    fixture = ServerFixture()
    told(fixture, "busied out by m1")
    fixture.gw2.lines = [{"line": "bob", "kind": "phone"}]
    fixture.gw2.disconnect()
    del fixture.gw2.asked[:]
    fixture.gw2.connect()
    assert [(purpose, body.get("state")) for purpose, body, _ in fixture.gw2.asked] == [
        ("reset", "busied-out"),
        ("takeover", None),
    ]


def test_a_line_of_the_servers_own_is_busied_out_at_each() -> None:
    fixture = ServerFixture()
    for node in (fixture.bench, Bench(fixture.bench.site, "m2")):
        order = ask(node, "busyout", line="own")
        assert order["state"] == "done" and "own takes no new calls" in str(order["sentence"])
        [row] = seen(node.core, "lines", {"line": "own"}, node.now)["lines"]
        assert (row["in_service"], row["why"]) == (False, f"busied out by {node.core.node}")
        node.core.reload(node.core.site, node.now)
        assert not node.core.lines.load_of("own").in_service, "a reload does not end it"
    assert fixture.gw1.call("9123").statuses[-1] == 503
    ask(fixture.bench, "busyout", line="own", end="yes")
    assert fixture.bench.core.lines.load_of("own").in_service


def test_a_busyout_that_cannot_be() -> None:
    fixture = ServerFixture()
    for params, sentence in (({}, "no line given"), ({"line": "nobody"}, "nobody is no line")):
        with pytest.raises(Refused, match=sentence):
            ask(fixture.bench, "busyout", **params)
    with pytest.raises(Refused, match="m2 is not active"):
        ask(Bench(fixture.bench.site, "m2"), "busyout", line="bob")
    fixture.gw2.disconnect()
    with pytest.raises(Refused, match="gw2, which has bob, is not connected"):
        ask(fixture.bench, "busyout", line="bob")


def test_an_order_that_does_not_come_true_fails() -> None:
    fixture = ServerFixture()
    fixture.bench.core.member.cluster.non_voting.add("gw1")  # it says so, whatever list it is told
    order = ask(fixture.bench, "readmit", agent="gw1")
    fixture.bench.core.member.cluster.non_voting.add("gw1")
    assert order["state"] == "running" and order["sentence"] == "gw1 has no vote yet"
    fixture.bench.now += 31
    order = again(fixture.bench, order)
    assert order["state"] == "failed" and order["sentence"] == "after 30 s still: gw1 has no vote yet"


def test_pause_and_resume() -> None:
    fixture = ServerFixture()
    assert ask(fixture.bench, "pause")["state"] == "done"
    assert seen(fixture.bench.core, "status", {}, fixture.bench.now)["paused"] is True
    assert ask(fixture.bench, "resume")["state"] == "done"
    assert seen(fixture.bench.core, "status", {}, fixture.bench.now)["paused"] is False


def test_a_switchover_to_nobody_is_refused() -> None:
    fixture = ServerFixture()
    with pytest.raises(Refused, match="m2 is not there"):
        ask(fixture.bench, "switchover")
    with pytest.raises(Refused, match="no other server"):
        ask(fixture.bench, "switchover", to="m7")
    with pytest.raises(Refused, match="is sent to m2 itself"):
        ask(fixture.bench, "switchover", to="m2", force="yes")


def test_a_forced_switchover_is_done_when_all_agents_have_told() -> None:
    fixture = ServerFixture()
    fixture.talk()
    fixture.die()
    bench = Bench(fixture.bench.site, "m2", fixture.bench.now)
    for agent in (fixture.gw1, fixture.gw2):
        agent.silent = True
        agent.move(bench).connect()
    bench.core.member.participant.offer(fixture.bench.core.member.participant.proof, bench.now)  # type: ignore[arg-type]
    bench.core.leadership.pump(bench.now)
    bench.pump()
    order = ask(bench, "switchover", force="yes")
    assert bench.core.serving and again(bench, order)["sentence"] == "0 of 2 agents have moved to m2"
    fixture.gw1.notify()
    assert again(bench, order)["done"] == 1
    fixture.gw2.notify()
    order = again(bench, order)
    assert order["state"] == "done" and order["sentence"] == "m2 is active under epoch 2"


def test_a_switchover_is_called_off_when_the_other_gathers_no_votes() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    other = FakeAgent(bench, "m2", "x", port=5162)
    from sip.actions import Flow

    other.flow = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162))
    other.tell(other.voter.participant.stamp("m1", state="standby", for_incarnation=1))
    order = ask(bench, "switchover", to="m2")
    assert order["state"] == "running" and order["sentence"] == "m2 is gathering votes"
    bench.after(6)
    order = again(bench, order)
    assert order["state"] == "failed" and "is called off" in str(order["sentence"])
    assert bench.core.serving


def test_readmission() -> None:
    fixture = ServerFixture()
    with pytest.raises(Refused, match="gw9 is no voter"):
        ask(fixture.bench, "readmit", agent="gw9")
    with pytest.raises(Refused, match="gw1 has its vote"):
        ask(fixture.bench, "readmit", agent="gw1")
    fixture.bench.core.member.cluster.non_voting.add("gw1")
    order = ask(fixture.bench, "readmit", agent="gw1")
    assert order["state"] == "running" and order["sentence"] == "gw1 has no vote yet"
    fixture.bench.core.member.cluster.non_voting.clear()
    assert again(fixture.bench, order)["sentence"] == "gw1 votes again"


def test_only_the_last_orders_are_remembered() -> None:
    fixture = ServerFixture()
    first = ask(fixture.bench, "pause")
    for _ in range(100):
        last = ask(fixture.bench, "pause")
    assert again(fixture.bench, last)["state"] == "done"
    with pytest.raises(Refused):
        again(fixture.bench, first)
