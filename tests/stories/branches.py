"""One run from which others branch off, each where something else happens to a node: what went before is simulated
once for all of them.

::

    branches = Branches()
    crashes = [branches.crash(Crash("m1", 0, "", of_calls, KILL), {3: {"after": "third, after"}})]
    found = branches.run(lambda: play(crashes), lambda outcome, key: [key, outcome])
    found == {"third, after": ["third, after", …]}

At an instant that is asked for the process is forked: in the child the crash happens, and the outcome is judged
there; the parent goes on as if nothing were. Each child is awaited at once.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, NoReturn, TypeVar

from tests.wires import Delivery
from tests.world import Crash

RAISED: Final = "raised"

Outcome = TypeVar("Outcome")


class Branches:
    """See the module."""

    def __init__(self) -> None:
        self._own: str | None = None
        """In a child: the key of what happens there."""
        self._tells: int = -1
        """In a child: where its parent reads."""
        self._found: dict[str, Any] = {}

    def crash(self, crash: Crash, wanted: Mapping[int, Mapping[str, str]]) -> Crash:
        """``crash`` once for each of ``wanted``: the key, by index and moment. It has none of its own."""
        counts, indices = crash.counts, count()

        def due(delivery: Delivery | None) -> bool:
            if self._own is not None or not counts(delivery):
                return False
            for moment, key in wanted.get(next(indices), {}).items():
                if self._is_child(key):
                    crash.moment = moment
                    return True
            return False

        crash.index, crash.counts = 0, due
        return crash

    def run(self, play: Callable[[], Outcome], judge: Callable[[Outcome, str], Any]) -> dict[str, Any]:
        """What ``judge`` says of each branch of ``play``, as JSON has it, by key. One in which something was raised
        says so: ``["raised", what]``. What did not happen is not there.
        """
        gc.collect()
        gc.freeze()  # else a collection in a child writes to all pages that it shares
        try:
            outcome = play()
            if self._own is not None:
                self._end(judge(outcome, self._own))
        except BaseException as error:
            if self._own is None:
                raise
            self._end([RAISED, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"])
        finally:
            gc.unfreeze()
        return self._found

    def _end(self, said: Any) -> NoReturn:
        """Of the child."""
        try:
            with os.fdopen(self._tells, "w", encoding="utf-8") as file:
                json.dump(said, file)
        finally:
            os._exit(0)  # also when nobody listens any more

    def _is_child(self, key: str) -> bool:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            gc.disable()  # it does not live long
            self._own, self._tells = key, writing
            return True
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as file:
            text = file.read()
        os.waitpid(child, 0)
        self._found[key] = json.loads(text)
        return False
