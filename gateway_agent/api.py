"""The agent's HTTP API: which pages and verbs it has, and its status as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from heartbeat.console import server
from heartbeat.console.metrics import Gauge, text_of, vitals
from heartbeat.console.view import Process
from heartbeat.site.values import Api

PAGES: Final = frozenset("status calls lines history progress".split())
VERBS: Final = frozenset("drain resume".split())


async def serve(process: Process, api: Api, token: bytes | None, clock: Callable[[], float]) -> server.Served:
    """Offer an agent's pages and verbs at ``api``; ``clock`` is the one its core is told.

    Raises :class:`heartbeat.console.server.ApiError` with the sentence for the operator.
    """
    return await server.serve(process, PAGES, VERBS, api, token, clock, metrics)


def metrics(status: Mapping[str, Any]) -> str:
    """``AgentStatus`` in Prometheus' text format."""
    relay = status["relay"] or {"streams": 0, "packets": 0, "size": 0}
    return text_of(
        {"site": status["site"], "agent": status["agent"]},
        [
            Gauge("serving", "1 while it obeys a server that it reaches", status["state"] == "serving"),
            Gauge("draining", "1 while it refuses new calls", status["state"] in ("draining", "drained")),
            Gauge("epoch", "The epoch it obeys", status["epoch"]),
            *(
                Gauge("calls", "Calls by state", count, {"state": state})
                for state, count in status["calls"].items()
                if state != "total"
            ),
            Gauge("held_attempts", "Requests of devices that wait for a server", status["held_attempts"]),
            Gauge("lines_in_service", "Lines in service", status["lines"]["in_service"]),
            Gauge("lines_out_of_service", "Lines out of service", status["lines"]["out_of_service"]),
            Gauge("relay_streams", "RTP streams through the relay", relay["streams"]),
            Gauge("relay_packets", "RTP packets relayed", relay["packets"]),
            Gauge("wrong_passwords", "Wrong passwords of phones and strangers", status["passwords"]["wrong"]),
            Gauge("passwords_held_back", "Passwords not looked at", status["passwords"]["held_back"]),
            *(
                Gauge("peer_reached", "1 while it answers", p["reached"], {"peer": p["name"]})
                for p in status["servers"]
            ),
            *vitals(status),
            Gauge("warnings", "Warnings that status shows", len(status["warnings"])),
        ],
    )
