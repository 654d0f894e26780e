"""The interface by which call set-up and transfers use calls that a former server may have had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from b2bua.call import Call


class FormerCalls(Protocol):
    """Calls of former servers; implemented in ``b2bua.takeover``."""

    def find(self, key: str, now: float) -> bool:
        """Restore the call of a reported dialog, by its key; returns whether agents have reported all they have."""

    def is_expected(self, agent: str, call_id: str) -> bool:
        """Whether a former server may already have sent on the first INVITE of a call of that agent."""

    def resume(self, call: Call, now: float) -> None:
        """Go on with the set-up of such a call once its attempt is reported."""

    def adopt(self, call: Call, admit: Callable[[float], None], now: float) -> bool:
        """If only the callee's side of a call was restored, go on with its set-up, for which ``admit`` takes the
        caller's INVITE. False otherwise."""
