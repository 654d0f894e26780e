"""python -m tests.bench.webrtc

What a call between a browser and a phone costs the WebRTC gateway: CPU of its process, by /proc, while calls talk
both ways, with one codec passed on and with Opus transcoded to G.711. The browsers and phones are of this program, on
loopback; a run in which packets are missing at the far ends says so, and its figure is void.

    python -m tests.bench.webrtc                    a table
    python -m tests.bench.webrtc --calls 20 --seconds 10 --format json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any, Final

import av

from gateway_agent.media.ports import Remote
from gateway_agent.media.process import RelayProcess
from gateway_agent.webrtc.codecs import Transcoder
from gateway_agent.webrtc.endpoint import BrowserEnd, IceAgent, certificate, fingerprint_of
from gateway_agent.webrtc.legs import Browser, GatewaySettings, Leg, Session, Stream, WebrtcLegs

GATEWAY: Final = "127.0.58.1"
BROWSERS: Final = "127.0.58.2"
PHONES: Final = "127.0.58.3"
FRAME_S: Final = 0.02
PCMA: Final = Stream("PCMA", 8000, 8)
OPUS: Final = Stream("opus", 48000, 111)
ENOUGH: Final = 0.98
"""Share of the packets that must arrive, after ICE and DTLS are over."""


def frames(stream: Stream, count: int = 50) -> list[bytes]:
    """Payloads of noise: what a coder finds hard."""
    coder = av.CodecContext.create("pcm_alaw", "w")
    coder.format, coder.layout, coder.sample_rate = "s16", "mono", 8000
    plain = []
    for number in range(count + 2):
        frame = av.AudioFrame(format="s16", layout="mono", samples=160)
        frame.planes[0].update(os.urandom(320))
        frame.sample_rate, frame.pts = 8000, number * 160
        plain += [bytes(packet) for packet in coder.encode(frame)]
    if stream is PCMA:
        return plain[:count]
    opus = Transcoder(PCMA, OPUS, 1)
    packets = [struct.pack("!BBHII", 0x80, 8, n, n * 160, 1) + payload for n, payload in enumerate(plain)]
    return [out[12:] for packet in packets for out in opus.take(packet)][:count]


class Call:
    """One browser and one phone."""

    def __init__(self, legs: WebrtcLegs, key: Any, there: Stream) -> None:
        self.legs = legs
        self.there = there
        self.heard = [0, 0]
        """Packets at the browser, and at the phone."""
        self._key = key
        self._end = BrowserEnd(key, self._at_browser, print)
        self._phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._phone.bind((PHONES, 0))
        self._phone.setblocking(False)
        self._leg: Leg | None = None

    async def begin(self) -> None:
        settings = GatewaySettings((BROWSERS,), 1024, 65535)
        ice = IceAgent(settings)
        await ice.gather_candidates()
        while (leg := self.legs.take(False)) is None:
            await asyncio.sleep(0.05)
        self._leg = leg
        port = self._phone.getsockname()[1]
        mine = Browser(
            ice.local_username,
            ice.local_password,
            (fingerprint_of(self._key),),
            tuple(one.to_sdp() for one in ice.local_candidates),
        )
        phone = Remote(PHONES, port, port + 1, eager=True, types=(8,))
        self.legs.set(Session(leg.id, leg.address, leg.port, leg.id, False, True, mine, phone, self.there, PCMA))
        theirs = Browser(leg.ufrag, leg.pwd, (leg.fingerprint,), leg.candidates)
        self._end.connect(ice, theirs, True, False)
        asyncio.get_running_loop().add_reader(self._phone.fileno(), self._at_phone)

    @property
    def connected(self) -> bool:
        return self._end.connected

    def speak(self, number: int, from_browser: bytes, from_phone: bytes) -> None:
        assert self._leg is not None
        head = struct.pack("!BBHII", 0x80, self.there.payload, number & 0xFFFF, number * self.there.rate // 50, 7)
        self._end.send(head + from_browser)
        head = struct.pack("!BBHII", 0x80, PCMA.payload, number & 0xFFFF, number * 160, 8)
        self._phone.sendto(head + from_phone, (self._leg.address, self._leg.port))

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._phone.fileno())
        self._phone.close()
        await self._end.close()
        if self._leg is not None:
            self.legs.release(self._leg.id)

    def _at_browser(self, packet: bytes, is_rtcp: bool) -> None:
        self.heard[0] += 1

    def _at_phone(self) -> None:
        while True:
            try:
                self._phone.recv(2000)
            except BlockingIOError:
                return
            self.heard[1] += 1


def cpu_s(pid: int) -> float:
    """CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(there: Stream, calls: int, seconds: float) -> dict[str, Any]:
    """CPU of the gateway with so many calls."""
    settings = GatewaySettings((GATEWAY,), 20_000, 39_999, ahead=min(calls, 32), sessions=calls)
    legs = WebrtcLegs()
    with tempfile.TemporaryDirectory() as directory:
        process = RelayProcess(
            *(settings, legs, lambda notice: None, Path(directory) / "webrtc.sock", 1, 5.0),
            module="gateway_agent.webrtc.process",
            name="the WebRTC gateway",
            within_s=60.0,
        )
        await process.start()
        assert process.pid is not None
        key = certificate()
        several = [Call(legs, key, there) for _ in range(calls)]
        try:
            for one in several:
                await one.begin()
                process.flush()
            async with asyncio.timeout(60):
                while not all(one.connected for one in several):
                    await asyncio.sleep(0.1)
            await talk(several, 0, 1.0)
            before, heard = cpu_s(process.pid), [list(one.heard) for one in several]
            sent = await talk(several, 1000, seconds)
            await asyncio.sleep(0.1)
            used = cpu_s(process.pid) - before
            came = [now - was for one, former in zip(several, heard, strict=True)
                    for now, was in zip(one.heard, former, strict=True)]  # fmt: skip
        finally:
            for one in several:
                await one.close()
            os.kill(process.pid, signal.SIGKILL)
            await process.close()
    share = used / (sent * FRAME_S) / calls
    arrived = sum(came) / (2 * calls * sent)
    return {
        "browser": there.codec,
        "calls": calls,
        "arrived": round(arrived, 4),
        "cpu_percent_a_call": round(100 * share, 2),
        "calls_a_core": round(1 / share) if share and arrived >= ENOUGH else None,
    }


async def talk(calls: list[Call], begin: int, seconds: float) -> int:
    """Frames both ways, in their pace; how many each way."""
    ours, plain = frames(calls[0].there), frames(PCMA)
    loop = asyncio.get_running_loop()
    began, count = loop.time(), round(seconds / FRAME_S)
    for number in range(count):
        await asyncio.sleep(began + number * FRAME_S - loop.time())
        for one in calls:
            one.speak(begin + number, ours[number % len(ours)], plain[number % len(plain)])
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    found = [asyncio.run(measure(there, arguments.calls, arguments.seconds)) for there in (PCMA, OPUS)]
    if arguments.format == "json":
        print(json.dumps(found))
        return
    for one in found:
        way = "passed on" if one["browser"] == "PCMA" else "transcoded"
        cost = f"{one['cpu_percent_a_call']} % of a core a call, {one['calls_a_core'] or 'no count of'} calls a core"
        print(f"{one['browser']} {way}: {one['calls']} calls, {one['arrived']:.1%} arrived, {cost}")


if __name__ == "__main__":
    main()
