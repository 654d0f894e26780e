"""Busy sockets are read in rounds; quiet ones at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sip.rounds import CLOSED, GATHER, MORE, NOTHING, SOME, Rounds


class Loop:
    """Keeps what it was asked to call, with the delay."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

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
        callback()
        return delay


class Socket:
    """Finds what the script says."""

    def __init__(self, said: list[str], *script: str) -> None:
        self.script = list(script)
        self.said = said
        self.watched = True

    def read(self) -> str:
        self.said.append("read")
        return self.script.pop(0)

    def watch(self) -> None:
        self.watched = True

    def unwatch(self) -> None:
        self.watched = False


def begun(*scripts: tuple[str, ...]) -> tuple[Loop, list[Socket], list[str]]:
    loop, said = Loop(), list[str]()
    shell: Any = loop
    rounds = Rounds(shell, lambda: said.append("flush"))
    sockets = [Socket(said, *script) for script in scripts]
    for socket in sockets:
        rounds.join(socket)
    return loop, sockets, said


def test_all_busy_sockets_are_read_in_the_same_round_and_answered_together() -> None:
    loop, sockets, said = begun((SOME, NOTHING), (SOME, NOTHING))
    assert not any(socket.watched for socket in sockets)
    assert loop.turn() == GATHER
    assert said == ["read", "read", "flush"]


def test_a_socket_that_falls_silent_is_waited_for_again_and_the_rounds_end() -> None:
    loop, (one, other), _ = begun((NOTHING,), (SOME, NOTHING))
    loop.turn()
    assert one.watched and not other.watched
    assert loop.turn() == GATHER
    assert other.watched
    assert not loop.calls


def test_a_full_socket_is_read_on_without_a_pause_and_answered_in_between() -> None:
    loop, _, said = begun((MORE, SOME, NOTHING), (SOME, NOTHING))
    loop.turn()
    assert said == ["read", "flush", "read", "flush"]
    assert loop.turn() == 0.0
    assert loop.turn() == GATHER


def test_a_closed_socket_is_forgotten() -> None:
    loop, (socket,), _ = begun((CLOSED,))
    loop.turn()
    assert not socket.watched
    assert not loop.calls


def test_a_socket_may_join_while_a_round_is_read() -> None:
    loop, said = Loop(), list[str]()
    shell: Any = loop
    late = Socket(said, SOME, NOTHING)
    rounds = Rounds(shell, lambda: rounds.join(late) if late.watched else None)
    rounds.join(Socket(said, SOME, NOTHING))
    loop.turn()
    assert len(loop.calls) == 1
    loop.turn()
    assert said == ["read", "read", "read"]


def test_nothing_is_read_after_the_end() -> None:
    loop, said = Loop(), list[str]()
    shell: Any = loop
    rounds = Rounds(shell, lambda: None)
    rounds.join(Socket(said, SOME))
    rounds.close()
    assert loop.cancelled == 1
