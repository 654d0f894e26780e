"""The priority of a call: Priority (RFC 3261 section 20.26) and Resource-Priority (RFC 4412), on one scale."""

from __future__ import annotations

from typing import Final

from sip.wire.message import Message

FIELDS: Final = frozenset({"priority", "resource-priority"})
EMERGENCY: Final = 9
"""The top of the scale; 0 is an ordinary call."""
_PRIORITY: Final = {"emergency": EMERGENCY, "urgent": 5}
_DSN: Final = {"priority": 4, "immediate": 6, "flash": 7, "flash-override": 8}
_NAMESPACES: Final[dict[str, dict[str, int]]] = {
    "esnet": {str(n): EMERGENCY for n in range(5)},  # RFC 7135: emergency calls
    "dsn": _DSN,
    "drsn": {**_DSN, "flash-override-override": EMERGENCY},
    "q735": {"3": 4, "2": 6, "1": 7, "0": 8},
    "ets": {str(n): 8 - n for n in range(5)},
    "wps": {str(n): 8 - n for n in range(5)},
}
"""RFC 4412 section 12; ``routine`` is 0, and so is an unknown namespace (section 4.6.2)."""
MOST_VALUES: Final = 16


def priority_of(message: Message) -> int:
    """From 0 to 9; of several values the highest (RFC 4412 section 4.6.1: each namespace counts by itself)."""
    found = _PRIORITY.get((message.get("priority") or "").lower(), 0)
    if "resource-priority" in message.first:
        values = [each for value in message.all("resource-priority") for each in value.split(",")]
        for each in values[:MOST_VALUES]:
            namespace, _, level = each.strip().lower().partition(".")
            found = max(found, _NAMESPACES.get(namespace, {}).get(level, 0))
    return found
