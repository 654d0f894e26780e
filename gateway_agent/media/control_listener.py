"""The listening socket of a media process: its agent connects there at each start, with the number of that start; and
it fetches and stores there the sockets that the process keeps for it (`gateway_agent.media.held`)."""

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
"""Connections without a first line yet."""


class Hello(NamedTuple):
    """The connection of a start of the agent, the highest so far."""

    sock: socket.socket
    settings: RelaySettings | None
    """None: no media is relayed."""
    grace_s: float
    """Seconds for which sessions go on without an agent."""
    rest: bytes
    """Bytes received after its first line."""


class ControlListener:
    """Accepts connections and reads their first lines."""

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
        """Serve a descriptor that is ready; returns a start that has said hello, or None."""
        if fd == self._listener.fileno():
            self._accept()
            return None
        return self._read_hello(fd) if fd in self._waiting else None

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

    def _read_hello(self, fd: int) -> Hello | None:
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
            if start < self._start:  # of an agent that was started before the present one
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
            pass  # the connection is closed
        for one in brought:
            one.close()
        self._refuse(sock)
        return None

    def _refuse(self, sock: socket.socket) -> None:
        self._epoll.unregister(sock.fileno())
        sock.close()


def listen(path: str) -> socket.socket | None:
    """A socket that listens at ``path``; None if another process does. Raises `OSError`."""
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
