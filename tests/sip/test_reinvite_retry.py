"""How long a re-INVITE waits that was refused for the moment."""

from __future__ import annotations

from random import Random

import pytest

from sip.reinvite_retry import LONGEST, OURS, THEIRS, wait_after
from sip.wire.message import Response


@pytest.mark.parametrize(
    ("status", "given", "ours", "least", "most"),
    [
        (491, None, True, *OURS),
        (491, None, False, *THEIRS),
        (491, "7", False, *THEIRS),  # section 14.1 says how long
        (500, None, True, *OURS),
        (503, None, False, *THEIRS),
        (500, "7", True, 7.0, 7.0),
        (503, "3 (busy);duration=60", False, 3.0, 3.0),
        (503, "0", False, 0.0, 0.0),
        (503, "3600", False, LONGEST, LONGEST),
        (500, "soon", True, *OURS),
        (500, "\u0665", True, *OURS),
    ],
)
def test_waits(status: int, given: str | None, ours: bool, least: float, most: float) -> None:
    names, lines = (["retry-after"], [f"Retry-After: {given}"]) if given is not None else ([], [])
    response = Response(status, "No", names, lines)
    waits = [wait_after(response, ours, Random(seed)) for seed in range(50)]
    assert least <= min(waits) <= max(waits) <= most
    assert (len(set(waits)) == 1) == (least == most)
