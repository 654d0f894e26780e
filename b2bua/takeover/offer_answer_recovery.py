"""Offers and answers under way when a former server went: whose ACK is to be paid, and which change comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2bua.call import Call
from b2bua.takeover.records import ToldDialog
from sip.b2b.bridge import JOINED
from sip.header_policy import crossing
from sip.wire.message import parse

if TYPE_CHECKING:
    from b2bua.core import Core


class Exchanges:
    """What the records of a call say of them, from its first leg to the second and on to the answer."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._changing: dict[str, str] = {}
        """Of calls that lack a leg: the origin key of the INVITE under way from one side."""
        self._awaited: dict[str, str] = {}
        """Of calls that lack a leg: the origin key of the INVITE whose 2xx awaits its ACK."""

    def forget(self) -> None:
        """Another server has the calls."""
        self._changing.clear()
        self._awaited.clear()

    def told(self, call: Call, record: ToldDialog) -> None:
        """A leg of a call was restored."""
        if ack := record.last_ack:
            call.last_ack = ack
        if record.has_sent and (changing := record.changing):
            self._changing[call.id] = changing
        if (awaited := record.awaited_origin) is not None:
            self._awaited[call.id] = awaited

    def joined(self, call: Call, now: float) -> None:
        """Both legs are known: pay an ACK that is owed, and let what waited go on."""
        ack, call.last_ack = call.last_ack, b""
        changing, awaited = self._changing.pop(call.id, ""), self._awaited.pop(call.id, "")
        if ack and not (changing and awaited in ("", changing)):  # else it is of an earlier INVITE than that 2xx
            message = parse(ack)
            for leg in call.bridge.legs:
                if leg.ack_pending:
                    leg.acknowledge([*crossing(message), *self.core.reign.site_lines], message.body, now)
        legs = call.bridge.legs
        if awaited:  # what waited goes on behind the INVITE that has been carried out
            call.bridge.carried_out = awaited.partition(";")[2].rpartition(";")[0]
        call.bridge.step(JOINED, None, bool(awaited), None, now)
        if awaited and not changing and not any(leg.awaits_ack for leg in legs):
            self.core.recovery.at_last(lambda then: self._pay_old(call, then), now)

    def _pay_old(self, call: Call, now: float) -> None:
        """An ACK sent so long ago that no agent has it any more; who awaits it has acknowledged its device alone."""
        for leg in call.bridge.legs:
            if leg.ack_pending and not leg.ended:
                leg.acknowledge(self.core.reign.site_lines, b"", now)
