"""The agents and the lines of the server's own, as calls ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from b2bua.caller_identity import CallerIdentity
from b2bua.destination import Destination
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
        """Let one wait, as what is to be done then, or when it has waited in vain; False when too many do."""

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
        """For how many seconds without a break it has been there; 0 when it is not."""

    def fetch(self, call_id: str, now: float) -> None:
        """Ask for one dialog ahead of the rest of its list."""


class AgentDirectory(Protocol):
    """The agents of the site (``b2bua.agents``)."""

    @property
    def connections(self) -> Mapping[str, CallAgent]: ...

    @property
    def by_flow(self) -> Mapping[Flow, CallAgent]: ...

    def subscription_ended(self, call_id: str) -> None:
        """Nothing is kept of a subscription of a device that is over."""

    @property
    def begun_at(self) -> float:
        """When this server began to lead."""

    def agent_of(self, flow: Flow) -> str:
        """Who has the other end of a connection, ``""`` for nobody."""


class OwnLineDirectory(Protocol):
    """The lines of the server's own (``b2bua.own_lines``)."""

    def ready(self, line: str, then: Callable[[float], None]) -> bool:
        """Whether a line can say where its calls go; False: ``then`` is called when it can."""

    def destinations(self, line: str, now: float) -> list[Destination]:
        """Where a call to a line goes, in the order to try; empty out of service."""

    def is_busied_out(self, line: str) -> bool:
        """Whether an operator wants no new calls on a line."""

    @property
    def caller_identity(self) -> CallerIdentity: ...

    def leg(self, line: str, bridge: Bridge, flow: Flow, state: DialogState, established: bool = False) -> DeviceLeg:
        """A leg of a call with a line; ``established`` as of `InviteUsage`."""

    @property
    def former(self) -> FormerLegs: ...

    @property
    def senders(self) -> Senders: ...
