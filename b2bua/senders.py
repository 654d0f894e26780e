"""The line of a request that comes from no agent: a trunk by its address, a telephone by its password."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from b2bua.device_leg import DeviceLeg
from b2bua.direct_phone import DirectPhone, DirectPhones
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Server
from heartbeat.site.sources import SourceTable
from sip.actions import Flow
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.next_hop import named_hosts
from sip.receiver import InDialog
from sip.transaction import ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Request


class Senders:
    """The trunks and telephones of a server's own lines, as senders of requests."""

    def __init__(self, stack: Stack, server: Server, phones: DirectPhones, agent_of: Callable[[Flow], str]) -> None:
        """``agent_of`` returns the agent at the other end of a flow, ``""``: none."""
        self._stack = stack
        self._phones = phones
        self._agent_of = agent_of
        self._listeners = {f"{bracketed(one.host)}:{one.port}" for one in server.sip}
        self._sources = SourceTable(())

    def load(self, lines: Iterable[LineSettings]) -> None:
        """Use these lines from now on."""
        self._sources = SourceTable(lines)

    def line_of(self, flow: Flow) -> str:
        """The trunk that a request comes from, by its source address, and by certificate where the line names one;
        ``""``: none."""
        line = self._sources.line(*flow.remote, flow.transport != "udp")
        if line is None and flow in self._stack.certified:
            line = self._sources.certified(self._stack.certified[flow])
        if line is None or (line.certificate and not self._stack.speaks_for(flow, line.certificate)):
            return ""
        return line.name

    def of(self, transaction: ServerTransaction, request: Request, now: float) -> str | None:
        """The line of a request outside dialogs: a trunk by its address, a telephone by its password; ``""``: none.
        None: the request was answered here."""
        flow = transaction.flow
        if (line := self.line_of(flow)) or not self._phones:
            return line
        return self._phones.sender(transaction, request, flow, now)

    def is_of(self, line: str, flow: Flow) -> bool:
        """Whether requests by that flow are from that line without a password."""
        return self.line_of(flow) == line or line in self._phones.names(flow)

    def register(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Answer a REGISTER; False: nobody may register by that flow."""
        flow = transaction.flow
        if not self._phones or flow.local.partition("#")[0] not in self._listeners:
            return False
        self._phones.register(transaction, request, flow, now)
        return True

    def has_dialogs(self, flow: Flow) -> bool | None:
        """Whether the sender on that flow may have dialogs here; None: unknown, since a telephone may come from
        anywhere."""
        if self.line_of(flow) or self._phones.names(flow):
            return True
        return None if self._phones else False

    def owner(self, host: str) -> str:
        """The sender of a host for ``sip.overload.admission``: the trunk, or the host itself."""
        line = self._sources.line(host, 0, stream=True)
        return line.name if line is not None else host

    def is_peer(self, host: str) -> bool:
        """Whether a host belongs to a trunk or a registered telephone."""
        return self.owner(host) != host or self._phones.is_at(host)

    def expected(self, leg: InDialog, flow: Flow, method: str) -> bool:
        """Whether a request in a dialog may come from another host than that to which ours are sent: from a host that
        the peer named, another address of the same trunk, or the same agent on another connection."""
        if not isinstance(leg, InviteUsage):
            return False
        site_flows = self._stack.site_flows
        if leg.flow in site_flows or flow in site_flows:
            return self._agent_of(leg.flow) == self._agent_of(flow) != ""
        device_leg = leg.owner
        if isinstance(device_leg, DeviceLeg) and isinstance(device_leg.device, DirectPhone):
            # from any host after authentication (`PhoneReach.admits`), which is not possible for an ACK
            return method != "ACK" or device_leg.device.name in self._phones.names(flow)
        line = self.line_of(flow)
        return (line != "" and line == self.line_of(leg.flow)) or flow.remote[0] in named_hosts(leg.dialog)
