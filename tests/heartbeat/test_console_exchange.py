"""Questions of operators that one server passes on to another: whole, once, and never those of former days."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.console_exchange import (
    KEPT,
    LONGEST,
    MOST_ANSWER,
    MOST_ASKED,
    MOST_QUESTION,
    MOST_TOGETHER,
    MOST_UNDER_WAY,
    PIECE,
    TIMEOUT,
    WINDOW,
    ConsoleAnswered,
    ConsoleAsked,
    ConsoleExchange,
)
from heartbeat.decision import Tell
from heartbeat.header import CONSOLE, STANDBY, Beat, parse, serialize

KEY = b"of the tests"


class Node:
    """A server: its exchange, what it said, what its shell was given."""

    def __init__(self, name: str, incarnation: int = 1) -> None:
        self.name = name
        self.on_disk = SimpleNamespace(incarnation=incarnation)
        self.starts: dict[str, int] = {}
        self.seq = 0
        self.said: deque[Beat] = deque()
        self.asked: list[ConsoleAsked] = []
        self.answered: list[ConsoleAnswered] = []
        self.due_at: float | None = None
        self.exchange = ConsoleExchange(self, self._ask, self._do, self)  # type: ignore[arg-type]

    def incarnation_of(self, node: str) -> int:
        return self.starts.get(node, 0)

    def stamp(self, to: str, **more: Any) -> Beat:
        self.seq += 1
        more.setdefault("for_incarnation", self.incarnation_of(to))
        return Beat("site", self.name, self.on_disk.incarnation, 1, STANDBY, self.seq, to=to, **more)

    def set(self, at: float, owner: Any, cause: str) -> None:
        self.due_at = at

    def _ask(self, tell: Tell) -> None:
        # what travels is text of a bounded length
        text = serialize(tell.beat, KEY, "OPTIONS", "c", 1)
        assert len(text) < 2000
        self.said.append(parse(text, [KEY], "OPTIONS", "c", 1))

    def _do(self, action: Any) -> None:
        (self.asked if isinstance(action, ConsoleAsked) else self.answered).append(action)


class Pair:
    """m1 asks m2, over a way that loses and doubles."""

    def __init__(self, loss: float = 0.0, seed: int = 1) -> None:
        self.m1, self.m2 = Node("m1", 5), Node("m2", 7)
        self.m1.starts["m2"], self.m2.starts["m1"] = 7, 5
        self.now = 100.0
        self.loss = loss
        self.chance = random.Random(seed)
        self.answer: bytes | None = b"fine"
        self.most = 0
        """Statements of m1 under way at once."""

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.most = max(self.most, len(self.m1.said))
            while self.m1.said:
                beat = self.m1.said.popleft()
                for _ in range(1 + (self.chance.random() < self.loss)):
                    if self.chance.random() >= self.loss:
                        self._heard(beat)
            for one in self.m2.asked:
                if self.answer is not None:
                    self.m2.exchange.serve(one.node, one.number, self.answer, self.now)
            self.now += 0.01
            if self.m1.due_at is not None and self.m1.due_at <= self.now:
                self.m1.due_at = None
                self.m1.exchange.due("look", self.now)

    def _heard(self, beat: Beat) -> None:
        answer = self.m2.exchange.answer(beat, self.now)
        answer = parse(serialize(answer, KEY, "OPTIONS", "c", 1), [KEY], "OPTIONS", "c", 1)
        if self.chance.random() >= self.loss:
            self.m1.exchange.answered(answer, self.now)


SIZES = [1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE, 20 * PIECE + 7]


@pytest.mark.parametrize("asked", SIZES)
@pytest.mark.parametrize("told", SIZES)
def test_question_and_answer_come_whole(asked: int, told: int) -> None:
    pair = Pair()
    question, pair.answer = random.Random(2).randbytes(asked), random.Random(3).randbytes(told)
    number = pair.m1.exchange.ask("m2", question, pair.now)
    pair.run(2.0)
    assert pair.m2.asked == [ConsoleAsked("m1", number, question)]
    assert pair.m1.answered == [ConsoleAnswered(number, pair.answer, "")]
    assert pair.most <= WINDOW


@pytest.mark.parametrize("seed", range(20))
def test_what_is_lost_or_comes_twice_changes_nothing(seed: int) -> None:
    pair = Pair(0.2, seed)
    question, pair.answer = random.Random(seed).randbytes(3000), random.Random(-seed).randbytes(30_000)
    numbers = [pair.m1.exchange.ask("m2", question, pair.now) for _ in range(3)]
    pair.run(LONGEST)
    assert sorted(one.number for one in pair.m2.asked) == numbers, "each once"
    assert sorted(pair.m1.answered) == [ConsoleAnswered(number, pair.answer, "") for number in numbers]


def test_an_answer_may_take_its_time_but_not_for_ever() -> None:
    pair = Pair()
    pair.answer = None
    pair.m1.exchange.ask("m2", b"rehearse", pair.now)
    pair.run(5.0)
    assert pair.m1.answered == []
    pair.answer = b"done"
    pair.run(1.0)
    assert [one.answer for one in pair.m1.answered] == [b"done"]
    pair.answer = None
    pair.m1.exchange.ask("m2", b"again", pair.now)
    pair.run(LONGEST + 1)
    assert pair.m1.answered[1].fault == f"m2 has had no answer for {LONGEST:.0f} s"


def test_who_says_nothing_is_not_waited_for() -> None:
    pair = Pair(loss=1.0)
    pair.m1.exchange.ask("m2", b"status", pair.now)
    pair.run(TIMEOUT + 0.5)
    assert pair.m1.answered[0].fault == (
        "m2 does not answer what m1 passes on: it is not there, or of an older version; ask on its machine"
    )
    assert not pair.m1.due_at or pair.m1.said == deque()


def test_what_cannot_be_asked_is_said_at_once() -> None:
    pair = Pair()
    pair.m1.starts.clear()
    pair.m1.exchange.ask("m2", b"status", pair.now)
    pair.m1.starts["m2"] = 7
    pair.m1.exchange.ask("m2", bytes(MOST_QUESTION + 1), pair.now)
    for _ in range(MOST_ASKED + 1):
        pair.m1.exchange.ask("m2", b"status", pair.now)
    assert [one.fault for one in pair.m1.answered] == [
        "m2 has not been heard by m1 since its start: ask on its machine",
        "the question has 131,073 bytes; 131,072 are passed on",
        "16 questions are under way to m2: ask again in a moment",
    ]


def test_pieces_of_one_node_are_asked_for_in_one_window_and_none_is_given_up() -> None:
    pair = Pair()
    pair.answer = random.Random(7).randbytes(200 * PIECE)
    for _ in range(8):
        pair.m1.exchange.ask("m2", b"trace", pair.now)
    pair.run(0.1)
    pair.most = 0
    pair.run(6.0)
    assert [one.answer for one in pair.m1.answered] == [pair.answer] * 8
    assert pair.most <= WINDOW + 8, "and a look for each answer that is not known yet"


def test_all_answers_together_are_bounded() -> None:
    pair = Pair()
    many = MOST_TOGETHER // MOST_ANSWER
    pair.answer = bytes(MOST_ANSWER)
    for _ in range(many + 2):
        pair.m1.exchange.ask("m2", b"trace", pair.now)
    pair.run(1.0)
    faults = [one.fault for one in pair.m1.answered if one.fault]
    assert faults == ["too much is under way from other nodes: ask again in a moment"] * 2


def test_a_node_with_many_questions_keeps_no_other_from_being_asked() -> None:
    pair = Pair(loss=1.0)
    for number in range(MOST_UNDER_WAY // MOST_ASKED):
        pair.m1.starts[f"gw{number}"] = 1
        for _ in range(MOST_ASKED):
            pair.m1.exchange.ask(f"gw{number}", b"trace", pair.now)
    assert pair.m1.answered == []
    pair.m1.exchange.ask("m2", b"status", pair.now)
    assert pair.m1.answered[0].fault == "64 questions are under way to other nodes: ask again in a moment"


def test_an_answer_that_is_too_long_is_not_fetched() -> None:
    pair = Pair()
    pair.answer = bytes(MOST_ANSWER + 1)
    pair.m1.exchange.ask("m2", b"cdrs", pair.now)
    pair.run(1.0)
    assert pair.m1.answered[0].fault == "the answer has 4,194,305 bytes; ask for less"


def test_an_order_that_was_recorded_is_not_carried_out_again() -> None:
    pair = Pair()
    pair.m1.exchange.ask("m2", b"switchover", pair.now)
    recorded = list(pair.m1.said)
    pair.run(1.0)
    pair.m1.exchange.ask("m2", b"pause", pair.now)
    pair.run(1.0)
    assert len(pair.m2.asked) == 2
    for again in (recorded, [replace(one, seq=one.seq + 1000) for one in recorded]):
        for beat in again:
            pair.m2.exchange.answer(beat, pair.now)
    assert len(pair.m2.asked) == 2

    anew = Node("m2", 8)  # started again, it has forgotten all of them
    anew.starts["m1"] = 5
    for beat in recorded:
        assert anew.exchange.answer(beat, pair.now).piece.endswith("/gone")
    assert anew.asked == []


def test_a_former_start_of_who_asks_is_not_believed() -> None:
    pair = Pair()
    pair.m1.exchange.ask("m2", b"switchover", pair.now)
    late = pair.m1.said.popleft()
    pair.m2.starts["m1"] = 6
    assert pair.m2.exchange.answer(late, pair.now).piece == "1/gone"
    assert pair.m2.asked == []


def test_numbers_begin_anew_with_a_start_of_who_asks() -> None:
    pair = Pair()
    pair.m1.exchange.ask("m2", b"first", pair.now)
    pair.run(1.0)
    pair.m1 = Node("m1", 6)
    pair.m1.starts["m2"], pair.m2.starts["m1"] = 7, 6
    pair.m1.exchange.ask("m2", b"second", pair.now)
    pair.run(1.0)
    assert [one.question for one in pair.m2.asked] == [b"first", b"second"]
    assert pair.m1.answered[0].answer == b"fine"


def test_an_answer_to_a_former_start_is_not_believed() -> None:
    pair = Pair()
    pair.m1.exchange.ask("m2", b"status", pair.now)
    asked = pair.m1.said.popleft()
    told = pair.m2.exchange.answer(asked, pair.now)
    pair.m1.exchange.answered(replace(told, re=(4, 1), piece="1/a/0/4/ZmluZQ"), pair.now)
    pair.m1.exchange.answered(replace(told, node="m3", piece="1/a/0/4/ZmluZQ"), pair.now)
    assert pair.m1.answered == []


def test_who_was_started_anew_meanwhile_says_so() -> None:
    pair = Pair()
    pair.answer = None
    pair.m1.exchange.ask("m2", b"audit", pair.now)
    pair.run(0.5)
    pair.m2 = Node("m2", 8)
    pair.m2.starts["m1"] = 5
    pair.run(1.0)
    assert pair.m1.answered[0].fault == "m2 was started anew meanwhile, or has forgotten the question: ask again"


def test_an_order_that_was_carried_out_is_not_again_by_the_next_start() -> None:
    """It was done, and its node died before it could say so."""
    pair = Pair(loss=1.0)
    pair.m1.exchange.ask("m2", b"reset", pair.now)
    pair.m2.exchange.answer(pair.m1.said.popleft(), pair.now)
    assert [one.question for one in pair.m2.asked] == [b"reset"]
    pair.m2, pair.loss = Node("m2", 8), 0.0
    pair.m1.starts["m2"], pair.m2.starts["m1"] = 8, 5
    pair.run(1.0)
    assert pair.m2.asked == []
    assert pair.m1.answered[0].fault == "m2 was started anew meanwhile, or has forgotten the question: ask again"


@pytest.mark.parametrize(
    "fetch",
    ["", "x", "1", "1/q", "1/q/0/5", "1/q/0/5/@@@@", "1/q/9/5/aGVsbG8", "-1/q/0/5/aGVsbG8", "1/q/0/0/",
     "1/z/0/5/aGVsbG8",
     "1/q/0/99999999999/aGVsbG8", "1/a/0", "²/q/0/5/aGVsbG8", "1/q/0/131073/aGVsbG8"],
)  # fmt: skip
def test_what_makes_no_sense_asks_for_nothing(fetch: str) -> None:
    pair = Pair()
    pair.m2.exchange.answer(pair.m1.stamp("m2", kind=CONSOLE, fetch=fetch), pair.now)
    assert pair.m2.asked == []


@pytest.mark.parametrize(
    "piece",
    ["", "x", "1", "1/a/0/4/@@@@", "1/a/9/4/ZmluZQ", "1/a/0/4/ZmlueQQQ", "1/q/99", "1/a/0/4", "7/gone", "1/z/0"],
)
def test_what_makes_no_sense_is_no_answer(piece: str) -> None:
    pair = Pair()
    pair.m1.exchange.ask("m2", b"status", pair.now)
    asked = pair.m1.said[0]
    pair.m1.exchange.answered(replace(pair.m2.exchange.answer(asked, pair.now), piece=piece), pair.now)
    assert pair.m1.answered == []
    pair.run(1.0)
    assert [one.answer for one in pair.m1.answered] == [b"fine"]


def test_who_asks_all_the_time_puts_off_nobody() -> None:
    pair = Pair(loss=1.0)
    first = pair.m1.exchange.ask("m2", b"status", pair.now)
    for _ in range(24):
        pair.run(0.1)
        if len(pair.m1.answered) < 1:
            pair.m1.exchange.ask("m2", b"status", pair.now)
    assert first in [one.number for one in pair.m1.answered if "does not answer" in one.fault]


def test_what_was_asked_here_is_forgotten() -> None:
    pair = Pair()
    pair.answer = bytes(10 * PIECE)
    pair.m1.exchange.ask("m2", b"cdrs", pair.now)
    pair.run(1.0)
    pair.m2.exchange.answer(pair.m1.stamp("m2", kind=CONSOLE, fetch="2/q/0/5/aGVs"), pair.now)  # and never more of it
    assert pair.m2.due_at == pytest.approx(pair.now + KEPT, abs=1.1)
    pair.m2.exchange.due("look", pair.now + KEPT)
    for number in (1, 2):
        asked = pair.m1.stamp("m2", kind=CONSOLE, fetch=f"{number}/a/0")
        assert pair.m2.exchange.answer(asked, pair.now + KEPT).piece == f"{number}/gone"


def test_a_long_answer_is_asked_for_piece_by_piece_once() -> None:
    pair = Pair()
    pair.answer = random.Random(5).randbytes(2000 * PIECE)
    pair.m1.exchange.ask("m2", b"cdrs", pair.now)
    pair.run(20.0)
    assert [one.answer for one in pair.m1.answered] == [pair.answer]
    assert pair.m1.seq < 2000 + 50
