"""The supervisor of a server: ``python -m heartbeat.supervisor COMMAND ...`` (docs/heartbeat.md).

It draws a secret, starts the command as its child with the hash of it, waits for the child's end, and reveals the
secret then. It reads nothing from the network and has no key of the site; all that it knows the child tells it over
the pipe between them (`heartbeat.supervised`).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from heartbeat.death import Death, commitment_of, notice
from heartbeat.deaths import Ended, leave

ENVIRONMENT: Final = "HOLDFAST_SUPERVISOR"
"""Tells the child: the pipe's descriptor, the supervisor's process id, the commitment."""
TICK: Final = b"."
"""A sign of life on the pipe."""
TICKS: Final = 10
"""Ticks of ours without a sign of life until the watchdog bites."""
MOST_TOLD: Final = 65536
REVEALED_AT: Final = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.24, 0.32, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Seconds after a death at which it is told."""
AFTER_A_GOODBYE: Final = 5
"""So many of these for a child that ended in good order."""
WRITTEN_WITHIN: Final = 0.5
"""Seconds to tell it by a stream."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Watches over one child."""

    def __init__(self, command: list[str]) -> None:
        self._secret = secrets.token_hex(16)
        self._told: dict[str, dict[str, Any]] = {}
        """What the child said of each of its sites, by name."""
        self._ending = False
        self._pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.set_inheritable(True)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would let the kernel reap the child
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, self._forward)
        told = f"{theirs.fileno()} {os.getpid()} {commitment_of(self._secret)}"
        environment = {**os.environ, ENVIRONMENT: told}
        # in a process group of its own, so that Ctrl-C reaches it once, through us
        self._child = os.posix_spawn(command[0], command, environment, setpgroup=0, setsigmask=())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()

    def run(self) -> int:
        """Until the child has ended; its exit status, or 128 and the number of the signal that killed it."""
        begun = time.monotonic()
        self._listen()
        os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT)
        # not reaped yet, so that no other process has its number when a signal is forwarded to it
        child, self._child = self._child, 0
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)  # raises where it neither exited nor was killed
        self._reveal(code, time.monotonic() - begun)
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, frame: FrameType | None) -> None:
        """A signal is for the child: SIGHUP each time; to end is said once, a second time would cut it short."""
        if number == signal.SIGHUP and self._child:
            os.kill(self._child, signal.SIGHUP)
        elif self._child and not self._ending:
            self._ending = True
            os.kill(self._child, signal.SIGTERM)

    def _listen(self) -> None:
        """Until the pipe breaks. Our own ticks count the silence, so that a machine that slept kills nobody."""
        silent = 0
        while True:
            watchdog = shortest(told["watchdog"] for told in self._told.values())
            self._pipe.settimeout(watchdog / TICKS or None)
            try:
                said = self._pipe.recv(MOST_TOLD)
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
                    import sip.io.tls  # noqa: F401  now: its file may be another one when it is needed

    def _reveal(self, code: int, lived: float) -> None:
        """Tell the other servers of every site. It is one death, and one secret: the child was one start in each."""
        by = f"status-{code}" if code >= 0 else f"signal-{-code}"
        deaths = [(told, Death(told["site"], told["node"], self._secret, by)) for told in self._told.values()]
        if not deaths:
            return  # it never began to serve
        if code:
            nodes = ", ".join(dict.fromkeys(death.node for _, death in deaths))
            _say(f"{nodes} ended {deaths[0][1].how}, {lived:.0f} s after its start")
        died = time.monotonic()
        told_already: set[tuple[str, str, int]] = set()
        for number, at in enumerate(REVEALED_AT[: AFTER_A_GOODBYE if not code else None]):
            time.sleep(max(0.0, died + at - time.monotonic()))
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
    """From the address of the child's beats, which firewalls know, or from any other when somebody has it already."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.bind((local[0], local[1]))
        except OSError:
            pass
        try:
            sender.sendto(data, to)
        except OSError:
            pass  # the network is away; it is told again


def _write(data: bytes, told: dict[str, Any], to: tuple[str, int]) -> bool:
    """By a stream, where beats go by streams; whether it got there. The notice proves itself, so nobody is asked to
    prove that he is the other server."""
    try:
        with socket.create_connection(to, WRITTEN_WITHIN) as stream:
            if told["transport"] == "tls":
                from sip.io.tls import say  # needs not be there for who does without

                say(stream, data, told["shown"])
            else:
                stream.sendall(data)
        return True
    except OSError:
        return False  # the network is away; it is told again


def shortest(watchdogs: Iterable[float]) -> float:
    """The shortest of those that are on; 0: none is."""
    return min((watchdog for watchdog in watchdogs if watchdog), default=0.0)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say(sentence: str) -> None:
    print(f"supervisor: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
