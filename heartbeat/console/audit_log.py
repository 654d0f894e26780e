"""The audit log: commands, provisioning and logins, with time, user, host and answer.

JSON lines, appended to ``audit.jsonl`` in the state directory. The file has two generations
(`heartbeat.console.journal`) of some 20,000 entries each. Refused attempts are written at a limited rate, so that
unauthorised clients cannot push out entries of what was done. It has no secrets: of provisioned lines and routes only
the names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from heartbeat.console.api_socket import REFUSED
from heartbeat.console.contract import Later
from heartbeat.console.journal import Journal
from heartbeat.console.schema import Column, Styled, as_json, of_json
from sip.overload.token_bucket import TokenBucket

FILE: Final = "audit.jsonl"
VIEW: Final = "audit-log"
MOST_BYTES: Final = 4 * 1024 * 1024
"""Size of one generation."""
MOST_REFUSED: Final = 20
"""Refusals that are written at once."""
REFUSED_A_SECOND: Final = 1 / 60
"""Refusals that are written in a second beyond that."""
MOST_TEXT: Final = 300
"""Characters of a parameter or an answer; the rest is cut off."""
MOST_WITH: Final = 8
"""Parameters of an entry."""
DEFAULT_LIMIT: Final = 50


def _result(row: Entry) -> Styled:
    return Styled(row.result, {"done": "green", "running": "yellow"}.get(row.result, "red"))


def _with(row: Entry) -> str:
    return ", ".join(f"{key}={value}" for key, value in row.params.items())


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: something that a user did or tried to do."""

    time: Annotated[float, Column("At", "instant")]
    """Epoch seconds."""
    node: Annotated[str, Column("At node")]
    user: Annotated[str, Column("Who")]
    """``root by socket``, ``operator by token``, or the user named by a proxy."""
    host: Annotated[str, Column("~From")]
    """The address that the request came from; ``""`` by a UNIX socket."""
    what: Annotated[str, Column("What")]
    """A command of the API, ``provision``, ``login``, ``logout``, ``reload``."""
    params: Annotated[Mapping[str, str], Column("With", of=_with)]
    result: Annotated[str, Column("Result", of=_result)]
    """``done``, ``running`` (it had not ended yet), ``failed``, ``refused``."""
    said: Annotated[str, Column("Answer", "sentence")]


@dataclass(frozen=True, slots=True)
class Entries:
    """``audit-log``: parameter ``limit`` (default 50). Newest first."""

    entries: tuple[Entry, ...]


class AuditLog(Journal):
    """The audit log of one process. `note` never blocks."""

    def __init__(
        self, directory: Path, node: str, soon: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``soon`` is called when there is something to write; it has `write` called in a thread."""
        super().__init__(directory / FILE, MOST_BYTES)
        self._node = node
        self._soon = soon
        self._clock = clock
        self._refusals = TokenBucket(REFUSED_A_SECOND, MOST_REFUSED, clock())

    def note(self, user: str, host: str, what: str, params: Mapping[str, str], result: str, said: str) -> None:
        """Add an entry; refusals beyond the rate limit are left out."""
        if result == REFUSED and not self._refusals.take(self._clock()):
            return
        few = {key[:40]: value[:MOST_TEXT] for key, value in list(params.items())[:MOST_WITH]}
        at = round(time.time(), 3)
        self.add(as_json(Entry(at, self._node, user, host, what, few, result, said[:MOST_TEXT])))
        self._soon()

    def view(self, params: Mapping[str, str]) -> Later:
        """The view ``audit-log``, which is read in a thread."""
        limit = int(params.get("limit", DEFAULT_LIMIT))
        return Later(lambda: Entries(tuple(reversed(entries(self.read())))[:limit]))


def entries(values: Iterable[Any]) -> list[Entry]:
    """The entries in the JSON values of a file; those of another version are skipped."""
    found = []
    for value in values:
        try:
            found.append(of_json(Entry, value))
        except (KeyError, TypeError, AttributeError):
            continue
    return found
