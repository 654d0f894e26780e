"""The WebRTC gateway as a real process: aiortc as the browser, a socket as the phone, a tone from either side."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiortc import RTCRtpSender, RTCSessionDescription

from gateway_agent.media.ports import Notice
from gateway_agent.media.process import RelayProcess
from gateway_agent.webrtc.anchor import WebrtcAnchor
from gateway_agent.webrtc.legs import GatewaySettings, WebrtcLegs
from gateway_agent.webrtc.process import PortRange
from sip.io.loop import loop_class
from sip.offer_answer import OfferAnswer
from tests.interop.browser import Browser, stay_at
from tests.rtp_phone import Phone

HOST = "127.0.57.1"
PAGE = "127.0.57.2"
DESK = "127.0.57.3"
SETTINGS = GatewaySettings((HOST,), low=24000, high=25999, ahead=2, sessions=3)
ANSWER = (
    "v=0\r\no=- 7 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
)


async def until(holds: Callable[[], bool], what: Callable[[], object] = lambda: "it took too long") -> None:
    try:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what()) from None


class Call:
    """A browser that calls a phone: what its agent does with their descriptions, and the two ends."""

    def __init__(
        self,
        legs: WebrtcLegs,
        flush: Callable[[], None],
        seen: Callable[[str], str] = lambda description: description,
    ) -> None:
        """``seen``: what comes of a description on its way to the other one."""
        self.legs = legs
        self.seen = seen
        self.flush = flush
        self.anchor = WebrtcAnchor(legs, False, False)
        self.device, self.server = OfferAnswer(), OfferAnswer()
        self.page = Browser("alice", "", PAGE, 440.0)
        self.phone = Phone(1000.0)

    async def begins(self, only: str = "") -> None:
        """``only``: the one codec that the browser knows."""
        page = self.page.media = self.page._peer()
        if only:
            known = RTCRtpSender.getCapabilities("audio").codecs
            wanted = [codec for codec in known if codec.mimeType == f"audio/{only}"]
            page.getTransceivers()[0].setCodecPreferences(wanted)
        await page.setLocalDescription(await page.createOffer())
        await self.answered(await self.phone.listen(DESK))

    async def answered(self, port: int) -> None:
        """The browser's offer, which stands in its local description, gets the phone's answer."""
        page = self.page.media
        assert page is not None
        # aiortc knows no telephone-event, which browsers do; the wires of the test carry it all the same
        events = "a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"
        offer = re.sub(r"(m=audio [^\r]*)", r"\1 110 126", page.localDescription.sdp) + events
        said = self.seen(offer).encode()
        self.anchor.decide(said)
        assert self.anchor.active
        plain = self.anchor.from_server(said, "", self.device, self.server, True)
        self.server.receive(said)
        self.device.send(plain)
        answer = ANSWER.format(host=DESK, port=port).encode()
        secure = self.anchor.from_device(answer, DESK, self.device, self.server, False)
        self.device.receive(answer)
        self.server.send(secure)
        self.device.accept()
        self.server.accept()
        self.flush()
        media = next(line for line in plain.decode().splitlines() if line.startswith("m=audio"))
        self.phone.to = HOST, int(media.split()[1])
        await page.setRemoteDescription(RTCSessionDescription(self.seen(secure.decode()), "answer"))

    async def hear_each_other(self) -> None:
        """A second more of the other's tone, and nothing else."""
        ends = [(self.page, 1000.0), (self.phone, 440.0)]
        before = [end.heard.get(tone, 0) for end, tone in ends]

        def heard() -> bool:
            return all(end.heard.get(tone, 0) >= was + 5 for (end, tone), was in zip(ends, before, strict=True))

        await until(heard, lambda: f"page {self.page.heard}, phone {self.phone.heard}")
        assert not set(self.page.heard) - {1000.0} and not set(self.phone.heard) - {440.0}

    async def closes(self) -> None:
        await self.page.closes()
        self.phone.close()


@asynccontextmanager
async def gateway(
    path: Path, start: int = 1, legs: WebrtcLegs | None = None, settings: GatewaySettings = SETTINGS
) -> AsyncIterator[RelayProcess]:
    legs = legs or WebrtcLegs()
    notices: list[Notice] = []
    process = RelayProcess(
        *(settings, legs, notices.append, path, start, 30.0),
        module="gateway_agent.webrtc.process",
        name="the WebRTC gateway",
        within_s=60.0,
    )
    await process.start()
    process.legs = legs  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        await process.close(for_good=True)
        if process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stay_at([PAGE], monkeypatch)


@pytest.mark.parametrize("only", ["PCMA", "opus"])
@pytest.mark.usefixtures("stays")
def test_a_browser_and_a_phone_hear_each_other(tmp_path: Path, only: str) -> None:
    """By G.711 as it is, and by Opus that is decoded and encoded again."""

    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            call = Call(legs, process.flush)
            await call.begins(only)
            session, leg = call.anchor._session, call.anchor._leg
            assert leg is not None
            for candidate in leg.candidates:
                _, _, _, _, host, port, *_ = candidate.split()
                assert host == HOST and SETTINGS.low <= int(port) <= SETTINGS.high
            assert session is not None and session.transcodes == (only == "opus")
            await call.hear_each_other()
            await call.closes()
            call.anchor.release()
            process.flush()
            assert legs.in_use == 0
            await until(lambda: legs.in_stock(HOST) == SETTINGS.ahead)

    asyncio.run(story())


def trickled(description: str) -> str:
    """The browser's without its candidates, as it is before any was gathered (RFC 8829 section 5.2.1)."""
    if f"IP4 {HOST}" in description:
        return description
    bare = re.sub(r"a=candidate:[^\n]*\n|a=end-of-candidates[^\n]*\n", "", description)
    return re.sub(r"c=IN IP4 [^\r]*", "c=IN IP4 0.0.0.0", re.sub(r"m=audio \d+", "m=audio 9", bare))


@pytest.mark.usefixtures("stays")
def test_a_browser_that_names_no_candidate_is_found_by_its_checks(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            call = Call(legs, process.flush, trickled)
            await call.begins()
            session = call.anchor._session
            assert session is not None and not session.browser.candidates
            await call.hear_each_other()
            await call.closes()

    asyncio.run(story())


@pytest.mark.usefixtures("stays")
def test_a_session_outlives_its_agent_and_goes_on_with_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as first:
            call = Call(first.legs, first.flush)  # type: ignore[attr-defined]
            await call.begins()
            await call.hear_each_other()
            known = call.anchor.export()
            assert known is not None
            await first.close()
            await call.hear_each_other()
            async with gateway(tmp_path / "webrtc.sock", 2) as second:
                assert second.pid == first.pid
                legs: WebrtcLegs = second.legs  # type: ignore[attr-defined]
                after = WebrtcAnchor(legs, False, False)
                after.resume(known)
                legs.audit()
                second.flush()
                await call.hear_each_other()
                after.release()
                second.flush()
                heard = dict(call.phone.heard)
                await until(lambda: legs.in_stock(HOST) == SETTINGS.ahead)
                await asyncio.sleep(0.5)
                assert call.phone.heard.get(440.0, 0) <= heard[440.0] + 2, "a session that was released goes on"
                await call.closes()

    asyncio.run(story())


@pytest.mark.usefixtures("stays")
def test_when_it_dies_the_plain_side_has_its_port_again_and_the_page_restarts_ice(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            call = Call(legs, process.flush)
            await call.begins()
            await call.hear_each_other()
            assert process.pid is not None
            former = process.pid
            os.kill(former, signal.SIGKILL)
            await until(lambda: process.pid != former and bool(legs.in_stock(HOST)))
            assert call.anchor._leg is not None
            await until(lambda: not legs.is_present(call.anchor._leg.id))  # type: ignore[union-attr]
            await call.page.closes()
            call.page = Browser("alice", "", PAGE, 440.0)
            page = call.page.media = call.page._peer()
            await page.setLocalDescription(await page.createOffer())
            await call.answered(call.phone.transport.get_extra_info("sockname")[1])
            await call.hear_each_other()
            await call.closes()

    asyncio.run(story())


@pytest.mark.parametrize("only", ["PCMA", "opus"])
@pytest.mark.usefixtures("stays")
def test_keys_pass_both_ways(tmp_path: Path, only: str) -> None:
    """RFC 4733, with another clock on the browser's side where it speaks Opus."""

    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as process:
            call = Call(process.legs, process.flush)  # type: ignore[attr-defined]
            await call.begins(only)
            await call.hear_each_other()
            assert call.page.media is not None
            payload_type, ratio = (110, 6) if only == "opus" else (126, 1)
            transport, heard = call.page.media.getSenders()[0].transport, list[bytes]()
            taken = transport._handle_rtp_data

            async def take(data: bytes, arrival_time_ms: int) -> None:
                if data[1] & 0x7F == payload_type:
                    heard.append(data[12:])
                await taken(data, arrival_time_ms=arrival_time_ms)

            transport._handle_rtp_data = take
            for number, (end, duration) in enumerate(((10, 160), (0x8A, 800), (0x8A, 800))):
                head = struct.pack("!BBHII", 0x80, payload_type, 40_000 + number, 77, 0x4321)
                await transport._send_rtp(head + struct.pack("!BBH", 5, end, duration * ratio))
            call.phone.presses(7)
            await until(lambda: len(call.phone.events) == 3 and len(heard) == 4, lambda: (call.phone.events, heard))
            assert call.phone.events[-1] == struct.pack("!BBH", 5, 0x8A, 800)
            assert heard[-1] == struct.pack("!BBH", 7, 0x8A, 800 * ratio)
            await call.closes()

    asyncio.run(story())


def test_one_of_a_unit_of_its_own_is_found_and_ends_by_the_units_signal(tmp_path: Path) -> None:
    socket_path = tmp_path / "webrtc.sock"
    command = [sys.executable, "-m", "gateway_agent.webrtc.process", str(socket_path), "stay"]

    async def story() -> None:
        process = await asyncio.create_subprocess_exec(*command)
        try:
            await until(socket_path.exists)
            async with gateway(socket_path) as found:
                assert found.pid == process.pid
                await found.close()
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGTERM
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    asyncio.run(story())


@pytest.mark.parametrize("base", dict.fromkeys((asyncio.SelectorEventLoop, loop_class())))
def test_a_port_that_is_taken_is_passed_over(base: type[asyncio.AbstractEventLoop]) -> None:
    low, high = 26000, 26003
    free = 26002

    async def story() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PortRange)
        loop.low, loop.high = low, high
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(HOST, 0))
        found: int = transport.get_extra_info("sockname")[1]
        with pytest.raises(OSError, match="all ports from 26000 to 26003 are in use"):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(HOST, 0))
        transport.close()
        return found

    with ExitStack() as taken:
        for port in {*range(low, high + 1)} - {free}:
            taken.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((HOST, port))
        with asyncio.Runner(loop_factory=type("RangedLoop", (PortRange, base), {})) as runner:
            assert runner.run(story()) == free


def test_its_sessions_are_limited(tmp_path: Path) -> None:
    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock") as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            taken = []
            while len(taken) < SETTINGS.sessions:
                await until(lambda: bool(legs.in_stock(HOST)))
                taken.append(legs.take(False))
                process.flush()
            while legs.in_stock(HOST):
                assert legs.take(False)
                process.flush()
            await until(lambda: "limit of 3 sessions" in legs.shortage(), legs.shortage)

    asyncio.run(story())
