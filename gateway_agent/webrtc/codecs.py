"""Transcoding of audio by aiortc's codecs, when the two sides of a session have no codec in common."""

from __future__ import annotations

import struct
from typing import Final, cast

from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_decoder, get_encoder
from aiortc.codecs.opus import OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame
from av.error import FFmpegError

from gateway_agent.webrtc.legs import Stream

OPUS_BIT_RATE: Final = 32_000
"""Bits a second; enough for the bandwidth of telephone audio."""
_CHANNELS: Final = {"opus": 2}


def _codec(stream: Stream) -> RTCRtpCodecParameters:
    name = stream.codec
    channels = _CHANNELS.get(name.lower(), 1)
    return RTCRtpCodecParameters(
        mimeType=f"audio/{name}", clockRate=stream.rate, channels=channels, payloadType=stream.payload
    )


class Transcoder:
    """Transcodes one direction of a session. Sent packets have their own sequence numbers; their timestamps follow
    those received."""

    def __init__(self, source: Stream, target: Stream, ssrc: int) -> None:
        self._source = source
        self._target = target
        self._ssrc = ssrc
        self._decoder = get_decoder(_codec(source))
        self._encoder = get_encoder(_codec(target))
        if target.codec.lower() == "opus":
            assert isinstance(self._encoder, OpusEncoder)
            self._encoder.codec.bit_rate = OPUS_BIT_RATE
        self._number = 0
        self._from: int | None = None
        """SSRC of the last received packet."""
        self._newest: int | None = None
        """The highest sequence number received."""
        self._expected: int | None = None
        """Timestamp of the next packet if none is lost."""
        self._whole = 0
        """The last received timestamp, extended beyond 32 bits."""
        self._decoded = 0
        """Ticks decoded so far: the codecs get audio without gaps; lost packets are gaps in our timestamps only."""
        self._stamp = 0

    def take(self, packet: bytes) -> list[bytes]:
        """The RTP packets to send for a received one."""
        parts = _taken_apart(packet)
        if parts is None:
            return []
        marker, payload_type, number, stamp, source, payload = parts
        if source != self._from:  # a new stream, whose numbers are unrelated
            self._from, self._newest, self._expected = source, None, None
        if self._newest is not None and not 0 < (number - self._newest) & 0xFFFF < 0x8000:
            return []  # late, or a duplicate
        self._newest = number
        if payload_type == self._source.events and self._target.events >= 0:
            return self._event(marker, stamp, payload)
        return self._audio(stamp, payload) if payload_type == self._source.payload and payload else []

    def _audio(self, stamp: int, payload: bytes) -> list[bytes]:
        begins = self._expected is None or stamp != self._expected
        try:
            frames = cast(list[AudioFrame], self._decoder.decode(JitterFrame(payload, self._decoded)))
            out: list[bytes] = []
            for frame in frames:
                out += self._encoder.encode(frame)[0]
        except (FFmpegError, ValueError):  # invalid: treated as lost
            return []
        # the clock of G.722 is half the rate of its samples (RFC 3551 section 4.5.2)
        ticks = sum(frame.samples * self._source.rate // frame.sample_rate for frame in frames)
        self._expected = (stamp + ticks) & 0xFFFFFFFF
        self._decoded += ticks
        if begins:
            self._stamp = self._scaled(stamp)
        packets = []
        for index, one in enumerate(out):
            packets.append(self._packet(begins and index == 0, self._target.payload, self._stamp, one))
            self._stamp = (self._stamp + self._target.rate // 50) & 0xFFFFFFFF
        return packets

    def _event(self, marker: bool, stamp: int, payload: bytes) -> list[bytes]:
        """RFC 4733 section 2.3: the event, its volume, and its duration in ticks of the clock."""
        if len(payload) < 4:
            return []
        what, duration = payload[:2], int.from_bytes(payload[2:4], "big")
        scaled = min(duration * self._target.events_rate // self._source.events_rate, 0xFFFF)
        whole = what + scaled.to_bytes(2, "big")
        self._expected = None
        return [self._packet(marker, self._target.events, self._scaled(stamp), whole)]

    def _scaled(self, stamp: int) -> int:
        self._whole += ((stamp - self._whole + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        return (self._whole * self._target.rate // self._source.rate) & 0xFFFFFFFF

    def _packet(self, marker: bool, payload_type: int, stamp: int, payload: bytes) -> bytes:
        self._number = (self._number + 1) & 0xFFFF
        second = payload_type | (0x80 if marker else 0)
        return struct.pack("!BBHII", 0x80, second, self._number, stamp, self._ssrc) + payload


def _taken_apart(packet: bytes) -> tuple[bool, int, int, int, int, bytes] | None:
    """Marker, payload type, sequence number, timestamp, SSRC and payload (RFC 3550 section 5.1); None if the packet
    is no RTP."""
    if len(packet) < 12 or packet[0] >> 6 != 2:
        return None
    first, second, number, stamp, source = struct.unpack_from("!BBHII", packet)
    start, end = 12 + 4 * (first & 0x0F), len(packet)
    if first & 0x10:
        if len(packet) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    if first & 0x20:
        end -= packet[-1]
    if start > end:
        return None
    return bool(second & 0x80), second & 0x7F, number, stamp, source, packet[start:end]
