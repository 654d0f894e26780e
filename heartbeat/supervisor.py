"""The supervisor of a server: ``python -m heartbeat.supervisor COMMAND ...`` (docs/heartbeat.md).

It draws a secret, starts the command as its child with the hash of the secret, waits for the child's end, and then
reveals the secret to the other servers. It reads nothing from the network and has no key of the site; what it needs
to know, the child writes into the pipe between them (`heartbeat.supervised`).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from heartbeat.death import Death, commitment_of, notice
from heartbeat.deaths import Ended, leave

ENVIRONMENT: Final = "HOLDFAST_SUPERVISOR"
"""Environment variable for the child: descriptor of the pipe, process id of the supervisor, commitment."""
TICK: Final = b"."
"""Keep-alive of the child on the pipe."""
TICKS: Final = 10
"""Read timeouts without a keep-alive after which the watchdog kills the child."""
MOST_REPORT: Final = 65536
"""Bytes of one message of the child."""
REVEALED_AT: Final = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.24, 0.32, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Seconds after a death at which the notices are sent."""
AFTER_CLEAN_EXIT: Final = 5
"""How many of these are used for a child that ended with exit status 0."""
WRITTEN_WITHIN: Final = 0.5
"""Seconds to send a notice by a stream."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Starts and supervises one child."""

    def __init__(self, command: list[str]) -> None:
        self._secret = secrets.token_hex(16)
        self._told: dict[str, dict[str, Any]] = {}
        """The child's messages about its sites, by name of the site."""
        self._ending = False
        self._pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.set_inheritable(True)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # with SIG_IGN the kernel would reap the child
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, self._forward)
        told = f"{theirs.fileno()} {os.getpid()} {commitment_of(self._secret)}"
        environment = {**os.environ, ENVIRONMENT: told}
        # in its own process group, so that Ctrl-C reaches it once only, forwarded by us
        self._child = os.posix_spawn(command[0], command, environment, setpgroup=0, setsigmask=())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()

    def run(self) -> int:
        """Run until the child has ended; its exit status, or 128 plus the number of the signal that killed it."""
        begun = time.monotonic()
        self._listen()
        os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT)
        # not reaped yet, so that its process id is not reused while a signal may be forwarded
        child, self._child = self._child, 0
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)  # raises where it neither exited nor was killed
        self._reveal(code, time.monotonic() - begun)
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, frame: FrameType | None) -> None:
        """Forward a signal to the child: SIGHUP each time, SIGTERM once, since a second one would end it at once."""
        if number == signal.SIGHUP and self._child:
            os.kill(self._child, signal.SIGHUP)
        elif self._child and not self._ending:
            self._ending = True
            os.kill(self._child, signal.SIGTERM)

    def _listen(self) -> None:
        """Read the pipe until it breaks. Silence is counted in our own timeouts, so that a suspended machine does not
        let the watchdog kill the child."""
        silent = 0
        while True:
            watchdog = shortest(told["watchdog"] for told in self._told.values())
            self._pipe.settimeout(watchdog / TICKS or None)
            try:
                said = self._pipe.recv(MOST_REPORT)
            except TimeoutError:
                silent += 1
                if silent == TICKS:
                    names = dict.fromkeys(told["node"] for told in self._told.values())
                    _say(f"{', '.join(names)} gave no sign of life for {watchdog:g} s: it is killed")
                    os.kill(self._child, signal.SIGKILL)
                continue
            if not said:
                return
            silent = 0
            if said != TICK:
                told = json.loads(said)
                self._told[told["site"]] = told
                if told.get("transport") == "tls":
                    import sip.io.tls  # noqa: F401  loaded now, since an upgrade may replace the file before it is needed

    def _reveal(self, code: int, lived: float) -> None:
        """Send the secret to the other servers of each site; it is the same for all sites of the child."""
        by = f"status-{code}" if code >= 0 else f"signal-{-code}"
        deaths = [(told, Death(told["site"], told["node"], self._secret, by)) for told in self._told.values()]
        if not deaths:
            return  # it ended before it served
        if code:
            nodes = ", ".join(dict.fromkeys(death.node for _, death in deaths))
            _say(f"{nodes} ended {deaths[0][1].how}, {lived:.0f} s after its start")
        told_already: set[tuple[str, str, int]] = set()
        for number in rounds(REVEALED_AT[: AFTER_CLEAN_EXIT if not code else None], time.monotonic, time.sleep):
            for told, death in deaths:
                for host, port in told["to"]:
                    if (told["site"], host, port) in told_already:
                        continue
                    transport = told.get("transport", "udp")
                    data = notice(death, _address(*told["local"]), _address(host, port), transport)
                    if transport == "udp":
                        _send(data, told["local"], (host, port))
                    elif _write(data, told, (host, port)):
                        told_already.add((told["site"], host, port))
            if not number:
                for told, death in deaths:
                    self._leave(told, death, Ended(self._secret, lived, code))

    def _leave(self, told: dict[str, Any], death: Death, ended: Ended) -> None:
        try:
            leave(Path(told["state"]), ended)
        except OSError as error:
            _say(f"the death of {death.node} cannot be written to {told['state']}: {error.strerror}")


def _send(data: bytes, local: Sequence[Any], to: tuple[str, int]) -> None:
    """Send from the address of the child's heartbeats, which firewalls permit, or from any other if that is in
    use."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.bind((local[0], local[1]))
        except OSError:
            pass
        try:
            sender.sendto(data, to)
        except OSError:
            pass  # no network: it is sent again


def _write(data: bytes, told: dict[str, Any], to: tuple[str, int]) -> bool:
    """Send by TCP or TLS, as heartbeats are; returns whether it was written. The peer's certificate is not verified,
    since the notice is authenticated by the secret in it."""
    try:
        with socket.create_connection(to, WRITTEN_WITHIN) as stream:
            if told["transport"] == "tls":
                from sip.io.tls import say  # not needed without TLS

                say(stream, data, told["shown"])
            else:
                stream.sendall(data)
        return True
    except OSError:
        return False  # no network: it is sent again


def rounds(times: Sequence[float], clock: Callable[[], float], sleep: Callable[[float], None]) -> Iterator[int]:
    """Number each of these times, in seconds from now, when it has come. None begins after the last of them: where
    telling takes long, because nobody answers, the next start is not to wait for it."""
    began = clock()
    for number, after in enumerate(times):
        if number and clock() > began + times[-1]:
            return
        sleep(max(0.0, began + after - clock()))
        yield number


def shortest(watchdogs: Iterable[float]) -> float:
    """The shortest watchdog time that is not 0 (off); 0: all are off."""
    return min((watchdog for watchdog in watchdogs if watchdog), default=0.0)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say(sentence: str) -> None:
    print(f"supervisor: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
