"""Hunting over targets: by status, by time, by load, with numbers rewritten."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import SDP, Bench, Peer, site_of

HUNT = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
capacity = 50
[lines.in]
kind = "trunk"
peer = "sip:127.0.0.1:5090"
from = ["127.0.0.1:5090"]
channels = 1000
trust_priority = true
from_device.called = [{ match = "0*", strip = 1, prefix = "+33" }]
[lines.one]
kind = "trunk"
peer = "sip:127.0.0.1:5081"
from = ["127.0.0.1:5081"]
channels = 2
to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }]
to_device.caller = [{ match = "*", prefix = "9" }]
[lines.two]
kind = "trunk"
peer = "sip:127.0.0.1:5082"
from = ["127.0.0.1:5082"]
channels = 4
[lines.three]
kind = "trunk"
peer = "sip:127.0.0.1:5083"
from = ["127.0.0.1:5083"]
channels = 4
cps = 1
[groups.weighed]
lines = ["one", "two"]
hunt = "weight"
weights = { one = 0 }
[groups.even]
lines = ["one", "two"]
hunt = "least-loaded"
[[routes]]
match = "1*"
to = ["one", "two", "three"]
ring = 20
[[routes]]
match = "2*"
to = ["weighed"]
[[routes]]
match = "3*"
to = ["even"]
[[routes]]
match = "4*"
refuse = 403
[[routes]]
match = "5*"
to = ["three"]
[[routes]]
match = "+33*"
to = ["one"]
"""


class Hunt:
    def __init__(self) -> None:
        self.bench = Bench(site_of(HUNT)).serve()
        self.left = Peer(self.bench, "left", port=5090)
        self.one, self.two, self.three = (
            Peer(self.bench, name, port=port) for name, port in (("one", 5081), ("two", 5082), ("three", 5083))
        )

    def rings(self) -> str:
        """Who has an INVITE that was not answered, first to last."""
        peers = (self.one, self.two, self.three)
        return " ".join(
            peer.name for peer in peers for side in peer.sides if side.asked and side.asked[-1].method == "INVITE"
        )


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_the_next_target_is_tried_after(status: int) -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.accept(status, b"")
    hunt.one.called.take("INVITE")
    hunt.one.called.take("ACK")
    hunt.two.called.ring()
    assert a.statuses == [100, 180] and hunt.rings() == "two"
    hunt.two.called.accept()
    a.ack()
    [call] = hunt.bench.core.calls.values()
    assert call.state.attempt == 2 and call.state.callee_line == "two"
    loads = hunt.bench.core.lines.loads
    assert loads["one"].busy == 0 and loads["two"].busy == 1 and loads["in"].busy == 1


@pytest.mark.parametrize("status", [403, 404, 480, 486, 487, 488, 600, 603])
def test_the_hunt_ends_with(status: int) -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.accept(status, b"")
    assert a.statuses == [100, status] and not hunt.two.sides
    assert [cdr.attempts for cdr in hunt.bench.cdrs] == [1]


def test_a_trunk_that_says_nothing_is_followed_by_the_next_after_its_time() -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.ring()
    hunt.bench.after(19.9)
    assert not hunt.two.sides
    hunt.bench.after(0.2)
    cancel = hunt.one.called.asked[-1]
    assert cancel.method == "CANCEL" and hunt.two.called.invite is not None
    hunt.one.called.answer(cancel, 200)
    hunt.one.called.accept(487, b"")
    hunt.two.called.accept()
    assert a.statuses[-1] == 200


def test_one_that_never_said_anything_is_left_at_the_end_of_its_time() -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.bench.after(33)
    assert [peer.called.invite is not None for peer in (hunt.one, hunt.two)] == [True, True]
    hunt.bench.after(33)
    hunt.bench.after(33)
    assert a.statuses == [100, 408]
    assert [cdr.attempts for cdr in hunt.bench.cdrs] == [3]


@pytest.mark.parametrize("answers", [487, 200, 0])
def test_the_hunt_goes_on_when_the_cancel_is_sent_whatever_is_said_to_it(answers: int) -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    one = hunt.one.called
    one.ring()
    hunt.bench.after(20.1)
    assert [each.method for each in one.asked] == ["INVITE", "CANCEL"] and hunt.two.called.invite is not None
    if answers:
        one.accept(answers, SDP if answers == 200 else b"")
    hunt.two.called.accept()
    a.ack()
    assert a.statuses == [100, 180, 200]
    assert [each.method for each in one.asked[2:]] == (
        ["ACK", "BYE"] if answers == 200 else ["ACK"] * (answers == 487)
    )
    [call] = hunt.bench.core.calls.values()
    assert (call.state.callee_line, call.state.attempt) == ("two", 2)
    a.say("BYE")
    hunt.two.called.answer(hunt.two.called.asked[-1], 200)
    [cdr] = hunt.bench.cdrs
    assert (cdr.result, cdr.callee_line, cdr.attempts) == ("answered", "two", 2)
    assert not hunt.bench.core.calls
    hunt.bench.after(33)
    assert not hunt.bench.core.discarded.legs and not hunt.bench.core.stack.legs


def test_the_200_of_the_last_target_that_was_given_up_comes_too_late() -> None:
    hunt = Hunt()
    a = hunt.left.call("5")
    three = hunt.three.called
    three.ring()
    hunt.bench.after(61)
    hunt.bench.after(121)
    assert a.statuses == [100, 180, 408]
    three.accept()
    assert [each.method for each in three.asked[-2:]] == ["ACK", "BYE"]
    assert [(cdr.status, cdr.result) for cdr in hunt.bench.cdrs] == [(408, "no-answer")]


def test_of_refused_and_silent_addresses_the_record_tells() -> None:
    hunt = Hunt()
    a = hunt.left.call("5")
    hunt.three.called.accept(503, b"")
    hunt.bench.after(2)
    b = hunt.left.call("5")
    hunt.bench.after(200)
    assert (a.statuses, b.statuses) == ([100, 500], [100, 408])
    assert [cdr.status for cdr in hunt.bench.cdrs] == [503, 408]


def test_numbers_are_rewritten_each_way() -> None:
    hunt = Hunt()
    hunt.left.call("0123", caller="55")
    invite = hunt.one.called.take("INVITE")
    assert invite.uri == "sip:0123@127.0.0.1:5081"
    assert (invite.get("from") or "").startswith("<sip:955@127.0.0.1>;tag=")
    [call] = hunt.bench.core.calls.values()
    assert (call.state.caller, call.state.callee) == ("55", "+33123")  # as the site says it


def test_weights_and_load_and_limits() -> None:
    hunt = Hunt()
    hunt.left.call("2")
    assert hunt.rings() == "two"
    hunt.left.call("3")
    assert hunt.rings() == "one two"  # one of four channels is busier than none of two
    hunt.left.call("3")
    assert hunt.rings() == "one two two"


def test_a_full_line_is_passed_over_and_a_full_site_refuses() -> None:
    hunt = Hunt()
    for _ in range(6):
        hunt.left.call("1")
    assert hunt.rings() == "one one two two two two"
    a = hunt.left.call("1")
    assert hunt.rings() == "one one two two two two three"
    assert a.statuses == [100]
    b = hunt.left.call("5")
    assert b.heard[-1].status == 503 and b.heard[-1].get("retry-after")  # one call a second
    hunt.bench.after(1.1)
    hunt.left.call("5")
    assert hunt.rings().endswith("three three")


def test_a_refused_route_and_no_route() -> None:
    hunt = Hunt()
    assert hunt.left.call("4").statuses == [100, 403]
    assert hunt.left.call("7").statuses == [100, 404]
    assert [cdr.status for cdr in hunt.bench.cdrs] == [403, 404]


def test_priority_uses_the_reserve() -> None:
    hunt = Hunt()
    core = hunt.bench.core
    core.router._ordinary = 0
    assert hunt.left.call("1").statuses == [100, 503]
    assert hunt.left.call("1", lines=("Priority: emergency",)).statuses == [100]


def test_a_cancel_while_hunting_stops_the_hunt() -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.ring()
    a.cancel()
    hunt.one.called.accept(503, b"")
    assert not hunt.two.sides
    assert a.statuses == [100, 180, 200, 487]
    assert [(cdr.result, cdr.status, cdr.ended_by) for cdr in hunt.bench.cdrs] == [("cancelled", 487, "caller")]


def test_all_reasons_of_a_cancel_cross() -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.ring()
    tag, a.other_tag = a.other_tag, ""
    assert a.sent is not None
    a.target = a.sent.uri
    lines = ('Reason: SIP;cause=200;text="Call completed elsewhere"', "Reason: Q.850;cause=26, X;cause=1")
    a.say("CANCEL", lines, branch=a.sent.branch, cseq=a.sent.cseq)
    a.other_tag = tag
    cancel = hunt.one.called.asked[-1]
    assert cancel.method == "CANCEL" and [f"Reason: {each}" for each in cancel.all("reason")] == [*lines]


def test_a_trunk_without_an_address_is_passed_over() -> None:
    hunt = Hunt()
    hunt.bench.core.own_lines._devices["one"]._places._found.clear()
    hunt.left.call("1")
    assert hunt.rings() == "two"
