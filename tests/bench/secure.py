"""python -m tests.bench.secure

What TLS and WebSocket add to a call, at one end of it: CPU of a handshake, and of the messages of a plain call
through the codec of its stream, sockets and SIP left out. Calls by UDP and TCP pass no codec.

    python -m tests.bench.secure                    a table
    python -m tests.bench.secure --format json      one JSON object
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from heartbeat.console import render
from sip.io.codec import Codec, Layered
from sip.io.codecs import StreamCodecs
from sip.io.tls import Credentials, TlsCodec
from tests.certificates import Authority

NAME: Final = "sbc.example.com"
MESSAGES: Final = 4
"""A plain call has seven at one end, three or four of them each way."""
SIZE: Final = 900
"""Bytes of each."""
ROUNDS: Final = 2000
HANDSHAKES: Final = 200


def cpu_us(work: Callable[[], object], times: int) -> float:
    """Microseconds of CPU that it takes; the best of five runs, since other work makes it only slower."""
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - begun)
    return best / times * 1e6


class Peer:
    """The far end of a stream, by TLS or WebSocket or both."""

    def __init__(self, codec: Codec, tls: TlsCodec | None, web: bool) -> None:
        self.codec = codec
        self._tls = tls
        self._web = ClientProtocol(parse_uri("ws://a.example/"), subprotocols=[Subprotocol("sip")]) if web else None
        if tls is not None:
            tls.begin()
            for _ in range(3):
                codec.receive(tls.pending())
                tls.receive(codec.pending())
        if self._web is not None:
            self._web.send_request(self._web.connect())
            codec.receive(self._wired(b"".join(self._web.data_to_send())))
            self.hears(codec.pending())

    def _wired(self, data: bytes) -> bytes:
        return self._tls.send([data]) if self._tls is not None else data

    def says(self, message: bytes) -> bytes:
        """A message as it is on the wire."""
        if self._web is None:
            return self._wired(message)
        self._web.send_text(message)
        return self._wired(b"".join(self._web.data_to_send()))

    def hears(self, data: bytes) -> None:
        pieces = self._tls.receive(data) if self._tls is not None else [data]
        for piece in pieces if self._web is not None else ():
            self._web.receive_data(piece)


def message_us(peer: Peer) -> dict[str, float]:
    """Of one message received and of one sent, through our codec."""
    codec, message = peer.codec, b"x" * SIZE
    best = {"received": float("inf"), "sent": float("inf")}
    for _ in range(5):
        wires = [peer.says(message) for _ in range(ROUNDS // 10)]
        begun = time.process_time()
        for wire in wires:
            codec.receive(wire)
        best["received"] = min(best["received"], (time.process_time() - begun) / len(wires) * 1e6)
        begun = time.process_time()
        for _ in wires:
            codec.send([message])
        best["sent"] = min(best["sent"], (time.process_time() - begun) / len(wires) * 1e6)
    return best


def measure(directory: Path) -> dict[str, Any]:
    """All figures, in microseconds."""
    authority = Authority(directory)
    files = authority.issue("sbc", [NAME])
    credentials = Credentials([files], authority.path, "asked")
    clock = [0.0]

    def later() -> float:
        clock[0] += 1.0  # so that no limit of frames is met
        return clock[0]

    codecs = StreamCodecs(credentials, ["*"], later)

    def shaken() -> TlsCodec:
        callee, caller = credentials.accept(), credentials.connect([NAME])
        caller.begin()
        while not callee.ready:
            callee.receive(caller.pending())
            caller.receive(callee.pending())
        return callee

    found: dict[str, Any] = {"handshake, both ends, mutual": cpu_us(shaken, HANDSHAKES)}
    for transport in ("tls", "ws", "wss"):
        codec = codecs.accept(transport)
        assert isinstance(codec, Layered) == (transport == "wss")
        tls = credentials.connect([NAME]) if transport != "ws" else None
        each = message_us(Peer(codec, tls, transport != "tls"))
        found[f"message received by {transport}"] = each["received"]
        found[f"message sent by {transport}"] = each["sent"]
        found[f"plain call by {transport}"] = MESSAGES * each["received"] + (MESSAGES - 1) * each["sent"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="secure", description="what TLS and WebSocket add to a call")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        found = measure(Path(directory))
    if options.format == "json":
        names = {name: name.replace(",", "").replace(" ", "_") for name in found}
        print(json.dumps({names[name]: round(value, 2) for name, value in found.items()}))
        return 0
    rows = [[name, f"{value:,.1f} us"] for name, value in found.items()]
    render.console().put(render.grid(("CPU at one end", ">"), rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
