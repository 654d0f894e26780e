"""What must hold at each instant, whatever the network and the processes do (docs/heartbeat.md)."""

from __future__ import annotations

from tests.stories.sessions import Sessions
from tests.stories.site_simulation import SiteSimulation


class Rules:
    """Watches a site: it raises at the step at which a rule is broken."""

    def __init__(self, sim: SiteSimulation) -> None:
        self.sim = sim
        self.seen = 0
        self.sessions = Sessions(sim)
        self._obeyed: dict[str, int] = {}
        sim.world.watchers.append(self.check)

    def check(self) -> None:
        """All rules, now."""
        self.seen += 1
        sim, world = self.sim, self.sim.world
        leases = [name for name in sim.site.servers if sim.may_act(name)]
        assert len(leases) < 2, f"{' and '.join(leases)} hold a lease at once"
        for name in sim.site.agents:
            if world.nodes[name].alive:
                epoch = sim.epoch_of(name)
                assert epoch >= self._obeyed.get(name, 0), f"{name} obeys epoch {epoch} after a higher one"
                self._obeyed[name] = epoch
