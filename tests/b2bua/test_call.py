"""One call through a server with trunks of its own: what each side says and what comes out at the other."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import SDP
from tests.b2bua.trunk_fixture import TrunkFixture


def test_a_plain_call_crosses_both_ways_and_is_recorded() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    fixture.bench.after(10)
    fixture.hang_up(a, b)
    [cdr] = fixture.bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by, cdr.attempts) == ("answered", 200, "caller", 1)
    assert (cdr.caller, cdr.callee, cdr.caller_line, cdr.callee_line) == ("caller", "1001", "in", "out")
    assert cdr.answered is not None and cdr.ended is not None and round(cdr.ended - cdr.answered) == 10
    assert (cdr.far_status, cdr.codec) == (200, "PCMU")
    assert (cdr.caller_media, cdr.callee_media) == ("127.0.0.1:4000", "127.0.0.1:4000")
    fixture.nothing_left()


def test_what_is_not_the_hop_s_passes_unchanged() -> None:
    fixture = TrunkFixture()
    odd = (
        "X-Odd:   a  ,b",
        "iDeNtity: eyJ;info=<https://x>",
        "Supported: 100rel, histinfo",
        "Allow: INVITE, SUBSCRIBE",
    )
    a, b = fixture.ring(lines=odd)
    invite = b.take("INVITE")
    assert odd[0] in invite.lines and odd[1] in invite.lines and invite.body == SDP
    assert invite.get("supported") == "histinfo" and invite.get("allow") == "INVITE"
    assert invite.uri == "sip:1001@127.0.0.1:5080" and invite.get("max-forwards") == "69"
    assert invite.call_id != a.call_id and invite.from_tag != a.tag
    b.accept(lines=("X-Back: 1", "Record-Route: <sip:10.0.0.9;lr>"))
    [answer] = a.heard
    assert answer.get("x-back") == "1" and "record-route" not in answer and answer.body == SDP
    assert answer.get("contact") == "<sip:127.0.0.1:5060>" and answer.to_tag == b.tag


def test_a_caller_of_another_scheme_is_no_reason_to_refuse_a_call() -> None:
    fixture = TrunkFixture()
    data = (
        "INVITE sip:1001@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5090;branch=z9hG4bKodd\n"
        "From: <http://example.com/a>;tag=f\nTo: <sip:1001@127.0.0.1>\nCall-ID: odd\nCSeq: 1 INVITE\n"
        "Contact: <sip:left@127.0.0.1:5090>\nMax-Forwards: 70\nContent-Length: 0\n\n"
    )
    fixture.left.send(data)
    assert (fixture.right.called.take("INVITE").get("from") or "").startswith("<http://example.com/a>;tag=")


def test_what_is_said_of_a_number_crosses() -> None:
    fixture = TrunkFixture()
    fixture.left.call("1001", uri="sip:1001;npdi;rn=+33177@127.0.0.1;user=phone")
    assert fixture.right.called.take("INVITE").uri == "sip:1001;npdi;rn=+33177@127.0.0.1:5080;user=phone"


def test_route_sets_and_targets_are_each_hop_s_own() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001", lines=("Record-Route: <sip:127.0.0.1:5090;lr>, <sip:10.0.0.2;lr>",))
    b = fixture.right.called
    b.accept(lines=("Record-Route: <sip:10.1.0.1;lr>, <sip:127.0.0.1:5080;lr>",))
    assert a.heard[-1].all("record-route") == ["<sip:127.0.0.1:5090;lr>, <sip:10.0.0.2;lr>"]
    b.take("INVITE")
    a.ack()
    ack = b.take("ACK")
    assert ack.all("route") == ["<sip:127.0.0.1:5080;lr>", "<sip:10.1.0.1;lr>"]
    assert ack.uri == "sip:right@127.0.0.1:5080"
    b.say("BYE")
    bye = a.take("BYE")
    assert bye.all("route") == ["<sip:127.0.0.1:5090;lr>", "<sip:10.0.0.2;lr>"]
    assert bye.uri == "sip:left@127.0.0.1:5090"


@pytest.mark.parametrize(
    ("status", "told", "result"),
    [
        (302, 302, "rejected"),
        (400, 400, "rejected"),
        (403, 403, "rejected"),
        (404, 404, "rejected"),
        (408, 408, "no-answer"),
        (480, 480, "no-answer"),
        (486, 486, "busy"),
        (487, 487, "cancelled"),
        (488, 488, "rejected"),
        (500, 500, "failed"),
        (503, 500, "failed"),
        (600, 600, "busy"),
        (603, 603, "failed"),
    ],
)
def test_a_final_status_reaches_the_caller(status: int, told: int, result: str) -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    b.take("INVITE")
    lines = ("X-Why: so", "Reason: Q.850;cause=17", *(("Contact: <sip:1002@127.0.0.1>",) if status == 302 else ()))
    b.accept(status, b"", lines=lines)
    assert [each.status for each in a.heard] == [told]
    if told == status:
        assert a.heard[0].get("x-why") == "so" and a.heard[0].to_tag
        shown = ["<sip:1002@127.0.0.1:5060>;q=1"] if status == 302 else []  # at our address
        assert a.heard[0].all("contact") == shown
    b.take("ACK")
    [cdr] = fixture.bench.cdrs
    assert (cdr.status, cdr.result) == (503 if status == 503 else told, result)  # what became of it, whatever is told
    assert (cdr.reason, cdr.cause, cdr.far_status) == ("Q.850;cause=17", 17, status)
    assert not fixture.bench.core.calls
    fixture.nothing_left()


def test_early_media_and_several_early_dialogs_keep_their_tags() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    b = fixture.right.called
    b.ring(183, "one", body=SDP)
    b.ring(180, "two")
    b.ring(180, "two", lines=("X-N: 2",))
    got = [(each.status, each.to_tag, each.body) for each in a.heard[1:]]
    assert got == [(183, "one", SDP), (180, "two", b""), (180, "two", b"")]
    b.accept(tag="two")
    assert a.heard[-1].to_tag == "two"
    a.ack()
    fixture.hang_up(b, a)
    fixture.nothing_left()


def test_an_odd_tag_passes_as_its_hash_each_time_the_same() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    b = fixture.right.called
    b.ring(180, "x" * 80)
    b.accept(tag="x" * 80)
    tags = {each.to_tag for each in a.heard[1:]}
    assert len(tags) == 1 and len(tags.pop()) < 65
    b.asked.clear()
    a.ack()
    assert b.take("ACK").to_tag == "x" * 80
