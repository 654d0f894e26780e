"""What the programs of a site have in common, from the start to the exit code: a core with its pump, the epoch file,
the API, signals, reload and stop. The rest of a call server or an agent is in their ``server`` modules."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

from heartbeat import service
from heartbeat.console import audit_log, bans, log
from heartbeat.console.api_socket import Access, ApiError, ApiSocket, Audit
from heartbeat.console.audit_log import AuditLog
from heartbeat.console.collector import collecting
from heartbeat.console.contract import ConsoleProcess as Viewed
from heartbeat.console.contract import Progress
from heartbeat.console.disk_space import DiskSpace
from heartbeat.console.in_thread import InThread
from heartbeat.console.journal import DecisionJournal, Written
from heartbeat.console.process_stats import StatsSampler, overload_alerts, with_congestion
from heartbeat.console.reload_orders import RELOAD
from heartbeat.console.reloading import Reloaded, Reloading
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.status import Alert
from heartbeat.decision import Decided
from heartbeat.part_exchange import TakePart
from heartbeat.persistence import DirectoryLock, StoreError, VoteStore
from heartbeat.site.certificates import CertificateError, OwnCertificates, Read
from heartbeat.site.load import SiteError, load
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.needed_secrets import secrets_of
from heartbeat.site.pitfalls import warnings
from heartbeat.site.values import Api as Address
from sip.actions import Flow
from sip.io import pump as pumps
from sip.io.clock import boottime
from sip.io.dns import Resolver
from sip.io.loop import run as run_loop
from sip.io.pump import Pump
from sip.io.transport import TransportError
from sip.layer import Stack
from sip.overload.bans import Bans

TICK: Final = 1.0
"""Seconds between two samples of the process."""
DISKS: Final = 3
"""Ticks between two measurements of free disk space: a full disk is warned of before much had to be written there."""
WRITES: Final = 30
"""Ticks between two test writes of the epoch file."""
LEAVE_TIME: Final = 0.2
"""Seconds between the last messages of the core and the end: the release of a lease, REGISTERs that remove
contacts."""
LOG_LEVEL: Final = "log-level"
BANS: Final = "bans"
UNBAN: Final = "unban"
WRONG: Final = 3
"""Exit code of a program that could not start."""
BAD_SITE: Final = 4
"""Exit code for a bad site file, with which a restart is of no use."""

logger = logging.getLogger(__name__)
Serve = Callable[[Viewed, ApiSocket, Callable[[], float]], Awaitable[Any]]
"""Serves an API at its socket; the result has a coroutine ``close``."""


class StartError(Exception):
    """The program cannot start; the text is a sentence for the operator."""


class ProgramCore(pumps.PumpedCore, Protocol):
    """The core of a program."""

    site: Site
    stack: Stack
    history: deque[Decided]
    """The decisions, latest last."""

    def reload(self, site: Site, now: float) -> None: ...

    def decided(self, code: str, because: str, now: float) -> None:
        """Add a decision to history and log."""

    def leave(self, now: float) -> None:
        """Prepare the last messages before the end."""

    def test_disk(self, now: float) -> None:
        """Write the epoch file as a test, to notice a failed disk before an election needs it."""


C = TypeVar("C", bound=ProgramCore)


class Api:
    """The API of a process. Its modules are loaded with the first request, so as not to delay the start."""

    def __init__(
        self,
        process: Viewed,
        serve: Serve,
        at: Address,
        access: Access,
        loop: asyncio.AbstractEventLoop,
        audit: Audit | None = None,
    ) -> None:
        """Listens from now on; ``audit`` writes to the audit log. Raises `ApiError`."""
        self._process = process
        self._serve = serve
        self._loop = loop
        self._socket = ApiSocket(at, access)
        if audit is not None:
            self._socket.audit = audit
        self._serving: asyncio.Task[Any] | None = None
        loop.add_reader(self._socket.sock, self._asked)

    @property
    def token_bans(self) -> Bans:
        """The bans for wrong tokens."""
        return self._socket.token_bans

    def take(self, access: Access) -> None:
        """Set who has access, after a reload."""
        self._socket.access = access

    def _asked(self) -> None:
        self._loop.remove_reader(self._socket.sock)
        self._serving = self._loop.create_task(self._begin())

    async def _begin(self) -> Any:
        try:
            return await self._serve(self._process, self._socket, boottime)
        except Exception:
            logger.exception("the API cannot be offered")
            self._socket.close()
            return None

    async def close(self) -> None:
        if self._serving is None:
            self._loop.remove_reader(self._socket.sock)
            self._socket.close()
        elif (served := await self._serving) is not None:
            await served.close()


class Process(Generic[C]):
    """One node of a site in operation."""

    core: C
    pump: Pump
    logger = logger

    def __init__(self, site: Site, name: str, settings: Server | Agent, loop: asyncio.AbstractEventLoop) -> None:
        """Locks the node's state directory; `drive` is to be called next. Raises `StoreError` and
        `CertificateError`."""
        self.name = name
        self.settings = settings
        self.loop = loop
        self.certificates = OwnCertificates(site, name)
        self._lock = DirectoryLock(settings.state_dir, name)
        self.votes = VoteStore(settings.state_dir, name)
        self.persistent = self.votes.start()
        self._history = DecisionJournal(settings.state_dir / "history.jsonl")
        self.audited = AuditLog(settings.state_dir, name, lambda: self._journals.ask())
        """The audit log."""
        self.written: list[Written] = [self._history, self.audited]
        """Files that are written in a thread."""
        self.disk_space = DiskSpace(self.directories())
        self._api: Api | None = None
        self._decisions: Counter[str] = Counter()
        self._ticks = 0
        self.site_applied: Callable[[Site], object] = _nothing
        """Called with the site in use when all listeners are open, and after each reload."""
        tls = any(endpoint.transport == "tls" for endpoint in settings.sip)
        supported = ("udp", "tcp", "tls") if tls else ("udp", "tcp")
        self.names = Resolver(random.Random(secrets.randbits(128)), supported=supported)

    def directories(self) -> dict[str, Path]:
        """The directories that the process writes to, by their names in ``status``."""
        return {"state": self.settings.state_dir}

    def drive(
        self,
        core: C,
        listeners: Iterable[str],
        view: Callable[[C, str, Mapping[str, str], float], Any],
        command: Callable[[C, str, Mapping[str, str], float], Progress],
        peer_of: Callable[[C, Flow], str],
        pump: type[Pump] = Pump,
    ) -> None:
        """Make the pump of ``core`` with its console; ``peer_of``: name of a flow's peer. Raises `BadEndpoint`."""
        self.core = core
        lives = Reloaded(self.name, self.settings.state_dir, lambda: core.site, self.misses, self._apply)
        self.reloading = Reloading(lives, self.certificates, self.loop, lambda: self.logger)
        self._history.take_up(core.history, boottime() - time.time())
        self._view = view
        self._command = partial(command, core)
        self.pump = pump(
            core,
            listeners,
            self.loop,
            names=self.names,
            store=self.votes.write,
            on_event=self.event,
            on_reload=partial(_signalled, self.audited, self.reloading),
            on_stop=self.stop,
            codecs=self.certificates.codecs,
        )
        self.pump.others[TakePart] = lambda part: self.reloading.hand_over(part.packed, part.agent)
        self.pump.waited = core.stack.congestion.waited
        self.tracing = collecting(self.loop, self.name, core.stack, self.pump, partial(peer_of, core), core.site)
        self._journals = InThread(self.loop, partial(_write, self.written), _nothing)
        self._sampler = StatsSampler(time.process_time(), 0, boottime())

    async def run(self, serve: Serve) -> None:
        """Run, with the API by ``serve``, until a signal. Raises the error that keeps it from starting."""
        access, at = _access(self.settings), self.settings.api_address
        api = self._api = Api(self, serve, at, access, self.loop, self.audited.note)
        begun = self.loop.call_soon(self._begin)  # once all listeners are open
        try:
            await self.pump.run()
        finally:
            begun.cancel()
            self.names.close()
            _write(self.written)
            await api.close()
            self._lock.end()

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any:
        if name == "progress" and (order := self.reloading.orders.progress(params.get("id", ""))) is not None:
            return order
        if name == audit_log.VIEW:
            return self.audited.view(params)
        if name == BANS:
            return bans.look(_bans(self.core, self._api), now, time.time() - boottime())
        found: Any = self.tracing.view(params) if name == "trace" else self._view(self.core, name, params, now)
        if name != "status":
            return found
        stats = self.stats(now)
        alerts = (*found.alerts, *self.alerts(stats))
        return replace(found, process=stats, warnings=tuple(alert.text for alert in alerts), alerts=alerts)

    def command(self, name: str, params: Mapping[str, str], now: float) -> Progress:
        if name == RELOAD:
            return self.reloading.order()
        if (act := _AT_ONCE.get(name)) is not None:
            said = act(self, params)
            self.pump.ask(self.core.decided, name, f"{said}, by an operator")
            return Progress(name, name, "done", said, 1, 1)
        return self.pump.ask(self._command, name, params)

    def stats(self, now: float) -> ProcessStats:
        """The statistics of the process."""
        found, at, made = _cpu_and_stalls(self, now), time.time(), dict(self._decisions)
        shown, banned = self.certificates.ages(at), bans.counts(_bans(self.core, self._api), now)
        found = replace(found, clock=at, disks=self.disk_space.disks, certificates=shown, decisions=made, bans=banned)
        return with_congestion(replace(found, collected=self.tracing.collected()), self.core.stack.congestion, now)

    def alerts(self, stats: ProcessStats) -> list[Alert]:
        """Alerts about the process."""
        found = [Alert("disk", sentence) for sentence in self.disk_space.warnings(self.name)]
        found += [Alert("certificate", sentence) for sentence in self.certificates.warnings(time.time())]
        interval, took = self.core.site.timing.interval, self.votes.took
        if took > interval / 2:
            slow = f"keeping an epoch took {took:.2f} s, more than half an interval ({interval:g} s)"
            found.append(Alert("disk-slow", f"the disk of {self.name} is slow: {slow}; a takeover waits for it"))
        found += [Alert("provisioned", sentence) for sentence in self.reloading.trouble]
        return [*found, *overload_alerts(self.name, stats), *_weak_files(self.core.site, self.name)]

    def event(self, event: Any) -> None:
        """A decision of the core: count, store and log it."""
        self._decisions[event.code] += 1
        self._history.note(event, time.time() - boottime())
        self.logger.info("%s: %s", event.code, event)

    def tick(self, cpu: float, now: float) -> None:
        """Called once a second; ``cpu``: the process's share of a CPU."""

    def stop(self) -> None:
        """Called upon a signal to end."""
        service.tell(service.STOPPING)
        self.end()

    def end(self) -> None:
        """Leave the site and stop the pump."""
        self.pump.ask(self.core.leave)
        self.loop.call_later(LEAVE_TIME, self.pump.stop)

    def misses(self, site: Site) -> Iterable[str]:
        """Faults of ``site`` for this process besides `reload_complaints`, a sentence each."""
        return ()

    def _begin(self) -> None:
        site = self.core.site
        self.logger.info("%s runs for site %s by file %s", self.name, site.name, site.digest)
        for sentence in warnings(site):
            self.logger.warning("the site file: %s", sentence)
        for sentence in self.certificates.warnings(time.time()):
            self.logger.warning("%s", sentence)
        self.names.start()
        self._tick()
        self.site_applied(site)

    def _tick(self) -> None:
        now = boottime()
        self.tick(_cpu_and_stalls(self, now).cpu, now)
        if self._ticks % DISKS == 0:
            self.disk_space.ask()
        if self._ticks % WRITES == WRITES - 1:
            self.pump.ask(self.core.test_disk)
        if any(each.waits for each in self.written):
            self._journals.ask()
        self._ticks += 1
        self.loop.call_later(TICK, self._tick)

    def _apply(self, site: Site, read: Read) -> None:
        self.certificates.take(site, read)
        self.tracing.apply(site)
        self.pump.ask(self.core.reload, site)
        if self._api is not None:
            self._api.take(_access(site.servers.get(self.name) or site.agents[self.name]))
        self.site_applied(site)


def _cpu_and_stalls(process: Process[Any], now: float) -> ProcessStats:
    stall, received = process.pump.take_longest_stall(), process.core.stack.receiver.received
    return process._sampler.sample(stall, time.process_time(), received, now)


def _signalled(log: AuditLog, reloading: Reloading) -> None:
    """Reload upon SIGHUP."""
    log.note("a signal", "", RELOAD, {}, "running", "the site file is being read")
    reloading.ask()


def _stay_alive(loop: asyncio.AbstractEventLoop) -> None:
    service.alive()
    loop.call_later(TICK, _stay_alive, loop)


def _access(settings: Server | Agent) -> Access:
    """Who has access to the API by the site file."""
    token = settings.api_token.reveal() if settings.api_token is not None else None
    if isinstance(settings, Agent):
        return Access(token)
    viewing = settings.api_view_token.reveal() if settings.api_view_token is not None else None
    provisioning = settings.api_provision_token.reveal() if settings.api_provision_token is not None else None
    return Access(token, viewing, provisioning, settings.api_user_header, frozenset(settings.api_operators))


def _set_level(process: Process[Any], params: Mapping[str, str]) -> str:
    return log.set_level(params.get("package", ""), params.get("level", ""))


def _bans(core: ProgramCore, api: Api | None) -> Sequence[Bans]:
    """The bans for SIP and for the API."""
    return (core.stack.bans, *([api.token_bans] if api is not None else []))


def _lift_ban(process: Process[Any], params: Mapping[str, str]) -> str:
    return bans.lift(_bans(process.core, process._api), params.get("host", ""))


_AT_ONCE: Final[Mapping[str, Callable[[Process[Any], Mapping[str, str]], str]]] = MappingProxyType(
    {LOG_LEVEL: _set_level, UNBAN: _lift_ban}
)
"""Verbs of all programs that are carried out at once; each returns a sentence."""


def _weak_files(site: Site, name: str) -> list[Alert]:
    """Alerts about files with secrets that other users can read."""
    found = secrets_of(site, name)
    return [Alert("key-file", f"{place}: {secret.warning}") for place, secret in found if secret.warning]


def alert_codes(process: Process[Any]) -> tuple[str, ...]:
    """The codes of the alerts about a process, without those that other nodes find out by themselves."""
    codes = {alert.code for alert in process.alerts(ProcessStats(0.0, 0.0, 0.0, 0.0))}
    return tuple(sorted(codes - {"provisioned"}))


def _write(written: Iterable[Written]) -> None:
    for each in written:
        each.write()


def _nothing(what: object) -> None:
    pass


def clashes(nodes: Sequence[tuple[Site, str]]) -> list[str]:
    """Why these nodes, of a site each, cannot run in one process, a sentence each."""
    found, sites, state = [], dict[str, Path](), dict[Path, str]()
    for site, name in nodes:
        if (other := sites.setdefault(site.name, site.path)) != site.path or other is not site.path:
            found.append(f"{other} and {site.path} are both of the site {site.name}: name each site once")
        directory = (site.servers.get(name) or site.agents[name]).state_dir.absolute()
        if (of := state.setdefault(directory, site.name)) != site.name:
            found.append(f"the sites {of} and {site.name} both keep their state in {directory}: give each its own")
    return found


def start(
    make: Callable[[Site, str, asyncio.AbstractEventLoop], Process[Any]],
    serve: Serve,
    nodes: Sequence[tuple[Path, str]],
    log_settings: log.LogSettings,
) -> int:
    """Run nodes (site file, name) of different sites until they are stopped; returns the exit code. If one cannot
    start, its error is written to standard error and none is started."""
    log.start(log_settings)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        sites = [(load(path, name), name) for path, name in nodes]
        if complaints := clashes(sites):
            raise StartError("\n".join(complaints))
        processes = [make(site, name, loop) for site, name in sites]
        with pumps.obey_signals(loop, [process.pump for process in processes]):
            async with asyncio.TaskGroup() as running:
                tasks = [running.create_task(process.run(serve)) for process in processes]
                await asyncio.sleep(0)
                if not any(task.done() for task in tasks):  # all have opened their listeners
                    service.tell(service.READY)
                    _stay_alive(loop)

    wrong = (SiteError, StoreError, TransportError, ApiError, CertificateError, StartError)
    try:
        run_loop(work())
    except wrong as error:
        print(error, file=sys.stderr)
        return BAD_SITE if isinstance(error, SiteError) else WRONG
    except BaseExceptionGroup as group:
        why, bugs = group.split(wrong)
        if bugs is not None:
            raise bugs from None
        print(*(why.exceptions if why is not None else ()), sep="\n", file=sys.stderr)
        return WRONG
    return 0
