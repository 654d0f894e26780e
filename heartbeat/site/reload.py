"""Which changes of the site file a running program may apply by a reload. Pure.

Lines, routes, groups, capacities, passwords, and times that concern one program may change at any time. Settings that
nodes must agree on for safety, and the addresses of listeners, need a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from heartbeat.agent_key import MARK
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.needed_secrets import secrets_of
from heartbeat.site.values import Secret

SHARED_TIMES = ("interval", "slow_interval", "misses", "lease", "margin", "drift", "round_trip", "t1", "t2", "t4")
VOTES = ("voters", "generation", "quorum", "takeover_without_quorum")
OWN_OF_SERVER = ("role", "listen", "sip", "beat", "advertise", "advertise_by", "api", "state", "cdr")
OWN_OF_AGENT = ("sip", "advertise", "advertise_by", "api", "state", "rtp", "rtpengine")
MOST_NAMED = 10
"""Lines that a sentence names."""
RESTART_ONE = "restart this node"
RESTART = "restart the nodes, the stand-by first"


def without_late_lines(old: Site, new: Site, node: str) -> tuple[Site, list[str]]:
    """``new`` without its new lines whose secrets ``node`` cannot get before a restart, and a sentence for each.

    The environment of a running program does not change: such a line waits for a restart, while other changes are
    applied. A missing secret file can be created at any time, so without it the whole file is refused.
    """
    late = {}
    for place, secret in secrets_of(new, node):
        table, _, name = place.removesuffix(".password").removesuffix(".register").partition(".")
        kept_in_environment = secret.source.startswith("env ")
        if table == "lines" and secret.value is None and kept_in_environment and name not in old.lines:
            late[name] = f"lines.{name}: is left out until {node} is restarted: {secret.problem}"
    lines = {name: line for name, line in new.lines.items() if name not in late}
    return replace(new, lines=MappingProxyType(lines)), [*late.values()]


def reload_complaints(old: Site, new: Site, node: str) -> list[str]:
    """Why ``node``, which uses ``old``, cannot apply ``new``, one sentence each; empty: it can."""
    return [*_identity(old, new), *_votes(old, new), *_addresses(old, new, node), *_owners(old, new)]


def changes(old: Site, new: Site) -> list[str]:
    """The differences between ``old`` and ``new`` in short; empty: there are none."""
    found = []
    for what, before, after in (("line", old.lines, new.lines), ("group", old.groups, new.groups)):
        for names, how in (
            ([name for name in after if name not in before], "new"),
            ([name for name in before if name not in after], "gone"),
            ([name for name in after if name in before and not is_same(before[name], after[name])], "changed"),
        ):
            if names:
                more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
                named = ", ".join(names[:MOST_NAMED]) + more
                found.append(f"{what}{'s' if len(names) > 1 else ''} {how}: {named}")
    if old.routes != new.routes:
        found.append(f"routes changed: {len(new.routes)}, {len(old.routes)} before")
    for kind, ones, others in (("server", old.servers, new.servers), ("agent", old.agents, new.agents)):
        found += [
            f"{kind} {name} changed" for name in others if name in ones and not is_same(ones[name], others[name])
        ]
    for table in ("timing", "failover", "bans", "trace", "records", "hooks"):
        if not is_same(getattr(old, table), getattr(new, table)):
            found.append(f"{table} changed")
    if old.identity.key.value != new.identity.key.value:
        found.append("the site key is another one")
    was, now = (one.identity.previous_key for one in (old, new))
    if (was.value if was is not None else None) != (now.value if now is not None else None):
        found.append(f"previous_key is {'new' if was is None else 'gone' if now is None else 'another one'}")
    if old.provisioned.version != new.provisioned.version:
        found.append(f"provisioned version {new.provisioned.version}, {old.provisioned.version} before")
    if old.identity.ca != new.identity.ca:
        found.append("site.ca changed")
    return found


def is_same(old: object, new: object) -> bool:
    """Whether two lines, groups, programs or tables are equal, the values of their secrets included: a password may
    change at the same place."""
    return old == new and [one.value for one in _secrets(old)] == [one.value for one in _secrets(new)]


def _secrets(of: object) -> list[Secret]:
    inner = (getattr(of, name, None) for name in ("register", "postgres", "webhook"))
    found = (getattr(one, name, None) for one in (of, *inner) for name in ("password", "api_token", "key"))
    return [one for one in found if isinstance(one, Secret)]


def _identity(old: Site, new: Site) -> Iterator[str]:
    if old.name != new.name:
        yield f"site.name: cannot change from {old.name} to {new.name}: start a new site under the new name"
    if old.realm != new.realm:
        yield f"site.realm: cannot change from {old.realm} to {new.realm} while phones are registered: {RESTART}"
    if _is_own(old.identity.key) and not _is_own(new.identity.key):
        yield f"site.key: cannot change from an agent's own key to the site key while it runs: {RESTART_ONE}"
    accepted = [key.value for key in new.identity.keys]
    if old.identity.key.value not in accepted:
        yield "site.key: is another one: keep the old key as previous_key until every node has the new one"


def _is_own(key: Secret) -> bool:
    return key.value is not None and key.value.startswith(MARK)


def _votes(old: Site, new: Site) -> Iterator[str]:
    for kind, before, after in (("servers", old.servers, new.servers), ("agents", old.agents, new.agents)):
        if list(before) != list(after):
            yield f"{kind}: cannot come, go or change places while the site runs: {RESTART}"
    for key in SHARED_TIMES:
        was, is_now = getattr(old.timing, key), getattr(new.timing, key)
        if was != is_now:
            yield f"timing.{key}: cannot change from {was:g} to {is_now:g} while the site runs: {RESTART}"
    for key in VOTES:
        if getattr(old.failover, key) != getattr(new.failover, key):
            yield f"failover.{key}: cannot change while the site runs: {RESTART}"


def _addresses(old: Site, new: Site, node: str) -> Iterator[str]:
    for name in old.servers.keys() & new.servers.keys():
        # the address of a server concerns all nodes, which keep connections to it
        keys = OWN_OF_SERVER if name == node else ("role", "listen", "beat", "advertise")
        yield from _changed(f"servers.{name}", old.servers[name], new.servers[name], keys)
    if node in old.agents and node in new.agents:
        yield from _changed(f"agents.{node}", old.agents[node], new.agents[node], OWN_OF_AGENT)


def _changed(place: str, old: Server | Agent, new: Server | Agent, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        if getattr(old, key) != getattr(new, key):
            yield f"{place}.{key}: cannot change while it runs: restart {new.name}"


def _owners(old: Site, new: Site) -> Iterator[str]:
    for name in old.lines:
        before, after = old.lines[name], new.lines.get(name)
        if after is not None and (before.kind, before.agent) != (after.kind, after.agent):
            yield f"lines.{name}: cannot become another kind or move to another agent: give it a new name there"
