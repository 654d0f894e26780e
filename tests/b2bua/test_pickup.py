"""A call that rings and is picked up, message by message: what the re-INVITE of who picks up meets."""

from __future__ import annotations

import re

import pytest

from b2bua.pickup import MOST_TRIES
from b2bua.state_token import CallState, read
from sip.wire import sdp
from tests.b2bua.fake import HOLD, SDP, Peer, Side
from tests.b2bua.fake_agent import AGENTS, ServerFixture
from tests.b2bua.takeover_fixture import SITE_KEY

WATCHED = AGENTS.replace("channels = 2000\n", 'channels = 2000\nsubscriptions = "pass"\n')
WATCHED = re.sub(r"\nforward = .*", "", WATCHED)


def picked_up(
    offer: bytes = SDP, own: bool = False, by: str = "gw1"
) -> tuple[ServerFixture, Side, Side, Side, bytes]:
    """Bob is called, by anna or from a trunk of the server's, and rings; another one has picked that up, and is to be
    asked. ``own``: it is behind a trunk of the server's. The last value is what it was answered."""
    fixture = ServerFixture(WATCHED)
    trunk = Peer(fixture.bench, "own", port=5080)
    caller = trunk.call("1002") if by == "own" else fixture.gw1.call("1002", caller="anna")
    ringing = fixture.gw2.called
    ringing.take("INVITE")
    ringing.ring()
    assert caller.statuses == [100, 180]
    named = f"Replaces: {ringing.call_id};to-tag={ringing.other_tag};from-tag=pickup"
    second = (trunk if own else fixture.gw1).call("1002", offer, [named])
    (answer,) = second.heard
    assert second.statuses == [200]
    second.ack()
    return fixture, caller, ringing, second, answer.body


def test_who_picks_up_is_asked_what_the_caller_has_offered() -> None:
    fixture, caller, ringing, second, _ = picked_up()
    change = second.take("INVITE")
    assert change.body == SDP and str(change.get("call-origin")).endswith(";600")
    second.answer(change, 200, body=SDP)
    assert caller.statuses == [200]
    caller.ack()
    ringing.take("CANCEL")
    assert len(fixture.bench.core.calls) == 1


@pytest.mark.parametrize(
    ("status", "lines", "within", "not_before"),
    [
        (491, (), 2.05, 0.0),
        (500, (), 2.05, 0.0),
        (500, ("Retry-After: 3",), 3.05, 2.95),
        (503, ("Retry-After: 5",), 5.05, 4.95),
    ],
)
@pytest.mark.parametrize("by", ["telephone", "agent"])
def test_one_that_is_refused_for_the_moment_is_asked_again(
    status: int, lines: tuple[str, ...], within: float, not_before: float, by: str
) -> None:
    fixture, caller, ringing, second, _ = picked_up()
    change = second.take("INVITE")
    if by == "agent":  # it has not passed it on
        second.peer.origins.pop(str(change.get("call-origin")))  # type: ignore[attr-defined]
        change.lines = [line for line in change.lines if not line.startswith("Call-Origin")]
        change.names.remove("call-origin")
        change = type(change)(change.method, change.uri, change.names, change.lines, change.body)
    second.answer(change, status, lines)
    second.take("ACK")
    fixture.bench.after(not_before)
    assert not second.asked and caller.statuses == []
    fixture.bench.after(within - not_before)
    again = second.take("INVITE")
    assert again.body == SDP and again.cseq > change.cseq
    assert str(again.get("call-origin")).endswith(";601" if by == "telephone" else ";600")
    second.answer(again, 200, body=SDP)
    assert caller.statuses == [200]
    ringing.take("CANCEL")


def test_but_not_for_ever_and_the_call_rings_on() -> None:
    fixture, caller, ringing, second, _ = picked_up()
    for _ in range(MOST_TRIES + 1):
        second.answer(second.take("INVITE"), 491)
        second.take("ACK")
        fixture.bench.after(2.05)
    second.answer(second.take("BYE"), 200)
    assert caller.statuses == [] and not ringing.asked
    ringing.accept()
    assert caller.statuses == [200]


def test_what_says_later_than_the_call_can_wait_is_given_up() -> None:
    fixture, _, ringing, second, _ = picked_up()
    second.answer(second.take("INVITE"), 503, ("Retry-After: 3600",))
    second.take("ACK")
    fixture.bench.after(33.0)
    second.answer(second.take("BYE"), 200)
    assert not ringing.asked


def test_who_waits_is_hung_up_when_the_call_is_answered_elsewhere() -> None:
    _, caller, ringing, second, _ = picked_up()
    second.answer(second.take("INVITE"), 500, ("Retry-After: 5",))
    second.take("ACK")
    ringing.accept()
    assert caller.statuses == [200]
    assert "Call completed elsewhere" in str(second.take("BYE").get("reason"))


CRYPTO = b"a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"


@pytest.mark.parametrize(
    ("proto", "lines", "answered"),
    [
        (b"RTP/SAVP", CRYPTO, b"a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:"),
        (
            b"UDP/TLS/RTP/SAVPF",
            b"a=setup:actpass\r\na=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789\r\n",
            b"a=fingerprint:sha-256 ",
        ),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_who_takes_secured_media_alone_picks_up(proto: bytes, lines: bytes, answered: bytes, own: bool) -> None:
    offer = SDP.replace(b"RTP/AVP", proto) + lines
    fixture, caller, ringing, second, answer = picked_up(offer, own)
    assert sdp.direction(answer) == "inactive" and proto in answer and answered in answer
    assert lines.split(b":")[-1] not in answer
    change = second.take("INVITE")
    assert change.body.partition(b"s=")[2] == SDP.partition(b"s=")[2]  # what the caller takes it has to know
    second.answer(change, 200, body=SDP)
    assert 200 in caller.statuses
    ringing.take("CANCEL")
    assert len(fixture.bench.core.calls) == 1


@pytest.mark.parametrize(
    "offer", [b"", SDP.replace(b"RTP/AVP", b"RTP/SAVP"), SDP.replace(b"RTP/AVP 0", b"udptl t38")]
)
def test_what_nothing_can_be_said_to_yet_is_refused_and_the_call_rings_on(offer: bytes) -> None:
    fixture, caller, ringing, second, _ = picked_up()
    second.say("BYE")
    named = f"Replaces: {ringing.call_id};to-tag={ringing.other_tag};from-tag=pickup"
    assert fixture.gw1.call("1002", offer, [named]).statuses == [488]
    ringing.accept()
    assert caller.statuses == [200]


def state_of(side: Side) -> CallState:
    return read(side.token, [SITE_KEY])


@pytest.mark.parametrize("by", ["gw1", "own"])
def test_who_is_behind_a_trunk_of_the_servers_is_asked_as_one_with_an_agent(by: str) -> None:
    fixture, caller, ringing, second, answer = picked_up(own=True, by=by)
    if by == "gw1":
        assert caller.statuses == [100]  # with the token, before there is anything that another server had to know
        pickup = state_of(caller).pickup
        assert pickup is not None and (pickup.line, pickup.number) == ("own", "caller")
        assert pickup.leg.dialog.call_id == second.call_id and not pickup.leg.asked
    change = second.take("INVITE")
    assert not {"call-origin", "call-state", "heartbeat"} & set(change.names)
    was, now = sdp.origin_of(answer), sdp.origin_of(change.body)
    assert now == was._replace(version=was.version + 1)
    second.answer(change, 200, body=SDP)
    ringing.take("CANCEL")
    assert caller.statuses == [200]
    caller.ack()
    second.take("ACK")
    if by == "gw1":
        state = state_of(caller)
        assert state.pickup is None and state.device_leg is not None
        assert (state.callee_line, state.callee_agent, state.callee, state.dialled) == ("own", "", "caller", "1002")
        assert state.device_leg.dialog.call_id == second.call_id
    second.say("INVITE", body=HOLD)
    if by == "gw1":
        held = caller.take("INVITE")
        assert sdp.direction(held.body) == "sendonly"
        caller.answer(held, 200, body=SDP)
        assert second.statuses == [100, 200]
        second.ack()
        caller.take("ACK")
    second.say("BYE")
    assert 200 in second.statuses
    caller.answer(caller.asked[-1], 200)
    assert not fixture.bench.core.calls and [cdr.result for cdr in fixture.bench.cdrs] == ["answered"]
    assert fixture.bench.core.lines.loads["own"].busy == 0


@pytest.mark.parametrize(("status", "lines"), [(491, ()), (422, ("Min-SE: 400",))])
def test_it_is_asked_again_what_it_has_refused_for_the_moment(status: int, lines: tuple[str, ...]) -> None:
    fixture, caller, ringing, second, _ = picked_up(own=True)
    second.answer(second.take("INVITE"), status, lines)
    second.take("ACK")
    fixture.bench.after(2.05)
    second.answer(second.take("INVITE"), 200, body=SDP)
    assert caller.statuses[-1] == 200
    ringing.take("CANCEL")


@pytest.mark.parametrize("why", ["refuses", "hangs up", "holds", "is silent", "answered", "cancelled"])
def test_if_it_does_not_come_to_that_the_call_is_as_before(why: str) -> None:
    fixture, caller, ringing, second, _ = picked_up(own=True)
    change = second.take("INVITE")
    if why == "refuses":
        second.answer(change, 488)
        second.take("ACK")
    elif why == "hangs up":
        second.say("BYE")
        assert second.statuses == [200]
    elif why == "holds":
        second.say("INVITE", body=HOLD)
        assert second.statuses == [491]
        second.answer(change, 488)
        second.take("ACK")
    elif why == "is silent":
        fixture.bench.after(33.0)
    elif why == "answered":
        ringing.accept()
    else:
        caller.cancel()
        ringing.take("CANCEL")
        ringing.accept(487, b"")
    bye = next((request for request in second.asked if request.method == "BYE"), None)
    assert (bye is None) is (why == "hangs up")
    if bye is not None:
        second.answer(bye, 200)
    if why == "cancelled":
        assert caller.statuses[-1] == 487
    else:
        assert state_of(caller).pickup is None
        if why != "answered":
            ringing.accept()
        assert caller.statuses[-1] == 200
        caller.ack()
        assert bye is None or ("Call completed elsewhere" in str(bye.get("reason"))) is (why == "answered")
    assert len(fixture.bench.core.calls) == (why != "cancelled")
    assert fixture.bench.core.lines.loads["own"].busy == 0
