"""The receiving side: each message to whom it belongs, and what cannot be taken refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from sip.actions import Action, Close, Flow, Send
from sip.dialog import dialog_key
from sip.identifiers import Identifiers
from sip.rate_limited_logger import RateLimitedLogger
from sip.receiver import InDialog, Receiver
from sip.responder import Responder
from sip.timers import Deadlines, Timers
from sip.transaction import ClientTransaction, NonInviteClient, ServerTransaction
from sip.transaction_table import TransactionTable
from sip.wire.message import Message, Request, Response, parse

UDP = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
ELSEWHERE = Flow("udp", "127.0.0.1:5060", ("127.0.0.66", 5099))
TCP = Flow("tcp", "in1", ("127.0.0.7", 40000))
SITE = Flow("tcp", "gw1#1", ("127.0.0.11", 40001))
SITE_AGAIN = Flow("tcp", "gw1#2", ("127.0.0.12", 40002))
CONTACT = "Contact: <sip:a@127.0.0.7>\r\n"


def message(
    method: str = "OPTIONS",
    branch: str = "z9hG4bK1",
    to: str = "<sip:b@x>",
    more: str = CONTACT,
    cseq: int = 1,
    uri: str = "sip:b@x",
    by: str = "127.0.0.7:5099",
) -> bytes:
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {by};branch={branch}\r\nFrom: <sip:a@x>;tag=f\r\n"
        f"To: {to}\r\nCall-ID: c1\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode()


def answer(status: int = 200, branch: str = "z9hG4bKc", method: str = "OPTIONS") -> bytes:
    return message(method, branch, "<sip:b@x>;tag=t").replace(
        f"{method} sip:b@x SIP/2.0".encode(), f"SIP/2.0 {status} X".encode()
    )


@dataclass
class Leg:
    """A dialog: it notes what it is handed."""

    flow: Flow
    got: list[str] = field(default_factory=list)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        self.got.append(request.method)

    def receive_ack(self, ack: Request, now: float) -> None:
        self.got.append("ACK")


class Fixture:
    """A receiver and all around it; the listener notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.requests: list[ServerTransaction] = []
        self.admitting = False
        self.out: list[Action] = []
        self.counters: Counter[str] = Counter()
        self.legs: dict[str, InDialog] = {}
        self.site_flows, self.unauthenticated = {SITE, SITE_AGAIN}, set[Flow]()
        self.table = TransactionTable(Timers(), Deadlines(), self.out)
        identifiers = Identifiers(b"s" * 32)
        self.responder = Responder(identifiers, self.out, self.counters)
        self.receiver = Receiver(
            self,
            self.table,
            self.responder,
            identifiers,
            self.legs,
            self.site_flows,
            self.unauthenticated,
            self.counters,
            RateLimitedLogger(),
            self.out,
        )

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        self.told.append("admits?")
        return self.admitting

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        self.told.append(request.method)
        self.requests.append(transaction)
        if request.get("subject") == "broken":
            raise ZeroDivisionError

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        self.told.append("CANCEL")

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        self.told.append("stray ACK")

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        self.told.append(f"stray {response.status}")

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.told.append(f"{response.status}")

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        raise AssertionError("no time passes here")

    def unacknowledged(self, transaction: ServerTransaction, now: float) -> None:
        raise AssertionError("no time passes here")

    def hear(self, data: bytes, flow: Flow = UDP, now: float = 0.0) -> list[int]:
        """Bytes come; the statuses that they are answered with."""
        self.receiver.receive(data, flow, now)
        return self.statuses()

    def statuses(self) -> list[int]:
        found = [parse(each.data) for each in self.out if isinstance(each, Send) and len(each.data) > 4]
        self.out[:] = [each for each in self.out if isinstance(each, Close)]
        return [each.status for each in found if isinstance(each, Response)]

    def take(self) -> list[str]:
        told, self.told = self.told, []
        return told

    def dialog(self, flow: Flow = UDP) -> Leg:
        leg = self.legs[dialog_key("c1", "t")] = Leg(flow)
        return leg

    def client(self, flow: Flow = UDP) -> ClientTransaction:
        made = NonInviteClient(
            self.table, "z9hG4bKc", flow, "OPTIONS", "z9hG4bKc", message(), self, None, False, False
        )
        self.table.clients["z9hG4bKc"] = made
        made.start(0.0)
        self.out.clear()
        return made


# -- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\x00\x00\x00\x00", b"\r\n", b""])
def test_a_keep_alive_is_no_message(data: bytes) -> None:
    fixture = Fixture()
    assert fixture.hear(data) == [] and fixture.receiver.received == 0 and not fixture.counters


def test_blank_lines_before_a_message_are_no_part_of_it() -> None:
    fixture = Fixture()
    fixture.hear(b"\r\n\r\n\r\n" + message())
    assert fixture.take() == ["OPTIONS"] and fixture.receiver.received == 1 and not fixture.counters


def test_what_cannot_be_read_is_counted_and_a_faulty_request_answered() -> None:
    fixture = Fixture()
    assert fixture.hear(b"nonsense, and more") == [] and fixture.counters == {"garbage": 1}
    assert fixture.hear(message(more=f"{CONTACT}Max-Forwards: x\r\n")) == [400]
    assert fixture.hear(answer(99)) == [] and fixture.counters == {"garbage": 2, "malformed": 1}
    assert not fixture.take() and not fixture.table.servers


def test_a_ping_on_a_stream_is_answered() -> None:
    fixture = Fixture()
    fixture.receiver.receive(b"\r\n\r\n" + message(), TCP, 0.0)
    assert Send(TCP, b"\r\n") in fixture.out and fixture.take() == ["OPTIONS"]


def test_a_message_that_nobody_can_bear_does_not_take_those_behind_it_along() -> None:
    fixture = Fixture()
    broken = message(more=f"{CONTACT}Subject: broken\r\n")
    with pytest.raises(ZeroDivisionError):
        fixture.receiver.receive(broken + message(branch="z9hG4bK2"), TCP, 0.0)
    assert fixture.take() == ["OPTIONS", "OPTIONS"]


@pytest.mark.parametrize(
    ("data", "flow", "statuses"),
    [
        (message(more=f"{CONTACT}Content-Length: zz\r\n"), TCP, [400]),
        (message(more=f"{CONTACT}Content-Length: 9999999\r\n"), TCP, [413]),
        (answer().replace(b"Content-Length: 0", b"Content-Length: zz"), TCP, []),
    ],
)
def test_a_stream_that_cannot_be_read_on_is_answered_and_closed(data: bytes, flow: Flow, statuses: list[int]) -> None:
    """RFC 3261 sections 18.3 and 20.14."""
    fixture = Fixture()
    data = data.replace(b"Content-Length: 0\r\n\r\n", b"\r\n")
    assert fixture.hear(data, flow) == statuses
    assert fixture.out == [Close(flow, True)] and fixture.counters["framing"] == 1


def test_a_stream_whose_owner_is_not_known_yet_is_closed_without_a_word() -> None:
    fixture = Fixture()
    fixture.unauthenticated.add(TCP)
    data = message(more="Content-Length: zz\r\n").replace(b"Content-Length: 0\r\n\r\n", b"\r\n")
    assert fixture.hear(data, TCP) == [] and fixture.out == [Close(TCP, True)]


# -- responses ----------------------------------------------------------------------------------------------------


def test_a_response_goes_to_its_transaction_by_branch_and_method() -> None:
    fixture = Fixture()
    fixture.client()
    for stray in (answer(branch="z9hG4bKx"), answer(method="INFO")):
        fixture.hear(stray)
    assert fixture.take() == ["stray 200", "stray 200"]
    fixture.hear(answer())
    assert fixture.take() == ["200"]


def test_the_answer_to_a_cancel_is_not_taken_for_that_of_its_invite() -> None:
    fixture = Fixture()
    made = fixture.client()
    cancel = NonInviteClient(
        fixture.table, "z9hG4bKcC", UDP, "CANCEL", "z9hG4bKc", message("CANCEL"), fixture, None, False, False
    )
    fixture.table.clients["z9hG4bKcC"] = cancel
    cancel.start(0.0)
    fixture.hear(answer(method="CANCEL"))
    assert fixture.take() == ["200"] and not made.answered


@pytest.mark.parametrize(
    ("sent", "came", "believed"),
    [
        (UDP, ELSEWHERE, False),
        (UDP, Flow("udp", UDP.local, ("127.0.0.7", 1)), True),  # its host, by another port
        (SITE, SITE_AGAIN, True),  # agents and servers may connect anew
    ],
)
def test_a_response_is_believed_from_where_we_sent_to(sent: Flow, came: Flow, believed: bool) -> None:
    fixture = Fixture()
    fixture.client(sent)
    fixture.hear(answer(), came)
    assert fixture.take() == (["200"] if believed else []) and fixture.counters["foreign"] == (not believed)


def test_a_trunk_may_answer_from_any_of_its_addresses() -> None:
    fixture = Fixture()
    trunk = {UDP.remote[0]: "trunk1", ELSEWHERE.remote[0]: "trunk1", "127.0.0.67": "trunk2"}
    fixture.responder.admission.name_of = lambda host: trunk.get(host, host)
    fixture.client(UDP)
    fixture.hear(answer(), Flow("udp", UDP.local, ("127.0.0.67", 5099)))
    assert fixture.take() == [] and fixture.counters["foreign"] == 1
    fixture.hear(answer(), ELSEWHERE)
    assert fixture.take() == ["200"]
    fixture.hear(message("INVITE"))
    assert fixture.hear(message("CANCEL"), ELSEWHERE) == [200] and fixture.take() == ["INVITE", "CANCEL"]


# -- strangers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [message(), answer()])
def test_on_an_unauthenticated_flow_the_listener_is_asked_first(data: bytes) -> None:
    fixture = Fixture()
    fixture.unauthenticated.add(TCP)
    fixture.hear(data, TCP)
    assert fixture.take() == ["admits?"] and not fixture.table.servers
    fixture.hear(message(branch="z9hG4bK2"))
    assert fixture.take() == ["OPTIONS"], "other flows are not asked about"
    fixture.admitting = True
    fixture.hear(data, TCP)
    assert fixture.take()[1:] == (["OPTIONS"] if data == message() else ["stray 200"])


# -- requests -----------------------------------------------------------------------------------------------------


def test_a_repeat_is_told_once_and_answered_again() -> None:
    fixture = Fixture()
    fixture.hear(message())
    fixture.responder.reply(fixture.requests[0], 200, 0.0)
    assert fixture.statuses() == [200] and fixture.hear(message()) == [200] and fixture.take() == ["OPTIONS"]


def test_a_repeat_of_another_host_is_foreign() -> None:
    fixture = Fixture()
    fixture.hear(message())
    fixture.responder.reply(fixture.requests[0], 200, 0.0)
    fixture.statuses()
    assert fixture.hear(message(), ELSEWHERE) == [] and fixture.counters == {"foreign": 1}


def test_a_connection_made_anew_is_followed() -> None:
    fixture = Fixture()
    fixture.hear(message(), TCP)
    anew = Flow("tcp", "in2", ("127.0.0.7", 40001))
    fixture.hear(message(), anew)
    assert fixture.requests[0].flow == anew and fixture.take() == ["OPTIONS"]


@pytest.mark.parametrize(("status", "stray"), [(486, []), (200, ["stray ACK"])])
def test_an_ack_of_a_failure_ends_its_transaction_and_that_of_a_success_is_the_dialogs(
    status: int, stray: list[str]
) -> None:
    fixture = Fixture()
    fixture.hear(message("INVITE"))
    fixture.requests[0].user = fixture
    fixture.responder.reply(fixture.requests[0], status, 0.0, tag="t")
    fixture.take()
    fixture.hear(message("ACK"))
    assert fixture.take() == stray and fixture.requests[0].state == ("accepted" if stray else "confirmed")


def test_without_the_magic_cookie_the_fields_tell_transactions_apart() -> None:
    """RFC 3261 section 17.2.3."""
    fixture = Fixture()
    for branch, cseq in (("1", 1), ("2", 1), ("3", 2)):
        fixture.hear(message(branch=branch, cseq=cseq))
    assert fixture.take() == ["OPTIONS", "OPTIONS"]
    fixture.hear(message(branch="z9hG4bK1"))
    fixture.hear(message(branch="z9hG4bK1", by="127.0.0.7:6000"))
    assert fixture.take() == ["OPTIONS", "OPTIONS"], "the sent-by belongs to the branch"


def test_a_request_in_a_dialog_is_the_legs() -> None:
    fixture = Fixture()
    leg = fixture.dialog()
    fixture.hear(message("INFO", to="<sip:b@x>;tag=t"))
    fixture.hear(message("ACK", branch="z9hG4bK2", to="<sip:b@x>;tag=t"))
    assert leg.got == ["INFO", "ACK"] and not fixture.take() and len(fixture.table.servers) == 1
    fixture.hear(message("INFO", branch="z9hG4bK3", to="<sip:b@x>;tag=other"))
    fixture.hear(message("ACK", branch="z9hG4bK4", to="<sip:b@x>;tag=other"))
    assert fixture.take() == ["INFO", "stray ACK"] and leg.got == ["INFO", "ACK"]


def test_a_dialog_is_spoken_in_from_its_host_unless_its_owner_expects_another() -> None:
    fixture = Fixture()
    leg = fixture.dialog()
    data = message("BYE", to="<sip:b@x>;tag=t")
    assert fixture.hear(data, ELSEWHERE) == [481] and fixture.counters == {"foreign": 1} and leg.got == []
    asked = list[tuple[InDialog, Flow, str]]()

    def expected(of: InDialog, flow: Flow, method: str) -> bool:
        asked.append((of, flow, method))
        return True

    fixture.receiver.expected = expected
    fixture.hear(data, ELSEWHERE)
    assert asked == [(leg, ELSEWHERE, "BYE")] and leg.got == ["BYE"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message("INVITE", uri="sips:b@x"), 416),
        (message(more=f"{CONTACT}Require: foo\r\n"), 420),
        (message("INVITE", more=""), 400),
        (message("INVITE", more="Contact: <sips:a@127.0.0.7>\r\n"), 480),
        (message("INVITE", more="Contact: <sips:a@127.0.0.7>\r\n").replace(b"2.0/UDP", b"2.0/TLS"), 480),  # by UDP
        (message("INVITE", more="Contact: *\r\n"), 400),
        (message("INVITE", to="<sip:b@x>;tag=other", more=""), None),  # of a dialog that is not known: not for us
    ],
)
def test_what_is_asked_of_a_devices_request_and_not_of_the_sites(data: bytes, status: int | None) -> None:
    """RFC 3261 section 8.2, RFC 5630 section 5.3."""
    fixture = Fixture()
    assert fixture.hear(data) == ([status] if status else []) and bool(fixture.take()) is not bool(status)
    assert bool(fixture.table.servers) is not bool(status), "a refused one leaves nothing"
    site = Fixture()
    assert site.hear(data, SITE) == [] and len(site.take()) == 1


def test_a_cancel_is_taken_whatever_it_requires() -> None:
    fixture = Fixture()
    fixture.hear(message("INVITE"))
    assert fixture.hear(message("CANCEL", more="Require: foo\r\n")) == [200]


def test_the_same_invite_by_another_way_is_merged_while_the_first_is_open() -> None:
    """RFC 3261 section 8.2.2.2."""
    fixture = Fixture()
    fixture.hear(message("INVITE"))
    other = message("INVITE", branch="z9hG4bKother")
    assert fixture.hear(other) == [482] and fixture.take() == ["INVITE"]
    fixture.requests[0].user = fixture
    fixture.responder.reply(fixture.requests[0], 486, 0.0, tag="t")
    fixture.statuses()
    assert fixture.hear(other) == [] and fixture.take() == ["INVITE"]
    for branch in ("z9hG4bKs1", "z9hG4bKs2"):
        fixture.hear(message("INVITE", branch=branch, cseq=2), SITE)
    assert fixture.take() == ["INVITE", "INVITE"], "on site flows a repeat is recognised by its origin"


def test_an_invite_that_goes_round_ends_here_and_no_other_request_does() -> None:
    fixture = Fixture()
    last = f"{CONTACT}Max-Forwards: 0\r\n"
    assert fixture.hear(message("INVITE", more=last)) == [483] and fixture.hear(message(more=last)) == []
    assert fixture.take() == ["OPTIONS"]


# -- CANCEL -------------------------------------------------------------------------------------------------------


def test_a_cancel_is_told_while_its_invite_is_open_and_answered_in_any_case() -> None:
    fixture = Fixture()
    fixture.hear(message("INVITE"))
    assert fixture.hear(message("CANCEL")) == [200] and fixture.take() == ["INVITE", "CANCEL"]
    fixture.requests[0].user = fixture
    fixture.responder.reply(fixture.requests[0], 486, 0.0, tag="t")
    fixture.statuses()
    fixture.table.servers = {key: one for key, one in fixture.table.servers.items() if one is fixture.requests[0]}
    fixture.receiver._servers = fixture.table.servers
    assert fixture.hear(message("CANCEL")) == [200] and fixture.take() == []


@pytest.mark.parametrize(
    ("cancel", "flow", "status"),
    [
        (message("CANCEL", branch="z9hG4bKother"), UDP, 481),
        (message("CANCEL"), ELSEWHERE, 481),
        (message("CANCEL", by="127.0.0.7:6000"), UDP, 200),  # of a phone whose NAT has mapped it anew
        (message("CANCEL", by="127.0.0.7:6000", branch="z9hG4bKother"), UDP, 481),
        (message("CANCEL", by="127.0.0.7:6000", cseq=2), UDP, 481),
    ],
)
def test_whose_invite_a_cancel_ends(cancel: bytes, flow: Flow, status: int) -> None:
    fixture = Fixture()
    fixture.hear(message("INVITE"))
    assert fixture.hear(cancel, flow) == [status]
    assert fixture.take() == (["INVITE", "CANCEL"] if status == 200 else ["INVITE"])
    assert len(fixture.table.servers) == (2 if status == 200 else 1), "a refused CANCEL leaves nothing"


# -- room ---------------------------------------------------------------------------------------------------------


def test_when_transactions_grow_scarce_a_sender_has_its_share_and_the_site_all() -> None:
    fixture = Fixture()
    fixture.receiver.most_servers = 10
    refused = [fixture.hear(message(branch=f"z9hG4bK{n}")) for n in range(10)]
    assert refused[:5] == [[]] * 5 and refused[-1] == [503] and fixture.counters["overload"] > 0
    left = 10 - len(fixture.table.servers)
    assert left > 0, "there is always room for one more"
    for n in range(left):
        assert fixture.hear(message(branch=f"z9hG4bKs{n}"), SITE) == []
    assert fixture.hear(message(branch="z9hG4bKlast"), SITE) == [503]
    leg = fixture.dialog(SITE)
    fixture.hear(message("INFO", branch="z9hG4bKin", to="<sip:b@x>;tag=t"), SITE)
    assert leg.got == ["INFO"], "the site's dialogs go on"


def test_each_message_is_noted_before_it_is_looked_at() -> None:
    fixture = Fixture()
    noted: list[tuple[bytes, Flow, float, bool]] = []
    fixture.receiver.note = lambda *what: noted.append(what)
    options, rubbish = message(), b"no SIP at all\r\n\r\n"
    fixture.receiver.receive(options, UDP, 1.0)
    fixture.receiver.receive(rubbish, UDP, 2.0)
    fixture.receiver.receive(b"\r\n\r\n", UDP, 3.0)
    fixture.receiver.receive(b"\r\n\r\n" + options + options[:40], TCP, 4.0)
    fixture.receiver.receive(options[40:], TCP, 5.0)
    fixture.receiver.receive_message(options, UDP, 6.0)  # from an agent's record
    assert noted == [
        (options, UDP, 1.0, False),
        (rubbish, UDP, 2.0, False),
        (options, TCP, 4.0, False),
        (options, TCP, 5.0, False),
    ]


def test_an_invite_refused_for_overload_keeps_no_transaction_and_its_repeat_gets_the_same_answer() -> None:
    fixture = Fixture()
    fixture.receiver.receive(message("INVITE"), UDP, 0.0)
    [invite] = fixture.requests
    fixture.responder.refuse_for_overload(invite, 503, ("Retry-After: 5",), 0.0)
    assert not fixture.table.servers and not fixture.table.invites
    [refusal] = [each.data for each in fixture.out if isinstance(each, Send)]
    fixture.out.clear()
    fixture.receiver.receive(message("INVITE"), UDP, 0.6)
    assert fixture.requests == [invite]
    assert [each.data for each in fixture.out if isinstance(each, Send)] == [refusal]
    fixture.out.clear()
    said = parse(refusal)
    assert isinstance(said, Response) and (said.status, said.get("retry-after")) == (503, "5")
    told = list(fixture.told)
    fixture.receiver.receive(message("ACK", to=f"<sip:b@x>;tag={said.to_tag}"), UDP, 0.7)
    fixture.receiver.receive(message("INVITE"), UDP, 0.8)  # was on its way
    assert (fixture.told, fixture.out, fixture.requests) == (told, [], [invite])
    fixture.receiver.receive(message("INVITE", branch="z9hG4bK2", cseq=2), UDP, 0.9)
    assert len(fixture.requests) == 2, "tried again, it is a call like any other"
