"""Members of JSON objects from the network, checked: one of another type than expected counts as left out."""

from __future__ import annotations

import re
from typing import Any, Final

_UNFIT: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def text_of(value: Any) -> str:
    """A string that can be written into a header line: no line ends or other controls but the tab, each character a
    byte (ISO 8859-1); ``""`` for anything else."""
    if not isinstance(value, str) or (not value.isprintable() and _UNFIT.search(value)):
        return ""
    return value if value.isascii() or max(value) < "\u0100" else ""


def number_of(value: Any) -> int:
    """An integer of 0 to 2**32-1; 0 for anything else."""
    return value if isinstance(value, int) and 0 <= value <= 0xFFFFFFFF else 0


def seconds_of(value: Any) -> float | None:
    """A duration of 0 to 1e9 seconds (some 30 years); None for anything else."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e9 else None


def message_of(value: Any) -> bytes:
    """A whole SIP message or body from a string of which each character is one byte (ISO 8859-1); ``b""`` for
    anything else."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else b""


def members_in(value: Any) -> dict[str, Any]:
    """The members of an object; none for anything else."""
    return value if isinstance(value, dict) else {}
