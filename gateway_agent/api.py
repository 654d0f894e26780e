"""The agent's HTTP API: its views and verbs, and its status as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable

from gateway_agent.console import VERBS, VIEWS
from heartbeat.console import server
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.contract import ConsoleProcess
from heartbeat.console.metrics import text_of
from heartbeat.console.views.status import AgentStatus


async def serve(process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float]) -> server.Served:
    """Offer an agent's views and verbs at that socket; ``clock`` is the one its core is told."""
    return await server.serve(process, VIEWS, VERBS, at, clock, metrics)


def metrics(status: AgentStatus) -> str:
    """``AgentStatus`` in Prometheus' text format."""
    return text_of(status, {"site": status.site, "agent": status.agent})
