"""An agent's part: which server it obeys, and what it grants. An agent obeys exactly one server at a time.

``Fence`` needs no timer of its own: it answers. ``obeys`` is asked for each request and costs two comparisons.
"""

from __future__ import annotations

from typing import Any

from heartbeat.decision import What
from heartbeat.header import (
    ACTIVE,
    BEAT,
    GRANT,
    HANDOVER,
    HOLDING,
    PREVOTE,
    PROOF,
    QUERY,
    READY,
    RELEASE,
    VOTERS,
    Beat,
)
from heartbeat.node import Node
from heartbeat.persistent_state import Leadership


class AgentVoter(Node):
    """One agent. ``membership.servers`` are the only ones whose word counts."""

    _told_mute = False
    _heard_at: float | None = None

    @property
    def leadership(self) -> Leadership:
        """Whom this agent obeys: the highest proved epoch on disk. Epoch 0 and no name: nobody yet."""
        return self.on_disk.leadership

    def obeys(self, node: str, epoch: int) -> bool:
        """Whether a request that ``node`` sent under ``epoch`` may act on this agent's lines; otherwise 403."""
        leadership = self.on_disk.leadership
        return epoch == leadership.epoch and node == leadership.node

    def refusal(self, node: str, epoch: int) -> str:
        """Why such a request is refused, as a sentence; empty when it is not."""
        leadership = self.on_disk.leadership
        if self.obeys(node, epoch):
            return ""
        if not leadership.node:
            return f"{self.name} obeys no server yet: none has brought a proof"
        return f"{self.name} obeys {leadership.node} under epoch {leadership.epoch}, not {node} under epoch {epoch}"

    def silent_for(self, now: float) -> float | None:
        """Seconds since the obeyed server was last heard to be active; None: never since our start."""
        return None if self._heard_at is None else now - self._heard_at

    def receive(self, beat: Beat, sender: str, now: float) -> None:
        """``beat`` is verified; ``sender`` is who the connection belongs to."""
        if beat.re is not None or sender not in self.membership.server_names:
            self._ignore("no server of the site")
            return
        if not self._accepts(beat, sender):
            return
        if beat.kind in (BEAT, PROOF):
            self._beaten(beat, now)
        elif beat.kind == PREVOTE:
            self._vote_asked(beat, now)
        elif beat.kind == GRANT:
            self._grant_asked(beat, now)
        elif beat.kind == RELEASE:
            self.voter.release(beat.node, beat.for_epoch)
            self._answer(beat, now)
        elif beat.kind == VOTERS:
            self._list_told(beat, now)
        elif beat.kind == QUERY:
            self._answer(beat, now)
        elif beat.kind in (HANDOVER, READY):
            self._answer(beat, now, no="agent")
        else:
            self._ignore("unknown kind")

    def handle_timer(self, now: float) -> None:
        """Nothing is due, ever; here for the one contract of all cores."""

    def get_timer(self) -> float | None:
        """None, always."""
        return None

    def _beaten(self, beat: Beat, now: float) -> None:
        self._offered(beat, now)
        if beat.state not in (ACTIVE, HOLDING):
            self._answer(beat, now)
            return
        no = self.voter.hear(beat, now)
        leadership = self.voter.state.leadership
        if not no and beat.state == ACTIVE and (beat.node, beat.epoch) == (leadership.node, leadership.epoch):
            self._heard_at = now
        if self.voter.state.non_voting and self.name in self.membership.voters and not self._told_mute:
            self._told_mute = True
            self._decide(
                What.NO_VOTE,
                f"{self.name} has no vote yet: it started without an epoch file; the active server gives it one, or,"
                f" if it had one before, `b2bua readmit {self.name}`",
                now,
            )
        self._answer(beat, now, no=no)

    def _heard(self, now: float) -> dict[str, Any]:
        leadership = self.on_disk.leadership
        return {"leader": leadership.node, "heard": self.silent_for(now)}
