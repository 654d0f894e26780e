"""Calls made of records: ACKs that were under way, legs joined by their tokens."""

from __future__ import annotations

import pytest

from b2bua.state_token import read, sign
from tests.b2bua.fake import Side
from tests.b2bua.fake_agent import kept, record, text_of
from tests.b2bua.takeover_fixture import SITE_KEY, TakeoverFixture, answered
from tests.consoles import seen

# -- ACK --------------------------------------------------------------------------------------------------------


def test_an_ack_that_one_agent_had_sent_reaches_the_other() -> None:
    fixture, a, b = answered()
    fixture.die()
    ack = a.ack(b"the answer")
    fixture.gw1.records = [record(a, ack={"message": text_of(ack)}, ack_cseq=1)]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    fixture.succeed()
    got = b.take("ACK")
    assert got.body == b"the answer" and got.cseq == 1 and got.get("heartbeat")
    assert "call-origin" not in got and got.to_tag == b.tag
    assert read(str(got.get("call-state")), [SITE_KEY]).answered  # so that this leg, too, tells of the answer
    b.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    fixture.gone()


@pytest.mark.parametrize("order", ["caller first", "caller last"])
def test_the_newest_token_wins_whichever_list_comes_first(order: str) -> None:
    fixture, a, b = answered()
    fixture.die()
    ack = a.ack()
    fixture.gw1.records = [record(a, ack={"message": text_of(ack)}, ack_cseq=1)]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    newest, older = read(a.token, [SITE_KEY]), read(b.token, [SITE_KEY])
    assert newest.answered and not older.answered
    bench = fixture.in_order(order)
    b.take("ACK")
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.answered, cdr.started) == ("answered", newest.answered, newest.started)


@pytest.mark.parametrize("order", ["caller first", "caller last"])
def test_a_call_is_released_by_the_newest_token_of_all_its_legs(order: str) -> None:
    """The side that is left knows less than the one that ended: it is an answered call all the same."""
    fixture, a, b = answered()
    fixture.die()
    newest, older = read(a.token, [SITE_KEY]), read(b.token, [SITE_KEY])
    assert newest.answered and not older.answered
    fixture.gw1.records = [record(a, "terminated", ended={"ago": 1.0, "by": "device", "status": 200})]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    bench = fixture.in_order(order)
    if not bench.core.agents.connections["gw1"].complete:  # what came was the caller's dialog, fetched for the ACK
        fixture.gw1.notify(0)
        bench.after(0.1)
    b.take("ACK")
    b.answer(b.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by, cdr.answered) == ("answered", 200, "caller", newest.answered)
    fixture.gone()


def test_a_call_that_ends_while_a_leg_is_absent_is_no_home_for_that_leg() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    fixture.gw2.silent = True
    bench = fixture.succeed()
    bench.after(0.1)
    assert len(bench.core.calls) == len(bench.core.recovery.restorations.half) == 1
    [call] = bench.core.calls.values()
    call.bridge.release("SIP;cause=503", bench.now)
    bench.pump()
    a.answer(a.take("BYE"), 200)
    fixture.gw1.records = []
    fixture.gw2.notify()
    bench.after(0.1)
    b.answer(b.take("BYE"), 200)
    assert not bench.core.calls and not bench.core.recovery.restorations.half
    fixture.gone()


def test_an_ack_still_owed_comes_through_later() -> None:
    fixture, a, b = answered()
    fixture.die()
    fixture.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    fixture.succeed()
    assert not b.asked
    a.ack(b"late")
    assert b.take("ACK").body == b"late"


def test_an_ack_that_comes_before_the_other_list() -> None:
    fixture, a, b = answered()
    fixture.die()
    fixture.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    fixture.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    fixture.gw2.silent = True
    bench = fixture.succeed()
    a.ack(b"early")
    assert not b.asked
    fixture.gw2.notify()
    bench.after(0.1)
    assert b.take("ACK").body == b"early"


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_a_2xx_that_the_caller_never_got_is_given_by_the_replay(order: str) -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.ring()
    told = fixture.attempt(b)
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    assert a.statuses == [100, 180]
    fixture.die()
    b.accept()
    told |= {"state": "confirmed", "ack": "awaited", "ack-cseq": 1, "received": [], "remote-tag": b.tag}
    fixture.gw2.records = [told]
    fixture.in_order(order)
    assert [each.method for each in fixture.gw2.repeats] == ["INVITE"]
    assert a.statuses[-1] == 200
    a.ack()
    assert b.asked[-1].method == "ACK" and not any(each.method == "BYE" for each in b.asked)
    a.say("BYE")
    b.answer(b.asked[-1], 200)
    assert a.statuses == [200]
    fixture.gone()


# -- tokens -----------------------------------------------------------------------------------------------------


def test_the_token_with_the_highest_counter_is_true() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    old = read(a.token, [SITE_KEY])
    newer = sign(old._replace(counter=old.counter + 5, caller="the newest"), SITE_KEY)
    fixture.gw2.records = [record(b) | {"call-state": newer}]
    fixture.die()
    bench = fixture.succeed()
    [call] = bench.core.calls.values()
    assert call.state.caller == "the newest"


@pytest.mark.parametrize("bad", ["", "nonsense", "forged"])
def test_a_dialog_whose_token_is_not_believed_is_kept_alone(bad: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    other = "2.x" if bad == "nonsense" else ""
    if bad == "forged":
        other = sign(read(a.token, [SITE_KEY]), b"another key......")
    for agent, side in ((fixture.gw1, a), (fixture.gw2, b)):
        agent.records = [record(side) | {"call-state": other}]
    fixture.die()
    bench = fixture.succeed()
    assert not a.asked and not b.asked
    a.say("BYE")
    assert a.statuses == [200]
    if bad == "forged":
        warnings = seen(bench.core, "status", {}, bench.now)["warnings"]
        assert any("state token" in each for each in warnings)
    bench.after(400)
    assert not len(bench.core.recovery.index)


def test_a_change_of_the_site_key_is_borne() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    from tests.b2bua.fake import site_of
    from tests.b2bua.fake_agent import AGENTS

    text = AGENTS.replace('key = { env = "KEY" }', 'key = { env = "KEY" }\nprevious_key = { env = "OLD" }', 1)
    site = site_of(text, "another key of 16")
    fixture.bench.site = site
    for agent in (fixture.gw1, fixture.gw2):
        agent.keys = site.membership(agent.name).keys
        agent.voter.reload(site.membership(agent.name))
    bench = fixture.succeed()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200] and len(bench.core.calls) == 1


# -- legs -------------------------------------------------------------------------------------------------------


def test_a_callee_that_answered_and_hung_up_before_the_caller_heard_of_it() -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.ring()
    told = fixture.attempt(b)
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    fixture.die()
    b.accept()
    bye = b.say("BYE")
    told |= {"state": "confirmed", "ack": "awaited", "ack-cseq": 1, "received": [], "remote-tag": b.tag}
    fixture.gw2.records = [told | {"sent": [kept(bye)], "cseq": {"local": 1, "remote": 0}}]
    bench = fixture.in_order("caller last")
    assert a.statuses[-1] == 200
    bench.after(0.1)
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    a.ack()
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("answered", "callee")]
    fixture.gone()


def test_a_target_given_up_that_answered_all_the_same_is_hung_up() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    other = Side(fixture.gw2, "given-up", "o1", "<sip:1002@h>", "<sip:caller@h>", "")
    other.token, other.other_tag = b.token, "srv"
    fixture.gw2._keep(other)
    fixture.gw2.records.insert(0, record(other, ack="awaited", ack_cseq=1))
    fixture.die()
    bench = fixture.succeed()
    bench.after(0.1)
    assert [each.method for each in other.asked] == ["ACK", "BYE"]
    other.answer(other.asked[-1], 200)
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200] and len(bench.core.calls) == 1


def test_both_legs_at_one_agent() -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1004")
    b = fixture.gw1.called
    b.accept()
    a.ack()
    assert a.statuses == [100, 200]
    b.asked.clear()
    fixture.gw1.records = [record(a), record(b)]
    fixture.die()
    bench = fixture.succeed()
    assert bench.core.recovery.verdicts.counts["kept"] == 1
    b.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    fixture.gone()
