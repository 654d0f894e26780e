"""Handles the relay's notices about calls. Calls whose media has stopped are shown to operators, and ended where the
line has a ``media_timeout``.

The relay reports when no packet came for that long (`Silent`). This is only a suspicion: the call may be on hold, its
description may have changed meanwhile, or another of its streams may be alive. So the relay is then asked for the
counts of all ports of the call, and they decide.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from gateway_agent.call import Call
from gateway_agent.call_end import AGENT
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.media.ports import Count, Measured, Notice, Pair, Silent
from gateway_agent.media.ports import Counts as Counted

logger = logging.getLogger(__name__)

NOTABLE: Final = 30.0
"""Seconds without RTP after which a call is shown, whatever the line's ``media_timeout``."""


def notice(calls: Mapping[int, Call], environment: CallEnvironment, said: Notice, now: float) -> None:
    """Handle a notice of the relay, which may concern some of these calls."""
    if isinstance(said, Silent):
        for call in _calls(calls, environment, said.pairs):
            call.description.anchor.ask()
    elif isinstance(said, Counted):
        _counted(calls, environment, said.counts, now)
    elif isinstance(said, Measured):
        figures = {one.pair: one for one in said.figures}
        for call in _calls(calls, environment, figures):
            if call.figures is not None:
                call.figures.said(figures, now)


def silent_for(call: Call, now: float) -> float | None:
    """Seconds for which an answered call has had no media; ``None`` where none is expected, or it is not relayed."""
    if call.answered_at is None or call.end is not None or not call.description.anchor.is_relayed:
        return None
    if call.description.held != "none" or not call.description.expects_rtp:
        return None
    return call.description.anchor.silent_for(call.answered_at, now)


def notable(calls: Mapping[int, Call], now: float) -> int:
    """The number of calls without media for ``NOTABLE`` seconds or longer."""
    return sum((silent_for(call, now) or 0.0) >= NOTABLE for call in calls.values())


def _counted(calls: Mapping[int, Call], environment: CallEnvironment, counts: tuple[Count, ...], now: float) -> None:
    spans = {count.pair: count.silent_s for count in counts}
    for call in _calls(calls, environment, spans):
        whole = call.description.anchor.heard(spans, now)
        limit = call.line.settings.media_timeout
        if not whole or not limit or call.end is not None or call.answered_at is None:
            continue
        silent = silent_for(call, now)
        if silent is None or silent < limit:
            call.description.anchor.go_on()
        else:
            environment.counters["media timeout"] += 1
            environment.log.info(logger, now, "%s is ended: no media for %.0f s", call.label, silent)
            call.hang_up(AGENT, f'SIP;cause=408;text="No media for {limit:g} s"', 408, now)


def _calls(calls: Mapping[int, Call], environment: CallEnvironment, pairs: Collection[Pair]) -> list[Call]:
    found = {relay.owners.get(pair) for relay in environment.relays.values() for pair in pairs}
    return [call for id_ in found if id_ is not None and (call := calls.get(id_)) is not None]
