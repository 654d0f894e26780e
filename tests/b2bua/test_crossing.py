"""Requests that cross each other between two agents, and a failover in between (RFC 3261 sections 9, 14, 15)."""

from __future__ import annotations

import pytest

from b2bua.list_pace import URGENT
from sip.wire.message import Request
from tests.b2bua.fake import HOLD, SDP, Side
from tests.b2bua.fake_agent import ServerFixture, kept, record
from tests.b2bua.trunk_fixture import TrunkFixture


def nothing_under_way(fixture: ServerFixture) -> None:
    core = fixture.bench.core
    for call in core.calls.values():
        for leg in (call.bridge.origin, call.bridge.target):
            assert (
                leg is not None
                and leg.client_invite.pending is None
                and leg.server_invite.pending is None
                and not leg.ack.pending
            )
    open_ones = [each.request for each in core.stack.servers.values() if each.open]
    assert not open_ones, open_ones
    asked = [each for each in core.stack.clients.values() if not each.answered and each.method != "SUBSCRIBE"]
    assert not asked, [each.request for each in asked]


def ends(fixture: ServerFixture, by: str) -> tuple[Side, Side]:
    a, b = fixture.talk()
    return (a, b) if by == "caller" else (b, a)


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_re_invite_waits_for_an_agent_as_long_as_its_device_does(by: str) -> None:
    fixture = ServerFixture()
    first, other = ends(fixture, by)
    first.say("INVITE", body=HOLD)
    fixture.bench.after(100)
    assert first.statuses == [100] and len(fixture.bench.core.calls) == 1
    other.answer(other.take("INVITE"), 200, body=SDP)
    assert first.statuses == [200]
    first.ack()
    other.take("ACK")
    nothing_under_way(fixture)


@pytest.mark.parametrize("by", ["caller", "callee"])
@pytest.mark.parametrize("answers", [True, False])
def test_bye_crosses_a_re_invite_of_the_other_side(by: str, answers: bool) -> None:
    fixture = ServerFixture()
    first, other = ends(fixture, by)
    first.say("INVITE", body=HOLD)
    invite = other.take("INVITE")
    other.say("BYE")
    if answers:
        other.answer(invite, 487)
    first.answer(first.take("BYE"), 200)
    assert other.statuses == [200] and first.statuses == [100, 487]
    assert not fixture.bench.core.calls and len(fixture.bench.cdrs) == 1
    nothing_under_way(fixture)


@pytest.mark.parametrize("late", [200, 487, 0])
def test_bye_behind_a_re_invite_of_the_same_side(late: int) -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    invite = b.take("INVITE")
    a.say("BYE")
    assert 487 in a.statuses
    bye = b.take("BYE")
    if late:
        b.answer(invite, late, body=SDP if late == 200 else b"")
    b.answer(bye, 200)
    assert a.statuses == [200] and not fixture.bench.core.calls
    nothing_under_way(fixture)


def test_a_released_call_answers_what_waited_for_an_answer() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    b.take("INVITE")
    [call] = fixture.bench.core.calls.values()
    call.bridge.release("SIP;cause=480", fixture.bench.now)
    fixture.bench.pump()
    for side in (a, b):
        side.answer(side.take("BYE"), 200)
    assert a.statuses == [100, 487] and not fixture.bench.core.calls
    nothing_under_way(fixture)


def test_glare_is_491_at_whoever_comes_second_and_the_next_one_goes_through() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
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
    nothing_under_way(fixture)


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_cancel_crosses_the_200_of_a_re_invite(by: str) -> None:
    fixture = ServerFixture()
    first, other = ends(fixture, by)
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
    nothing_under_way(fixture)


def test_requests_of_one_side_go_again_on_a_new_connection_in_the_order_of_asking() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.gw2.disconnect()
    a.say("INFO", body=b"1")
    a.say("INVITE", body=HOLD)
    a.say("INFO", body=b"2")
    fixture.gw2.records = [record(b)]
    fixture.gw2.connect()
    asked = [each for each in b.asked if each.method != "ACK"]
    assert [each.method for each in asked] == ["INFO", "INVITE", "INFO"]
    assert [each.cseq for each in asked] == sorted(each.cseq for each in asked)


# -- and a failover in between ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["asked first", "asker first"])
@pytest.mark.parametrize("by", ["caller", "callee"])
def test_an_offer_asked_for_and_made_is_not_refused_for_a_re_invite_that_meets_it(by: str, order: str) -> None:
    """Its device waits for the answer in the ACK; the other INVITE gets 491, whichever list comes first."""
    fixture = ServerFixture()
    first, other = ends(fixture, by)
    first.say("INVITE")
    invite = other.take("INVITE")
    other.answer(invite, 200, body=SDP)
    before = {str(invite.get("call-origin")): invite.cseq}
    first.heard.clear()
    fixture.die()
    other.say("INVITE", body=HOLD)
    first_agent, other_agent = (fixture.gw1, fixture.gw2) if by == "caller" else (fixture.gw2, fixture.gw1)
    [(key, cseq)] = before.items()
    first_agent.records = [record(first, sent=[kept(first.sent)])]
    other_agent.records = [record(other, sent=[kept(other.sent)], ack="awaited", ack_cseq=cseq, ack_origin=key)]
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
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
    nothing_under_way(fixture)


def test_the_cancel_of_a_kept_re_invite_follows_it() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.die()
    a.say("INVITE", body=HOLD)
    fixture.gw1.records = [record(a, sent=[kept(a.sent, cancelled=True)])]
    fixture.gw2.records = [record(b)]
    fixture.succeed()
    invite = b.take("INVITE")
    b.answer(invite, 100)
    b.answer(b.take("CANCEL"), 200)
    b.answer(invite, 487)
    assert a.statuses == [100, 200, 487]
    b.take("ACK")
    nothing_under_way(fixture)


def test_so_does_one_that_comes_while_the_re_invite_waits_for_its_dialog() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records, fixture.gw2.records = [record(a)], [record(b)]
    sent = a.say("INVITE", body=HOLD)
    fixture.gw1.silent = fixture.gw2.silent = True
    fixture.succeed()
    fixture.gw1.send(sent.to_bytes())
    a.cancel()
    assert a.statuses == [200] and not b.asked
    for agent in (fixture.gw1, fixture.gw2):
        agent.notify(0)
    fixture.bench.after(0.1)
    invite = b.take("INVITE")
    assert isinstance(invite, Request)
    b.answer(invite, 100)
    b.answer(b.take("CANCEL"), 200)
    b.answer(invite, 487)
    assert a.statuses == [100, 487]


def test_too_many_requests_that_wait_for_the_other_side_are_told_to_come_later() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records, fixture.gw2.records = [record(a)], [record(b)]
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    fixture.gw1.notify()
    for digit in range(20):
        a.say("INFO", body=b"%d" % digit)
    assert a.statuses == [500] * 4
    fixture.gw2.notify()
    bench.after(0.1)
    assert [each.body for each in b.asked] == [b"%d" % digit for digit in range(16)]


# -- cuts ------------------------------------------------------------------------------------------------------------


def answered() -> tuple[ServerFixture, Side, Side]:
    fixture = ServerFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.accept()
    b.take("INVITE")
    assert a.statuses == [100, 200]
    return fixture, a, b


def test_a_2xx_without_ack_ends_the_call_when_its_agent_was_there_all_the_time() -> None:
    fixture, a, b = answered()
    fixture.bench.after(31)
    assert not a.asked
    fixture.bench.after(2)
    assert a.take("BYE").get("reason") == 'SIP;cause=408;text="No ACK"'
    assert [each.method for each in b.asked] == ["ACK", "BYE"]


@pytest.mark.parametrize("away", [1.0, 20.0, 40.0, 200.0])
def test_the_time_for_an_ack_begins_when_its_agent_is_back(away: float) -> None:
    fixture, a, b = answered()
    fixture.bench.after(5)
    fixture.gw1.disconnect()
    fixture.bench.after(away)
    fixture.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    fixture.gw1.connect()
    assert a.statuses == [200], "the 2xx is given again"
    fixture.bench.after(30)
    assert not a.asked and not b.asked and len(fixture.bench.core.calls) == 1
    a.ack()
    assert b.take("ACK")
    fixture.bench.after(60)
    assert len(fixture.bench.core.calls) == 1
    nothing_under_way(fixture)


def test_an_agent_that_answers_no_beats_is_not_there_either() -> None:
    fixture, a, b = answered()
    receive = fixture.gw1.receive
    fixture.gw1.receive = lambda data: None  # type: ignore[method-assign]
    fixture.bench.after(100)
    assert not b.asked and len(fixture.bench.core.calls) == 1
    fixture.gw1.receive = receive  # type: ignore[method-assign]
    fixture.bench.after(30)
    assert not a.asked and len(fixture.bench.core.calls) == 1
    fixture.bench.after(8)
    assert a.take("BYE")


def test_an_identity_crosses_a_server_byte_for_byte() -> None:
    fixture = TrunkFixture()
    line = "Identity:  eyJ.x.y ; info=<https://a.example/b>;alg=ES256;ppt=shaken"
    a = fixture.left.call("1001", lines=(line, "Date: Thu, 25 Sep 2025 19:12:25 GMT"))
    invite = fixture.right.called.take("INVITE")
    assert a.statuses == [100]
    assert invite.line("identity") == line and invite.line("date") == "Date: Thu, 25 Sep 2025 19:12:25 GMT"
