"""Telephones without an agent: they register with the servers, prove themselves, are called, and survive."""

from __future__ import annotations

import pytest

from b2bua.alerts import alerts
from b2bua.views import lines
from sip.actions import Flow
from sip.wire.message import Request, Response
from tests.b2bua.direct_fixture import DIRECT, Telephone
from tests.b2bua.fake import HOLD, SDP, Bench, Peer, Side, site_of
from tests.b2bua.fake_agent import AGENTS, record
from tests.b2bua.takeover_fixture import TakeoverFixture

WITH_SDP = {"sdp": {"sent": SDP.decode(), "received": SDP.decode()}}


class DirectFixture(TakeoverFixture):
    """Two agents, and a telephone that has registered."""

    def __init__(self, text: str = DIRECT) -> None:
        super().__init__(text)
        self.desk = Telephone(self.bench, "desk")
        assert self.desk.register() == 200

    def talk_from(self, updates: bool = True) -> tuple[Side, Side]:
        """The telephone has called an agent's."""
        lines = ("Allow: INVITE, ACK, BYE, CANCEL, UPDATE",) if updates else ()
        theirs = self.desk.dial("1002", lines=lines)
        mine = self.gw2.called
        mine.accept()
        theirs.ack()
        assert theirs.statuses == [100, 200]
        return theirs, mine

    def talk_to(self) -> tuple[Side, Side]:
        """An agent's phone has called the telephone."""
        mine = self.gw1.call("1061")
        theirs = self.desk.called
        theirs.accept(lines=("Allow: INVITE, ACK, BYE, CANCEL, UPDATE",))
        mine.ack()
        assert mine.statuses == [100, 200]
        return theirs, mine


def line(bench: Bench, name: str = "desk") -> tuple[bool | None, str]:
    return bench.core.own_lines.registered(name), bench.core.own_lines.why(name)


def test_it_registers_by_its_password_and_is_called_at_its_contact() -> None:
    fixture = DirectFixture()
    assert line(fixture.bench) == (True, "") and line(fixture.bench, "hall") == (False, "no device is registered")
    theirs, mine = fixture.talk_to()
    invite = theirs.take("INVITE")
    assert invite.uri == "sip:desk@127.0.0.61:5060" and invite.to_untagged == "<sip:1061@paris>"
    assert theirs.take("ACK")
    theirs.say("BYE")
    mine.answer(mine.take("BYE"), 200)
    assert theirs.statuses == [200] and [cdr.callee_line for cdr in fixture.bench.cdrs] == ["desk"]
    fixture.bench.after(400)
    assert not fixture.bench.core.calls


def test_a_wrong_password_and_a_name_of_nobody_look_alike_and_change_nothing() -> None:
    fixture = TakeoverFixture(DIRECT)
    desk = Telephone(fixture.bench, "desk")
    assert desk.register(password="wrong") == Telephone(fixture.bench, "nobody", port=5070).register() == 401
    assert line(fixture.bench)[0] is False
    mine = fixture.gw1.call("1061")
    assert mine.statuses == [100, 480]


def test_its_call_is_challenged_and_carries_what_it_may_claim() -> None:
    fixture = DirectFixture()
    theirs, mine = fixture.talk_from()
    invite = mine.take("INVITE")
    assert "<sip:desk@" in invite.from_untagged and "proxy-authorization" not in invite.names
    mine.take("ACK")
    theirs.say("BYE")
    assert mine.take("BYE") and [cdr.caller_line for cdr in fixture.bench.cdrs] == ["desk"]


def test_who_takes_its_registration_back_is_called_no_more() -> None:
    fixture = DirectFixture()
    assert fixture.desk.register(expires=0) == 200
    assert fixture.gw1.call("1061").statuses == [100, 480]


def test_a_registration_ends_by_itself() -> None:
    fixture = DirectFixture()
    fixture.bench.after(301)
    assert line(fixture.bench) == (False, "no device is registered")


def test_nobody_else_speaks_in_its_calls() -> None:
    fixture = DirectFixture()
    theirs, mine = fixture.talk_from()
    thief = Peer(fixture.bench, "thief", "127.0.0.66", 5060)
    theirs.peer = thief
    theirs.say("BYE")
    [challenge] = thief.others
    assert challenge.status == 407 and [each.method for each in mine.asked] == ["INVITE", "ACK"]  # type: ignore[union-attr]


def test_a_call_of_it_moves_where_it_proves_itself() -> None:
    fixture = DirectFixture()
    theirs, mine = fixture.talk_from()
    mine.asked.clear()
    fixture.desk.go(fixture.bench, "127.0.0.62")
    theirs.say("INVITE", body=HOLD)
    challenge = theirs.heard.pop()
    theirs.say("INVITE", fixture.desk.proof(challenge, "INVITE", theirs.target), HOLD)
    mine.invite = mine.take("INVITE")
    mine.accept()
    assert theirs.statuses == [100, 200]
    theirs.ack()
    mine.say("BYE")
    assert theirs.take("BYE")


@pytest.mark.parametrize("back", [False, True])
def test_a_call_goes_on_at_the_next_server_where_it_has_registered_from_behind_a_nat(back: bool) -> None:
    fixture = DirectFixture()
    fixture.desk.behind = "10.1.2.3:5060"
    assert fixture.desk.register() == 200
    theirs, mine = fixture.talk_from() if back else fixture.talk_to()
    mine.asked.clear()
    theirs.asked.clear()
    (fixture.gw2 if back else fixture.gw1).records = [record(mine, **WITH_SDP)]
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    desk = fixture.desk.go(bench, port=40061)
    assert desk.register() == 200
    for agent in (fixture.gw1, fixture.gw2):
        agent.silent = False
        agent.notify()
    bench.after(1.2)
    update = theirs.take("UPDATE")
    assert update.get("contact") == "<sip:127.0.0.2:5060>"
    theirs.answer(update, 200)
    theirs.asked.clear()  # it was repeated while nobody looked
    mine.say("BYE")
    assert theirs.take("BYE")


def test_who_registers_late_is_told_then() -> None:
    fixture = DirectFixture()
    fixture.desk.behind = "10.1.2.3:5060"
    assert fixture.desk.register() == 200
    theirs, mine = fixture.talk_from()
    mine.asked.clear()
    theirs.asked.clear()
    fixture.gw2.records = [record(mine, **WITH_SDP)]
    fixture.die()
    bench = fixture.succeed()
    desk = fixture.desk.go(bench, port=40061)
    bench.after(100)
    assert not theirs.asked and not mine.asked, "its calls wait for it"
    assert desk.register() == 200
    bench.after(1.2)
    theirs.answer(theirs.take("UPDATE"), 200)
    theirs.target = "sip:127.0.0.2:5060"
    theirs.cseq += 1
    theirs.say("BYE")
    assert mine.take("BYE")


@pytest.mark.parametrize(
    ("behind", "host", "asked"),
    [
        ("10.9.9.9:5060", "127.0.0.64", False),  # another device
        ("10.9.9.9:5060", "127.0.0.61", False),  # behind the same NAT
        ("10.1.2.3:5060", "127.0.0.64", True),  # by another way
        ("10.1.2.3:40555", "127.0.0.61", True),  # it shows where the NAT has mapped it
    ],
)
def test_only_the_device_that_has_the_call_is_told(behind: str, host: str, asked: bool) -> None:
    fixture = DirectFixture()
    fixture.desk.behind = "10.1.2.3:5060"
    assert fixture.desk.register() == 200
    theirs, mine = fixture.talk_from()
    mine.asked.clear()
    theirs.asked.clear()
    fixture.gw2.records = [record(mine, **WITH_SDP)]
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    here = Telephone(bench, "desk", host, 40064)
    here.behind = behind
    here.by_call_id[theirs.call_id] = theirs
    assert here.register() == 200
    for agent in (fixture.gw1, fixture.gw2):
        agent.silent = False
        agent.notify()
    bench.after(1.5)
    assert any(each.method == "UPDATE" for each in theirs.asked) == asked and len(bench.core.calls) == 1


def test_what_is_asked_of_one_that_is_not_there_yet_is_to_be_asked_again() -> None:
    fixture = DirectFixture()
    fixture.desk.behind = "10.1.2.3:5060"
    assert fixture.desk.register() == 200
    theirs, mine = fixture.talk_from()
    mine.asked.clear()
    fixture.gw2.records = [record(mine, **WITH_SDP)]
    fixture.die()
    bench = fixture.succeed()
    mine.heard.clear()
    for method, body in (("INFO", b""), ("INVITE", HOLD), ("UPDATE", HOLD)):
        mine.say(method, body=body)
        assert mine.heard[-1].status == 500 and "retry-after" in mine.heard[-1], method
        bench.after(40)
    assert bench.core.calls and not mine.asked
    theirs.asked.clear()
    assert fixture.desk.go(bench, port=40061).register() == 200
    bench.after(1.2)
    theirs.answer(theirs.take("UPDATE"), 200)
    theirs.asked.clear()
    mine.say("INVITE", body=HOLD)
    theirs.invite = theirs.take("INVITE")
    theirs.accept(body=HOLD)
    assert mine.statuses[-1] == 200


def test_one_without_nat_that_registers_nowhere_else_is_told_at_its_address() -> None:
    fixture = DirectFixture()
    theirs, mine = fixture.talk_from(updates=False)
    mine.asked.clear()
    theirs.asked.clear()
    fixture.gw2.records = [record(mine, **WITH_SDP)]
    fixture.die()
    bench = fixture.succeed()
    fixture.desk.go(bench)
    bench.after(1.2)
    theirs.invite = theirs.take("INVITE")
    assert b"m=audio 4000" in theirs.invite.body
    theirs.accept()
    assert theirs.take("ACK")


def test_its_own_request_at_the_next_server_moves_the_call() -> None:
    fixture = DirectFixture()
    fixture.desk.behind = "10.1.2.3:5060"
    assert fixture.desk.register() == 200
    theirs, mine = fixture.talk_from()
    mine.asked.clear()
    fixture.gw2.records = [record(mine, **WITH_SDP)]
    fixture.die()
    bench = fixture.succeed()
    desk = fixture.desk.go(bench, port=40061)
    theirs.target = "sip:127.0.0.2:5060"
    desk.prove(theirs, "INFO", ["Content-Type: application/dtmf-relay"], b"")
    info = mine.take("INFO")
    mine.answer(info, 200)
    assert theirs.statuses == [200]


def test_a_ringing_call_of_it_is_answered_by_the_next_server() -> None:
    fixture = DirectFixture()
    theirs = fixture.desk.dial("1002")
    mine = fixture.gw2.called
    mine.ring()
    assert theirs.statuses == [100, 180]
    fixture.gw2.records.append(fixture.attempt(mine))
    fixture.die()
    bench = fixture.succeed()
    fixture.desk.go(bench)
    bench.after(0.2)
    mine.accept()
    assert 200 in theirs.statuses


def test_both_servers_take_registrations_whoever_leads() -> None:
    fixture = DirectFixture()
    bench = Bench(fixture.bench.site, "m2")
    desk = Telephone(bench, "desk", port=5099)
    assert not bench.core.serving and desk.register() == 200
    side = desk.call("1002", caller="desk")
    assert [each.status for each in side.heard] == [503]


def test_without_such_lines_nobody_registers() -> None:
    fixture = TakeoverFixture()
    stranger = Telephone(fixture.bench, "desk")
    assert stranger.register() == 405


def test_a_reload_changes_its_settings_and_keeps_what_has_registered() -> None:
    fixture = DirectFixture()
    changed = site_of(DIRECT.replace('numbers = ["1061"]', 'numbers = ["1069"]\nexpires = 60'))
    fixture.bench.core.reload(changed, fixture.bench.now)
    assert line(fixture.bench) == (True, "")
    assert fixture.gw1.call("1069").statuses == [100] and fixture.desk.called
    fixture.bench.core.reload(site_of(AGENTS), fixture.bench.now)
    assert line(fixture.bench) == (None, "")
    assert fixture.desk.register() == 405


def test_a_line_that_goes_while_its_next_device_is_to_ring_is_called_no_more() -> None:
    fixture = DirectFixture(DIRECT.replace('numbers = ["1061"]', 'numbers = ["1061"]\nanswer_within = 4'))
    assert Telephone(fixture.bench, "desk", "127.0.0.64").register() == 200
    mine = fixture.gw1.call("1061")
    fixture.bench.core.reload(site_of(AGENTS), fixture.bench.now)
    fixture.bench.after(5)
    assert mine.statuses[0] == 100 and mine.invite is None
    fixture.bench.after(60)
    assert not fixture.bench.core.calls


def test_a_line_that_goes_in_a_call_keeps_it_to_its_end() -> None:
    fixture = DirectFixture()
    theirs, mine = fixture.talk_to()
    mine.asked.clear()
    fixture.bench.core.reload(site_of(AGENTS), fixture.bench.now)
    fixture.bench.after(0.1)
    theirs.cseq = 1
    theirs.say("INVITE", body=HOLD)
    mine.invite = mine.take("INVITE")
    mine.accept()
    theirs.ack()
    mine.take("ACK")
    theirs.say("BYE")
    mine.answer(mine.take("BYE"), 200)
    assert theirs.statuses == [100, 200, 200]
    assert fixture.bench.core.lines.load_of("desk").busy == 0


def test_a_stream_that_breaks_is_its_registration() -> None:
    fixture = TakeoverFixture(DIRECT)
    desk = Telephone(fixture.bench, "desk")
    desk.transport, desk.flow = "TCP", Flow("tcp", "127.0.0.1:5060#1", ("127.0.0.61", 40001))
    fixture.bench.peers["127.0.0.61", 40001] = desk
    fixture.bench.core.flow_changed(desk.flow, "open", fixture.bench.now)
    assert desk.register() == 200 and line(fixture.bench)[0]
    fixture.bench.core.flow_changed(desk.flow, "lost", fixture.bench.now)
    assert not line(fixture.bench)[0]


def test_what_an_operator_reads_of_it() -> None:
    fixture = DirectFixture()
    found = {one.name: one for one in lines(fixture.bench.core, {}, fixture.bench.now).lines}
    desk, hall = found["desk"], found["hall"]
    assert (desk.kind, desk.registered, desk.contacts, desk.address) == (
        "direct",
        True,
        1,
        "sip:desk@127.0.0.61:5060",
    )
    assert (hall.state, hall.why, hall.contacts) == ("out of service", "no device is registered", 0)
    assert any("desk is in service: " in each for each in fixture.bench.decisions)
    assert not [each for each in alerts(fixture.bench.core, fixture.bench.now) if "hall" in each.text]


def test_messages_cross_to_and_from_it() -> None:
    fixture = DirectFixture(DIRECT.replace("channels = 100", 'channels = 100\nmessages = "pass"'))
    hall = Telephone(fixture.bench, "hall", "127.0.0.62")
    assert hall.register() == 200
    asked = "MESSAGE sip:1062@127.0.0.1 SIP/2.0"
    head = (
        f"{asked}\nVia: SIP/2.0/UDP 127.0.0.61:5060;branch=z9hG4bK-m{{n}}\nFrom: <sip:desk@paris>;tag=m\n"
        "To: <sip:1062@paris>\nCall-ID: msg\nCSeq: {n} MESSAGE\nMax-Forwards: 70\nContent-Type: text/plain\n{more}"
        "Content-Length: 2\n\nhi"
    )
    fixture.desk.send(head.format(n=1, more=""))
    challenge = fixture.desk.others.pop()
    assert isinstance(challenge, Response) and challenge.status == 407
    [proof] = fixture.desk.proof(challenge, "MESSAGE", "sip:1062@127.0.0.1")
    fixture.desk.send(head.format(n=2, more=f"{proof}\n"))
    [message] = hall.others
    assert isinstance(message, Request) and message.method == "MESSAGE"
    assert (message.uri, message.body) == ("sip:hall@127.0.0.62:5060", b"hi")


@pytest.mark.parametrize("gone", ["desk", "hall"])
def test_a_message_is_answered_after_its_line_has_gone(gone: str) -> None:
    text = DIRECT.replace("channels = 100", 'channels = 100\nmessages = "pass"')
    fixture = DirectFixture(text)
    hall = Telephone(fixture.bench, "hall", "127.0.0.62")
    assert hall.register() == 200
    head = (
        "MESSAGE sip:1062@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.61:5060;branch=z9hG4bK-m{n}\n"
        "From: <sip:desk@paris>;tag=m\nTo: <sip:1062@paris>\nCall-ID: msg\nCSeq: {n} MESSAGE\nMax-Forwards: 70\n"
        "{more}Content-Length: 0\n\n"
    )
    fixture.desk.send(head.format(n=1, more=""))
    challenge = fixture.desk.others.pop()
    assert isinstance(challenge, Response)
    [proof] = fixture.desk.proof(challenge, "MESSAGE", "sip:1062@127.0.0.1")
    fixture.desk.send(head.format(n=2, more=f"{proof}\n"))
    [message] = hall.others
    assert isinstance(message, Request)
    stays, _, _ = text.partition(f"[lines.{gone}]")
    fixture.bench.core.reload(site_of(stays), fixture.bench.now)
    hall.send(
        f"SIP/2.0 200 OK\nVia: {message.get('via')}\nFrom: {message.get('from')}\nTo: {message.get('to')};tag=h\n"
        f"Call-ID: {message.call_id}\nCSeq: 1 MESSAGE\nContent-Length: 0\n\n"
    )
    answer = fixture.desk.others.pop()
    assert isinstance(answer, Response) and answer.status == 200


def test_two_of_them_call_each_other() -> None:
    fixture = DirectFixture()
    hall = Telephone(fixture.bench, "hall", "127.0.0.62")
    assert hall.register() == 200
    a = fixture.desk.dial("1062")
    b = hall.called
    b.accept()
    a.ack()
    assert a.statuses == [100, 200] and [each.method for each in b.asked] == ["INVITE", "ACK"]
    b.asked.clear()
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert a.statuses == [200]
    fixture.bench.after(400)
    assert not fixture.bench.core.calls
