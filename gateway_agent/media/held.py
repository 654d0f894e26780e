"""The sockets at which an agent listens to devices, kept by its relay while it is away.

Devices get no ICMP and no refused connection meanwhile, and what they send waits for the next start of the agent,
which takes the sockets over as they are. They are passed over the relay's UNIX socket (SCM_RIGHTS, unix(7)), by a
connection each time. ``{"do": "sockets", "start": N}`` asks for them; ``{"do": "hold", "start": N, "for_s": S,
"names": [..]}`` brings them, in the order of their names. An agent that stays away is not waited for: after S seconds
they are closed, so that devices learn to go elsewhere.
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
"""Sockets in one message; Linux passes 253."""
MAX_NAMES: Final = 65_536
"""Bytes of a message."""
PATIENCE_S: Final = 2.0
"""How long a relay may take to answer."""


class HeldSockets:
    """The relay's half."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._for_s = 0.0

    def __len__(self) -> int:
        return len(self._sockets)

    def put(self, names: Sequence[str], sockets: Sequence[socket.socket], for_s: float) -> None:
        """Keep these instead of all others, for so long without an agent. Raises `ValueError` when there are not as
        many names as sockets."""
        brought = dict(zip(names, sockets, strict=True))
        self.close()
        self._sockets = brought
        self._for_s = for_s

    def answer(self, sock: socket.socket) -> None:
        """Give them to who asked. Raises `OSError` when it is not there any more."""
        line = json.dumps({"is": "sockets", "names": list(self._sockets)}).encode() + b"\n"
        socket.send_fds(sock, [line], [held.fileno() for held in self._sockets.values()])

    def alone(self, seconds: float) -> None:
        """The agent has been away for so long."""
        if seconds >= self._for_s:
            self.close()

    def close(self) -> None:
        for held in self._sockets.values():
            held.close()
        self._sockets = {}


def received(fds: Sequence[int]) -> list[socket.socket]:
    """Descriptors that came with a message, as sockets; what is none is closed."""
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
    """The agent's half: what the relay at ``path`` keeps for this start, by name. Raises `OSError`. It blocks."""
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
    """Let the relay at ``path`` keep them, for so many seconds without an agent. Raises `OSError`. It blocks."""
    some = dict(list(sockets.items())[:MOST])
    with _relay(path) as relay:
        said = {"do": "hold", "start": start, "for_s": for_s, "names": list(some)}
        socket.send_fds(relay, [json.dumps(said).encode() + b"\n"], [sock.fileno() for sock in some.values()])
        relay.recv(MAX_NAMES)  # so that it has them when this returns


def _relay(path: Path) -> socket.socket:
    relay = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    relay.settimeout(PATIENCE_S)
    try:
        with short_path(path) as short:
            relay.connect(short)
    except OSError:
        relay.close()
        raise
    return relay
