"""When the clock is looked at, and how a loop that stood still is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sip.io.ticker import IDLE, TICK, Ticker


class Handle:
    def __init__(self, at: float, act: Callable[[], None]) -> None:
        self.at, self.act, self.off = at, act, False

    def cancel(self) -> None:
        self.off = True


class Loop:
    """A loop whose clock is turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []
        self.soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_soon(self, act: Callable[..., None], *args: Any) -> None:
        self.soon.append((act, args))

    def call_later(self, delay: float, act: Callable[[], None]) -> Handle:
        self.handles.append(Handle(self.now + delay, act))
        return self.handles[-1]

    @property
    def next_at(self) -> float:
        return min(handle.at for handle in self.handles if not handle.off)

    def run(self, late: float = 0.0) -> None:
        """Run the timer that is due next, so much too late."""
        handle = min((handle for handle in self.handles if not handle.off), key=lambda one: one.at)
        self.handles.remove(handle)
        self.now = handle.at + late
        handle.act()


def ticker(loop: Any, served: list[float], deadline: float | None = None) -> Ticker:
    def serve(now: float) -> float | None:
        served.append(now)
        return deadline

    made = Ticker(loop, lambda: loop.now, serve, lambda wait, now: None)
    made.start()
    return made


def test_the_clock_is_looked_at_for_the_next_deadline_within_bounds() -> None:
    for deadline, pause in ((None, IDLE), (0.0, TICK), (0.05, 0.05), (9.0, IDLE)):
        loop, served = Loop(), list[float]()
        at = None if deadline is None else loop.now + TICK + deadline
        ticker(loop, served, at)
        loop.run()
        assert len(served) == 1 and abs(loop.next_at - loop.now - pause) < 1e-9, deadline


def test_who_is_awake_takes_a_tick_along_that_is_nearly_due_and_moves_one_that_is_far_off() -> None:
    loop, served = Loop(), list[float]()
    made = ticker(loop, served)
    loop.now += TICK * 0.4
    made.awake()
    assert served == []
    loop.now += TICK * 0.45
    made.awake()
    assert len(served) == 1 and abs(loop.next_at - loop.now - IDLE) < 1e-9
    made.awake()
    assert abs(loop.next_at - loop.now - TICK) < 1e-9
    made.stop()
    made.awake()
    assert len(served) == 1 and all(handle.off for handle in loop.handles)


def test_a_stall_is_how_late_a_tick_comes_or_how_long_it_takes() -> None:
    loop, served = Loop(), list[float]()
    made = ticker(loop, served)
    loop.run(late=0.7)
    assert abs(made.take_longest_stall() - 0.7) < 1e-9 and made.take_longest_stall() == 0.0

    def slow(now: float) -> None:
        loop.now += 0.3

    made = Ticker(loop, lambda: loop.now, slow, lambda wait, now: None)  # type: ignore[arg-type]
    made.start()
    loop.run()
    assert abs(made.take_longest_stall() - 0.3) < 1e-9


def test_how_long_a_round_of_the_loop_takes_is_told_at_each_tick() -> None:
    loop, waits = Loop(), list[tuple[float, float]]()
    made: Any = Ticker(loop, lambda: loop.now, lambda now: None, lambda *told: waits.append(told))  # type: ignore[arg-type]
    made.start()
    loop.run()
    [(act, args)] = loop.soon
    loop.now += 0.25
    act(*args)
    [(wait, at)] = waits
    assert abs(wait - 0.25) < 1e-9 and at == loop.now
