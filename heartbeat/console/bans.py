"""Hosts that are not listened to: shown, and heard again."""

from __future__ import annotations

from typing import Final

from heartbeat.console.render import several
from heartbeat.console.view import BanCounts, BanList, BannedHost, Refused
from sip.overload.bans import Bans

ALL: Final = "all"


def look(bans: Bans, now: float, wall_offset: float) -> BanList:
    """Whom these do not listen to; ``wall_offset`` makes the wall clock of ``now``."""
    banned = [
        BannedHost(ban.host, ban.at + wall_offset, ban.until - now, ban.dropped, ban.because)
        for ban in bans.lasting(now)
    ]
    return BanList(tuple(banned), bans.total)


def counts(bans: Bans, now: float) -> BanCounts:
    """For status."""
    return BanCounts(len(bans.lasting(now)), bans.total)


def lift(bans: Bans, host: str) -> str:
    """Listen to a host again, or to all; what was done, as a sentence. Raises :class:`Refused` for one that is not
    banned."""
    if host != ALL:
        if not bans.lift(host):
            raise Refused(f"{host or 'nobody'} is not banned here")
        return f"{host} is heard again"
    hosts = [ban.host for ban in bans.banned.values()]
    for one in hosts:
        bans.lift(one)
    return f"{several(len(hosts), 'host')} heard again"
