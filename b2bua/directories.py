"""Protocols by which calls use the agents and the servers' own lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from b2bua.caller_identity import CallerIdentity
from b2bua.destination import Destination, OwnDevice
from b2bua.device_leg import DeviceLeg
from b2bua.former_legs import FormerLegs
from b2bua.senders import Senders
from sip.actions import Flow
from sip.b2b.bridge import Bridge
from sip.dialog import DialogState


class RetryQueue(Protocol):
    """Requests that wait for an agent (``b2bua.takeover.fenced_retry_queue``)."""

    def add(
        self, again: Callable[[float], None], now: float, on_timeout: Callable[[float], None] | None = None
    ) -> bool:
        """Queue ``again``, to be called when the agent is there, else ``on_timeout``. False: too many are queued."""

    def __bool__(self) -> bool: ...


class CallAgent(Protocol):
    """What a call asks of an agent's connection (``b2bua.agent_connection``)."""

    @property
    def flow(self) -> Flow | None: ...

    @property
    def lost_at(self) -> float | None: ...

    @property
    def refused(self) -> RetryQueue: ...

    def reached_for(self, now: float) -> float:
        """Seconds for which it has been reached without a break; 0: it is not reached."""

    def fetch(self, call_id: str, now: float) -> None:
        """Request one dialog ahead of the rest of the agent's list."""


class AgentDirectory(Protocol):
    """The agents of the site (``b2bua.agents``)."""

    @property
    def connections(self) -> Mapping[str, CallAgent]: ...

    @property
    def by_flow(self) -> Mapping[Flow, CallAgent]: ...

    def subscription_ended(self, call_id: str) -> None:
        """A device's subscription has ended: forget it."""

    @property
    def begun_at(self) -> float:
        """When the present leadership of this server began."""

    def agent_of(self, flow: Flow) -> str:
        """The agent at the other end of a connection; ``""``: none."""


class OwnLineDirectory(Protocol):
    """The lines of the server's own (``b2bua.own_lines``)."""

    def ready(self, line: str, then: Callable[[float], None]) -> bool:
        """Whether the destinations of a line are known; False: ``then`` is called when they are."""

    def destinations(self, line: str, now: float) -> list[Destination]:
        """The destinations of a call to a line, in the order to try them; empty: it is out of service."""

    def is_busied_out(self, line: str) -> bool:
        """Whether an operator has taken a line out of service for new calls."""

    @property
    def caller_identity(self) -> CallerIdentity: ...

    def leg(self, line: str, bridge: Bridge, flow: Flow, state: DialogState, established: bool = False) -> DeviceLeg:
        """A leg of a call with a line; ``established`` as of `InviteUsage`."""

    def device(self, line: str) -> OwnDevice | None:
        """The trunk or telephone of a line."""

    @property
    def former(self) -> FormerLegs: ...

    @property
    def senders(self) -> Senders: ...
