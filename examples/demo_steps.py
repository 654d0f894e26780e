"""Both ends of a call of the demo, and what each phase of a run makes of what happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from examples.demo_plan import Script
from examples.softphone_call import ENDED, TALKING, Call, Event


class Pair:
    """Both ends of one call."""

    __slots__ = ("asked_at", "callee", "caller", "failed", "script", "served_at", "step")

    def __init__(self, script: Script) -> None:
        self.script = script
        self.caller: Call | None = None
        self.callee: Call | None = None
        self.step: Step = nothing
        """What the phase under way makes of an event of this call."""
        self.asked_at = 0.0
        self.served_at = 0.0
        self.failed = ""

    def side(self, side: str) -> Call | None:
        return self.caller if side == "caller" else self.callee

    @property
    def stands(self) -> bool:
        """Whether both ends are in the state that the script wants before the crash."""
        a, b = self.caller, self.callee
        if a is None or b is None or self.failed:
            return False
        if self.script.kind == "ringing":
            return a.state is not ENDED and b.state is not ENDED
        return a.state is TALKING and b.state is TALKING

    @property
    def over(self) -> bool:
        return self.caller is None or (
            self.caller.state is ENDED and (self.callee is None or self.callee.state is ENDED)
        )


Step = Callable[[Pair, Event, float], bool]
"""Reacts to an event; true when the phase is through with this call."""


def nothing(pair: Pair, event: Event, now: float) -> bool:
    return False


def standing_step(pair: Pair, event: Event, now: float) -> bool:
    """Towards talking, held or ringing."""
    call, script = event.call, pair.script
    assert call is not None
    core = call.phone
    if event.kind == "incoming" and script.kind != "ringing":
        core.answer(call, now)
    elif event.kind == "ringing" and script.kind == "ringing":
        return pair.callee is not None
    elif event.kind == "acknowledged" and call is pair.callee and call.state is TALKING and not call.held_there:
        if script.kind != "held":
            return True
        holder = pair.side(script.holder)
        if holder is not None and not holder.held:
            core.hold(holder, now)
    elif event.kind == "changed" and call is pair.side(script.holder) and call.held:
        return True
    return False


def sample_step(pair: Pair, event: Event, now: float) -> bool:
    """The request that was sent at the crash comes out."""
    wanted = "answered" if pair.script.kind == "ringing" else "info"
    other = pair.caller if pair.script.kind == "ringing" else pair.callee
    if event.kind == wanted and event.call is other and not pair.served_at:
        pair.served_at = now
        return True
    return False


def ending_step(pair: Pair, event: Event, now: float) -> bool:
    """Resumed, answered, hung up."""
    call, script = event.call, pair.script
    assert call is not None
    if event.kind == "ended" and call is not pair.side(script.ends):
        return True
    hangs = pair.side(script.ends)
    if hangs is None or hangs.state is not TALKING:
        return False
    holder = pair.side(script.holder)
    if event.kind == "acknowledged" and (script.kind == "ringing" or (holder is not call and not _holds(holder))):
        call.phone.bye(hangs, now)
    return False


def _holds(call: Call | None) -> bool:
    return call is not None and call.held


def attempt_step(pair: Pair, event: Event, now: float) -> bool:
    """A short call: answered at once, hung up as soon as both ends know."""
    call = event.call
    assert call is not None
    if event.kind == "incoming":
        call.phone.answer(call, now)
    elif event.kind == "acknowledged" and pair.caller is not None:
        call.phone.bye(pair.caller, now)
    return event.kind == "ended" and call is pair.callee


def heard(call: Call) -> Counter[str]:
    """The messages that a device received in a call, repeats apart, without what differs from call to call."""
    return Counter(_bare(word) for word in call.heard)


def _bare(word: str) -> str:
    what, _, rest = word.partition(" body=")
    return what + (" with a body" if rest else "") + (rest[8:] if rest else "")


def where(pair: Pair) -> str:
    """How far both ends are, for a person who looks for a fault."""

    def one(call: Call | None) -> str:
        return (
            "unknown" if call is None else f"{call.state} after {', '.join(map(_bare, call.heard[-4:])) or 'nothing'}"
        )

    return f"caller {one(pair.caller)}; callee {one(pair.callee)}"
