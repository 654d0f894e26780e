"""When messages passed, by the kernel's own stamps of their packets: what a target adds to a call, in microseconds.

SIPp's clock has the kernel's tick, 4 ms with most of Debian's kernels: too coarse to see two milliseconds, or
whose they are. Here each packet at the address of a run is noted by dumpcap (Debian: wireshark-common), which needs
root, and the time that a message spends at the callee, his 50 ms of ringing among it, is taken away call by call.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from examples.demo_processes import Failed

_CALL: Final = re.compile(rb"^Call-ID:[ \t]*([^\r]+)", re.MULTILINE | re.IGNORECASE)
_METHOD: Final = re.compile(rb"^CSeq:[ \t]*\d+[ \t]+(\w+)", re.MULTILINE | re.IGNORECASE)
_NUMBER: Final = re.compile(rb'^From:[ \t]*"?A\. Caller (\d+)', re.MULTILINE | re.IGNORECASE)
_HEAD: Final = struct.Struct("<IIII")
_LINK: Final = 14  # Ethernet, as loopback has it
_PATIENCE_S: Final = 5.0


class Added(NamedTuple):
    """What the target added to each call, in milliseconds, sorted."""

    setup: tuple[float, ...]
    """From the INVITE to its 200."""
    bye: tuple[float, ...]
    """From the BYE to its 200."""


class Packet(NamedTuple):
    """A UDP datagram."""

    at: float
    """Seconds since 1970."""
    source: int
    target: int
    data: bytes


def can_be_had() -> bool:
    """Whether packets can be noted here."""
    return os.geteuid() == 0 and shutil.which("dumpcap") is not None


class Capture:
    """Notes what passes by UDP at ``host`` until :meth:`end`."""

    def __init__(self, host: str, path: Path, longest: int) -> None:
        """Returns when it notes; it ends by itself after ``longest`` seconds, whatever becomes of us. Raises
        `Failed`."""
        self._path = path
        command = ["dumpcap", "-q", "-P", "-i", "lo", "-f", f"udp and host {host}", "-B", "64", "-w", str(path)]
        command += ["-a", f"duration:{longest}"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _PATIENCE_S
        # it writes the head of the file once its socket is open
        while not path.exists() or path.stat().st_size < 24:
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                raise Failed("dumpcap does not note packets of the loopback interface here")
            time.sleep(0.02)

    def end(self) -> Iterator[Packet]:
        """What passed; the file goes."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        data = self._path.read_bytes()
        self._path.unlink()
        return packets(data)


def packets(data: bytes) -> Iterator[Packet]:
    """Of a pcap file of an Ethernet interface: datagrams by IPv4."""
    if len(data) < 24:
        return
    (magic,) = struct.unpack_from("<I", data)
    fraction = 1e-9 if magic == 0xA1B23C4D else 1e-6
    at = 24
    while at + _HEAD.size <= len(data):
        seconds, part, size, _ = _HEAD.unpack_from(data, at)
        frame = data[at + _HEAD.size : at + _HEAD.size + size]
        at += _HEAD.size + size
        udp = _LINK + (frame[_LINK] & 15) * 4 if len(frame) > _LINK else 0
        if udp and len(frame) >= udp + 8:
            source, target = struct.unpack_from("!HH", frame, udp)
            yield Packet(seconds + part * fraction, source, target, frame[udp + 8 :])


def added(noted: Iterator[Packet], caller: int, callee: int) -> Added:
    """What stood between the ports ``caller`` and ``callee`` added to each call that was answered and ended.

    A call is known on its way to the callee by the number that its caller has in the name of From, a message by the
    first of its kind, so what is sent again does not count anew.
    """
    near: dict[bytes, dict[tuple[bytes, bytes], float]] = {}
    far: dict[bytes, dict[tuple[bytes, bytes], float]] = {}
    number_of: dict[bytes, bytes] = {}
    calls: dict[bytes, bytes] = {}
    for packet in noted:
        call, method = _CALL.search(packet.data), _METHOD.search(packet.data)
        side = near if caller in (packet.source, packet.target) else far
        if call is None or method is None or (side is far and callee not in (packet.source, packet.target)):
            continue
        kind = packet.data[8:11] if packet.data.startswith(b"SIP/2.0 ") else b"asks"
        side.setdefault(call[1], {}).setdefault((kind, method[1]), packet.at)
        if kind == b"asks" and method[1] == b"INVITE" and (name := _NUMBER.search(packet.data)) is not None:
            if side is near:
                number_of[call[1]] = name[1]
            else:
                calls[name[1]] = call[1]
    setups, byes = [], []
    for call_id, here in near.items():
        there = far.get(calls.get(number_of.get(call_id, b""), b""), {})
        setup, bye = _added(here, there, b"INVITE"), _added(here, there, b"BYE")
        if setup is not None and bye is not None:
            setups.append(setup)
            byes.append(bye)
    return Added(tuple(sorted(setups)), tuple(sorted(byes)))


def _added(
    here: dict[tuple[bytes, bytes], float], there: dict[tuple[bytes, bytes], float], method: bytes
) -> float | None:
    """Milliseconds that the caller waited for 200, less those that the target waited for the callee's: none, where it
    answered without waiting."""
    asked, answered = here.get((b"asks", method)), here.get((b"200", method))
    passed, heard = there.get((b"asks", method)), there.get((b"200", method))
    if asked is None or answered is None or passed is None or heard is None:
        return None
    return (answered - asked - (heard - passed if heard <= answered else 0.0)) * 1e3
