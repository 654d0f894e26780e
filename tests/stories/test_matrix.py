"""The crash matrix: a kill at every message, other failures at every third, elsewhere at some; docs/matrix.md has
them.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from sip.actions import Action, Send
from sip.actions import Flow as Path
from tests.stories import matrix, pairs
from tests.stories.flows import FLOWS, SERVED_FLOWS, Flow
from tests.stories.repeats import TIMERS, Repeats
from tests.stories.site_simulation import SiteSimulation
from tests.wires import Delivery
from tests.world import AFTER, BEFORE, PARTLY, Crash

STEP = 3
SEEDS, AT_ONCE = 100, 20
ELSEWHERE_STEP, PARTS = 160, 8


@pytest.mark.parametrize("flow", (*FLOWS, *SERVED_FLOWS), ids=lambda flow: flow.name)
def test_the_active_server_is_killed_at_every_message(flow: Flow) -> None:
    found = list(matrix.cells([flow], matrix.KINDS[:1]))
    assert len(found) >= 12
    assert [one for one in found if one.faults] == []


@pytest.mark.parametrize("kind", matrix.KINDS[1:], ids=lambda kind: kind.name)
def test_other_failures_at_some_messages(kind: matrix.Kind) -> None:
    places = [
        (flow, place, moment)
        for flow in FLOWS
        for place in range(len(matrix.calm(flow.name, kind.standby)[1]))
        for moment in kind.moments
    ]
    found = [matrix.cell(kind, *place)[0] for place in islice(places, 0, None, STEP)]
    assert [one for one in found if one.faults] == []


@pytest.mark.parametrize("part", range(PARTS))
def test_failures_elsewhere(part: int) -> None:
    """Of any node, at any message and timer, in takeovers; switchovers and reloads."""
    places = islice(matrix.all_cells(FLOWS, matrix.ELSEWHERE), part * ELSEWHERE_STEP // PARTS, None, ELSEWHERE_STEP)
    found = [matrix.cell(*place)[0] for place in islice(places, part % PARTS, None, PARTS)]
    assert len(found) > 20
    assert [one for one in found if one.faults] == []


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_two_failures_from_seeds(first: int) -> None:
    """Of any nodes: ``python -m tests.stories.pairs SEED`` shows one."""
    for seed in range(first, first + AT_ONCE):
        assert not pairs.run(seed), f"seed {seed}: {pairs.pair(seed)}"


@pytest.mark.parametrize(
    ("name", "place", "breaks"),
    [
        # the ACK of the first change is lost with the connection, and the second change is under way
        ("hold and resume by the caller", 8, range(9, 13)),
        # the agent with the answer is away while its caller's CANCEL is replayed
        ("CANCEL crossing the answer", 3, range(4, 10)),
    ],
)
def test_the_connection_of_the_called_side_breaks_in_the_takeover(name: str, place: int, breaks: range) -> None:
    flow = next(one for one in FLOWS if one.name == name)
    for at in breaks:
        for moment in (BEFORE, AFTER):
            killed = Crash("m1", place, BEFORE, matrix.of_calls)
            broken = pairs.broken_after(killed, "gw2", at, moment)
            _, faults = pairs.crashed(flow, killed, broken)
            assert broken.happened_at is not None
            assert not faults, (at, moment, faults)


def test_an_attempt_that_ended_by_the_cancel_of_a_dead_server_is_followed_by_the_next() -> None:
    """The server died between the CANCEL and the INVITE to the next target; its agent has answered 487 meanwhile."""
    for kind in ("kill at timers", "restart at timers"):
        where = next(one for one in matrix.ELSEWHERE if one.name == kind)
        flow = matrix.flow_of("hunting to the third target")
        places = matrix.places_of(where, flow)
        for place in (at for at, label in enumerate(places) if label.startswith("a timer at 9.0")):
            assert matrix.cell(where, flow, place, PARTLY)[0].faults == ()


@pytest.mark.parametrize(("name", "step"), [("plain call, BYE from the caller", 1), ("cold line", 6)])
def test_a_cell_that_branches_off_is_as_one_that_is_run_alone(name: str, step: int) -> None:
    flow = matrix.flow_of(name)
    some = [list(matrix.all_cells([flow], [kind])) for kind in (*matrix.KINDS, *matrix.ELSEWHERE)[::step]]
    wheres = [cells[len(cells) * number // len(some)] for number, cells in enumerate(some) if cells]
    assert matrix.run_all(wheres, 1) == [matrix.cell(*where)[0] for where in wheres]


def test_what_goes_wrong_in_a_branch_is_told_and_the_others_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, flow = matrix.KINDS[0], matrix.flow_of("busy")
    wheres = list(matrix.all_cells([flow], [kind]))
    judged = matrix.faults_of

    def faulty(kind: matrix.Kind, flow: Flow, got: matrix.Outcome) -> tuple[str, ...]:
        assert got.lasted <= matrix.bases_of(kind, flow)[0].lasted, "it lasts longer"
        return judged(kind, flow, got)

    monkeypatch.setattr(matrix, "faults_of", faulty)
    found = {one.faults for one in matrix.tried(wheres)}
    assert found == {(), ("raised", "AssertionError: it lasts longer")}


def test_the_answer_in_an_ack_waits_as_the_ack_does_for_the_device_to_repeat_its_offer() -> None:
    """The agent is away while the device repeats it for the third time, and the call is over before the fourth."""
    flow = matrix.flow_of("re-INVITE without offer")
    kind = next(one for one in matrix.ELSEWHERE if one.name == "gw2, restart at messages of calls")
    places = [place for place, label in enumerate(matrix.places_of(kind, flow)) if label == "ACK from m1"]
    killed = Crash("gw2", places[1], BEFORE, matrix.of_calls, lasts=1.9)
    _, faults = pairs.crashed(flow, killed, kinds=(kind,))
    assert killed.happened_at is not None
    assert faults == ()


def test_the_page_tells_of_every_flow_and_of_no_failure() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert page.startswith(matrix.INTRO)
    assert page.endswith("## Cells that fail\n\nNone.\n")
    for kind in matrix.KINDS:
        assert page.count(f"## {kind.name.capitalize()}: {kind.means}\n") == 1
    assert all(page.count(f"| {flow.name} |") == len(matrix.KINDS) for flow in (*FLOWS, *SERVED_FLOWS))


def test_a_page_names_the_cells_that_fail() -> None:
    good = matrix.Cell("kill", "busy", 0, "before", "INVITE from gw1", ())
    bad = matrix.Cell("kill", "busy", 1, "before", "486 INVITE from gw2", ("west received 1 x BYE more",))
    page = matrix.page([good, bad])
    assert "| busy | 0 | 1/2 | 0/0 | 0/0 | 0/0 |" in page and "1 of 2 cells are good." in page
    assert "* kill, busy, message 1 (486 INVITE from gw2), before: west received 1 x BYE more" in page


class Repeater:
    """An agent that says again to its device what it said last, as soon as another server takes over."""

    def __init__(self, agent: Any, words: bytes) -> None:
        self._agent = agent
        self._words = words
        self._last: Send | None = None
        self._again: list[Action] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def receive(self, data: bytes, flow: Path, now: float) -> None:
        if data.startswith(b"SUBSCRIBE ") and b"purpose=takeover" in data and self._last is not None:
            self._again.append(self._last)
        self._agent.receive(data, flow, now)

    def to_do(self) -> list[Action]:
        actions: list[Action] = self._agent.to_do()
        for action in actions:
            if isinstance(action, Send) and action.flow.transport == "udp" and action.data.startswith(self._words):
                self._last = action
        again, self._again = self._again, []
        return again + actions


PLAIN = FLOWS[0]


@pytest.mark.parametrize("kind", matrix.KINDS[:3], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("agent", "words", "fault"),
    [
        ("gw1", b"SIP/2.0 180 ", "west: 180 INVITE came again (1 x)"),
        ("gw1", b"SIP/2.0 100 ", "west: 100 INVITE came again (1 x)"),
        ("gw2", b"INVITE ", "east: INVITE body=a1e2ab3e came again (1 x)"),
    ],
)
def test_a_takeover_that_shows_a_device_something_twice_is_found(
    agent: str, words: bytes, fault: str, kind: matrix.Kind
) -> None:
    def spoil(sim: SiteSimulation) -> None:
        node = sim.world.nodes[agent]
        node.core = Repeater(node.core, words)

    messages = matrix.calm(PLAIN.name, kind.standby)[1]
    ringing = next(at for at, message in enumerate(messages) if message.startswith("180"))
    one, _ = matrix.cell(kind, PLAIN, ringing, AFTER, spoil)
    assert one.faults == (fault,)


def delivery(source: str, target: str, first: str, cseq: str) -> Delivery:
    """A message between a device and its agent."""
    lines = (first, "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@h>;tag=a", "To: <sip:b@h>;tag=b")
    data = "\r\n".join((*lines, "Call-ID: c", f"CSeq: {cseq}", "Content-Length: 0\r\n\r\n")).encode()
    return Delivery(source, target, data, Path("udp", "h:1", ("h", 2)))


@pytest.mark.parametrize(
    ("asks", "answer", "timer"),
    [
        (("INFO sip:b@h SIP/2.0", "2 INFO"), ("SIP/2.0 200 OK", "2 INFO"), 0),
        (("INVITE sip:b@h SIP/2.0", "1 INVITE"), ("SIP/2.0 180 Ringing", "1 INVITE"), 0),
        (("SIP/2.0 200 OK", "1 INVITE"), ("ACK sip:b@h SIP/2.0", "1 ACK"), 1),
        (("SIP/2.0 486 Busy Here", "1 INVITE"), ("ACK sip:b@h SIP/2.0", "1 ACK"), 1),
    ],
)
def test_what_a_device_asks_for_again_may_be_answered_again_and_no_oftener(
    asks: tuple[str, str], answer: tuple[str, str], timer: int
) -> None:
    repeats = Repeats(("west",))
    for _ in range(2):
        repeats.note(delivery("west", "gw1", *asks))
        repeats.note(delivery("gw1", "west", *answer))
    assert (repeats.explained, repeats.unexplained) == ({TIMERS[timer].name: 1}, {})
    repeats.note(delivery("gw1", "west", *answer))
    assert sum(repeats.unexplained.values()) == 1


def test_a_request_that_comes_again_is_never_explained() -> None:
    repeats = Repeats(("west",))
    for _ in range(2):
        repeats.note(delivery("gw1", "west", "BYE sip:a@h SIP/2.0", "2 BYE"))
        repeats.note(delivery("west", "gw1", "SIP/2.0 200 OK", "2 BYE"))
    assert repeats.unexplained == {"west: BYE": 1}


def test_a_dialog_that_was_told_is_no_less_there_when_the_connection_breaks_at_once() -> None:
    """It was told, and could not be restored any more: that is not for want of it."""
    kind = next(one for one in matrix.ELSEWHERE if one.name == "s1, reset in the takeover")
    flow = matrix.flow_of("attended transfer")
    assert "NOTIFY from gw1" in matrix.places_of(kind, flow)[61]
    found, _ = matrix.cell(kind, flow, 61, AFTER)
    assert found.faults == ()
