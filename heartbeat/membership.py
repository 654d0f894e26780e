"""Who belongs to a site: the input of all elections, made of the site file.

Nothing here changes while a program runs, except that a reload hands over another ``Membership``. What would break
the rules is refused with the site file (``site.check``, ``timing``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from heartbeat.timing import Timing

STAY: Final = "stay"
RETURN: Final = "return"
MANUAL: Final = "manual"

HOLD: Final = "hold"
STOP: Final = "stop"

MOST_VOTING_AGENTS: Final = 7


@dataclass(frozen=True, slots=True)
class Membership:
    """One site, as its file says it. Servers and agents share one name space of tokens of at most 64 characters."""

    site: str
    servers: tuple[str, ...]
    standby: str = ""
    """The server that prefers to stand by; it lends its vote to an even number of agents. Empty: there is none."""
    agents: tuple[str, ...] = ()
    """In the order of the file; the bitmap of reached agents in a beat counts in this order."""
    chosen_voters: tuple[str, ...] = ()
    """The agents that the file makes voters; empty: the first ones (see ``voters``)."""
    generation: int = 1
    """The number that the file gives to its list of voters, raised with each change of it. When it is higher than
    the one that the site lives by, the active server moves the site to the file's list, one voter at a time."""
    quorum_wanted: int = 0
    """The quorum that the file asks for; 0: the majority."""
    timing: Timing = field(default_factory=Timing)
    failback: str = STAY
    """``stay``, ``return`` (to the preferred main when it has been healthy for ``return_after``) or ``manual``."""
    hold_down: float = 30.0
    """After an automatic takeover the next automatic one waits so long, unless every voter that is there misses the
    new server."""
    return_after: float = 60.0
    """With failback ``return``: how long the preferred server must have been healthy."""
    on_lost_quorum: str = HOLD
    """``hold``: go on serving those who obey, end nothing; ``stop``: answer 503 to all."""
    takeover_without_quorum: bool = False
    config: str = ""
    """Short hash of the site file (hexadecimal), as this node says it; shown as drift where it differs."""
    config_without_keys: str = ""
    """The same of all but where the keys are, which is what an agent with a key of its own says."""
    given: str = ""
    """The version of the provisioned part of the site; empty: none."""
    capacity: int = 0
    """Calls that a server of this site takes; 0: not said."""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """The site key; during a key change the new one and then the old one. The first signs, each verifies."""

    def runs_another_file(self, config: str) -> bool:
        """Whether a node that says this hash runs from another site file than this one.

        An agent with a key of its own has it perhaps at another place than others have the site key, so it cannot
        judge theirs; servers judge it.
        """
        known = (self.config, self.config_without_keys)
        return bool(config and self.config) and self.config != self.config_without_keys and config not in known

    @property
    def voting_agents(self) -> tuple[str, ...]:
        """The agents that vote: the chosen ones, or the first of the file, at most 7.

        With a single server an even number would have nobody to make it odd, so the last one does not vote.
        """
        agents = self.chosen_voters or self.agents[:MOST_VOTING_AGENTS]
        if len(agents) > 1 and len(agents) % 2 == 0 and not self.standby and not self.chosen_voters:
            return agents[:-1]
        return agents

    @property
    def voters(self) -> tuple[str, ...]:
        """All who vote: the voting agents and, where their number is even, the stand-by server."""
        agents = self.voting_agents
        if agents and len(agents) % 2 == 0 and self.standby:
            return (*agents, self.standby)
        return agents

    @property
    def quorum(self) -> int:
        """How many of ``voters`` decide."""
        return self.quorum_wanted or majority(len(self.voters))

    @property
    def alone(self) -> bool:
        """One server and no agents: there is nobody to share anything with, so no lease is needed."""
        return len(self.servers) == 1 and not self.agents

    @property
    def preferred(self) -> str:
        """The server that should be active: the first that does not prefer to stand by."""
        return next((name for name in self.servers if name != self.standby), "") or self.standby


def majority(voters: int) -> int:
    """The least number that is over half of ``voters``."""
    return voters // 2 + 1
