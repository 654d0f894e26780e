"""The door of a relay: where its agent connects, each time that it starts, and says which start it is; and where it
fetches and brings the sockets that the relay keeps for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
from pathlib import Path
from typing import NamedTuple

from gateway_agent.media.held import MOST, HeldSockets, received
from gateway_agent.media.ports import RelaySettings
from sip.io.unix_path import short_path

MAX_LINE = 1 << 20
MAX_WAITING = 8
"""Connections that have not said hello yet."""


class Hello(NamedTuple):
    """The highest start of the agent so far."""

    sock: socket.socket
    settings: RelaySettings | None
    """None: it relays no media."""
    grace_s: float
    """Seconds that sessions outlive it."""
    rest: bytes
    """What it said behind its first line."""


class Door:
    """See the module."""

    def __init__(
        self, listener: socket.socket, epoll: select.epoll, held: HeldSockets, kind: type[RelaySettings]
    ) -> None:
        self._held = held
        self._kind = kind
        self._listener = listener
        self._epoll = epoll
        self._waiting: dict[int, tuple[socket.socket, bytes]] = {}
        self._start = 0
        listener.setblocking(False)
        epoll.register(listener.fileno(), select.EPOLLIN)

    def ready(self, fd: int) -> Hello | None:
        """Something came; who said hello, and is to be obeyed from now on."""
        if fd == self._listener.fileno():
            self._accept()
            return None
        return self._greet(fd) if fd in self._waiting else None

    def close(self) -> None:
        self._listener.close()
        for sock, _ in self._waiting.values():
            sock.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._waiting) >= MAX_WAITING:
            sock.close()
            return
        sock.setblocking(False)
        self._waiting[sock.fileno()] = sock, b""
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _greet(self, fd: int) -> Hello | None:
        sock, heard = self._waiting.pop(fd)
        try:
            data, fds, _, _ = socket.recv_fds(sock, 65_536, MOST)
        except BlockingIOError:
            self._waiting[fd] = sock, heard
            return None
        except OSError:
            data, fds = b"", []
        brought = received(fds)
        line, found, rest = (heard + data).partition(b"\n")
        if data and not found and not brought and len(line) < MAX_LINE:
            self._waiting[fd] = sock, line
            return None
        try:
            said = json.loads(line)
            start = int(said["start"])
            if start < self._start:  # an agent that was started before the one that is obeyed
                with contextlib.suppress(OSError):
                    sock.send(b'{"is":"superseded"}\n')
            elif said["do"] == "hello" and not brought:
                settings = said["settings"]
                hello = Hello(
                    sock,
                    None if settings is None else self._kind.from_json(json.dumps(settings)),
                    float(said["grace_s"]),
                    rest,
                )
                self._start = start
                return hello
            elif said["do"] == "sockets":
                self._held.answer(sock)
            elif said["do"] == "hold":
                self._held.put(list(map(str, said["names"])), brought, float(said["for_s"]))
                brought = []
                sock.send(b'{"is":"held"}\n')
        except (ValueError, TypeError, KeyError, OSError):
            pass  # it is told by the end of the connection
        for one in brought:
            one.close()
        self._refuse(sock)
        return None

    def _refuse(self, sock: socket.socket) -> None:
        self._epoll.unregister(sock.fileno())
        sock.close()


def listen(path: str) -> socket.socket | None:
    """The socket at which the agent connects; None when another relay listens there. Raises `OSError`."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the process ends
    except BlockingIOError:
        os.close(lock)
        return None
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o077)
    with short_path(Path(path)) as short:
        sock.bind(short)
    sock.listen(MAX_WAITING)
    return sock
