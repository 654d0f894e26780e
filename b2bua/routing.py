"""Routing: from calling line and called number to an ordered plan of lines to try, or a refusal. Pure.

    router = Router(site, random.Random(), capacity=5000, reserve=0.05)
    router.plan(CallRequest("alice", "+33123", "1001"), load, now)  -> Plan | Refusal
    router.after(plan, 486, load, now)                              -> Plan | Refusal, when its first target failed

Each load of the site file makes a new Router; it continues plans of the one before.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from b2bua.lines import LineLoad, Load
from b2bua.plan import LONGEST_NUMBER, Plan, Refusal, RouteTarget, too_long
from heartbeat.site.lines import Group, LineSettings, Route
from heartbeat.site.model import Site
from sip.redirection import Redirect
from sip.wire.reasons import REASONS

MOST_TARGETS: Final = 16
"""Lines that one call may try."""
MOST_FORWARDS: Final = 5
"""How many times one call may be forwarded or redirected."""
RING: Final = 180.0
"""Seconds that a line may ring that was reached by one of its own ``numbers``."""

OWN: Final = "numbers"
"""Instead of a route's pattern: the called number is one of a line's ``numbers``."""
OUT: Final = "out of service"
BUSY: Final = "busy"
PACED: Final = "at its limit of calls a second"


class CallRequest(NamedTuple):
    """A new call to be routed."""

    line: str | None
    """The calling line; None: no line of the site."""
    called: str
    """The called number, in the site's form (``sip.device.identity``)."""
    caller: str = ""
    """The calling number, likewise."""
    priority: int = 0
    """The priority that it states (``sip.priority``); counts only for lines with ``trust_priority``."""


def goes_on(status: int, phone: bool = False) -> bool:
    """Whether a call tries its next target after this final status.

    After a busy or absent phone it does; a trunk's 486 is about the called party, and ends the hunt.
    """
    return status == 408 or 500 <= status < 600 or (phone and status in (480, 486))


class Router:
    """The routes of a site, prepared for look-up."""

    def __init__(self, site: Site, chance: random.Random, capacity: int, reserve: float) -> None:
        self._lines = site.lines
        self._chance = chance
        self._capacity = capacity
        self._ordinary = capacity - math.ceil(capacity * reserve)
        self._numbers = {number: _own(line) for line in site.lines.values() for number in line.numbers}
        self._routes = _Routes(site)
        self.has_priorities = any(route.priority for route in site.routes)
        """Whether a call may have priority by the number that it is for."""

    def plan(self, attempt: CallRequest, load: Load, now: float) -> Plan | Refusal:
        """The lines to try for a new call."""
        line = self._lines.get(attempt.line) if attempt.line is not None else None
        if line is None:
            return Refusal(403, "Forbidden", f"{attempt.line or 'the caller'} is no line of this site")
        called = attempt.called
        if not called or too_long(called):
            return Refusal(404, "Not Found", f"the number called has 0 or over {LONGEST_NUMBER} characters")
        caller = "" if too_long(attempt.caller) else attempt.caller
        choice = self._choose(called, line.name)
        priority = _priority(line, choice, attempt)
        limit = self._capacity if priority else self._ordinary
        if load.calls >= limit:
            kept = "" if priority else f", {self._capacity - limit} more being kept for priority"
            return self._later(f"the server has {load.calls} calls and takes {limit}{kept}")
        if choice is None:
            return Refusal(404, "Not Found", f"no route leads from {line.name} to {called}")
        return self._hunt(line.name, called, caller, priority, choice, load, now)

    def priority(self, attempt: CallRequest) -> int:
        """The priority of a call: the highest of its line's, its route's, and the stated one where that is
        trusted."""
        line = self._lines.get(attempt.line or "")
        return _priority(line, self._choose(attempt.called, line.name), attempt) if line is not None else 0

    def route_of(self, called: str, line: str) -> str:
        """The pattern, as in the site file, of the route of a call from this line to that number; `OWN` for a line's
        own number, ``""``: no route matches."""
        choice = self._choose(called, line)
        return choice.route if choice is not None else ""

    def after(
        self, plan: Plan, status: int, load: Load, now: float, redirects: Sequence[Redirect] = ()
    ) -> Plan | Refusal:
        """The plan after its first target ended with ``status`` (408: no answer in time), or a refusal.

        ``redirects``: the Contacts of a 3xx, by descending q.
        """
        target = plan.targets[0]
        line = self._lines.get(target.line)
        phone = line is not None and line.is_phone
        rest = plan._replace(targets=self._still_there(plan.targets[1:], load, now))
        if line is not None:
            numbers, why, reason = _forwarding(line, target, status, redirects)
            if numbers:
                return self._forward(rest, line, numbers, why, reason, load, now)
        if goes_on(status, phone) and rest.targets:
            return rest
        if redirects:
            return Refusal(status, "", f"{target.line} redirected, and the caller is told where to")
        if status < 400:
            return Refusal(480, "Temporarily Unavailable", f"{target.line} answered {status}, which leads nowhere")
        what = "it ends the hunt" if rest.targets else "nothing is left to try"
        because = f"{target.line} answered {status}, and {what}"
        if status == 503:
            # RFC 3261 section 16.7: a 503 is about the peer; passed on, it would be about us
            return Refusal(500, "Server Internal Error", because)
        return Refusal(status, "", because)

    def _choose(self, called: str, caller_line: str) -> _Choice | None:
        return self._numbers.get(called) or self._routes.find(called, caller_line)

    def _hunt(
        self, line: str, called: str, caller: str, priority: int, choice: _Choice, load: Load, now: float
    ) -> Plan | Refusal:
        if choice.refuse:
            return Refusal(choice.refuse, "", f"{choice.because} refuses {called}")
        hunt = _Hunt(self, line, load, now)
        hunt.follow(choice, called, 0, "")
        if not hunt.targets:
            return self._nobody(hunt)
        return Plan(tuple(hunt.targets), line, called, caller, priority, hunt.forwards)

    def _forward(
        self,
        rest: Plan,
        line: LineSettings,
        numbers: Sequence[Redirect],
        why: str,
        reason: str,
        load: Load,
        now: float,
    ) -> Plan | Refusal:
        """The plan with the targets of a forwarding, followed by the rest of the plan."""
        hunt = _Hunt(self, rest.line, load, now)
        hunt.forward(line, numbers, why, reason, rest.forwards)
        targets = (*hunt.targets, *rest.targets)[:MOST_TARGETS]
        if not targets:
            return self._nobody(hunt)
        return rest._replace(targets=targets, line=line.name, forwards=hunt.forwards)

    def _still_there(self, targets: tuple[RouteTarget, ...], load: Load, now: float) -> tuple[RouteTarget, ...]:
        if not targets:
            return ()
        lines = self._lines
        return tuple(
            t for t in targets if t.line in lines and not _obstacle(lines[t.line], load.lines.get(t.line), now)
        )

    def _nobody(self, hunt: _Hunt) -> Refusal:
        because = "; ".join(hunt.skipped[:4]) or "no line is left to try"
        if hunt.status == 503:
            return self._later(because)
        return Refusal(hunt.status, REASONS[hunt.status], because)

    def _later(self, because: str) -> Refusal:
        # random, so that calls refused at the same time are not repeated at the same time
        return Refusal(503, "Service Unavailable", because, self._chance.randint(2, 10))


RANK: Final = (404, 503, 482, 480, 486)
"""Of several reasons why no line could be tried, the caller gets the last in this list."""


class _Choice(NamedTuple):
    """A route, or a line by its own number, prepared for look-up."""

    steps: tuple[LineSettings | Group, ...]
    because: str
    ring: float
    sources: frozenset[str] | None = None
    strip: int = 0
    prefix: str = ""
    priority: int = 0
    refuse: int = 0
    route: str = OWN


def _priority(line: LineSettings, choice: _Choice | None, attempt: CallRequest) -> int:
    asked = attempt.priority if line.trust_priority else 0
    return max(line.priority, choice.priority if choice else 0, asked)


def _own(line: LineSettings) -> _Choice:
    return _Choice((line,), f"it is a number of {line.name}", RING)


class _Routes:
    """Routes indexed by their patterns; of those that match, the first in the file is used."""

    def __init__(self, site: Site) -> None:
        self._exact: dict[str, list[tuple[int, _Choice]]] = {}
        self._prefixes: dict[int, dict[str, list[tuple[int, _Choice]]]] = {}
        self._others: list[tuple[int, Route, _Choice]] = []
        for index, route in enumerate(site.routes):
            choice = _ready(site, index, route)
            if route.match.exact:
                self._exact.setdefault(route.match.text, []).append((index, choice))
            elif (prefix := route.match.prefix) is not None:
                self._prefixes.setdefault(len(prefix), {}).setdefault(prefix, []).append((index, choice))
            else:
                self._others.append((index, route, choice))

    def find(self, called: str, line: str) -> _Choice | None:
        best = len(self._others) + 1_000_000
        found = None
        for index, choice in self._candidates(called):
            if index < best and (choice.sources is None or line in choice.sources):
                best, found = index, choice
        for index, route, choice in self._others:
            if index > best:
                break
            if (choice.sources is None or line in choice.sources) and route.match.matches(called):
                return choice
        return found

    def _candidates(self, called: str) -> Iterator[tuple[int, _Choice]]:
        yield from self._exact.get(called, ())
        for length, prefixes in self._prefixes.items():
            yield from prefixes.get(called[:length], ())


def _ready(site: Site, index: int, route: Route) -> _Choice:
    steps = tuple(site.groups.get(name) or site.lines[name] for name in route.to)
    sources = frozenset(line for name in route.source for line in site.members(name)) if route.source else None
    because = f"{site.route_place(index)} ({route.match})"
    rewriting = route.strip, route.prefix, route.priority, route.refuse
    return _Choice(steps, because, route.ring, sources, *rewriting, str(route.match))


class _Hunt:
    """Builds one plan: collects targets, and the reasons why lines were skipped."""

    def __init__(self, router: Router, calling: str, load: Load, now: float) -> None:
        self.targets: list[RouteTarget] = []
        self.skipped: list[str] = []
        self.status = 404
        self.forwards = 0
        self._router = router
        self._calling = calling
        self._load = load
        self._now = now
        self._forwarded: set[str] = set()
        self._reason = "unknown"

    def follow(
        self,
        choice: _Choice,
        called: str,
        forwards: int,
        forwarded_from: str,
        params: str = "",
        reason: str = "unknown",
    ) -> None:
        """Add the targets of a route."""
        outer, self._reason = self._reason, reason
        self.forwards = max(self.forwards, forwards)
        number = choice.prefix + called[choice.strip :] if choice.strip or choice.prefix else called
        for step in choice.steps:
            if isinstance(step, LineSettings):
                self._single(step, number, choice, forwards, forwarded_from, params)
            else:
                self._group(step, number, choice, forwarded_from, params)
        self._reason = outer

    def forward(self, line: LineSettings, numbers: Sequence[Redirect], why: str, reason: str, forwards: int) -> None:
        """Add the targets of the numbers to which ``line`` forwards, in order. A line forwards once in a plan."""
        if forwards >= MOST_FORWARDS or line.name in self._forwarded:
            where = ", ".join(each.number for each in numbers)
            return self._skip(482, f"{line.name} forwards to {where}, and the call was forwarded {forwards} times")
        self._forwarded.add(line.name)
        for number, params, _ in numbers[:MOST_TARGETS]:
            choice = self._router._choose(number, line.name) if not too_long(number) else None
            if choice is None or choice.refuse:
                self._skip(404, f"{line.name} forwards to {number}, to which no route leads")
            else:
                because = choice._replace(because=f"{line.name} {why}")
                self.follow(because, number, forwards + 1, line.name, params, reason)
        return None

    def _single(
        self, line: LineSettings, number: str, choice: _Choice, forwards: int, forwarded_from: str, params: str
    ) -> None:
        forward = line.forward
        if forward.always:
            return self.forward(line, (Redirect(forward.always),), "is forwarded always", "unconditional", forwards)
        why = self._obstacle(line)
        if why == BUSY and forward.busy:
            return self.forward(line, (Redirect(forward.busy),), "is busy and forwarded", "user-busy", forwards)
        if why == OUT and forward.no_answer:
            because = "is out of service and forwarded"
            return self.forward(line, (Redirect(forward.no_answer),), because, "out-of-service", forwards)
        if why:
            return self._pass_over(line, why)
        ring = min(choice.ring, forward.after) if forward.no_answer else choice.ring
        self._add(line, number, ring, choice.because, forwarded_from, True, params)

    def _group(self, group: Group, number: str, choice: _Choice, forwarded_from: str, params: str) -> None:
        lines = self._router._lines
        free = []
        for name in group.lines:
            line = lines[name]
            why = "forwarded elsewhere" if line.forward.always else self._obstacle(line)
            if why:
                self._pass_over(line, why)
            else:
                free.append(line)
        because = f"{choice.because}, {group.name} by {group.hunt}"
        for line in self._in_order(group, free):
            self._add(line, number, choice.ring, because, forwarded_from, False, params)

    def _in_order(self, group: Group, lines: list[LineSettings]) -> list[LineSettings]:
        if group.hunt == "order" or len(lines) < 2:
            return lines
        if group.hunt == "least-loaded":
            load = self._load.lines
            return sorted(lines, key=lambda x: load[x.name].busy / x.channels if x.name in load else 0.0)
        # sorted by random ** (1 / weight): weighted random order (Efraimidis, Spirakis)
        chance, weights = self._router._chance, group.weights
        keys = {
            line.name: chance.random() ** (1 / weight) if (weight := weights.get(line.name, 1)) else -1.0
            for line in lines
        }
        return sorted(lines, key=lambda x: -keys[x.name])

    def _add(
        self, line: LineSettings, number: str, ring: float, because: str, origin: str, follows: bool, params: str
    ) -> None:
        if len(self.targets) >= MOST_TARGETS:
            return
        if too_long(number):
            return self._skip(404, f"{line.name} would be called with a number of over {LONGEST_NUMBER} characters")
        self.targets.append(RouteTarget(line.name, number, ring, because, origin, follows, params, self._reason))

    def _obstacle(self, line: LineSettings) -> str:
        if line.name == self._calling and line.is_phone:
            return BUSY
        return _obstacle(line, self._load.lines.get(line.name), self._now)

    def _pass_over(self, line: LineSettings, why: str) -> None:
        phone = line.is_phone
        self._skip((486 if why == BUSY else 480) if phone else 503, f"{line.name} is {why}")

    def _skip(self, status: int, sentence: str) -> None:
        self.skipped.append(sentence)
        if RANK.index(status) > RANK.index(self.status):
            self.status = status


def _obstacle(line: LineSettings, load: LineLoad | None, now: float) -> str:
    """Why a call cannot go to the line now; empty: it can."""
    if load is None:
        return ""
    if not load.in_service:
        return OUT
    if load.busy >= line.channels:
        return BUSY
    return PACED if line.cps and load.paced(line.cps, now) else ""


def _forwarding(
    line: LineSettings, target: RouteTarget, status: int, redirects: Sequence[Redirect]
) -> tuple[Sequence[Redirect], str, str]:
    """The numbers to which a failed line forwards, the reason as a sentence, and as a word of Diversion; no numbers:
    it does not forward."""
    if target.follows and status in (486, 600) and line.forward.busy:
        return (Redirect(line.forward.busy),), f"answered {status} and is forwarded when busy", "user-busy"
    if target.follows and status in (408, 480) and line.forward.no_answer:
        return (Redirect(line.forward.no_answer),), "did not answer and is forwarded then", "no-answer"
    if 300 <= status < 400 and redirects and line.follows_redirects:
        return redirects, f"redirected with {status}", "deflection"
    return (), "", ""
