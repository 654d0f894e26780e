"""Screens of the servers' views. Nothing here sends requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from rich.console import RenderableType
from rich.text import Text

from b2bua.cli_site import Found
from heartbeat.agent_key import OWN, SITE
from heartbeat.console import render, screens
from heartbeat.console.render import NOTHING, age, clock, count, grid, several, span, table
from heartbeat.console.schema import Column, Styled
from heartbeat.console.views.calls import Call, Calls
from heartbeat.console.views.history import DecisionRow
from heartbeat.console.views.status import Peer, ServerStatus
from heartbeat.console.views.takeovers import TakeoverSummary


def site_screen(found: Found) -> RenderableType:
    """The screen of ``b2bua status``."""
    warnings = found.warnings()
    best = found.best
    head = render.line(
        Text(found.site.name, style="bold"),
        f"epoch {best.epoch}",
        _active(found),
        Text("healthy", "green") if not warnings else Text(several(len(warnings), "warning"), "yellow"),
        gap="   ",
    )
    if found.active and not found.suspect:
        head.stylize("green", head.plain.index("●"), head.plain.index("●") + 1)
    return render.stack(
        head,
        render.warnings(warnings) if warnings else None,
        servers_table(found),
        agents_table(found),
        _site_keys(found),
        _load(found),
        last_takeover(best.last_takeover),
    )


def _active(found: Found) -> Text:
    if not found.active:
        return Text("● no active server", style="bold red")
    if found.suspect:
        return Text(f"? {found.suspect} suspect", style="bold yellow")
    return render.state(f"{found.active} active")


def silent_site_screen(name: str, because: str) -> RenderableType:
    """The screen of a site of which no server answers, among those of others."""
    return render.stack(Text(name, style="bold"), render.warnings([because]))


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A row of a server, from its own status or that of the other one."""

    node: Annotated[str, Column("Server")]
    role: Annotated[str, Column("~Role")]
    state: Annotated[str, Column("State", "state")]
    since_at: Annotated[float | None, Column("~>Since", "age")] = None
    epoch: Annotated[int, Column(">Epoch")] = 0
    lease_left: Annotated[float | None, Column(">Lease", "span")] = None
    heard_ago: Annotated[float | None, Column(">Heard", "span")] = None
    boot: Annotated[int, Column("~>Boot", "boot")] = 0
    config: Annotated[Styled | None, Column("~Config")] = None
    calls: Annotated[int | None, Column(">Calls", "count")] = None
    version: Annotated[str, Column("~Version")] = ""


def servers_table(found: Found) -> RenderableType:
    """The table of servers, from their own statuses where they answer."""
    return table(ServerRow, [_server_row(found, node) for node in found.site.servers])


def _server_row(found: Found, node: str) -> ServerRow:
    role = found.site.servers[node].role
    status, peer = found.answers.get(node), found.peer(node)
    if status is not None:
        return ServerRow(
            node,
            role,
            status.state,
            status.since_at,
            status.epoch,
            status.lease_left,
            None if peer is None else peer.heard_ago,
            status.boot,
            _config(status.config, peer is not None and peer.drift),
            status.calls.total,
            status.version,
        )
    if peer is None:
        return ServerRow(node, role, "silent")
    reached = peer.reached and node not in found.dead
    silent = "dead" if node in found.dead else "silent"
    state = (
        "suspect"
        if node == found.suspect
        else peer.state
        if reached
        else peer.judged
        if peer.judged != "alive"
        else silent
    )
    return ServerRow(
        node,
        role,
        state or "silent",
        None,
        peer.epoch,
        None,
        peer.heard_ago,
        peer.boot,
        _config(peer.config, peer.drift),
        peer.calls if reached else None,
        peer.version,
    )


def _site_keys(found: Found) -> RenderableType | None:
    """A note of the agents that use the site key where others have their own keys; it is no fault."""
    sorts = {name: {peer.key for peer in found.agent(name).values()} for name in found.site.agents}
    names = [name for name, sort in sorts.items() if SITE in sort]
    if not names or not any(OWN in sort for sort in sorts.values()):
        return None
    named = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return Text(f"Still with the site key: {named}", "dim")


def _config(digest: str, drift: bool) -> Styled:
    return Styled(f"{digest or NOTHING}{' drift' if drift else ''}", "bold yellow" if drift else "")


def agents_table(found: Found) -> RenderableType | None:
    """The table of agents, as each server sees them."""
    if not found.site.agents:
        return None
    nodes = list(found.answers)
    heard = [f">{node} heard" for node in nodes]
    columns = ("Agent", "Obeys", ">Epoch", "~Vote", *heard, "~>Boot", "~Config", ">Calls", "~Version")
    rows: list[list[str | Text]] = []
    for name in found.site.agents:
        by_node = found.agent(name)
        best = by_node.get(found.best.node) or next(iter(by_node.values()), None)
        if best is None:
            rows.append([name, *[NOTHING] * (len(columns) - 1)])
            continue
        rows.append(
            [
                name,
                _obeys(found, best),
                str(best.epoch or NOTHING),
                "voter" if best.voter else NOTHING,
                *(_heard(by_node.get(node)) for node in nodes),
                render.boot(best.boot),
                render.text(_config(best.config, best.drift)),
                NOTHING if elsewhere(found) else count(best.calls),
                best.version or NOTHING,
            ]
        )
    return grid(columns, rows)


def elsewhere(found: Found) -> str:
    """The active server if it is known but did not answer, so that its figures are missing; else ``""``."""
    return "" if found.active in found.answers else found.active


def _obeys(found: Found, agent: Peer) -> Text:
    if elsewhere(found):
        return Text(f"ask {found.active}", "dim")
    return Text(agent.obeys or NOTHING, "" if agent.obeys == found.active else "yellow")


def _heard(peer: Peer | None) -> Text:
    if peer is None or peer.heard_ago is None:
        return Text("never", "red")
    return Text(span(peer.heard_ago), "green" if peer.reached else "bold red")


def _load(found: Found) -> RenderableType:
    status = found.best
    rows = [("Calls", _calls(status)), ("Lines", _lines(status)), ("Voters", _voters(status))]
    if status.state == "standby":  # agents report their lines to the active server only
        rows[:2] = [("Calls", Text(f"ask {found.active}, which is active"))] if found.active else []
    return render.facts([*rows, *((node, screens.process_stats(own.process)) for node, own in found.answers.items())])


def _calls(status: ServerStatus) -> Text:
    calls, capacity = status.calls, status.capacity
    return render.line(
        f"{count(calls.total)} of {count(capacity)}",
        render.bar(calls.total / max(1, capacity)),
        *screens.by_state(calls),
        f"{status.rates.calls_per_s:.1f} new/s",
    )


def _lines(status: ServerStatus) -> Text:
    lines, out = status.lines, status.lines.out_of_service
    return render.line(
        f"{count(lines.busy)} busy of {several(lines.in_service, 'line')} in service",
        Text(f"{count(out)} out of service", "red" if out else "dim"),
    )


def _voters(status: ServerStatus) -> Text:
    voters = status.voters
    if not voters.names:
        return Text("none")
    quorum = f"{voters.answering} of {len(voters.names)} answer, {voters.quorum} are a quorum"
    said = f"{', '.join(voters.names)}: {quorum} (generation {voters.generation})"
    return Text(said, "bold red" if voters.answering < voters.quorum else "")


def last_takeover(takeover: TakeoverSummary | None) -> RenderableType | None:
    if takeover is None:
        return None
    lost = takeover.lost
    return Text.assemble(
        ("Last " + takeover.kind, "bold"),
        f"  {takeover.old or NOTHING} → {takeover.new}, epoch {takeover.epoch}, {clock(takeover.at)} "
        f"({age(takeover.at)} ago), took {span(takeover.took)}: ",
        (f"{several(takeover.kept, 'call')} kept", "green"),
        ", ",
        (f"{count(lost)} lost", "bold red" if lost else "green"),
        f"\n  {takeover.because}",
    )


def calls_screen(page: Calls) -> RenderableType:
    return screens.calls(Call, page.calls, page.matched)


def agents_screen(node: str, agents: Iterable[Peer]) -> RenderableType:
    return table(Peer, agents, titles={"name": "Agent"}, empty=f"{node} has no agents.")


def history_screen(rows: Iterable[DecisionRow]) -> RenderableType:
    return table(DecisionRow, rows, titles={"node": "Server"}, empty="Nothing was decided yet.")
