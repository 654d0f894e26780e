"""One stepper for the tables of this package: ``(state, event) -> (next, action)``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

A = TypeVar("A")


class StateMachine(Generic[A]):
    """The state of one lifecycle; only ``step`` changes it."""

    def __init__(self, name: str, table: Mapping[tuple[str, Enum], tuple[str, A]], state: str) -> None:
        """``name`` says in the log whose state it is."""
        self.state = state
        self._name = name
        self._table = table

    def step(self, event: Enum) -> A | None:
        """The action that goes with ``event``, the next state being reached; None where the table ignores it."""
        found = self._table.get((self.state, event))
        if found is None:
            return None
        following, action = found
        logger.debug("%s: %s, %s, to %s", self._name, self.state, event.value, following)
        self.state = following
        return action
