"""The first start of a site, ordered at a running server: `b2bua init` while nodes run, and a forced switchover of a
site that has no voters yet."""

from __future__ import annotations

from heartbeat.cluster_view import ClusterView
from heartbeat.decision import What
from heartbeat.lease import NEVER
from heartbeat.participant import Participant
from heartbeat.proof import VoterList


def begin(node: Participant, cluster: ClusterView, now: float) -> str:
    """Let ``node`` request the first epoch from the voters of the site file, once no other server is heard. Returns
    why not, as a sentence; empty: it does."""
    fault = _past(node, cluster)
    if not fault:
        members = node.membership
        _install(
            node, members.voters, members.generation, "an operator says that the site starts for the first time", now
        )
    return fault


def begin_with_the_reached(node: Participant, cluster: ClusterView, now: float) -> str:
    """As `begin`, for a forced switchover: with the voters that are reached, if they are no quorum of the site
    file's.

    A leadership that is only forced would leave voters without a vote, so that no other server could take over.
    """
    fault = _past(node, cluster)
    if fault:
        return fault
    members = node.membership
    reached = cluster.present(members.voters, NEVER) | ({node.name} & set(members.voters))
    if not reached.intersection(members.agents):
        return (
            f"{node.name} reaches no voter ({', '.join(members.voters)}), and without one no server can ever take"
            f" over: start the agents, then say `b2bua init --node {node.name}`"
        )
    because = "an operator forces the first start"
    if len(reached) >= members.quorum:
        _install(node, members.voters, members.generation, because, now)
    else:
        _install(node, tuple(name for name in members.voters if name in reached), 0, because, now)
    return ""


def _past(node: Participant, cluster: ClusterView) -> str:
    state = node.voter.state
    if state.voters.names or state.leadership.epoch or state.granted:
        names = ", ".join(state.voters.names)
        return f"the site has been started before: {node.name} knows epoch {state.leadership.epoch}, voters {names}"
    known = max(cluster.generations.values(), default=0)
    if cluster.epoch or cluster.promised_epoch or known:
        return f"the site has been started before: others know epoch {max(cluster.epoch, cluster.promised_epoch)}"
    return ""


def _install(node: Participant, names: tuple[str, ...], filed: int, because: str, now: float) -> None:
    node.voter.begin_site(VoterList(1, names, filed))
    node.outbox.persist(node.voter.state)
    node.outbox.decide(What.VOTERS, f"the voters are {', '.join(names)} from now on (generation 1): {because}", now)
