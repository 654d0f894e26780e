"""The server's HTTP API: which views and verbs it has, and its status as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from heartbeat.console import server
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.contract import ConsoleProcess
from heartbeat.console.metrics import text_of
from heartbeat.console.other_nodes import OtherNodes
from heartbeat.console.reload_orders import PROVISION
from heartbeat.console.views.status import ServerStatus
from heartbeat.console.web_page import read_files

VIEWS: Final = frozenset(
    "status calls lines agents history explain call-ids trace report rehearsal audit audit-log route bans cdrs "
    "trend ladder provisioned test progress".split()
)
VERBS: Final = frozenset(
    "switchover reset hangup busyout pause resume readmit init rehearse audit reload unban log-level "
    "provision test".split()
)


ORDERS: Final = VERBS - {PROVISION}
"""What another server may pass on; a change of what is provisioned goes to all nodes by itself."""


async def serve(
    process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float], others: OtherNodes | None = None
) -> server.Served:
    """Offer a server's views and verbs at that socket; ``clock`` is the one its core is told; ``others`` passes on
    what is meant for another node."""
    files = read_files(Path(__file__).parent / "page")
    return await server.serve(process, VIEWS, VERBS, at, clock, metrics, files, others)


def metrics(status: ServerStatus) -> str:
    """``ServerStatus`` in Prometheus' text format."""
    return text_of(status, {"site": status.site, "node": status.node})
