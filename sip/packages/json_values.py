"""What others say in JSON, made harmless: a member of another kind than expected is as if it were left out."""

from __future__ import annotations

import re
from typing import Any, Final

_UNFIT: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def text_of(value: Any) -> str:
    """A string fit for a header line: no line ends, and nothing that is no byte; ``""`` where it is none."""
    if not isinstance(value, str) or (not value.isprintable() and _UNFIT.search(value)):
        return ""
    return value if value.isascii() or max(value) < "\u0100" else ""


def number_of(value: Any) -> int:
    """An unsigned number of 32 bits, 0 where it is none."""
    return value if isinstance(value, int) and 0 <= value <= 0xFFFFFFFF else 0


def seconds_of(value: Any) -> float | None:
    """A duration of up to some 30 years."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e9 else None


def message_of(value: Any) -> bytes:
    """A whole message: a string of which each character is one byte (ISO 8859-1); ``b""`` where it is none."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else b""


def members_in(value: Any) -> dict[str, Any]:
    """The members of an object, none where it is no object."""
    return value if isinstance(value, dict) else {}
