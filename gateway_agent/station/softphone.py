"""The telephone of a station: SIP, RTP and the machine's sound device by pjsua2, for one call at a time.

The only module that imports pjsua2, which is under the GPL (version 2 or later); only the process of a station loads
it. All methods are called in one thread, which calls `poll` often; media runs in threads of the library.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import pjsua2 as pj

from gateway_agent.station.line_events import (
    Account,
    Alerted,
    Confirmed,
    Ended,
    Heard,
    LineError,
    MediaAgreed,
    Offered,
    Registered,
    Statistics,
)
from gateway_agent.station.telephone import Source
from gateway_agent.station.tones import BURST_MS, PERIOD_MS, TONE_HZ

RATE: Final = 8000
"""Samples a second on the conference bridge, as in G.711, so that nothing is resampled."""
G711: Final = {"PCMU": 255, "PCMA": 254}
"""Priorities of the offered codecs; all others are disabled."""
EXPIRES: Final = 300
"""Expires of REGISTER in seconds."""
LEAVING: Final = 100
"""Most polls of 10 ms at the end, for BYE and the REGISTER that removes the contact."""
BUSY: Final = 486
RINGING: Final = 180
OK: Final = 200


class Softphone:
    """One telephone. Raises `LineError` if the library cannot be started."""

    def __init__(self, account: Account, sound: bool) -> None:
        self.heard: deque[Heard] = deque()
        """Events, to be taken after each `poll`."""
        self.call: _Call | None = None
        self._account = account
        self._sound = sound
        self._played: tuple[Source, Any] | None = None
        """The present source and its player in the library, kept when media is renegotiated."""
        self._recorders: dict[str, Any] = {}
        """The recorders in the library by their files."""
        self._endpoint = pj.Endpoint()
        self._line = _Line(self)
        _try(self._start)

    def poll(self) -> None:
        """Let the library handle its events; they are appended to `heard`."""
        self._endpoint.libHandleEvents(0)

    def dial(self, number: str) -> None:
        """Call a number. Raises `LineError`."""
        self.call = call = _Call(self, self._line)
        try:
            _try(lambda: call.makeCall(f"sip:{quote(number, safe='+*!')}@{self._account.realm}", _param(0)))
        except LineError:
            self.call = None
            raise

    def ring(self) -> None:
        """Answer the incoming call with 180."""
        self._answer(RINGING)

    def answer(self) -> None:
        """Answer the incoming call with 200."""
        self._answer(OK)

    def hang_up(self) -> None:
        """End the call by BYE, CANCEL or 486."""
        if (call := self.call) is not None:
            _try(lambda: call.hangup(_param(0 if call.answered else BUSY)))

    def connect(self, source: Source, recording: str, sent: str = "") -> None:
        """Play ``source`` to the far end and record what is heard to the file ``recording``, what is played to the
        file ``sent`` (``""``: not recorded). What does not change goes on. Raises `LineError` if a file cannot be
        used."""
        for path in self._recorders.keys() - {recording, sent}:
            del self._recorders[path]
        if self._played is not None and self._played[0] is not source:
            self._played = None  # destroying a player disconnects it from the bridge
        if self.call is not None and (audio := self.call.audio()) is not None:
            _try(lambda: self._connect(audio, source, recording, sent))

    def let_go(self) -> None:
        """The call has ended: release player and recorders; recordings are complete after the bridge's next cycle.
        The ports of the call are destroyed already; disconnecting them again would crash the process."""
        self._played = None
        self._recorders.clear()
        self.call = None

    def levels(self) -> tuple[int, int]:
        """Levels of the call, sent and heard, as pjsua2 has them (`tones.dbov`). Tx of a call's port is what it sends
        to the bridge: what is heard."""
        audio = self.call.audio() if self.call is not None else None
        return (int(audio.getRxLevel()), int(audio.getTxLevel())) if audio is not None else (0, 0)

    def statistics(self) -> Statistics | None:
        """Statistics of the call's media; None without media."""
        if self.call is None or (index := self.call.stream()) is None:
            return None
        whole = self.call.getStreamStat(index)  # a variable, since its members are freed with it
        rtcp = whole.rtcp
        here, there = rtcp.rxStat, rtcp.txStat
        return Statistics(
            received=here.pkt,
            lost=here.loss + here.discard,
            sent=there.pkt,
            lost_there=there.loss,
            jitter_ms=here.jitterUsec.mean / 1000,
            round_trip_ms=rtcp.rttUsec.mean / 1000 if rtcp.rttUsec.n else None,
        )

    def close(self) -> None:
        """Hang up, remove the registration, and end the library, which cannot be restarted in this process."""
        _ignoring_errors(self.hang_up)
        _ignoring_errors(lambda: self._line.setRegistration(False))
        for _ in range(LEAVING):
            self._endpoint.libHandleEvents(10)
            if any(isinstance(one, Registered) and not one.expires for one in self.heard):
                break
        self.let_go()
        self._line.shutdown()
        self._endpoint.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)

    def _start(self) -> None:
        config = pj.EpConfig()
        config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
        config.uaConfig.userAgent = "Holdfast station"
        config.logConfig.level = config.logConfig.consoleLevel = 1
        config.medConfig.clockRate = config.medConfig.sndClockRate = RATE
        config.medConfig.noVad, config.medConfig.ecTailLen = True, 0
        account = self._account
        at = pj.TransportConfig()
        at.boundAddress, at.port = account.host, 0
        self._endpoint.libCreate()
        self._endpoint.libInit(config)
        kind = pj.PJSIP_TRANSPORT_UDP6 if ":" in account.host else pj.PJSIP_TRANSPORT_UDP
        transport = self._endpoint.transportCreate(kind, at)
        self._endpoint.libStart()
        for codec in self._endpoint.codecEnum2():
            self._endpoint.codecSetPriority(codec.codecId, G711.get(codec.codecId.partition("/")[0], 0))
        if not self._sound:
            self._endpoint.audDevManager().setNullDev()
        elif not self._endpoint.audDevManager().getDevCount():
            raise LineError("this machine has no sound device, and the line says sound = true")
        self._line.create(self._settings(transport))

    def _settings(self, transport: int) -> Any:
        account = self._account
        settings = pj.AccountConfig()
        settings.idUri = f"sip:{account.user}@{account.realm}"
        settings.regConfig.registrarUri = f"sip:{account.realm}"
        settings.regConfig.timeoutSec = EXPIRES
        settings.regConfig.retryIntervalSec, settings.regConfig.firstRetryIntervalSec = 5, 1
        settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", account.user, 0, account.password))
        settings.sipConfig.proxies.append(f"sip:{account.agent};lr")
        settings.sipConfig.transportId = transport
        settings.natConfig.contactRewriteUse = settings.natConfig.viaRewriteUse = 0
        settings.natConfig.sipOutboundUse = 0
        settings.mediaConfig.transportConfig.boundAddress = account.host
        settings.mediaConfig.transportConfig.port = 0
        return settings

    def offered(self, number: int) -> None:
        """Called by the account: an incoming call."""
        call = _Call(self, self._line, number)
        if self.call is not None:
            _ignoring_errors(lambda: call.hangup(_param(BUSY)))
            return
        self.call = call
        self.heard.append(Offered(_user_of(call.getInfo().remoteUri)))

    def tell(self, call: _Call, what: Heard) -> None:
        """Called by a call: an event."""
        if call is self.call:
            self.heard.append(what)

    def _answer(self, status: int) -> None:
        if (call := self.call) is not None:
            _try(lambda: call.answer(_param(status)))

    def _connect(self, audio: Any, source: Source, recording: str, sent: str) -> None:
        devices = self._endpoint.audDevManager()
        if source.kind != "echo":
            _end_echo(audio)
        player = audio if source.kind == "echo" else self._player_of(source)
        # Also without a sound device (then a null device), as a port without a listener has no level.
        ways = [(audio, devices.getPlaybackDevMedia())]
        if player is not None:
            ways.append((player, audio))
        if self._sound:
            ways.append((devices.getCaptureDevMedia(), audio))
        for path, what in ((recording, audio), (sent, player)):
            if path and what is not None:
                if path not in self._recorders:
                    self._recorders[path] = pj.AudioMediaRecorder()
                    self._recorders[path].createRecorder(path)
                ways.append((what, self._recorders[path]))
        for here, there in ways:
            here.startTransmit(there)  # may be repeated

    def _player_of(self, source: Source) -> Any:
        if self._played is not None:
            return self._played[1]
        if source.kind == "file":
            player = pj.AudioMediaPlayer()
            player.createPlayer(source.path, pj.PJMEDIA_FILE_NO_LOOP if source.once else 0)
        elif source.kind in ("tone", "bursts"):
            player = pj.ToneGenerator()
            player.createToneGenerator(RATE, 1)
            tone = pj.ToneDesc()
            tone.freq1, tone.freq2 = TONE_HZ, 0
            tone.on_msec = BURST_MS if source.kind == "bursts" else PERIOD_MS
            tone.off_msec = PERIOD_MS - BURST_MS if source.kind == "bursts" else 0
            tones = pj.ToneDescVector()
            tones.append(tone)
            player.play(tones, True)
        else:
            return None
        self._played = source, player
        return player


class _Line(pj.Account):
    """The account in the library."""

    def __init__(self, phone: Softphone) -> None:
        super().__init__()
        self._phone = phone

    def onRegState(self, told: Any) -> None:
        self._phone.heard.append(Registered(told.code, told.reason, told.expiration))

    def onIncomingCall(self, told: Any) -> None:
        self._phone.offered(told.callId)


class _Call(pj.Call):
    """A call in the library."""

    def __init__(self, phone: Softphone, line: _Line, number: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(line, number)
        self._phone = phone
        self.answered = False

    def onCallState(self, told: Any) -> None:
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_EARLY and info.role == pj.PJSIP_ROLE_UAC:
            self._phone.tell(self, Alerted())
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self.answered = True
            self._phone.tell(self, Confirmed())
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._phone.tell(self, Ended(info.lastStatusCode, info.lastReason))

    def onCallMediaState(self, told: Any) -> None:
        self._phone.tell(self, MediaAgreed())

    def stream(self) -> int | None:
        """Index of the active audio stream; None: there is none, or it is on hold."""
        flowing = (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD)
        if not self.isActive():
            return None
        info = self.getInfo()  # a variable, since its members are freed with it
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status in flowing:
                return int(media.index)
        return None

    def audio(self) -> Any:
        """The active audio stream, or None."""
        index = self.stream()
        return self.getAudioMedia(index) if index is not None else None


def _end_echo(audio: Any) -> None:
    info = audio.getPortInfo()
    if audio.getPortId() in list(info.listeners):
        audio.stopTransmit(audio)


def _param(status: int) -> Any:
    param = pj.CallOpParam(True)
    param.statusCode = status
    param.opt.audioCount, param.opt.videoCount, param.opt.textCount = 1, 0, 0
    return param


def _user_of(uri: str) -> str:
    """The user part of ``"Name" <sip:user@host>``."""
    return uri.rpartition("<")[2].partition(":")[2].partition("@")[0]


def _try(act: Callable[[], Any]) -> None:
    try:
        act()
    except pj.Error as error:
        raise LineError(f"{error.reason} ({error.title})") from None


def _ignoring_errors(act: Callable[[], Any]) -> None:
    """Ignore errors, since what is to be ended may have ended already."""
    try:
        _try(act)
    except LineError:
        pass
