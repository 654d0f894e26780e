"""What a process decided, and what it explains of a call or a takeover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from heartbeat.console.schema import Column, Styled


def _what(row: Any) -> Styled:
    return Styled(row.what, "bold")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """Something that a node decided."""

    at: Annotated[float, Column("At", "instant")]
    node: Annotated[str, Column("Node")]
    what: Annotated[str, Column("What", of=_what)]
    because: Annotated[str, Column("Why", "sentence")]
    code: str
    """The decision's enum word, for machines."""


@dataclass(frozen=True, slots=True)
class History:
    """``history``: parameter ``limit`` (default 50). Newest first."""

    decisions: tuple[DecisionRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that happened; ``at`` None: at no instant of its own."""

    at: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``explain``: parameter ``id``, a call id (or an unambiguous prefix), ``takeover`` (the last), or an epoch."""

    about: str
    """``call 4f2a..`` or ``takeover to epoch 8``."""
    sentences: tuple[Sentence, ...]
    """In the order of time."""
