"""Bans by the settings of the site file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from heartbeat.site.model import Bans as BanSettings
from heartbeat.site.values import Network
from sip.layer import Stack
from sip.overload.bans import Ban, BanPolicy
from sip.peers import network_of

logger = logging.getLogger(__name__)


def ban_by(stack: Stack, settings: BanSettings, is_peer: Callable[[str], bool]) -> None:
    """Use these settings from now on; ``is_peer`` returns whether a host belongs to a line's peer or a registered
    phone."""
    bans = stack.bans
    bans.exempt = partial(_is_exempt, stack, is_peer, [source.network for source in settings.never])
    bans.told = partial(_say, stack)
    bans.apply(BanPolicy(settings.after, settings.within, settings.time))


def _is_exempt(stack: Stack, is_peer: Callable[[str], bool], never: list[Network], host: str) -> bool:
    network = network_of(host)
    if is_peer(host) or any(network_of(leg.flow.remote[0]) == network for leg in stack.legs.values()):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in never)


def _say(stack: Stack, ban: Ban, now: float) -> None:
    said = "banned %s for %.0f s: %s"
    stack.limited_logger.warning(logger, now, said, ban.host, ban.until - ban.at, ban.because)
