"""Session-ID (RFC 7989) made for devices on lines without an agent, where these send none."""

from __future__ import annotations

import pytest

from b2bua.state_token import read
from sip.device.session_id import NIL
from tests.b2bua.fake import Peer, Side
from tests.b2bua.fake_agent import AGENTS, ServerFixture
from tests.b2bua.takeover_fixture import SITE_KEY

NAMED = AGENTS.replace('sip:127.0.0.1:5080"\n', 'sip:127.0.0.1:5080"\nsession_id = true\n')
FAR = "ab" * 16


def halves(value: str | None) -> tuple[str, str]:
    own, _, far = (value or "").partition(";remote=")
    return own, far


def begun(text: str) -> tuple[ServerFixture, Peer]:
    fixture = ServerFixture(text)
    return fixture, Peer(fixture.bench, "own", port=5080)


def asks(one: Side, other: Side, method: str) -> str | None:
    one.say(method)
    request = other.take(method)
    other.answer(request, 200)
    return request.get("session-id")


@pytest.mark.parametrize("says", [False, True])
def test_a_call_of_the_device_has_one_and_learns_the_other_half(says: bool) -> None:
    fixture, device = begun(NAMED)
    own = "cd" * 16
    a = device.call("1002", lines=[f"Session-ID: {own};remote={NIL}"] if says else [])
    b = fixture.gw2.called
    invite = b.take("INVITE")
    assert len(invite.all("session-id")) == 1
    half, far = halves(invite.get("session-id"))
    assert (half == own) is says and len(half) == 32 and half != NIL and far == NIL
    assert read(b.token, [SITE_KEY]).session_id == half  # for the record, and for searches
    b.ring(lines=[f"Session-ID: {FAR};remote={half}"])
    b.accept(lines=[f"Session-ID: {FAR};remote={half}"])
    assert [one.get("session-id") for one in a.heard if one.status > 100] == [f"{FAR};remote={half}"] * 2
    a.ack()
    b.take("ACK")
    assert halves(asks(a, b, "INFO")) == (half, FAR)
    assert asks(b, a, "INFO") is None
    assert halves(asks(a, b, "BYE")) == (half, FAR)


def test_a_device_that_is_called_answers_with_one() -> None:
    fixture, device = begun(NAMED)
    a = fixture.gw1.call("9166", lines=[f"Session-ID: {FAR};remote={NIL}"])
    b = device.called
    assert b.take("INVITE").get("session-id") == f"{FAR};remote={NIL}"
    b.ring()
    b.accept()
    said = {one.get("session-id") for one in a.heard if one.status > 100}
    assert len(said) == 1
    half, far = halves(said.pop())
    assert half not in (NIL, FAR) and far == FAR
    a.ack()
    b.take("ACK")
    assert halves(asks(b, a, "INFO")) == (half, FAR)


def test_nothing_is_made_where_nobody_asked_for_it() -> None:
    fixture, device = begun(AGENTS)
    a = device.call("1002")
    b = fixture.gw2.called
    assert b.take("INVITE").get("session-id") is None
    b.accept()
    a.ack()
    b.take("ACK")
    assert asks(a, b, "BYE") is None
