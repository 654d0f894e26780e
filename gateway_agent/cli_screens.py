"""The agent's pages as people see them: from JSON to what rich prints. Nothing here asks anyone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import pages
from heartbeat.console import render as look
from heartbeat.console.commands import DEGRADED, HEALTHY, NO_ACTIVE
from heartbeat.console.render import NOTHING, clock, count, grid, several, span

NOTABLE = 30.0
"""Seconds without media that are shown."""


def warnings_of(status: Any) -> list[str]:
    """All that an operator should know of one agent."""
    if "error" in status:
        return [status["error"]]
    said = list(status["warnings"])
    name = status["agent"]
    if status["state"] in ("draining", "drained"):
        said.append(f"{name} is {status['state']}: it takes no new calls until gateway-agent resume.")
    said += pages.peer_warnings(name, status["config"], status["servers"], said)
    return list(dict.fromkeys(said))


def code_of(status: Any) -> int:
    """The exit code: 0 healthy, 1 degraded, 2 obeys no server."""
    if "error" not in status and status["state"] == "waiting":
        return NO_ACTIVE
    return DEGRADED if warnings_of(status) else HEALTHY


def agents_screen(agents: Mapping[str, Any]) -> RenderableType:
    columns = (
        "Agent",
        "State",
        "Obeys",
        ">Epoch",
        "~>Since",
        "Servers heard",
        ">Calls",
        "~>Busy",
        "~>In service",
        "~>Out",
    )
    warnings = [sentence for status in agents.values() for sentence in warnings_of(status)]
    return look.page(
        grid(columns, [_agent_row(name, status) for name, status in agents.items()]),
        look.warnings(warnings) if warnings else None,
    )


def _agent_row(name: str, status: Any) -> list[str | Text]:
    if "error" in status:
        return [name, look.state("silent"), *[NOTHING] * 8]
    lines = status["lines"]
    return [
        name,
        look.state(status["state"]),
        status["obeys"] or NOTHING,
        str(status["epoch"] or NOTHING),
        NOTHING if status["since_at"] is None else span(time.time() - status["since_at"]),
        Text("  ").join(_heard(peer) for peer in status["servers"]),
        count(status["calls"]["total"]),
        count(lines["busy"]),
        count(lines["in_service"]),
        Text(count(lines["out_of_service"]), "red" if lines["out_of_service"] else "dim"),
    ]


def _heard(peer: Any) -> Text:
    return Text(f"{peer['name']} {span(peer['heard_ago'])}", "green" if peer["reached"] else "bold red")


def agent_screen(status: Any) -> RenderableType:
    """``gateway-agent status`` of one agent."""
    warnings = warnings_of(status)
    calls, lines, relay = status["calls"], status["lines"], status["relay"]
    vote = f"voter, has promised epoch {status['promised']}" if status["voter"] else "no voter"
    waiting = status["held_attempts"]
    facts: list[tuple[str, RenderableType]] = [
        ("Calls", look.line(several(calls["total"], "call"), *pages.by_state(calls))),
        ("Waiting", Text(f"{several(waiting, 'request')} for a server", "yellow" if waiting else "")),
        (
            "Lines",
            f"{count(lines['busy'])} busy of {count(lines['in_service'])} in service, "
            f"{count(lines['out_of_service'])} out of service",
        ),
    ]
    if relay is not None:
        size = f"{relay['size'] / 1e6:,.1f} MB"
        text = Text(f"{several(relay['streams'], 'stream')}, {count(relay['packets'])} packets, {size} so far")
        if relay["dropped"]:
            text.append(f", {several(relay['dropped'], 'packet')} dropped")
        if relay["silent"]:
            text.append(f", {several(relay['silent'], 'call')} without media", "yellow")
        facts.append(("Relay", text))
    if (passwords := status["passwords"])["wrong"]:
        last = f"the last for {passwords['user']} from {passwords['host']}"
        ago = f"{span(time.time() - passwords['last_at'])} ago"
        held = f", {count(passwords['held_back'])} tries not looked at" if passwords["held_back"] else ""
        facts.append(("Passwords", Text(f"{count(passwords['wrong'])} wrong{held}; {last}, {ago}", "yellow")))
    facts.append(("Process", pages.vitals(status)))
    facts.append(("Itself", f"boot {status['boot']}, {vote}, up {span(time.time() - status['started_at'])}"))
    head = look.line(
        Text(status["agent"], "bold"),
        f"of {status['site']}",
        look.state(status["state"]),
        f"obeys {status['obeys']} in epoch {status['epoch']}" if status["obeys"] else "obeys no server yet",
        Text("healthy", "green") if not warnings else Text(several(len(warnings), "warning"), "yellow"),
        gap="   ",
    )
    return look.page(
        head,
        grid(
            ("Server", "State", "Reached", ">Heard", ">Epoch", "~>Boot", "~Config", "~At"),
            [_server_row(peer) for peer in status["servers"]],
        ),
        look.facts(facts),
        look.warnings(warnings) if warnings else None,
    )


def _server_row(peer: Any) -> list[str | Text]:
    drift = " drift" if peer["drift"] else ""
    return [
        peer["name"],
        look.state(peer["state"]),
        look.yes(peer["reached"]),
        span(peer["heard_ago"]),
        str(peer["epoch"] or NOTHING),
        str(peer["boot"] or NOTHING),
        Text(f"{peer['config'] or NOTHING}{drift}", "bold yellow" if drift else ""),
        peer["address"] or NOTHING,
    ]


def calls_screen(page: Any) -> RenderableType:
    first = ("Call", "Line", "Way", "State", "Number", ">Lasts")
    return pages.calls(page, (*first, "~>Since", "~Server", "~Epochs", "~>Kept", "~Media"), _call_row)


def _call_row(call: Any) -> list[str | Text]:
    return [
        call["id"],
        call["line"],
        call["direction"],
        look.state(call["state"]),
        call["number"] or NOTHING,
        span(time.time() - (call["answered_at"] or call["started_at"])),
        clock(call["started_at"]),
        Text(call["server"] or NOTHING, "" if call["server"] else "yellow"),
        pages.epochs(call["epochs"]),
        str(call["kept_requests"] or NOTHING),
        _media(call),
    ]


def _media(call: Any) -> Text:
    silent = call["silent_s"]
    if silent is None or silent < NOTABLE:
        return Text(call["media"])
    return Text(f"{call['media']}, silent {span(silent)}", "yellow")
