"""Views of a process's decisions, and of its explanation of a call or a takeover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from heartbeat.console.schema import Column, Styled


def _what(row: Any) -> Styled:
    return Styled(row.what, "bold")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision of a node."""

    at: Annotated[float, Column("At", "instant")]
    node: Annotated[str, Column("Node")]
    what: Annotated[str, Column("What", of=_what)]
    because: Annotated[str, Column("Why", "sentence")]
    code: str
    """Code of the decision, for programs."""


@dataclass(frozen=True, slots=True)
class History:
    """``history``: parameter ``limit`` (default 50). Newest first."""

    decisions: tuple[DecisionRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an explanation; ``at`` is None if it belongs to no instant."""

    at: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``explain``: parameter ``id``, a call id (or an unambiguous prefix), ``takeover`` (the last), or an epoch."""

    about: str
    """``call 4f2a..`` or ``takeover to epoch 8``."""
    sentences: tuple[Sentence, ...]
    """By time."""
