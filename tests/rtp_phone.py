"""A phone on loopback that is a socket with G.711: it plays a tone and says which it hears."""

from __future__ import annotations

import array
import asyncio
import math
import socket
import struct
from typing import Final

import av

RATE: Final = 8000
SAMPLES: Final = 160
LEVEL: Final = 8000


def loudness(samples: array.array[int], hertz: float, rate: int) -> float:
    """The amplitude of one frequency (Goertzel)."""
    turn = 2 * math.pi * hertz / rate
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + 2 * math.cos(turn) * last - before
    power = before * before + last * last - 2 * math.cos(turn) * before * last
    return 2 * math.sqrt(max(power, 0.0)) / len(samples)


def loudest(samples: array.array[int], rate: int, tones: tuple[float, ...] = (440.0, 1000.0)) -> float | None:
    """Which of the tones is heard alone, ``None`` for neither."""
    levels = sorted(((loudness(samples, tone, rate), tone) for tone in tones), reverse=True)
    return levels[0][1] if levels[0][0] > LEVEL / 4 and levels[0][0] > 10 * levels[1][0] else None


class Phone(asyncio.DatagramProtocol):
    """G.711 A-law by plain RTP; ``heard`` counts fifths of a second by the tone that was heard."""

    def __init__(self, hertz: float, payload: int = 8, events: int = 101) -> None:
        self.heard: dict[float, int] = {}
        self.events: list[bytes] = []
        self.types: set[int] = set()
        self._hertz = hertz
        self._payload = payload
        self._events = events
        self._coder = av.CodecContext.create("pcm_alaw", "w")
        self._coder.format, self._coder.layout, self._coder.sample_rate = "s16", "mono", RATE
        self._decoder = av.CodecContext.create("pcm_alaw", "r")
        self._decoder.format, self._decoder.layout, self._decoder.sample_rate = "s16", "mono", RATE
        self._samples = array.array("h")
        self._sent = 0
        self._number = 0
        self.to: tuple[str, int] | None = None
        """Where it sends."""

    async def listen(self, host: str) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, (host, 0), family=socket.AF_INET)
        port: int = self.transport.get_extra_info("sockname")[1]
        self._speaking = asyncio.create_task(self._speak())
        return port

    def close(self) -> None:
        self._speaking.cancel()
        self.transport.close()

    def presses(self, digit: int) -> None:
        """One key (RFC 4733): a packet for its begin, and three for its end."""
        for end, duration in ((0, 160), (0x80, 800), (0x80, 800), (0x80, 800)):
            self._packet(self._events, struct.pack("!BBH", digit, end | 10, duration), marker=not end)

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        turn = 2 * math.pi * self._hertz / RATE
        while True:
            await asyncio.sleep(began + self._sent / RATE - loop.time())
            wave = array.array(
                "h", (int(LEVEL * math.sin(turn * n)) for n in range(self._sent, self._sent + SAMPLES))
            )
            frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
            frame.planes[0].update(wave.tobytes())
            frame.sample_rate, frame.pts = RATE, self._sent
            if self.to is not None:
                for packet in self._coder.encode(frame):
                    self._packet(self._payload, bytes(packet))
            self._sent += SAMPLES

    def _packet(self, payload_type: int, payload: bytes, marker: bool = False) -> None:
        self._number += 1
        second = payload_type | (0x80 if marker else 0)
        head = struct.pack("!BBHII", 0x80, second, self._number & 0xFFFF, self._sent, 0x1234)
        self.transport.sendto(head + payload, self.to)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.types.add(data[1] & 0x7F)
        if data[1] & 0x7F == self._events:
            self.events.append(data[12:])
        if data[1] & 0x7F != self._payload:
            return
        for frame in self._decoder.decode(av.Packet(data[12:])):
            self._samples.frombytes(bytes(frame.planes[0])[: 2 * frame.samples])
        if len(self._samples) >= RATE // 5:
            tone = loudest(self._samples, RATE)
            if tone is not None:
                self.heard[tone] = self.heard.get(tone, 0) + 1
            del self._samples[:]
