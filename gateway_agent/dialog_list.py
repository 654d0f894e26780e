"""What an agent's list holds, and in which order it is told (docs/line-dialog.md)."""

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
"""What a record is made of."""
END_OF_PART: Final = None
"""Between items: what stands before is waited for by somebody inside a call."""


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
    """All that the agent may be asked to tell; the collections are those in which it lives."""

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
        """Those of all living calls, those in which something is under way first."""
        calls = sorted(self._calls.values(), key=lambda call: not (call.sent or call.received))
        return [call.server.dialog.call_id for call in calls if call.server is not None]

    def items(self, wanted: SubscriptionFilter) -> Iterator[Item | None]:
        """Highest priority first, in one priority requests under way first, and of these last what only rings: an
        INVITE that no server has answered at all is given up by its agent some time.

        What there is is settled now; what is said of it, when its turn comes.
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
    """What a list has of one priority, in the order in which it is told; lines and ended calls come last."""

    urgent: list[Call]
    """With a request under way, or an answer of which the other side has not heard."""
    fresh: list[Call]
    """New, and no server has said anything that its device could hear."""
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
        yield from reversed(one.terminated)  # of the last ones the former server wrote no record, perhaps
