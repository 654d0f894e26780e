"""What a process remembers of its SIP messages, how much of them by the site file, and what it shows of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from heartbeat.console.contract import Refused
from heartbeat.console.views.calls import Trace, TracedMessage
from heartbeat.hep_export import HepExport
from heartbeat.site import model
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.layer import Stack
from sip.message_ring import MessageRing, Note, Recorded, call_id_in
from sip.redaction import redacted
from sip.wire.headers import bracketed

MEGABYTE: Final = 1024 * 1024
MOST_MESSAGES: Final = 2000
"""Of one answer, the last ones."""
MOST_BYTES: Final = MEGABYTE
"""Of one answer, besides: the process does nothing else while it makes one."""
_TOKENS: Final = re.compile(rb'all-[Ss]tate(?:: ?|":")1\.[0-9]{1,9}\.([0-9a-z]{1,64})\.')
"""A state token names its call, in a header and in a record (docs/wire.md)."""


class Noting(Protocol):
    """What messages pass: the receiver of a stack, or a pump."""

    note: Note | None


class Tracing:
    """One for each process."""

    def __init__(self, name: str, stack: Stack, pump: Noting, peer_of: Callable[[Flow], str], site: Site) -> None:
        """``name`` is that of the node; ``peer_of`` says who has the other end of a flow, ``""`` where it is not
        known."""
        self.ring = MessageRing()
        self.export: HepExport | None = None
        """What goes to the collector of the site file, if there is one."""
        self._name = name
        self._passed: tuple[Noting, ...] = (stack.receiver, pump)
        self._call_ids = stack.call_ids
        self._call_ids.keep = self.ring.keep
        self._peer_of = peer_of
        self._settings = model.Trace(memory=0)
        self.live_by(site)

    def live_by(self, site: Site) -> None:
        """Note messages as the site file says, and send them where it says."""
        wanted, former = site.trace, self._settings
        self._settings = wanted
        if wanted.memory != former.memory:
            self.ring.resize(wanted.memory * MEGABYTE)
        if (wanted.collector, wanted.collector_lines) != (former.collector, former.collector_lines):
            self._export_to(wanted)
        for passed in self._passed:
            passed.note = self.ring.note if wanted.memory or wanted.collector is not None else None

    def _export_to(self, wanted: model.Trace) -> None:
        ids, export = self._call_ids, None
        if wanted.collector is not None:
            export = HepExport(
                self._name,
                wanted.collector.address,
                wanted.collector_lines,
                lambda name: [leg.line for leg in ids.of(name)],
            )
        self.export = export
        self.ring.told = export.note if export is not None else None
        ids.joined = export.join if export is not None else None

    def collected(self) -> dict[str, int]:
        """How many messages went to the collector, and how many not."""
        export = self.export
        return {} if export is None else {"sent": export.sent, "dropped": export.dropped}

    def view(self, params: Mapping[str, str]) -> Trace:
        """The messages with the Call-IDs of the parameter ``id``, and of calls that are named so. Raises
        :class:`Refused`."""
        ids = ids_of(params)
        if not ids:
            raise Refused("no id is given of what is to be shown", 400)
        found = _last(self.ring.of(ids, _TOKENS))
        return Trace(
            self._name,
            self._settings.memory * MEGABYTE,
            self.ring.oldest_at,
            tuple(self._shown(message, ids) for message in found),
        )

    def _shown(self, message: Recorded, ids: tuple[str, ...]) -> TracedMessage:
        flow, call_id = message.flow, call_id_in(message.data).decode("latin-1")
        names = {call_id, *(token.decode("latin-1") for token in _TOKENS.findall(message.data))}
        return TracedMessage(
            at=message.at,
            sent=message.sent,
            transport=flow.transport,
            local=local_of(flow),
            remote=f"{bracketed(flow.remote[0])}:{flow.remote[1]}",
            peer=self._peer_of(flow),
            call_id=call_id,
            text=redacted(message.data.decode("latin-1")),
            by=tuple(one for one in ids if one in names),
        )


def _last(found: list[Recorded]) -> list[Recorded]:
    """As many as one answer has."""
    taken, left = found[-MOST_MESSAGES:], MOST_BYTES
    for number, message in enumerate(reversed(taken)):
        left -= len(message.data)
        if left < 0:
            return taken[len(taken) - number :]
    return taken


def ids_of(params: Mapping[str, str]) -> tuple[str, ...]:
    """The ids that somebody asks for."""
    return tuple(one for one in params.get("id", "").split(",") if one)


def local_of(flow: Flow) -> str:
    """Our end of a flow: the address of its listener, or that which a connection of ours was bound to, whose port is
    not known; ``""`` where nothing is."""
    name, mark, rest = flow.local.partition("#")
    if not mark or ">" not in name:
        return name
    host = rest.partition("@")[2]
    return f"{bracketed(host)}:0" if host else ""
