"""The contents of an agent's list, and the order in which they are sent (docs/line-dialog.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway_agent.call import Call
from gateway_agent.line import Line
from gateway_agent.terminated_call import TerminatedCall
from heartbeat.proof import Proof
from sip.packages.line_dialog import ListRequest

Item = Call | TerminatedCall | Line
"""What a record of the list is made from."""
END_OF_PART: Final = None
"""Stands between items: for those before it somebody in a call waits, so the part ends there."""


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """What a SUBSCRIBE asks for."""

    purpose: str
    proof: Proof | None
    """For ``takeover`` and ``reset``."""
    asked: ListRequest

    def wants(self, line: Line) -> bool:
        asked = self.asked
        return line.settings.priority >= asked.least_priority and (asked.lines is None or line.name in asked.lines)


class DialogList:
    """Everything that an agent's list may hold, by reference to the agent's own collections."""

    def __init__(
        self,
        lines: Mapping[str, Line],
        calls: Mapping[int, Call],
        by_call_id: Mapping[str, Call],
        terminated: Collection[TerminatedCall],
    ) -> None:
        """``by_call_id``: by the Call-ID of the server dialog. ``terminated``: the last to end is the last one."""
        self.lines = lines
        self._calls = calls
        self._by_call_id = by_call_id
        self._terminated = terminated

    def call(self, call_id: str) -> Call | None:
        """The living call with that Call-ID towards the servers."""
        return self._by_call_id.get(call_id)

    def call_ids(self) -> list[str]:
        """The Call-IDs towards the servers of all living calls, those with requests under way first."""
        calls = sorted(self._calls.values(), key=lambda call: not (call.sent or call.received))
        return [call.server.dialog.call_id for call in calls if call.server is not None]

    def items(self, wanted: SubscriptionFilter) -> Iterator[Item | None]:
        """The items that are wanted, the highest priority first; in one priority those with requests under way first.
        Of these, calls without any response come before those that ring, since the agent gives up an INVITE that no
        server has answered in time.

        The items are chosen now; their records are made when their turn comes.
        """
        call_ids = wanted.asked.call_ids
        if call_ids is not None:
            known = set(call_ids)
            living = [call for call in map(self._by_call_id.get, call_ids) if call is not None]
            return iter([*living, *(each for each in self._terminated if each.record.dialog.call_id in known)])
        classes: dict[int, _Class] = {}
        priorities: dict[str, int] = {}
        for line in self.lines.values():
            if wanted.wants(line):
                priority = priorities[line.name] = line.settings.priority
                classes.setdefault(priority, _Class([], [], [], [], [], [])).lines.append(line)
        for call in self._calls.values():
            if call.line.name in priorities:
                classes[priorities[call.line.name]].place(call)
        for each in self._terminated:
            if each.line in priorities:
                classes[priorities[each.line]].terminated.append(each)
        return _in_order(classes)


class _Class(NamedTuple):
    """The items of one priority, in the order in which they are sent; lines and ended calls come last."""

    urgent: list[Call]
    """Calls with a request under way, or with a 2xx whose ACK is awaited."""
    fresh: list[Call]
    """New calls that do not ring yet."""
    ringing: list[Call]
    others: list[Call]
    lines: list[Line]
    terminated: list[TerminatedCall]

    def place(self, call: Call) -> None:
        if call.server is not None and call.server.server_invite.awaits_ack:
            self.urgent.append(call)
        elif not call.sent and not call.received:
            self.others.append(call)
        elif call.answered_at is None and not any(sent.cancelled for sent in call.sent):
            (self.fresh if call.ringing_at is None else self.ringing).append(call)
        else:
            self.urgent.append(call)


def _in_order(classes: dict[int, _Class]) -> Iterator[Item | None]:
    for priority in sorted(classes, reverse=True):
        one = classes[priority]
        yield from one.urgent
        yield END_OF_PART
        yield from one.fresh
        yield from one.ringing
        yield from one.others
        yield from one.lines
        yield from reversed(one.terminated)  # the former server may have written no record of the last ones
