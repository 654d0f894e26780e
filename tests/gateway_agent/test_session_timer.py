"""Session timers (RFC 4028) of a device's dialog."""

from __future__ import annotations

from random import Random

import pytest

from sip.device.session_timer import LONGEST, SessionTimer
from sip.wire.message import Request, Response
from tests.gateway_agent.agent_fixture import CARRIER, SDP, AgentFixture

TIMER = "session_timer = { expires = 100, min_se = 90 }"
TYPE = "Content-Type: application/sdp"


def invite(*lines: str) -> Request:
    return Request("INVITE", "sip:a@b", [line.partition(":")[0].lower() for line in lines], list(lines))


def answer(status: int, *lines: str) -> Response:
    return Response(status, "", [line.partition(":")[0].lower() for line in lines], list(lines))


@pytest.mark.parametrize(
    "lines, granted",
    [
        ((), 600),
        (("Session-Expires: 3600",), 600),
        (("Session-Expires: 300",), 300),
        (("Session-Expires: 60",), 120),  # it does not know session timers, else it had been told 422
        (("Session-Expires: 3600", "Min-SE: 2400"), 2400),
        (("Min-SE: 1000",), 1000),
        (("Session-Expires: x", "Min-SE: y"), 600),
    ],
)
def test_the_interval_that_is_granted(lines: tuple[str, ...], granted: int) -> None:
    timer = SessionTimer(600, 120, 0.0)
    assert timer.agree(invite(*lines), 0.0)[0] == f"Session-Expires: {granted};refresher=uas"
    # what one refresh asked for does not bind the next one
    assert timer.agree(invite(), 0.0)[0] == "Session-Expires: 600;refresher=uas"


@pytest.mark.parametrize(
    "status, lines, own, earliest, latest",
    [
        (491, (), True, 2.1, 4.0),
        (491, (), False, 0.0, 2.0),
        (488, (), True, 4.0, 4.5),
        (403, (), True, 4.0, 4.5),
        (500, ("Retry-After: 3",), True, 3.0, 3.0),
        (503, ("Retry-After: 600",), True, 8.0, 9.0),
        (503, ("Retry-After: 0",), True, 2.0, 2.0),
        (422, ("Min-SE: 500",), True, 0.0, 0.0),
        (422, ("Min-SE: 5",), True, 4.0, 4.5),
    ],
)
def test_a_refresh_that_is_refused_is_tried_again_before_the_session_expires(
    status: int, lines: tuple[str, ...], own: bool, earliest: float, latest: float
) -> None:
    timer = SessionTimer(100, 90, 0.0)
    timer.refresh_at = timer.expires_at
    assert timer.expires_at == 68.0
    assert timer.refused(answer(status, *lines), own, Random(1), 50.0)
    assert earliest <= timer.refresh_at - 50.0 <= latest
    late = timer.expires_at - 0.5
    assert timer.refused(answer(488), own, Random(1), late) and timer.refresh_at == timer.expires_at


@pytest.mark.parametrize("status", [408, 481])
def test_who_does_not_know_the_call_ends_it(status: int) -> None:
    assert not SessionTimer(100, 90, 0.0).refused(answer(status), True, Random(1), 50.0)


def test_a_device_cannot_raise_the_interval_for_ever() -> None:
    timer = SessionTimer(100, 90, 0.0)
    assert [timer.raised(answer(422, f"Min-SE: {least}")) for least in range(100, 120)] == [True] * 4 + [False] * 16
    assert (timer.min_se, timer.interval) == (103, 103)
    timer = SessionTimer(100, 90, 0.0)
    assert timer.raised(answer(422, "Min-SE: 99999999")) and timer.interval == LONGEST


@pytest.mark.parametrize("status", [491, 500, 503, 488, 400, 403])
def test_a_refused_refresh_ends_no_call(status: int) -> None:
    fixture = AgentFixture(TIMER)
    fixture.answered_out()
    fixture.run(50.2)
    fixture.reply(fixture.take("INVITE"), status)
    fixture.take("ACK")
    while fixture.silent():
        fixture.run(0.2)
    again = fixture.take("INVITE")
    assert fixture.now < 100 + 68
    assert again.body == SDP
    fixture.reply(again, 200, [TYPE], SDP)
    fixture.take("ACK")
    fixture.run(40)
    assert fixture.silent() and len(fixture.core.calls) == 1


def test_a_refresh_that_is_always_refused_ends_the_call_when_the_session_does() -> None:
    fixture = AgentFixture(TIMER)
    fixture.answered_out()
    tries = 0
    for _ in range(140):
        fixture.run(0.5)
        while not fixture.silent():
            got = fixture.inbox[CARRIER].popleft()
            if isinstance(got, Request) and got.method == "INVITE":
                tries += 1
                fixture.reply(got, 488)
            elif isinstance(got, Request) and got.method == "BYE":
                fixture.reply(got, 200)
                assert 2 < tries < 12
                assert fixture.now == pytest.approx(100 + 68, abs=2.5)
                return
    raise AssertionError("the call was never ended")


def test_a_refresh_that_is_too_brief_for_the_device_is_made_longer() -> None:
    fixture = AgentFixture(TIMER)
    fixture.answered_out()
    fixture.run(50.2)
    fixture.reply(fixture.take("INVITE"), 422, ["Min-SE: 300"])
    fixture.take("ACK")
    fixture.run(0.1)
    again = fixture.take("INVITE")
    assert (again.get("session-expires"), again.get("min-se")) == ("300;refresher=uac", "300")


def test_a_change_of_the_far_side_that_meets_a_422_goes_again() -> None:
    fixture = AgentFixture(TIMER)
    fixture.answered_out()
    body = SDP.replace(b"sendrecv", b"sendonly").replace(b"- 1 1", b"- 1 2")
    fixture.m1.request("INVITE", "sip:gw1", body=body, call_id="s-1", to_tag="devtag", cseq=2, origin="gw2;z9;1")
    fixture.reply(fixture.take("INVITE"), 422, ["Min-SE: 300"])
    fixture.take("ACK")
    again = fixture.take("INVITE")
    assert again.get("session-expires") == "300;refresher=uac" and b"sendonly" in again.body
    fixture.reply(again, 200, [TYPE], SDP)
    fixture.m1.take(100)
    fixture.m1.take(200)


def test_a_change_of_the_device_below_the_least_interval_is_refused() -> None:
    fixture = AgentFixture("session_timer = { expires = 600, min_se = 90 }")
    fixture.request("INVITE", lines=["Supported: timer", "Session-Expires: 3600", "Min-SE: 2400"], body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    assert fixture.take(200).get("session-expires") == "2400;refresher=uac"
    fixture.request("ACK", to_tag="srvtag")
    fixture.m1.take("ACK")
    fixture.request("INVITE", lines=["Supported: timer", "Session-Expires: 60"], body=SDP, to_tag="srvtag", cseq=2)
    assert fixture.take(422).get("min-se") == "90"
    assert not fixture.m1.inbox
    fixture.request("INVITE", lines=["Supported: timer", "Session-Expires: 90"], body=SDP, to_tag="srvtag", cseq=3)
    assert fixture.take(200).get("session-expires") == "90;refresher=uac"


@pytest.mark.parametrize(("ours", "under_way", "at"), [(True, True, 11.0), (True, False, 50.0), (False, True, 68.0)])
def test_a_refresh_that_was_under_way_at_a_death_is_made_again(ours: bool, under_way: bool, at: float) -> None:
    timer = SessionTimer(100, 90, 0.0)
    timer.ours = ours
    if under_way:
        timer.refresh_at = timer.expires_at
    found = SessionTimer.restored(timer.export(5.0), 5.0, 11.0)
    assert found.refresh_at == pytest.approx(at, abs=0.01) or not ours
    assert found.next_at == pytest.approx(at, abs=0.7)
    assert found.expires_at == pytest.approx(timer.expires_at, abs=0.01)
