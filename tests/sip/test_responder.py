"""Responses: what each takes over from its request, where it goes, how many a stranger gets."""

from __future__ import annotations

from collections import Counter

import pytest

from sip.actions import Action, Flow, Send
from sip.identifiers import Identifiers
from sip.overload.address_limit import AT_ONCE
from sip.responder import Responder, answer_flow
from sip.timers import Deadlines, Timers
from sip.transaction import NonInviteServer
from sip.transaction_table import TransactionTable
from sip.wire.headers import stamp_received
from sip.wire.message import Request, Response, parse

UDP = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
TCP = Flow("tcp", "in1", ("127.0.0.7", 40000))
VIA = "SIP/2.0/UDP 127.0.0.7:5099;branch=z9hG4bK1"


def request(method: str = "OPTIONS", via: str = VIA, to: str = "<sip:b@x>", more: str = "") -> Request:
    text = (
        f"{method} sip:b@x SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK0\r\n"
        f"Record-Route: <sip:10.0.0.9;lr>\r\nTimestamp: 54\r\nSubject: theirs\r\nFrom: <sip:a@x>;tag=f\r\n"
        f"To: {to}\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


class Fixture:
    def __init__(self) -> None:
        self.out: list[Action] = []
        self.counters: Counter[str] = Counter()
        self.responder = Responder(Identifiers(b"s" * 32), self.out, self.counters)
        self.table = TransactionTable(Timers(), Deadlines(), self.out)

    def transaction(self, asked: Request, flow: Flow = UDP, on_site_flow: bool = False) -> NonInviteServer:
        made = NonInviteServer(self.table, "k", flow, asked, on_site_flow)
        self.table.servers["k"] = made
        return made

    def sent(self) -> list[tuple[Flow, Response]]:
        found = [(each.flow, parse(each.data)) for each in self.out if isinstance(each, Send)]
        self.out.clear()
        return [(flow, message) for flow, message in found if isinstance(message, Response)]


def response(status: int, tag: str = "", to: str = "<sip:b@x>") -> Response:
    message = parse(Fixture().responder.response(request(to=to), status, tag=tag))
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("status", "echoed"),
    [(100, {"timestamp"}), (180, {"record-route"}), (200, {"record-route"}), (300, set()), (486, set())],
)
def test_what_a_response_takes_over(status: int, echoed: set[str]) -> None:
    """RFC 3261 sections 8.2.6.2 and 12.1.1; the Timestamp is for 100 alone (section 8.2.6.1)."""
    made = response(status)
    assert [name for name in made.names if name != "content-length"] == [
        name for name in request().names if name in {"via", "from", "to", "call-id", "cseq", *echoed}
    ]
    assert made.get("via") == VIA and made.names.count("via") == 2


@pytest.mark.parametrize(
    ("to", "tag", "expected"),
    [
        ("<sip:b@x>", "t", "<sip:b@x>;tag=t"),
        ("<sip:b@x>; ", "t", "<sip:b@x>;tag=t"),
        ("<sip:b@x>;tag=theirs", "t", "<sip:b@x>;tag=theirs"),
        ("<sip:b@x>", "", "<sip:b@x>"),
    ],
)
def test_a_tag_is_added_to_a_to_that_has_none(to: str, tag: str, expected: str) -> None:
    assert response(200, tag, to).get("to") == expected


def test_an_answer_goes_by_its_transaction_and_says_what_was_sent() -> None:
    fixture = Fixture()
    transaction = fixture.transaction(request())
    data = fixture.responder.reply(transaction, 200, 1.0, "Fine", ("X-Y: z",), b"body", "t")
    [(flow, answer)] = fixture.sent()
    assert flow == UDP and answer.to_bytes() == data and transaction.state == "completed"
    assert (answer.reason, answer.get("x-y"), answer.body) == ("Fine", "z", b"body")
    transaction.request = None
    assert fixture.responder.reply(transaction, 200, 2.0) == b"" and not fixture.sent()


@pytest.mark.parametrize(
    ("flow", "on_site_flow", "anew"), [(TCP, False, True), (TCP, True, False), (UDP, False, False)]
)
def test_the_answer_of_a_device_whose_stream_broke_goes_by_a_new_one(
    flow: Flow, on_site_flow: bool, anew: bool
) -> None:
    """RFC 3261 section 18.2.2: to the sent-by. Connections between agents and servers are their owners' affair."""
    fixture, asked = Fixture(), list[tuple[Flow, str]]()
    new = Flow("tcp", "out1", ("127.0.0.7", 5099))

    def reconnect(broken: Flow, via: str) -> Flow:
        asked.append((broken, via))
        return new

    fixture.responder.reconnect = reconnect
    fixture.responder.reply(fixture.transaction(request(), flow, on_site_flow), 200, 1.0)
    assert [to for to, _ in fixture.sent()] == [new if anew else flow]
    assert asked == ([(TCP, VIA)] if anew else [])


def test_by_default_an_answer_stays_on_its_stream() -> None:
    fixture = Fixture()
    fixture.responder.reply(fixture.transaction(request(), TCP), 200, 1.0)
    assert [to for to, _ in fixture.sent()] == [TCP]


def test_a_refusal_without_a_transaction_has_always_the_same_tag() -> None:
    """RFC 3261 section 8.2.7; where the request came from is noted in the Via (section 18.2.1)."""
    fixture = Fixture()
    via = VIA.replace("127.0.0.7", "10.1.1.1")
    for _ in range(2):
        fixture.responder.refuse(request(via=via), UDP, 403, lines=("X-Y: z",))
    (flow, first), (_, second) = fixture.sent()
    assert first.to_tag == second.to_tag != "" and first.get("x-y") == "z" and first.reason == "Forbidden"
    assert flow == UDP and (first.get("via") or "").endswith(";received=127.0.0.7")


@pytest.mark.parametrize("gone", ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "])
def test_what_has_no_answer_gets_none(gone: str) -> None:
    asked = request()
    keep = [not line.startswith(gone) for line in asked.lines]
    kept = [each for each, stays in zip(zip(asked.names, asked.lines, strict=True), keep, strict=True) if stays]
    asked = Request(asked.method, asked.uri, [name for name, _ in kept], [line for _, line in kept])
    fixture = Fixture()
    fixture.responder.refuse(asked, UDP, 400)
    fixture.responder.refuse(request("ACK"), UDP, 400)
    fixture.responder.refuse(request(via="nonsense"), UDP, 400)
    assert not fixture.sent() and not fixture.counters


@pytest.mark.parametrize(
    ("because", "phrase"),
    [
        ("", "Bad Request"),
        ("a\r\nX: y\x00", "Bad Request - aX: y"),
        ("z" * 200, "Bad Request - " + "z" * 80),
    ],
)
def test_a_400_says_why_in_one_line(because: str, phrase: str) -> None:
    fixture = Fixture()
    fixture.responder.refuse(request(), UDP, 400, because)
    assert [answer.reason for _, answer in fixture.sent()] == [phrase]


def test_a_stranger_gets_so_many_answers_by_udp_and_a_peer_more() -> None:
    fixture = Fixture()
    for _ in range(AT_ONCE + 3):
        fixture.responder.refuse(request(), UDP, 403)
    assert len(fixture.sent()) == AT_ONCE and fixture.counters == {"unanswered": 3}
    fixture.responder.refuse(request(), TCP, 403)
    assert len(fixture.sent()) == 1, "who speaks on a stream is where he says he is"
    fixture.responder.now = 1.0
    fixture.responder.refuse(request(), UDP, 403)
    assert len(fixture.sent()) == 1, "a second later there is room again"
    fixture.responder.admission.name_of = lambda host: "trunk1"
    peer = Flow("udp", UDP.local, ("127.0.0.8", 5060))
    for _ in range(AT_ONCE + 3):
        fixture.responder.refuse(request(), peer, 403)
    assert len(fixture.sent()) == AT_ONCE + 3


def test_a_stateless_answer_leaves_nothing() -> None:
    fixture = Fixture()
    transaction = fixture.transaction(request())
    fixture.responder.respond_stateless(transaction, 481, ("X-Y: z",))
    [(flow, answer)] = fixture.sent()
    assert (answer.status, answer.get("x-y")) == (481, "z") and not fixture.table.servers
    assert flow == UDP and transaction.state == "terminated"
    bare = fixture.transaction(request())
    bare.request = None
    fixture.responder.respond_stateless(bare, 481)
    assert not fixture.sent() and not fixture.table.servers


@pytest.mark.parametrize(
    ("via", "port"),
    [
        (VIA, 5099),  # as it came
        ("SIP/2.0/UDP 10.0.0.1:6000;branch=z9hG4bK1;rport=5099", 5099),  # RFC 3581 section 4
        ("SIP/2.0/UDP 10.0.0.1:6000;branch=z9hG4bK1", 6000),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", 5060),
        ("SIP/2.0/UDP 10.0.0.1:6000;branch=z9hG4bK1;maddr=192.0.2.1", 6000),  # to no other host
    ],
)
def test_where_an_answer_goes(via: str, port: int) -> None:
    assert answer_flow(request(via=via), UDP) == Flow("udp", UDP.local, ("127.0.0.7", port))
    assert answer_flow(request(via=via), TCP) == TCP


@pytest.mark.parametrize(
    ("via", "source", "port"),
    [
        ("192.168.1.5:5062", "192.0.33.8", 40000),  # a NAT is between, and opened this port alone
        ("192.168.1.5", "10.0.0.5", 5060),  # it has another address than it says: as RFC 3261 section 18.2.2 has it
        ("192.0.33.9:5062", "192.0.33.8", 5062),
        ("phone.example", "192.0.33.8", 5060),
        ("10.0.0.5:5062;rport", "192.0.33.8", 40000),
    ],
)
def test_an_answer_goes_through_the_nat_that_the_request_came_through(via: str, source: str, port: int) -> None:
    flow = Flow("udp", UDP.local, (source, 40000))
    asked = request(via=f"SIP/2.0/UDP {via};branch=z9hG4bK1")
    asked.set("via", stamp_received(asked.line("via"), flow.remote))
    assert answer_flow(asked, flow).remote == (source, port)
