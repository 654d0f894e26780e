"""Access to devices: flows, next hops and far sides of an agent's lines, and the addresses that devices are given for
the agent."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from heartbeat.site.devices import host_of, policy_of, shown_to_devices, site_addresses
from heartbeat.site.lines import LineSettings as Settings
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.phone_dialogs import PhoneDialogs
from sip.device.policy import LinePolicy
from sip.device.trunk import TrunkDevice
from sip.layer import Stack


class DeviceAccess:
    """One for each agent."""

    def __init__(self, stack: Stack, random: Random, site: Site, agent: str) -> None:
        self._stack = stack
        self._random = random
        self._site = site
        self._agent = site.agents[agent]
        own = self._agent
        self.flows = DeviceFlows(
            stack, agent, map(str, own.sip), own.advertise, site_addresses(site), own.advertise_by
        )
        self.names = NameLookups(stack)
        self.dialogs = PhoneDialogs(stack, self.flows)

    def reload(self, site: Site) -> None:
        """Take a changed site file."""
        self._site = site
        self._agent = site.agents[self._agent.name]

    def policy_of(self, settings: Settings) -> LinePolicy:
        """The policy of a line towards its devices."""
        return policy_of(settings, self.address_towards(settings))

    def trunk_of(self, settings: Settings, changed: Callable[[str, float], None]) -> TrunkDevice:
        """Make the far side of a trunk; ``changed`` is called with a sentence when it goes in or out of service."""
        return TrunkDevice(self._stack, self.flows, self.names, self.policy_of(settings), self._random, changed)

    def advertise(self, settings: Settings, flow: Flow) -> None:
        """Advertise on this flow the address that the settings of a trunk name, if they do."""
        if settings.advertise and settings.kind == "trunk":
            self.flows.advertise(flow, self.address_towards(settings))

    def address_towards(self, settings: Settings) -> str:
        """The agent's ``host:port`` to be written into messages to the devices of a line."""
        return shown_to_devices(settings, self._agent)

    def host_towards(self, settings: Settings, flow: Flow) -> str:
        """The agent's host as the far end of ``flow`` is to see it, without brackets."""
        return host_of(settings.advertise or self._stack.address(flow))

    def own_hosts(self) -> frozenset[str]:
        """All hosts by which a device may name this agent: the realm, and the addresses that it advertises."""
        agent = self._agent
        shown = [one.advertise for one in self._site.lines_of(agent.name)]
        shown += agent.advertise_by.values()
        places = [self._site.realm, agent.advertise, *(one.host for one in agent.sip), *shown]
        return frozenset(host_of(place).lower() for place in places if place)
