"""The sockets at which an agent listens to devices, kept open by its relay while the agent restarts.

Meanwhile devices get no ICMP error and no refused connection, and their messages wait for the next start of the
agent, which takes the sockets over. They are passed over the relay's UNIX socket (SCM_RIGHTS, unix(7)), by a
connection each time. ``{"do": "sockets", "start": N}`` asks for them; ``{"do": "hold", "start": N, "for_s": S,
"names": [..]}`` stores them, in the order of their names. After S seconds without an agent they are closed, so that
devices go elsewhere.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sip.io.unix_path import short_path

MOST: Final = 250
"""Sockets in one message; Linux permits 253."""
MAX_NAMES: Final = 65_536
"""Bytes of a message."""
TIMEOUT_S: Final = 2.0
"""Seconds in which a relay must answer."""


class HeldSockets:
    """The sockets at the relay's side."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._for_s = 0.0

    def __len__(self) -> int:
        return len(self._sockets)

    def put(self, names: Sequence[str], sockets: Sequence[socket.socket], for_s: float) -> None:
        """Replace all sockets by these, to be kept for so many seconds without an agent. Raises `ValueError` when the
        numbers of names and sockets differ."""
        brought = dict(zip(names, sockets, strict=True))
        self.close()
        self._sockets = brought
        self._for_s = for_s

    def answer(self, sock: socket.socket) -> None:
        """Send the sockets over the connection ``sock``. Raises `OSError` when it is closed."""
        line = json.dumps({"is": "sockets", "names": list(self._sockets)}).encode() + b"\n"
        socket.send_fds(sock, [line], [held.fileno() for held in self._sockets.values()])

    def alone(self, seconds: float) -> None:
        """The agent has been away for so many seconds: close the sockets if that is too long."""
        if seconds >= self._for_s:
            self.close()

    def close(self) -> None:
        for held in self._sockets.values():
            held.close()
        self._sockets = {}


def received(fds: Sequence[int]) -> list[socket.socket]:
    """The sockets of received descriptors; descriptors that are no sockets are closed."""
    found = []
    for fd in fds:
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
        else:
            sock.setblocking(False)
            found.append(sock)
    return found


def fetch(path: Path, start: int) -> dict[str, socket.socket]:
    """At the agent's side: fetch the sockets that the relay at ``path`` keeps, by name. Blocks. Raises `OSError`."""
    with _relay(path) as relay:
        relay.sendall(json.dumps({"do": "sockets", "start": start}).encode() + b"\n")
        data, fds, _, _ = socket.recv_fds(relay, MAX_NAMES, MOST)
        sockets = received(fds)
        try:
            names = json.loads(data)["names"]
            return dict(zip(names, sockets, strict=True))
        except (ValueError, LookupError, TypeError):
            for sock in sockets:
                sock.close()
            raise OSError("the relay's process does not know of sockets") from None


def hand(path: Path, start: int, for_s: float, sockets: Mapping[str, socket.socket]) -> None:
    """At the agent's side: have the relay at ``path`` keep the sockets, for so many seconds without an agent. Blocks.
    Raises `OSError`."""
    some = dict(list(sockets.items())[:MOST])
    with _relay(path) as relay:
        said = {"do": "hold", "start": start, "for_s": for_s, "names": list(some)}
        socket.send_fds(relay, [json.dumps(said).encode() + b"\n"], [sock.fileno() for sock in some.values()])
        relay.recv(MAX_NAMES)  # so that it has them when this returns


def _relay(path: Path) -> socket.socket:
    relay = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    relay.settimeout(TIMEOUT_S)
    try:
        with short_path(path) as short:
            relay.connect(short)
    except OSError:
        relay.close()
        raise
    return relay
