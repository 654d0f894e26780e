"""Requests that cross each other between two agents, and a failover in between (RFC 3261 sections 9, 14, 15)."""

from __future__ import annotations

import pytest

from b2bua.agents import URGENT
from sip.wire.message import Request
from tests.b2bua.fake import HOLD, SDP, Side
from tests.b2bua.fake_agent import Town, kept, record


def nothing_under_way(town: Town) -> None:
    core = town.bench.core
    for call in core.calls.values():
        for leg in (call.bridge.origin, call.bridge.target):
            assert (
                leg is not None
                and leg.pending_client_invite is None
                and leg.pending_server_invite is None
                and not leg.ack.pending
            )
    open_ones = [each.request for each in core.stack.servers.values() if each.open]
    assert not open_ones, open_ones
    asked = [each for each in core.stack.clients.values() if not each.answered and each.method != "SUBSCRIBE"]
    assert not asked, [each.request for each in asked]


def ends(town: Town, by: str) -> tuple[Side, Side]:
    a, b = town.talk()
    return (a, b) if by == "caller" else (b, a)


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_re_invite_waits_for_an_agent_as_long_as_its_device_does(by: str) -> None:
    town = Town()
    first, other = ends(town, by)
    first.say("INVITE", body=HOLD)
    town.bench.after(100)
    assert first.statuses == [100] and len(town.bench.core.calls) == 1
    other.answer(other.take("INVITE"), 200, body=SDP)
    assert first.statuses == [200]
    first.ack()
    other.take("ACK")
    nothing_under_way(town)


@pytest.mark.parametrize("by", ["caller", "callee"])
@pytest.mark.parametrize("answers", [True, False])
def test_bye_crosses_a_re_invite_of_the_other_side(by: str, answers: bool) -> None:
    town = Town()
    first, other = ends(town, by)
    first.say("INVITE", body=HOLD)
    invite = other.take("INVITE")
    other.say("BYE")
    if answers:
        other.answer(invite, 487)
    first.answer(first.take("BYE"), 200)
    assert other.statuses == [200] and first.statuses == [100, 487]
    assert not town.bench.core.calls and len(town.bench.cdrs) == 1
    nothing_under_way(town)


@pytest.mark.parametrize("late", [200, 487, 0])
def test_bye_behind_a_re_invite_of_the_same_side(late: int) -> None:
    town = Town()
    a, b = town.talk()
    a.say("INVITE", body=HOLD)
    invite = b.take("INVITE")
    a.say("BYE")
    assert 487 in a.statuses
    bye = b.take("BYE")
    if late:
        b.answer(invite, late, body=SDP if late == 200 else b"")
    b.answer(bye, 200)
    assert a.statuses == [200] and not town.bench.core.calls
    nothing_under_way(town)


def test_a_released_call_answers_what_waited_for_an_answer() -> None:
    town = Town()
    a, b = town.talk()
    a.say("INVITE", body=HOLD)
    b.take("INVITE")
    [call] = town.bench.core.calls.values()
    call.bridge.release("SIP;cause=480", town.bench.now)
    town.bench.pump()
    for side in (a, b):
        side.answer(side.take("BYE"), 200)
    assert a.statuses == [100, 487] and not town.bench.core.calls
    nothing_under_way(town)


def test_glare_is_491_at_whoever_comes_second_and_the_next_one_goes_through() -> None:
    town = Town()
    a, b = town.talk()
    a.say("INVITE", body=HOLD)
    b.say("INVITE", body=HOLD)
    assert b.statuses == [491]
    b.answer(b.take("INVITE"), 491)
    assert a.statuses == [100, 491]
    b.take("ACK")
    for first, other in ((b, a), (a, b)):
        first.say("INVITE", body=HOLD)
        other.answer(other.take("INVITE"), 200, body=SDP)
        assert first.statuses == [100, 200]
        first.ack()
        other.take("ACK")
    nothing_under_way(town)


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_cancel_crosses_the_200_of_a_re_invite(by: str) -> None:
    town = Town()
    first, other = ends(town, by)
    first.say("INVITE", body=HOLD)
    invite = other.take("INVITE")
    other.answer(invite, 100)
    first.cancel()
    cancel = other.take("CANCEL")
    assert cancel.get("heartbeat") and "call-origin" not in cancel
    other.answer(invite, 200, body=SDP)
    other.answer(cancel, 200)
    assert first.statuses == [100, 200, 200]
    first.ack()
    assert other.take("ACK").cseq == invite.cseq
    nothing_under_way(town)


def test_requests_of_one_side_go_again_on_a_new_connection_in_the_order_of_asking() -> None:
    town = Town()
    a, b = town.talk()
    town.gw2.disconnect()
    a.say("INFO", body=b"1")
    a.say("INVITE", body=HOLD)
    a.say("INFO", body=b"2")
    town.gw2.records = [record(b)]
    town.gw2.connect()
    asked = [each for each in b.asked if each.method != "ACK"]
    assert [each.method for each in asked] == ["INFO", "INVITE", "INFO"]
    assert [each.cseq for each in asked] == sorted(each.cseq for each in asked)


# -- and a failover in between ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["asked first", "asker first"])
@pytest.mark.parametrize("by", ["caller", "callee"])
def test_an_offer_asked_for_and_made_is_not_refused_for_a_re_invite_that_meets_it(by: str, order: str) -> None:
    """Its device waits for the answer in the ACK; the other INVITE gets 491, whichever list comes first."""
    town = Town()
    first, other = ends(town, by)
    first.say("INVITE")
    invite = other.take("INVITE")
    other.answer(invite, 200, body=SDP)
    before = {str(invite.get("call-origin")): invite.cseq}
    first.heard.clear()
    town.die()
    other.say("INVITE", body=HOLD)
    first_agent, other_agent = (town.gw1, town.gw2) if by == "caller" else (town.gw2, town.gw1)
    [(key, cseq)] = before.items()
    first_agent.records = [record(first, sent=[kept(first.sent)])]
    other_agent.records = [record(other, sent=[kept(other.sent)], ack="awaited", ack_cseq=cseq, ack_origin=key)]
    town.gw1.silent = town.gw2.silent = True
    bench = town.succeed()
    for agent in (other_agent, first_agent) if order == "asked first" else (first_agent, other_agent):
        agent.notify()
        bench.after(0.05)
    assert [each.get("call-origin") for each in other_agent.repeats if each.method == "INVITE"] == [key]
    assert 200 in [each.status for each in first.heard]
    first.ack(SDP)
    acks = [each for each in other.asked if each.method == "ACK"]
    assert [each.body for each in acks] == [SDP]
    if other.statuses[-1] != 491:  # by then it met nothing any more
        first.answer(first.take("INVITE"), 200, body=SDP)
        assert other.statuses == [200]
        other.ack()
    bench.after(URGENT)  # the parts that were put off for what the silent agents never tell
    nothing_under_way(town)


def test_the_cancel_of_a_kept_re_invite_follows_it() -> None:
    town = Town()
    a, b = town.talk()
    town.die()
    a.say("INVITE", body=HOLD)
    town.gw1.records = [record(a, sent=[kept(a.sent, cancelled=True)])]
    town.gw2.records = [record(b)]
    town.succeed()
    invite = b.take("INVITE")
    b.answer(invite, 100)
    b.answer(b.take("CANCEL"), 200)
    b.answer(invite, 487)
    assert a.statuses == [100, 200, 487]
    b.take("ACK")
    nothing_under_way(town)


def test_so_does_one_that_comes_while_the_re_invite_waits_for_its_dialog() -> None:
    town = Town()
    a, b = town.talk()
    town.die()
    town.gw1.records, town.gw2.records = [record(a)], [record(b)]
    sent = a.say("INVITE", body=HOLD)
    town.gw1.silent = town.gw2.silent = True
    town.succeed()
    town.gw1.send(sent.to_bytes())
    a.cancel()
    assert a.statuses == [200] and not b.asked
    for agent in (town.gw1, town.gw2):
        agent.notify(0)
    town.bench.after(0.1)
    invite = b.take("INVITE")
    assert isinstance(invite, Request)
    b.answer(invite, 100)
    b.answer(b.take("CANCEL"), 200)
    b.answer(invite, 487)
    assert a.statuses == [100, 487]


def test_too_many_requests_that_wait_for_the_other_side_are_told_to_come_later() -> None:
    town = Town()
    a, b = town.talk()
    town.die()
    town.gw1.records, town.gw2.records = [record(a)], [record(b)]
    town.gw1.silent = town.gw2.silent = True
    bench = town.succeed()
    town.gw1.notify()
    for digit in range(20):
        a.say("INFO", body=b"%d" % digit)
    assert a.statuses == [500] * 4
    town.gw2.notify()
    bench.after(0.1)
    assert [each.body for each in b.asked] == [b"%d" % digit for digit in range(16)]


# -- cuts ------------------------------------------------------------------------------------------------------------


def answered() -> tuple[Town, Side, Side]:
    town = Town()
    a = town.gw1.call("1002")
    b = town.gw2.called
    b.accept()
    b.take("INVITE")
    assert a.statuses == [100, 200]
    return town, a, b


def test_a_2xx_without_ack_ends_the_call_when_its_agent_was_there_all_the_time() -> None:
    town, a, b = answered()
    town.bench.after(31)
    assert not a.asked
    town.bench.after(2)
    assert a.take("BYE").get("reason") == 'SIP;cause=408;text="No ACK"'
    assert [each.method for each in b.asked] == ["ACK", "BYE"]


@pytest.mark.parametrize("away", [1.0, 20.0, 40.0, 200.0])
def test_the_time_for_an_ack_begins_when_its_agent_is_back(away: float) -> None:
    town, a, b = answered()
    town.bench.after(5)
    town.gw1.disconnect()
    town.bench.after(away)
    town.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    town.gw1.connect()
    assert a.statuses == [200], "the 2xx is given again"
    town.bench.after(30)
    assert not a.asked and not b.asked and len(town.bench.core.calls) == 1
    a.ack()
    assert b.take("ACK")
    town.bench.after(60)
    assert len(town.bench.core.calls) == 1
    nothing_under_way(town)


def test_an_agent_that_answers_no_beats_is_not_there_either() -> None:
    town, a, b = answered()
    receive = town.gw1.receive
    town.gw1.receive = lambda data: None  # type: ignore[method-assign]
    town.bench.after(100)
    assert not b.asked and len(town.bench.core.calls) == 1
    town.gw1.receive = receive  # type: ignore[method-assign]
    town.bench.after(30)
    assert not a.asked and len(town.bench.core.calls) == 1
    town.bench.after(8)
    assert a.take("BYE")
