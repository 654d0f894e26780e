"""Who says that he is somebody else: by a forged Via, a guessed branch, a known dialog, a number with line ends."""

from __future__ import annotations

from sip.actions import Flow, Send
from sip.wire.message import Request, Response
from tests.b2bua.fake import SDP, Bench, Peer, site_of
from tests.gateway_agent.agent_fixture import LISTEN, AgentFixture, response_to
from tests.sip.two_stacks import End

SITE = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
[lines.in]
kind = "trunk"
peer = "sip:127.0.0.20:5090"
from = ["127.0.0.20"]
channels = 100
[lines.out]
kind = "trunk"
peer = "sip:127.0.0.21:5090"
from = ["127.0.0.21"]
channels = 100
[[routes]]
match = "*"
to = ["out"]
"""
LOCAL = "127.0.0.1:5060"
STRANGER = Flow("udp", LOCAL, ("127.0.0.66", 5090))
STRANGER_OF_AGENT = Flow("udp", LISTEN, ("127.0.0.66", 5060))


def bench() -> tuple[Bench, Peer, Peer]:
    made = Bench(site_of(SITE)).serve()
    return made, Peer(made, "in", "127.0.0.20"), Peer(made, "out", "127.0.0.21")


def invite(via: str, call_id: str = "x") -> bytes:
    return (
        f"INVITE sip:123@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:123@x>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.66>\r\nMax-Forwards: 70\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def test_a_stranger_is_no_trunk_by_what_his_via_says() -> None:
    made, _, out = bench()
    for via in (
        "127.0.0.66:9;branch=z9hG4bK1;maddr=127.0.0.20",
        "127.0.0.20:5090;branch=z9hG4bK2",
        "127.0.0.20:5090;branch=z9hG4bK3;received=127.0.0.20",
        "127.0.0.20:5090;branch=z9hG4bK4;rport;received=127.0.0.20",
    ):
        made.core.receive(invite(via), STRANGER, made.now)
        made.pump()
    assert not out.sides and not made.core.calls
    assert {action.flow.remote[0] for action in made.stray} == {"127.0.0.66"}


def test_an_answer_goes_to_no_third_host() -> None:
    end = End("b", 5002)
    data = b"OPTIONS sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.66:9;branch=z9hG4bK1;maddr=127.0.0.99\r\n"
    data += b"From: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    end.stack.receive(data, Flow("udp", end.local, ("127.0.0.66", 5)), 0.0)
    end.stack.reply(end.asked, 200, 0.0)
    assert [one.flow.remote[0] for one in end.stack.to_do() if isinstance(one, Send)] == ["127.0.0.66"]


def test_a_response_from_another_host_answers_nothing() -> None:
    made, caller, out = bench()
    side = caller.call("123")
    assert out.called.invite is not None
    data = response_to(out.called.invite, 200, ["Contact: <sip:evil@127.0.0.66>"], SDP, "evil")
    made.core.receive(data, STRANGER, made.now)
    made.pump()
    assert 200 not in side.statuses
    out.called.accept()
    assert 200 in side.statuses


def test_branches_cannot_be_guessed_from_those_before() -> None:
    stack = End("b", 5002).stack
    made = [stack.branch() for _ in range(100)]
    assert len({branch[7:19] for branch in made}) == 100


def test_who_knows_a_dialog_cannot_end_it_from_elsewhere() -> None:
    made, caller, out = bench()
    side = caller.call("123")
    out.called.accept()
    side.ack()
    bye = (
        f"BYE sip:123@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.66:5090;branch=z9hG4bKe\r\n"
        f"From: {side.own};tag={side.tag}\r\nTo: {side.other};tag={side.other_tag}\r\nCall-ID: {side.call_id}\r\n"
        "CSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    made.core.receive(bye, STRANGER, made.now)
    made.pump()
    assert not made.cdrs and b" 481 " in made.stray[-1].data
    made.core.receive(bye.replace(b"127.0.0.66", b"127.0.0.20"), caller.flow, made.now)
    made.pump()
    assert [each.method for each in out.called.asked] == ["INVITE", "ACK", "BYE"]


def test_who_knows_a_branch_cannot_cancel_from_elsewhere() -> None:
    fixture = AgentFixture()
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.request("CANCEL", flow=STRANGER_OF_AGENT, branch=f"{branch};x=127.0.0.21")
    cancel = (
        f"CANCEL sip:+33166@127.0.0.11 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.21:5060;branch={branch}\r\n"
        "From: <sip:+33155@127.0.0.21>;tag=dev\r\nTo: <sip:+33166@127.0.0.11>\r\nCall-ID: dev-1\r\n"
        "CSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    fixture.say(cancel, STRANGER_OF_AGENT)
    assert fixture.silent() and len(fixture.core.calls) == 1
    fixture.say(cancel)
    fixture.take(200)
    fixture.take(487)


def test_a_repeat_from_elsewhere_does_not_take_the_answers_along() -> None:
    fixture = AgentFixture()
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    thief = Flow("tcp", f"{LISTEN}#9", ("127.0.0.66", 5060))
    data = invite(f"127.0.0.21:5060;branch={branch}", "dev-1")
    fixture.core.flow_changed(thief, "open", fixture.now)
    fixture.say(data, thief)
    fixture.say(data, STRANGER_OF_AGENT)
    sent: Request = fixture.m1.take("INVITE")
    fixture.m1.reply(sent, 180)
    ringing: Response = fixture.take(180)
    assert ringing.status == 180 and not fixture.inbox.get(thief)


def test_a_phone_of_another_address_cannot_end_the_calls_of_a_trunk_but_the_peer_named_in_contact_can() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.request("BYE", to_tag=tag, cseq=2, flow=STRANGER_OF_AGENT)
    fixture.take(481, STRANGER_OF_AGENT)
    assert len(fixture.core.calls) == 1
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.take(200)


def test_escaped_line_ends_in_a_number_stay_escaped() -> None:
    made, caller, out = bench()
    evil = "12%0d%0aX-Injected:%20yes%0d%0a@127.0.0.1"
    caller.call("123", uri=f"sip:{evil}")
    caller.call("124", caller="9%0D%0AX-Injected%3A%20yes")
    assert len(out.sides) == 2
    for side in out.sides:
        assert side.invite is not None
        assert b"X-Injected:" not in side.invite.to_bytes() and "x-injected" not in side.invite.names
    for call in made.core.calls.values():
        assert "\n" not in call.state.callee + call.state.caller
