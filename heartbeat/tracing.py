"""The SIP messages that a process keeps, within the limits of the site file, and the view of them."""

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
"""Messages in one answer; the last ones are given."""
MOST_BYTES: Final = MEGABYTE
"""Bytes of messages in one answer: the process is blocked while it makes one."""
_TOKENS: Final = re.compile(rb'all-[Ss]tate(?:: ?|":")1\.[0-9]{1,9}\.([0-9a-z]{1,64})\.')
"""A state token, in a header and in a record, contains the id of its call (docs/wire.md)."""


class Noting(Protocol):
    """An object that calls ``note`` with each message: the receiver of a stack, or a pump."""

    note: Note | None


class Tracing:
    """The kept messages of a process, and their export."""

    def __init__(self, name: str, stack: Stack, pump: Noting, peer_of: Callable[[Flow], str], site: Site) -> None:
        """``name``: the node's; ``peer_of`` returns the node at the other end of a flow, ``""``: unknown."""
        self.ring = MessageRing()
        self.export: HepExport | None = None
        """The export to the collector of the site file; None: there is none."""
        self._name = name
        self._passed: tuple[Noting, ...] = (stack.receiver, pump)
        self._call_ids = stack.call_ids
        self._call_ids.keep = self.ring.keep
        self._peer_of = peer_of
        self._settings = model.Trace(memory=0)
        self.apply(site)

    def apply(self, site: Site) -> None:
        """Keep and export messages by the settings of this site file from now on."""
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
        """The numbers of messages that were sent to the collector, and that were dropped."""
        export = self.export
        return {} if export is None else {"sent": export.sent, "dropped": export.dropped}

    def view(self, params: Mapping[str, str]) -> Trace:
        """The messages with the Call-IDs, or of the calls with the ids, in the parameter ``id``. Raises
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
    """The last messages, as many as fit into one answer."""
    taken, left = found[-MOST_MESSAGES:], MOST_BYTES
    for number, message in enumerate(reversed(taken)):
        left -= len(message.data)
        if left < 0:
            return taken[len(taken) - number :]
    return taken


def ids_of(params: Mapping[str, str]) -> tuple[str, ...]:
    """The ids in the parameter ``id``."""
    return tuple(one for one in params.get("id", "").split(",") if one)


def local_of(flow: Flow) -> str:
    """Our address of a flow: that of its listener, or the one that our connection is bound to (without its port,
    which is not known); ``""``: unknown."""
    name, mark, rest = flow.local.partition("#")
    if not mark or ">" not in name:
        return name
    host = rest.partition("@")[2]
    return f"{bracketed(host)}:0" if host else ""
