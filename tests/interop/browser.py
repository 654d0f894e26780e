"""A page with a telephone: SIP over a WebSocket, media by aiortc, a tone instead of a voice. Its traffic stays on one
loopback address."""

from __future__ import annotations

import array
import asyncio
import fractions
import math
import time
from collections.abc import Sequence

import aioice.ice
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from sip.wire.message import Message, Request, Response, parse
from tests.rtp_phone import loudness
from tests.tokens import token

PAGE = "https://phone.example"
RATE = 48_000
SAMPLES = RATE // 50


class Tone(MediaStreamTrack):
    """A sine of one frequency, in the pace of speech."""

    kind = "audio"

    def __init__(self, hertz: float) -> None:
        super().__init__()
        self._hertz = hertz
        self._sent = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(self._began + self._sent / RATE - time.monotonic())
        turn = 2 * math.pi * self._hertz / RATE
        wave = (int(8000 * math.sin(turn * n)) for n in range(self._sent, self._sent + SAMPLES))
        frame = AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(array.array("h", wave).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, fractions.Fraction(1, RATE)
        self._sent += SAMPLES
        return frame


class Browser:
    """One tab: its user, the agent's WebSocket, and one call at a time."""

    def __init__(self, user: str, agent: str, host: str, hertz: float) -> None:
        self.user = user
        self.hertz = hertz
        self.heard: dict[float, int] = {}
        """Pieces of a fifth of a second in which a frequency was the louder one of those that are listened for."""
        self._agent = agent
        self._host = host
        self._ports = 0
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._listeners: set[asyncio.Task[None]] = set()
        self._cseq = 0
        self.servers: list[RTCIceServer] = []
        """STUN and TURN servers that it knows."""
        self.media: RTCPeerConnection | None = None
        self.dialog: tuple[str, str, str, str] | None = None
        """Remote target, own From or To, theirs, Call-ID."""

    async def connects(self) -> None:
        if self._socket is not None:
            assert self._reader is not None
            self._reader.cancel()
            await self._socket.close()
        self._socket = await connect(
            f"ws://{self._agent}",
            origin=Origin(PAGE),
            subprotocols=[Subprotocol("sip")],
            proxy=None,
            local_addr=(self._host, 0),
        )
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            assert isinstance(data, str)
            await self._inbox.put(parse(data.encode()))

    async def registers(self) -> None:
        """By a token, unasked."""
        aor = f"<sip:{self.user}@interop.test>"
        claims = {"user": self.user, "exp": time.time() + 600}
        lines = [
            f"From: {aor};tag={self.user}", f"To: {aor}", f"Call-ID: r-{self.user}", "Expires: 300",
            f"Authorization: Bearer {token(claims)}", self._contact(),
        ]  # fmt: skip
        await self.says("REGISTER", "sip:interop.test", lines)
        await self.hears(200)

    def _contact(self) -> str:
        return (
            f'Contact: <sip:{self.user}@{self.user}.invalid;transport=ws>;reg-id=1;+sip.instance="<urn:{self.user}>"'
        )

    async def says(self, method: str, uri: str, lines: Sequence[str], body: str = "", cseq: int = 0) -> None:
        if not cseq:
            self._cseq += 1
        number = cseq or self._cseq
        via = f"Via: SIP/2.0/WS {self.user}.invalid;branch=z9hG4bK{self.user}{method}{number}"
        await self._send(
            [f"{method} {uri} SIP/2.0", via, f"CSeq: {number} {method}", "Max-Forwards: 70", *lines], body
        )

    async def _send(self, lines: Sequence[str], body: str) -> None:
        more = ["Content-Type: application/sdp"] if body else []
        assert self._socket is not None
        await self._socket.send("\r\n".join([*lines, *more, f"Content-Length: {len(body.encode())}", "", ""]) + body)

    async def answers(self, request: Request, status: str, body: str = "") -> None:
        tag = "" if request.to_tag else f";tag={self.user}"
        lines = [f"SIP/2.0 {status}", *(f"Via: {via}" for via in request.all("via"))]
        lines += [f"Record-Route: {one}" for one in request.all("record-route")]
        lines += [f"From: {request.get('from')}", f"To: {request.get('to')}{tag}", f"Call-ID: {request.call_id}"]
        await self._send([*lines, f"CSeq: {request.get('cseq')}", self._contact()], body)

    async def hears(self, wanted: str | int, seconds: float = 15.0) -> Message:
        """The next message, provisional responses apart, which must be this one."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self._inbox.get()
                if isinstance(found, Response) and found.status < 200:
                    continue
                got: str | int = found.status if isinstance(found, Response) else found.method  # type: ignore[attr-defined]
                assert got == wanted, f"{self.user} got {got} where {wanted} was due:\n{found.to_bytes().decode()}"
                return found

    def _peer(self) -> RTCPeerConnection:
        media = self.media = RTCPeerConnection(RTCConfiguration(iceServers=self.servers))
        media.addTrack(Tone(self.hertz))

        @media.on("track")
        def track(source: MediaStreamTrack) -> None:
            task = asyncio.create_task(self._listen(source))
            self._listeners.add(task)

        return media

    async def _listen(self, source: MediaStreamTrack) -> None:
        """Say which of the tones is heard, each fifth of a second."""
        tones, samples = (440.0, 1000.0), array.array("h")
        while True:
            try:
                frame = await source.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            samples.frombytes(bytes(frame.planes[0])[: 2 * frame.samples * len(frame.layout.channels)])
            if len(samples) >= frame.sample_rate // 5 * len(frame.layout.channels):
                one = samples[:: len(frame.layout.channels)]
                levels = {tone: loudness(one, tone, frame.sample_rate) for tone in tones}
                loudest = max(levels, key=lambda tone: levels[tone])
                if levels[loudest] > 2000 and levels[loudest] > 10 * min(levels.values()):
                    self.heard[loudest] = self.heard.get(loudest, 0) + 1
                del samples[:]

    async def calls(self, number: str) -> None:
        """A call, answered and acknowledged."""
        media = self._peer()
        await media.setLocalDescription(await media.createOffer())
        uri = f"sip:{number}@interop.test"
        own, call_id = f"<sip:{self.user}@interop.test>;tag={self.user}", f"c-{self.user}"
        claims = {"user": self.user, "exp": time.time() + 600}
        lines = [f"From: {own}", f"To: <{uri}>", f"Call-ID: {call_id}", self._contact()]
        bearer = f"Authorization: Bearer {token(claims)}"
        await self.says("INVITE", uri, [*lines, bearer], media.localDescription.sdp)
        cseq, ok = self._cseq, await self.hears(200, 30)
        target = (ok.get("contact") or "").partition("<")[2].partition(">")[0]
        self.dialog = target, own, ok.get("to") or "", call_id
        await self.says("ACK", target, self._in_dialog(), cseq=cseq)
        await media.setRemoteDescription(RTCSessionDescription(ok.body.decode(), "answer"))

    async def picks_up(self) -> None:
        """Answer the call that comes."""
        invite = await self.hears("INVITE", 30)
        assert isinstance(invite, Request)
        media = self._peer()
        await media.setRemoteDescription(RTCSessionDescription(invite.body.decode(), "offer"))
        await media.setLocalDescription(await media.createAnswer())
        await self.answers(invite, "180 Ringing")
        await self.answers(invite, "200 OK", media.localDescription.sdp)
        await self.hears("ACK")
        target = (invite.get("contact") or "").partition("<")[2].partition(">")[0]
        self.dialog = target, f"{invite.get('to')};tag={self.user}", invite.get("from") or "", invite.call_id

    async def restarts(self) -> None:
        """A re-INVITE with a new ICE agent; aiortc knows no restart, so it comes with a new DTLS association."""
        assert self.media is not None
        await self.media.close()
        await self._asks(self._peer())

    async def changes(self, direction: str) -> None:
        """A re-INVITE: ``sendonly`` holds the other side, ``sendrecv`` has it back."""
        assert self.media is not None
        self.media.getTransceivers()[0].direction = direction
        await self._asks(self.media)

    async def _asks(self, media: RTCPeerConnection) -> None:
        assert self.dialog is not None
        await media.setLocalDescription(await media.createOffer())
        await self.says("INVITE", self.dialog[0], [*self._in_dialog(), self._contact()], media.localDescription.sdp)
        cseq, ok = self._cseq, await self.hears(200, 30)
        await self.says("ACK", self.dialog[0], self._in_dialog(), cseq=cseq)
        await media.setRemoteDescription(RTCSessionDescription(ok.body.decode(), "answer"))

    def _in_dialog(self) -> list[str]:
        assert self.dialog is not None
        _, own, theirs, call_id = self.dialog
        return [f"From: {own}", f"To: {theirs}", f"Call-ID: {call_id}"]

    async def hangs_up(self) -> None:
        assert self.dialog is not None
        await self.says("BYE", self.dialog[0], self._in_dialog())
        await self.hears(200)

    async def closes(self) -> None:
        if self.media is not None:
            await self.media.close()
        for task in self._listeners:
            task.cancel()  # aiortc does not always end a track whose connection was closed
        await asyncio.gather(*self._listeners, return_exceptions=True)
        if self._socket is not None and self._reader is not None:
            self._reader.cancel()
            await self._socket.close()


def stay_at(hosts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """ICE gathers on these addresses alone, one after the other, instead of on all of the machine."""
    turns = iter(hosts * 8)
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [next(turns)])
