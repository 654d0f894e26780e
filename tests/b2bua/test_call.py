"""One call through a server with trunks of its own: what each side says and what comes out at the other."""

from __future__ import annotations

import pytest

from sip.message import Request, Response
from tests.b2bua.fake import HOLD, SDP, TYPE, Bench, Peer, Side, site_of

OWN = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
capacity = 4
reserve = 0.25
[lines.in]
kind = "trunk"
peer = "sip:127.0.0.1:5090"
from = ["127.0.0.1:5090"]
channels = 100
[lines.out]
kind = "trunk"
peer = "sip:127.0.0.1:5080"
from = ["127.0.0.1:5080"]
channels = 100
[[routes]]
match = "*"
to = ["out"]
ring = 60
"""
SITE = site_of(OWN)


class Two:
    """A caller's device, a callee's device and the server between them."""

    def __init__(self) -> None:
        self.bench = Bench(SITE).serve()
        self.left = Peer(self.bench, "left", port=5090)
        self.right = Peer(self.bench, "right", port=5080)

    def ring(self, body: bytes = SDP, lines: tuple[str, ...] = ()) -> tuple[Side, Side]:
        a = self.left.call("1001", body, lines)
        b = self.right.called
        b.ring()
        assert a.statuses == [100, 180]
        return a, b

    def talk(self, body: bytes = SDP) -> tuple[Side, Side]:
        a, b = self.ring(body)
        b.accept()
        assert a.statuses == [200]
        b.take("INVITE")
        a.ack()
        b.take("ACK")
        return a, b

    def hang_up(self, by: Side, other: Side) -> None:
        by.say("BYE")
        other.answer(other.take("BYE"), 200)
        assert by.statuses == [200]

    def nothing_left(self) -> None:
        self.bench.after(200)
        sizes = self.bench.stack_sizes
        assert sizes.pop("deadlines") <= 2  # names are asked for again, agents waited for
        assert set(sizes.values()) == {0}, sizes


def test_a_plain_call_crosses_both_ways_and_is_recorded() -> None:
    two = Two()
    a, b = two.talk()
    two.bench.after(10)
    two.hang_up(a, b)
    [cdr] = two.bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by, cdr.attempts) == ("answered", 200, "caller", 1)
    assert (cdr.caller, cdr.callee, cdr.caller_line, cdr.callee_line) == ("caller", "1001", "in", "out")
    assert cdr.answered is not None and cdr.ended is not None and round(cdr.ended - cdr.answered) == 10
    two.nothing_left()


def test_what_is_not_the_hop_s_passes_unchanged() -> None:
    two = Two()
    odd = ("X-Odd:   a  ,b", "iDeNtity: eyJ;info=<https://x>", "Supported: 100rel, histinfo", "Allow: INVITE, REFER")
    a, b = two.ring(lines=odd)
    invite = b.take("INVITE")
    assert odd[0] in invite.lines and odd[1] in invite.lines and invite.body == SDP
    assert invite.get("supported") == "histinfo" and invite.get("allow") == "INVITE"
    assert invite.uri == "sip:1001@127.0.0.1:5080" and invite.get("max-forwards") == "69"
    assert invite.call_id != a.call_id and invite.from_tag != a.tag
    b.accept(lines=("X-Back: 1", "Record-Route: <sip:10.0.0.9;lr>"))
    [answer] = a.heard
    assert answer.get("x-back") == "1" and "record-route" not in answer and answer.body == SDP
    assert answer.get("contact") == "<sip:127.0.0.1:5060>" and answer.to_tag == b.tag


def test_route_sets_and_targets_are_each_hop_s_own() -> None:
    two = Two()
    a = two.left.call("1001", lines=("Record-Route: <sip:10.0.0.1;lr>, <sip:10.0.0.2;lr>",))
    b = two.right.called
    b.accept(lines=("Record-Route: <sip:10.1.0.1;lr>, <sip:10.1.0.2;lr>",))
    assert a.heard[-1].all("record-route") == ["<sip:10.0.0.1;lr>, <sip:10.0.0.2;lr>"]
    b.take("INVITE")
    a.ack()
    ack = b.take("ACK")
    assert ack.all("route") == ["<sip:10.1.0.2;lr>", "<sip:10.1.0.1;lr>"] and ack.uri == "sip:right@127.0.0.1:5080"
    b.say("BYE")
    bye = a.take("BYE")
    assert bye.all("route") == ["<sip:10.0.0.1;lr>", "<sip:10.0.0.2;lr>"] and bye.uri == "sip:left@127.0.0.1:5090"


@pytest.mark.parametrize(
    ("status", "told", "result"),
    [
        (302, 480, "no-answer"),
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
    two = Two()
    a, b = two.ring()
    b.take("INVITE")
    b.accept(status, b"", lines=("X-Why: so", "Contact: <sip:1002@127.0.0.1>") if status == 302 else ("X-Why: so",))
    assert [each.status for each in a.heard] == [told]
    if told == status:
        assert a.heard[0].get("x-why") == "so" and a.heard[0].to_tag
    b.take("ACK")
    [cdr] = two.bench.cdrs
    assert (cdr.status, cdr.result) == (told, result)
    assert not two.bench.core.calls
    two.nothing_left()


def test_early_media_and_several_early_dialogs_keep_their_tags() -> None:
    two = Two()
    a = two.left.call("1001")
    b = two.right.called
    b.ring(183, "one", body=SDP)
    b.ring(180, "two")
    b.ring(180, "two", lines=("X-N: 2",))
    got = [(each.status, each.to_tag, each.body) for each in a.heard[1:]]
    assert got == [(183, "one", SDP), (180, "two", b""), (180, "two", b"")]
    b.accept(tag="two")
    assert a.heard[-1].to_tag == "two"
    a.ack()
    two.hang_up(b, a)
    two.nothing_left()


def test_an_odd_tag_passes_as_its_hash_each_time_the_same() -> None:
    two = Two()
    a = two.left.call("1001")
    b = two.right.called
    b.ring(180, "x" * 80)
    b.accept(tag="x" * 80)
    tags = {each.to_tag for each in a.heard[1:]}
    assert len(tags) == 1 and len(tags.pop()) < 65
    b.asked.clear()
    a.ack()
    assert b.take("ACK").to_tag == "x" * 80


# -- CANCEL --------------------------------------------------------------------------------------------------


def test_cancel_while_it_rings() -> None:
    two = Two()
    a, b = two.ring()
    a.cancel()
    assert a.statuses == [200]
    invite = b.take("INVITE")
    cancel = b.take("CANCEL")
    assert cancel.branch == invite.branch and cancel.uri == invite.uri
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert a.statuses == [487]
    [cdr] = two.bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by) == ("cancelled", 487, "caller")
    two.nothing_left()


def test_cancel_before_the_callee_said_anything_waits_for_a_provisional() -> None:
    two = Two()
    a = two.left.call("1001")
    b = two.right.called
    a.cancel()
    assert a.statuses == [100, 200] and [each.method for each in b.asked] == ["INVITE"]
    b.ring()
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL"]
    b.accept(487, b"")
    assert a.statuses[-1] == 487
    two.nothing_left()


def test_a_200_that_crosses_the_cancel_is_answered_to_the_caller_and_the_call_ends_in_good_order() -> None:
    two = Two()
    a, b = two.ring()
    a.cancel()
    b.accept()
    b.answer(b.asked[-1], 481)
    assert a.statuses == [200, 200]
    a.ack()
    a.say("BYE")
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    assert a.statuses == [200]
    [cdr] = two.bench.cdrs
    assert cdr.result == "answered"
    two.nothing_left()


def test_a_cancel_for_which_nobody_answers_ends_the_call() -> None:
    two = Two()
    a, _ = two.ring()
    a.cancel()
    two.bench.after(33)
    assert 487 in a.statuses
    assert two.bench.cdrs[0].result == "cancelled"
    two.nothing_left()


def test_a_cancel_of_nothing_and_a_late_one() -> None:
    two = Two()
    a, _ = two.talk()
    a.cancel()
    assert a.statuses in ([200], [481])
    assert len(two.bench.core.calls) == 1 and not two.bench.cdrs


# -- BYE -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_bye_from_either_side(by: str) -> None:
    two = Two()
    a, b = two.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    first.say("BYE", ('Reason: Q.850;cause=16;text="bye"',), b"last")
    bye = other.take("BYE")
    assert bye.get("reason") == 'Q.850;cause=16;text="bye"' and bye.body == b"last"
    assert first.statuses == []
    other.answer(bye, 200, ("X-Stats: 1",))
    assert first.heard[0].get("x-stats") == "1"
    assert two.bench.cdrs[0].ended_by == by
    two.nothing_left()


def test_bye_crossing_bye() -> None:
    two = Two()
    a, b = two.talk()
    a.say("BYE")
    b.say("BYE")
    assert b.statuses == [200]
    b.answer(b.take("BYE"), 200)
    assert a.statuses == [200] and not a.asked
    assert len(two.bench.cdrs) == 1
    two.nothing_left()


def test_bye_that_is_refused_or_never_answered_ends_the_call_all_the_same() -> None:
    two = Two()
    for status in (481, 0):
        a, b = two.talk()
        a.say("BYE")
        if status:
            b.answer(b.take("BYE"), status)
            assert a.statuses == [status]
        else:
            two.bench.after(33)
            assert 200 in a.statuses
        assert not two.bench.core.calls
    assert len(two.bench.cdrs) == 2
    two.nothing_left()


def test_bye_in_the_early_dialog_from_the_caller() -> None:
    """RFC 3261 section 15: the caller may send BYE on an early dialog."""
    two = Two()
    a, b = two.ring()
    a.say("BYE")
    assert sorted(a.statuses) == [200, 487]
    b.take("INVITE")
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert two.bench.cdrs[0].result == "cancelled" and not two.bench.core.calls
    two.nothing_left()


def test_bye_to_an_early_bye_that_crosses_a_200() -> None:
    two = Two()
    a, b = two.ring()
    a.say("BYE")
    b.accept()
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    assert not two.bench.core.calls
    two.nothing_left()


# -- inside the call -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_hold_and_resume(by: str) -> None:
    two = Two()
    a, b = two.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    for body, state in ((HOLD, "held"), (SDP, "talking")):
        first.say("INVITE", body=body)
        invite = other.take("INVITE")
        assert invite.body == body and invite.to_tag
        other.answer(invite, 100)
        other.answer(invite, 200, body=SDP)
        assert first.statuses == [200]
        first.ack()
        assert other.take("ACK").cseq == invite.cseq
        page = two.bench.core.view("calls", {}, two.bench.now)
        assert [each["state"] for each in page["calls"]] == [state]
    two.hang_up(other, first)
    two.nothing_left()


@pytest.mark.parametrize("status", [488, 491, 500, 606])
def test_a_refused_re_invite_leaves_the_call_as_it_was(status: int) -> None:
    two = Two()
    a, b = two.talk()
    a.say("INVITE", body=HOLD)
    b.answer(b.take("INVITE"), status, ("Retry-After: 3",))
    assert a.heard[0].get("retry-after") == "3" and a.statuses == [status]
    b.take("ACK")
    assert two.bench.core.view("calls", {}, 0.0)["calls"][0]["state"] == "talking"
    two.hang_up(a, b)
    two.nothing_left()


def test_a_re_invite_that_ends_the_dialog_elsewhere_is_passed_on() -> None:
    two = Two()
    a, b = two.talk()
    b.say("INVITE", body=SDP)
    two.bench.after(33)
    assert b.statuses == [408] or 408 in b.statuses
    two.hang_up(a, b)
    two.nothing_left()


def test_glare_is_answered_491_on_both_sides() -> None:
    two = Two()
    a, b = two.talk()
    a.say("INVITE", body=SDP)
    b.say("INVITE", body=SDP)
    assert b.statuses == [491]
    b.answer(b.take("INVITE"), 491)
    assert a.statuses == [491]
    two.bench.after(1)
    b.asked.clear()
    a.say("INVITE", body=SDP)
    b.answer(b.take("INVITE"), 200, body=SDP)
    a.ack()
    b.take("ACK")
    assert a.statuses == [200]
    two.hang_up(a, b)
    two.nothing_left()


def test_a_re_invite_before_the_ack_is_passed_on_and_the_acks_do_not_mix() -> None:
    two = Two()
    a, b = two.ring()
    b.accept()
    b.take("INVITE")
    b.say("INVITE", body=HOLD)
    again = a.take("INVITE")
    a.ack(b"first")
    assert b.take("ACK").body == b"first"
    a.answer(again, 200, body=SDP)
    assert b.statuses == [200]
    b.ack(b"second")
    ack = a.take("ACK")
    assert ack.body == b"second" and ack.cseq == again.cseq
    assert a.statuses == [200]
    two.hang_up(a, b)
    two.nothing_left()


def test_info_and_message_cross_with_their_bodies_and_answers() -> None:
    two = Two()
    a, b = two.talk()
    for first, other in ((a, b), (b, a)):
        for method in ("INFO", "MESSAGE"):
            first.say(method, ("Content-Type: application/dtmf-relay", "Info-Package: x"), b"Signal=5")
            request = other.take(method)
            assert request.body == b"Signal=5" and request.get("info-package") == "x"
            assert first.statuses == []
            other.answer(request, 200, ("X-A: 1",), b"ok")
            assert first.heard[-1].body == b"ok"
            assert first.statuses == [200]
    two.hang_up(a, b)
    two.nothing_left()


@pytest.mark.parametrize("method", ["UPDATE", "REFER", "PRACK", "SUBSCRIBE", "PUBLISH", "FOO"])
def test_methods_that_a_call_does_not_know_get_405(method: str) -> None:
    two = Two()
    a, b = two.talk()
    a.say(method)
    assert a.heard[0].get("allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE"
    assert a.statuses == [405] and not b.asked


def test_options_in_the_call_is_answered_here() -> None:
    two = Two()
    a, b = two.talk()
    a.say("OPTIONS")
    assert a.statuses == [200] and not b.asked


def test_cseq_that_runs_back_is_refused() -> None:
    two = Two()
    a, b = two.talk()
    a.cseq = 9
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    a.say("INFO", cseq=4)
    assert a.statuses == [200, 500] and not b.asked


def test_a_wrong_from_tag_in_a_known_dialog_gets_481() -> None:
    two = Two()
    a, b = two.talk()
    a.tag = "wrong"
    a.say("BYE")
    assert a.statuses == [481] and not b.asked and len(two.bench.core.calls) == 1


def test_delayed_offer_in_both_kinds_of_invite() -> None:
    two = Two()
    a, b = two.ring(b"")
    assert b.take("INVITE").body == b""
    b.accept(body=SDP)
    assert a.heard[-1].body == SDP
    a.ack(HOLD)
    assert b.take("ACK").body == HOLD
    a.heard.clear()
    a.say("INVITE")
    b.answer(b.take("INVITE"), 200, body=SDP)
    assert a.heard[-1].body == SDP
    a.ack(SDP)
    ack = b.take("ACK")
    assert ack.body == SDP and ack.get("content-type") == "application/sdp"


# -- 2xx and ACK ---------------------------------------------------------------------------------------------


def test_a_2xx_without_ack_is_repeated_and_ends_both_sides_after_32_s() -> None:
    two = Two()
    a, b = two.ring()
    b.accept()
    two.bench.after(31)
    assert [each.status for each in a.heard] == [200] * 10  # at 0, .5, 1.5, 3.5, 7.5, 11.5 ... 27.5 and once more
    two.bench.after(2)
    bye = a.asked[-1]
    assert bye.method == "BYE" and bye.get("reason") == 'SIP;cause=408;text="No ACK"'
    assert {each.method for each in b.asked} >= {"INVITE", "ACK", "BYE"}
    [cdr] = two.bench.cdrs
    assert (cdr.result, cdr.ended_by) == ("answered", "server")
    two.nothing_left()


def test_a_repeated_2xx_gets_the_ack_again() -> None:
    two = Two()
    a, b = two.ring()
    b.accept()
    b.take("INVITE")
    a.ack(b"answer")
    assert b.take("ACK").body == b"answer"
    b.accept()
    again = b.take("ACK")
    assert again.body == b"answer" and again.cseq == 1
    assert a.statuses == [200]


def test_a_second_2xx_of_a_fork_is_acknowledged_and_ended() -> None:
    two = Two()
    a, b = two.ring()
    b.accept()
    invite = b.take("INVITE")
    a.ack()
    b.take("ACK")
    b.answer(invite, 200, tag="other", body=SDP)
    assert b.take("ACK").to_tag == "other"
    bye = b.take("BYE")
    assert bye.to_tag == "other"
    b.answer(bye, 200)
    assert a.statuses == [200] and len(two.bench.core.calls) == 1


def test_repeats_of_the_invite_change_nothing() -> None:
    two = Two()
    a = two.left.call("1001")
    assert a.sent is not None
    data = a.sent.to_bytes()
    two.left.send(data)
    assert a.statuses == [100, 100] and len(two.right.sides) == 1
    two.right.called.ring()
    two.left.send(data)
    assert a.statuses == [180, 180]
    two.right.called.accept()
    two.left.send(data)
    assert a.statuses == [200]


def test_an_unanswered_invite_times_out_as_408() -> None:
    two = Two()
    a = two.left.call("1001")
    b = two.right.called
    two.bench.after(31.9)
    assert len(b.asked) == 7 and a.statuses == [100]
    two.bench.after(0.2)
    assert a.statuses == [408] and two.bench.cdrs[0].result == "no-answer"
    two.nothing_left()


def test_ringing_for_too_long_is_cancelled_and_told_as_408() -> None:
    two = Two()
    a, b = two.ring()
    two.bench.after(59)
    assert not b.asked[1:]
    two.bench.after(2)
    b.take("INVITE")
    cancel = b.take("CANCEL")
    assert cancel.get("reason") == 'SIP;cause=408;text="No answer"'
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert a.statuses == [408]
    [cdr] = two.bench.cdrs
    assert (cdr.status, cdr.result, cdr.ended_by) == (408, "no-answer", "server")
    two.nothing_left()


# -- refusals ------------------------------------------------------------------------------------------------


def test_required_extensions_that_no_call_can_keep_get_420() -> None:
    two = Two()
    a = two.left.call("1001", lines=("Require: 100rel, foo", "Require: histinfo"))
    assert a.heard[0].get("unsupported") == "100rel, foo"
    assert a.statuses == [420] and not two.right.sides
    two.nothing_left()


def test_max_forwards() -> None:
    two = Two()
    for hops, status in (("0", 483), ("1", 100)):
        peer = two.left
        raw = Side(peer, f"m{hops}", "t", "<sip:c@x>", "<sip:1@127.0.0.1:5060>", "sip:1@127.0.0.1:5060")
        peer.by_call_id[raw.call_id] = raw
        peer.send(_raw("INVITE", raw.call_id, f"Max-Forwards: {hops}\r\n"))
        assert raw.statuses == [status]
    assert two.right.called.take("INVITE").get("max-forwards") == "0"


def _raw(method: str, call_id: str, more: str = "", uri: str = "sip:1@127.0.0.1:5060", tag: str = "") -> str:
    return (
        f"{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5090;branch=z9hG4bK-{call_id}{method}\n"
        f"From: <sip:c@127.0.0.1>;tag=t\nTo: <sip:1@127.0.0.1>{tag}\nCall-ID: {call_id}\nCSeq: 1 {method}\n"
        f"Contact: <sip:c@127.0.0.1:5090>\n{more.replace(chr(13), '')}Content-Length: 0\n\n"
    )


def statuses(peer: Peer) -> list[int]:
    found = [each.status for each in peer.others if isinstance(each, Response)]
    peer.others.clear()
    return found


@pytest.mark.parametrize(
    ("method", "status"),
    [("MESSAGE", 405), ("REGISTER", 405), ("SUBSCRIBE", 405), ("BYE", 405), ("FOO", 501), ("OPTIONS", 200)],
)
def test_requests_outside_a_dialog(method: str, status: int) -> None:
    two = Two()
    two.left.send(_raw(method, "x1"))
    [answer] = two.left.others
    assert isinstance(answer, Response) and answer.status == status and answer.to_tag
    assert answer.get("allow") is not None
    two.nothing_left()


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "FOO"])
def test_an_unknown_dialog_gets_481(method: str) -> None:
    two = Two()
    two.left.send(_raw(method, "x1", tag=";tag=unknown"))
    assert statuses(two.left) == [481]


def test_a_stray_ack_and_a_stray_response_are_dropped() -> None:
    two = Two()
    two.left.send(_raw("ACK", "x1", tag=";tag=unknown"))
    two.left.send(_raw("ACK", "x1"))
    two.left.send(_raw("X", "x1").replace("X sip:1@127.0.0.1:5060 SIP/2.0", "SIP/2.0 200 OK"))
    assert not two.left.others
    two.nothing_left()


def test_strangers_get_403() -> None:
    two = Two()
    stranger = Peer(two.bench, "stranger", "127.0.0.9", 5070)
    a = stranger.call("1001")
    assert a.statuses == [403] and not two.right.sides
    assert two.bench.core.stack.counters["strangers"] == 1
    two.nothing_left()


def test_the_same_request_by_two_ways_gets_482() -> None:
    two = Two()
    a = two.left.call("1001")
    assert a.sent is not None
    two.left.send(a.sent.to_bytes().replace(b"branch=z9hG4bK-", b"branch=z9hG4bK-other-"))
    assert a.statuses == [100, 482] and len(two.right.sides) == 1
    two.right.called.ring()
    assert a.statuses == [180]


def test_over_capacity_503_with_retry_after_and_no_trace() -> None:
    two = Two()
    sides = [two.left.call(f"100{n}") for n in range(5)]
    refused = [side for side in sides if side.heard[-1].status == 503]
    assert len(refused) == 2  # one of the four is kept for priority
    for side in refused:
        after = side.heard[-1].get("retry-after")
        assert after is not None and 2 <= int(after) <= 10
    assert len(two.bench.core.calls) == 3
    assert [cdr.result for cdr in two.bench.cdrs] == ["failed", "failed"]


def test_malformed_requests_are_answered_400_and_garbage_dropped() -> None:
    two = Two()
    good = _raw("INVITE", "bad")
    for bad in (
        good.replace("CSeq: 1 INVITE", "CSeq: x INVITE"),
        good.replace("<sip:1@127.0.0.1>", "<sip:1@127.0.0.1"),
        good.replace("sip:1@127.0.0.1:5060 SIP", "sip:1@127.0.0.1:5060?a=b SIP"),
        good.replace("Max", "M").replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    ):
        two.left.send(bad)
        two.left.send(bad)
        assert [data[:11] for data in two.left.unread] + statuses(two.left) in ([b"SIP/2.0 400"] * 2, [400] * 2), bad
        two.left.unread.clear()
    for garbage in (b"", b"\r\n\r\n", b"\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 999999 x\r\n\r\n"):
        two.left.send(garbage)
    assert not two.left.others and not two.right.sides
    two.nothing_left()


def test_a_number_that_cannot_be_read_is_refused() -> None:
    two = Two()
    a = two.left.call("1001", uri="tel:+33")
    assert a.statuses[-1] in (400, 404, 416) or two.right.sides
    b = two.left.call("x" * 200)
    assert b.statuses[-1] == 404
    two.bench.after(200)


def test_call_state_from_a_device_is_ignored() -> None:
    two = Two()
    lines = ("Call-State: 1.999.x.y.z", "Call-Origin: gw1;b;1", "Line: out", "Heartbeat: site=paris; node=m1")
    a, b = two.ring(lines=lines)
    invite = b.take("INVITE")
    assert not {"call-state", "call-origin", "line", "heartbeat"} & {*invite.names}
    b.accept(lines=lines)
    assert not {"call-state", "call-origin", "line", "heartbeat"} & {*a.heard[-1].names}
    assert two.bench.core.calls and next(iter(two.bench.core.calls.values())).state.caller_line == "in"


def test_the_request_uri_keeps_what_the_number_needs() -> None:
    two = Two()
    a = two.left.call("%2B33;x=1", uri="sip:%2B33@127.0.0.1:5060")
    invite = two.right.called.take("INVITE")
    assert invite.uri == "sip:%2B33@127.0.0.1:5080" or invite.uri == "sip:+33@127.0.0.1:5080"
    assert isinstance(a.sent, Request) and TYPE in a.sent.lines
