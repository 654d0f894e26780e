"""The state of a site from the statuses of its servers: the active server, alerts, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from heartbeat.console.client import Client, ask_all
from heartbeat.console.command_line import DEGRADED, HEALTHY, NO_ACTIVE
from heartbeat.console.commands import server_client
from heartbeat.console.errors import ConsoleError, RefusedByProcess, Unreachable
from heartbeat.console.render import listed
from heartbeat.console.screens import peer_alerts
from heartbeat.console.views.status import Alert, Peer, ServerStatus
from heartbeat.site.model import Site

T = TypeVar("T")
_MOST_NAMED = 5
"""Nodes of one version that an alert names."""


@dataclass(frozen=True, slots=True)
class Found:
    """The statuses of all servers of a site, requested at the same time."""

    site: Site
    answers: Mapping[str, ServerStatus]
    """Node -> its status; only those that answered."""
    silent: Mapping[str, str]
    """Node -> why it did not answer."""
    said: Mapping[str, Any]
    """Node -> its answer as JSON."""
    dead: frozenset[str] = frozenset()
    """Those of the silent nodes whose processes on this machine have died, whatever other nodes heard before."""

    @property
    def active(self) -> str:
        """The active server, by its own status or by that of a server that hears it; ``""``: none."""
        own = [status for status in self.answers.values() if status.state == "active"]
        if own:
            return str(max(own, key=lambda status: int(status.epoch)).node)
        heard = [
            peer
            for _, peer in self._peers()
            if peer.state == "active" and peer.reached and peer.name not in self.dead
        ]
        return str(heard[0].name) if heard else ""

    @property
    def best(self) -> ServerStatus:
        """The most reliable status: the active server's, else that with the highest epoch."""
        active = self.answers.get(self.active)
        return active or max(self.answers.values(), key=lambda status: int(status.epoch))

    def peer(self, name: str) -> Peer | None:
        """How another server sees server ``name``; None: no server lists it."""
        return next((peer for _, peer in self._peers() if peer.name == name), None)

    def agent(self, name: str) -> dict[str, Peer]:
        """Node -> how that server sees an agent."""
        agents = {node: status.peers for node, status in self.answers.items()}
        return {n: p for n, peers in agents.items() for p in peers if p.name == name and p.kind == "agent"}

    def _peers(self) -> list[tuple[str, Peer]]:
        return [(n, p) for n, status in self.answers.items() for p in status.peers if p.kind == "server"]

    @property
    def suspect(self) -> str:
        """The active server if only another server reports it as active, its API does not answer, and the other
        server has missed two of its heartbeats; else empty."""
        node = self.active
        peer = self.peer(node) if node in self.silent else None
        missed = 2 * self.site.timing.interval
        return node if peer is not None and peer.heard_ago is not None and peer.heard_ago > missed else ""

    def alerts(self) -> list[Alert]:
        """The alerts of the site."""
        said: dict[str, Alert] = {}

        def say(code: str, sentence: str) -> None:
            said.setdefault(sentence, Alert(code, sentence))

        if not self.active:
            say("no-active", _no_active(self))
        if self.suspect:
            peer = self.peer(self.suspect)
            assert peer is not None and peer.heard_ago is not None
            say("suspect", f"{peer.name} may be dead: it was heard {peer.heard_ago:.1f} s ago, and does not answer.")
        for node, because in self.silent.items():
            peer = self.peer(node)
            if peer is None or not peer.reached or node in self.dead or node == self.suspect:
                say("no-answer", because)
        for node, status in sorted(self.answers.items(), key=lambda item: item[0] != self.active):
            for alert in _own_alerts(status):
                # both servers report the same about a third node, but each its own disk and pauses
                if not (alert.text in said and any(peer.name in alert.text for peer in status.peers)):
                    say(
                        alert.code,
                        alert.text if node == self.active or node in alert.text else f"{node}: {alert.text}",
                    )
            if status.paused and not any("paused" in sentence for sentence in status.warnings):
                say("paused", f"{node} is paused: it takes nothing over by itself until b2bua resume.")
        if len(versions := self._versions()) > 1:
            runs = "; ".join(f"{version} on {listed(_some(nodes))}" for version, nodes in versions.items())
            say("versions", f"the programs of the site are of different versions ({runs}): finish the upgrade")
        best = self.best
        for alert in peer_alerts(best.node, best.config, best.peers, said):
            say(alert.code, alert.text)
        return list(said.values())

    def warnings(self) -> list[str]:
        """The texts of the alerts."""
        return [alert.text for alert in self.alerts()]

    def _versions(self) -> dict[str, list[str]]:
        """Version -> the nodes that run it, by their own status or by that of a server that hears them."""
        known = {peer.name: peer.version for peer in self.best.peers if peer.reached and peer.version}
        known |= {node: status.version for node, status in self.answers.items()}
        found: dict[str, list[str]] = {}
        for node in (*self.site.servers, *self.site.agents):
            if node in known:
                found.setdefault(known[node], []).append(node)
        return found

    @property
    def code(self) -> int:
        """0 healthy, 1 degraded, 2 no active server."""
        if not self.active:
            return NO_ACTIVE
        return DEGRADED if self.alerts() else HEALTHY


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_NAMED else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED:,} more"]


def _own_alerts(status: ServerStatus) -> list[Alert]:
    """The alerts of one server without those about the whole site; an older version gives no codes."""
    codes = {alert.text: alert.code for alert in status.alerts}
    return [
        Alert(codes.get(sentence, "other"), sentence)
        for sentence in status.warnings
        if not sentence.lower().startswith("no server is active")
    ]


def _no_active(found: Found) -> str:
    states = {status.state: node for node, status in found.answers.items()}
    if "holding" in states:
        return f"No server is active: {states['holding']} has no lease; it serves on and ends nothing."
    if not found.best.epoch and not found.best.voters.names:
        return "No server is active: the site has never been started: say `b2bua init`."
    return "No server is active."


def find(site: Site) -> Found:
    """Ask all servers. Raises :class:`Unreachable` when none answers."""
    clients = [server_client(site, node) for node in site.servers]
    asked = ask_all(clients, "status")
    said = {node: answer for node, answer in asked.items() if not isinstance(answer, ConsoleError)}
    silent = {node: answer.sentence for node, answer in asked.items() if isinstance(answer, ConsoleError)}
    answers = {client.name: client.read(ServerStatus, said[client.name]) for client in clients if client.name in said}
    if not answers:
        why = list(dict.fromkeys(silent.values()))
        if any(isinstance(answer, Unreachable) for answer in asked.values()):
            raise Unreachable("\n".join(["No server of the site answers.", *why]))
        raise ConsoleError("\n".join(why))  # no server could be asked, for instance without a token
    dead = frozenset(node for node, answer in asked.items() if isinstance(answer, Unreachable) and answer.died_here)
    return Found(site, answers, silent, said, dead)


def active_client(site: Site, node: str | None) -> Client:
    """The server to ask: ``node`` when said, else the active one.

    Raises :class:`ConsoleError` (exit code 2) when none is active, or the active one cannot be asked from here.
    """
    if node is not None:
        return server_client(site, node)
    found = find(site)
    if not found.active:
        raise ConsoleError(_no_active(found) + " Say --node to ask one all the same.", NO_ACTIVE)
    if found.active not in found.answers:
        raise Unreachable(f"{found.active} is active, but: {found.silent[found.active]} Ask on its machine.")
    return server_client(site, found.active)


def first_that_knows(site: Site, node: str | None, kind: type[T], page: str, **params: str) -> tuple[Any, T]:
    """The page from the active server, or from the other one if the first has no such object."""
    if node is not None:
        return server_client(site, node).see(kind, page, **params)
    found = find(site)
    refusal: RefusedByProcess | None = None
    for name in sorted(found.answers, key=lambda name: name != found.active):
        try:
            return server_client(site, name).see(kind, page, **params)
        except RefusedByProcess as error:
            if error.status != 404:
                raise
            refusal = refusal or error
    raise refusal or Unreachable("No server of the site answers.")
