"""Warnings about a site file: settings that are valid but probably not intended. Each function yields sentences with
their place. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final

from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.needed_secrets import secrets_of

REGULAR_EXPRESSION: Final = re.compile(r"^\^|\$$|[\\(){}|]|(^|[0-9\]])\.[*+]|[0-9\]]\+")
ASTERISK_PATTERN: Final = re.compile(r"_(?=.*[XZN.!])[0-9XZN+*#.!\[\]\-]+")
_HERE: Final = re.compile(r"(127\.|localhost\b|\[?::1\b)")


def warnings(site: Site) -> list[str]:
    """All warnings, one sentence each with its place."""
    found = [*_patterns(site), *_slow_takeover(site), *_forward_to_itself(site), *_shadowed_routes(site)]
    found += _nameless_callers(site)
    found += _one_machine(site)
    found += _unasked_certificates(site)
    found += _readable_records(site)
    return found + [f"{at}: {secret.warning}" for at, secret in secrets_of(site) if secret.warning]


def _patterns(site: Site) -> Iterator[str]:
    """Patterns in the syntax of other programs, which here match only themselves."""
    patterns = [(f"{site.route_place(index)}.match", route.match) for index, route in enumerate(site.routes)]
    for line in site.lines.values():
        for way, numbering in (("to_device", line.to_device), ("from_device", line.from_device)):
            for whose, rules in (("called", numbering.called), ("caller", numbering.caller)):
                place = f"lines.{line.name}.{way}.{whose}"
                patterns += [(f"{place}[{index}].match", rule.match) for index, rule in enumerate(rules, 1)]
    for place, pattern in patterns:
        what = "a regular expression" if REGULAR_EXPRESSION.search(pattern.text) else ""
        if what or ASTERISK_PATTERN.fullmatch(pattern.text):
            looks = f"{pattern} looks like {what or 'a pattern of Asterisk'}"
            yield f"{place}: {looks}; here +33* is all that begins so, ? any one character, [2-4] one of these"


def _slow_takeover(site: Site) -> Iterator[str]:
    seconds, hold = site.decision_time, site.timing.hold_attempt
    if site.standby is not None and hold <= seconds:
        yield (
            f"timing.hold_attempt: is {hold:g} s, but a takeover is decided after {seconds:g} s only: "
            f"new calls get 503 meanwhile"
        )


def _readable_records(site: Site) -> Iterator[str]:
    """Sinks of call records to which others may listen, or which cannot tell who sends."""
    webhook, postgres = site.records.webhook, site.records.postgres
    if webhook is not None:
        if webhook.url.startswith("http://") and not _HERE.match(webhook.url.partition("//")[2]):
            yield "records.webhook.url: is http, so everybody on the way may read who talks to whom: say https"
        if webhook.key is None:
            yield "records.webhook: has no key, so whoever receives records cannot tell that they come from here"
    if postgres is not None:
        host = re.search(r"\bhost(?:addr)?\s*=\s*'?([^\s']+)", postgres.connect)
        here = host is None or host[1].startswith("/") or _HERE.match(host[1])
        if not here and not re.search(r"\bsslmode\s*=\s*'?verify-", postgres.connect):
            yield (
                "records.postgres.connect: does not say sslmode=verify-full, so who stands on the way may be taken"
                " for the database"
            )


def _one_machine(site: Site) -> Iterator[str]:
    """Nodes on one machine: an agent's calls survive in the servers and vice versa, but not if both die at once."""
    for agent in site.agents.values():
        hosts = {one.host for one in agent.sip if not one.host.startswith("127.") and one.host != "::1"}
        for server in site.servers.values():
            shared = hosts & {one.host for one in (*server.listen, *server.sip)}
            for host in sorted(shared - {"0.0.0.0", "::"}):
                yield (
                    f"agents.{agent.name}: runs at {host}, as {server.name} does: when that machine dies while"
                    f" {server.name} is active, the calls of {agent.name} are lost; put them on two machines"
                )


def _nameless_callers(site: Site) -> Iterator[str]:
    """Trunks that get names as callers, since carriers accept only their numbers, or the account's."""
    names = [
        line.name
        for line in site.lines.values()
        if line.is_phone and not line.caller_number and not line.aor_user.lstrip("+").isdigit()
    ]
    for line in site.lines.values():
        if names and line.register is not None and line.from_user == "caller" and not line.to_device.caller:
            who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield (
                f"lines.{line.name}: shows its carrier names as callers ({who}), and most refuse them: "
                f'give these lines a caller_number, or this one from_user = "account"'
            )


def _unasked_certificates(site: Site) -> Iterator[str]:
    for line in site.lines.values():
        owners: list[Server | Agent] = [site.agents[line.agent]] if line.agent else [*site.servers.values()]
        for owner in owners:
            if line.certificate and owner.tls is not None and owner.tls.clients == "ignored":
                yield (
                    f"lines.{line.name}.certificate: {owner.name} asks nobody who connects for a certificate, so only"
                    f' calls on connections of ours are taken: let its tls have clients = "asked"'
                )


def _forward_to_itself(site: Site) -> Iterator[str]:
    for line in site.lines.values():
        for when in ("busy", "no_answer"):
            if getattr(line.forward, when) in line.numbers:
                yield f"lines.{line.name}.forward.{when}: is a number of the line itself, so it forwards nothing"


def _shadowed_routes(site: Site) -> Iterator[str]:
    """Routes that are never used, since routes before them match all their calls; a route whose only target is the
    calling line itself does not count."""
    everybody = frozenset(site.lines)
    admitted = [_lines_of(site, route.source) if route.source else everybody for route in site.routes]
    by_beginning: dict[str, list[int]] = {}
    """Prefix -> the routes so far with that prefix pattern; those with other patterns are under ``?``."""
    for index, route in enumerate(site.routes):
        lead = route.match.lead
        beginnings = {lead[:length] for length in range(len(lead) + 1)} | {"?"}
        near = sorted(i for beginning in beginnings for i in by_beginning.get(beginning, ()))
        before = [i for i in near if site.routes[i].match.covers(route.match)]
        if before:
            targets = _lines_of(site, route.to)
            callers = admitted[index] - (targets if len(targets) == 1 else frozenset())
            before = [i for i in before if admitted[i] & callers]
            if callers and callers.issubset(itertools.chain.from_iterable(admitted[i] for i in before)):
                names = " and ".join(map(site.route_place, before))
                take = "takes" if len(before) == 1 else "take"
                yield f"{site.route_place(index)}: is never used: {names} {take} its calls; put it before"
        by_beginning.setdefault("?" if route.match.prefix is None else route.match.prefix, []).append(index)


def _lines_of(site: Site, names: Iterable[str]) -> frozenset[str]:
    return frozenset(line for name in names for line in site.members(name))
