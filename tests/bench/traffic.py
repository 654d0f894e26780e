"""Who counts the datagrams between two servers: each takes it for the other one's address of heartbeats."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import Final

_LONGEST: Final = 65_536


class Counter:
    """Passes datagrams on between two servers, and counts them."""

    def __init__(self, host: str, first: tuple[str, int], second: tuple[str, int]) -> None:
        """``first`` and ``second`` are where the servers listen; each is told one of our addresses for the other."""
        self.messages = 0
        self.bytes = 0
        self._ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in self._ends:
            end.bind((host, 0))
        self._targets = [second, first]
        self._closed = False
        for index in range(2):
            threading.Thread(target=self._pass, args=(index,), daemon=True).start()

    @property
    def beats(self) -> tuple[str, str]:
        """What stands for the first server in the second one's file, and for the second in the first one's."""
        (host, for_second), (_, for_first) = (end.getsockname() for end in self._ends)
        return f"udp:{host}:{for_first}", f"udp:{host}:{for_second}"

    def close(self) -> None:
        self._closed = True
        for end in self._ends:
            end.close()

    def _pass(self, index: int) -> None:
        """What comes to the end that stands for one server leaves by the end that stands for the other one."""
        here, there = self._ends[index], self._ends[1 - index]
        while not self._closed:
            try:
                data, _ = here.recvfrom(_LONGEST)
                there.sendto(data, self._targets[index])
            except OSError:
                continue  # nobody listens there any more
            self.messages += 1
            self.bytes += len(data)


def connected(first: str, second: str) -> bool:
    """Whether a TCP connection joins two addresses: servers have none, so all that they say can be counted."""
    one, two = (f"{int.from_bytes(bytes(map(int, host.split('.'))), sys.byteorder):08X}" for host in (first, second))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == "01" and {local[:8], remote[:8]} == {one, two}:
            return True
    return False
