"""The stack: matching, repeats, strangers, streams, guarded flows."""

from __future__ import annotations

import pytest

from sip.actions import Close, Flow, Send
from sip.invite.client_invite import IgnoredResponses
from sip.wire.message import Request, Response, parse
from tests.sip.two_stacks import End, TwoStacks

THERE = Flow("udp", "127.0.0.1:5002", ("127.0.0.7", 5099))


def message(method: str = "OPTIONS", branch: str = "z9hG4bK1", more: str = "", via: str = "127.0.0.7:5099") -> bytes:
    return (
        f"{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch={branch};rport\r\nFrom: <sip:a@x>;tag=f\r\n"
        f"To: <sip:b@x>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\nContact: <sip:a@127.0.0.7>\r\n{more}"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def answers(end: End) -> list[Response]:
    found = [parse(action.data) for action in end.stack.to_do() if isinstance(action, Send)]
    return [one for one in found if isinstance(one, Response)]


def test_a_repeated_request_is_answered_again_and_told_once() -> None:
    end = TwoStacks().b
    end.stack.receive(message(), THERE, 0.0)
    end.stack.receive(message(), THERE, 0.1)
    end.stack.reply(end.asked, 200, 0.2, tag="t")
    end.stack.receive(message(), THERE, 0.3)
    got = answers(end)
    assert [one.status for one in got] == [200, 200] and end.heard == ["OPTIONS"]
    assert (
        got[0].to_bytes() == got[1].to_bytes()
        and got[0].get(
            "via",
        )
        is not None
    )
    assert got[0].get("via") == "SIP/2.0/UDP 127.0.0.7:5099;branch=z9hG4bK1;rport=5099;received=127.0.0.7"


def test_same_branch_of_another_sender_is_another_transaction() -> None:
    end = TwoStacks().b
    end.stack.receive(message(), THERE, 0.0)
    end.stack.receive(message(via="127.0.0.8:5099"), THERE, 0.0)
    assert end.heard == ["OPTIONS", "OPTIONS"]


def test_without_the_magic_cookie_the_fields_decide() -> None:
    end = TwoStacks().b
    end.stack.receive(message(branch="1"), THERE, 0.0)
    end.stack.receive(message(branch="2"), THERE, 0.0)
    assert end.heard == ["OPTIONS"]


def test_an_answer_goes_where_rport_or_the_via_says() -> None:
    end = TwoStacks().b
    end.stack.receive(message(via="10.0.0.1:6000"), THERE, 0.0)
    end.stack.reply(end.asked, 200, 0.0)
    plain = message(branch="z9hG4bK2", via="10.0.0.1:6000").replace(b";rport", b"")
    end.stack.receive(plain, THERE, 0.0)
    end.stack.reply(end.asked, 200, 0.0)
    sends = [action for action in end.stack.to_do() if isinstance(action, Send)]
    assert [send.flow.remote for send in sends] == [("127.0.0.7", 5099), ("127.0.0.7", 6000)]


def test_a_cancel_is_answered_here_and_reaches_the_core_while_the_invite_is_open() -> None:
    end = TwoStacks().b
    end.stack.receive(message("INVITE"), THERE, 0.0)
    invite = end.asked
    end.stack.receive(message("CANCEL"), THERE, 0.1)
    assert [one.status for one in answers(end)] == [200] and end.take() == ["INVITE", "CANCEL"]
    end.stack.reply(invite, 487, 0.2, tag="t")
    end.stack.receive(message("ACK"), THERE, 0.3)
    assert invite.state == "confirmed"
    end.stack.receive(message("CANCEL", branch="z9hG4bKother"), THERE, 0.4)
    assert [one.status for one in answers(end)] == [487, 481] and end.take() == []


def test_what_belongs_to_nothing_is_shown_to_the_core() -> None:
    end = TwoStacks().b
    end.stack.receive(message("ACK"), THERE, 0.0)
    end.stack.receive(message().replace(b"OPTIONS sip:b@x SIP/2.0", b"SIP/2.0 200 OK"), THERE, 0.0)
    assert end.take() == ["stray ACK", "stray 200"] and end.stack.to_do() == []


def test_garbage_is_counted_and_a_faulty_request_answered() -> None:
    end = TwoStacks().b
    end.stack.receive(b"\x00\x01 hello world", THERE, 0.0)
    end.stack.receive(b"\r\n\r\n", THERE, 0.0)
    end.stack.receive(message(more="Content-Length: 0\r\n"), THERE, 0.0)
    end.stack.receive(message(more="Max-Forwards: x\r\n"), THERE, 0.0)
    end.stack.receive(message().replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia"), THERE, 0.0)
    end.stack.receive(message("ACK", more="Max-Forwards: x\r\n"), THERE, 0.0)
    assert [one.status for one in answers(end)] == [400, 400, 505]
    assert end.stack.counters == {"garbage": 1, "malformed": 4} and end.heard == [] and not end.stack.servers


def test_calls_do_not_go_round_for_ever_but_other_requests_may_end_here() -> None:
    end = TwoStacks().b
    end.stack.receive(message("INVITE", more="Max-Forwards: 0\r\n"), THERE, 0.0)
    end.stack.receive(message("OPTIONS", more="Max-Forwards: 0\r\n"), THERE, 0.0)
    assert [one.status for one in answers(end)] == [483] and end.take() == ["OPTIONS"]


def test_a_guarded_flow_is_asked_about_before_anything_is_matched() -> None:
    end = TwoStacks().b
    end.stack.unauthenticated_flows.add(THERE)
    end.stack.receive(message(), THERE, 0.0)
    end.stack.receive(message().replace(b"OPTIONS sip:b@x SIP/2.0", b"SIP/2.0 200 OK"), THERE, 0.0)
    assert end.take() == ["asked to admit", "asked to admit"] and not end.stack.servers


def test_a_stream_is_cut_into_messages_and_pings_are_answered() -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 40000))
    data = b"\r\n\r\n" + message().replace(b"/UDP", b"/TCP") + message(branch="z9hG4bK2").replace(b"/UDP", b"/TCP")
    for at in range(0, len(data), 50):
        end.stack.receive(data[at : at + 50], flow, 0.0)
    assert end.take() == ["OPTIONS", "OPTIONS"] and end.stack.to_do() == [Send(flow, b"\r\n")]


@pytest.mark.parametrize("begun", [message(), b"X: " + message()])
def test_a_request_with_too_much_of_a_head_is_answered_before_its_stream_closes(begun: bytes) -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 40000))
    end.stack.receive(begun.replace(b"/UDP", b"/TCP").removesuffix(b"\r\n") + b"X: y\r\n" * 20_000, flow, 0.0)
    actions = end.stack.to_do()
    assert actions[-1] == Close(flow, True) and end.heard == []
    said = [parse(action.data) for action in actions if isinstance(action, Send)]
    assert [one.status for one in said if isinstance(one, Response)] == ([513] if begun == message() else [])


def test_a_stream_that_cannot_be_read_is_closed() -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 40000))
    end.stack.receive(message(more="Content-Length: zz\r\n") * 2, flow, 0.0)
    assert Close(flow, True) in end.stack.to_do() and end.stack.counters["framing"] == 1


def test_answers_go_over_the_connection_on_which_the_request_came_again() -> None:
    end = TwoStacks("tcp").b
    old, new = Flow("tcp", "in1", ("127.0.0.7", 1)), Flow("tcp", "in2", ("127.0.0.7", 2))
    end.stack.receive(message(), old, 0.0)
    end.stack.flow_lost(old)
    end.stack.receive(message(), new, 0.1)
    end.stack.reply(end.asked, 200, 0.2)
    assert [action.flow for action in end.stack.to_do() if isinstance(action, Send)] == [new]


def test_an_answer_of_another_method_does_not_match() -> None:
    stacks = TwoStacks()
    stack, flow = stacks.a.stack, stacks.a.flow_to(stacks.b)
    branch = stack.branch()
    stack.request("OPTIONS", message(branch=branch), branch, flow, IgnoredResponses(), 0.0)
    wrong = message("INVITE", branch=branch).replace(b"INVITE sip:b@x SIP/2.0", b"SIP/2.0 200 OK")
    stack.receive(wrong, flow, 0.0)
    assert stacks.a.take() == ["stray 200"] and stack.clients


def test_names_cannot_be_guessed_and_a_secret_repeats_a_run() -> None:
    one, same, other = End("x", 1).stack, End("x", 1).stack, End("y", 1).stack
    assert one.token() == same.token() != other.token() and one.branch() == same.branch() != one.branch()
    assert len(one.token()) == 16


def test_an_answer_echoes_what_section_8_2_6_asks_for_in_order() -> None:
    end = TwoStacks().b
    request = parse(message("INVITE", more="Record-Route: <sip:p;lr>\r\nTimestamp: 5\r\nSubject: x\r\n"))
    assert isinstance(request, Request)
    trying = parse(end.stack.response(request, 100))
    ringing = parse(end.stack.response(request, 180, tag="t"))
    busy = parse(end.stack.response(request, 486, tag="t"))
    assert trying.names == ["via", "from", "to", "call-id", "cseq", "timestamp", "content-length"]
    assert ringing.names == ["via", "from", "to", "call-id", "cseq", "record-route", "content-length"]
    assert busy.names == ["via", "from", "to", "call-id", "cseq", "content-length"]
    assert ringing.to_tag == "t" and trying.to_tag == ""


def test_line_ends_before_a_message_are_no_part_of_it() -> None:
    end = TwoStacks().b
    end.stack.receive(b"\r\n" + message(), THERE, 0.0)
    end.stack.receive(b"\r\n" * 30_000 + message(branch="z9hG4bK2"), THERE, 0.0)
    end.stack.receive(b"\r\n" * 30_000, THERE, 0.0)
    assert end.heard == ["OPTIONS", "OPTIONS"] and not end.stack.counters


def test_empty_parameters_are_read_over_and_not_sent_on() -> None:
    end = TwoStacks().b
    odd = message().replace(b";rport", b";;rport;").replace(b"To: <sip:b@x>", b"To: <sip:b@x>;")
    odd = odd.replace(b";tag=f", b";tag=f;").replace(b"Contact: <sip:a@127.0.0.7>", b"Contact: <sip:a@127.0.0.7>;")
    end.stack.receive(odd, THERE, 0.0)
    end.stack.reply(end.asked, 200, 0.0, tag="t")
    [answer] = answers(end)
    assert answer.get("to") == "<sip:b@x>;tag=t"
    assert answer.get("via") == "SIP/2.0/UDP 127.0.0.7:5099;branch=z9hG4bK1;;rport=5099;;received=127.0.0.7"
    assert end.asked.request is None
    request = parse(odd)
    assert isinstance(request, Request)
    assert (request.from_untagged, request.from_tag) == ("<sip:a@x>", "f")


def test_a_merged_request_is_refused_while_the_first_is_not_answered() -> None:
    end = TwoStacks().b
    end.stack.receive(message("INVITE"), THERE, 0.0)
    end.stack.receive(message("INVITE", branch="z9hG4bK2", via="127.0.0.8:5099"), THERE, 0.0)
    assert [one.status for one in answers(end)] == [482] and end.take() == ["INVITE"]
    end.stack.reply(end.asked, 486, 0.1, tag="t")
    end.stack.receive(message("INVITE", branch="z9hG4bK3"), THERE, 0.2)
    assert end.take() == ["INVITE"]
    assert [one.status for one in answers(end)] == [486]
    end.stack.reply(end.asked, 486, 0.3, tag="t")
    end.stack.handle_timer(100.0)
    assert not end.stack.servers and not end.stack.transactions.invites


def test_on_site_flows_the_same_request_by_another_branch_is_the_cores_affair() -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 1))
    end.stack.site_flows.add(flow)
    for branch in ("z9hG4bK1", "z9hG4bK2"):
        end.stack.receive(
            message("INVITE", branch=branch, more="Require: x\r\n").replace(b"/UDP", b"/TCP"), flow, 0.0
        )
    assert end.take() == ["INVITE", "INVITE"]


def test_a_cancel_whose_sent_by_has_changed_finds_its_invite() -> None:
    end = TwoStacks().b
    end.stack.receive(message("INVITE", via="10.0.0.5:5060"), THERE, 0.0)
    end.stack.receive(message("CANCEL", via="10.0.0.5:33333"), THERE, 0.1)
    assert [one.status for one in answers(end)] == [200] and end.take() == ["INVITE", "CANCEL"]
    elsewhere = Flow("udp", THERE.local, ("127.0.0.9", 5099))
    end.stack.receive(message("CANCEL", via="10.0.0.6:33333"), elsewhere, 0.2)
    end.stack.receive(message("CANCEL", branch="z9hG4bK2", via="10.0.0.5:33333"), THERE, 0.2)
    assert [one.status for one in answers(end)] == [481, 481] and end.take() == []


@pytest.mark.parametrize(
    "method, more, missing",
    [
        ("OPTIONS", "Require: foo, timer\r\nRequire: bar\r\n", "foo, bar"),
        ("REGISTER", "Require: path, gruu\r\n", "gruu"),
        ("BYE", "Require: foo\r\n", "foo"),
        ("INVITE", "Require: precondition\r\n", "precondition"),
        ("REFER", "Require: nosub, explicitsub\r\n", "explicitsub"),
    ],
)
def test_an_extension_that_is_not_there_is_refused_in_every_method(method: str, more: str, missing: str) -> None:
    end = TwoStacks().b
    end.stack.receive(message(method, more=more), THERE, 0.0)
    [answer] = answers(end)
    assert (answer.status, answer.get("unsupported")) == (420, missing)
    assert end.take() == [] and not end.stack.servers


@pytest.mark.parametrize(
    "contact, status",
    [
        ("", 400),
        ("Contact: *\r\n", 400),
        ("Contact: <tel:+1>\r\n", 400),
        ("Contact: <sip:a@h>, <sip:b@h>\r\n", 400),
        ("Contact: <sip:a@h>\r\nContact: <sip:b@h>\r\n", 400),
        ("Contact: <sips:a@h>\r\n", 480),
    ],
)
def test_an_invite_has_one_contact_that_can_be_reached(contact: str, status: int) -> None:
    end = TwoStacks().b
    for method, branch in (("INVITE", "z9hG4bK1"), ("OPTIONS", "z9hG4bK2")):
        data = message(method, branch).replace(b"Contact: <sip:a@127.0.0.7>\r\n", contact.encode())
        end.stack.receive(data, THERE, 0.0)
    assert [one.status for one in answers(end)] == [status] and end.take() == ["OPTIONS"]


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER", "MESSAGE"])
@pytest.mark.parametrize(
    "uri, phrase", [("SIPS:b@x", "Unsupported URI Scheme"), ("nobody:x", "Unsupported URI Scheme")]
)
def test_a_request_uri_that_is_not_spoken_here(method: str, uri: str, phrase: str) -> None:
    end = TwoStacks().b
    end.stack.receive(message(method).replace(b"sip:b@x SIP/2.0", uri.encode() + b" SIP/2.0"), THERE, 0.0)
    [answer] = answers(end)
    assert (answer.status, answer.reason) == (416, phrase) and end.take() == []


def test_require_is_not_looked_at_in_ack_and_cancel() -> None:
    end = TwoStacks().b
    end.stack.receive(message("INVITE"), THERE, 0.0)
    end.stack.receive(message("CANCEL", more="Require: foo\r\n"), THERE, 0.0)
    end.stack.receive(message("ACK", branch="z9hG4bK2", more="Require: foo\r\n"), THERE, 0.0)
    assert end.take() == ["INVITE", "CANCEL", "stray ACK"]


@pytest.mark.parametrize("length, status", [("zz", 400), ("70000", 413)])
def test_the_request_at_which_a_stream_is_lost_is_answered_before_it_is_closed(length: str, status: int) -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 40000))
    end.stack.receive(message().replace(b"Content-Length: 0", f"Content-Length: {length}".encode()), flow, 0.0)
    answered, closed = end.stack.to_do()
    assert isinstance(answered, Send) and closed == Close(flow, True)
    assert answered.data.startswith(f"SIP/2.0 {status} ".encode())


def test_a_stream_lost_at_an_answer_or_before_it_is_proved_is_closed_without_a_word() -> None:
    end = TwoStacks("tcp").b
    flow = Flow("tcp", "in1", ("127.0.0.7", 40000))
    bad = message().replace(b"Content-Length: 0", b"Content-Length: zz")
    end.stack.receive(bad.replace(b"OPTIONS sip:b@x SIP/2.0", b"SIP/2.0 200 OK"), flow, 0.0)
    assert end.stack.to_do() == [Close(flow, True)]
    end.stack.unauthenticated_flows.add(flow)
    end.stack.receive(bad, flow, 0.0)
    assert end.stack.to_do() == [Close(flow, True)]
