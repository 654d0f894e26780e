"""The control channel of a media process: its agent connects, is told from the agents before it, and commands come as
lines of JSON, answered in the same way. The relay and the WebRTC gateway share it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Collection

from gateway_agent.media.door import MAX_LINE, Door, Hello, listen
from gateway_agent.media.held import HeldSockets
from gateway_agent.media.ports import RelaySettings

MAX_UNSENT = 1 << 20
"""Bytes not read by the agent, beyond which only what it needs for calls is said."""


def begin(argv: list[str]) -> tuple[socket.socket, bool] | None:
    """Be the media process that ``PROGRAM SOCKET [stay] [detach]`` asks for: where the agent connects, and whether
    this process stays without one. None where another one is there already."""
    stay = "stay" in argv[2:]
    # Ctrl-C and a service manager's SIGTERM reach us too, but are for the agent, which may have calls to end first;
    # not where we have a unit of our own.
    for ignored in (signal.SIGINT, *(() if stay else (signal.SIGTERM,))):
        signal.signal(ignored, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = listen(argv[1])
    if listener is None:
        return None
    if "detach" in argv[2:]:  # what ends the agent, or its process group, does not end it
        if os.fork():
            os._exit(0)
        os.setsid()
    return listener, stay


class Control:
    """``listener``: where the agent connects, each time that it starts. ``lost`` is called when it is gone or another
    start takes its place. ``kind``: of the settings that it brings. ``needed``: the notices that are said however
    much is unread."""

    def __init__(
        self,
        listener: socket.socket,
        epoll: select.epoll,
        held: HeldSockets,
        kind: type[RelaySettings],
        lost: Callable[[], None],
        needed: Collection[str],
    ) -> None:
        self._epoll = epoll
        self._door = Door(listener, epoll, held, kind)
        self._sock: socket.socket | None = None
        self._lost = lost
        self._needed = needed
        self._heard = b""
        self._unsent = bytearray()
        self.commands: deque[bytes] = deque()
        """What is to be obeyed, in order."""

    @property
    def connected(self) -> bool:
        """Whether an agent is there."""
        return self._sock is not None

    def ready(self, fd: int, what: int) -> Hello | None:
        """Something came at one of its descriptors; the start that is to be obeyed from now on, and is connected."""
        if self._sock is not None and fd == self._sock.fileno():
            self._attend(what)
            return None
        hello = self._door.ready(fd)
        if hello is not None:
            self._lose()
            self._sock = hello.sock
            self._split(hello.rest)
        return hello

    def say(self, notice: dict[str, object]) -> None:
        """Tell the agent, if one is there and reads."""
        if self._sock is None or (len(self._unsent) > MAX_UNSENT and notice["is"] not in self._needed):
            return
        self._unsent += json.dumps(notice, separators=(",", ":")).encode() + b"\n"
        self._flush()

    def close(self) -> None:
        self._door.close()
        if self._sock is not None:
            self._sock.close()

    def _attend(self, what: int) -> None:
        assert self._sock is not None
        if what & select.EPOLLOUT:
            self._flush()
        if not what & ~select.EPOLLOUT or self._sock is None:
            return
        try:
            data = self._sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(self._heard) > MAX_LINE:
            self._lose()
            return
        self._split(data)

    def _split(self, data: bytes) -> None:
        *lines, self._heard = (self._heard + data).split(b"\n")
        self.commands.extend(lines)

    def _lose(self) -> None:
        self._lost()
        if self._sock is not None:
            self._epoll.unregister(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._unsent.clear()
        self._heard = b""

    def _flush(self) -> None:
        if self._sock is None:
            return
        try:
            sent = self._sock.send(self._unsent)
            del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)
        self._epoll.modify(self._sock.fileno(), events)
