"""A town whose east is a trunk of the servers, and what becomes of a call over it when they die at any message."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from examples.softphone_call import Call, Policy
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from tests.stories.matrix import of_calls
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.world import Crash

LIMIT_S: Final = 45.0
"""Longer than a device that has lost its call waits for an ACK, or for an answer to its BYE."""


def with_listeners(text: str) -> str:
    """The same site file; its servers listen for devices, too."""
    for number in (1, 2):
        listen = f'listen = "tcp:127.0.0.{number}:5161"'
        own = f'sip = ["udp:127.0.0.{number}:5060", "tcp:127.0.0.{number}:5060"]'
        text = text.replace(listen, f"{listen}\n{own}")
    return text


def text_with_own_trunk(more: str = "", timer: bool = True, settings: str = "", transport: str = "udp") -> str:
    """The site file of the town in which east is a trunk of the servers, with a session timer of 90 s. ``settings``
    are further ones of east, ``transport`` is that by which it is called."""
    text = with_listeners(text_of(more=more))
    expires = "session_timer = { expires = 90 }\n" if timer else ""
    owned = f'kind = "trunk"\n{expires}{settings}peer = "sip:127.0.0.22'
    text = text.replace('kind = "trunk"\nagent = "gw2"\npeer = "sip:127.0.0.22', owned)
    return text.replace("127.0.0.22:5060", f"127.0.0.22:5060;transport={transport}")


@cache
def site_with_own_trunk(**settings: Any) -> Site:
    """The same, read."""
    return sites.parse(text_with_own_trunk(**settings), Path("town.toml"), KEYS)


def town_with_own_trunk(who: tuple[str, ...] = ("west", "east"), **site: Any) -> SiteSimulation:
    """A town of :func:`site_with_own_trunk`; west is a line of gw1."""
    sim = SiteSimulation(1, who, site_with_own_trunk(**site))
    Rules(sim)
    assert sim.active == ["m1"]
    return sim


class Played(NamedTuple):
    """What came of a flow."""

    sim: SiteSimulation
    calls: tuple[Call, ...]
    """Of both devices, the caller's first."""
    known_at: float
    """When both ends had it that the call was answered; 0: they never did."""
    died_at: float | None
    """When m1 did."""


def play(caller: str, index: int = -1, moment: str = "after") -> Played:
    """Talk, a digit each way, a hold and its end by the callee; with the death of m1 at its ``index``-th message of
    calls. What a device asks of a dead server comes to nothing, and the flow stops there; the call does not."""
    sim = town_with_own_trunk()
    callee = "east" if caller == "west" else "west"
    crash = Crash("m1", index, moment, of_calls)
    sim.world.crashes.append(crash)
    known: list[float] = []
    calls: dict[str, Call] = {}
    sim.policy(callee, Policy(answer_after=0.5))
    sim.then(callee, "acknowledged", lambda call: known.append(sim.world.now))
    sim.then(callee, "incoming", lambda call: calls.setdefault(callee, call))
    sim.when(caller, "answered", "info", "1", after=0.5)
    sim.when(callee, "info", "hold", after=0.3)
    sim.when(callee, "changed", "resume", after=0.3)
    sim.when(callee, "changed", "info", "2", after=0.3)
    calls[caller] = sim.call(caller, "200" if caller == "west" else "300")
    sim.world.run(sim.world.now + LIMIT_S)
    both = (calls[caller], *list(sim.line(callee).calls.values()))
    return Played(sim, both, known[0] if known else 0.0, crash.happened_at)
