"""What would become of each call at a takeover, by what agents tell of it; and what stands against one."""

from __future__ import annotations

from typing import Any

import pytest

from b2bua.device_leg_state import DeviceLegState
from b2bua.state_token import CallState
from b2bua.takeover.rehearsal import Heard, Seen, judge
from heartbeat.console.contract import Refused
from sip.dialog import DialogState
from tests.b2bua.fake_agent import ServerFixture
from tests.consoles import ordered, seen

STATE = CallState("c1", caller_agent="gw1", callee_agent="gw2", callee_dialog="b", answered=5.0)
DEVICE_LEG = DeviceLegState(
    DialogState("b", "ours", "theirs", "<sip:a@x>", "<sip:b@y>"), "udp", "127.0.0.1", 5080, "x:5060"
)
RINGING = STATE._replace(answered=0.0)
BOTH = Heard(frozenset({"gw1", "gw2"}), frozenset({"gw1", "gw2"}))
ONLY_GW1 = Heard(frozenset({"gw1"}), frozenset({"gw1", "gw2"}))


def leg(callee: bool = False, state: CallState | None = STATE, **more: Any) -> Seen:
    """An answered leg that is told with a token; ``more`` says what is otherwise."""
    agent, call_id = ("gw2", "b") if callee else ("gw1", "a")
    return Seen(agent, "c1", call_id, "trunk", False, False, True, callee, False, 1, state)._replace(**more)


A, B = leg(), leg(True)
RINGS_A = leg(state=RINGING, talks=False, sends=True)
RINGS_B = leg(True, RINGING, talks=False)


@pytest.mark.parametrize(
    ("told", "heard", "verdict"),
    [
        ([A, B], BOTH, ("kept", "both of its legs are handed over")),
        ([B, A], BOTH, ("kept", "both of its legs are handed over")),
        ([A._replace(sends=True), B], BOTH, ("replayed", "what is under way in it is handed over")),
        ([A], BOTH, ("released", "gw2 has no such dialog")),
        ([B], BOTH, ("released", "gw1 has no such dialog")),
        ([A], ONLY_GW1, ("waiting", "its other side is at gw2, which has not told what it has")),
        ([A], Heard(frozenset({"gw1"}), frozenset({"gw1"})), ("released", "gw2 is no agent of this site any more")),
        (
            [leg(state=STATE._replace(callee_agent=""))],
            BOTH,
            ("released", "its other side is a line of the servers' own, of which its token does not tell"),
        ),
        (
            [leg(state=STATE._replace(callee_agent="", device_leg=DEVICE_LEG), cold_line="old")],
            BOTH,
            ("released", "old is cold: its calls are dropped"),
        ),
        (
            [leg(state=STATE._replace(callee_agent="", device_leg=DEVICE_LEG))],
            BOTH,
            ("kept", "one leg is handed over, that with a line of the servers is in its token"),
        ),
        ([A, B._replace(over=True)], BOTH, None),  # the end of one side is on its way to the other
        ([A._replace(over=True), B._replace(over=True)], BOTH, None),
        ([A._replace(over=True), B], BOTH, None),
        ([A, B._replace(cold=True, line="old")], BOTH, ("reset", "old is cold: its calls are dropped")),
        ([A._replace(over=True, cold=True), B._replace(over=True)], BOTH, None),
        ([RINGS_A, RINGS_B], BOTH, ("replayed", "what is under way in it is handed over")),
        ([RINGS_A], BOTH, ("replayed", "what is under way in it is handed over")),
        ([RINGS_A._replace(sends=False)], BOTH, ("kept", "its caller is handed over")),
        ([RINGS_B], BOTH, ("released", "gw1 has no such dialog")),
        ([RINGS_B], Heard(frozenset({"gw2"}), BOTH.known), ("waiting", "its other side is at gw1, which has not told"
                                                              " what it has")),
        # the callee's answer is on its way to a caller that has not heard of it
        ([RINGS_A, B], BOTH, ("replayed", "what is under way in it is handed over")),
        ([RINGS_A._replace(state=None)], BOTH, ("replayed", "no server has answered it yet: it is taken as just"
                                                            " arrived")),
        ([A._replace(state=None)], BOTH, ("alone", "its state token is not signed with the key of the site")),
        # a target that was given up and answered all the same is no side of the call
        ([A, B._replace(call_id="given up")], BOTH, ("released", "gw2 has no such dialog")),
        ([B._replace(call_id="given up")], BOTH, None),
        # the newest token is true
        ([leg(state=RINGING, counter=1), leg(state=STATE._replace(callee_agent="gw3"), counter=9)], BOTH,
         ("released", "gw3 is no agent of this site any more")),
    ],
)  # fmt: skip
def test_what_would_become_of_a_call(told: list[Seen], heard: Heard, verdict: tuple[str, str] | None) -> None:
    assert judge(told, heard) == verdict


def test_there_is_nothing_to_show_before_one_was_made() -> None:
    bench = ServerFixture().bench
    for page in ("rehearsal", "audit"):
        with pytest.raises(Refused, match="was made here yet"):
            seen(bench.core, page, {}, bench.now)


def test_two_that_ask_at_the_same_time_get_the_same() -> None:
    bench = ServerFixture().bench
    first, second = (ordered(bench.core, "rehearse", {}, bench.now) for _ in range(2))
    assert first["state"] == second["state"] == "running"
    assert bench.core.agents.connections["gw1"].parts < 5
    bench.after(11.0)
    for each in (first, second):
        assert seen(bench.core, "progress", {"id": each["id"]}, bench.now)["state"] == "done"
    assert seen(bench.core, "rehearsal", {}, bench.now)["node"] == "m1"


def test_an_agent_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    fixture = ServerFixture()
    fixture.gw2.silent = True
    bench = fixture.bench
    ordered(bench.core, "rehearse", {}, bench.now)
    bench.after(10.5)
    found = seen(bench.core, "rehearsal", {}, bench.now)
    assert "gw2 has not told what it has" in found["obstacles"]
    assert not [each for each in bench.core.stack.legs.values() if getattr(each, "purpose", "") == "observe"]
