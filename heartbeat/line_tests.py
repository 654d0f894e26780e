"""Line tests ordered by an operator (``sip.device.line_test``), run by the program that has the line. A core."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from heartbeat.console.contract import Progress, Refused
from heartbeat.console.views.lines import LineTrial, TrialStep
from sip.device.line_test import DONE, RUNNING, LineTest

TEST: Final = "test"
MOST: Final = 20
"""Tests whose results are kept."""
LONGEST_RING: Final = 120.0
RING: Final = 20.0
"""Seconds that a test call rings, by default."""

Begin = Callable[[str, str, str, float, float], LineTest]
"""Begins the test of a line: ``(line, called number (empty: no call), caller, seconds to ring, now)``. Raises
`Refused`."""


class LineTests:
    """The tests of one program, one at a time."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._tests: OrderedDict[str, tuple[str, LineTest]] = OrderedDict()
        self._count = 0

    def order(self, params: Mapping[str, str], now: float) -> Progress:
        """The order ``test``: parameters ``line``, ``call``, ``from``, ``ring``. Raises :class:`Refused`."""
        if self._tests and next(reversed(self._tests.values()))[1].state is RUNNING:
            raise Refused("a test is under way: wait for its end")
        line = params.get("line", "")
        test = self._begin(line, params.get("call", ""), params.get("from", ""), _ring(params.get("ring")), now)
        self._count += 1
        name = f"{TEST}-{self._count}"
        self._tests[name] = (line, test)
        if len(self._tests) > MOST:
            self._tests.popitem(last=False)
        return Progress(name, TEST, "running", f"{line} is being tested", 0, 0)

    def view(self, params: Mapping[str, str]) -> LineTrial:
        """The view ``test``: parameter ``id``. Raises :class:`Refused`."""
        found = self._tests.get(params.get("id", ""))
        if found is None:
            raise Refused("No such test is known here.", 404)
        line, test = found
        state = {RUNNING: "running", DONE: "done"}.get(test.state, "failed")
        steps = tuple(TrialStep(step.name, step.good, step.said, round(step.took, 3)) for step in test.steps)
        return LineTrial(line, state, steps)


def _ring(text: str | None) -> float:
    if text is None:
        return RING
    try:
        seconds = float(text[:16])
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_RING:
        raise Refused(f"ring is a number of seconds from 1 to {LONGEST_RING:g}", 400)
    return seconds
