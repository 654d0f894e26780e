"""What agents say of a call's media gets into its record, whoever says it last; nobody is waited for without end."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from b2bua.call_quality import WITHIN, CallQuality, with_quality
from b2bua.call_records import CallRecords
from b2bua.cdr import Cdr
from b2bua.state_token import CallState
from sip.media_quality import LONGEST, NOT_MEASURED, MediaQuality, StreamQuality, decode
from sip.timers import Deadlines

NEAR = StreamQuality(100, 1, 2.0, 4.2)
FAR = StreamQuality(99, 2, 3.5, 4.1)
BOTH = MediaQuality(NEAR, FAR)
STATE = CallState(
    "c", caller_line="trunk/1", caller_dialog="a", callee_line="alice", callee_dialog="b", started=1.0, answered=2.0
)


class Bench:
    def __init__(self, relayed: str = "trunk alice") -> None:
        self.deadlines = Deadlines()
        self.events: deque[Any] = deque()
        self.records = CallRecords("town", "m1", 0.0, self.events)
        self.quality = self.records.quality = CallQuality(self.deadlines, self.records.measured)
        self.quality.relayed = frozenset(relayed.split())

    def end(self, state: CallState = STATE) -> None:
        self.records.write(state, 0.0, 200, "caller", 9.0, "")

    def written(self) -> list[tuple[int | None, int | None]]:
        found = [(one.record.caller_packets, one.record.callee_packets) for one in self.events]
        self.events.clear()
        return found


@pytest.mark.parametrize(
    "quality", [NOT_MEASURED, BOTH, MediaQuality(StreamQuality(0, 0, 0.0, None)), MediaQuality(None, FAR)]
)
def test_the_header_comes_back(quality: MediaQuality) -> None:
    assert decode(quality.encode()) == quality


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "device;packets=1",
        "device;packets=-1;lost=0;jitter=0",
        "near;packets=1;lost=0;jitter=0",
        "x" * LONGEST,
        "device;packets=1;lost=0;jitter=0;mos=9",
        "device;packets=1;lost=0;jitter=nan",
        " ," * 100,
    ],
)
def test_what_cannot_be_read_was_not_measured(text: str) -> None:
    assert decode(text) == NOT_MEASURED


def test_of_a_stream_the_last_relay_on_its_way_counts() -> None:
    record = with_quality(
        Cdr("c"), BOTH, MediaQuality(StreamQuality(7, 0, 0.0, 4.4), StreamQuality(90, 10, 9.0, 3.0))
    )
    assert (record.caller_packets, record.caller_lost, record.caller_jitter_ms, record.caller_mos) == (
        90,
        10,
        9.0,
        3.0,
    )
    assert (record.callee_packets, record.callee_lost, record.callee_jitter_ms, record.callee_mos) == (*FAR,)
    record = with_quality(Cdr("c"), NOT_MEASURED, BOTH)
    assert (record.caller_packets, record.callee_packets) == (99, 100)
    assert with_quality(Cdr("c"), NOT_MEASURED, NOT_MEASURED) == Cdr("c")


def test_a_record_waits_for_both_agents() -> None:
    bench = Bench()
    bench.quality.note("a", BOTH.encode(), 8.9)
    bench.end()
    assert not bench.events and "c" in bench.records.ended
    bench.quality.note("b", MediaQuality(None, StreamQuality(80, 0, 0.0, 4.4)).encode(), 9.1)
    assert bench.written() == [(80, 99)]
    assert bench.records.ended["c"].record.caller_packets == 80
    bench.deadlines.fire(9.0 + WITHIN)
    assert not bench.events


@pytest.mark.parametrize(
    "relayed, told",
    [("trunk alice", "a b"), ("trunk", "a"), ("alice", "b"), ("", ""), ("carol", "")],
)
def test_a_record_waits_for_nobody_who_has_nothing_to_say(relayed: str, told: str) -> None:
    bench = Bench(relayed)
    for dialog in told.split():
        bench.quality.note(dialog, BOTH.encode(), 8.0)
    bench.end()
    assert len(bench.written()) == 1


def test_a_call_that_was_not_answered_has_no_media() -> None:
    bench = Bench()
    bench.end(STATE._replace(answered=0.0))
    assert bench.written() == [(None, None)]


def test_nobody_is_waited_for_without_end() -> None:
    bench = Bench()
    bench.end()
    bench.quality.note("a", BOTH.encode(), 9.5)
    bench.deadlines.fire(9.0 + WITHIN - 0.01)
    assert not bench.events
    bench.deadlines.fire(9.0 + WITHIN)
    assert bench.written() == [(100, 99)]
    bench.quality.note("b", BOTH.encode(), 11.0)
    assert not bench.events


def test_at_the_end_of_the_process_no_record_waits() -> None:
    bench = Bench()
    bench.end()
    bench.quality.hasten()
    assert bench.written() == [(None, None)]


def test_the_first_word_of_an_agent_counts() -> None:
    bench = Bench("trunk")
    bench.quality.note("a", "", 1.0)
    bench.quality.note("a", BOTH.encode(), 1.0)
    bench.quality.note("a", MediaQuality(FAR, NEAR).encode(), 2.0)
    bench.end()
    assert bench.written() == [(100, 99)]
