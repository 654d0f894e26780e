"""Reads JSON that somebody sent."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: str | bytes) -> Any:
    """The value of a JSON text, as long as all its strings can be written again: JSON can escape halves of surrogate
    pairs (RFC 8259 section 8.2), which no UTF-8 has. Raises `ValueError`."""
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
