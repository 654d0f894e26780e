"""What is left after a takeover: release on evidence only, and the records of calls that nobody saw end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from b2bua.state_token import call_id_of, read
from b2bua.takeover.device_leg_recovery import FORMER
from b2bua.takeover.reconciliation import AT_ONCE, GRACE, LOOKED_AT, PAUSE, WORK, Reconciliation
from b2bua.takeover.records import Index
from b2bua.takeover.restoration import ALL_ENDED, CALLER_GONE, Restoration
from sip.actions import Flow
from sip.dialog import dialog_key
from tests.b2bua.fake import WALL, Bench, Peer
from tests.b2bua.fake_agent import AGENTS, kept, record
from tests.b2bua.takeover_fixture import SITE_KEY, TakeoverFixture, ended

# -- ended calls ------------------------------------------------------------------------------------------------


def test_a_call_that_ended_on_both_sides_in_the_gap_is_recorded() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    answered_at = read(b.token, [SITE_KEY]).answered
    fixture.die()
    fixture.gw1.records = [ended(a, by="device", reason="Q.850;cause=16")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert (cdr.ended_by, cdr.result, cdr.reason) == ("caller", "answered", "Q.850;cause=16")
    assert cdr.answered == answered_at and cdr.ended is not None
    assert abs(cdr.ended - (bench.now + WALL - 2)) < 0.5
    assert not bench.core.calls
    fixture.gone()


def test_the_other_side_of_an_ended_leg_is_released() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records = [ended(a, by="device", reason="bye")]
    fixture.gw2.records = [record(b)]
    bench = fixture.succeed()
    bye = b.take("BYE")
    assert "bye" in str(bye.get("reason")) and str(bye.get("call-origin")).startswith("m2;")
    b.answer(bye, 200)
    assert len(bench.cdrs) == 1 and not bench.core.calls
    assert bench.core.recovery.verdicts.counts["released"] == 1
    fixture.gone()


def test_a_leg_whose_peer_is_in_no_list_is_released() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw2.records = [record(b)]
    bench = fixture.succeed()
    bye = b.take("BYE")
    assert "gw1 has no such dialog" in str(bye.get("reason"))
    b.answer(bye, 200)
    assert [cdr.ended_by for cdr in bench.cdrs] == ["server"]
    assert not a.asked
    fixture.gone()


def test_a_leg_whose_peer_agent_is_away_is_kept_until_its_grace_is_over() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    bench = fixture.succeed("gw1")
    bench.after(290)
    assert not b.asked and len(bench.core.calls) == 1
    b.say("INFO")
    assert b.statuses == []
    bench.after(20)
    assert [each.method for each in b.asked] == ["BYE"]
    b.answer(b.take("BYE"), 200)
    fixture.gone()
    assert not a.asked


def test_an_agent_that_comes_back_within_its_grace_joins_its_calls_again() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.standing()
    fixture.die()
    bench = fixture.succeed("gw1")
    bench.after(20)
    b.say("INFO", body=b"held")
    assert b.statuses == []
    fixture.gw1.connect()
    bench.after(0.1)
    info = a.take("INFO")
    assert info.body == b"held"
    a.answer(info, 200)
    assert b.statuses == [200]
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    fixture.gone()


def test_a_callee_that_rings_for_a_caller_who_is_gone_is_cancelled() -> None:
    fixture = TakeoverFixture()
    _, b = fixture.ringing()
    fixture.die()
    fixture.gw1.records = []
    bench = fixture.succeed()
    assert [each.method for each in fixture.gw2.repeats] == ["INVITE"]
    cancel = b.take("CANCEL")
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert [cdr.result for cdr in bench.cdrs] == ["cancelled"]
    fixture.gone()


def test_a_callee_that_picks_up_for_a_caller_who_is_gone_is_hung_up() -> None:
    fixture = TakeoverFixture()
    _, b = fixture.ringing()
    fixture.die()
    fixture.gw1.records = []
    fixture.succeed()
    b.take("CANCEL")
    b.accept()
    assert [each.method for each in b.asked] == ["ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    fixture.gone()


@pytest.mark.parametrize("back", [False, True])
def test_a_call_with_a_cold_trunk_of_the_former_server_is_released(back: bool) -> None:
    fixture = TakeoverFixture(
        AGENTS.replace('peer = "sip:127.0.0.1:5080"', 'peer = "sip:127.0.0.1:5080"\nrecovery = "cold"')
    )
    trunk = Peer(fixture.bench, "trunk", port=5080)
    if back:
        a = trunk.call("1002")
        mine = fixture.gw2.called
        mine.accept()
    else:
        a = mine = fixture.gw1.call("9123")
        trunk.called.accept()
    a.ack()
    mine.asked.clear()
    (fixture.gw2 if back else fixture.gw1).records = [record(mine)]
    fixture.die()
    bench = fixture.succeed()
    bye = mine.take("BYE")
    assert "line of the former server: own is cold" in str(bye.get("reason"))
    mine.answer(bye, 200)
    assert len(bench.cdrs) == 1
    fixture.gone()


# -- call records -----------------------------------------------------------------------------------------------


def started(fixture: TakeoverFixture) -> Bench:
    """The stand-by rules, and its agents say nothing yet."""
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    return fixture.succeed()


def test_an_end_is_when_the_agent_told_it_and_not_when_it_was_written_down() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.gw1.records = [ended(a, by="device", reason="Q.850;cause=16")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = started(fixture)
    told_at = bench.now
    fixture.gw1.notify()
    bench.after(10.0)
    assert not bench.cdrs
    fixture.gw2.notify()
    bench.after(0.1)
    [cdr] = bench.cdrs
    assert cdr.ended is not None and abs(cdr.ended - (told_at + WALL - 2.0)) < 0.01
    assert cdr.ended_by == "caller"


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_a_bye_in_the_gap_ends_its_call_when_it_was_said_and_by_whom(by: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    fixture.die()
    bye = first.say("BYE")
    told = record(first, "terminated", sent=[kept(bye)], ended={"ago": 1.5, "by": "device", "status": 200})
    senders, others = (fixture.gw1, fixture.gw2) if by == "caller" else (fixture.gw2, fixture.gw1)
    senders.records, others.records = [told], [record(other)]
    bench = started(fixture)
    at = bench.now - 1.5
    senders.notify()
    bench.after(1.0)
    others.notify()
    bench.after(0.05)
    other.answer(other.take("BYE"), 200)
    assert first.statuses == [200]
    [cdr] = bench.cdrs
    assert cdr.ended is not None and abs(cdr.ended - (at + WALL)) < 0.01 and cdr.ended_by == by
    assert not bench.core.records.ends
    fixture.gone()


def test_when_both_hang_up_in_the_gap_the_first_has_ended_the_call() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    for side, agent, ago in ((a, fixture.gw1, 1.0), (b, fixture.gw2, 1.4)):
        bye = side.say("BYE")
        agent.records = [record(side, "terminated", sent=[kept(bye)], ended={"ago": ago, "by": "device"})]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert cdr.ended_by == "callee" and cdr.ended is not None
    assert abs(cdr.ended - (bench.now + WALL - 1.5)) < 0.15


def test_a_bye_kept_of_which_the_other_side_has_heard_already_ends_the_call_in_good_order() -> None:
    """The former server had passed it on, and died before it could pass the answer back."""
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    bye = a.say("BYE", ["Reason: Q.850;cause=16"])
    fixture.gw1.records = [
        record(a, "terminated", sent=[kept(bye)], ended={"ago": 1.5, "by": "device", "status": 200})
    ]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed()
    bench.after(0.1)
    assert a.statuses == [200]
    [cdr] = bench.cdrs
    assert (cdr.ended_by, cdr.result, cdr.reason) == ("caller", "answered", "Q.850;cause=16")
    assert (
        bench.core.recovery.verdicts.counts["released"] == 0 and bench.core.recovery.verdicts.counts["replayed"] == 1
    )
    fixture.gone()


@pytest.mark.parametrize("order", ["caller first", "caller last"])
def test_an_attempt_refused_at_the_door_of_an_agent_that_has_no_record_of_it(order: str) -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1003")
    fixture.gw2.called.ring()
    fixture.gw1.records = [ended(a, by="server", status=480)]
    fixture.die()
    bench = fixture.in_order(order)
    assert [(cdr.callee, cdr.result, cdr.status, cdr.ended_by) for cdr in bench.cdrs] == [
        ("1003", "no-answer", 480, "server")
    ]
    fixture.gone()
    assert len(bench.cdrs) == 1


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ({"by": "agent", "status": 503, "reason": 'SIP;cause=503;text="No server"'}, ("failed", 503, "server")),
        ({"by": "device", "status": 487}, ("cancelled", 487, "caller")),
        ({"by": "server", "status": 420}, ("rejected", 420, "server")),
    ],
)
def test_a_call_of_which_no_server_ever_said_a_word(fact: dict[str, Any], told: tuple[str, int, str]) -> None:
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002", caller="1001")
    fixture.gw1.records = [ended(a, **fact) | {"line": "alice/1", "age": {"invite": 10.0}, "call-state": ""}]
    bench = fixture.succeed()
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by) == told and cdr.reason == fact.get("reason", "")
    assert (cdr.call_id, cdr.caller, cdr.callee, cdr.caller_line) == (
        call_id_of("gw1", a.call_id),
        "1001",
        "1002",
        "alice/1",
    )
    assert cdr.started is not None and abs(cdr.started - (bench.now + WALL - 10.1)) < 0.15
    assert cdr.ended is not None and abs(cdr.ended - (bench.now + WALL - 2.1)) < 0.15
    fixture.gone()


def test_a_record_without_token_or_sense_is_no_call() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    nonsense = {"call-state": "", "local": "<", "remote": 7, "line": 4, "age": "x"}
    fixture.gw1.records = [ended(a, by="device", status=487) | nonsense]
    fixture.gw2.records = [ended(b, by="server") | {"call-state": ""}]
    fixture.die()
    bench = fixture.succeed()
    bench.after(400)
    assert [(cdr.caller, cdr.callee) for cdr in bench.cdrs] == [("", "")]  # the callee's agent begins no calls
    assert not len(bench.core.recovery.index)


def test_a_call_given_up_by_its_agent_while_an_attempt_was_under_way() -> None:
    """Its device was told 503, which the record says, although the stand-by has to cancel it."""
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002")
    fact = {"ago": 1.0, "by": "agent", "status": 503, "reason": "no server"}
    fixture.gw1.records = [record(a, "terminated", sent=[kept(a.sent, True)], ended=fact)]
    bench = fixture.succeed()
    assert a.statuses[-1] == 487 and not fixture.gw2.sides
    assert [(cdr.result, cdr.status, cdr.ended_by, cdr.reason) for cdr in bench.cdrs] == [
        ("failed", 503, "server", "no server")
    ]
    fixture.gone()


def test_ended_calls_do_not_wait_behind_those_that_live() -> None:
    fixture = TakeoverFixture()
    for _ in range(100):
        fixture.standing()
    for _ in range(5):
        a, b = fixture.talk()
        fixture.gw1.records.append(ended(a, by="device"))
        fixture.gw2.records.append(ended(b, by="server"))
    bench = started(fixture)
    fixture.gw1.notify()
    fixture.gw2.notify()
    bench.after(0.006)
    assert len(bench.cdrs) == 5 and len(bench.core.recovery.index) > 100


def test_what_ended_is_written_down_before_the_process_ends() -> None:
    fixture = TakeoverFixture()
    for _ in range(3):
        a, b = fixture.talk()
        fixture.gw1.records.append(ended(a, by="device"))
        fixture.gw2.records.append(ended(b, by="server"))
    standing = fixture.standing()
    ringing, _ = fixture.ringing()
    fixture.gw1.records.append(record(ringing, "early", sent=[kept(ringing.sent)]))
    fixture.gw2.records.append(
        ended(fixture.gw2.called, by="device", status=486)
    )  # an attempt: the hunting may go on
    bench = started(fixture)
    fixture.gw1.notify()
    fixture.gw2.notify()
    bench.core.leave(bench.now)
    bench.pump()
    assert [(cdr.ended_by, cdr.result) for cdr in bench.cdrs] == [("caller", "answered")] * 3
    assert not standing[0].asked and not standing[1].asked


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_an_agent_that_is_away_is_not_waited_for_when_the_call_is_surely_over(who: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records = [ended(a, by="device")]
    fixture.gw2.records = [ended(b, by="server")]
    bench = fixture.succeed("gw2" if who == "caller" else "gw1")
    bench.after(0.1)
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [
        ("answered", "caller" if who == "caller" else "server")
    ]
    (fixture.gw2 if who == "caller" else fixture.gw1).connect()
    bench.after(0.1)
    assert len(bench.cdrs) == 1


def test_a_target_that_refused_is_not_the_end_of_a_call_whose_caller_is_not_there_yet() -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    first = fixture.gw2.called
    first.ring()
    fixture.die()
    fixture.gw2.records = [ended(first, by="device", status=486)]
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    bench = fixture.succeed("gw1")
    bench.after(5.0)
    assert not bench.cdrs
    fixture.gw1.connect()
    bench.after(3.0)
    fixture.gw2.called.accept()
    assert a.statuses[-1] == 200 and not bench.cdrs
    a.ack()
    a.say("BYE")
    fixture.gw2.called.answer(fixture.gw2.called.asked[-1], 200)
    assert [cdr.result for cdr in bench.cdrs] == ["answered"]
    fixture.gone()
    assert len(bench.cdrs) == 1


def test_an_invite_under_way_at_an_agent_is_not_concluded_as_unanswered() -> None:
    """It waits for the list of the other agent, and its target was a trunk of the server that is no more."""
    fixture = TakeoverFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    a = fixture.gw1.call("9123")
    trunk.called.ring()
    fixture.die()
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    fixture.gw2.silent = True
    bench = fixture.succeed()
    bench.after(1.0)
    assert not bench.cdrs and a.statuses[-1] == 100
    fixture.gw2.notify()
    bench.after(0.1)
    assert not bench.cdrs and len(bench.core.calls) == 1


# -- the queues and the evidence, value by value ------------------------------------------------------------------

CONNECTED = Flow("tcp", "s1#1", ("127.0.0.11", 40001))


class Record:
    """What an agent told of a dialog, as far as it matters here."""

    def __init__(
        self, call: str, agent: str = "gw1", over: bool = False, by_server: bool = False, sent: bool = False
    ) -> None:
        self.call = call
        self.agent = agent
        self.key = f"{call} {agent}"
        self.is_over = over
        self.live = not over
        self.opened_by_server = by_server
        self.has_sent = sent
        self.record = self
        self.ended = SimpleNamespace(reason="Q.850;cause=16", media="")


class Parts:
    """A reconciliation amid parts that note what it asks of them, in order."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.alarms: list[tuple[float, str]] = []
        self.lease = True
        self.broken: set[str] = set()
        self.calls: dict[str, Any] = {}
        """What is restored, by call id; others are whole."""
        self.state: Any = SimpleNamespace(answered=1.0, caller_agent="gw1", callee_agent="gw2")
        self.rings_on = False
        self.connections: dict[str, Any] = {
            name: SimpleNamespace(name=name, complete=True, flow=CONNECTED, asked_at=10.0, seen=set())
            for name in ("gw1", "gw2")
        }
        self.index = Index(lambda told, fault: None)
        deadlines = SimpleNamespace(set=lambda at, who, cause: self.alarms.append((at, cause)))
        self.served: dict[str, Any] = {}
        """The calls that this server serves."""
        self.restorations: Any = SimpleNamespace(
            services=SimpleNamespace(
                stack=SimpleNamespace(deadlines=deadlines),
                site=SimpleNamespace(timing=SimpleNamespace(agent_grace=300.0)),
                transfers=SimpleNamespace(ending=set()),
                calls=self.served,
            ),
            agents=SimpleNamespace(connections=self.connections, begun_at=0.0),
            index=self.index,
            half={},
            restore=self._restore,
            state_of=lambda records: self.state,
            ring_on=lambda state, records, now: self.rings_on,
            step=lambda one, event, told, now: self.asked.append((event, one.call_id, told.records)),
            release=self._release,
        )
        self.it = Reconciliation(
            self.restorations,
            lambda now: self.lease,
            lambda call_id, error, now: self.asked.append(("passed over", call_id, str(error))),
        )

    def _restore(self, call_id: str, now: float) -> Any:
        self.asked.append(call_id)
        if call_id in self.broken:
            raise ValueError("no sense")
        return self.calls.get(call_id, SimpleNamespace(bridge=SimpleNamespace(complete=True)))

    def _release(self, call: Any, release: Any, now: float) -> None:
        self.asked.append(("release", call, *release))
        call.bridge.complete = True

    def add(self, *records: Any) -> list[Any]:
        for each in records:
            self.index.add(each)
        return list(records)

    def judge(self, *records: Any, now: float = 5.0) -> list[Any]:
        """What comes of a call with these records that cannot be restored."""
        self.add(*records)
        self.calls["c"] = None
        self.it.look_at(records, now)
        return self.work(now)

    def work(self, now: float = 5.0) -> list[Any]:
        """One portion; what was asked for."""
        self.it.due(WORK, now)
        found, self.asked[:] = self.asked[:], []
        return found

    def half(self, missing: str, caller: str = "gw1", callee: str = "gw2") -> Any:
        """A call of which the leg of that side is not there."""
        leg = SimpleNamespace(dialog=SimpleNamespace(key="leg"))
        target = None if missing == "callee" else leg
        return SimpleNamespace(
            bridge=SimpleNamespace(complete=False, target=target, legs=[leg]),
            state=SimpleNamespace(caller_agent=caller, callee_agent=callee),
        )


def test_work_is_done_in_portions_with_pauses() -> None:
    parts = Parts()
    records = parts.add(*(Record(f"c{number:02d}") for number in range(60)))
    assert parts.it.idle
    parts.it.look_at(records, 1.0)
    assert parts.alarms == [(1.0 + PAUSE, WORK)] and not parts.it.idle
    parts.it.look_at((), 1.0)
    assert len(parts.alarms) == 1, "it is at work already"
    assert parts.work(2.0) == [f"c{number:02d}" for number in range(AT_ONCE)]
    assert parts.alarms[1:] == [(2.0 + PAUSE, WORK)]
    assert len(parts.work()) == AT_ONCE and len(parts.work()) == 60 - 2 * AT_ONCE
    assert parts.it.idle and len(parts.alarms) == 3 and parts.work() == []
    parts.it.look_at(records[:1], 9.0)
    assert parts.alarms[3:] == [(9.0 + PAUSE, WORK)] and parts.work() == ["c00"]


def test_calls_that_are_restored_already_are_passed_by_so_many_at_once() -> None:
    parts = Parts()
    records: list[Any] = [Record(f"c{number}") for number in range(LOOKED_AT + 1)]
    parts.add(*records[-2:])
    parts.it.look_at(records, 1.0)
    assert parts.work() == [f"c{LOOKED_AT - 1}"] and not parts.it.idle
    assert parts.work() == [f"c{LOOKED_AT}"]


def test_what_ended_goes_before_what_lives_and_each_call_is_looked_at_once() -> None:
    parts = Parts()
    parts.calls["over"] = None
    records = parts.add(Record("lives"), Record("lives", "gw2"), Record("over", over=True))
    parts.it.look_at(records[2:], 1.0)
    assert not parts.it.idle
    parts.it.look_at(records[:2], 1.0)
    assert [each for each in parts.work() if isinstance(each, str)] == ["over", "lives"]
    parts.restorations.half["known by half"] = Restoration("known by half")
    parts.it.look_at((), 2.0)
    assert parts.work() == ["known by half"]


def test_a_call_that_makes_no_sense_costs_the_others_nothing() -> None:
    parts = Parts()
    parts.broken.add("odd")
    records = parts.add(Record("odd"), Record("fine"))
    parts.it.look_at(records, 1.0)
    assert parts.work() == ["odd", ("passed over", "odd", "no sense"), "fine"]


def test_when_agents_were_waited_for_long_enough_all_is_looked_at_once_more() -> None:
    parts = Parts()
    parts.it.begin(1.0)
    assert parts.alarms == [(301.0, GRACE)]
    nobodys = Record("")
    parts.add(nobodys, Record("c"))
    parts.lease = False
    parts.it.due(GRACE, 301.0)
    assert parts.alarms[1:] == [(601.0, GRACE)] and parts.it.idle, "without a lease silence proves nothing"
    parts.lease = True
    parts.it.due(GRACE, 601.0)
    assert parts.alarms[2:] == [(601.0 + PAUSE, WORK)] and parts.work() == ["c"]
    assert list(parts.index.by_key.values()) == [parts.index.by_key["c gw1"]], "nobody's dialog is no call"


def test_another_server_that_leads_leaves_nothing_to_do() -> None:
    parts = Parts()
    parts.connections["gw2"].complete = False
    assert parts.judge(Record("c", over=True)) == ["c"], "gw2 has not told all"
    ringing = parts.add(Record("r"))
    parts.calls["r"] = None
    parts.it.look_at(ringing, 5.0)
    assert parts.work() == ["c", "r"]
    before = parts.it.generation
    parts.it.clear()
    assert parts.it.generation != before, "alarms that were set do not count"
    parts.alarms.clear()
    parts.it.look_at((), 6.0)
    assert parts.alarms == [], "neither what had ended nor what rings is known any more"
    parts.it.look_at(parts.add(Record("more"), Record("ended", over=True)), 6.0)
    parts.it.clear()
    assert parts.it.idle
    parts.alarms.clear()
    parts.it.look_at(ringing, 6.0)
    assert parts.alarms == [(6.0 + PAUSE, WORK)]


def test_what_is_left_undecided_is_looked_at_when_more_was_told() -> None:
    parts = Parts()
    parts.connections["gw2"].complete = False
    over, rings = parts.add(Record("c", over=True), Record("r"))
    parts.calls["c"] = parts.calls["r"] = None
    parts.it.look_at((over, rings), 5.0)
    assert parts.work() == ["c", "r"]
    parts.connections["gw2"].complete = True
    parts.it.look_at((), 6.0)
    assert parts.work() == ["c", (ALL_ENDED, "c", [over]), "r", (CALLER_GONE, "r", [rings])]
    parts.it.look_at((), 7.0)
    assert parts.it.idle, "both are decided"


def test_in_haste_what_has_ended_is_written_though_an_agent_has_not_told_all() -> None:
    parts = Parts()
    parts.connections["gw2"].complete = False
    undecided: Any = Record("c", over=True)
    assert parts.judge(undecided) == ["c"]
    parts.it.hasten(6.0)
    assert parts.asked == [(ALL_ENDED, "c", [undecided])]
    parts.it.hasten(6.0)
    assert len(parts.asked) == 1, "once"
    queued, half_over, odd = parts.add(Record("q", over=True), Record("h", over=True), Record("odd", over=True))
    parts.add(Record("h", "gw2"))
    parts.it.look_at((queued, half_over, odd), 7.0)
    wanted = parts.restorations.state_of
    parts.restorations.state_of = lambda records: wanted(records) if odd not in records else [][0]
    parts.it.hasten(7.0)
    assert parts.asked[1:] == [(ALL_ENDED, "q", [queued]), ("passed over", "odd", "list index out of range")]
    parts.it.hasten(8.0)
    assert len(parts.asked) == 3 and parts.it.idle


# A call of which one leg is missing


@pytest.mark.parametrize(
    ("missing", "agents", "why"),
    [
        ("callee", {}, "gw2 has no such dialog"),
        ("caller", {}, "gw1 has no such dialog"),
        ("callee", {"callee": "gw9"}, "gw9 is no agent of this site any more"),
        ("callee", {"callee": ""}, FORMER),
        ("caller", {"caller": ""}, FORMER),
    ],
)
def test_what_is_left_of_a_call_is_released_when_its_other_leg_is_surely_gone(
    missing: str, agents: dict[str, str], why: str
) -> None:
    parts = Parts()
    call = parts.calls["c"] = parts.half(missing, **agents)
    parts.it.look_at(parts.add(Record("c")), 5.0)
    assert parts.work() == ["c", ("release", call, why, None)]


def test_a_leg_that_may_be_told_still_is_waited_for() -> None:
    parts = Parts()
    parts.connections["gw2"].complete = False
    parts.calls["c"] = parts.half("callee")
    parts.it.look_at(parts.add(Record("c")), 5.0)
    assert parts.work() == ["c"]


def test_a_leg_that_a_transfer_ends_is_left_to_that() -> None:
    parts = Parts()
    parts.calls["c"] = parts.half("callee")
    parts.restorations.services.transfers.ending.add("leg")
    parts.it.look_at(parts.add(Record("c")), 5.0)
    assert parts.work() == ["c"]


def test_why_a_line_of_the_servers_own_has_no_leg_is_said_where_it_is_known() -> None:
    parts = Parts()
    call = parts.calls["c"] = parts.half("callee", callee="")
    one = parts.restorations.half["c"] = Restoration("c")
    one.why = "its peer is by a stream that broke"
    parts.it.look_at((), 5.0)
    assert parts.work() == ["c", ("release", call, one.why, None)]
    one.why, call.bridge.complete = "", False
    parts.it.look_at((), 5.0)
    assert parts.work() == ["c", ("release", call, FORMER, None)]
    call.state.callee_agent, one.why, call.bridge.complete = "gw2", "not of this line", False
    parts.it.look_at((), 5.0)
    assert parts.work() == ["c", ("release", call, "gw2 has no such dialog", None)]


def test_the_record_of_the_other_side_that_has_ended_is_the_reason() -> None:
    parts = Parts()
    call = parts.calls["c"] = parts.half("callee")
    living, over = parts.add(Record("c"), Record("c", "gw2", over=True))
    parts.it.look_at((living, over), 5.0)
    assert parts.work() == ["c", ("release", call, "the other side ended it: Q.850;cause=16", over), "c"]
    assert parts.index.of_call("c") == [living]


# A call without an answered leg


def test_a_call_without_records_or_with_requests_to_be_repeated_is_left_alone() -> None:
    parts = Parts()
    parts.restorations.half["c"] = Restoration("c")
    assert parts.judge() == ["c"]
    parts = Parts()
    assert parts.judge(Record("c", over=True, sent=True)) == ["c"]
    assert parts.judge(Record("c", "gw2", sent=True, by_server=True)) == ["c"]
    parts = Parts()
    told = Record("c", over=True, sent=True, by_server=True)
    assert parts.judge(told) == ["c", (ALL_ENDED, "c", [told])], "a request of a server's call is not repeated so"


@pytest.mark.parametrize(
    ("state", "rings_on", "complete", "told"),
    [
        (True, False, ("gw1", "gw2"), True),
        (False, False, ("gw1", "gw2"), False),
        (True, True, ("gw1", "gw2"), False),
        (True, False, ("gw1",), False),
        (True, False, ("gw2",), False),
    ],
    ids=["nobody is there", "no token", "it rings on", "the callee's agent tells still", "the caller's agent does"],
)
def test_a_call_rings_for_nobody_when_both_agents_have_told_all(
    state: bool, rings_on: bool, complete: tuple[str, ...], told: bool
) -> None:
    parts = Parts()
    parts.rings_on = rings_on
    parts.state = parts.state if state else None
    for name, connection in parts.connections.items():
        connection.complete = name in complete
    record = Record("c")
    assert parts.judge(record) == ["c", *([(CALLER_GONE, "c", [record])] if told else [])]


def test_a_call_of_which_one_side_has_ended_and_one_rings_has_not_ended() -> None:
    parts = Parts()
    over, rings = parts.add(Record("c", over=True), Record("c", "gw2", by_server=True))
    parts.calls["c"] = None
    parts.it.look_at((rings,), 5.0)
    assert parts.work() == ["c", (CALLER_GONE, "c", [over, rings])]


# A call that has ended


@pytest.mark.parametrize(
    ("answered", "by_server", "gone", "sure"),
    [
        (True, False, {}, True),
        (True, True, {}, True),
        (False, False, {}, True),
        (False, True, {}, True),
        (False, True, {"gw1": "complete"}, False),  # it may go on to other targets
        (False, True, {"gw2": "complete"}, True),
        (False, False, {"gw2": "complete"}, False),
        (True, False, {"gw1": "complete"}, False),
        (True, False, {"gw2": "complete"}, False),
        (True, False, {"gw2": "complete and flow"}, True),  # nobody waits for who is not connected
        (True, False, {"gw2": "connection"}, True),
        (None, True, {"gw1": "complete", "gw2": "complete"}, True),
    ],
)
def test_a_call_is_over_when_every_connected_agent_of_it_has_told_all(
    answered: bool | None, by_server: bool, gone: dict[str, str], sure: bool
) -> None:
    parts = Parts()
    parts.state = None if answered is None else parts.state
    if answered is False:
        parts.state.answered = 0.0
    for name, what in gone.items():
        if what == "connection":
            del parts.connections[name]
        else:
            parts.connections[name].complete = False
        if what == "complete and flow":
            parts.connections[name].flow = None
    told = Record("c", over=True, by_server=by_server)
    assert parts.judge(told) == ["c", *([(ALL_ENDED, "c", [told])] if sure else [])]


def test_the_targets_that_failed_are_not_all_when_the_caller_s_side_has_ended_as_well() -> None:
    parts = Parts()
    parts.state.answered = 0.0
    parts.connections["gw2"].complete = False
    assert parts.judge(Record("c", over=True), Record("c", "gw2", over=True, by_server=True)) == ["c"]


def test_a_call_whose_records_turn_out_to_be_none_of_it_is_not_written() -> None:
    parts = Parts()
    told: Any = Record("c", over=True)

    def not_believed(records: Any) -> None:
        parts.index.part(told)

    parts.restorations.state_of = not_believed
    assert parts.judge(told) == ["c"]


@pytest.mark.parametrize(
    ("agent", "complete", "flow", "at", "lease", "why"),
    [
        ("", True, True, 5.0, True, FORMER),
        ("gw9", True, True, 5.0, True, "gw9 is no agent of this site any more"),
        ("gw1", True, True, 5.0, True, "gw1 has no such dialog"),
        ("gw1", False, True, 299.5, True, ""),
        ("gw1", True, False, 299.5, True, ""),
        ("gw1", False, False, 300.0, True, "gw1 was silent for 300 s"),
        ("gw1", True, False, 300.0, True, "gw1 was silent for 300 s"),
        ("gw1", False, False, 300.0, False, ""),
    ],
)
def test_when_a_leg_is_surely_gone(agent: str, complete: bool, flow: bool, at: float, lease: bool, why: str) -> None:
    parts = Parts()
    parts.lease = lease
    parts.connections["gw1"].complete = complete
    parts.connections["gw1"].flow = CONNECTED if flow else None
    parts.restorations.agents.begun_at = 50.0
    assert parts.it.gone(agent, 50.0 + at) == why


# Legs that a list which is told again lacks


class Leg:
    def __init__(self, agent: str, call_id: str, ended: bool = False) -> None:
        self.agent = agent
        self.ended = ended
        self.dialog = SimpleNamespace(call_id=call_id, local_tag="tag", key=dialog_key(call_id, "tag"))

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize(
    ("answered", "agents", "seen", "lost"),
    [
        (1009.0, ("gw1", "gw2"), "", True),
        (0.0, ("gw1", "gw2"), "", False),  # it is being set up
        (1010.0, ("gw1", "gw2"), "", False),  # answered as the list was asked for
        (1009.0, ("gw2", "gw2"), "", False),
        (1009.0, ("gw2", "gw1"), "", True),
        (1009.0, ("gw1", "gw2"), "tag", False),
        (1009.0, ("gw1", "gw2"), "no tag", False),
    ],
)
def test_a_leg_that_an_agent_lacks_in_its_list_is_ended_and_its_call_released(
    answered: float, agents: tuple[str, str], seen: str, lost: bool
) -> None:
    parts = Parts()
    mine, theirs = Leg("gw1" if "gw1" in agents else "gw3", "a"), Leg("gw2", "b")
    call = SimpleNamespace(
        state=SimpleNamespace(answered=answered, caller_agent=agents[0], callee_agent=agents[1]),
        wall_offset=1000.0,
        bridge=SimpleNamespace(legs=[theirs, mine]),
        agent_of=lambda leg: leg.agent,
    )
    parts.served["c"] = call
    if seen:
        parts.connections["gw1"].seen.add(dialog_key("a", "tag" if seen == "tag" else ""))
    parts.it.lost_legs(parts.connections["gw1"], 20.0)
    assert parts.asked == ([("release", call, "gw1 has no such dialog any more", None)] if lost else [])
    assert mine.ended is lost and not theirs.ended


def test_of_a_call_between_two_lines_of_an_agent_one_leg_is_enough_and_an_ended_one_none() -> None:
    parts = Parts()
    legs = [Leg("gw1", "over", ended=True), Leg("gw1", "a"), Leg("gw1", "b")]
    call = SimpleNamespace(
        state=SimpleNamespace(answered=1001.0, caller_agent="gw1", callee_agent="gw1"),
        wall_offset=1000.0,
        bridge=SimpleNamespace(legs=legs),
        agent_of=lambda leg: leg.agent,
    )
    parts.served["being set up"] = SimpleNamespace(
        state=SimpleNamespace(answered=0.0, caller_agent="gw1", callee_agent="gw1"), wall_offset=1000.0
    )
    parts.served["c"] = call
    parts.it.lost_legs(parts.connections["gw1"], 20.0)
    assert [leg.ended for leg in legs] == [True, True, False] and len(parts.asked) == 1
