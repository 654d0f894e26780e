"""The transactions that are under way: sent below, ended, moved to a repeat's key, failed with their flow."""

from __future__ import annotations

import pytest

from sip.actions import Action, Flow, Send
from sip.timers import Deadlines, Timers
from sip.transaction import (
    CALLING,
    PROCEEDING,
    TERMINATED,
    ClientTransaction,
    InviteClient,
    InviteServer,
    ServerTransaction,
)
from sip.transaction_table import TransactionTable
from sip.wire.message import Request, Response, parse

UDP = Flow("udp", "127.0.0.1:5060", ("127.0.0.2", 5060))
TCP = Flow("tcp", "c1", ("127.0.0.2", 5060))
OTHER = Flow("tcp", "c2", ("127.0.0.2", 5060))


def head(first: str, cseq: int = 1) -> bytes:
    return (
        f"{first}\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\n"
        f"To: <sip:b@x>\r\nCall-ID: c@x\r\nCSeq: {cseq} INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def invite(cseq: int = 1) -> Request:
    message = parse(head("INVITE sip:b@x SIP/2.0", cseq))
    assert isinstance(message, Request)
    return message


class User:
    """It notes the answers that it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.told.append(response.status)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.told.append(408)

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        raise AssertionError("nothing was answered here")


class Fixture:
    def __init__(self) -> None:
        self.out: list[Action] = []
        self.table = TransactionTable(Timers(), Deadlines(), self.out)
        self.user = User()

    def client(self, key: str, flow: Flow) -> ClientTransaction:
        made = InviteClient(self.table, key, flow, "INVITE", key, invite().to_bytes(), self.user, None, False, False)
        self.table.clients[key] = made
        made.start(0.0)
        return made

    def server(self, key: str, flow: Flow, request_id: str = "") -> ServerTransaction:
        made = InviteServer(self.table, key, flow, invite())
        made.user = self.user
        self.table.servers[key] = made
        if request_id:
            made.request_id = request_id
            self.table.invites[request_id] = made
        return made


def test_what_is_sent_goes_into_the_list_of_what_is_to_be_done() -> None:
    fixture = Fixture()
    fixture.table.send(TCP, b"x")
    assert fixture.out == [Send(TCP, b"x")]


def test_an_end_takes_a_transaction_out_of_every_table() -> None:
    fixture = Fixture()
    client, server = fixture.client("k", UDP), fixture.server("s", UDP, "id")
    fixture.table.remove(client)
    assert not fixture.table.clients and fixture.table.servers
    fixture.table.remove(server)
    assert not fixture.table.servers and not fixture.table.invites


def test_another_one_that_took_its_place_stays() -> None:
    fixture = Fixture()
    client, server = fixture.client("k", UDP), fixture.server("s", UDP, "id")
    later, next_one = fixture.client("k", UDP), fixture.server("s", UDP, "id")
    fixture.table.remove(client)
    fixture.table.remove(server)
    assert fixture.table.clients == {"k": later} and fixture.table.servers == {"s": next_one}
    assert fixture.table.invites == {"id": next_one}


def test_all_of_a_flow_are_forgotten_and_nobody_is_told() -> None:
    fixture = Fixture()
    gone = [fixture.client("k", TCP), fixture.server("s", TCP, "id")]
    left = [fixture.client("k2", OTHER), fixture.server("s2", OTHER)]
    fixture.out.clear()
    fixture.table.remove_flow(TCP)
    assert {each.state for each in gone} == {TERMINATED} and not fixture.user.told and not fixture.out
    assert [*fixture.table.clients.values(), *fixture.table.servers.values()] == left and not fixture.table.invites


def test_a_request_under_another_branch_goes_on_in_the_place_of_the_former() -> None:
    fixture = Fixture()
    first, repeat = fixture.server("s", TCP, "id"), InviteServer(fixture.table, "again", OTHER, invite(2))
    first.respond(180, b"180", 0.0)
    generation = first.generation
    repeat.state = "as the repeat's"
    fixture.table.repeated(first, repeat)
    assert fixture.table.servers == {"again": first} and not fixture.table.invites
    assert (first.key, first.flow, first.state) == ("again", OTHER, "as the repeat's")
    assert first.request is repeat.request
    assert first.last == b"", "what was said on the former branch is of no use on this one"
    assert first.generation == generation + 1, "deadlines of the former one are void"


@pytest.mark.parametrize(
    ("flow", "state", "fails"),
    [(TCP, CALLING, True), (TCP, PROCEEDING, True), (UDP, CALLING, True), (UDP, PROCEEDING, False)],
)
def test_what_waits_on_a_flow_that_broke_has_failed(flow: Flow, state: str, fails: bool) -> None:
    """Over UDP only before any response: an ICMP error may be forged, or late."""
    fixture = Fixture()
    client = fixture.client("k", flow)
    if state == PROCEEDING:
        message = parse(head("SIP/2.0 180 Ringing"))
        assert isinstance(message, Response)
        client.receive(message, 0.1)
    bystander = fixture.client("other", OTHER)
    before = len(fixture.user.told)
    fixture.table.transport_failed(flow, 1.0)
    assert (client.state == TERMINATED) is fails and (len(fixture.user.told) > before) is fails
    assert bystander.state == CALLING


def test_one_that_was_answered_fails_no_more() -> None:
    fixture = Fixture()
    client = fixture.client("k", TCP)
    message = parse(head("SIP/2.0 200 OK"))
    assert isinstance(message, Response)
    client.receive(message, 0.1)
    fixture.table.transport_failed(TCP, 1.0)
    assert fixture.user.told == [200]
