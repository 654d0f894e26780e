"""Our INVITE while it is pending, and how it is given up (RFC 3261 section 9.1)."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Send
from sip.invite.client_invite import ClientInvite, IgnoredResponses
from sip.layer import Stack
from sip.transaction import ClientTransaction
from sip.wire.message import Response, parse
from tests.sip.two_stacks import End

UDP = Flow("udp", "127.0.0.1:5001", ("127.0.0.1", 5002))


def sent(stack: Stack, number: int = 1) -> ClientTransaction:
    """An INVITE that was just sent."""
    branch = stack.branch()
    head = ("sip:b@x", "From: <sip:a@x>;tag=ta", "To: <sip:b@x>", "Call-ID: c", f"CSeq: {number} INVITE")
    data = "\r\n".join((f"INVITE {head[0]} SIP/2.0", stack.via(UDP, branch), *head[1:], "Content-Length: 0", "", ""))
    return stack.request("INVITE", data.encode(), branch, UDP, IgnoredResponses(), 0.0)


def respond(stack: Stack, invite: ClientTransaction, status: int) -> None:
    request = parse(invite.request)
    head = [f"SIP/2.0 {status} X", *(f"{name}: {request.get(name)}" for name in ("via", "from", "call-id", "cseq"))]
    stack.receive("\r\n".join((*head, "To: <sip:b@x>;tag=tb", "Content-Length: 0", "", "")).encode(), UDP, 0.0)


def words(stack: Stack) -> list[str]:
    return [action.data.partition(b" ")[0].decode() for action in stack.to_do() if isinstance(action, Send)]


@pytest.mark.parametrize(("status", "is_pending"), [(0, True), (100, True), (180, True), (200, False), (486, False)])
def test_it_is_pending_until_its_final_answer(status: int, is_pending: bool) -> None:
    stack = End("a", 5001).stack
    ours = ClientInvite(stack)
    assert ours.pending is None
    invite = sent(stack)
    ours.opened(invite, 0.0, 0.0)
    if status:
        respond(stack, invite, status)
    assert ours.pending is (invite if is_pending else None)
    ours.settle()
    assert ours.latest is (invite if is_pending else None)


def test_its_cancel_waits_until_it_is_allowed_and_goes_out_once() -> None:
    stack = End("a", 5001).stack
    ours = ClientInvite(stack)
    assert not ours.give_up((), 0.0) and not ours.cancelling
    invite = sent(stack)
    ours.opened(invite, 0.0, 0.0)
    assert not ours.give_up(("Reason: SIP;cause=200",), 0.0) and ours.owes_cancel
    respond(stack, invite, 180)
    words(stack)
    ours.send_cancel(("X-Hop: 1",), 0.0)
    (cancel,) = [parse(action.data) for action in stack.to_do() if isinstance(action, Send)]
    assert (cancel.get("x-hop"), cancel.get("reason"), cancel.branch) == ("1", "SIP;cause=200", invite.branch)
    assert ours.cancelling and not ours.owes_cancel and not ours.give_up((), 0.0)


def test_one_that_has_a_provisional_response_is_cancelled_at_once() -> None:
    stack = End("a", 5001).stack
    ours = ClientInvite(stack)
    invite = sent(stack)
    ours.opened(invite, 0.0, 0.0)
    respond(stack, invite, 180)
    assert ours.give_up((), 0.0)


def test_a_further_one_is_not_given_up_with_the_one_before() -> None:
    stack = End("a", 5001).stack
    ours = ClientInvite(stack)
    ours.opened(sent(stack), 0.0, 0.0)
    ours.give_up((), 0.0)
    ours.changing(sent(stack, 2), True)
    assert not ours.cancelling and not ours.owes_cancel and ours.offered


class Told:
    """Hears of silence."""

    def __init__(self) -> None:
        self.silent_at: list[float] = []

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        raise AssertionError("nobody answers here")

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        assert not transaction.answered
        self.silent_at.append(now)


@pytest.mark.parametrize(("early", "silences"), [(True, 2), (False, 1)])
def test_the_first_one_has_so_long_for_a_word_and_as_long_again_when_it_goes_on(early: bool, silences: int) -> None:
    stack, told = End("a", 5001).stack, Told()
    ours = ClientInvite(stack)
    for number in (1, 2):
        invite = sent(stack, number)
        invite.user = told
        if number == 1:
            ours.opened(invite, 2.0, 0.0)
        else:
            ours.went_on(invite, early, 0.0)
    assert ours.pending is invite
    stack.handle_timer(2.0)
    assert told.silent_at == [2.0] * silences


def test_what_is_answered_to_a_cancel_changes_nothing() -> None:
    unheard = IgnoredResponses()
    stack = End("a", 5001).stack
    invite = sent(stack)
    unheard.timed_out(invite, 0.0)
    unheard.responded(invite, Response(200, "OK", [], []), 0.0)
    assert not invite.answered


def test_one_that_still_waits_for_its_next_hop_is_taken_back_without_a_word() -> None:
    stack = End("a", 5001).stack
    ours = ClientInvite(stack)
    waiting = stack.prepare("INVITE", stack.branch(), UDP, IgnoredResponses())
    ours.opened(waiting, 0.0, 0.0)
    assert not ours.give_up((), 0.0) and ours.pending is None
    stack.begin(waiting, UDP, b"INVITE sip:b@x SIP/2.0\r\n\r\n", 0.0)
    assert words(stack) == []
