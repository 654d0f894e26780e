"""Whether provisional responses are reliable (RFC 3262) on the hop to a device, by the setting of its line.

Each hop is negotiated separately: a reliable response is passed on unreliably to a side without 100rel, and an
unreliable one reliably to a side that requires it. Only an offer in a provisional response, which is answered in the
PRACK, needs 100rel on both sides.
"""

from __future__ import annotations

from typing import Final, Literal

from sip.requests import ResponseSpec
from sip.wire.headers import tokens
from sip.wire.message import Message, Request, Response

Reliability = Literal["no", "supported", "required"]
"""The setting ``reliable`` of a line."""
TAG: Final = "100rel"
SUPPORTED: Final = f"Supported: {TAG}"
REQUIRED: Final = f"Require: {TAG}"


def refused(wanted: Reliability, invite: Request) -> ResponseSpec | None:
    """The response that refuses a device's INVITE: 420 if it requires 100rel and its line has none, 421 if the line
    requires it and the device lacks it; None: it is not refused."""
    if wanted == "supported":
        return None
    if wanted == "required":
        if supports(invite) or requires(invite):
            return None
        return ResponseSpec(421, "reliable provisional responses are required", (REQUIRED,))
    if requires(invite):
        return ResponseSpec(420, "an extension that is required", (f"Unsupported: {TAG}",))
    return None


def asking(wanted: Reliability, invite: Message) -> tuple[str, ...]:
    """The Supported and Require lines of an INVITE to a device; ``invite`` is that of the far side. If it has no
    offer, the device may send one in a provisional response, which the far side must be able to answer in its
    PRACK."""
    if wanted == "no" or not (invite.body or supports(invite) or requires(invite)):
        return ()
    return (SUPPORTED,) if wanted == "supported" else (REQUIRED, SUPPORTED)


def across(invite: Message) -> tuple[str, ...]:
    """The Supported line of an INVITE between agent and server, needed only if it has no offer."""
    return () if invite.body or not (supports(invite) or requires(invite)) else (SUPPORTED,)


def answers_reliably(wanted: Reliability, invite: Request | None, response: Response) -> bool:
    """Whether this provisional response is sent reliably to a device that called with ``invite``."""
    if wanted == "no" or invite is None:
        return False
    return requires(invite) or ((wanted == "required" or is_reliable(response)) and supports(invite))


def is_reliable(response: Response) -> bool:
    """Whether a provisional response was reliable where it came from."""
    return "rseq" in response.first and requires(response)


def marks(response: Response) -> tuple[str, ...]:
    """The header lines that mark a reliable response between agent and server (docs/wire.md)."""
    return (REQUIRED, f"RSeq: {response.get('rseq')}") if is_reliable(response) else ()


def requires(message: Message) -> bool:
    """Whether Require has 100rel."""
    return "require" in message.first and TAG in (token.lower() for token in tokens(message.all("require")))


def supports(message: Message) -> bool:
    """Whether Supported has 100rel."""
    return "supported" in message.first and TAG in (token.lower() for token in tokens(message.all("supported")))
