"""Whether a peer is there."""

from __future__ import annotations

from sip.peers import Probe, ProbePlan
from sip.requests import OutgoingRequest
from sip.wire.message import Response


def probe(**plan: float) -> Probe:
    return Probe("sip:carrier.example", "sip:ping@192.0.2.9", "call-1", "tag-1", ProbePlan(**plan))  # type: ignore[arg-type]


def answer(ask: OutgoingRequest, status: int, *lines: str) -> Response:
    cseq = next(line for line in ask.lines if line.startswith("CSeq:"))
    found = [cseq, *lines]
    return Response(status, "", [line.partition(":")[0].lower() for line in found], found)


def only(p: Probe) -> OutgoingRequest:
    (ask,) = p.to_do()
    return ask


def changes(p: Probe) -> list[bool]:
    found = []
    while (event := p.next_event()) is not None:
        found.append(event.in_service)
    return found


def step(p: Probe) -> float:
    now = p.get_timer()
    assert now is not None
    p.handle_timer(now)
    return now


def test_any_answer_but_503_says_that_somebody_is_there() -> None:
    for status in (200, 404, 405, 500, 603):
        p = probe(interval=30)
        p.start(0.0)
        ask = only(p)
        assert ask.method == "OPTIONS" and ask.uri == "sip:carrier.example" and p.in_service
        p.answered(answer(ask, 100), 0.05)
        p.answered(answer(ask, status), 0.1)
        assert p.state == "up" and changes(p) == [True] and p.get_timer() == 30.0
        assert p.because == f"sip:carrier.example answered {status}"


def test_misses_in_a_row_take_it_out_and_an_answer_brings_it_back() -> None:
    p = probe(interval=30, misses=3)
    p.start(0.0)
    p.answered(answer(only(p), 200), 0.0)
    step(p)
    only(p)
    p.failed("no answer for 2 s", 32.0)
    assert p.state == "doubtful" and p.in_service and p.get_timer() == 60.0
    step(p)
    p.answered(answer(only(p), 200), 60.1)
    assert p.state == "up"
    for now in (100.0, 130.0, 160.0):
        p.handle_timer(now)
        ask = only(p)
        p.answered(answer(ask, 503), now)
    assert changes(p) == [True, False] and not p.in_service
    assert p.because == "sip:carrier.example answered 503, 3 times in a row"
    now = step(p)
    only(p)
    p.failed("connection refused", now)
    assert p.get_timer() == now + 30.0 and changes(p) == []
    now = step(p)
    p.answered(answer(only(p), 404), now)
    assert changes(p) == [True] and p.state == "up"


def test_interval_is_between_two_questions_and_a_miss_takes_two_seconds() -> None:
    for interval, asked in ((5, [0, 5, 10]), (1, [0, 2, 4])):
        p = probe(interval=interval, misses=3)
        p.start(0.0)
        times = [0.0]
        only(p)
        while p.in_service:
            now = step(p)
            times += [now] * len(p.to_do())
        assert times == asked
        assert now == asked[-1] + 2 and changes(p) == [False]


def test_retry_after_is_honoured() -> None:
    p = probe()
    p.start(0.0)
    p.answered(answer(only(p), 503, "Retry-After: 120"), 0.0)
    assert changes(p) == [False] and p.get_timer() == 120.0
    assert p.because == "sip:carrier.example wants to be left alone for 120 s"
    step(p)
    p.answered(answer(only(p), 200), 120.0)
    p.turned_away(99_999, 130.0)
    assert changes(p) == [True, False] and p.get_timer() == 130.0 + 3600


def test_no_word_at_all_is_a_miss_and_late_answers_are_none() -> None:
    p = probe(misses=1)
    p.start(0.0)
    p.start(1.0)
    ask = only(p)
    assert step(p) == 2.0
    assert p.state == "down"
    p.answered(answer(ask, 200), 2.1)
    p.failed("late", 2.1)
    assert p.state == "down"
    p.stop()
    p.handle_timer(1000.0)
    assert p.get_timer() is None and p.to_do() == []
