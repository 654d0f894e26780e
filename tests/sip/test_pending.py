"""What a leg has under way: its transactions say so, and nothing is left of one that is gone, however it went."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from sip.actions import Flow, Send
from sip.invite import InviteUsage
from sip.wire.message import Request, parse
from tests.sip.two_stacks import SDP, TYPE, End, TwoStacks


class Sequence:
    """One call, to whose re-INVITEs anything may happen."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.stacks = TwoStacks(self.random.choice(("udp", "tcp")))
        for end in (self.stacks.a, self.stacks.b):
            end.no_timeout = self.random.random() < 0.3
        self.stacks.talk()

    def run(self) -> None:
        acts: list[Callable[[End], None]] = [
            self._ask,
            self._ask,
            self._answer,
            self._answer,
            self._cancel,
            self._abandon,
            self._lose,
            self._time,
            self._cut,
        ]
        for _ in range(40):
            self.random.choice(acts)(self.random.choice((self.stacks.a, self.stacks.b)))
            if self.random.random() < 0.7:
                self.stacks.settle()
            self.check()

    def check(self) -> None:
        """What is said to be under way is a transaction that its stack knows and that is still open."""
        for end in (self.stacks.a, self.stacks.b):
            pending_client_invite, invite = end.leg.client_invite.pending, end.leg.server_invite.pending
            if pending_client_invite is not None:
                assert (
                    end.stack.clients.get(pending_client_invite.key) is pending_client_invite
                    and not pending_client_invite.answered
                )
            if invite is not None:
                assert end.stack.servers.get(invite.key) is invite and invite.open

    def _ask(self, end: End) -> None:
        leg = end.leg
        if leg.client_invite.pending is None and leg.server_invite.pending is None:
            leg.send("INVITE", (TYPE,), SDP, self.stacks.now)
        else:
            leg.send("INFO", (), b"", self.stacks.now)

    def _answer(self, end: End) -> None:
        asked = end.leg.server_invite.pending or end.server
        if asked is not None:
            end.leg.reply(asked, self.random.choice((100, 180, 200, 200, 487, 491, 500)), self.stacks.now)

    def _cancel(self, end: End) -> None:
        end.leg.cancel(self.stacks.now)

    def _abandon(self, end: End) -> None:
        one = self.random.choice((end.leg.client_invite.pending, end.leg.server_invite.pending))
        if one is not None:
            one.terminate()

    def _lose(self, end: End) -> None:
        end.stack.transactions.remove_flow(end.leg.flow)

    def _time(self, end: End) -> None:
        self.stacks.turn(self.stacks.now + self.random.choice((0.1, 3.0, 40.0)))

    def _cut(self, end: End) -> None:
        self.stacks.cut = not self.stacks.cut


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_nothing_is_under_way_without_a_transaction(first: int) -> None:
    for seed in range(first, first + 20):
        Sequence(seed).run()


@pytest.mark.parametrize("how", ["abandoned", "flow forgotten"])
def test_a_leg_whose_transaction_vanished_can_ask_and_be_asked_again(how: str) -> None:
    stacks = TwoStacks("tcp")
    stacks.talk()
    a, b = stacks.a.leg, stacks.b.leg
    a.send("INVITE", (TYPE,), SDP, 0.0)
    stacks.settle()
    assert a.client_invite.pending is not None and b.server_invite.pending is not None
    if how == "abandoned":
        a.client_invite.pending.terminate()
        b.server_invite.pending.terminate()
    else:
        stacks.a.stack.transactions.remove_flow(a.flow)
        stacks.b.stack.transactions.remove_flow(b.flow)
    assert a.client_invite.pending is None and b.server_invite.pending is None
    stacks.a.take(), stacks.b.take()
    for asks, one, other in ((b, stacks.b, stacks.a), (a, stacks.a, stacks.b)):
        asks.send("INVITE", (TYPE,), SDP, 0.0)
        stacks.settle()
        other.leg.reply(other.asked, 200, 0.0)
        stacks.settle()
        assert other.take() == ["INVITE"] and one.take() == ["200"]
        asks.acknowledge((), b"", 0.0)
        stacks.settle()
        assert other.take() == ["ACK"]


def test_what_a_leg_sends_by_itself_carries_what_the_hop_wants() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 180, 0.0)
    stacks.settle()
    leg.cancel(0.0, ("Reason: SIP;cause=200",))
    stacks.settle()
    cancel = next(one for _, _, one in stacks.wire if isinstance(one, Request) and one.method == "CANCEL")
    assert cancel.get("x-hop") == "CANCEL" and cancel.get("reason") == "SIP;cause=200"


def test_so_do_the_ack_and_the_bye_to_another_branch_of_a_fork() -> None:
    stacks = TwoStacks()
    stacks.invite()
    fork = stacks.b.stack.response(stacks.b.asked.request or Request("", "", [], []), 200, tag="fork")
    stacks.answer()
    stacks.a.stack.receive(fork, stacks.a.flow_to(stacks.b), 0.0)
    sent = [parse(action.data) for action in stacks.a.stack.to_do() if isinstance(action, Send)]
    assert [one.get("x-hop") for one in sent] == ["ACK", "BYE"]


def test_an_owner_may_wait_longer_for_an_ack() -> None:
    stacks = TwoStacks("tcp")
    stacks.invite()
    stacks.b.patience = 10.0
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, lines=(TYPE,), body=SDP)
    stacks.settle()
    leg: InviteUsage = stacks.b.leg
    stacks.turn(32.5)
    assert stacks.b.take() == ["INVITE", "unacknowledged"] and leg.server_invite.awaits_ack
    stacks.turn(42.5)
    assert stacks.b.take() == ["unacknowledged"] and leg.server_invite.awaits_ack
    leg.moved(Flow("tcp", stacks.b.local, ("127.0.0.1", 5001)))  # the path is there again, so the 2xx is given again
    stacks.a.leg.acknowledge((), b"", 42.5)
    stacks.settle()
    assert stacks.b.take() == ["ACK"] and not leg.server_invite.awaits_ack
    stacks.turn(100.0)
    assert stacks.b.take() == []
