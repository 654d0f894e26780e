"""Somebody with a socket who sends what he likes, and listens to what he is told."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Mapping
from itertools import count

Address = tuple[str, int]
_serial = count(1)


def request(
    method: str,
    uri: str,
    via: str,
    *,
    transport: str = "UDP",
    change: Mapping[str, str | None] | None = None,
    lines: Iterable[str] = (),
    body: bytes = b"",
    version: str = "SIP/2.0",
) -> bytes:
    """A request that is right but for what the caller wants changed: other values of header fields, or None to leave
    one out. ``lines`` are more of them."""
    number = next(_serial)
    fields: dict[str, str | None] = {
        "Via": f"SIP/2.0/{transport} {via};branch=z9hG4bKstranger{number};rport",
        "From": f"<sip:stranger@{via}>;tag=s{number}",
        "To": f"<{uri}>",
        "Call-ID": f"stranger-{number}@{via}",
        "CSeq": f"1 {method}",
        "Contact": f"<sip:stranger@{via}>",
        "Max-Forwards": "70",
        "Content-Length": str(len(body)),
        **(change or {}),
    }
    head = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {uri} {version}", *head, *lines]).encode("latin-1") + b"\r\n\r\n" + body


def statuses(data: bytes) -> list[int]:
    """Of the responses in what a stream or a datagram brought."""
    return [int(piece[:3]) for piece in data.split(b"SIP/2.0 ")[1:] if piece[:3].isdigit()]


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()  # select() knows only the first 1024 descriptors
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


class Udp:
    """One UDP socket on a loopback address."""

    def __init__(self, host: str, remote: Address, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((host, port))
        self.remote = remote

    @property
    def via(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        """What does not fit into a datagram is left unsent."""
        try:
            self._socket.sendto(data, self.remote)
        except OSError:
            pass

    def receive(self, seconds: float) -> bytes:
        """The next datagram; ``b""`` when none comes."""
        if not _readable(self._socket, seconds):
            return b""
        return self._socket.recv(65535)

    def drain(self) -> list[bytes]:
        """All that is here."""
        found = []
        while data := self.receive(0):
            found.append(data)
        return found

    def ask(self, data: bytes, seconds: float = 3.0, again: float = 0.5) -> int:
        """The status of the final answer to a request, which is sent again in between; 0 when none comes."""
        end = time.monotonic() + seconds
        call_id = next(line for line in data.split(b"\r\n") if line.lower().startswith(b"call-id"))
        while time.monotonic() < end:
            self.send(data)
            until = min(end, time.monotonic() + again)
            while (left := until - time.monotonic()) > 0:
                answer = self.receive(left)
                if call_id in answer and (found := statuses(answer)) and found[0] >= 200:
                    return found[0]
        return 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Udp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Tcp:
    """One connection from a loopback address."""

    def __init__(self, host: str, remote: Address) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((host, 0))
        self._socket.settimeout(5)
        self._socket.connect(remote)

    @property
    def via(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def send(self, data: bytes) -> bool:
        """False when the other side has closed, or takes no more."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def receive(self, seconds: float, wanted: int = 1) -> bytes:
        """What comes until so many responses, the end of the stream or the time is there."""
        found, end = b"", time.monotonic() + seconds
        while len(statuses(found)) < wanted and (left := end - time.monotonic()) > 0:
            if not _readable(self._socket, left):
                break
            try:
                data = self._socket.recv(65536)
            except OSError:
                break
            if not data:
                break
            found += data
        return found

    def closed(self, seconds: float) -> bool:
        """Whether the other side closes within this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not _readable(self._socket, left):
                return False
            try:
                if not self._socket.recv(65536):
                    return True
            except OSError:
                return True
        return False

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Tcp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
