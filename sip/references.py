"""Header fields that refer to a dialog, or to a user to be called: Replaces (RFC 3891), Join (RFC 3911),
Target-Dialog (RFC 4538) and Refer-To (RFC 3515).

Each hop of a call has identifiers of its own. What a device says of one of its dialogs is changed where that dialog
meets the servers (docs/wire.md); an identifier that names none of ours is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from sip.device.identity import UNTRUSTED
from sip.header_policy import DEVICE_HOP
from sip.wire.errors import Malformed
from sip.wire.headers import NameAddr, tokens
from sip.wire.message import Message, Request, canonical
from sip.wire.uri import Uri, with_params

EVENT: Final = "refer"
"""The event package of transfers."""
PICKUP: Final = "pickup"
"""Replaces the tag of a ringing telephone in the dialog information sent to its watchers: with it a watcher can pick
up the call, but not replace a talking telephone (docs/wire.md)."""
NO_SUBSCRIPTION: Final = "nosub"
"""The option tag of RFC 7614."""
LONGEST: Final = 1024
"""Characters of a Refer-To or Replaces that is read."""
_NAMING: Final = frozenset({"join", "target-dialog"})
_TARGET: Final = ("local-tag", "remote-tag")
"""The tag parameters of Target-Dialog, from the recipient's view (RFC 4538 section 7)."""
_TAKEN: Final = DEVICE_HOP | UNTRUSTED | {"identity", "require"}
"""Headers of a Refer-To that are not passed on as they are: of the hop, and those by which the device that is
referred would assert in its own name what the other one may not (RFC 3261 section 19.1.5)."""


TOLD: Final[dict[str, tuple[str, ...]]] = {
    "pass": ("Supported: replaces",),
    "serve": (f"Supported: replaces, norefersub, {NO_SUBSCRIPTION}", "Allow: REFER, NOTIFY"),
    "refuse": (),
}
"""By the setting ``transfer``: header lines that tell a device whether it may transfer calls (RFC 3891 section 6.1,
RFC 4488, RFC 7614)."""


def accepted_by(refer: Request) -> int:
    """The status that accepts a REFER: 200 where it makes no subscription (RFC 7614), else 202."""
    return 200 if NO_SUBSCRIPTION in (token.lower() for token in tokens(refer.all("require"))) else 202


def is_of_transfer(notify: Request) -> bool:
    """Whether a NOTIFY reports the progress of a transfer (RFC 3515 section 2.4.4); it then belongs to a call."""
    return (notify.get("event") or "").partition(";")[0].strip().lower() == EVENT


class DialogId(NamedTuple):
    """A dialog identifier, from the view of one of its ends, the recipient."""

    call_id: str
    local_tag: str
    """The recipient's tag: ``to-tag`` of Replaces."""
    remote_tag: str
    early_only: bool = False
    """``early-only``: the dialog may be replaced only while it is not confirmed (RFC 3891 section 3)."""

    @classmethod
    def parse(cls, value: str, local_name: str = "to-tag", remote_name: str = "from-tag") -> DialogId:
        """Parse the value of Replaces or Join, or with other tag names of other fields. Raises :class:`Malformed`."""
        call_id, *parts = [part.strip() for part in value.split(";")]
        found: dict[str, str] = {}
        for part in parts:
            name, _, text = part.partition("=")
            found.setdefault(name.strip().lower(), text.strip())
        local, remote = found.get(local_name, ""), found.get(remote_name, "")
        if not (call_id and local and remote) or len(value) > LONGEST or len(parts) != len(found):
            raise Malformed("a dialog is named by its Call-ID and both tags, each once")
        return cls(call_id, local, remote, "early-only" in found)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.local_tag};from-tag={self.remote_tag}{early}"


def naming_lines(message: Message, renamed: Callable[[DialogId], DialogId]) -> list[str]:
    """The Join and Target-Dialog lines of a request for another hop, by ``renamed``; malformed ones are left out."""
    if _NAMING.isdisjoint(message.names):
        return []
    found = []
    with suppress(Malformed):
        for value in message.all("join"):
            found.append(f"Join: {renamed(DialogId.parse(value))}")
        for value in message.all("target-dialog"):
            there = renamed(DialogId.parse(value, *_TARGET))
            found.append(f"Target-Dialog: {there.call_id};local-tag={there.local_tag};remote-tag={there.remote_tag}")
    return found


def _escaped(uri: str) -> str:
    """The URI with ``@`` escaped in its headers (RFC 3261 section 25.1): some telephones do not escape that of a
    Call-ID."""
    address, mark, headers = uri.partition("?")
    return f"{address}?{headers.replace('@', '%40')}" if mark and "@" in address else uri


def _is_passable(name: str, value: str) -> bool:
    """Whether a header of a Refer-To may be passed on. One with a line end would be several lines at a device that
    does not look."""
    return canonical(name.strip()) not in _TAKEN and (name + value).isprintable()


class ReferTo(NamedTuple):
    """The target of a REFER."""

    uri: Uri
    replaces: DialogId | None
    """The dialog that the new call is to replace."""

    @classmethod
    def of(cls, message: Message) -> ReferTo:
        """Parse the Refer-To of a REFER (RFC 3515 section 2.1: exactly one). Raises :class:`Malformed`, with status
        403 where it asks for anything but a call."""
        values = message.all("refer-to")
        if len(values) != 1 or len(values[0]) > LONGEST:
            raise Malformed("a REFER has one Refer-To")
        uri = Uri.parse(_escaped(NameAddr.parse(values[0]).uri))
        if (uri.get("method") or "INVITE").upper() != "INVITE" or not uri.dialled:
            raise Malformed("only calls are made for others", 403)
        value = next((value for name, value in uri.headers if name.lower() == "replaces"), None)
        return cls(uri, DialogId.parse(unquote(value)) if value else None)

    def line(self, called: str, renamed: Callable[[DialogId], DialogId]) -> str:
        """The header line for another hop; ``called``: the URI of the number at the sender's address on that hop."""
        headers = [
            name if value is None else f"{name}={value}"
            for name, value in self.uri.headers
            if _is_passable(unquote(name), unquote(value or ""))
        ]
        if self.replaces is not None:
            headers.append(f"Replaces={quote(str(renamed(self.replaces)), safe='')}")
        uri = with_params(called, self.uri.number_params)
        return f"Refer-To: <{uri}{'?' if headers else ''}{'&'.join(headers)}>"
