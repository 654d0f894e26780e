"""The simulated world itself, with cores of a few lines."""

from __future__ import annotations

from typing import Any

import pytest

from sip.actions import Action, Close, Flow, Open, Resolve, Send, Store
from sip.location import Place
from tests.wires import Delivery
from tests.world import AFTER, BEFORE, PARTLY, UNSENT, Crash, Disk, World

M, G = "127.0.0.1:1", "127.0.0.2:1"
TO_G, TO_M = Flow("udp", M, ("127.0.0.2", 1)), Flow("udp", G, ("127.0.0.1", 1))


class Noter:
    """Notes all that happens; what a test puts into ``out`` is done; answers what asks for an answer."""

    def __init__(self, disk: Disk, now: float) -> None:
        self.started_at = now
        self.disk = dict(disk)
        self.out: list[Action] = []
        self.got: list[tuple[float, Any]] = []
        self.wake_at: float | None = None
        self.every = 0.0

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self.got.append((now, data))
        if data.startswith(b"ask"):
            self.out += [Send(flow, b"one"), Send(flow, b"two")]

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        self.got.append((now, (flow.local, state)))

    def done(self, request: Any, result: Any, now: float) -> None:
        self.got.append((now, (request, result)))

    def handle_timer(self, now: float) -> None:
        self.got.append((now, "tick"))
        self.wake_at = now + self.every if self.every else None

    def get_timer(self) -> float | None:
        return self.wake_at

    def to_do(self) -> list[Action]:
        out, self.out = self.out, []
        return out

    def next_event(self) -> None:
        return None

    def do(self, action: Action, now: float) -> None:
        self.out.append(action)

    def wake(self, after: float, now: float) -> None:
        self.wake_at = now + after

    @property
    def heard(self) -> list[Any]:
        return [what for _, what in self.got]


class Two:
    """Nodes m and g, each with UDP and TCP at port 1."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        for name, at in (("m", M), ("g", G)):
            self.world.add(name, Noter, at[:-2], [f"udp:{at}", f"tcp:{at}"], offset=0.0)

    def core(self, name: str) -> Noter:
        core = self.world.nodes[name].core
        assert isinstance(core, Noter)
        return core

    def do(self, name: str, *actions: Action) -> None:
        for action in actions:
            self.world.ask(name, self.core(name).do, action)

    def joined(self) -> tuple[Flow, Flow]:
        """A stream from m to g; how each end names it."""
        flow = Flow("tcp", "s1", ("127.0.0.2", 1))
        self.do("m", Open(flow))
        self.world.run(self.world.now + 1.0)
        assert self.core("m").heard == [("s1", "open")] and self.core("g").heard == [(f"{G}#1", "open")]
        self.core("m").got.clear()
        self.core("g").got.clear()
        back = next(flow for name, flow in self.world.wires.streams if name == "g")
        return flow, back


def test_a_datagram_arrives_with_the_address_to_answer_to() -> None:
    two = Two()
    two.do("m", Send(TO_G, b"ask"))
    two.world.run(1.0)
    assert two.core("g").heard == [b"ask"] and two.core("m").heard == [b"one", b"two"]
    assert 0.002 <= two.core("m").got[0][0] <= 0.0025


def test_datagrams_are_lost_doubled_and_late() -> None:
    two = Two()
    two.world.wires.weather.loss = 0.3
    two.world.wires.weather.double = 0.3
    two.world.wires.weather.late = 0.5
    sent = [b"%d" % number for number in range(200)]
    for data in sent:
        two.do("m", Send(TO_G, data))
    two.world.run(5.0)
    heard = two.core("g").heard
    assert 100 < len(set(heard)) < 180 and len(heard) > len(set(heard)) and heard != sorted(heard, key=sent.index)


def test_a_stream_keeps_its_order_whatever_the_weather() -> None:
    two = Two()
    flow, back = two.joined()
    two.world.wires.weather.late = 0.5
    sent = [b"%d" % number for number in range(100)]
    for data in sent:
        two.do("m", Send(flow, data))
        two.do("g", Send(back, data))
    two.world.run(60.0)
    assert two.core("g").heard == sent and two.core("m").heard == sent


def test_what_is_sent_while_a_stream_connects_waits_and_a_second_open_changes_nothing() -> None:
    two = Two()
    flow = Flow("tcp", "s1", ("127.0.0.2", 1))
    two.do("m", Open(flow), Open(flow), Send(flow, b"x"))
    two.world.run(1.0)
    assert two.core("g").heard == [(f"{G}#1", "open"), b"x"]


def test_nobody_listens_a_cut_or_a_dead_process_is_a_lost_flow() -> None:
    two = Two()
    two.do("m", Open(Flow("tcp", "nowhere", ("127.0.0.9", 1))))
    two.world.wires.cut("g", "m")
    two.do("m", Open(Flow("tcp", "cut", ("127.0.0.2", 1))))
    two.world.run(4.0)
    assert two.core("m").heard == [("nowhere", "lost")]
    two.world.run(7.0)
    assert two.core("m").heard[-1] == ("cut", "lost")
    two.world.wires.heal()
    two.world.kill("g")
    two.do("m", Open(Flow("tcp", "dead", ("127.0.0.2", 1))))
    two.world.run(8.0)
    assert two.core("m").heard[-1] == ("dead", "lost")


def test_a_killed_process_resets_its_streams_after_its_last_words() -> None:
    two = Two()
    flow, _ = two.joined()
    two.do("m", Send(flow, b"last"))
    two.world.kill("m")
    two.world.run(2.0)
    assert two.core("g").heard == [b"last", (f"{G}#1", "lost")] and not two.world.wires.streams


def test_a_closed_stream_is_lost_at_the_other_end_only() -> None:
    two = Two()
    flow, _ = two.joined()
    two.do("m", Send(flow, b"last"), Close(flow))
    two.world.run(2.0)
    assert two.core("g").heard == [b"last", (f"{G}#1", "lost")] and two.core("m").heard == []


def test_a_cut_stalls_a_stream_and_what_waited_comes_after_it() -> None:
    two = Two()
    flow, back = two.joined()
    two.world.wires.cut("m", "g")
    two.do("m", Send(flow, b"late"))
    for number in range(20):
        two.do("g", Send(back, b"%d" % number))
    two.world.run(5.0)
    assert two.core("g").heard == [] and len(two.core("m").heard) == 10  # no acknowledgement comes back
    two.world.wires.heal()
    two.world.run(10.0)
    assert two.core("g").heard == [b"late"] and len(two.core("m").heard) == 20


def test_a_stream_ends_after_thirty_seconds_without_an_acknowledgement() -> None:
    two = Two()
    flow, _ = two.joined()
    two.world.wires.cut("m", "g", both=True)
    two.do("m", Send(flow, b"x"))
    two.world.run(20.0)
    assert two.core("m").heard == []
    two.world.run(40.0)
    assert two.core("m").heard == [("s1", "lost")] and two.core("g").heard == [(f"{G}#1", "lost")]


def test_a_paused_process_keeps_its_streams_and_reads_later() -> None:
    two = Two()
    flow, _ = two.joined()
    two.world.ask("g", two.core("g").wake, 1.0)
    two.world.pause("g")
    two.do("m", Send(flow, b"x"), Send(TO_G, b"y"), Open(Flow("tcp", "s2", ("127.0.0.2", 1))))
    two.world.run(10.0)
    assert two.core("g").got == [] and two.core("m").heard == [("s2", "open")]
    two.world.resume("g")
    two.world.run(11.0)
    assert sorted(map(str, two.core("g").heard)) == sorted(map(str, [b"x", b"y", (f"{G}#2", "open"), "tick"]))
    assert {at for at, _ in two.core("g").got} == {10.0}


def test_streams_between_two_nodes_can_be_reset() -> None:
    two = Two()
    two.joined()
    two.world.wires.reset("g", "m")
    two.world.run(2.0)
    assert two.core("m").heard == [("s1", "lost")] and two.core("g").heard == [(f"{G}#1", "lost")]


def test_each_node_has_a_clock_of_its_own() -> None:
    two = Two()
    node = two.world.add("fast", Noter, "127.0.0.3", [], offset=100.0, rate=1.01)
    assert node.core.started_at == 100.0
    two.world.ask("fast", node.core.wake, 1.01)
    two.world.run(0.9)
    assert node.core.got == []
    two.world.run(1.1)
    assert node.core.got == [(pytest.approx(101.01), "tick")]
    two.world.ask("fast", node.core.wake, 50.0)
    two.world.jump("fast", 60.0)
    two.world.run(1.2)
    assert len(node.core.got) == 2 and node.core.got[-1][0] == pytest.approx(100 + 1.101 * 1.01 + 60, abs=0.02)


def test_a_core_that_is_always_due_cannot_stop_the_clock() -> None:
    two = Two()
    two.core("m").every = 1e-9
    two.world.ask("m", two.core("m").wake, 0.0)
    two.world.run(0.1)
    assert 90 <= len(two.core("m").got) <= 101


def test_the_disk_survives_the_process_and_holds_only_what_was_written_in_time() -> None:
    two = Two()
    two.do("m", Store("a", "1"))
    two.world.run(1.0)
    assert two.core("m").heard == [(Store("a", "1"), None)]
    two.do("m", Store("b", "2"))
    two.world.kill("m")
    two.world.run(2.0)
    two.world.start("m")
    assert two.core("m").disk == {"a": "1"} and two.core("m").started_at == 2.0


def test_names_are_resolved_from_a_table_and_numbers_by_themselves() -> None:
    two = Two()
    two.world.names["sip:x.example"] = [Place("tcp", "127.0.0.7", 5061)]
    two.do("m", Resolve("sip:x.example"), Resolve("sip:127.0.0.8;transport=tcp"))
    two.world.run(1.0)
    assert [result for _, result in two.core("m").heard] == [
        [Place("tcp", "127.0.0.7", 5061)],
        [Place("tcp", "127.0.0.8", 5060)],
    ]


@pytest.mark.parametrize(
    "moment, read, answers", [(BEFORE, False, 0), (UNSENT, True, 0), (PARTLY, True, 1), (AFTER, True, 2)]
)
def test_a_process_can_be_killed_at_any_message(moment: str, read: bool, answers: int) -> None:
    two = Two()
    server = two.core("g")

    def counts(delivery: Delivery) -> bool:
        return delivery.data != b"beat"

    crash = Crash("g", 1, moment, counts)
    two.world.crashes.append(crash)
    for data in (b"first", b"beat", b"ask", b"more"):
        two.do("m", Send(TO_G, data))
        two.world.run(two.world.now + 0.1)
    assert crash.happened_at is not None and not two.world.nodes["g"].alive
    assert server.heard == [b"first", b"beat"] + [b"ask"] * read and len(two.core("m").heard) == answers
    two.world.start("g")
    two.do("m", Send(TO_G, b"again"))
    two.world.run(5.0)
    assert two.core("g").heard == [b"again"]


def test_the_same_seed_gives_the_same_run() -> None:
    def ran(seed: int) -> tuple[str, list[Any]]:
        two = Two(seed)
        two.world.wires.weather.loss = two.world.wires.weather.late = two.world.wires.weather.double = 0.3
        for _ in range(50):
            two.do("m", Send(TO_G, b"ask"))
            two.world.run(two.world.now + 0.05)
        return two.world.ladder(), two.core("m").got

    assert ran(3) == ran(3) != ran(4)


def test_a_watch_stops_the_run_where_it_finds_something_wrong() -> None:
    two = Two()

    def watch() -> None:
        assert two.core("g").heard == [], "g heard something"

    two.world.watchers.append(watch)
    two.do("m", Send(TO_G, b"x"))
    with pytest.raises(AssertionError, match="g heard"):
        two.world.run(1.0)
    assert two.world.now < 0.01


def test_the_trace_tells_each_message_in_a_line() -> None:
    two = Two()
    invite = (
        b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKabcdef1\r\nCall-ID: 1234567890\r\n"
        b"CSeq: 1 INVITE\r\nLine: trunk/1\r\nContent-Length: 4\r\n\r\nbody"
    )
    two.do("m", Send(TO_G, invite))
    two.world.kill("g")
    two.world.run(1.0)
    last = two.world.ladder().splitlines()[-1].split()
    assert last[1:4] == ["m", "->", "g"] and last[-1] == "[dead]"
    assert {"INVITE", "sip:b@x", "12345678", "bcdef1", "line=trunk/1", "4"} <= set(last)
    assert two.world.run_until(lambda: two.world.now >= 3.0, 5.0) is True
