"""Their INVITE while it is pending, and our 2xx until its ACK (RFC 3261 sections 13.3.1.4, 14.2, 15.1.2)."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Send
from sip.invite.client_invite import ClientInvite
from sip.invite.server_invite import ServerInvite
from sip.wire.message import Request, Response, parse
from tests.sip.two_stacks import SDP, TwoStacks

UDP = Flow("udp", "127.0.0.1:5002", ("127.0.0.1", 5001))


class Told:
    """Is told that no ACK comes, and wants to be asked again ``later``."""

    def __init__(self, later: float | None = None) -> None:
        self.later = later
        self.asked_at: list[float] = []

    def unacknowledged(self, now: float) -> float | None:
        self.asked_at.append(now)
        return self.later


def asked() -> TwoStacks:
    """``b`` has got an INVITE that is not answered."""
    stacks = TwoStacks()
    stacks.invite()
    return stacks


def answers(stacks: TwoStacks) -> list[tuple[int, str | None]]:
    """What ``b`` sent: statuses, with their Retry-After."""
    found = [parse(action.data) for action in stacks.b.stack.to_do() if isinstance(action, Send)]
    return [(one.status, one.get("retry-after")) for one in found if isinstance(one, Response)]


@pytest.mark.parametrize(
    ("ours", "theirs", "answer"),
    [(False, False, []), (True, False, [491]), (True, True, [491]), (False, True, [500])],
)
def test_a_further_invite_crosses_none(ours: bool, theirs: bool, answer: list[int]) -> None:
    stacks = asked()
    request = stacks.b.asked.request
    assert request is not None
    invite = ServerInvite(stacks.b.stack, UDP)
    if theirs:
        invite.latest = stacks.b.asked
    other = asked().b.asked if theirs else stacks.b.asked
    sent = stacks.a.leg.client_invite if ours else ClientInvite(stacks.b.stack)
    assert invite.take(other, request, sent, 0.0) == (not answer)
    assert (invite.pending is other) == (not answer)


def test_a_bye_concludes_the_one_that_is_pending() -> None:
    stacks = asked()
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.terminate("tb", 0.0)
    assert answers(stacks) == []
    invite.latest = stacks.b.asked
    invite.terminate("tb", 0.0)
    assert answers(stacks) == [(487, None)] and invite.latest is None


def test_a_2xx_is_repeated_until_its_own_ack() -> None:
    stacks, told = asked(), Told()
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.succeeded(stacks.b.asked, b"SIP/2.0 200 OK\r\n\r\n", 7, told, 0.0)
    stacks.b.stack.handle_timer(0.5)
    assert invite.awaits_ack and invite.success_cseq == 7
    assert len(stacks.b.stack.to_do()) == 1
    assert not invite.acknowledged(6) and invite.awaits_ack
    assert invite.acknowledged(7) and not invite.awaits_ack and not invite.acknowledged(7)
    for at in range(1, 60):
        stacks.b.stack.handle_timer(float(at))
    assert stacks.b.stack.to_do() == [] and told.asked_at == []


@pytest.mark.parametrize(("later", "asked_at", "awaits"), [(None, [32.0], False), (40.0, [32.0, 40.0], True)])
def test_who_gave_it_decides_what_a_missing_ack_means(
    later: float | None, asked_at: list[float], awaits: bool
) -> None:
    stacks, told = asked(), Told(later)
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.succeeded(stacks.b.asked, b"SIP/2.0 200 OK\r\n\r\n", 1, told, 0.0)
    for half in range(1, 80):
        stacks.b.stack.handle_timer(half / 2)
    if later:
        told.later = 60.0
        stacks.b.stack.handle_timer(later)
    assert told.asked_at == asked_at and invite.awaits_ack == awaits


def test_one_that_was_sent_before_us_is_awaited_and_never_repeated() -> None:
    stacks = asked()
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.expect_ack()
    invite.moved(UDP)
    stacks.b.stack.handle_timer(100.0)
    assert invite.awaits_ack and answers(stacks) == []
    assert invite.acknowledged(12)  # of whatever INVITE


def test_on_a_new_connection_it_is_given_again() -> None:
    stacks = asked()
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.expect_ack(b"SIP/2.0 200 OK\r\n\r\n", 3)
    other = Flow("tcp", "127.0.0.1:9", ("127.0.0.1", 5001))
    invite.moved(other)
    assert stacks.b.stack.to_do() == [Send(other, b"SIP/2.0 200 OK\r\n\r\n")]
    invite.stop()
    invite.moved(other)
    assert stacks.b.stack.to_do() == []


@pytest.mark.parametrize("ended", [False, True])
def test_a_2xx_is_kept_for_repeats_of_the_invite_until_its_own_ack(ended: bool) -> None:
    """Between agent and server its transaction gives it again, until it is known to have come; also when the leg has
    ended before that."""
    stacks = asked()
    transaction = stacks.b.asked
    transaction.last = b"SIP/2.0 200 OK\r\n\r\n"
    invite = ServerInvite(stacks.b.stack, UDP)
    invite.succeeded(transaction, transaction.last, 7, None, 0.0)
    if ended:
        invite.stop()
    assert not invite.acknowledged(6) and transaction.last
    assert invite.acknowledged(7) != ended and bool(transaction.last) == ended


def test_the_end_of_a_leg_leaves_nobody_to_be_told() -> None:
    stacks = asked()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.settle()
    stacks.b.leg.end()
    stacks.turn(100.0)
    assert len(stacks.sent("b", "200")) == 1 and "unacknowledged" not in stacks.b.heard
    assert not isinstance(stacks.b.last, Request) or stacks.b.last.method == "INVITE"
