"""Takeovers and agents that come back: calls from lists, replays, and release on evidence only."""

from __future__ import annotations

from typing import Any

import pytest

from b2bua.token import call_id_of, read, sign
from sip.message import Request
from tests.b2bua.fake import HOLD, KEY, SDP, WALL, Bench, Peer, Side
from tests.b2bua.fake_agent import FakeAgent, Town, kept, record, text_of

SITE_KEY = KEY.encode()


class Gap(Town):
    """A main server whose death is followed by the stand-by."""

    def standing(self, **more: Any) -> tuple[Side, Side]:
        """A talking call of which both agents tell."""
        a, b = self.talk()
        self.gw1.records.append(record(a, age={"answer": 5}, **more))
        self.gw2.records.append(record(b, age={"answer": 5}))
        return a, b

    def ringing(self, cancelled: bool = False) -> tuple[Side, Side]:
        """A ringing call of which both agents tell."""
        a = self.gw1.call("1002")
        b = self.gw2.called
        b.ring()
        assert a.statuses == [100, 180]
        self.gw1.records.append(record(a, "early", sent=[kept(a.sent, cancelled)]))
        self.gw2.records.append(self.attempt(b))
        return a, b

    @staticmethod
    def attempt(b: Side, state: str = "early") -> dict[str, Any]:
        """The record of an INVITE that rings at its agent."""
        invite = b.take("INVITE")
        origin = invite.get("call-origin")
        received = [{"request": text_of(invite), "origin": origin, "cancelled": False}]
        return record(b, state, local_tag=invite.from_tag, origin=origin, received=received)

    def in_order(self, order: str) -> Bench:
        """The stand-by takes over and gets the lists ``caller first``, ``caller last`` or ``together``."""
        self.gw1.silent = self.gw2.silent = order != "together"
        bench = self.succeed()
        if order != "together":
            agents = [self.gw1, self.gw2]
            for agent in agents if order == "caller first" else reversed(agents):
                agent.notify()
                bench.after(0.05)
        bench.after(0.05)
        return bench

    def gone(self) -> None:
        """Nothing is left, some time later."""
        self.bench.after(400)
        sizes = self.bench.stack_sizes
        assert sizes.pop("deadlines") <= 5 and sizes.pop("legs") <= 2, sizes  # the two subscriptions
        assert set(sizes.values()) == {0}, sizes


def origin(side: Side) -> str:
    assert side.sent is not None
    return f"{side.peer.name};{side.sent.branch};1"


# -- talking calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_talking_call_goes_on_through_the_new_server(by: str) -> None:
    gap = Gap()
    a, b = gap.standing()
    before = read(a.token, [SITE_KEY])
    gap.die()
    bench = gap.succeed()
    assert bench.core.epoch == 2 and len(bench.core.calls) == 1
    first, other = (a, b) if by == "caller" else (b, a)
    first.say("INFO", body=b"x")
    info = other.take("INFO")
    assert info.get("call-origin") == origin(first)
    assert info.get("heartbeat") == "site=paris; node=m2; boot=1; epoch=2" and info.body == b"x"
    other.answer(info, 200)
    first.say("INVITE", body=HOLD)
    other.answer(other.take("INVITE"), 200, body=SDP)
    first.ack()
    other.take("ACK")
    assert bench.core.view("calls", {}, bench.now)["calls"][0]["state"] == "held"
    first.say("BYE")
    other.answer(other.take("BYE"), 200)
    assert first.statuses == [200, 100, 200, 200]
    [cdr] = bench.cdrs
    assert (cdr.call_id, cdr.epoch, cdr.node, cdr.ended_by, cdr.result) == (
        before.call_id,
        2,
        "m2",
        by,
        "answered",
    )
    assert cdr.started == before.started and cdr.answered == before.answered
    gap.gone()


def test_verdicts_and_report() -> None:
    gap = Gap()
    for _ in range(3):
        gap.standing()
    gap.die()
    bench = gap.succeed()
    report = bench.core.view("report", {}, bench.now)
    assert report["verdicts"] == {"kept": 3} and report["kind"] == "takeover"
    assert (report["old"], report["new"], report["epoch"]) == ("m1", "m2", 2)
    assert {each["agent"]: each["calls"] for each in report["agents"]} == {"gw1": 3, "gw2": 3}
    assert all(each["verdict"] == "kept" and each["state"] == "there" for each in report["calls"])
    calls = bench.core.view("calls", {}, bench.now)["calls"]
    assert [each["epochs"] for each in calls] == [[1, 2]] * 3
    assert bench.core.lines.loads["alice"].busy == bench.core.lines.loads["bob"].busy == 3


def test_many_calls_are_restored_in_portions_and_the_first_ones_asked_for_at_once() -> None:
    gap = Gap()
    pairs = [gap.standing() for _ in range(150)]
    gap.die()
    gap.gw1.silent = gap.gw2.silent = True
    bench = gap.succeed()
    gap.gw2.notify()
    gap.gw1.notify()
    assert len(bench.core.calls) < 150
    a, b = pairs[-1]
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    bench.after(1.0)
    assert len(bench.core.calls) == 150 and not len(bench.core.recovery.index)


# -- what was under way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "MESSAGE"])
@pytest.mark.parametrize("order", ["sender first", "sender last"])
def test_a_request_kept_in_the_gap_comes_out_once(by: str, method: str, order: str) -> None:
    gap = Gap()
    a, b = gap.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    gap.die()
    sent = first.say(method, body=b"x")
    senders, others = (gap.gw1, gap.gw2) if by == "caller" else (gap.gw2, gap.gw1)
    senders.records = [record(first, sent=[kept(sent)])]
    others.records = [record(other)]
    gap.gw1.silent = gap.gw2.silent = True
    bench = gap.succeed()
    for agent in (senders, others) if order == "sender first" else (others, senders):
        agent.notify()
        bench.after(0.05)
    request = other.take(method)
    assert request.get("call-origin") == origin(first) and not other.asked
    other.answer(request, 200, body=SDP)
    assert first.statuses == ([100, 200] if method == "INVITE" else [200])
    if method == "INVITE":
        first.ack()
        other.take("ACK")
    if method != "BYE":
        other.say("BYE")
        first.answer(first.take("BYE"), 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == [by if method == "BYE" else ("callee", "caller")[by == "callee"]]
    gap.gone()


def test_a_request_that_the_far_agent_has_already_is_recognised_there() -> None:
    gap = Gap()
    a, b = gap.talk()
    a.say("INFO", body=b"5")
    info = b.take("INFO")
    gap.die()
    b.answer(info, 200)  # gets nowhere
    gap.gw1.records = [record(a, sent=[kept(a.sent)])]
    gap.gw2.records = [record(b)]
    gap.succeed()
    [again] = gap.gw2.repeats
    assert again.method == "INFO" and not b.asked and a.statuses == [200]


def test_a_glare_of_kept_re_invites_is_answered_491() -> None:
    gap = Gap()
    a, b = gap.talk()
    gap.die()
    a.say("INVITE", body=SDP)
    b.say("INVITE", body=SDP)
    gap.gw1.records = [record(a, sent=[kept(a.sent)])]
    gap.gw2.records = [record(b, sent=[kept(b.sent)])]
    gap.succeed()
    asked = [side for side in (a, b) if side.asked]
    assert len(asked) <= 1
    for side in asked:
        side.answer(side.take("INVITE"), 491)
    assert {*a.statuses} - {100} == {*b.statuses} - {100} == {491}


# -- ACK --------------------------------------------------------------------------------------------------------


def answered() -> tuple[Gap, Side, Side]:
    gap = Gap()
    a = gap.gw1.call("1002", b"")
    b = gap.gw2.called
    b.accept()
    assert a.statuses == [100, 200]
    b.take("INVITE")
    return gap, a, b


def test_an_ack_that_one_agent_had_sent_reaches_the_other() -> None:
    gap, a, b = answered()
    gap.die()
    ack = a.ack(b"the answer")
    gap.gw1.records = [record(a, ack={"message": text_of(ack)}, ack_cseq=1)]
    gap.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    gap.succeed()
    got = b.take("ACK")
    assert got.body == b"the answer" and got.cseq == 1 and got.get("heartbeat")
    assert "call-origin" not in got and got.to_tag == b.tag
    b.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    gap.gone()


@pytest.mark.parametrize("order", ["caller first", "caller last"])
def test_the_newest_token_wins_whichever_list_comes_first(order: str) -> None:
    gap, a, b = answered()
    gap.die()
    ack = a.ack()
    gap.gw1.records = [record(a, ack={"message": text_of(ack)}, ack_cseq=1)]
    gap.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    newest, older = read(a.token, [SITE_KEY]), read(b.token, [SITE_KEY])
    assert newest.answered and not older.answered
    bench = gap.in_order(order)
    b.take("ACK")
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.answered, cdr.started) == ("answered", newest.answered, newest.started)


def test_an_ack_still_owed_comes_through_later() -> None:
    gap, a, b = answered()
    gap.die()
    gap.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    gap.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    gap.succeed()
    assert not b.asked
    a.ack(b"late")
    assert b.take("ACK").body == b"late"


def test_an_ack_that_comes_before_the_other_list() -> None:
    gap, a, b = answered()
    gap.die()
    gap.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    gap.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    gap.gw2.silent = True
    bench = gap.succeed()
    a.ack(b"early")
    assert not b.asked
    gap.gw2.notify()
    bench.after(0.1)
    assert b.take("ACK").body == b"early"


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_a_2xx_that_the_caller_never_got_is_given_by_the_replay(order: str) -> None:
    gap = Gap()
    a = gap.gw1.call("1002")
    b = gap.gw2.called
    b.ring()
    told = gap.attempt(b)
    gap.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    assert a.statuses == [100, 180]
    gap.die()
    b.accept()
    told |= {"state": "confirmed", "ack": "awaited", "ack-cseq": 1, "received": [], "remote-tag": b.tag}
    gap.gw2.records = [told]
    gap.in_order(order)
    assert [each.method for each in gap.gw2.repeats] == ["INVITE"]
    assert a.statuses[-1] == 200
    a.ack()
    assert b.asked[-1].method == "ACK" and not any(each.method == "BYE" for each in b.asked)
    a.say("BYE")
    b.answer(b.asked[-1], 200)
    assert a.statuses == [200]
    gap.gone()


# -- calls that ring --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_a_ringing_call_is_repeated_to_where_it_rings(order: str) -> None:
    gap = Gap()
    a, b = gap.ringing()
    gap.die()
    bench = gap.in_order(order)
    [again] = gap.gw2.repeats
    assert again.method == "INVITE" and again.get("call-origin") == origin(a)
    assert again.uri.endswith("line=bob") and again.body == SDP
    assert len(gap.gw2.sides) == 1
    assert a.heard[-1].get("call-origin") == f"{origin(a)};n=1"  # by which its agent knows it as old
    a.heard.clear()
    b.accept()
    assert a.statuses == [200]
    a.ack()
    b.take("ACK")
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert cdr.attempts == 1 and cdr.result == "answered"
    gap.gone()


def test_a_call_cancelled_in_the_gap_is_cancelled_where_it_rings() -> None:
    gap = Gap()
    a, b = gap.ringing(cancelled=True)
    gap.die()
    bench = gap.succeed()
    assert [each.method for each in gap.gw2.repeats] == ["INVITE"]
    cancel = b.take("CANCEL")
    assert cancel.branch == gap.gw2.repeats[0].branch
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert a.statuses[-1] == 487
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("cancelled", "caller")]
    gap.gone()


def test_a_call_cancelled_in_the_gap_that_nobody_has_gets_487() -> None:
    gap = Gap()
    gap.die()
    a = gap.gw1.call("1002")
    gap.gw1.records = [record(a, "trying", sent=[kept(a.sent, True)])]
    bench = gap.succeed()
    assert a.statuses[-1] == 487 and not gap.gw2.sides
    assert [cdr.result for cdr in bench.cdrs] == ["cancelled"]
    gap.gone()


def test_a_new_call_in_the_gap_is_routed_when_all_lists_are_there() -> None:
    gap = Gap()
    gap.die()
    a = gap.gw1.call("1002")
    gap.gw1.records = [record(a, "trying", sent=[kept(a.sent)])]
    gap.gw2.silent = True
    bench = gap.succeed()
    assert a.statuses == [100] and not gap.gw2.sides
    gap.gw2.notify()
    bench.after(0.05)
    assert gap.gw2.called.take("INVITE").get("call-origin") == origin(a)
    gap.gw2.called.accept()
    assert a.statuses == [200]


def test_a_replayed_invite_waits_for_a_silent_agent_no_longer_than_it_may() -> None:
    gap = Gap()
    gap.die()
    a = gap.gw1.call("1004")
    gap.gw1.records = [record(a, "trying", sent=[kept(a.sent)])]
    gap.gw2.silent = True
    bench = gap.succeed()
    begun = bench.now
    assert not any(not side.outgoing for side in gap.gw1.sides)
    bench.until(begun + 2.1)
    assert gap.gw1.called.take("INVITE").uri.endswith("line=dave")


def test_a_call_goes_on_at_the_place_of_the_hunting_that_its_token_names() -> None:
    gap = Gap()
    a = gap.gw1.call("1002")
    gap.gw2.called.accept(486, b"")  # bob is busy: forwarded to carol, the second attempt
    b = gap.gw2.called
    b.ring()
    gap.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    gap.gw2.records = [gap.attempt(b)]
    gap.die()
    gap.succeed()
    [again] = gap.gw2.repeats
    assert str(again.get("call-origin")).endswith(";2") and again.uri.endswith("line=carol")
    b.accept()
    assert a.statuses[-1] == 200


def test_a_call_between_two_targets_goes_on_with_the_one_that_its_token_names() -> None:
    """The former server died after the first target had refused, before anybody heard of the second."""
    gap = Gap()
    a = gap.gw1.call("1002")
    first = gap.gw2.called
    first.ring()
    gap.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    ended = record(first, "terminated", origin=f"{origin(a)}", ended={"ago": 1, "by": "device", "status": 486})
    gap.gw2.records = [ended]
    gap.die()
    first.accept(486, b"")
    bench = gap.succeed()
    bench.after(3)
    # the attempt named by the token is sent again; its agent remembers the 486, and the call is forwarded
    assert gap.gw2.called is not first and gap.gw2.called.asked[-1].uri.endswith("line=carol")


# -- ended calls ------------------------------------------------------------------------------------------------


def ended(side: Side, **fact: Any) -> dict[str, Any]:
    return record(side, "terminated", ended={"ago": 2.0, **fact})


def test_a_call_that_ended_on_both_sides_in_the_gap_is_recorded() -> None:
    gap = Gap()
    a, b = gap.talk()
    answered_at = read(b.token, [SITE_KEY]).answered
    gap.die()
    gap.gw1.records = [ended(a, by="device", reason="Q.850;cause=16")]
    gap.gw2.records = [ended(b, by="server")]
    bench = gap.succeed()
    [cdr] = bench.cdrs
    assert (cdr.ended_by, cdr.result, cdr.reason) == ("caller", "answered", "Q.850;cause=16")
    assert cdr.answered == answered_at and cdr.ended is not None
    assert abs(cdr.ended - (bench.now + WALL - 2)) < 0.5
    assert not bench.core.calls
    gap.gone()


def test_the_other_side_of_an_ended_leg_is_released() -> None:
    gap = Gap()
    a, b = gap.talk()
    gap.die()
    gap.gw1.records = [ended(a, by="device", reason="bye")]
    gap.gw2.records = [record(b)]
    bench = gap.succeed()
    bye = b.take("BYE")
    assert "bye" in str(bye.get("reason")) and str(bye.get("call-origin")).startswith("m2;")
    b.answer(bye, 200)
    assert len(bench.cdrs) == 1 and not bench.core.calls
    assert bench.core.recovery.verdicts["released"] == 1
    gap.gone()


def test_a_leg_whose_peer_is_in_no_list_is_released() -> None:
    gap = Gap()
    a, b = gap.talk()
    gap.die()
    gap.gw2.records = [record(b)]
    bench = gap.succeed()
    bye = b.take("BYE")
    assert "gw1 has no such dialog" in str(bye.get("reason"))
    b.answer(bye, 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == ["server"]
    assert not a.asked
    gap.gone()


def test_a_leg_whose_peer_agent_is_away_is_kept_until_its_grace_is_over() -> None:
    gap = Gap()
    a, b = gap.standing()
    gap.die()
    bench = gap.succeed("gw1")
    bench.after(290)
    assert not b.asked and len(bench.core.calls) == 1
    b.say("INFO")
    assert b.statuses == []
    bench.after(20)
    assert [each.method for each in b.asked] == ["BYE"]
    b.answer(b.take("BYE"), 200)
    gap.gone()
    assert not a.asked


def test_an_agent_that_comes_back_within_its_grace_joins_its_calls_again() -> None:
    gap = Gap()
    a, b = gap.standing()
    gap.die()
    bench = gap.succeed("gw1")
    bench.after(20)
    b.say("INFO", body=b"held")
    assert b.statuses == []
    gap.gw1.connect()
    bench.after(0.1)
    info = a.take("INFO")
    assert info.body == b"held"
    a.answer(info, 200)
    assert b.statuses == [200]
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    gap.gone()


def test_a_callee_that_rings_for_a_caller_who_is_gone_is_cancelled() -> None:
    gap = Gap()
    _, b = gap.ringing()
    gap.die()
    gap.gw1.records = []
    bench = gap.succeed()
    assert [each.method for each in gap.gw2.repeats] == ["INVITE"]
    cancel = b.take("CANCEL")
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert [cdr.result for cdr in bench.cdrs] == ["cancelled"]
    gap.gone()


def test_a_callee_that_picks_up_for_a_caller_who_is_gone_is_hung_up() -> None:
    gap = Gap()
    _, b = gap.ringing()
    gap.die()
    gap.gw1.records = []
    gap.succeed()
    b.take("CANCEL")
    b.accept()
    assert [each.method for each in b.asked] == ["ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    gap.gone()


# -- tokens -----------------------------------------------------------------------------------------------------


def test_the_token_with_the_highest_counter_is_true() -> None:
    gap = Gap()
    a, b = gap.standing()
    old = read(a.token, [SITE_KEY])
    newer = sign(old._replace(counter=old.counter + 5, caller="the newest"), SITE_KEY)
    gap.gw2.records = [record(b) | {"call-state": newer}]
    gap.die()
    bench = gap.succeed()
    [call] = bench.core.calls.values()
    assert call.state.caller == "the newest"


@pytest.mark.parametrize("bad", ["", "nonsense", "forged"])
def test_a_dialog_whose_token_is_not_believed_is_kept_alone(bad: str) -> None:
    gap = Gap()
    a, b = gap.standing()
    other = "2.x" if bad == "nonsense" else ""
    if bad == "forged":
        other = sign(read(a.token, [SITE_KEY]), b"another key......")
    for agent, side in ((gap.gw1, a), (gap.gw2, b)):
        agent.records = [record(side) | {"call-state": other}]
    gap.die()
    bench = gap.succeed()
    assert not a.asked and not b.asked
    a.say("BYE")
    assert a.statuses == [200]
    if bad == "forged":
        warnings = bench.core.view("status", {}, bench.now)["warnings"]
        assert any("state token" in each for each in warnings)
    bench.after(400)
    assert not len(bench.core.recovery.index)


def test_a_change_of_the_site_key_is_borne() -> None:
    gap = Gap()
    a, b = gap.standing()
    gap.die()
    from tests.b2bua.fake import site_of
    from tests.b2bua.fake_agent import AGENTS

    text = AGENTS.replace('key = { env = "KEY" }', 'key = { env = "KEY" }\nprevious_key = { env = "OLD" }', 1)
    site = site_of(text, "another key of 16")
    gap.bench.site = site
    for agent in (gap.gw1, gap.gw2):
        agent.keys = site.membership(agent.name).keys
        agent.fence.reload(site.membership(agent.name))
    bench = gap.succeed()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200] and len(bench.core.calls) == 1


# -- requests before their dialogs ------------------------------------------------------------------------------


def test_a_request_in_a_dialog_not_known_yet_waits_and_fetches_it() -> None:
    gap = Gap()
    a, b = gap.standing()
    gap.die()
    gap.gw1.silent = gap.gw2.silent = True
    bench = gap.succeed()
    a.say("INFO")
    assert a.statuses == [] and gap.gw1.asked[-1][:2] == ("observe", {"call-id": a.call_id})
    gap.gw1.notify()  # the fetch
    assert gap.gw2.asked[-1][:2] == ("observe", {"call-id": b.call_id})
    assert a.statuses == []
    gap.gw2.notify()
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    assert not bench.core.agents.all_complete  # long before the lists


def test_a_request_in_a_dialog_that_the_list_lacks_gets_481() -> None:
    gap = Gap()
    a, _ = gap.talk()
    gap.die()
    gap.gw1.silent = True
    gap.succeed()
    a.say("INFO")
    assert a.statuses == []
    gap.gw1.notify(0)
    assert a.statuses == [481]
    a.say("BYE")
    assert a.statuses == [481]


def test_an_ack_alone_of_a_dialog_not_restored_yet() -> None:
    gap, a, b = answered()
    gap.die()
    gap.gw1.records = [record(a, ack="owed", ack_cseq=1)]
    gap.gw2.records = [record(b, ack="awaited", ack_cseq=1)]
    gap.gw1.silent = gap.gw2.silent = True
    gap.succeed()
    gap.gw1.notify()
    gap.gw2.notify()
    a.ack(b"x")
    assert b.take("ACK").body == b"x"


# -- connections and other servers ------------------------------------------------------------------------------


def test_an_agent_that_comes_back_with_its_calls_loses_none() -> None:
    gap = Gap()
    a, b = gap.standing()
    bench = gap.bench
    gap.gw1.disconnect()
    bench.after(5)
    b.say("INFO")
    gap.gw1.connect()
    bench.after(0.1)
    assert gap.gw1.asked[-1][0] == "takeover"
    info = a.asked[0]
    a.answer(info, 200)
    assert 200 in b.statuses and len(bench.core.calls) == 1
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert len(bench.cdrs) == 1


def test_an_agent_that_comes_back_without_a_call_has_lost_it() -> None:
    gap = Gap()
    _, b = gap.talk()
    bench = gap.bench
    bench.after(3)
    gap.gw1.disconnect()
    gap.gw1.connect()
    bench.after(0.1)
    bye = b.take("BYE")
    assert "gw1 has no such dialog any more" in str(bye.get("reason"))
    b.answer(bye, 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == ["server"] and not bench.core.calls


def test_what_is_under_way_is_sent_again_on_the_new_connection() -> None:
    gap = Gap()
    gap.gw2.offline = True
    a = gap.gw1.call("1002")
    b = gap.gw2.called
    first = b.take("INVITE")
    gap.gw2.offline = False
    gap.gw2.disconnect()
    gap.gw2.records = [record(b, "trying", local_tag=first.from_tag, origin=origin(a))]
    gap.gw2.connect()
    [again] = gap.gw2.repeats
    assert again.branch == first.branch and again.call_id == first.call_id
    b.accept()
    assert a.statuses[-1] == 200


def test_a_server_that_is_overruled_forgets_its_calls_without_a_word() -> None:
    gap = Gap()
    a, b = gap.standing()
    old = gap.bench
    gap.die()
    new = gap.succeed()
    proof = new.core.member.proof
    assert proof is not None
    old.core.member.offer(proof, old.now)
    old.core.reign.pump(old.now)
    old.pump()
    assert not old.core.serving and not old.core.calls and not old.cdrs
    assert not a.asked and not b.asked
    old.after(60)
    assert not a.asked and not b.asked and not old.cdrs


def test_the_403_of_a_fence_ends_nothing_and_is_learnt_from() -> None:
    gap = Gap()
    a, b = gap.standing()
    old, flows = gap.bench, (gap.gw1.flow, gap.gw2.flow)
    gap.die()
    gap.succeed()
    gap.bench = old
    for agent, flow in zip((gap.gw1, gap.gw2), flows, strict=True):
        agent.bench, agent.flow = old, flow
    [call] = old.core.calls.values()
    assert call.b is not None
    call.b.send("INFO", (*old.core.reign.site_lines,), b"", old.now)
    old.pump()
    assert not b.asked and not old.core.serving and not old.cdrs
    assert a.peer.name == "gw1"


def test_cold_lines_are_reset_before_their_agent_is_taken_over() -> None:
    from tests.b2bua.fake_agent import AGENTS

    cold = AGENTS.replace(
        'numbers = ["1003"]', 'numbers = ["1003"]\nrecovery = "cold"\nreset_state = "out-of-service"'
    )
    gap = Gap(cold)
    gap.die()
    bench = gap.succeed()
    assert [each[0] for each in gap.gw2.asked] == ["reset", "takeover"]
    reset = gap.gw2.asked[0][1]
    assert reset["lines"] == ["carol"] and reset["state"] == "out-of-service" and reset["epoch"] == 2
    assert [each[0] for each in gap.gw1.asked] == ["takeover"]
    gap.gw2.disconnect()
    gap.gw2.connect()
    assert [each[0] for each in gap.gw2.asked][2:] == ["takeover"]
    assert bench.core.serving


# -- bad lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\x1e{broken\n",
        b"\x1e[1,2]\n",
        b"\x1e\xff\xfe\n",
        b'\x1e{"site":"x"}\n\x1e{"line"\n',
        b"\x1e" + b"[" * 50_000,
    ],
)
def test_a_list_that_cannot_be_read_is_answered_400(raw: bytes) -> None:
    gap = Gap()
    assert gap.gw1.notify(raw=raw) == 400
    assert gap.bench.core.serving


def test_records_that_make_no_sense_hurt_nobody() -> None:
    gap = Gap()
    a, b = gap.standing()
    good = dict(gap.gw1.records[0])
    gap.gw1.records = [
        {"call-id": "x", "local-tag": "y", "call-state": ""},
        {"call-id": "x2", "local-tag": "y", "call-state": "", "state": "confirmed", "sent": [{"request": "junk"}]},
        {"call-id": "x3", "local-tag": "y", "call-state": "", "state": "confirmed", "ack": {"message": "junk"}},
        good
        | {
            "call-id": "x4",
            "call-state": "1.1.yy.zz.zz",
            "cseq": "x",
            "route-set": 4,
            "received": [{"request": "INVITE junk"}],
        },
        {"call-id": "x5", "local-tag": "y", "call-state": "1.1.zz.zz.zz", "state": "early", "ended": 4},
        {"call-id": "x6", "local-tag": "", "call-state": "", "state": "trying", "sent": [{"request": "A B SIP/2.0"}]},
        {"something": "else"},
        good,
    ]
    gap.die()
    bench = gap.succeed()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    bench.after(400)


def test_a_notify_on_another_connection_is_not_believed() -> None:
    gap = Gap()
    gap.gw2.asked.append(gap.gw1.asked[0])
    assert gap.gw2.notify() == 481


def test_a_stranger_s_dialog_is_never_restored() -> None:
    gap = Gap()
    a, _ = gap.standing()
    gap.die()
    bench = gap.succeed()
    intruder = FakeAgent(bench, "gw2", "bob", gap.gw2.fence, port=49000)
    intruder.keys = (b"not the site's key",)
    with pytest.raises(AssertionError):
        intruder.connect()
    assert isinstance(a.sent, Request) and call_id_of("gw1", a.call_id) in bench.core.calls


def test_nothing_is_left_of_many_takeovers() -> None:
    gap = Gap()
    pairs = [gap.standing() for _ in range(20)]
    for _ in range(5):
        gap.ringing()
    for _ in range(3):
        gap.die()
        bench = gap.succeed()
        bench.after(0.5)
        gap.gw1.records, gap.gw2.records = [], []
        for a, b in pairs:
            gap.gw1.records.append(record(a))
            gap.gw2.records.append(record(b))
        break
    for a, b in pairs:
        a.say("BYE")
        b.answer(b.take("BYE"), 200)
    for side in [side for side in gap.gw2.sides if not any(side is b for _, b in pairs)]:
        side.accept(486, b"")
    for side in [side for side in gap.gw2.sides if side.asked]:
        side.accept(486, b"")
    assert isinstance(bench, Bench)
    gap.gone()
    assert len(bench.cdrs) == 25 == len({cdr.call_id for cdr in bench.cdrs})


def test_a_callee_that_answered_and_hung_up_before_the_caller_heard_of_it() -> None:
    gap = Gap()
    a = gap.gw1.call("1002")
    b = gap.gw2.called
    b.ring()
    told = gap.attempt(b)
    gap.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    gap.die()
    b.accept()
    bye = b.say("BYE")
    told |= {"state": "confirmed", "ack": "awaited", "ack-cseq": 1, "received": [], "remote-tag": b.tag}
    gap.gw2.records = [told | {"sent": [kept(bye)], "cseq": {"local": 1, "remote": 0}}]
    bench = gap.in_order("caller last")
    assert a.statuses[-1] == 200
    bench.after(0.1)
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    a.ack()
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("answered", "callee")]
    gap.gone()


def test_a_target_given_up_that_answered_all_the_same_is_hung_up() -> None:
    gap = Gap()
    a, b = gap.standing()
    other = Side(gap.gw2, "given-up", "o1", "<sip:1002@h>", "<sip:caller@h>", "")
    other.token, other.other_tag = b.token, "srv"
    gap.gw2._keep(other)
    gap.gw2.records.insert(0, record(other, ack="awaited", ack_cseq=1))
    gap.die()
    bench = gap.succeed()
    bench.after(0.1)
    assert [each.method for each in other.asked] == ["ACK", "BYE"]
    other.answer(other.asked[-1], 200)
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200] and len(bench.core.calls) == 1


def test_both_legs_at_one_agent() -> None:
    gap = Gap()
    a = gap.gw1.call("1004")
    b = gap.gw1.called
    b.accept()
    a.ack()
    assert a.statuses == [100, 200]
    b.asked.clear()
    gap.gw1.records = [record(a), record(b)]
    gap.die()
    bench = gap.succeed()
    assert bench.core.recovery.verdicts["kept"] == 1
    b.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    gap.gone()


@pytest.mark.parametrize("back", [False, True])
def test_a_call_with_a_trunk_of_the_former_server_is_released(back: bool) -> None:
    gap = Gap()
    trunk = Peer(gap.bench, "trunk", port=5080)
    if back:
        a = trunk.call("1002")
        mine = gap.gw2.called
        mine.accept()
    else:
        a = mine = gap.gw1.call("9123")
        trunk.called.accept()
    a.ack()
    mine.asked.clear()
    (gap.gw2 if back else gap.gw1).records = [record(mine)]
    gap.die()
    bench = gap.succeed()
    bye = mine.take("BYE")
    assert "trunk of the former server" in str(bye.get("reason"))
    mine.answer(bye, 200)
    assert len(bench.cdrs) == 1
    gap.gone()


def test_a_cancel_after_the_takeover() -> None:
    gap = Gap()
    a, b = gap.ringing()
    gap.die()
    bench = gap.succeed()
    a.heard.clear()
    a.cancel()
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert sorted(a.statuses) == [200, 487]
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("cancelled", "caller")]
    gap.gone()


def test_a_call_lives_through_two_takeovers() -> None:
    gap = Gap()
    a, b = gap.ringing()
    gap.die()
    gap.succeed()
    again = gap.gw2.repeats[0]
    origin_of_it = again.get("call-origin")
    received = [{"request": text_of(again), "origin": origin_of_it, "cancelled": False}]
    gap.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    gap.gw2.records = [record(b, "early", local_tag=again.from_tag, origin=origin_of_it, received=received)]
    gap.die()
    bench = gap.succeed(node="m1", boot=2)
    assert bench.core.epoch == 3 and len(gap.gw2.repeats) == 2 and len(gap.gw2.sides) == 1
    a.heard.clear()
    b.accept()
    a.ack()
    assert a.statuses == [200]
    [call] = bench.core.calls.values()
    assert call.state.epochs == (1, 2, 3) and call.state.attempt == 1
    b.asked.clear()
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert [cdr.epoch for cdr in bench.cdrs] == [3]
    gap.gone()


def test_a_hunt_goes_on_after_the_takeover() -> None:
    gap = Gap()
    a, b = gap.ringing()
    gap.die()
    gap.succeed()
    b.accept(486, b"")
    other = gap.gw2.called
    assert other is not b and str(other.take("INVITE").get("call-origin")).endswith(";2")
    other.accept()
    assert a.statuses[-1] == 200


def test_nobody_answers_after_the_takeover() -> None:
    gap = Gap()
    a, b = gap.ringing()
    gap.die()
    bench = gap.succeed()
    bench.after(11)
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert gap.gw1.called.asked[-1].uri.endswith("line=dave")
    gap.gw1.called.accept()
    assert a.statuses[-1] == 200
