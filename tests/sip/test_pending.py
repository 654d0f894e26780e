"""What a leg has under way: its transactions say so, and nothing is left of one that is gone, however it went."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from sip.actions import Flow, Send
from sip.invite import InviteUsage
from sip.wire.message import Request, parse
from tests.sip.pair import SDP, TYPE, End, Pair


class Sequence:
    """One call, to whose re-INVITEs anything may happen."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pair = Pair(self.random.choice(("udp", "tcp")))
        self.pair.talk()
        for end in (self.pair.a, self.pair.b):
            end.leg.no_timeout = self.random.random() < 0.3

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
            self.random.choice(acts)(self.random.choice((self.pair.a, self.pair.b)))
            if self.random.random() < 0.7:
                self.pair.settle()
            self.check()

    def check(self) -> None:
        """What is said to be under way is a transaction that its stack knows and that is still open."""
        for end in (self.pair.a, self.pair.b):
            pending_client_invite, invite = end.leg.pending_client_invite, end.leg.pending_server_invite
            if pending_client_invite is not None:
                assert (
                    end.stack.clients.get(pending_client_invite.key) is pending_client_invite
                    and not pending_client_invite.answered
                )
            if invite is not None:
                assert end.stack.servers.get(invite.key) is invite and invite.open

    def _ask(self, end: End) -> None:
        leg = end.leg
        if leg.pending_client_invite is None and leg.pending_server_invite is None:
            leg.send("INVITE", (TYPE,), SDP, self.pair.now)
        else:
            leg.send("INFO", (), b"", self.pair.now)

    def _answer(self, end: End) -> None:
        asked = end.leg.pending_server_invite or end.server
        if asked is not None:
            end.leg.reply(asked, self.random.choice((100, 180, 200, 200, 487, 491, 500)), self.pair.now)

    def _cancel(self, end: End) -> None:
        end.leg.cancel(self.pair.now)

    def _abandon(self, end: End) -> None:
        one = self.random.choice((end.leg.pending_client_invite, end.leg.pending_server_invite))
        if one is not None:
            one.abandon()

    def _lose(self, end: End) -> None:
        end.stack.transactions.forget_flow(end.leg.flow)

    def _time(self, end: End) -> None:
        self.pair.turn(self.pair.now + self.random.choice((0.1, 3.0, 40.0)))

    def _cut(self, end: End) -> None:
        self.pair.cut = not self.pair.cut


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_nothing_is_under_way_without_a_transaction(first: int) -> None:
    for seed in range(first, first + 20):
        Sequence(seed).run()


@pytest.mark.parametrize("how", ["abandoned", "flow forgotten"])
def test_a_leg_whose_transaction_vanished_can_ask_and_be_asked_again(how: str) -> None:
    pair = Pair("tcp")
    pair.talk()
    a, b = pair.a.leg, pair.b.leg
    a.send("INVITE", (TYPE,), SDP, 0.0)
    pair.settle()
    assert a.pending_client_invite is not None and b.pending_server_invite is not None
    if how == "abandoned":
        a.pending_client_invite.abandon()
        b.pending_server_invite.abandon()
    else:
        pair.a.stack.transactions.forget_flow(a.flow)
        pair.b.stack.transactions.forget_flow(b.flow)
    assert a.pending_client_invite is None and b.pending_server_invite is None
    pair.a.take(), pair.b.take()
    for asks, one, other in ((b, pair.b, pair.a), (a, pair.a, pair.b)):
        asks.send("INVITE", (TYPE,), SDP, 0.0)
        pair.settle()
        other.leg.reply(other.asked, 200, 0.0)
        pair.settle()
        assert other.take() == ["INVITE"] and one.take() == ["200"]
        asks.acknowledge((), b"", 0.0)
        pair.settle()
        assert other.take() == ["ACK"]


def test_what_a_leg_sends_by_itself_carries_what_the_hop_wants() -> None:
    pair = Pair()
    leg = pair.invite()
    pair.b.leg.reply(pair.b.asked, 180, 0.0)
    pair.settle()
    leg.cancel(0.0, ("Reason: SIP;cause=200",))
    pair.settle()
    cancel = next(one for _, _, one in pair.wire if isinstance(one, Request) and one.method == "CANCEL")
    assert cancel.get("x-hop") == "CANCEL" and cancel.get("reason") == "SIP;cause=200"


def test_so_do_the_ack_and_the_bye_to_another_branch_of_a_fork() -> None:
    pair = Pair()
    pair.invite()
    fork = pair.b.stack.response(pair.b.asked.request or Request("", "", [], []), 200, tag="fork")
    pair.answer()
    pair.a.stack.receive(fork, pair.a.flow_to(pair.b), 0.0)
    sent = [parse(action.data) for action in pair.a.stack.to_do() if isinstance(action, Send)]
    assert [one.get("x-hop") for one in sent] == ["ACK", "BYE"]


def test_an_owner_may_wait_longer_for_an_ack() -> None:
    pair = Pair("tcp")
    pair.invite()
    pair.b.patience = 10.0
    pair.b.leg.reply(pair.b.asked, 200, 0.0, lines=(TYPE,), body=SDP)
    pair.settle()
    leg: InviteUsage = pair.b.leg
    pair.turn(32.5)
    assert pair.b.take() == ["INVITE", "unacknowledged"] and leg.success.awaited
    pair.turn(42.5)
    assert pair.b.take() == ["unacknowledged"] and leg.success.awaited
    leg.moved(Flow("tcp", pair.b.local, ("127.0.0.1", 5001)))  # the path is there again, so the 2xx is given again
    pair.a.leg.acknowledge((), b"", 42.5)
    pair.settle()
    assert pair.b.take() == ["ACK"] and not leg.success.awaited
    pair.turn(100.0)
    assert pair.b.take() == []
