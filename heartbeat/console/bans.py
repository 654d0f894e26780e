"""Bans of hosts, as the console shows and lifts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from heartbeat.console.contract import Refused
from heartbeat.console.render import several
from heartbeat.console.views.process import BanCounts, BanList, BannedHost
from sip.overload.bans import Bans

ALL: Final = "all"


def look(each: Sequence[Bans], now: float, wall_offset: float) -> BanList:
    """The view ``bans``; ``wall_offset``: seconds to add to ``now`` for the wall clock."""
    banned = [
        BannedHost(ban.host, ban.at + wall_offset, ban.until - now, ban.dropped, ban.because)
        for ban in sorted((ban for bans in each for ban in bans.lasting(now)), key=lambda ban: ban.at)
    ]
    return BanList(tuple(banned), sum(bans.total for bans in each))


def counts(each: Sequence[Bans], now: float) -> BanCounts:
    """The numbers of bans, for ``status``."""
    return BanCounts(sum(len(bans.lasting(now)) for bans in each), sum(bans.total for bans in each))


def lift(each: Sequence[Bans], host: str) -> str:
    """Lift the ban of a host, or of all hosts; returns a sentence. Raises :class:`Refused` for a host that is not
    banned."""
    if host != ALL:
        if not any([bans.lift(host) for bans in each]):
            raise Refused(f"{host or 'nobody'} is not banned here")
        return f"{host} is heard again"
    hosts = {ban.host for bans in each for ban in bans.banned.values()}
    for one in hosts:
        lift(each, one)
    return f"{several(len(hosts), 'host')} heard again"
