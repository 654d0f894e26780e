"""The control channel of a media process, the relay or the WebRTC gateway: its agent connects by a UNIX socket and
sends commands as lines of JSON; notices are sent back as lines of JSON.
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

from gateway_agent.media.control_listener import MAX_LINE, ControlListener, Hello, listen
from gateway_agent.media.held import HeldSockets
from gateway_agent.media.ports import RelaySettings

MAX_UNSENT = 1 << 20
"""Bytes not read by the agent, beyond which only notices that it needs for calls are sent."""


def begin(argv: list[str]) -> tuple[socket.socket, bool] | None:
    """Set up the media process of ``PROGRAM SOCKET [stay] [detach]``. Returns the socket at which the agent connects,
    and whether the process stays without one; None if another process listens there already."""
    stay = "stay" in argv[2:]
    # Ctrl-C and a service manager's SIGTERM reach this process too, but are for the agent, which may have calls to
    # end first; with a systemd unit of our own SIGTERM is for us.
    for ignored in (signal.SIGINT, *(() if stay else (signal.SIGTERM,))):
        signal.signal(ignored, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = listen(argv[1])
    if listener is None:
        return None
    if "detach" in argv[2:]:  # so that it does not end with the agent or its process group
        if os.fork():
            os._exit(0)
        os.setsid()
    return listener, stay


class Control:
    """The connection to the agent. ``listener``: where it connects at each of its starts. ``lost`` is called when it
    has disconnected or another start replaces it. ``kind``: class of its settings. ``needed``: notices that are sent
    however much is unread."""

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
        self._control_listener = ControlListener(listener, epoll, held, kind)
        self._sock: socket.socket | None = None
        self._lost = lost
        self._needed = needed
        self._heard = b""
        self._unsent = bytearray()
        self.commands: deque[bytes] = deque()
        """Received commands, in order."""

    @property
    def connected(self) -> bool:
        """Whether an agent is connected."""
        return self._sock is not None

    def ready(self, fd: int, what: int) -> Hello | None:
        """Serve one of its descriptors that is ready; returns the hello of a start that has just connected, or
        None."""
        if self._sock is not None and fd == self._sock.fileno():
            self._attend(what)
            return None
        hello = self._control_listener.ready(fd)
        if hello is not None:
            self._lose()
            self._sock = hello.sock
            self._split(hello.rest)
        return hello

    def say(self, notice: dict[str, object]) -> None:
        """Send a notice to the agent, if one is connected and reads."""
        if self._sock is None or (len(self._unsent) > MAX_UNSENT and notice["is"] not in self._needed):
            return
        self._unsent += json.dumps(notice, separators=(",", ":")).encode() + b"\n"
        self._flush()

    def close(self) -> None:
        self._control_listener.close()
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
