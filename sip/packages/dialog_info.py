"""``application/dialog-info+xml`` (RFC 4235): the calls of a telephone, for those who watch it (busy lamps)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import quoteattr

PACKAGE: Final = "dialog"
CONTENT_TYPE: Final = "application/dialog-info+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:dialog-info"

State = Literal["trying", "early", "confirmed", "terminated"]


class WatchedDialog(NamedTuple):
    """One call, as much of it as a lamp needs: who else is on it is nobody's business."""

    id: str
    """Unique for the telephone (section 4.1.1)."""
    direction: Literal["initiator", "recipient"]
    """Whether the telephone called or was called."""
    state: State
    """Section 3.7.1."""
    call_id: str = ""
    """By this and the tags the dialog is named to who would pick the call up (section 4.1.1); ``""``: by nothing."""
    local_tag: str = ""
    remote_tag: str = ""


def dialog_info(entity: str, version: int, dialogs: Iterable[WatchedDialog]) -> bytes:
    """The whole state (section 4.3) of the telephone with that URI; ``version`` rises with each of a subscription."""
    told = "".join(
        f"<dialog id={quoteattr(one.id)}{_ids(one)} direction={quoteattr(one.direction)}>"
        f"<state>{one.state}</state></dialog>"
        for one in dialogs
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<dialog-info xmlns="{NAMESPACE}" version="{version}" state="full" entity={quoteattr(entity)}>'
        f"{told}</dialog-info>\n"
    ).encode()


def _ids(one: WatchedDialog) -> str:
    if not one.call_id:
        return ""
    tags = f"local-tag={quoteattr(one.local_tag)} remote-tag={quoteattr(one.remote_tag)}"
    return f" call-id={quoteattr(one.call_id)} {tags}"
