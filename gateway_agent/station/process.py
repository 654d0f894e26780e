"""The process of a station: its telephone, and its API at a UNIX socket; it ends upon a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway_agent.station import audio_files
from gateway_agent.station.line_events import Account, Ended, LineError, Statistics
from gateway_agent.station.password import password_of
from gateway_agent.station.probe import ProbeResult, ProbeSchedule, judged
from gateway_agent.station.telephone import IDLE, TALKING, Do, Source, Telephone
from gateway_agent.station.tones import dbov, echo_of, onsets
from gateway_agent.station.views import StationStatus, api_of
from heartbeat import version
from heartbeat.agent_key import signer_of
from heartbeat.console import log, server
from heartbeat.console.api_socket import Access, ApiError, ApiSocket
from heartbeat.console.contract import Progress, Refused
from heartbeat.console.metrics import text_of
from heartbeat.console.views.status import Health
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from heartbeat.site.texts import NUMBER
from sip.io.clock import boottime
from sip.wire.headers import bracketed

if TYPE_CHECKING:
    from gateway_agent.station.softphone import Softphone

logger = logging.getLogger(__name__)

POLL: Final = 0.01
"""Seconds between two polls of the library for SIP; media has its own threads."""
SENT: Final = "sent.wav"
HEARD: Final = "heard.wav"
CLOSING: Final = 2.0
"""Seconds to wait until the library has closed recordings."""
WRONG: Final = 3
"""Exit code of a program that could not start."""
VIEWS: Final = frozenset({"status", "progress"})
VERBS: Final = frozenset("dial answer hangup say record probe".split())
LONGEST_PROBE: Final = 3600.0
NO_LIBRARY: Final = (
    "A station needs pjsua2 (PJSIP, under the GPL), which is not installed here: it comes with the extra station "
    "(docs/deploy.md#extras), for Python 3.11 and 3.12 only."
)


def account_of(site: Site, line: LineSettings) -> Account:
    """The account of a station at its agent. Raises `LookupError` without a password."""
    at = next(one for one in site.agents[line.agent].sip if one.transport == "udp")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)
    password = password_of(line, signer_of(site.identity.key.reveal())[0])
    if password is None:
        raise LookupError(f"The password of {line.name} is missing.")
    return Account(line.aor_user, password, site.realm, f"{bracketed(host)}:{at.port}", host)


class StationProcess:
    """One station in operation."""

    def __init__(self, site: Site, line: LineSettings, phone: Softphone) -> None:
        self._site = site
        self._line = line
        self._phone = phone
        self._telephone = Telephone(line.name, line.station, boottime())
        self._ends = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self._probe = Progress("", "probe", "done", "no probe was made", 0, 0)
        self._probes = 0
        self._result: ProbeResult | None = None
        self._sent = ""
        """File that what a probe plays is recorded to; ``""`` without a probe."""
        self._schedule = ProbeSchedule(line.station.probe_every, boottime())
        """When the station probes without an order."""

    async def run(self, at: ApiSocket, metrics_at: ApiSocket | None = None) -> None:
        """Run until a signal. ``metrics_at``: a further API, which takes no orders."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ends.set)
        served = [await server.serve(self, VIEWS, VERBS, at, boottime, self._metrics)]
        if metrics_at is not None:
            served.append(await server.serve(self, VIEWS, frozenset(), metrics_at, boottime, self._metrics))
        try:
            while not self._ends.is_set():
                self._turn(boottime())
                await asyncio.sleep(POLL)
        finally:
            if self._probing is not None:
                self._probing.cancel()
            for one in served:
                await one.close()
            self._phone.close()

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any:
        if name == "health":
            return Health(self._telephone.registered, self._telephone.state)
        if name == "progress":
            if params.get("id") != self._probe.id:
                raise Refused("There is no such order.", 404)
            return self._probe
        return self._status()

    def command(self, name: str, params: Mapping[str, str], now: float) -> Progress:
        telephone = self._telephone
        if self._probing is not None and name != "hangup":
            raise Refused(f"{telephone.name} is probing {telephone.number}; hangup ends it.")
        match name:
            case "dial":
                self._do(telephone.dial(_number(params), now), now)
                return _done(name, f"{telephone.name} dials {telephone.number}.")
            case "answer":
                self._do(telephone.answer(now), now)
                return _done(name, f"{telephone.name} answers {telephone.number}.")
            case "hangup":
                self._do(telephone.hang_up(now), now)
                return _done(name, f"{telephone.name} hangs up.")
            case "say":
                return self._say(params.get("file", ""), now)
            case "record":
                return self._record(params.get("file", ""), now)
        return self._begin_probe(params, now)

    def _turn(self, now: float) -> None:
        self._phone.poll()
        while self._phone.heard:
            self._do(self._telephone.hears(self._phone.heard.popleft(), now), now)
        self._do(self._telephone.handle_timer(now), now)
        self._probe_when_due(now)

    def _probe_when_due(self, now: float) -> None:
        """Probe what the site file says."""
        settings, telephone = self._line.station, self._telephone
        idle = telephone.state == IDLE and self._probing is None
        if not settings.probe or not self._schedule.begins(idle, telephone.registered, now):
            return
        try:
            self._begin_probe({"number": settings.probe, "mos": str(settings.probe_mos)}, now)
        except Refused as refusal:
            self._conclude(ProbeResult(settings.probe, now, False, str(refusal).rstrip(".")))

    def _do(self, orders: list[Do], now: float) -> None:
        telephone = self._telephone
        for order in orders:
            logger.info("%s: %s, %s", telephone.name, telephone.state, order.value)
            try:
                self._act(order)
            except LineError as error:
                logger.warning("%s cannot %s: %s", telephone.name, order.value, error)
                if order is Do.DIAL:
                    self._phone.heard.append(Ended(500, str(error)))

    def _act(self, order: Do) -> None:
        telephone, phone = self._telephone, self._phone
        match order:
            case Do.DIAL:
                phone.dial(telephone.number)
            case Do.RING:
                phone.ring()
            case Do.ANSWER:
                phone.answer()
            case Do.HANG_UP:
                phone.hang_up()
            case Do.CONNECT:
                phone.connect(telephone.source, telephone.recording, self._sent)
            case Do.LET_GO:
                phone.let_go()

    def _say(self, path: str, now: float) -> Progress:
        telephone = self._telephone
        if telephone.state != TALKING:
            raise Refused(f"{telephone.name} is {telephone.state}: nobody would hear it.")
        length = _playable(path)
        self._do(telephone.play(Source("file", path, once=True), now, length), now)
        return _done("say", f"{telephone.name} plays {path}, {length:.1f} s.")

    def _record(self, path: str, now: float) -> Progress:
        if path and not path.endswith(".wav"):
            raise Refused(f"{path} must end in .wav: that is what is written.", 400)
        if path and not Path(path).parent.is_dir():
            raise Refused(f"{path} cannot be written: there is no such directory.", 400)
        self._do(self._telephone.record(path, now), now)
        return _done("record", f"What is heard goes to {path}." if path else "The recording is complete.")

    def _status(self) -> StationStatus:
        telephone = self._telephone
        sent, heard = map(dbov, self._phone.levels())
        return StationStatus(
            site=self._site.name,
            agent=self._line.agent,
            station=telephone.name,
            version=version(),
            state=telephone.state,
            since_at=telephone.since_at,
            registered=telephone.registered,
            why=telephone.why,
            number=telephone.number,
            plays=str(telephone.source),
            records=telephone.recording,
            sent_dbov=sent,
            heard_dbov=heard,
            last=telephone.last,
            probe=self._result,
        )

    def _metrics(self, status: StationStatus) -> str:
        return text_of(status, {"site": status.site, "agent": status.agent, "station": status.station})

    def _begin_probe(self, params: Mapping[str, str], now: float) -> Progress:
        try:
            seconds, least = float(params.get("seconds", "10")), float(params.get("mos", "0"))
        except ValueError:
            raise Refused("seconds and mos are numbers.", 400) from None
        if not 3 <= seconds <= LONGEST_PROBE:
            raise Refused(f"A probe lasts from 3 to {LONGEST_PROBE:g} seconds.", 400)
        telephone, place = self._telephone, tempfile.TemporaryDirectory(prefix="holdfast-probe-")
        try:
            self._do(telephone.dial(_number(params), now), now)
        except Refused:
            place.cleanup()
            raise
        # Set before the call can end, upon which the usual source is restored.
        self._sent = str(Path(place.name) / SENT)
        self._do(telephone.play(Source("bursts"), now) + telephone.record(str(Path(place.name) / HEARD), now), now)
        self._probes += 1
        sentence = f"{telephone.name} probes {telephone.number}."
        self._probe = Progress(f"probe-{self._probes}", "probe", "running", sentence, 0, 0)
        self._probing = asyncio.create_task(self._probed(place, telephone.number, seconds, least, now))
        return self._probe

    async def _probed(
        self, place: tempfile.TemporaryDirectory[str], number: str, seconds: float, least: float, now: float
    ) -> None:
        try:
            with place:
                result = await self._measure(number, seconds, least, now, Path(place.name))
        except (OSError, EOFError, audio_files.Broken) as error:
            result = ProbeResult(number, boottime(), False, f"what was recorded cannot be read: {error}")
        self._probing, self._sent = None, ""
        self._conclude(result)
        state = "done" if result.good else "failed"
        self._probe = Progress(self._probe.id, "probe", state, f"{result.because}.", 1, 1)

    def _conclude(self, result: ProbeResult) -> None:
        level = logging.INFO if result.good else logging.WARNING
        logger.log(level, "%s: the probe of %s: %s", self._telephone.name, result.number, result.because)
        self._result = result

    async def _measure(self, number: str, seconds: float, least: float, began_at: float, place: Path) -> ProbeResult:
        telephone, sent, heard = self._telephone, place / SENT, place / HEARD
        while telephone.state not in (TALKING, IDLE):
            await asyncio.sleep(POLL)
        if telephone.state == IDLE:
            return ProbeResult(number, boottime(), False, telephone.last)
        answered_at = boottime()
        while telephone.state == TALKING and boottime() < answered_at + seconds:
            await asyncio.sleep(POLL)
        if telephone.state != TALKING:
            return ProbeResult(number, boottime(), False, f"{telephone.last}, before the probe was over")
        statistics = self._phone.statistics()
        self._do(telephone.hang_up(boottime()), boottime())
        while telephone.state != IDLE:
            await asyncio.sleep(POLL)
        closed_by = boottime() + CLOSING
        while not (audio_files.is_complete(sent) and audio_files.is_complete(heard)) and boottime() < closed_by:
            await asyncio.sleep(POLL)
        return await asyncio.to_thread(
            _judge, number, answered_at - began_at, sent, heard, statistics, least, boottime()
        )


def _judge(
    number: str, answered_s: float, sent: Path, heard: Path, statistics: Statistics | None, least: float, now: float
) -> ProbeResult:
    ours, theirs = audio_files.read(sent), audio_files.read(heard)
    echo = echo_of(
        onsets(ours.samples, ours.rate),
        onsets(theirs.samples, theirs.rate),
        min(ours.length_ms, theirs.length_ms),
    )
    return judged(number, answered_s, echo, statistics, least, now)


def _number(params: Mapping[str, str]) -> str:
    number = params.get("number", "")
    if not NUMBER.fullmatch(number):
        raise Refused(f"{number[:64]!r} is no number.", 400)
    return number


def _playable(path: str) -> float:
    try:
        return audio_files.length_of(Path(path))
    except ValueError as error:
        raise Refused(f"{error}.", 400) from None


def _done(verb: str, sentence: str) -> Progress:
    return Progress(verb, verb, "done", sentence, 1, 1)


def run(site: Site, line: LineSettings, settings: log.LogSettings) -> int:
    """Run a station until a signal; returns the exit code. If it cannot start, a sentence is written to standard
    error."""
    log.start(settings)
    try:
        from gateway_agent.station.softphone import Softphone
    except ModuleNotFoundError as error:
        if error.name != "pjsua2":
            raise
        print(NO_LIBRARY, file=sys.stderr)
        return WRONG
    at: list[ApiSocket] = []
    try:
        if line.station.file is not None:
            audio_files.length_of(line.station.file)
        account = account_of(site, line)
        agent = site.agents[line.agent]
        at.append(ApiSocket(api_of(agent, line.name), None))
        if line.station.api is not None and agent.api_token is not None:
            at.append(ApiSocket(line.station.api, Access(agent.api_token.reveal())))
        phone = Softphone(account, line.station.sound)
    except (LookupError, ValueError, ApiError, LineError) as error:
        for one in at:
            one.close()
        print(f"The station cannot start: {str(error).rstrip('.')}.", file=sys.stderr)
        return WRONG
    asyncio.run(_work(site, line, phone, at))
    return 0


async def _work(site: Site, line: LineSettings, phone: Softphone, at: Sequence[ApiSocket]) -> None:
    await StationProcess(site, line, phone).run(*at)
