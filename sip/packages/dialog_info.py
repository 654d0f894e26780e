"""The ``dialog`` event package and its body ``application/dialog-info+xml`` (RFC 4235): the calls of a telephone, for
busy lamp fields and call pickup. Sections named below are of RFC 4235.
"""

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
"""Bytes of the longest document that is read."""
MOST_DIALOGS: Final = 64
"""Dialogs read from one document; further ones are ignored."""

State = Literal["trying", "early", "confirmed", "terminated"]


class WatchedDialog(NamedTuple):
    """One call as it is written into a document: what a lamp needs. The other party is left out for privacy."""

    id: str
    """Unique within the telephone's document (section 4.1.1)."""
    direction: Literal["initiator", "recipient"]
    """``initiator``: the telephone called; ``recipient``: it was called."""
    state: State
    """Section 3.7.1."""
    call_id: str = ""
    """With the tags it identifies the dialog, for a pickup by Replaces (section 4.1.1); ``""``: all three are left
    out."""
    local_tag: str = ""
    remote_tag: str = ""


def dialog_info(entity: str, version: int, dialogs: Iterable[WatchedDialog]) -> bytes:
    """A document with the full state (section 4.3) of the telephone ``entity``, a URI. ``version`` is one higher in
    each document of a subscription."""
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


class ReportedDialog(NamedTuple):
    """One dialog as read from a telephone's document (section 4.1); local is the telephone's side. Each text can be
    written into a header line, one character a byte; ``""``: it is missing, or holds what no header line can.
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


def reported_dialogs(body: bytes) -> list[ReportedDialog]:
    """The dialogs of a document. Raises ValueError, whose text is a sentence, when it is too long, is no XML, or
    declares a document type or entities, which could expand without bound."""
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


def _told(element: ElementTree.Element) -> ReportedDialog:
    names = ("call-id", "local-tag", "remote-tag")
    call_id, local_tag, remote_tag = (_fit(_WORD, element.get(name)) for name in names)
    state = _fit(_WORD, element.findtext(f"{_NS}state"))
    identities = [_fit(_URI, element.findtext(f"{_NS}{side}/{_NS}identity")) for side in ("local", "remote")]
    targets = [element.find(f"{_NS}{side}/{_NS}target") for side in ("local", "remote")]
    uris = [_fit(_URI, one.get("uri")) if one is not None else "" for one in targets]
    return ReportedDialog(call_id, local_tag, remote_tag, state, *identities, *uris)


def _fit(form: re.Pattern[str], text: str | None) -> str:
    """``text`` if it has the form; ``""`` otherwise: XML may hold line ends and any character of Unicode."""
    found = (text or "").strip().encode().decode("latin-1")
    return found if form.match(found) else ""


_WORD: Final = re.compile(r"[^\x00-\x20\x7f;,]{1,256}\Z")
"""A Call-ID or a tag, as devices make them."""
_URI: Final = re.compile(r'[^\x00-\x20\x7f<>"]{1,1024}\Z')
_NS: Final = f"{{{NAMESPACE}}}"
