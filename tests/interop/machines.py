"""A site on machines of its own: a network namespace for each node, on one bridge; needs root.

::

    bridge 10.77.0.254 (devices: .21 west, .22 east) -- m1 .1, m2 .2, gw1 .11, gw2 .12

The process that runs this must be in a network and mount namespace made for it (`enter`), so nothing of it is seen
outside, and all of it is gone with the process. Cuts are packet filters in the node's own namespace: silent, one way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT, Processes, Running

HOSTS: Final = {"m1": 1, "m2": 2, "gw1": 11, "gw2": 12, "west": 21, "east": 22}
NODES: Final = ("m1", "m2", "gw1", "gw2")
_INSIDE: Final = "HOLDFAST_MACHINES"
_NEEDED: Final = ("unshare", "ip", "nft", "mount")


def impossible() -> str:
    """Why this machine can have no machines in it; ``""`` when it can."""
    if os.geteuid() != 0:
        return "machines of one's own need root: run the tests as root, or in a container that may make namespaces"
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        return f"machines of one's own need {', '.join(missing)}: apt-get install iproute2 nftables util-linux"
    done = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, text=True, check=False)
    return f"namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else ""


def enter(module: str, *words: str) -> list[str]:
    """The command that runs a module in namespaces of its own."""
    return [
        "unshare",
        "-n",
        "-m",
        "--propagation",
        "private",
        "env",
        f"{_INSIDE}=1",
        sys.executable,
        "-m",
        module,
        *words,
    ]


def is_inside() -> bool:
    return os.environ.get(_INSIDE) == "1"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Machines(Processes):
    """The machines, and the programs on them: what is started under a node's name runs on that node's machine."""

    def __init__(self, directory: Path, six: bool = False) -> None:
        super().__init__(directory)
        assert is_inside(), "made only in a namespace of its own"
        self.net = "fd00:77::" if six else "10.77.0."
        self.before: dict[str, Sequence[str]] = {}
        """Words in front of a node's own command: what python runs instead, see `stepped`."""
        self._six = six
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "none", "/run/netns")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "sw", "type", "bridge")
        _run("ip", "link", "set", "sw", "up")
        for device in ("west", "east"):
            self._address(self.address(device), "sw")
        for name in NODES:
            self._connect(name)

    def address(self, name: str) -> str:
        return f"{self.net}{HOSTS[name]}"

    def _connect(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", f"to-{name}", "master", "sw", "up")
        for link in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", link, "up")
        self._address(self.address(name), "eth0", "-n", name)

    def _address(self, address: str, link: str, *where: str) -> None:
        width, more = ("64", ("nodad",)) if self._six else ("24", ())
        _run("ip", *where, "addr", "add", f"{address}/{width}", "dev", link, *more)

    def start(self, name: str, command: Sequence[str], *, pipes: bool = False, directory: Path = ROOT) -> Running:
        if name in NODES:
            python, *words = command
            command = ["ip", "netns", "exec", name, python, *self.before.get(name, ()), *words]
        return super().start(name, command, pipes=pipes, directory=directory)

    def deaf(self, name: str, *others: str) -> None:
        """From now on ``name`` does not hear ``others``, which hear it; without others, it hears no node."""
        self._drop(name, "input", "saddr", others)

    def mute(self, name: str, *others: str) -> None:
        """From now on ``others`` do not hear ``name``, which hears them; without others, no node does."""
        self._drop(name, "output", "daddr", others)

    def cut(self, one: str, other: str) -> None:
        """Neither hears the other."""
        self.deaf(one, other)
        self.mute(one, other)

    def _drop(self, name: str, hook: str, end: str, others: Sequence[str]) -> None:
        named = ", ".join(self.address(other) for other in others or [each for each in NODES if each != name])
        family = "ip6" if self._six else "ip"
        rule = f"{family} {end} {{ {named} }} drop"
        table = f"table {family} {hook} {{ chain cut {{ type filter hook {hook} priority 0; {rule}; }}; }}"
        _run("ip", "netns", "exec", name, "nft", table)

    def heal(self) -> None:
        for name in NODES:
            _run("ip", "netns", "exec", name, "nft", "flush", "ruleset")


def small_disk(place: Path) -> Path:
    """A disk of 1 MB at ``place``, for the processes of this namespace."""
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place))
    return place


def take_away(place: Path) -> None:
    """Take a small disk away, so that its directory can be removed."""
    _run("umount", "-l", str(place))


def fill(place: Path) -> None:
    """Leave no room on a small disk."""
    with (place / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
