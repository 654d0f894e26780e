"""The server's HTTP API: which pages and verbs it has, and its status as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from heartbeat.console import server
from heartbeat.console.metrics import Gauge, text_of, vitals
from heartbeat.console.view import Process
from heartbeat.site.values import Api

PAGES: Final = frozenset("status calls lines agents history explain report progress".split())
VERBS: Final = frozenset("switchover reset pause resume readmit".split())


async def serve(process: Process, api: Api, token: bytes | None, clock: Callable[[], float]) -> server.Served:
    """Offer a server's pages and verbs at ``api``; ``clock`` is the one its core is told.

    Raises :class:`heartbeat.console.server.ApiError` with the sentence for the operator.
    """
    return await server.serve(process, PAGES, VERBS, api, token, clock, metrics)


def metrics(status: Mapping[str, Any]) -> str:
    """``ServerStatus`` in Prometheus' text format."""
    peers = status["peers"]
    return text_of(
        {"site": status["site"], "node": status["node"]},
        [
            Gauge("active", "1 while this server is the active one", status["state"] == "active"),
            Gauge("holding", "1 while it has no lease and ends nothing", status["state"] == "holding"),
            Gauge("epoch", "The epoch it is in", status["epoch"]),
            Gauge("lease_seconds", "Seconds left of the lease", status["lease_left"] or 0.0),
            *(
                Gauge("calls", "Calls by state", count, {"state": state})
                for state, count in status["calls"].items()
                if state != "total"
            ),
            Gauge("capacity", "Calls that it takes at once", status["capacity"]),
            Gauge("load", "Load from 0 to 1", status["load"]),
            Gauge("calls_per_second", "New calls a second", status["rates"]["calls_per_s"]),
            Gauge("lines_in_service", "Lines in service", status["lines"]["in_service"]),
            Gauge("lines_out_of_service", "Lines out of service", status["lines"]["out_of_service"]),
            *(Gauge("peer_reached", "1 while it answers", p["reached"], {"peer": p["name"]}) for p in peers),
            *(Gauge("peer_drift", "1 when its site file differs", p["drift"], {"peer": p["name"]}) for p in peers),
            *vitals(status),
            Gauge("warnings", "Warnings that status shows", len(status["warnings"])),
        ],
    )
