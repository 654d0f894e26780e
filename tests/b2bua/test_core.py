"""The core: hunting over targets, admission, who is believed, reload, and that nothing is left of calls."""

from __future__ import annotations

import gc
import random

import pytest

from b2bua.call import Call
from sip.message import Response
from sip.rim import Flow
from sip.session import Leg
from tests.b2bua.fake import HOLD, SDP, Bench, Peer, Side, site_of
from tests.b2bua.fake_agent import AGENTS, FakeAgent, Town

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
    assert cancel.method == "CANCEL" and not hunt.two.sides
    hunt.one.called.answer(cancel, 200)
    hunt.one.called.accept(487, b"")
    assert hunt.rings() == "two"
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


def test_the_200_of_a_target_given_up_is_the_answer_when_nobody_else_was_tried_yet() -> None:
    """A 200 that crosses our CANCEL wins: the target is still the present one."""
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.ring()
    hunt.bench.after(21)
    hunt.one.called.accept()
    assert a.statuses == [100, 180, 200] and not hunt.two.sides
    a.ack()
    assert hunt.one.called.asked[-1].method == "ACK"


def test_a_late_200_of_a_target_left_behind_is_acknowledged_and_ended() -> None:
    hunt = Hunt()
    a = hunt.left.call("1001")
    hunt.one.called.ring()
    hunt.bench.after(21)
    hunt.bench.after(32.5)  # neither 487 nor 200 came in 64*T1 after the CANCEL
    assert hunt.two.sides
    hunt.two.called.accept()
    a.ack()
    hunt.one.called.accept()
    assert a.statuses == [100, 180, 200]
    [call] = hunt.bench.core.calls.values()
    assert call.state.callee_line == "two"


def test_numbers_are_rewritten_each_way() -> None:
    hunt = Hunt()
    hunt.left.call("0123", caller="55")
    invite = hunt.one.called.take("INVITE")
    assert invite.uri == "sip:0123@127.0.0.1:5081"
    assert (invite.get("from") or "").startswith("<sip:955@127.0.0.1>;tag=")
    [call] = hunt.bench.core.calls.values()
    assert (call.state.caller, call.state.callee) == ("55", "0123")


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
    assert a.statuses == [100, 180, 200, 503] or a.statuses[-1] == 487


def test_a_trunk_without_an_address_is_passed_over() -> None:
    hunt = Hunt()
    hunt.bench.core.trunks._targets.pop("sip:127.0.0.1:5081")
    hunt.left.call("1")
    assert hunt.rings() == "two"


# -- with agents ----------------------------------------------------------------------------------------------------


def test_a_call_from_agent_to_agent_carries_what_the_site_needs() -> None:
    town = Town()
    a = town.gw1.call("1002", lines=("Session-ID: " + "ab" * 16,))
    assert a.heard[0].status == 100 and a.token.startswith("1.0.")
    b = town.gw2.called
    invite = b.take("INVITE")
    assert invite.uri == "sip:1002@127.0.0.1:40012;line=bob"
    assert invite.get("call-origin") == f"gw1;{a.sent and a.sent.branch};1"
    assert invite.get("heartbeat") == "site=paris; node=m1; boot=1; epoch=1"
    assert b.token and b.token != a.token
    b.ring()
    assert a.heard[-1].get("call-origin") == f"{invite.get('call-origin')};n=1" and "line" not in a.heard[-1]
    first = a.token
    b.ring()
    assert a.token == first and "call-state" not in a.heard[-1]
    b.accept()
    assert a.token != first and a.heard[-1].get("call-origin") == f"{invite.get('call-origin')};n=3"
    before = b.token
    a.ack()
    assert b.token not in (before, "") and b.take("ACK").get("heartbeat")
    [call] = town.bench.core.calls.values()
    assert call.state.callee_line == "bob/1" and call.state.session_id == "ab" * 16


def test_requests_inside_the_call_carry_origin_and_epoch() -> None:
    town = Town()
    a, b = town.talk()
    a.say("INFO", body=b"x")
    info = b.take("INFO")
    assert info.get("call-origin") == f"gw1;{a.sent and a.sent.branch};1" and "epoch=1" in str(info.get("heartbeat"))
    assert "call-state" not in info
    b.answer(info, 200)
    assert a.heard[-1].get("call-origin") == f"{info.get('call-origin')};n=1"
    b.say("BYE")
    bye = a.take("BYE")
    assert bye.get("call-origin") == f"gw2;{b.sent and b.sent.branch};1"
    a.answer(bye, 200)
    assert b.statuses == [200] and town.bench.cdrs[0].ended_by == "callee"


def test_a_bye_of_the_server_has_a_key_of_its_own() -> None:
    town = Town()
    town.talk()
    [call] = town.bench.core.calls.values()
    call.release("SIP;cause=480", town.bench.now)
    town.bench.pump()
    for agent in (town.gw1, town.gw2):
        bye = agent.sides[-1].asked[-1]
        parts = str(bye.get("call-origin")).split(";")
        assert bye.method == "BYE" and parts[0] == "m1" and parts[2] == "0" and bye.get("reason") == "SIP;cause=480"


@pytest.mark.parametrize(("status", "then"), [(486, "carol"), (600, "carol"), (480, "dave"), (408, "dave")])
def test_a_phone_forwards(status: int, then: str) -> None:
    town = Town()
    a = town.gw1.call("1002")
    town.gw2.called.accept(status, b"")
    agent = town.gw2 if then == "carol" else town.gw1
    invite = agent.called.take("INVITE")
    assert invite.uri.endswith(f";line={then}") and str(invite.get("call-origin")).endswith(";2")
    agent.called.accept()
    assert a.statuses[-1] == 200


def test_nobody_answers_at_a_phone_that_forwards_then() -> None:
    town = Town()
    a = town.gw1.call("1002")
    town.gw2.called.ring()
    town.bench.after(10.5)
    b = town.gw2.called
    b.answer(b.asked[-1], 200)
    b.accept(487, b"")
    town.gw1.called.accept()
    assert a.statuses == [100, 180, 200]
    assert str(town.gw1.called.take("INVITE").get("call-origin")).endswith(";2")


def test_a_redirect_of_a_phone_is_followed_by_the_server() -> None:
    town = Town()
    a = town.gw1.call("1002")
    b = town.gw2.called
    raw = b.take("INVITE")
    data = b.answer(raw, 302, ("Line: bob/1",))
    assert b"302" in data
    # the Contact of our fake is its own address, whose user is no number of the site
    assert a.statuses[-1] in (404, 480)


def test_a_busy_phone_in_a_list_is_followed_by_the_next() -> None:
    town = Town()
    a = town.gw1.call("2000")
    town.gw2.called.accept(500, b"")
    invite = town.gw1.called.take("INVITE")
    assert invite.uri.endswith("line=dave")
    town.gw1.called.accept()
    assert a.statuses[-1] == 200


def test_an_agent_that_is_away_counts_as_503() -> None:
    town = Town()
    town.gw2.disconnect()
    a = town.gw1.call("1002")
    assert a.statuses == [100, 500] or a.statuses[-1] in (480, 500, 503)


def test_an_agent_may_only_speak_for_its_own_lines() -> None:
    town = Town()
    for line in ("bob", "own", "nobody", ""):
        a = Peer.call(town.gw1, "1002", lines=(f"Line: {line}",))
        assert a.statuses == [403], line
    assert town.bench.core.stack.counters["strangers"] == 4


def test_between_an_agent_and_a_trunk_of_the_server() -> None:
    town = Town()
    trunk = Peer(town.bench, "trunk", port=5080)
    a = town.gw1.call("9123")
    invite = trunk.called.take("INVITE")
    assert not {"call-origin", "call-state", "heartbeat", "line"} & {*invite.names}
    trunk.called.accept()
    a.ack()
    trunk.called.take("ACK")
    trunk.called.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert trunk.called.statuses == [200]
    back = trunk.call("1002", lines=("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK" + "x" * 300,))
    b = town.gw2.called
    assert str(b.take("INVITE").get("call-origin")).startswith("m1;z9hG4bK-trunk")
    b.accept()
    back.ack()
    assert back.statuses == [100, 200]


def test_a_very_long_branch_does_not_make_a_long_token() -> None:
    town = Town()
    trunk = Peer(town.bench, "trunk", port=5080)
    side = Side(trunk, "long-" + "c" * 3000, "t", "<sip:1@x>", "<sip:1002@127.0.0.1>", "sip:1002@127.0.0.1")
    trunk._keep(side)
    side.say("INVITE", body=SDP, branch="z9hG4bK" + "b" * 3000)
    assert side.statuses == [100] and len(town.gw2.called.token) <= 1024


# -- who is believed ------------------------------------------------------------------------------------------------


def test_a_connection_that_has_not_proved_itself_gets_403_and_is_closed() -> None:
    town = Town()
    bench = town.bench
    flow = Flow("tcp", "127.0.0.1:5161#9", ("127.0.0.66", 6))
    stranger = Peer(bench, "stranger", "127.0.0.66", 6)
    stranger.flow = flow
    bench.core.flow_changed(flow, "open", bench.now)
    stranger.transport = "TCP"
    side = stranger.call("1002", lines=("Line: alice",))  # and its ACK
    assert side.statuses == [403] and flow not in bench.closed
    assert stranger.call("1002").statuses == [403]
    assert flow in bench.closed and not bench.core.calls


def test_the_wrong_key_is_turned_away_at_the_opening() -> None:
    town = Town()
    bench = town.bench
    bad = FakeAgent(bench, "gw1", "alice", port=47000)
    bad.keys = (b"another key, 16+",)
    with pytest.raises(AssertionError):
        bad.connect()
    assert not bad.connected and bad.flow in bench.closed
    assert bench.core.agents.links["gw1"].flow == town.gw1.flow
    assert bench.core.stack.counters["refused openings"] == 1


def test_options_and_methods_outside_dialogs() -> None:
    town = Town()
    bench = town.bench
    trunk = Peer(bench, "trunk", port=5080)
    text = (
        "OPTIONS sip:m1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK{0}\nFrom: <sip:x@y>;tag=1\n"
        "To: <sip:m1>\nCall-ID: o{0}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n"
    )
    trunk.send(text.format(1))
    bench.core.leave(bench.now)
    bench.pump()
    trunk.send(text.format(2))
    answers = [each for each in trunk.others if isinstance(each, Response)]
    assert [each.status for each in answers] == [200, 503] and answers[1].get("retry-after") == "2"
    assert answers[0].get("allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE"
    a = trunk.call("1002")
    assert a.statuses == [503]


def test_a_reload_keeps_calls_and_takes_new_lines() -> None:
    town = Town()
    a, b = town.talk()
    more = AGENTS.replace('numbers = ["1003"]', 'numbers = ["1003", "1005"]')
    town.bench.core.reload(site_of(more), town.bench.now)
    town.bench.pump()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    town.gw1.call("1005")
    assert town.gw2.called.take("INVITE").uri.endswith("line=carol")


# -- nothing is left ------------------------------------------------------------------------------------------------


def _one(town: Town, trunk: Peer, kind: int, n: int) -> None:
    """One call of many kinds, to its very end."""
    back = kind % 2 == 1
    a = trunk.call("1002", call_id=f"mix{n}") if back else town.gw1.call("9123", call_id=f"mix{n}")
    b = town.gw2.called if back else trunk.called
    how = kind // 2
    if how == 0:
        b.accept(486 if not back else 404, b"")
    elif how == 1:
        b.ring()
        a.cancel()
        b.accept(487, b"")
    elif how == 2:
        b.ring()
        a.cancel()
        b.accept()
        a.ack()
        a.say("BYE")
        b.answer(b.asked[-1], 200)
    elif how == 3:
        a.say("BYE") if a.other_tag else a.cancel()
        b.ring()
        b.accept(487, b"")
    elif how == 4:
        b.ring(tag="one")
        b.accept(tag="two")
        a.ack()
        b.say("BYE")
        a.answer(a.asked[-1], 200)
    elif how == 5:
        b.accept()
        a.ack()
        a.say("INVITE", body=HOLD)
        b.answer(b.asked[-1], 200, body=SDP)
        a.ack()
        b.say("INFO")
        a.answer(a.asked[-1], 200)
        a.say("BYE")
        b.say("BYE")
        b.answer(next(each for each in b.asked if each.method == "BYE"), 200)
    elif how == 6:
        b.accept()  # no ACK ever
    elif how == 7:
        pass  # nobody says anything
    elif how == 8:
        b.accept()
        a.ack()
        a.say("INVITE", body=HOLD)
        a.say("BYE")
        b.answer(b.asked[-1], 200)
    elif how == 9:
        b.ring()
        trunk.bench.after(0.01)


def test_an_ended_call_is_let_go_of_long_before_its_time_to_ring_is_over() -> None:
    town = Town()
    for _ in range(10):
        a, b = town.talk()
        a.say("BYE")
        b.answer(b.take("BYE"), 200)
    town.bench.after(33)
    gc.collect()
    core = town.bench.core
    assert not [each for each in gc.get_objects() if isinstance(each, Call) and each.core is core]
    assert not [each for each in gc.get_objects() if isinstance(each, Leg) and each.stack is core.stack]


def test_nothing_is_left_of_a_thousand_calls_of_all_kinds() -> None:
    town = Town()
    bench = town.bench
    trunk = Peer(bench, "trunk", port=5080)
    bench.after(310)
    before = bench.stack_sizes
    chance = random.Random(7)
    for n in range(1000):
        _one(town, trunk, chance.randrange(20), n)
        bench.after(0.05)
    bench.after(400)
    assert bench.stack_sizes == before
    core = bench.core
    assert len(bench.cdrs) == 1000 == len({cdr.call_id for cdr in bench.cdrs})
    assert not core.recovery._requests and not core.recovery.alone
    assert not core.stack._framers or len(core.stack._framers) <= 4
