"""Busy sockets are read in rounds; whoever has little to do reads each message at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sip.io.read_batching import BUSY, CLOSED, ENOUGH, FULL, LONGEST, PATIENCE, SHORTEST, Rounds


class Loop:
    """Keeps what it was asked to call, with the delay; its clock stands still unless it is turned."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0
        self.now = 100.0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Loop:
        self.calls.append((delay, callback))
        return self

    def call_soon(self, callback: Callable[[], None]) -> Loop:
        return self.call_later(0.0, callback)

    def cancel(self) -> None:
        self.cancelled += 1

    def turn(self) -> float:
        """Make the next call; the delay that it was asked for with."""
        delay, callback = self.calls.pop(0)
        self.now += delay
        callback()
        return delay


class Socket:
    """Finds as many messages as the script says, then none."""

    def __init__(self, said: list[str], *script: int) -> None:
        self.script = list(script)
        self.said = said
        self.watched = True
        self.most: list[int] = []

    def read(self, most: int) -> int:
        self.said.append("read")
        self.most.append(most)
        return self.script.pop(0) if self.script else 0

    def watch(self) -> None:
        self.watched = True

    def unwatch(self) -> None:
        self.watched = False


class Bed:
    """A loop whose rounds have begun, with these sockets in them."""

    def __init__(self, *scripts: tuple[int, ...]) -> None:
        self.loop, self.said = Loop(), list[str]()
        shell: Any = self.loop
        self.rounds = Rounds(shell, lambda: self.said.append("flush"), lambda: self.loop.now)
        for _ in range(BUSY - 1):
            self.rounds.woken(Socket(self.said, 1))
        self.sockets = [
            Socket(self.said, *((1, *script) if not index else script)) for index, script in enumerate(scripts)
        ]
        for socket in self.sockets:
            self.rounds.woken(socket)
        self.said.clear()


def test_who_is_woken_now_and_then_reads_one_message_at_once_and_goes_on_waiting() -> None:
    loop, said = Loop(), list[str]()
    shell: Any = loop
    rounds = Rounds(shell, lambda: said.append("flush"), lambda: loop.now)
    socket = Socket(said, *[1] * 100)
    for _ in range(100):
        loop.now += LONGEST / (BUSY - 1) + 0.001
        rounds.woken(socket)
    assert said == ["read", "flush"] * 100
    assert set(socket.most) == {1}
    assert socket.watched and not loop.calls


def test_many_wake_ups_in_quick_succession_begin_the_rounds() -> None:
    bed = Bed((3, 3))
    assert not bed.sockets[0].watched
    assert bed.loop.calls[0][0] == LONGEST


def test_all_busy_sockets_are_read_in_the_same_round_and_answered_together() -> None:
    bed = Bed((3,), (3,))
    assert not any(socket.watched for socket in bed.sockets)
    bed.loop.turn()
    assert bed.said == ["read", "read", "flush"]
    assert bed.sockets[1].most == [FULL]


def test_a_socket_that_is_silent_for_some_rounds_is_waited_for_again() -> None:
    bed = Bed((ENOUGH,) * 9, ())
    for _ in range(PATIENCE):
        assert not bed.sockets[1].watched
        bed.loop.turn()
    assert bed.sockets[1].watched and not bed.sockets[0].watched


def test_a_round_that_finds_few_messages_is_the_last() -> None:
    bed = Bed((ENOUGH, BUSY - 1), (ENOUGH,))
    bed.loop.turn()
    bed.loop.turn()
    assert all(socket.watched for socket in bed.sockets) and not bed.loop.calls


def test_the_more_comes_the_sooner_is_the_next_round() -> None:
    bed = Bed((FULL - 1,) * 50)
    spans = [bed.loop.turn() for _ in range(40)]
    assert spans == sorted(spans, reverse=True)
    assert spans[0] == LONGEST and spans[-1] == SHORTEST


def test_as_much_as_is_enough_keeps_the_pace() -> None:
    bed = Bed((ENOUGH,) * 5)
    assert [bed.loop.turn() for _ in range(4)] == [LONGEST] * 4


def test_a_full_socket_is_read_on_without_a_pause_and_answered_in_between() -> None:
    bed = Bed((FULL, 5), (5, 5))
    bed.loop.turn()
    assert bed.said == ["read", "flush", "read", "flush"]
    assert bed.loop.turn() == 0.0


def test_a_failure_ends_no_rounds() -> None:
    bed = Bed((5, 5), (5, 5))
    bed.sockets[0].read = lambda most: 1 // 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        bed.loop.turn()
    assert bed.loop.calls


def test_a_closed_socket_is_forgotten() -> None:
    bed = Bed((CLOSED,))
    bed.loop.turn()
    assert not bed.sockets[0].watched and not bed.loop.calls


def test_nothing_is_read_after_the_end() -> None:
    bed = Bed((5,))
    bed.rounds.close()
    assert bed.loop.cancelled == 1
