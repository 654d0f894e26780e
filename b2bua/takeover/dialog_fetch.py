"""Asks the telephones that have registered here which dialogs they have, once this server leads (RFC 4235): a call
without any agent is made again of the Contact that it names there, before anybody has to ask something in it.

One SUBSCRIBE that fetches (RFC 6665 section 4.4.3) goes to each. Who does not know the package says so, and its calls
wait until it asks something itself.
"""

from __future__ import annotations

import logging
from collections import Counter
from random import Random
from typing import Final

from b2bua.destination import Destination
from b2bua.own_lines import OwnLines
from b2bua.takeover.cookie_recovery import CookieRecovery, Facts
from sip.actions import UNREACHABLE
from sip.layer import Stack
from sip.packages.dialog_info import CONTENT_TYPE, PACKAGE, told_dialogs
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import Malformed, SipError
from sip.wire.headers import Event
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

logger = logging.getLogger(__name__)

SPREAD: Final = 1.0
"""Seconds over which those that are registered are asked."""
LATE: Final = 600.0
"""Seconds after a takeover in which those that register are asked still."""
WAIT: Final = 40.0
"""Seconds for which a NOTIFY is waited for."""
MOST_OF_LINE: Final = 32
"""Of one line that are waited for at once, as many as may be registered: one that registers without end, each time as
another device, is not asked without end."""


class Asked:
    """One that is, or was, asked."""

    __slots__ = ("_fetch", "call_id", "generation", "line", "tag", "there")

    def __init__(self, fetch: DialogFetch, line: str, there: Destination, call_id: str, tag: str) -> None:
        self._fetch = fetch
        self.line = line
        self.there = there
        self.call_id = call_id
        self.tag = tag
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        if cause is ASK:
            self._fetch.ask(self, now)
        else:
            self._fetch.forget(self)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 300:  # 489: it does not know the package
            self._fetch.forget(self)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self._fetch.forget(self)


class DialogFetch:
    """One for the life of a server."""

    def __init__(self, stack: Stack, own_lines: OwnLines, cookies: CookieRecovery, random: Random, node: str) -> None:
        self._stack = stack
        self._own_lines = own_lines
        self._cookies = cookies
        self._random = random
        self._node = node
        self._until = float("-inf")
        self.asked: dict[str, Asked] = {}
        """By Call-ID."""
        self._of_line: Counter[str] = Counter()
        own_lines.phones.came = self.came

    def begin(self, now: float) -> None:
        """The site of another server is ours."""
        if not self._cookies.possible:
            return
        self._until = now + LATE
        for line, settings in self._own_lines.lines.items():
            for there in self._own_lines.reachable(line, now) if settings.is_phone else ():
                self._add(line, there, now + self._random.uniform(0.0, SPREAD))

    def end(self) -> None:
        """Another server leads."""
        self._until = float("-inf")
        for one in self.asked.values():
            one.generation += 1
        self.asked.clear()
        self._of_line.clear()

    def came(self, line: str, there: Destination, now: float) -> None:
        """A device of a telephone has registered."""
        if now < self._until:
            self._add(line, there, now)

    def _add(self, line: str, there: Destination, at: float) -> None:
        if self._of_line[line] >= MOST_OF_LINE:
            return
        stack = self._stack
        one = Asked(self, line, there, stack.token() + stack.token(), stack.token())
        self.asked[one.call_id] = one
        self._of_line[line] += 1
        stack.deadlines.set(at, one, ASK)

    def ask(self, one: Asked, now: float) -> None:
        """Send the SUBSCRIBE."""
        stack, there = self._stack, one.there
        flow = there.flow
        if flow is UNREACHABLE:
            self.forget(one)
            return
        branch = stack.branch()
        lines = [
            stack.via(flow, branch),
            f"From: <sip:{self._node}@{self._own_lines.realm}>;tag={one.tag}",
            f"To: <{there.uri}>",
            f"Call-ID: {one.call_id}",
            "CSeq: 1 SUBSCRIBE",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in there.route),
            stack.contact(flow),
            f"Event: {PACKAGE}",
            f"Accept: {CONTENT_TYPE}",
            "Expires: 0",
        ]
        stack.request("SUBSCRIBE", request_bytes("SUBSCRIBE", there.uri, lines), branch, flow, one, now)
        one.generation += 1
        stack.deadlines.set(now + WAIT, one, FORGET)

    def forget(self, one: Asked) -> None:
        """It tells nothing."""
        one.generation += 1
        if self.asked.pop(one.call_id, None) is None:
            return
        self._of_line[one.line] -= 1
        if not self._of_line[one.line]:
            del self._of_line[one.line]

    def notified(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Take the NOTIFY of one that was asked; False for any other."""
        one = self.asked.get(request.call_id)
        if one is None or request.to_tag != one.tag or not self._own_lines.senders.is_of(one.line, transaction.flow):
            return False
        try:
            if Event.parse(request.get("event") or "").package != PACKAGE:
                return False
            told = told_dialogs(request.body) if request.body else []
        except (Malformed, ValueError) as error:
            logger.info("what %s tells of its dialogs is passed over: %s", one.line, error)
            told = []
        self._stack.reply(transaction, 200, now)
        self.forget(one)
        for dialog in told:
            cookie = self._cookies.read(dialog.remote_target) if dialog.state == "confirmed" else None
            named = dialog.call_id and dialog.local_tag
            if cookie is not None and named and self._cookies.carrier(cookie) == one.line:
                target = dialog.local_target if _is_sip(dialog.local_target) else ""
                sides = _side(dialog.remote), _side(dialog.local)
                facts = Facts(dialog.call_id, dialog.remote_tag, dialog.local_tag, *sides, target)
                self._cookies.restore(cookie, facts, transaction.flow, now)
        return True


def _side(uri: str) -> str:
    """What stands in From or To for who has that identity; it may be left out, and dialogs go by their tags (RFC 3261
    section 12.2.2)."""
    return f"<{uri}>" if uri else "<sip:anonymous@anonymous.invalid>"


def _is_sip(uri: str) -> bool:
    try:
        return Uri.parse(uri).scheme == "sip"
    except SipError:
        return False


ASK: Final = "ask for its dialogs"
FORGET: Final = "nothing was told"
