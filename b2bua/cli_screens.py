"""The server's pages as people see them: from JSON to what rich prints. Nothing here asks anyone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from b2bua.cli_site import Found
from heartbeat.console import pages
from heartbeat.console import render as look
from heartbeat.console.render import NOTHING, clock, count, grid, several, span


def site_screen(found: Found) -> RenderableType:
    """``b2bua status``: the whole site at one glance."""
    warnings = found.warnings()
    best = found.best
    head = look.line(
        Text(found.site.name, style="bold"),
        f"epoch {best['epoch']}",
        look.state(f"{found.active} active") if found.active else Text("● no active server", style="bold red"),
        Text("healthy", "green") if not warnings else Text(several(len(warnings), "warning"), "yellow"),
        gap="   ",
    )
    if found.active:
        head.stylize("green", head.plain.index("●"), head.plain.index("●") + 1)
    return look.page(
        head,
        servers_table(found),
        agents_table(found),
        _load(found),
        last_takeover(best["last_takeover"]),
        look.warnings(warnings) if warnings else None,
    )


def servers_table(found: Found) -> RenderableType:
    columns = ("Server", "~Role", "State", "~>Since", ">Epoch", ">Lease", ">Heard", "~>Boot", "~Config", ">Calls")
    return grid(columns, [_server_row(found, node) for node in found.site.servers])


def _server_row(found: Found, node: str) -> list[str | Text]:
    role = found.site.servers[node].role
    status = found.answers.get(node)
    peer = found.peer(node)
    heard = NOTHING if peer is None else span(peer["heard_ago"])
    if status is not None:
        return [
            node,
            role,
            look.state(status["state"]),
            span(time.time() - status["since_at"]),
            str(status["epoch"]),
            span(status["lease_left"]),
            heard,
            str(status["boot"]),
            _config(status["config"], peer is not None and peer["drift"]),
            count(status["calls"]["total"]),
        ]
    if peer is None:
        return [node, role, look.state("silent"), *[NOTHING] * 7]
    word = peer["state"] if peer["reached"] else peer["judged"] if peer["judged"] != "alive" else "silent"
    told = [NOTHING if not value else str(value) for value in (peer["epoch"], peer["boot"])]
    calls = count(peer["calls"]) if peer["reached"] else NOTHING
    return [
        node,
        role,
        look.state(word or "silent"),
        NOTHING,
        told[0],
        NOTHING,
        heard,
        told[1],
        _config(peer["config"], peer["drift"]),
        calls,
    ]


def _config(digest: str, drift: bool) -> Text:
    return Text(f"{digest or NOTHING}{' drift' if drift else ''}", "bold yellow" if drift else "")


def agents_table(found: Found) -> RenderableType | None:
    """Each agent with what each server hears of it."""
    if not found.site.agents:
        return None
    nodes = list(found.answers)
    heard = [f">{node} heard" for node in nodes]
    columns = ("Agent", "Obeys", ">Epoch", "~Vote", *heard, "~>Boot", "~Config", ">Calls")
    rows: list[list[str | Text]] = []
    for name in found.site.agents:
        by_node = found.agent(name)
        best = by_node.get(found.best["node"]) or next(iter(by_node.values()), None)
        if best is None:
            rows.append([name, *[NOTHING] * (len(columns) - 1)])
            continue
        rows.append(
            [
                name,
                Text(best["obeys"] or NOTHING, "" if best["obeys"] == found.active else "yellow"),
                str(best["epoch"] or NOTHING),
                "voter" if best["voter"] else NOTHING,
                *(_heard(by_node.get(node)) for node in nodes),
                str(best["boot"] or NOTHING),
                _config(best["config"], best["drift"]),
                count(best["calls"]),
            ]
        )
    return grid(columns, rows)


def _heard(peer: Any | None) -> Text:
    if peer is None or peer["heard_ago"] is None:
        return Text("never", "red")
    return Text(span(peer["heard_ago"]), "green" if peer["reached"] else "bold red")


def _load(found: Found) -> RenderableType:
    status = found.best
    calls, lines, rates, voters = status["calls"], status["lines"], status["rates"], status["voters"]
    share = calls["total"] / max(1, status["capacity"])
    quorum = f"{voters['answering']} of {len(voters['names'])} answer, {voters['quorum']} are a quorum"
    names = ", ".join(voters["names"])
    out = lines["out_of_service"]
    return look.facts(
        [
            (
                "Calls",
                look.line(
                    f"{count(calls['total'])} of {count(status['capacity'])}",
                    look.bar(share),
                    *pages.by_state(calls),
                    f"{rates['calls_per_s']:.1f} new/s",
                ),
            ),
            (
                "Lines",
                look.line(
                    f"{count(lines['busy'])} busy of {several(lines['in_service'], 'line')} in service",
                    Text(f"{count(out)} out of service", "red" if out else "dim"),
                ),
            ),
            (
                "Voters",
                Text(
                    f"{names}: {quorum} (generation {voters['generation']})" if names else "none",
                    "bold red" if names and voters["answering"] < voters["quorum"] else "",
                ),
            ),
            *((node, pages.vitals(own)) for node, own in found.answers.items()),
        ]
    )


def last_takeover(takeover: Any | None) -> RenderableType | None:
    if takeover is None:
        return None
    lost = takeover["lost"]
    return Text.assemble(
        ("Last " + takeover["kind"], "bold"),
        f"  {takeover['old'] or NOTHING} → {takeover['new']}, epoch {takeover['epoch']}, {clock(takeover['at'])} "
        f"({span(time.time() - takeover['at'])} ago), took {span(takeover['took'])}: ",
        (f"{several(takeover['kept'], 'call')} kept", "green"),
        ", ",
        (f"{count(lost)} lost", "bold red" if lost else "green"),
        f"\n  {takeover['because']}",
    )


def calls_screen(page: Any) -> RenderableType:
    columns = ("Call", "State", "From", "To", "Lines", "~Agents", ">Lasts", "~>Since", "~Epochs")
    return pages.calls(page, columns, _call_row)


def _call_row(call: Any) -> list[str | Text]:
    since = call["answered_at"] or call["started_at"]
    agents = dict.fromkeys(name for name in (call["caller_agent"], call["callee_agent"]) if name)
    return [
        call["id"],
        look.state(call["state"]),
        call["caller"] or NOTHING,
        call["callee"] or NOTHING,
        f"{call['caller_line'] or '?'} → {call['callee_line'] or '?'}",
        " → ".join(agents) or NOTHING,
        span(time.time() - since),
        clock(call["started_at"]),
        pages.epochs(call["epochs"]),
    ]


def agents_screen(node: str, agents: Iterable[Any]) -> RenderableType:
    columns = (
        "Agent",
        "State",
        "Obeys",
        ">Epoch",
        "Reached",
        ">Heard",
        "~Judged",
        "~Vote",
        "~>Boot",
        "~Config",
        ">Calls",
        "~At",
    )
    rows = [
        [
            peer["name"],
            look.state(peer["state"]),
            peer["obeys"] or NOTHING,
            str(peer["epoch"] or NOTHING),
            look.yes(peer["reached"]),
            span(peer["heard_ago"]),
            look.coloured(peer["judged"]),
            "voter" if peer["voter"] else NOTHING,
            str(peer["boot"] or NOTHING),
            _config(peer["config"], peer["drift"]),
            count(peer["calls"]),
            peer["address"] or NOTHING,
        ]
        for peer in agents
    ]
    return grid(columns, rows, f"{node} has no agents.")


def history_screen(rows: list[Any]) -> RenderableType:
    shown = [[clock(row["at"], fine=True), row["node"], Text(row["what"], "bold"), row["because"]] for row in rows]
    return look.wide(("At", "Server", "What", "Why"), shown) if shown else Text("Nothing was decided yet.", "dim")
