"""One session of the WebRTC gateway: a browser on one side, plain RTP on the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from gateway_agent.media.ports import NOWHERE, Remote
from gateway_agent.media.sockets import BoundPair, Port, canonical, drain, form_of
from gateway_agent.webrtc.codecs import Transcoder
from gateway_agent.webrtc.endpoint import BrowserEnd, Certificate, IceAgent
from gateway_agent.webrtc.legs import Session, Stream

AT_ONCE: Final = 32
"""Datagrams read from one socket before others have their turn."""


class GatewaySession:
    """Forwards the media of one call. ``pair``: the sockets of the plain side, closed with the session. Without
    transcoding sequence numbers, timestamps and SSRC are kept, and RTCP is forwarded; else RTCP is dropped."""

    def __init__(self, pair: BoundPair, certificate: Certificate, failed: Callable[[str], None]) -> None:
        self._pair = pair
        self._browser = BrowserEnd(certificate, self._from_browser, failed)
        self.session: Session | None = None
        self._to_phone: dict[int, int] = {}
        """The phone's payload type for each of the browser's, for packets to the phone."""
        self._to_browser: dict[int, int] = {}
        self._decoded: tuple[Transcoder, Transcoder] | None = None
        """The transcoders towards the browser and towards the phone; None: there is no transcoding."""
        self._buffer = bytearray(2048)
        self._view = memoryview(self._buffer)
        loop = self._loop = asyncio.get_running_loop()
        for port in (pair.rtp, pair.rtcp):
            drain(port)
            loop.add_reader(port.sock.fileno(), self._from_phone, port)

    def set(self, session: Session, ice: IceAgent | None) -> None:
        """Set the state of the session; ``ice`` is None if the process that prepared it has died. Raises `OSError`
        for an address of another family, and `ValueError`."""
        remote, before = session.phone, self.session
        if before is None or remote != before.phone:
            self._point(remote, None if before is None else self._loop.time())
        if before is None or (session.to_browser, session.to_phone) != (before.to_browser, before.to_phone):
            self._translate(session)
        self.session = session
        if ice is not None:
            self._browser.connect(ice, session.browser, session.controlling, session.client)

    def tick(self, rate: int) -> None:
        """A second has passed: accept ``rate`` packets in the next one."""
        for port in (self._pair.rtp, self._pair.rtcp):
            port.allowed = port.packets + rate

    async def close(self) -> None:
        for port in (self._pair.rtp, self._pair.rtcp):
            self._loop.remove_reader(port.sock.fileno())
            port.sock.close()
        await self._browser.close()

    def _point(self, remote: Remote, described_at: float | None) -> None:
        family = self._pair.rtp.sock.family
        address = remote.address if remote.address in NOWHERE else canonical(remote.address, family)
        try:
            via = remote.via and canonical(remote.via, family)
        except OSError:  # its signalling uses the other address family than its media
            via = ""
        self._pair.rtp.point((address, remote.rtp), via, remote.eager, described_at)
        self._pair.rtcp.point((address, remote.rtcp), via, remote.eager, described_at)
        self._pair.rtp.form = form_of(remote.kind, remote.types)

    def _translate(self, session: Session) -> None:
        here, there = session.to_browser, session.to_phone
        if session.transcodes:
            ssrcs = random.SystemRandom()
            self._decoded = (
                Transcoder(there, here, ssrcs.getrandbits(32)),
                Transcoder(here, there, ssrcs.getrandbits(32)),
            )
            return
        self._decoded = None
        self._to_browser, self._to_phone = _payload_types(there, here), _payload_types(here, there)

    def _from_browser(self, packet: bytes, is_rtcp: bool) -> None:
        port = self._pair.rtcp if is_rtcp else self._pair.rtp
        if port.target is None:
            return
        if is_rtcp:
            out = [packet] if self._decoded is None else []
        else:
            out = self._passed(packet, self._to_phone, None if self._decoded is None else self._decoded[1])
        for one in out:
            try:
                port.send(one, port.target)
            except OSError:  # no route, or no buffer space: lost, as the network may lose it
                port.dropped += 1

    def _from_phone(self, port: Port) -> None:
        """Read the packets of one socket."""
        now = self._loop.time()
        for _ in range(AT_ONCE):
            try:
                size, source = port.receive(self._buffer)
            except OSError:  # nothing more to read, or an ICMP error
                return
            packet = self._view[:size]
            if port.packets >= port.allowed or (source != port.source and not port.latch(source, now, packet)):
                port.dropped += 1
                continue
            port.packets += 1
            port.octets += size
            port.last_at = now
            if port is self._pair.rtp:
                for one in self._passed(
                    bytes(packet), self._to_browser, None if self._decoded is None else self._decoded[0]
                ):
                    self._browser.send(one)
            elif self._decoded is None and port.form(packet):
                self._browser.send(bytes(packet))

    def _passed(self, packet: bytes, payload_types: Mapping[int, int], transcoder: Transcoder | None) -> list[bytes]:
        if transcoder is not None:
            return transcoder.take(packet)
        if len(packet) < 12 or packet[0] >> 6 != 2:
            return []
        other = payload_types.get(packet[1] & 0x7F)
        if other is None:
            return []
        return [b"%c%c%b" % (packet[0], packet[1] & 0x80 | other, packet[2:])]


def _payload_types(source: Stream, target: Stream) -> dict[int, int]:
    types = {source.payload: target.payload}
    if source.events >= 0 and target.events >= 0:
        types[source.events] = target.events
    return types
