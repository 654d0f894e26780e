"""Calls whose media has stopped: shown to people, and ended where the line says so (``media_timeout``).

The relay says when it saw nothing for so long (`Silent`). That is a suspicion: the call may be on hold, its
description may have changed meanwhile, another of its streams may be alive. So the relay is asked for the counts of
all its pairs, and they decide.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway_agent.call_end import AGENT
from gateway_agent.media.ports import Count, Notice, Pair, Silent
from gateway_agent.media.ports import Counts as Counted

if TYPE_CHECKING:
    from gateway_agent.call import Call
    from gateway_agent.core import Core

logger = logging.getLogger(__name__)

NOTABLE: Final = 30.0
"""Seconds without RTP that are shown, whatever the line says."""


def notice(core: Core, said: Notice, now: float) -> None:
    """The relay said something."""
    if isinstance(said, Silent):
        for call in _calls(core, said.pairs):
            call.description.anchor.ask()
    elif isinstance(said, Counted):
        _counted(core, said.counts, now)


def silent_for(call: Call, now: float) -> float | None:
    """Seconds for which an answered call has had no media; ``None`` where that is as it should be, or not known."""
    if call.answered_at is None or call.end is not None or not call.description.anchor.is_relayed:
        return None
    if call.description.held != "none" or not call.description.expects_rtp:
        return None
    return call.description.anchor.silent_for(call.answered_at, now)


def notable(core: Core, now: float) -> int:
    """How many calls have had no media for some time."""
    return sum((silent_for(call, now) or 0.0) >= NOTABLE for call in core.calls.values())


def _counted(core: Core, counts: tuple[Count, ...], now: float) -> None:
    spans = {count.pair: count.silent_s for count in counts}
    for call in _calls(core, spans):
        whole = call.description.anchor.heard(spans, now)
        limit = call.line.settings.media_timeout
        if not whole or not limit or call.end is not None or call.answered_at is None:
            continue
        silent = silent_for(call, now)
        if silent is None or silent < limit:
            call.description.anchor.go_on()
        else:
            core.counters["media timeout"] += 1
            core.seldom.info(logger, now, "%s is ended: no media for %.0f s", call.label, silent)
            call.hang_up(AGENT, f'SIP;cause=408;text="No media for {limit:g} s"', 408, now)


def _calls(core: Core, pairs: dict[Pair, float | None] | tuple[Pair, ...]) -> list[Call]:
    owners = core.relay.owners if core.relay is not None else {}
    found = {owners.get(pair) for pair in pairs}
    return [call for id_ in found if id_ is not None and (call := core.calls.get(id_)) is not None]
