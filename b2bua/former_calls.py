"""What is asked, while calls are set up and transferred, of those that a former server may have had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from b2bua.call import Call


class FormerCalls(Protocol):
    """Those calls; ``b2bua.takeover.restoration`` has them."""

    def find(self, key: str, now: float) -> bool:
        """Restore the call of a dialog that was told, by its key; whether all agents have told all they have."""

    def is_expected(self, agent: str, call_id: str) -> bool:
        """Whether a first INVITE of that agent may be one that a former server has sent on already."""

    def resume(self, call: Call, now: float) -> None:
        """Go on with the set-up of such a call, once it is known where it rings."""

    def adopt(self, call: Call, admit: Callable[[float], None], now: float) -> bool:
        """Take up, by ``admit``, what sets up a call of which the callee's side was restored; False: it is none."""
