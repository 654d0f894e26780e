"""The state diagrams of the docs, drawn from the tables of the code: ``python -m tools.diagrams [--check]``.

Without an option it writes ``docs/state-machines.md`` anew; with ``--check`` it only says, by its exit status,
whether that page is current.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from b2bua import pickup, transfer
from b2bua.pickup import Pickup
from b2bua.subscription import Subscription
from b2bua.takeover import restoration
from b2bua.takeover.restoration import Restorations
from b2bua.transfer import Transfer
from heartbeat.candidate import Candidate
from heartbeat.server_role import ServerRole
from sip.b2b.bridge import ANYWHERE, OVER, TABLE, Bridge
from sip.offer_answer import OfferAnswer
from sip.peers import Probe
from sip.registration import Registration
from sip.subscription import Notifier
from sip.transaction import InviteClient, InviteServer, NonInviteClient, NonInviteServer

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "state-machines.md"
END: Final = "terminated"
"""The state that is drawn as the end."""

Table = Mapping[tuple[str, Any], tuple[str, Callable[..., Any]]]

PREFACE: Final = """\
# State machines

Written by `python -m tools.diagrams` from the tables in the code; do not edit. A table has an entry
`(state, cause) -> (next, action)` for all that may happen, is stepped by one function, and what stands in no table is
ignored. An arrow reads *cause / action*.
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One table and what a reader needs to know beside it."""

    title: str
    owner: type[Any]
    table: Table
    start: str
    text: str


MACHINES: Final = (
    Machine(
        "The call",
        Bridge,
        {key: entry for key, entry in TABLE.items() if key[0] != OVER and key[1] not in ANYWHERE},
        "routing",
        "Servers and agents use the same table; the package `sip.b2b` says what each decides itself. A call\n"
        "that is taken over begins in *ringing* or *talking*, and requests for a missing leg wait for *absent leg\n"
        "found*. Not drawn: requests inside dialogs and their answers, which are passed on in every phase and\n"
        "change none; *released*, which leads from every phase to *ending*; and *dropped*, which leads to the end.",
    ),
    Machine(
        "A call under restoration",
        Restorations,
        restoration.TABLE,
        restoration.UNKNOWN,
        "After a takeover, or when an agent comes back, records report a call. *one leg*: requests from one party\n"
        "to the other wait. *invite waits*: its first INVITE was repeated, and it is not known yet where it rings.\n"
        "*both legs*: it goes on as *the call* above. *over*: nothing is left to restore; the call itself may go on.",
    ),
    Machine(
        "A transfer that the server makes",
        Transfer,
        transfer.TABLE,
        transfer.CALLING,
        '`transfer = "serve"`. *calling*: the target is called, or in an attended transfer asked for an offer;\n'
        "*asking*: the party that stays has to answer this offer; *joined*: the two talk, and the referrer has to\n"
        "hang up; *failed*: the referrer is told so, and the call is as before.",
    ),
    Machine(
        "A call that is picked up",
        Pickup,
        pickup.TABLE,
        pickup.TAKEN,
        "The call rings at another telephone. *taken*: the one that picks up has its 200; *asking*: it has to\n"
        "answer the caller's offer; *agreed*: it has the call. If it fails, the call rings on where it rang.",
    ),
    Machine(
        "The role of a call server",
        ServerRole,
        ServerRole.TABLE,
        "standby",
        "A server that starts stands by. It becomes active only with a proof on disk: the grants of a quorum, or\n"
        "an operator's force. Without its lease it is *holding*: it serves the agents that still obey it, and ends\n"
        "nothing.",
    ),
    Machine(
        "The election of a call server",
        Candidate,
        Candidate.TABLE,
        "none",
        "A stand-by holds one to become the leader; a holding leader that met a promise above its epoch holds one\n"
        "to lead under a newer epoch. In *ready* the candidate waits for the release in a planned switchover;\n"
        "*won* lasts until the proof is on disk.",
    ),
    Machine(
        "A trunk watched by OPTIONS",
        Probe,
        Probe.TRANSITIONS,
        "unknown",
        "*gone* is the last of `misses` unanswered ones in a row, or a 503 with Retry-After. The trunk is out of\n"
        "service only in *down*.",
    ),
    Machine(
        "Registering with a carrier",
        Registration,
        Registration.TRANSITIONS,
        "idle",
        "*asked again*: the registrar sent a challenge, or wants a longer time. *rest*: stop without telling the\n"
        "carrier.",
    ),
    Machine(
        "Offer and answer in a dialog",
        OfferAnswer,
        OfferAnswer.TABLE,
        "nothing",
        "RFC 3264 and 6337. A provisional response previews the answer; *refused* leaves what was agreed.",
    ),
    Machine(
        "INVITE, client",
        InviteClient,
        InviteClient.TABLE,
        "calling",
        "RFC 3261 figure 5 with RFC 6026. Towards call servers there are no timers A and B (docs/wire.md).",
    ),
    Machine(
        "INVITE, server",
        InviteServer,
        InviteServer.TABLE,
        "proceeding",
        "RFC 3261 figure 7 with RFC 6026.",
    ),
    Machine(
        "Any other request, client",
        NonInviteClient,
        NonInviteClient.TABLE,
        "trying",
        "RFC 3261 figure 6.",
    ),
    Machine(
        "Any other request, server",
        NonInviteServer,
        NonInviteServer.TABLE,
        "trying",
        "RFC 3261 figure 8 with RFC 4320.",
    ),
    Machine(
        "A subscription to an agent's list, the server's side",
        Subscription,
        Subscription.TABLE,
        "asked",
        "RFC 6665 section 4.1. A lasting subscription is replaced by a new one, which brings the whole list, before\n"
        "it expires, and some time after the agent refused or ended it. A fetch only brings its NOTIFYs.",
    ),
    Machine(
        "A subscription, the agent's side",
        Notifier,
        Notifier.TABLE,
        "active",
        "RFC 6665 section 4.2. *closing*: a last NOTIFY, or the rest of a list, is still to be made.",
    ),
)


def diagram(machine: Machine) -> str:
    """The Mermaid source: one arrow for each pair of states and action, its causes together."""
    arrows: dict[tuple[str, str, str], list[str]] = {}
    for (state, cause), (following, action) in machine.table.items():
        arrows.setdefault((state, following, _words(action)), []).append(_said(cause))
    lines = ["stateDiagram-v2", f"    [*] --> {machine.start}"]
    for (state, following, does), causes in arrows.items():
        target = "[*]" if following == END else following
        lines.append(f"    {state} --> {target}: {', '.join(causes)} / {does}")
    return "\n".join(lines)


def page() -> str:
    """The whole document."""
    parts = [PREFACE]
    for machine in MACHINES:
        source = f"{machine.owner.__module__.replace('.', '/')}.py"
        parts.append(
            f"## {machine.title}\n\n{machine.text}\n\n`{machine.owner.__name__}` in [{source}](../{source}).\n"
        )
        parts.append(f"```mermaid\n{diagram(machine)}\n```\n")
    return "\n".join(parts)


def _said(cause: Any) -> str:
    return str(cause.value if isinstance(cause, Enum) else cause).replace("_", " ")


def _words(action: Callable[..., Any]) -> str:
    return str(action.__name__).strip("_").replace("_", " ")


def main(arguments: list[str]) -> int:
    """Write the page, or check it; the exit status."""
    text = page()
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        print(f"{DOCUMENT.name} is not current: run python -m tools.diagrams", file=sys.stderr)
        return 1
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
