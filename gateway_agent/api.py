"""The agent's HTTP API: which views and verbs it has, and its status as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from heartbeat.console import server
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.metrics import text_of
from heartbeat.console.view import AgentStatus, ConsoleProcess

VIEWS: Final = frozenset("status calls lines call-ids trace history bans audit-log test progress".split())
VERBS: Final = frozenset("drain stop resume reload unban log-level test".split())


async def serve(process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float]) -> server.Served:
    """Offer an agent's views and verbs at that socket; ``clock`` is the one its core is told."""
    return await server.serve(process, VIEWS, VERBS, at, clock, metrics)


def metrics(status: AgentStatus) -> str:
    """``AgentStatus`` in Prometheus' text format."""
    return text_of(status, {"site": status.site, "agent": status.agent})
