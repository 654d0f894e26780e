"""Two softphones on one wire."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from random import Random

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Line, Policy
from examples.softphone_core import Softphone
from sip.actions import Address, Close, Flow, Open, Send

A, B = ("127.0.0.1", 5060), ("127.0.0.2", 5060)


def place_at(host: str) -> Callable[[Line], Address]:
    return lambda line: (host, 4000)


class Desk:
    """Alice's phone, Bob's phone, a wire without loss, a clock."""

    def __init__(self, policy: Policy | None = None, transport: str = "udp") -> None:
        self.now = 0.0
        self.phones = {
            where: Softphone(f"{where[0]}:5060", where[0].encode(), Random(1), logs=True, place=place_at(where[0]))
            for where in (A, B)
        }
        self.alice = self.phones[A].add_line("alice", B, transport=transport)
        self.bob = self.phones[B].add_line("bob", A, policy=policy, transport=transport)
        self.told: list[tuple[str, str]] = []
        self.duplicate = False

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for here, phone in self.phones.items():
                for action in phone.to_do():
                    busy = True
                    if isinstance(action, Send):
                        back = Flow(action.flow.transport, "in", here)
                        if action.flow.transport == "udp":
                            back = Flow("udp", f"{action.flow.remote[0]}:5060", here)
                        for _ in range(1 + self.duplicate):
                            self.phones[action.flow.remote].receive(action.data, back, self.now)
                    else:
                        assert isinstance(action, Open | Close)
                while (event := phone.next_event()) is not None:
                    self.told.append((event.line.user, event.kind))

    def turn(self, until: float) -> None:
        self.settle()
        while True:
            ats = [at for phone in self.phones.values() if (at := phone.get_timer()) is not None and at <= until]
            if not ats:
                break
            self.now = max(self.now, min(ats))
            for phone in self.phones.values():
                phone.handle_timer(self.now)
            self.settle()
        self.now = until

    def dial_only(self) -> None:
        self.phones[A].call(self.alice, "bob", self.now)
        self.settle()

    def dial(self, delayed: bool = False) -> tuple[Call, Call]:
        call = self.phones[A].call(self.alice, "bob", self.now, delayed=delayed)
        self.settle()
        return call, only(self.bob)


def only(line: Line) -> Call:
    (call,) = line.calls.values()
    return call


def test_a_call_by_policy() -> None:
    desk = Desk(Policy(answer_after=2.0, hang_up_after=3.0))
    call, other = desk.dial()
    desk.turn(10.0)
    assert desk.told == [
        ("bob", "incoming"),
        ("alice", "ringing"),
        ("alice", "answered"),
        ("bob", "acknowledged"),
        ("bob", "ended"),
        ("alice", "ended"),
    ]
    assert (call.answered_at, call.state, other.state) == (2.0, ENDED, ENDED)
    assert call.received_sdp == other.sent_sdp and call.remote_place == ("127.0.0.2", 4000)
    desk.turn(120.0)
    assert not desk.alice.calls and not desk.bob.calls
    for phone in desk.phones.values():
        assert not phone.stack.legs and not phone.stack.clients and not phone.stack.servers


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_hold_resume_digits_and_bye_from_the_called_side(transport: str) -> None:
    desk = Desk(Policy(answer_after=0.0), transport)
    call, other = desk.dial()
    phone = desk.phones[A]
    phone.hold(call, 1.0)
    desk.turn(1.0)
    assert call.held and (call.media_direction, other.media_direction) == ("sendonly", "recvonly")
    assert b"o=alice 0 2 IN" in call.sent_sdp and b"o=bob 0 2 IN" in other.sent_sdp
    phone.resume(call, 2.0)
    desk.turn(2.0)
    assert not call.held and (call.media_direction, other.media_direction) == ("sendrecv", "sendrecv")
    phone.info(call, "5", 2.0)
    desk.settle()
    desk.phones[B].bye(other, 3.0)
    desk.settle()
    assert [word.split()[0] for word in other.heard] == [
        "INVITE",
        "ACK",
        "INVITE",
        "ACK",
        "INVITE",
        "ACK",
        "INFO",
        "200",
    ]
    assert ("bob", "info") in desk.told and desk.told[-1] == ("alice", "ended")


def test_early_media_and_a_delayed_offer() -> None:
    desk = Desk(Policy(early=True, answer_after=1.0))
    call, _ = desk.dial()
    assert call.early_media and call.received_sdp and desk.told[-1] == ("alice", "progress")
    desk.turn(1.0)
    assert call.state is TALKING
    late = Desk(Policy(answer_after=0.0))
    call, other = late.dial(delayed=True)
    assert call.state is TALKING and other.received_sdp == call.sent_sdp and call.received_sdp == other.sent_sdp
    late.phones[A].reoffer(call, 1.0)
    late.settle()
    assert other.heard[-1].startswith("ACK body=") and late.told[-1] == ("bob", "acknowledged")


def test_holding_each_other_at_once_ends_in_both_holding() -> None:
    desk = Desk(Policy(answer_after=0.0))
    call, other = desk.dial()
    desk.phones[A].hold(call, 0.0)
    desk.phones[B].hold(other, 0.0)
    desk.settle()
    assert any(word.startswith("491") for word in call.heard) and any(word.startswith("491") for word in other.heard)
    desk.turn(10.0)
    assert call.held and other.held and (call.media_direction, other.media_direction) == ("inactive", "inactive")


def test_a_change_to_what_is_no_audio_is_refused_and_the_call_goes_on() -> None:
    desk = Desk(Policy(answer_after=0.0))
    call, there = desk.dial()
    desk.turn(0.5)
    fax = call.sent_sdp.partition(b"m=audio")[0] + b"m=image 5000 udptl t38\r\n"
    call.leg.send("INVITE", ("Content-Type: application/sdp",), fax, desk.now, False)
    desk.turn(1.0)
    assert (call.state, there.state) == (TALKING, TALKING) and ("bob", "refused") in desk.told
    assert b"m=audio" in there.received_sdp and ("alice", "unchanged") in desk.told


def test_refused_cancelled_and_rejected() -> None:
    desk = Desk(Policy(refuse=486))
    call, _ = desk.dial()
    assert (call.state, call.status) == (ENDED, 486)
    desk = Desk()
    call, other = desk.dial()
    desk.phones[A].hang_up(call, 1.0)
    desk.settle()
    assert (call.status, other.status) == (487, 487) and ("bob", "cancelled") in desk.told
    desk = Desk()
    call, other = desk.dial()
    desk.phones[B].hang_up(other, 1.0)
    desk.settle()
    assert call.status == 603


def test_repeats_are_logged_but_not_counted() -> None:
    once, twice = Desk(Policy(answer_after=0.5)), Desk(Policy(answer_after=0.5))
    twice.duplicate = True
    for desk in (once, twice):
        call, _ = desk.dial()
        desk.turn(1.0)
        desk.phones[A].bye(call, 1.0)
        desk.turn(100.0)
    assert once.alice.heard == twice.alice.heard and once.bob.heard == twice.bob.heard
    assert twice.bob.log is not None and any(entry.repeated for entry in twice.bob.log)
    assert once.bob.log is not None and not any(entry.repeated for entry in once.bob.log)


def test_a_phone_answers_options_and_knows_no_strangers() -> None:
    desk = Desk()
    desk.phones[A].call(desk.alice, "nobody", 0.0)
    desk.settle()
    assert desk.told == [("alice", "failed")] and desk.alice.heard == {"404 INVITE": 1}


def test_calls_are_cheap() -> None:
    """Less than 6 KB a call, both ends' transactions under way included where they still linger."""
    desk = Desk(Policy(answer_after=0.0))
    for phone in desk.phones.values():
        phone.logs = False
    desk.alice.log = desk.bob.log = None
    for _ in range(20):
        desk.dial_only()
    tracemalloc.start()
    for _ in range(500):
        desk.dial_only()
    desk.turn(40.0)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 500 / 2 < 6000
