"""Takeovers and agents that come back: calls from lists, replays, requests before their dialogs."""

from __future__ import annotations

import pytest

from b2bua.agent_connection import MOST_FETCHED
from b2bua.list_pace import URGENT
from b2bua.state_token import call_id_of, read
from sip.wire.message import Request
from tests.b2bua.fake import HOLD, SDP, Bench
from tests.b2bua.fake_agent import FakeAgent, kept, record
from tests.b2bua.takeover_fixture import SITE_KEY, TakeoverFixture, answered, origin
from tests.consoles import seen

# -- talking calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_talking_call_goes_on_through_the_new_server(by: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    before = read(a.token, [SITE_KEY])
    fixture.die()
    bench = fixture.succeed()
    assert bench.core.epoch == 2 and len(bench.core.calls) == 1
    first, other = (a, b) if by == "caller" else (b, a)
    first.say("INFO", body=b"x")
    info = other.take("INFO")
    assert info.get("call-origin") == origin(first)
    assert info.get("heartbeat") == "site=paris; node=m2; boot=1; epoch=2" and info.body == b"x"
    other.answer(info, 200)
    first.say("INVITE", body=HOLD)
    other.answer(other.take("INVITE"), 200, body=SDP)
    first.ack()
    other.take("ACK")
    assert seen(bench.core, "calls", {}, bench.now)["calls"][0]["state"] == "held"
    first.say("BYE")
    other.answer(other.take("BYE"), 200)
    assert first.statuses == [200, 100, 200, 200]
    [cdr] = bench.cdrs
    assert (cdr.call_id, cdr.epoch, cdr.node, cdr.ended_by, cdr.result) == (
        before.call_id,
        2,
        "m2",
        by,
        "answered",
    )
    assert cdr.started == before.started and cdr.answered == before.answered
    fixture.gone()


def test_verdicts_and_report() -> None:
    fixture = TakeoverFixture()
    for _ in range(3):
        fixture.standing()
    fixture.die()
    bench = fixture.succeed()
    report = seen(bench.core, "report", {}, bench.now)
    assert report["verdicts"] == {"kept": 3} and report["kind"] == "takeover"
    assert (report["old"], report["new"], report["epoch"]) == ("m1", "m2", 2)
    assert {each["agent"]: each["calls"] for each in report["agents"]} == {"gw1": 3, "gw2": 3}
    assert all(each["verdict"] == "kept" and each["state"] == "there" for each in report["calls"])
    calls = seen(bench.core, "calls", {}, bench.now)["calls"]
    assert [each["epochs"] for each in calls] == [[1, 2]] * 3
    assert bench.core.lines.loads["alice"].busy == bench.core.lines.loads["bob"].busy == 3


def test_many_calls_are_restored_in_portions_and_the_first_ones_asked_for_at_once() -> None:
    fixture = TakeoverFixture()
    pairs = [fixture.standing() for _ in range(150)]
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    fixture.gw2.notify()
    fixture.gw1.notify()
    assert len(bench.core.calls) < 150
    a, b = pairs[-1]
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    bench.after(1.0)
    assert len(bench.core.calls) == 150 and not len(bench.core.recovery.index)


# -- what was under way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "MESSAGE"])
@pytest.mark.parametrize("order", ["sender first", "sender last"])
def test_a_request_kept_in_the_gap_comes_out_once(by: str, method: str, order: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    fixture.die()
    sent = first.say(method, body=b"x")
    senders, others = (fixture.gw1, fixture.gw2) if by == "caller" else (fixture.gw2, fixture.gw1)
    senders.records = [record(first, sent=[kept(sent)])]
    others.records = [record(other)]
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    for agent in (senders, others) if order == "sender first" else (others, senders):
        agent.notify()
        bench.after(0.05)
    request = other.take(method)
    assert request.get("call-origin") == origin(first) and not other.asked
    other.answer(request, 200, body=SDP)
    assert first.statuses == ([100, 200] if method == "INVITE" else [200])
    if method == "INVITE":
        first.ack()
        other.take("ACK")
    if method != "BYE":
        other.say("BYE")
        first.answer(first.take("BYE"), 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == [by if method == "BYE" else ("callee", "caller")[by == "callee"]]
    fixture.gone()


def test_a_request_that_the_far_agent_has_already_is_recognised_there() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    a.say("INFO", body=b"5")
    info = b.take("INFO")
    fixture.die()
    b.answer(info, 200)  # gets nowhere
    fixture.gw1.records = [record(a, sent=[kept(a.sent)])]
    fixture.gw2.records = [record(b)]
    fixture.succeed()
    [again] = fixture.gw2.repeats
    assert again.method == "INFO" and not b.asked and a.statuses == [200]


def test_a_glare_of_kept_re_invites_is_answered_491() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    a.say("INVITE", body=SDP)
    b.say("INVITE", body=SDP)
    fixture.gw1.records = [record(a, sent=[kept(a.sent)])]
    fixture.gw2.records = [record(b, sent=[kept(b.sent)])]
    fixture.succeed()
    asked = [side for side in (a, b) if side.asked]
    assert len(asked) <= 1
    for side in asked:
        side.answer(side.take("INVITE"), 491)
    assert {*a.statuses} - {100} == {*b.statuses} - {100} == {491}


# -- requests before their dialogs ------------------------------------------------------------------------------


def test_a_request_in_a_dialog_not_known_yet_waits_and_fetches_it() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    a.say("INFO")
    bench.after(0.0)
    assert a.statuses == [] and fixture.gw1.asked[-1][:2] == ("observe", {"call-id": [a.call_id]})
    fixture.gw1.notify()  # the fetch
    bench.after(0.0)
    assert fixture.gw2.asked[-1][:2] == ("observe", {"call-id": [b.call_id]})
    assert a.statuses == []
    fixture.gw2.notify()
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    assert not bench.core.agents.all_complete  # long before the lists


def test_dialogs_wanted_at_the_same_moment_are_fetched_together() -> None:
    fixture = TakeoverFixture()
    pairs = [fixture.standing() for _ in range(3)]
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    for a, _ in pairs:
        a.say("INFO")
        a.say("INFO")
    bench.after(0.0)
    purpose, wanted, _ = fixture.gw1.asked[-1]
    assert (purpose, wanted) == ("observe", {"call-id": [a.call_id for a, _ in pairs]})
    assert [each[0] for each in fixture.gw1.asked].count("observe") == 1


def test_very_many_are_fetched_in_portions() -> None:
    fixture = TakeoverFixture()
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    connection = bench.core.agents.connections["gw1"]
    wanted = [f"c{index}" for index in range(MOST_FETCHED + 1)]
    for call_id in wanted:
        connection.fetch(call_id, bench.now)
    bench.after(0.0)
    asked = [body["call-id"] for purpose, body, _ in fixture.gw1.asked if purpose == "observe"]
    assert asked == [wanted[:MOST_FETCHED], wanted[MOST_FETCHED:]]


def _waited_for() -> tuple[TakeoverFixture, Bench]:
    """A new server that was told of gw1's leg and its INFO, and has asked gw2 for the other one."""
    fixture = TakeoverFixture()
    a, _ = fixture.standing()
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    a.say("INFO")
    bench.after(0.0)
    fixture.gw1.notify()
    bench.after(0.0)
    assert fixture.gw2.asked[-1][0] == "observe"
    return fixture, bench


def test_a_part_of_a_list_is_answered_when_what_is_waited_for_is_there() -> None:
    fixture, _ = _waited_for()
    before = len(fixture.gw1.notified)
    assert fixture.gw1.notify(-2, records=[], complete=False) == 0
    fixture.gw2.notify()
    assert fixture.gw1.notified[before:] == [200]


def test_a_part_of_a_list_is_answered_some_time_in_any_case() -> None:
    fixture, bench = _waited_for()
    before = len(fixture.gw1.notified)
    assert fixture.gw1.notify(-2, records=[], complete=False) == 0
    bench.after(URGENT)
    assert fixture.gw1.notified[before:] == [200]
    assert fixture.gw1.notify(-2, records=[], complete=False) == 200


def test_a_request_in_a_dialog_that_the_list_lacks_gets_481() -> None:
    fixture = TakeoverFixture()
    a, _ = fixture.talk()
    fixture.die()
    fixture.gw1.silent = True
    fixture.succeed()
    a.say("INFO")
    assert a.statuses == []
    fixture.gw1.notify(0)
    assert a.statuses == [481]
    a.say("BYE")
    assert a.statuses == [481]


def test_an_ack_alone_of_a_dialog_not_restored_yet() -> None:
    fixture, a, b = answered()
    fixture.die()
    fixture.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    fixture.gw1.silent = fixture.gw2.silent = True
    fixture.succeed()
    fixture.gw1.notify()
    fixture.gw2.notify()
    a.ack(b"x")
    assert b.take("ACK").body == b"x"


# -- connections and other servers ------------------------------------------------------------------------------


def test_an_agent_that_comes_back_with_its_calls_loses_none() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    bench = fixture.bench
    fixture.gw1.disconnect()
    bench.after(5)
    b.say("INFO")
    fixture.gw1.connect()
    bench.after(0.1)
    assert fixture.gw1.asked[-1][0] == "takeover"
    info = a.asked[0]
    a.answer(info, 200)
    assert 200 in b.statuses and len(bench.core.calls) == 1
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert len(bench.cdrs) == 1


def test_an_agent_that_comes_back_without_a_call_has_lost_it() -> None:
    fixture = TakeoverFixture()
    _, b = fixture.talk()
    bench = fixture.bench
    bench.after(3)
    fixture.gw1.disconnect()
    fixture.gw1.connect()
    bench.after(0.1)
    bye = b.take("BYE")
    assert "gw1 has no such dialog any more" in str(bye.get("reason"))
    b.answer(bye, 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == ["server"] and not bench.core.calls


def test_what_is_under_way_is_sent_again_on_the_new_connection() -> None:
    fixture = TakeoverFixture()
    fixture.gw2.offline = True
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    first = b.take("INVITE")
    fixture.gw2.offline = False
    fixture.gw2.disconnect()
    fixture.gw2.records = [record(b, "trying", local_tag=first.from_tag, origin=origin(a))]
    fixture.gw2.connect()
    [again] = fixture.gw2.repeats
    assert again.branch == first.branch and again.call_id == first.call_id
    b.accept()
    assert a.statuses[-1] == 200


def test_a_server_that_is_overruled_forgets_its_calls_without_a_word() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    old = fixture.bench
    fixture.die()
    new = fixture.succeed()
    proof = new.core.member.participant.proof
    assert proof is not None
    old.core.member.participant.offer(proof, old.now)
    old.core.leadership.pump(old.now)
    old.pump()
    assert not old.core.serving and not old.core.calls and not old.cdrs
    assert not a.asked and not b.asked
    old.after(60)
    assert not a.asked and not b.asked and not old.cdrs


def test_the_403_of_a_fence_ends_nothing_and_is_learnt_from() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    old, flows = fixture.bench, (fixture.gw1.flow, fixture.gw2.flow)
    fixture.die()
    fixture.succeed()
    fixture.bench = old
    for agent, flow in zip((fixture.gw1, fixture.gw2), flows, strict=True):
        agent.bench, agent.flow = old, flow
    [call] = old.core.calls.values()
    assert call.bridge.target is not None
    call.bridge.target.send("INFO", (*old.core.leadership.site_headers,), b"", old.now)
    old.pump()
    assert not b.asked and not old.core.serving and not old.cdrs
    assert a.peer.name == "gw1"


def test_cold_lines_are_reset_before_their_agent_is_taken_over() -> None:
    from tests.b2bua.fake_agent import AGENTS

    cold = AGENTS.replace(
        'numbers = ["1003"]', 'numbers = ["1003"]\nrecovery = "cold"\nreset_state = "out-of-service"'
    )
    fixture = TakeoverFixture(cold)
    fixture.die()
    bench = fixture.succeed()
    assert [each[0] for each in fixture.gw2.asked] == ["reset", "takeover"]
    reset = fixture.gw2.asked[0][1]
    assert reset["lines"] == ["carol"] and reset["state"] == "out-of-service" and reset["epoch"] == 2
    assert [each[0] for each in fixture.gw1.asked] == ["takeover"]
    fixture.gw2.disconnect()
    fixture.gw2.connect()
    assert [each[0] for each in fixture.gw2.asked][2:] == ["takeover"]
    assert bench.core.serving


# -- bad lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\x1e{broken\n",
        b"\x1e[1,2]\n",
        b"\x1e\xff\xfe\n",
        b"\x1e" + b"[" * 50_000,
    ],
)
def test_a_list_that_cannot_be_read_is_answered_400(raw: bytes) -> None:
    fixture = TakeoverFixture()
    assert fixture.gw1.notify(raw=raw) == 400
    assert fixture.bench.core.serving


def test_a_record_that_cannot_be_read_is_said_and_costs_nothing_else() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    fixture.gw1.silent = True
    bench = fixture.succeed()
    good = fixture.gw1.list_of([record(a)])
    assert (
        fixture.gw1.notify(raw=good + b'\x1e{"line"\n\x1e{"call-id":"x","local-tag":"y","call-state":"","rest\n')
        == 200
    )
    bench.after(0.1)
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    assert bench.core.stack.counters["bad records"] == 1


def test_records_that_make_no_sense_hurt_nobody() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    good = dict(fixture.gw1.records[0])
    fixture.gw1.records = [
        {"call-id": "x", "local-tag": "y", "call-state": ""},
        {"call-id": "x2", "local-tag": "y", "call-state": "", "state": "confirmed", "sent": [{"request": "junk"}]},
        {"call-id": "x3", "local-tag": "y", "call-state": "", "state": "confirmed", "ack": {"message": "junk"}},
        good
        | {
            "call-id": "x4",
            "call-state": "1.1.yy.zz.zz",
            "cseq": "x",
            "route-set": 4,
            "received": [{"request": "INVITE junk"}],
        },
        {"call-id": "x5", "local-tag": "y", "call-state": "1.1.zz.zz.zz", "state": "early", "ended": 4},
        {"call-id": "x6", "local-tag": "", "call-state": "", "state": "trying", "sent": [{"request": "A B SIP/2.0"}]},
        {"something": "else"},
        good,
    ]
    fixture.die()
    bench = fixture.succeed()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    bench.after(400)


def test_a_notify_on_another_connection_is_not_believed() -> None:
    fixture = TakeoverFixture()
    fixture.gw2.asked.append(fixture.gw1.asked[0])
    assert fixture.gw2.notify() == 481


def test_a_stranger_s_dialog_is_never_restored() -> None:
    fixture = TakeoverFixture()
    a, _ = fixture.standing()
    fixture.die()
    bench = fixture.succeed()
    intruder = FakeAgent(bench, "gw2", "bob", fixture.gw2.voter, port=49000)
    intruder.keys = (b"not the site's key",)
    with pytest.raises(AssertionError):
        intruder.connect()
    assert isinstance(a.sent, Request) and call_id_of("gw1", a.call_id) in bench.core.calls


def test_nothing_is_left_of_many_takeovers() -> None:
    fixture = TakeoverFixture()
    pairs = [fixture.standing() for _ in range(20)]
    for _ in range(5):
        fixture.ringing()
    for _ in range(3):
        fixture.die()
        bench = fixture.succeed()
        bench.after(0.5)
        fixture.gw1.records, fixture.gw2.records = [], []
        for a, b in pairs:
            fixture.gw1.records.append(record(a))
            fixture.gw2.records.append(record(b))
        break
    for a, b in pairs:
        a.say("BYE")
        b.answer(b.take("BYE"), 200)
    for side in [side for side in fixture.gw2.sides if not any(side is b for _, b in pairs)]:
        side.accept(486, b"")
    for side in [side for side in fixture.gw2.sides if side.asked]:
        side.accept(486, b"")
    assert isinstance(bench, Bench)
    fixture.gone()
    assert len(bench.cdrs) == 25 == len({cdr.call_id for cdr in bench.cdrs})


def test_a_call_that_was_answered_while_a_list_was_told_again_is_kept() -> None:
    """It is in no list, since it came behind it; one that was there before and is in none is gone."""
    fixture = TakeoverFixture()
    gone, other = fixture.talk()
    fixture.bench.after(1.0)
    fixture.gw1.silent = True
    fixture.gw1.disconnect()
    fixture.gw1.connect()
    a = fixture.gw1.call("1002")
    fixture.bench.after(2.1)  # a new call waits for lists, but not for ever
    b = fixture.gw2.called
    b.accept()
    a.ack()
    fixture.gw1.notify(records=[])
    fixture.bench.after(0.1)
    assert [each.method for each in other.asked] == ["BYE"] and not gone.asked
    other.answer(other.take("BYE"), 200)
    assert (
        [each.method for each in b.asked] == ["INVITE", "ACK"] and not a.asked and len(fixture.bench.core.calls) == 1
    )
    a.say("INFO", body=b"x")
    assert b.asked[-1].body == b"x"
    b.answer(b.asked[-1], 200)
    assert a.statuses[-1] == 200
