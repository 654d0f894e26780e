"""What is left after a takeover: release on evidence only, and the records of calls that nobody saw end."""

from __future__ import annotations

from typing import Any

import pytest

from b2bua.state_token import call_id_of, read
from tests.b2bua.fake import WALL, Bench, Peer
from tests.b2bua.fake_agent import AGENTS, kept, record
from tests.b2bua.takeover_fixture import SITE_KEY, TakeoverFixture, ended

# -- ended calls ------------------------------------------------------------------------------------------------


def test_a_call_that_ended_on_both_sides_in_the_gap_is_recorded() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    answered_at = read(b.token, [SITE_KEY]).answered
    fixture.die()
    fixture.gw1.records = [ended(a, by="device", reason="Q.850;cause=16")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert (cdr.ended_by, cdr.result, cdr.reason) == ("caller", "answered", "Q.850;cause=16")
    assert cdr.answered == answered_at and cdr.ended is not None
    assert abs(cdr.ended - (bench.now + WALL - 2)) < 0.5
    assert not bench.core.calls
    fixture.gone()


def test_the_other_side_of_an_ended_leg_is_released() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records = [ended(a, by="device", reason="bye")]
    fixture.gw2.records = [record(b)]
    bench = fixture.succeed()
    bye = b.take("BYE")
    assert "bye" in str(bye.get("reason")) and str(bye.get("call-origin")).startswith("m2;")
    b.answer(bye, 200)
    assert len(bench.cdrs) == 1 and not bench.core.calls
    assert bench.core.recovery.verdicts.counts["released"] == 1
    fixture.gone()


def test_a_leg_whose_peer_is_in_no_list_is_released() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw2.records = [record(b)]
    bench = fixture.succeed()
    bye = b.take("BYE")
    assert "gw1 has no such dialog" in str(bye.get("reason"))
    b.answer(bye, 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == ["server"]
    assert not a.asked
    fixture.gone()


def test_a_leg_whose_peer_agent_is_away_is_kept_until_its_grace_is_over() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    bench = fixture.succeed("gw1")
    bench.after(290)
    assert not b.asked and len(bench.core.calls) == 1
    b.say("INFO")
    assert b.statuses == []
    bench.after(20)
    assert [each.method for each in b.asked] == ["BYE"]
    b.answer(b.take("BYE"), 200)
    fixture.gone()
    assert not a.asked


def test_an_agent_that_comes_back_within_its_grace_joins_its_calls_again() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    bench = fixture.succeed("gw1")
    bench.after(20)
    b.say("INFO", body=b"held")
    assert b.statuses == []
    fixture.gw1.connect()
    bench.after(0.1)
    info = a.take("INFO")
    assert info.body == b"held"
    a.answer(info, 200)
    assert b.statuses == [200]
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    fixture.gone()


def test_a_callee_that_rings_for_a_caller_who_is_gone_is_cancelled() -> None:
    fixture = TakeoverFixture()
    _, b = fixture.ringing()
    fixture.die()
    fixture.gw1.records = []
    bench = fixture.succeed()
    assert [each.method for each in fixture.gw2.repeats] == ["INVITE"]
    cancel = b.take("CANCEL")
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert [cdr.result for cdr in bench.cdrs] == ["cancelled"]
    fixture.gone()


def test_a_callee_that_picks_up_for_a_caller_who_is_gone_is_hung_up() -> None:
    fixture = TakeoverFixture()
    _, b = fixture.ringing()
    fixture.die()
    fixture.gw1.records = []
    fixture.succeed()
    b.take("CANCEL")
    b.accept()
    assert [each.method for each in b.asked] == ["ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    fixture.gone()


@pytest.mark.parametrize("back", [False, True])
def test_a_call_with_a_cold_trunk_of_the_former_server_is_released(back: bool) -> None:
    fixture = TakeoverFixture(
        AGENTS.replace('peer = "sip:127.0.0.1:5080"', 'peer = "sip:127.0.0.1:5080"\nrecovery = "cold"')
    )
    trunk = Peer(fixture.bench, "trunk", port=5080)
    if back:
        a = trunk.call("1002")
        mine = fixture.gw2.called
        mine.accept()
    else:
        a = mine = fixture.gw1.call("9123")
        trunk.called.accept()
    a.ack()
    mine.asked.clear()
    (fixture.gw2 if back else fixture.gw1).records = [record(mine)]
    fixture.die()
    bench = fixture.succeed()
    bye = mine.take("BYE")
    assert "line of the former server: own is cold" in str(bye.get("reason"))
    mine.answer(bye, 200)
    assert len(bench.cdrs) == 1
    fixture.gone()


# -- call records -----------------------------------------------------------------------------------------------


def started(fixture: TakeoverFixture) -> Bench:
    """The stand-by rules, and its agents say nothing yet."""
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    return fixture.succeed()


def test_an_end_is_when_the_agent_told_it_and_not_when_it_was_written_down() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.gw1.records = [ended(a, by="device", reason="Q.850;cause=16")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = started(fixture)
    told_at = bench.now
    fixture.gw1.notify()
    bench.after(10.0)
    assert not bench.cdrs
    fixture.gw2.notify()
    bench.after(0.1)
    [cdr] = bench.cdrs
    assert cdr.ended is not None and abs(cdr.ended - (told_at + WALL - 2.0)) < 0.01
    assert cdr.ended_by == "caller"


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_bye_in_the_gap_ends_its_call_when_it_was_said_and_by_whom(by: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    fixture.die()
    bye = first.say("BYE")
    told = record(first, "terminated", sent=[kept(bye)], ended={"ago": 1.5, "by": "device", "status": 200})
    senders, others = (fixture.gw1, fixture.gw2) if by == "caller" else (fixture.gw2, fixture.gw1)
    senders.records, others.records = [told], [record(other)]
    bench = started(fixture)
    at = bench.now - 1.5
    senders.notify()
    bench.after(1.0)
    others.notify()
    bench.after(0.05)
    other.answer(other.take("BYE"), 200)
    assert first.statuses == [200]
    [cdr] = bench.cdrs
    assert cdr.ended is not None and abs(cdr.ended - (at + WALL)) < 0.01 and cdr.ended_by == by
    assert not bench.core.records.ends
    fixture.gone()


def test_when_both_hang_up_in_the_gap_the_first_has_ended_the_call() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    for side, agent, ago in ((a, fixture.gw1, 1.0), (b, fixture.gw2, 1.4)):
        bye = side.say("BYE")
        agent.records = [record(side, "terminated", sent=[kept(bye)], ended={"ago": ago, "by": "device"})]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert cdr.ended_by == "callee" and cdr.ended is not None
    assert abs(cdr.ended - (bench.now + WALL - 1.5)) < 0.15


def test_a_bye_kept_of_which_the_other_side_has_heard_already_ends_the_call_in_good_order() -> None:
    """The former server had passed it on, and died before it could pass the answer back."""
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    bye = a.say("BYE", ["Reason: Q.850;cause=16"])
    fixture.gw1.records = [
        record(a, "terminated", sent=[kept(bye)], ended={"ago": 1.5, "by": "device", "status": 200})
    ]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed()
    bench.after(0.1)
    assert a.statuses == [200]
    [cdr] = bench.cdrs
    assert (cdr.ended_by, cdr.result, cdr.reason) == ("caller", "answered", "Q.850;cause=16")
    assert (
        bench.core.recovery.verdicts.counts["released"] == 0 and bench.core.recovery.verdicts.counts["replayed"] == 1
    )
    fixture.gone()


@pytest.mark.parametrize("order", ["caller first", "caller last"])
def test_an_attempt_refused_at_the_door_of_an_agent_that_has_no_record_of_it(order: str) -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1003")
    fixture.gw2.called.ring()
    fixture.gw1.records = [ended(a, by="server", status=480)]
    fixture.die()
    bench = fixture.in_order(order)
    assert [(cdr.callee, cdr.result, cdr.status, cdr.ended_by) for cdr in bench.cdrs] == [
        ("1003", "no-answer", 480, "server")
    ]
    fixture.gone()
    assert len(bench.cdrs) == 1


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ({"by": "agent", "status": 503, "reason": 'SIP;cause=503;text="No server"'}, ("failed", 503, "server")),
        ({"by": "device", "status": 487}, ("cancelled", 487, "caller")),
        ({"by": "server", "status": 420}, ("rejected", 420, "server")),
    ],
)
def test_a_call_of_which_no_server_ever_said_a_word(fact: dict[str, Any], told: tuple[str, int, str]) -> None:
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002", caller="1001")
    fixture.gw1.records = [ended(a, **fact) | {"line": "alice/1", "age": {"invite": 10.0}, "call-state": ""}]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by) == told and cdr.reason == fact.get("reason", "")
    assert (cdr.call_id, cdr.caller, cdr.callee, cdr.caller_line) == (
        call_id_of("gw1", a.call_id),
        "1001",
        "1002",
        "alice/1",
    )
    assert cdr.started is not None and abs(cdr.started - (bench.now + WALL - 10.1)) < 0.15
    assert cdr.ended is not None and abs(cdr.ended - (bench.now + WALL - 2.1)) < 0.15
    fixture.gone()


def test_a_record_without_token_or_sense_is_no_call() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    nonsense = {"call-state": "", "local": "<", "remote": 7, "line": 4, "age": "x"}
    fixture.gw1.records = [ended(a, by="device", status=487) | nonsense]
    fixture.gw2.records = [ended(b, by="server") | {"call-state": ""}]
    fixture.die()
    bench = fixture.succeed()
    bench.after(400)
    assert [(cdr.caller, cdr.callee) for cdr in bench.cdrs] == [("", "")]  # the callee's agent begins no calls
    assert not len(bench.core.recovery.index)


def test_a_call_given_up_by_its_agent_while_an_attempt_was_under_way() -> None:
    """Its device was told 503, which the record says, although the stand-by has to cancel it."""
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002")
    fact = {"ago": 1.0, "by": "agent", "status": 503, "reason": "no server"}
    fixture.gw1.records = [record(a, "terminated", sent=[kept(a.sent, True)], ended=fact)]
    bench = fixture.succeed()
    assert a.statuses[-1] == 487 and not fixture.gw2.sides
    assert [(cdr.result, cdr.status, cdr.ended_by, cdr.reason) for cdr in bench.cdrs] == [
        ("failed", 503, "server", "no server")
    ]
    fixture.gone()


def test_ended_calls_do_not_wait_behind_those_that_live() -> None:
    fixture = TakeoverFixture()
    for _ in range(100):
        fixture.standing()
    for _ in range(5):
        a, b = fixture.talk()
        fixture.gw1.records.append(ended(a, by="device"))
        fixture.gw2.records.append(ended(b, by="server"))
    bench = started(fixture)
    fixture.gw1.notify()
    fixture.gw2.notify()
    bench.after(0.006)
    assert len(bench.cdrs) == 5 and len(bench.core.recovery.index) > 100


def test_what_ended_is_written_down_before_the_process_ends() -> None:
    fixture = TakeoverFixture()
    for _ in range(3):
        a, b = fixture.talk()
        fixture.gw1.records.append(ended(a, by="device"))
        fixture.gw2.records.append(ended(b, by="server"))
    standing = fixture.standing()
    ringing, _ = fixture.ringing()
    fixture.gw1.records.append(record(ringing, "early", sent=[kept(ringing.sent)]))
    fixture.gw2.records.append(
        ended(fixture.gw2.called, by="device", status=486)
    )  # an attempt: the hunting may go on
    bench = started(fixture)
    fixture.gw1.notify()
    fixture.gw2.notify()
    bench.core.leave(bench.now)
    bench.pump()
    assert [(cdr.ended_by, cdr.result) for cdr in bench.cdrs] == [("caller", "answered")] * 3
    assert not standing[0].asked and not standing[1].asked


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_an_agent_that_is_away_is_not_waited_for_when_the_call_is_surely_over(who: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records = [ended(a, by="device")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed("gw2" if who == "caller" else "gw1")
    bench.after(0.1)
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [
        ("answered", "caller" if who == "caller" else "server")
    ]
    (fixture.gw2 if who == "caller" else fixture.gw1).connect()
    bench.after(0.1)
    assert len(bench.cdrs) == 1


def test_a_target_that_refused_is_not_the_end_of_a_call_whose_caller_is_not_there_yet() -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    first = fixture.gw2.called
    first.ring()
    fixture.die()
    fixture.gw2.records = [ended(first, by="device", status=486)]
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    bench = fixture.succeed("gw1")
    bench.after(5.0)
    assert not bench.cdrs
    fixture.gw1.connect()
    bench.after(3.0)
    fixture.gw2.called.accept()
    assert a.statuses[-1] == 200 and not bench.cdrs
    a.ack()
    a.say("BYE")
    fixture.gw2.called.answer(fixture.gw2.called.asked[-1], 200)
    assert [cdr.result for cdr in bench.cdrs] == ["answered"]
    fixture.gone()
    assert len(bench.cdrs) == 1


def test_an_invite_under_way_at_an_agent_is_not_concluded_as_unanswered() -> None:
    """It waits for the list of the other agent, and its target was a trunk of the server that is no more."""
    fixture = TakeoverFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    a = fixture.gw1.call("9123")
    trunk.called.ring()
    fixture.die()
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    fixture.gw2.silent = True
    bench = fixture.succeed()
    bench.after(1.0)
    assert not bench.cdrs and a.statuses[-1] == 100
    fixture.gw2.notify()
    bench.after(0.1)
    assert not bench.cdrs and len(bench.core.calls) == 1
