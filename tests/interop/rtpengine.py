"""Debian's rtpengine as a process of the tests, in user space, at addresses of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from gateway_agent.rtpengine import ng
from tests.interop.unpacked import Unpacked, unpacked

NG_PORT = 2223
REDIS = ("redis-server", "redis-tools")


def tree() -> Unpacked:
    return unpacked("rtpengine", ("rtpengine-daemon",))


class Redis:
    """A Redis in memory, for rtpengine's calls."""

    def __init__(self, host: str) -> None:
        files = unpacked("redis", REDIS)
        words = [files.program("redis-server"), "--bind", host, "--port", "6390", "--save", ""]
        self.place = f"{host}:6390"
        self._process = subprocess.Popen(words, env=files.environment, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Rtpengine:
    """One daemon; ``start`` and ``kill`` as often as wanted. ``redis``: where it keeps its calls."""

    def __init__(self, directory: Path, host: str, redis: str = "") -> None:
        self.host = host
        self._redis = redis
        self.log = directory / f"rtpengine-{host}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        files = tree()
        words = [
            *(files.program("rtpengine"), "--foreground", "--log-stderr", "--log-level=6", "--table=-1"),
            *(f"--interface={self.host}", f"--listen-ng={self.host}:{NG_PORT}"),
            *("--port-min=30000", "--port-max=31999", "--config-file=none", f"--pidfile={self.log}.pid"),
            *([f"--redis={self._redis}/1"] if self._redis else ()),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, env=files.environment, stderr=log, stdout=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def calls(self) -> list[str]:
        """The calls that it knows."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
            asks.settimeout(2.0)
            asks.connect((self.host, NG_PORT))
            asks.send(ng.message(f"{time.monotonic_ns():x}", {"command": "list", "limit": 400}))  # each anew
            _, answer = ng.parsed(asks.recv(65_536))
        return list(answer["calls"])
