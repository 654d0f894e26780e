"""The four machines of RFC 3261 section 17 and RFC 6026, instant by instant."""

from __future__ import annotations

from typing import Any

import pytest

from sip.actions import Flow
from sip.timers import Deadlines, Timers
from sip.transaction import (
    ACCEPTED,
    ACK,
    COMPLETED,
    CONFIRMED,
    PROCEEDING,
    TERMINATED,
    ClientTransaction,
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    ServerTransaction,
    Transaction,
)
from sip.wire.message import Request, Response, parse

UDP = Flow("udp", "127.0.0.1:5060", ("127.0.0.2", 5060))
TCP = Flow("tcp", "c1", ("127.0.0.2", 5060))


def head(first: str, method: str) -> bytes:
    return (
        f"{first}\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\nRoute: <sip:127.0.0.9;lr>\r\n"
        f"From: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\nCall-ID: c@x\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def request(method: str) -> bytes:
    return head(f"{method} sip:b@x SIP/2.0", method)


def response(status: int, method: str) -> Response:
    data = head(f"SIP/2.0 {status} Some", method).replace(b"To: <sip:b@x>", b"To: <sip:b@x>;tag=t")
    message = parse(data)
    assert isinstance(message, Response)
    return message


class Below:
    """Layer, user and clock in one: it notes what is sent, told and forgotten, and when."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.deadlines = Deadlines()
        self.now = 0.0
        self.sent: list[tuple[float, bytes]] = []
        self.told: list[tuple[float, int]] = []
        self.forgotten: list[float] = []

    def send(self, flow: Flow, data: bytes) -> None:
        self.sent.append((self.now, data))

    def remove(self, transaction: Any) -> None:
        self.forgotten.append(self.now)

    def responded(self, transaction: ClientTransaction, answer: Response, now: float) -> None:
        self.told.append((now, answer.status))

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.told.append((now, 408))

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        self.told.append((now, -1))

    def turn(self, until: float) -> None:
        while (at := self.deadlines.next()) is not None and at <= until:
            self.now = at
            self.deadlines.fire(at)
        self.now = until

    @property
    def sendings(self) -> list[float]:
        return [at for at, _ in self.sent]


def client(
    below: Below, method: str, flow: Flow = UDP, kept: bool = False, no_timeout: bool = False
) -> ClientTransaction:
    kind = InviteClient if method == "INVITE" else NonInviteClient
    made = kind(below, "k", flow, method, "z9hG4bK1", request(method), below, None, kept, no_timeout)
    made.start(below.now)
    return made


def server(below: Below, method: str, flow: Flow = UDP, kept: bool = False) -> ServerTransaction:
    message = parse(request(method))
    assert isinstance(message, Request)
    kind = InviteServer if method == "INVITE" else NonInviteServer
    made = kind(below, "k", flow, message, kept)
    made.user = below
    return made


# -- figure 5: INVITE client ---------------------------------------------------------------------------------------


def test_timer_a_doubles_until_timer_b() -> None:
    below = Below()
    client(below, "INVITE")
    below.turn(100.0)
    assert below.sendings == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert below.told == [(32.0, 408)] and below.forgotten == [32.0]


def test_an_invite_on_a_stream_is_sent_once_and_times_out_all_the_same() -> None:
    below = Below()
    client(below, "INVITE", TCP)
    below.turn(100.0)
    assert below.sendings == [0.0] and below.told == [(32.0, 408)]


def test_an_invite_without_timeout_waits_for_ever() -> None:
    below = Below()
    client(below, "INVITE", TCP, kept=True, no_timeout=True)
    below.turn(10_000.0)
    assert below.told == [] and below.forgotten == []


def test_a_provisional_response_stops_timers_a_and_b() -> None:
    below = Below()
    invite = client(below, "INVITE")
    below.turn(1.0)
    invite.receive(response(180, "INVITE"), below.now)
    below.turn(500.0)
    assert below.sendings == [0.0, 0.5] and below.told == [(1.0, 180)] and invite.state == PROCEEDING
    invite.receive(response(183, "INVITE"), below.now)
    assert below.told[-1] == (500.0, 183)


@pytest.mark.parametrize("flow, kept, lingers", [(UDP, False, 32.0), (TCP, False, 0.0), (TCP, True, 32.0)])
def test_a_failure_is_acknowledged_by_the_transaction_and_absorbed_for_timer_d(
    flow: Flow, kept: bool, lingers: float
) -> None:
    below = Below()
    invite = client(below, "INVITE", flow, kept)
    invite.receive(response(486, "INVITE"), 0.0)
    ack = below.sent[-1][1]
    assert ack.startswith(b"ACK sip:b@x SIP/2.0\r\n") and b"branch=z9hG4bK1\r\n" in ack  # section 17.1.1.3
    assert b"To: <sip:b@x>;tag=t\r\n" in ack and b"CSeq: 7 ACK\r\n" in ack and b"Route: <sip:127.0.0.9;lr>" in ack
    if lingers:
        below.turn(10.0)
        invite.receive(response(486, "INVITE"), 10.0)
        assert below.sent[-1] == (10.0, ack)
    below.turn(100.0)
    assert below.told == [(0.0, 486)] and below.forgotten == [lingers]


def test_a_success_is_passed_up_each_time_until_timer_m() -> None:
    below = Below()
    invite = client(below, "INVITE")
    invite.receive(response(200, "INVITE"), 0.0)
    below.turn(5.0)
    invite.receive(response(200, "INVITE"), 5.0)
    invite.receive(response(180, "INVITE"), 5.0)
    invite.receive(response(486, "INVITE"), 5.0)
    assert invite.state == ACCEPTED and below.told == [(0.0, 200), (5.0, 200)] and below.sendings == [0.0]
    below.turn(100.0)
    assert below.forgotten == [32.0] and invite.state == TERMINATED


# -- figure 6: non-INVITE client -----------------------------------------------------------------------------------


def test_timer_e_doubles_up_to_t2_until_timer_f() -> None:
    below = Below()
    client(below, "OPTIONS")
    below.turn(100.0)
    assert below.sendings == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert below.told == [(32.0, 408)] and below.forgotten == [32.0]


def test_a_provisional_response_slows_timer_e_and_leaves_timer_f() -> None:
    """Section 17.1.2.2: in Proceeding E is reset to T2 when it fires, and F still ends 64*T1 after the start."""
    below = Below()
    options = client(below, "OPTIONS")
    below.turn(1.0)
    options.receive(response(100, "OPTIONS"), 1.0)
    below.turn(100.0)
    assert below.sendings == [0.0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert below.told == [(1.0, 100), (32.0, 408)]


@pytest.mark.parametrize("flow, kept, lingers", [(UDP, False, 5.0), (TCP, False, 0.0), (TCP, True, 5.0)])
def test_timer_k_absorbs_repeated_answers(flow: Flow, kept: bool, lingers: float) -> None:
    below = Below()
    options = client(below, "OPTIONS", flow, kept)
    options.receive(response(200, "OPTIONS"), 0.0)
    if lingers:
        options.receive(response(200, "OPTIONS"), 0.0)
    below.turn(100.0)
    assert below.told == [(0.0, 200)] and below.forgotten == [lingers] and below.sendings == [0.0]


def test_a_request_without_an_answer_goes_again_on_a_new_connection() -> None:
    below = Below()
    info = client(below, "INFO", TCP, kept=True, no_timeout=True)
    again = TCP._replace(local="c2")
    info.resend(again)
    assert len(below.sent) == 2 and info.flow == again and not info.answered
    info.receive(response(200, "INFO"), 0.0)
    info.resend(TCP)
    assert len(below.sent) == 2 and info.answered


# -- figure 7: INVITE server ---------------------------------------------------------------------------------------


def test_timer_g_repeats_a_failure_until_timer_h() -> None:
    below = Below()
    invite = server(below, "INVITE")
    invite.respond(486, b"486", 0.0)
    below.turn(100.0)
    assert below.sendings == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert below.told == [(32.0, -1)] and below.forgotten == [32.0]


def test_an_ack_ends_timer_g_and_timer_i_absorbs_its_repeats() -> None:
    below = Below()
    invite = server(below, "INVITE")
    invite.respond(486, b"486", 0.0)
    below.turn(0.6)
    invite.step(ACK, None, 0.6)
    assert invite.state == CONFIRMED
    invite.step(ACK, None, 0.7)
    invite.repeat(0.8)
    below.turn(100.0)
    assert below.sendings == [0.0, 0.5] and below.told == []
    assert below.forgotten == [5.75]  # 5.6, taken together with what else ends in that quarter of a second


def test_on_a_stream_a_failure_is_sent_once_and_timer_i_is_zero() -> None:
    below = Below()
    invite = server(below, "INVITE", TCP)
    invite.respond(486, b"486", 0.0)
    below.turn(3.0)
    invite.step(ACK, None, 3.0)
    assert below.sendings == [0.0] and below.forgotten == [3.0]


def test_between_agent_and_server_a_refusal_is_given_again_though_it_was_acknowledged() -> None:
    """An agent may have died with it, before its device heard of it."""
    below = Below()
    invite = server(below, "INVITE", TCP, kept=True)
    invite.respond(486, b"486", 0.0)
    invite.step(ACK, None, 0.1)
    invite.repeat(0.2)
    assert [data for _, data in below.sent] == [b"486", b"486"] and invite.state == CONFIRMED


def test_a_repeated_invite_gets_the_last_provisional_response() -> None:
    below = Below()
    invite = server(below, "INVITE")
    invite.repeat(0.0)
    assert below.sent == []
    invite.respond(100, b"100", 0.0)
    invite.respond(180, b"180", 0.0)
    invite.repeat(0.0)
    assert [data for _, data in below.sent] == [b"100", b"180", b"180"]


def test_after_a_success_the_transaction_absorbs_invites_until_timer_l() -> None:
    below = Below()
    invite = server(below, "INVITE")
    invite.respond(200, b"200", 0.0)
    invite.repeat(1.0)
    invite.respond(200, b"200", 1.0)  # RFC 6026 section 7.1: what the user repeats passes
    invite.respond(486, b"486", 1.0)
    assert [data for _, data in below.sent] == [b"200", b"200"] and invite.state == ACCEPTED
    below.turn(100.0)
    assert below.forgotten == [32.0] and below.told == []


def test_between_agent_and_server_a_replayed_invite_gets_its_success_again() -> None:
    below = Below()
    invite = server(below, "INVITE", TCP, kept=True)
    invite.respond(200, b"200", 0.0)
    below.turn(1.0)
    invite.repeat(1.0)
    assert below.sent == [(0.0, b"200"), (1.0, b"200")] and invite.state == ACCEPTED


# -- figure 8: non-INVITE server -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flow, kept, lingers", [(UDP, False, 32.0), (TCP, False, 0.0), (TCP, True, 32.0)])
def test_timer_j_gives_the_final_answer_again(flow: Flow, kept: bool, lingers: float) -> None:
    below = Below()
    bye = server(below, "BYE", flow, kept)
    bye.repeat(0.0)
    bye.respond(100, b"100", 0.0)
    bye.repeat(0.0)
    bye.respond(200, b"200", 0.0)
    if lingers:
        bye.repeat(0.0)
        bye.respond(500, b"500", 0.0)
        assert bye.state == COMPLETED
    below.turn(100.0)
    assert [data for _, data in below.sent] == [b"100", b"100", b"200"] + [b"200"] * bool(lingers)
    assert below.forgotten == [lingers]


# -- all ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [InviteClient, NonInviteClient, InviteServer, NonInviteServer])
def test_every_state_can_be_reached_and_left_for_the_end(kind: type[Transaction]) -> None:
    edges = {(before, after) for (before, _), (after, _) in kind.TABLE.items()}
    reached = {"calling" if kind is InviteClient else "trying" if "Non" in kind.__name__ else PROCEEDING}
    while more := {after for before, after in edges if before in reached} - reached:
        reached |= more
    assert reached == {state for edge in edges for state in edge}
    assert TERMINATED in reached and TERMINATED not in {before for before, _ in edges}
