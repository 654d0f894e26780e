"""What must hold at each instant, whatever the network and the processes do (docs/heartbeat.md)."""

from __future__ import annotations

from tests.stories.town import Town


class Rules:
    """Watches a town: it raises at the step at which a rule is broken."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.seen = 0
        self._obeyed: dict[str, int] = {}
        town.world.watchers.append(self.check)

    def check(self) -> None:
        """All rules, now."""
        self.seen += 1
        town, world = self.town, self.town.world
        leases = [name for name in town.site.servers if town.may_act(name)]
        assert len(leases) < 2, f"{' and '.join(leases)} hold a lease at once"
        for name in town.site.agents:
            if world.nodes[name].alive:
                epoch = town.epoch_of(name)
                assert epoch >= self._obeyed.get(name, 0), f"{name} obeys epoch {epoch} after a higher one"
                self._obeyed[name] = epoch
