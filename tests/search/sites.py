"""The small sites that are searched. Their times are as short as the rules allow, so that a search has few ticks."""

from __future__ import annotations

from typing import Final

from heartbeat.membership import Membership
from heartbeat.timing import Timing

TIMES: Final = Timing(
    interval=1.0,
    slow_interval=1.0,
    misses=2,
    lease=3.0,
    margin=1.0,
    round_trip=0.5,
    subset_after=3.0,
    switchover_limit=3.0,
)


def site(agents: int = 3) -> Membership:
    """Two servers and ``agents`` agents. With two the stand-by server votes too."""
    return Membership(
        site="paris",
        servers=("m1", "m2"),
        standby="m2",
        agents=tuple(f"gw{number}" for number in range(1, agents + 1)),
        timing=TIMES,
        hold_down=2.0,
        keys=(b"the key of the site, thirty-two.",),
    )
