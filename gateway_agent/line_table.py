"""The lines of an agent, as its site file has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway_agent import lines
from gateway_agent.call import Call
from gateway_agent.dialog_list import SubscriptionFilter
from gateway_agent.far_side import LineEnvironment
from gateway_agent.line import Line
from heartbeat.site.lines import LineSettings as Settings
from heartbeat.site.reload import is_same
from sip.packages.line_dialog import BACK, BUSIED_BY, BUSIED_OUT, IDLE, RESET_BY


class LineTable:
    """Makes, changes, resets and stops the lines of an agent."""

    def __init__(
        self,
        environment: LineEnvironment,
        calls: Mapping[int, Call],
        decided: Callable[[str, str, float], None],
        tell: Callable[[Line, float], None],
        known: dict[str, Line],
    ) -> None:
        """``decided`` notes a decision by its code and sentence; ``tell`` tells servers that a line changed;
        ``known`` is kept up to date."""
        self._environment = environment
        self._calls = calls
        self._decided = decided
        self._tell = tell
        self._lines = known

    def load(self, wanted: Iterable[Settings], now: float) -> None:
        """Have these and no other lines; calls go on."""
        by_name, reloads = {settings.name: settings for settings in wanted}, bool(self._lines)
        for name, line in list(self._lines.items()):
            if name not in by_name or by_name[name].kind != line.kind:
                line.far_side.stop(now)
                del self._lines[name]
        for name, settings in by_name.items():
            known = self._lines.get(name)
            if known is None:
                self._lines[name] = made = lines.make(self._environment, settings, self._changed, now)
                made.far_side.start(now)
                if reloads and not made.in_service:
                    self._changed(made, made.why, now)  # otherwise servers would try to call it
            elif not is_same(known.settings, settings):
                known.reload(settings, now)
                self._changed(known, "its settings were changed", now)

    def reset(self, wanted: SubscriptionFilter, server: str, now: float) -> None:
        """Drop the calls of cold lines and bring the lines to the designated state."""
        state = wanted.asked.state
        for line in self._lines.values():
            if line.settings.recovery != "cold" and wanted.asked.lines is None:
                continue
            if wanted.wants(line) and state in (BUSIED_OUT, BACK):
                self._busy_out(line, state, server, now)
            elif wanted.wants(line):
                closed = line.closed if line.busied_out else "" if state == IDLE else f"{RESET_BY}{server}"
                changed, line.closed = line.closed != closed, closed
                for call in [call for call in self._calls.values() if call.line is line]:
                    call.reset(f'SIP;cause=503;text="Reset by {server}"', 503, now)
                self._decided("reset", f"{line.name} was reset to {state} by {server}", now)
                if changed:
                    self._changed(line, f"{line.name} is {state}", now)

    def _busy_out(self, line: Line, state: str, server: str, now: float) -> None:
        """Take no new calls on a line, or take them again; its calls stay."""
        if (state == BUSIED_OUT) is line.busied_out:
            return
        line.closed = f"{BUSIED_BY}{server}" if state == BUSIED_OUT else ""
        said = f"takes no new calls, by an order given at {server}" if line.closed else "takes new calls again"
        self._changed(line, said, now)

    def stop(self, now: float, for_good: bool) -> None:
        """The process is about to end; ``for_good``: registrations at carriers are removed."""
        for line in self._lines.values() if for_good else ():
            line.far_side.stop(now)

    def _changed(self, line: Line, because: str, now: float, tell: bool = True) -> None:
        """A line went in or out of service, or its registration changed."""
        if because:
            self._decided("line", f"{line.name}: {because}", now)
        if tell:
            self._tell(line, now)
