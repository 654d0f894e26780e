"""Draining: by an operator's order new calls are refused, until the last call has ended."""

from __future__ import annotations

from collections.abc import Callable


class Draining:
    """``living`` counts the calls, ``decided`` logs a decision by its code and sentence, and ``tells`` tells servers
    whether the agent drains."""

    def __init__(
        self,
        agent: str,
        living: Callable[[], int],
        decided: Callable[[str, str, float], None],
        tells: Callable[[bool], None],
    ) -> None:
        self.active = False
        self.for_good = False
        """Whether the process ends with the last call for good, and then removes its registrations at carriers."""
        self._agent = agent
        self._living = living
        self._decided = decided
        self._tells = tells

    def begin(self, now: float) -> None:
        """Refuse new calls."""
        if not self.active:
            self.active = True
            self._tells(True)
            self._decided("drain", f"{self._agent} drains, calls left: {self._living()}", now)

    def end(self, now: float) -> None:
        """Take new calls again."""
        self.for_good = False
        if self.active:
            self.active = False
            self._tells(False)
            self._decided("resume", f"{self._agent} takes new calls again", now)
