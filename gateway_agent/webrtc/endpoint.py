"""The browser's side of a session: ICE by aioice, DTLS-SRTP by aiortc. No other module imports them, but `codecs`.

RTP packets are received and sent whole, without being decoded. aiortc has no public interface for that: `_Dtls` uses
three private methods, and `_Path` has what its DTLS transport needs of an ICE transport. Beneath it the ICE agent can
be replaced while DTLS goes on (RFC 8842 section 5.5), which aiortc's own ICE transport does not support.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import aioice
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, RTCIceTransport
from pylibsrtp import Error as SrtpError

from gateway_agent.webrtc.legs import MOST_CANDIDATES, Browser, GatewaySettings

CONNECT_S: Final = 30.0
"""Seconds for ICE to connect, and for the DTLS handshake."""
MOST_UNREAD: Final = 64
"""Datagrams from a browser that wait for DTLS, and to it that wait to be sent; further ones are dropped."""

Certificate = RTCCertificate
Received = Callable[[bytes, bool], None]
"""Called with a decrypted packet of the browser, and whether it is RTCP."""


def certificate() -> Certificate:
    """A new key pair with a self-signed certificate, which is verified by its fingerprint (RFC 8122)."""
    return RTCCertificate.generateCertificate()


def fingerprint_of(certificate: Certificate) -> str:
    """The SHA-256 fingerprint as in ``a=fingerprint``."""
    found = next(one for one in certificate.getFingerprints() if one.algorithm == "sha-256")
    return f"{found.algorithm} {found.value}"


class IceAgent(aioice.Connection):
    """An ICE agent that uses the configured addresses only."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(
            ice_controlling=False,
            stun_server=_host_port(settings.stun),
            turn_server=_host_port(settings.turn),
            turn_username=settings.turn_user or None,
            turn_password=settings.turn_password or None,
            turn_transport=settings.turn_transport,
        )
        self._at = list(settings.addresses)
        self.sink: Callable[[bytes], None] | None = None
        """Called with datagrams that are no STUN; None, before there is a session: they are dropped."""
        self._checked = asyncio.Event()

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = 5
    ) -> list[aioice.Candidate]:
        return await super().get_component_candidates(component, self._at, timeout)

    def data_received(self, data: bytes, component: int) -> None:
        if self.sink is not None:
            self.sink(data)

    def request_received(self, *what: Any, **named: Any) -> None:
        super().request_received(*what, **named)
        if self._early_checks:  # private to aioice: those that were authentic before `connect`
            self._checked.set()

    async def meet(self, browser: Browser) -> None:
        """Connect with a browser. If its description has no usable candidate, because it hides its addresses (mDNS)
        or has not gathered any yet (RFC 8840), wait for its first check, which makes a peer-reflexive candidate
        (RFC 8445 section 7.3.1.3). Raises `ConnectionError`."""
        self.remote_username, self.remote_password = browser.ufrag, browser.pwd
        families = {":" in one.host for one in self.local_candidates}
        known = False
        for text in browser.candidates[:MOST_CANDIDATES]:
            with contextlib.suppress(ValueError):
                candidate = aioice.Candidate.from_sdp(text)
                await self.add_remote_candidate(candidate)
                known = known or (":" in candidate.host) in families
        if not known:  # without a pair aioice does not wait for one
            await self._checked.wait()
        await self.connect()


class _Path:
    """The present ICE agent, with the interface that the DTLS transport needs."""

    def __init__(self, client: bool) -> None:
        self.role = "controlled" if client else "controlling"
        """The ICE role from which the DTLS transport derives its own, client or server."""
        self.ice: IceAgent | None = None
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_UNREAD)

    def put(self, data: bytes) -> None:
        if data and not self._inbox.full():
            self._inbox.put_nowait(data)

    def end(self) -> None:
        if self._inbox.full():
            self._inbox.get_nowait()
        self._inbox.put_nowait(None)

    async def _recv(self) -> bytes:
        data = await self._inbox.get()
        if data is None:
            raise ConnectionError("the session has ended")
        return data

    async def _send(self, data: bytes) -> None:
        if self.ice is not None:
            with contextlib.suppress(ConnectionError):  # lost, until the page restarts ICE
                await self.ice.send(data)


class _Dtls(RTCDtlsTransport):
    """DTLS and SRTP over the present ICE agent."""

    def __init__(self, path: _Path, certificate: Certificate, received: Received) -> None:
        super().__init__(cast(RTCIceTransport, path), [certificate])
        self._received = received

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        self._received(data, False)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        self._received(data, True)

    async def send(self, data: bytes) -> None:
        """Raises `ConnectionError`, `pylibsrtp.Error`."""
        await self._send_rtp(data)


class BrowserEnd:
    """The transport to one browser, across ICE restarts and new DTLS associations; ``received`` gets its packets."""

    def __init__(self, certificate: Certificate, received: Received, failed: Callable[[str], None]) -> None:
        """``failed`` is called with half a sentence that says why media cannot pass."""
        self._certificate = certificate
        self._received = received
        self._failed = failed
        self._ice: IceAgent | None = None
        """The latest ICE agent, perhaps not connected yet."""
        self._path = _Path(False)
        self._dtls: _Dtls | None = None
        self._by: tuple[tuple[str, ...], bool] | None = None
        """Fingerprints and role (client) of the DTLS association."""
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue(MOST_UNREAD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin(self._send_on())

    @property
    def connected(self) -> bool:
        """Whether media can pass."""
        return self._dtls is not None and self._dtls.state == "connected"

    def connect(self, ice: IceAgent, browser: Browser, controlling: bool, client: bool) -> None:
        """Connect to the browser by this ICE agent, which has gathered its candidates; the previous one is used until
        it is connected."""
        if ice is self._ice:  # an ICE agent has one peer: of several tabs the first that has answered
            return
        if self._ice is not None and self._ice is not self._path.ice:  # it has not connected
            self._begin(self._ice.close())
        self._ice = ice
        ice.sink = self._path.put
        self._begin(self._connected(ice, browser, controlling, client))

    def send(self, data: bytes) -> None:
        """Send RTP or RTCP to the browser; dropped while it is not connected."""
        if not self._unsent.full():
            self._unsent.put_nowait(data)

    async def close(self) -> None:
        self._path.end()
        dtls, former, newest = self._dtls, self._path.ice, self._ice
        self._dtls = None
        if dtls is not None:
            await dtls.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for ice in {former, newest} - {None}:
            assert ice is not None
            await ice.close()

    async def _connected(self, ice: IceAgent, browser: Browser, controlling: bool, client: bool) -> None:
        ice.ice_controlling = controlling
        try:
            async with asyncio.timeout(CONNECT_S):
                await ice.meet(browser)
        except (ConnectionError, TimeoutError):
            if ice is self._ice:
                self._failed("ICE found no way to the browser")
            return
        former, self._path.ice = self._path.ice, ice
        if former is not None:
            await former.close()
        by = browser.fingerprints, client
        if self._dtls is None or by != self._by or self._dtls.state in ("closed", "failed"):
            await self._secure(ice, *by)

    async def _secure(self, ice: IceAgent, fingerprints: Sequence[str], client: bool) -> None:
        """Make a new DTLS association (RFC 5764)."""
        if self._dtls is not None:
            self._path.end()
            await self._dtls.stop()
        if self._path.role != ("controlled" if client else "controlling") or self._dtls is not None:
            self._path = _Path(client)
            self._path.ice = ice
            ice.sink = self._path.put
        self._by = tuple(fingerprints), client
        self._dtls = _Dtls(self._path, self._certificate, self._received)
        known = [RTCDtlsFingerprint(*one.split(" ", 1)) for one in fingerprints if " " in one]
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._dtls.start(RTCDtlsParameters(known))
        except TimeoutError:
            pass
        if self._dtls.state in ("failed", "connecting"):
            self._failed(f"DTLS with the browser has {self._dtls.state}")

    async def _send_on(self) -> None:
        while True:
            data = await self._unsent.get()
            if self._dtls is not None and self._dtls.state == "connected":
                with contextlib.suppress(ConnectionError, SrtpError):  # it has just ended, or the packet is no RTP
                    await self._dtls.send(data)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _host_port(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if text else None
