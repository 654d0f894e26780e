"""After a takeover, asks the telephones registered with this server for their dialogs (RFC 4235). A call without any
agent is restored from the cookie in the remote target that the telephone reports, before one of its parties has to
send a request.

Each telephone gets one SUBSCRIBE that only fetches (RFC 6665 section 4.4.3). The calls of one that does not support
the event package are restored when it sends a request itself.
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
from sip.packages.dialog_info import CONTENT_TYPE, PACKAGE, reported_dialogs
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import Malformed, SipError
from sip.wire.headers import Event
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

logger = logging.getLogger(__name__)

SPREAD: Final = 1.0
"""Seconds over which the requests to registered telephones are spread."""
LATE: Final = 600.0
"""Seconds after a takeover during which a telephone that registers is still asked."""
WAIT: Final = 40.0
"""Seconds to wait for the NOTIFY."""
MOST_OF_LINE: Final = 32
"""Devices of one line that may be waited for at once, as many as may be registered: a limit for one that registers
again and again as another device."""


class Asked:
    """A fetch from one device: when it is to be sent, and its transaction user."""

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
        if response.status >= 300:  # 489: it does not support the event package
            self._fetch.forget(self)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self._fetch.forget(self)


class DialogFetch:
    """All fetches of a server, which has one instance for its whole life."""

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
        """This server has taken over: ask every registered telephone."""
        if not self._cookies.possible:
            return
        self._until = now + LATE
        for line, settings in self._own_lines.lines.items():
            for there in self._own_lines.reachable(line, now) if settings.is_phone else ():
                self._add(line, there, now + self._random.uniform(0.0, SPREAD))

    def end(self) -> None:
        """Another server leads: drop all fetches."""
        self._until = float("-inf")
        for one in self.asked.values():
            one.generation += 1
        self.asked.clear()
        self._of_line.clear()

    def came(self, line: str, there: Destination, now: float) -> None:
        """A device of a telephone line has registered at ``there``."""
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
        """Drop a fetch that is done, or brings nothing."""
        one.generation += 1
        if self.asked.pop(one.call_id, None) is None:
            return
        self._of_line[one.line] -= 1
        if not self._of_line[one.line]:
            del self._of_line[one.line]

    def notified(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Handle the NOTIFY that answers a fetch; False for any other NOTIFY."""
        one = self.asked.get(request.call_id)
        if one is None or request.to_tag != one.tag or not self._own_lines.senders.is_of(one.line, transaction.flow):
            return False
        try:
            if Event.parse(request.get("event") or "").package != PACKAGE:
                return False
            told = reported_dialogs(request.body) if request.body else []
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
    """Value for From or To from a reported identity. It may be missing: dialogs are matched by Call-ID and tags only
    (RFC 3261 section 12.2.2)."""
    return f"<{uri}>" if uri else "<sip:anonymous@anonymous.invalid>"


def _is_sip(uri: str) -> bool:
    try:
        return Uri.parse(uri).scheme == "sip"
    except SipError:
        return False


ASK: Final = "ask for its dialogs"
FORGET: Final = "nothing was told"
