"""Whether provisional responses are reliable on the hop of a device (RFC 3262), by what its line wants.

Each hop has its own word: what comes reliably from one side goes on plainly to one that does not know it, and what
comes plainly goes on reliably to one that requires it. Only an offer in a provisional response, which has its answer
in the PRACK, needs both.
"""

from __future__ import annotations

from typing import Final, Literal

from sip.requests import ResponseSpec
from sip.wire.headers import tokens
from sip.wire.message import Message, Request, Response

Reliability = Literal["no", "supported", "required"]
"""``reliable`` of a line."""
TAG: Final = "100rel"
SUPPORTED: Final = f"Supported: {TAG}"
REQUIRED: Final = f"Require: {TAG}"


def refused(wanted: Reliability, invite: Request) -> ResponseSpec | None:
    """Why a device's call cannot be taken: it requires what its line does not do, or lacks what that requires."""
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
    """The lines by which a device that is called is told; ``invite``: what the far side has sent. Without an offer in
    it, the device makes one, which may come in a provisional response: its answer has to come from the far side."""
    if wanted == "no" or not (invite.body or supports(invite) or requires(invite)):
        return ()
    return (SUPPORTED,) if wanted == "supported" else (REQUIRED, SUPPORTED)


def across(invite: Message) -> tuple[str, ...]:
    """The lines of an INVITE between agent and server, which matter where it has no offer."""
    return () if invite.body or not (supports(invite) or requires(invite)) else (SUPPORTED,)


def answers_reliably(wanted: Reliability, invite: Request | None, response: Response) -> bool:
    """Whether a device that called with that INVITE gets this provisional response reliably."""
    if wanted == "no" or invite is None:
        return False
    return requires(invite) or ((wanted == "required" or is_reliable(response)) and supports(invite))


def is_reliable(response: Response) -> bool:
    """Whether a provisional response was reliable where it came from."""
    return "rseq" in response.first and requires(response)


def marks(response: Response) -> tuple[str, ...]:
    """The lines that say so between agent and server (docs/wire.md)."""
    return (REQUIRED, f"RSeq: {response.get('rseq')}") if is_reliable(response) else ()


def requires(message: Message) -> bool:
    """Whether a message requires reliability, or has it."""
    return "require" in message.first and TAG in (token.lower() for token in tokens(message.all("require")))


def supports(message: Message) -> bool:
    """Whether its sender knows it."""
    return "supported" in message.first and TAG in (token.lower() for token in tokens(message.all("supported")))
