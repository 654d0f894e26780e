"""The process of a call server: `heartbeat.program` around :class:`b2bua.core.Core`, and its call records."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from b2bua import api, views
from b2bua.call_metrics import CallMetrics
from b2bua.call_records import CallEnded
from b2bua.call_stories import CallStories
from b2bua.cdr import RESULTS, Cdr, sentence
from b2bua.cdr_query import page
from b2bua.cdr_store import CdrStore, Entry
from b2bua.cookies import MakeCipher
from b2bua.core import Core, Event
from b2bua.known_calls import peer_of
from b2bua.record_sinks import RecordSinks
from b2bua.takeover_file import TakeoverFile
from b2bua.trend import Trend
from heartbeat import deaths, program, signed_callers
from heartbeat.console.answers import Answers
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.contract import ConsoleProcess, Later, Progress, Refused
from heartbeat.console.hooks import TAKEOVER, Hooks
from heartbeat.console.log import LogSettings
from heartbeat.console.other_nodes import OtherNodes
from heartbeat.console.passed_on import PassedOn
from heartbeat.console.reload_orders import PROVISION
from heartbeat.console.views.process import ProcessStats, Records
from heartbeat.console.views.status import Alert
from heartbeat.decision import What
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from heartbeat.site.provisioned import NEVER
from heartbeat.supervised import Supervised, SupervisorGone, is_supervised
from sip.io.clock import boottime

DAY: Final = 86_400.0
LOOKS: Final = 3
"""Ticks between two checks for alerts that hooks are notified of."""
COUNTED: Final = 100
"""Ended calls that are counted at once, which makes better use of CPU caches than one by one."""
LATE_RECORDS: Final = 10.0
"""Age in seconds from which on a call record that is not on disk gives an alert."""


_calls: Final = logging.getLogger("b2bua.calls")
"""Logger of ended calls, separate so that its level can be set."""


class Process(program.Process[Core]):
    """One call server in operation."""

    logger = logging.getLogger("b2bua")

    def __init__(self, site: Site, node: str, loop: asyncio.AbstractEventLoop, supervised: Supervised | None) -> None:
        server = site.servers[node]
        self._cdr_dir = server.cdr_dir
        self._supervised = supervised
        ended = deaths.read(server.state_dir)
        super().__init__(site, node, server, loop)
        try:
            server.cdr_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.logger.error("call records wait in memory: %s: %s", server.cdr_dir, error.strerror)
        self._stories = CallStories(server.state_dir / "calls.jsonl")
        self.cdrs = CdrStore(server.cdr_dir, node, told=partial(_note_ended, self._stories))
        self._sinks = RecordSinks(server.cdr_dir, server.state_dir, node)
        self._reports = TakeoverFile(server.state_dir / "takeovers.json")
        chance = random.Random(secrets.randbits(128))
        now = boottime()
        self._trend = Trend()
        core = Core(
            site,
            node,
            self.persistent,
            secrets.token_bytes(32),
            chance,
            now,
            time.time() - now,
            self._supervised.commitment if self._supervised is not None else "",
            [one.secret for one in reversed(ended)],
            _cipher(site),
        )
        listeners = [*server.listen, *server.sip, *([server.beat] if server.beat is not None else [])]
        self.drive(core, map(str, listeners), partial(_view, self._trend), views.command, peer_of)
        self._reports.take_up(core.takeovers, now - time.time())
        self._stories.take_up(core.records)
        self.written += (self._reports, self._stories)
        self.uncounted: list[Cdr] = []
        """Records of ended calls that ``results`` and ``call_metrics`` do not contain yet."""
        self.results: Counter[str] = Counter()
        self.call_metrics = CallMetrics()
        self._fetcher = signed_callers.fetching(self.pump, core.done)
        taken = signed_callers.take_up(core.stack, site.name, _own_lines(site), lambda: core.records.wall_offset)
        core.own_lines.caller_identity.stir = taken[0] if taken is not None else None
        self._crypto = taken[1] if taken is not None else None
        self.hooks = Hooks(site, node)
        answers = Answers(self, boottime, lambda: self.audited.note)
        exchange = core.leadership.console
        self.passed_on = PassedOn(node, exchange, self.pump, answers, api.VIEWS, api.ORDERS)
        self.others = OtherNodes(node, partial(_nodes, core), exchange, self.pump)

    async def run(self, serve: program.Serve) -> None:
        if self._supervised is not None:
            self._supervised.watch(self.loop, partial(_alone, self))
            self.site_applied = partial(_tell, self._supervised, self.name)
        try:
            await super().run(serve)
        finally:
            self.cdrs.close()
            self._stories.write()
            self._sinks.close()
            self.hooks.close()
            await self._fetcher.close()
            if self._supervised is not None:
                self._supervised.end()

    def command(self, name: str, params: Mapping[str, str], now: float) -> Progress:
        if name != PROVISION:
            return super().command(name, params, now)
        if refusal := _may_not_provision(self.core, now):
            raise Refused(refusal)
        return self.reloading.provision(params.get("change", ""), self.core.epoch)

    def event(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.cdrs.write(event.record, event.because)
            self.uncounted.append(event.record)
            if len(self.uncounted) >= COUNTED:
                _count(self)
        else:
            super().event(event)
            if event.code == What.BECAME_ACTIVE.value and self.core.epoch > 1:
                self.hooks.tell(TAKEOVER, TAKEOVER, event.because)

    def misses(self, site: Site) -> Iterable[str]:
        return signed_callers.unmet(_own_lines(site), self._crypto)

    def directories(self) -> dict[str, Path]:
        return {**super().directories(), "cdr": self._cdr_dir}

    def stats(self, now: float) -> ProcessStats:
        _count(self)
        records = Records(self.cdrs.waiting, self.cdrs.lost)
        results: dict[str, int] = {result: self.results[result] for result in RESULTS}
        found = super().stats(now)
        return replace(
            found, records=records, results=results, sinks=self._sinks.views(), **self.call_metrics.views()
        )

    def alerts(self, stats: ProcessStats) -> list[Alert]:
        found = super().alerts(stats)
        if self._supervised is None:
            said = f"{self.name} runs without a supervisor: that it has died is known by its silence only"
            found.append(Alert("no-supervisor", said))
        late = _record_alerts(self.name, self.cdrs, self.core.records.unwritten_since)
        return [*found, *late, *self._sinks.alerts()]

    def tick(self, cpu: float, now: float) -> None:
        core = self.core
        # at each tick, so that it is an average over the last seconds however rarely status is requested
        rates = core.rates.read(core.admission.calls_seen, core.stack.receiver.received, now)
        self._trend.note(now, len(core.calls), rates.calls_per_s, cpu, self._sampler.stall)
        self._reports.follow(core.takeovers, time.time() - now, now)
        age = self.cdrs.unwritten_age(now)
        core.records.unwritten_since = now - age if age else None
        core.records.wall_offset = time.time() - now
        if self._ticks % LOOKS == 0:
            _tell_hooks(self.hooks, core.site, partial(self.view, "status", {}, now))
        self.cdrs.keep = core.site.records.keep * DAY
        self._sinks.follow(core.site.records)


async def _serve(process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float]) -> Any:
    return await api.serve(process, at, clock, process.others if isinstance(process, Process) else None)


def _nodes(core: Core) -> Collection[str]:
    return (*core.site.servers, *core.site.agents)


def _own_lines(site: Site) -> list[LineSettings]:
    return [line for line in site.lines.values() if line.at_servers]


def _cipher(site: Site) -> MakeCipher | None:
    """The cipher of cookies (``holdfast[direct]``); None if it is not installed."""
    try:
        from b2bua.cookie_cipher import CookieCipher
    except ImportError:
        if site.standby is not None and site.lines_of(""):
            said = (
                "a call between two lines without agents ends with its server: holdfast[direct] is not installed here"
            )
            logging.getLogger("b2bua").warning(said)
        return None
    return CookieCipher


def _tell_hooks(hooks: Hooks, site: Site, status: Callable[[], Any]) -> None:
    """Notify hooks of alerts; the status is made only if hooks are configured."""
    hooks.settings = site.hooks
    if hooks.wanted:
        hooks.look(status().alerts)


def _view(trend: Trend, core: Core, name: str, params: Mapping[str, str], now: float) -> Any:
    if name == "cdrs":
        return Later(partial(page, core.server.cdr_dir, core.node, dict(params)))
    if name == "ladder":
        return Later(partial(_ladder, core.site, dict(params)))
    if name == "provisioned":
        return _provisioned(core)
    if name == "trend":
        return {"trend": trend.view(time.time() - now)}
    return views.view(core, name, params, now)


def _provisioned(core: Core) -> dict[str, Any]:
    """The view ``provisioned``: the part and its version, and which of the reachable nodes use that version."""
    part, exchange = core.site.provisioned, core.leadership.part_exchange
    reached = [name for name, agent in core.agents.connections.items() if agent.flow is not None]
    reached += [name for name, peer in core.member.cluster.peers.items() if peer.beat is not None]
    return {
        "version": str(part.version),
        "routes_are": core.site.identity.provisioned,
        "lines": part.lines,
        "routes": part.routes,
        "nodes": {name: exchange.versions.get(name, NEVER) == part.version for name in reached},
    }


def _may_not_provision(core: Core, now: float) -> str:
    """Why this server may not make a version of the provisioned part, lest two servers make different ones; ``""``:
    it may."""
    if not core.serving:
        return f"{core.node} is not active; send the change to {core.member.cluster.leader or 'the active server'}"
    if not core.member.may_act(now):
        return f"{core.node} has no lease: nothing is provisioned until a quorum answers"
    newest, own = core.leadership.part_exchange.newest, core.site.provisioned.version
    if newest > own:
        return f"another node has version {newest} of what is provisioned, this one {own}: it is being fetched"
    return ""


def _count(process: Process) -> None:
    """Count the ended calls, by the present routes."""
    core = process.core
    for record in process.uncounted:
        process.results[record.result] += 1
        route = core.router.route_of(record.dialled or record.callee, record.caller_line.partition("/")[0])
        process.call_metrics.add(record, core.site.lines, route)
    process.uncounted.clear()


def _note_ended(stories: CallStories, ended: Entry) -> None:
    """In the thread that writes records: log an ended call, and store its explanation for the next start."""
    record = ended.record
    if _calls.isEnabledFor(logging.INFO):
        about = {"call": record.call_id, "line": record.caller_line}
        _calls.info("call %s: %s", record.call_id, sentence(record), extra=about)
    stories.note(ended.text, ended.because)


def _record_alerts(node: str, cdrs: CdrStore, since: float | None) -> Iterator[Alert]:
    """Alerts about call records; ``since``: when the oldest was made that is not on disk."""
    waiting, lost = cdrs.waiting, cdrs.lost
    if trouble := cdrs.trouble:
        yield Alert("records", f"{node} cannot write call records ({waiting:,} wait): {trouble}")
    elif since is not None and boottime() - since > LATE_RECORDS:
        late = f"{boottime() - since:.0f} s"
        yield Alert("records", f"{waiting:,} call records of {node} wait for the disk, the first for {late}")
    if lost:
        said = f"{node} has lost {lost:,} call records for want of room on the disk since it started"
        yield Alert("records-lost", said)


def _ladder(site: Site, params: Mapping[str, str]) -> Any:
    from b2bua.page_views import ladder  # loaded on demand, since it imports the modules of commands

    return ladder(site, params)


def _tell(supervised: Supervised, node: str, site: Site) -> None:
    """Tell the supervisor which servers to notify of our death, and where to store it."""
    own = site.servers[node]
    beats = [(name, server.beat_reach) for name, server in site.servers.items()]
    supervised.tell(
        site.name,
        site.timing.watchdog,
        node=node,
        state=str(own.state_dir),
        local=[own.beat.host, own.beat.port] if own.beat is not None else ["", 0],
        to=[[one.host, one.port] for name, one in beats if one is not None and name != node],
        transport=own.beat.transport if own.beat is not None else "udp",
        shown=[str(own.tls.certificate), str(own.tls.key)] if own.tls is not None else [],
    )


def _alone(process: Process) -> None:
    """The supervisor has died, so that our death would not be reported: hand over to another server and end."""
    process.logger.warning("the supervisor of %s has ended: it hands over and ends", process.name)
    process.stop()


def run(nodes: Sequence[tuple[Path, str]], log: LogSettings) -> int:
    """Run one server, or servers of several sites, until a signal; returns the exit code."""
    shared: list[Supervised | None] = []
    waited = 0.0

    def make(site: Site, node: str, loop: asyncio.AbstractEventLoop) -> Process:
        nonlocal waited
        try:
            if not shared:
                shared.append(Supervised() if is_supervised() else None)
        except SupervisorGone as error:
            raise program.StartError(str(error)) from None
        wait = deaths.back_off(deaths.read(site.servers[node].state_dir)) - waited
        if wait > 0:
            Process.logger.warning("%s ended soon after its start several times: it begins in %g s", node, wait)
            time.sleep(wait)  # nothing runs yet, and a signal ends the process
            waited += wait
        process = Process(site, node, loop, shared[0])
        if len(nodes) > 1:
            process.logger = Process.logger.getChild(site.name)
        return process

    return program.start(make, _serve, nodes, log)
