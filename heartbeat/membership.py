"""The members of a site: the input of all elections, made from the site file.

It is constant while a program runs, but for a reload, which passes another ``Membership``. Invalid values are refused
with the site file (``site.check``, ``timing``).
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
    """One site by its file. Servers and agents share one name space of tokens of at most 64 characters."""

    site: str
    servers: tuple[str, ...]
    standby: str = ""
    """The preferred stand-by server; it also votes where the number of voting agents is even. Empty: none."""
    agents: tuple[str, ...] = ()
    """In the order of the file, which is that of the bitmap of reached agents in a heartbeat."""
    chosen_voters: tuple[str, ...] = ()
    """The voting agents by the file; empty: the first ones (see ``voters``)."""
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
    """Short hash of the site file (hexadecimal) that this node states; a difference is reported as drift."""
    config_without_keys: str = ""
    """The hash of the file without the places of keys, which an agent with its own key states."""
    given: str = ""
    """The version of the provisioned part of the site; empty: none."""
    capacity: int = 0
    """Calls at once that a server of this site accepts; 0: not stated."""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """The site key; during a key change the new one and then the old one. The first signs, each verifies."""

    def runs_another_file(self, config: str) -> bool:
        """Whether a node that states this hash runs from another site file than this one.

        An agent with its own key may have it at another place than others have the site key, so it cannot compare its
        file with theirs; servers compare it.
        """
        known = (self.config, self.config_without_keys)
        return bool(config and self.config) and self.config != self.config_without_keys and config not in known

    @property
    def voting_agents(self) -> tuple[str, ...]:
        """The voting agents: the chosen ones, or the first of the file, at most 7.

        With a single server no stand-by can make an even number odd, so the last agent does not vote.
        """
        agents = self.chosen_voters or self.agents[:MOST_VOTING_AGENTS]
        if len(agents) > 1 and len(agents) % 2 == 0 and not self.standby and not self.chosen_voters:
            return agents[:-1]
        return agents

    @property
    def voters(self) -> tuple[str, ...]:
        """All voters: the voting agents and, where their number is even, the stand-by server."""
        agents = self.voting_agents
        if agents and len(agents) % 2 == 0 and self.standby:
            return (*agents, self.standby)
        return agents

    @property
    def quorum(self) -> int:
        """The number of votes that decides."""
        return self.quorum_wanted or majority(len(self.voters))

    @property
    def alone(self) -> bool:
        """Whether the site has one server and no agents, so that no lease is needed."""
        return len(self.servers) == 1 and not self.agents

    @property
    def preferred(self) -> str:
        """The server that should be active: the first that is not the preferred stand-by."""
        return next((name for name in self.servers if name != self.standby), "") or self.standby


def majority(voters: int) -> int:
    """The least number that is more than half of ``voters``."""
    return voters // 2 + 1
