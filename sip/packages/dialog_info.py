"""``application/dialog-info+xml`` (RFC 4235): the calls of a telephone, for those who watch it (busy lamps)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

PACKAGE: Final = "dialog"
CONTENT_TYPE: Final = "application/dialog-info+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:dialog-info"

MOST_READ: Final = 65_536
"""Bytes of a document that is read."""
MOST_DIALOGS: Final = 64
"""Of one document."""

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


class ToldDialog(NamedTuple):
    """What a telephone tells of one of its dialogs (section 4.1); local is its side. All fit to stand in a message, a
    character a byte; ``""``: what it leaves out, or what could not stand there.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    state: str
    local: str
    """URI of its identity."""
    remote: str
    local_target: str
    """URI of its Contact."""
    remote_target: str
    """URI of the other side's Contact."""


def told_dialogs(body: bytes) -> list[ToldDialog]:
    """The dialogs of a document. Raises ValueError, with a sentence, for one that cannot be read; a document that
    declares entities is none (they could be made to grow without end)."""
    if len(body) > MOST_READ:
        raise ValueError(f"a dialog-info document of over {MOST_READ} bytes is not read")
    text = body.decode("utf-8", "replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("a dialog-info document declares a type or entities")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"a dialog-info document cannot be read: {error}") from None
    return [_told(element) for element in root.findall(f"{_NS}dialog")[:MOST_DIALOGS]]


def _told(element: ElementTree.Element) -> ToldDialog:
    names = ("call-id", "local-tag", "remote-tag")
    call_id, local_tag, remote_tag = (_fit(_WORD, element.get(name)) for name in names)
    state = _fit(_WORD, element.findtext(f"{_NS}state"))
    identities = [_fit(_URI, element.findtext(f"{_NS}{side}/{_NS}identity")) for side in ("local", "remote")]
    targets = [element.find(f"{_NS}{side}/{_NS}target") for side in ("local", "remote")]
    uris = [_fit(_URI, one.get("uri")) if one is not None else "" for one in targets]
    return ToldDialog(call_id, local_tag, remote_tag, state, *identities, *uris)


def _fit(form: re.Pattern[str], text: str | None) -> str:
    """XML can say what no header line can: any character of Unicode, and ends of lines."""
    found = (text or "").strip().encode().decode("latin-1")
    return found if form.match(found) else ""


_WORD: Final = re.compile(r"[^\x00-\x20\x7f;,]{1,256}\Z")
"""A Call-ID or a tag, as devices make them."""
_URI: Final = re.compile(r'[^\x00-\x20\x7f<>"]{1,1024}\Z')
_NS: Final = f"{{{NAMESPACE}}}"
