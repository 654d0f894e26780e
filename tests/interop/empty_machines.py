"""Machines on which nothing of ours is installed: each has its own root directory (this machine's files under an
overlay that is thrown away), processes, name and network, on one wire with three networks of RFC 5737.

Made in two steps, since packages come from the network and sites do not: `Root` is made with a mount namespace alone,
a `Machine` on it in a network namespace besides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT
from tests.interop.programs import until

NETWORKS: Final = ("192.0.2.", "198.51.100.", "203.0.113.")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failure(Exception):
    """What a reader would have seen instead of what the guide says."""


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr}")


def _told(done: subprocess.CompletedProcess[str], script: str, status: int) -> str:
    if done.returncode != status:
        raise Failure(f"{script}\nended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Root:
    """The root directory of a machine."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._place = directory / name
        self.path = self._place / "root"

    def make(self) -> None:
        """Mount it; the files of this machine are those of a fresh one but for what our set-up installs of Debian."""
        self._place.mkdir()
        self._place.chmod(0o755)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "none", self._place)
        for name in ("upper", "work", "root"):
            (self._place / name).mkdir(mode=0o755)
            (self._place / name).chmod(0o755)
        options = f"lowerdir=/,upperdir={self._place}/upper,workdir={self._place}/work"
        run("mount", "-t", "overlay", "none", "-o", options, self.path)
        run("mount", "--rbind", "/dev", self.path / "dev")
        for name in ("run", "tmp"):
            run("mount", "-t", "tmpfs", "-o", "mode=1777", "none", self.path / name)
        run("mount", "-t", "proc", "proc", self.path / "proc")
        here = self.path / ROOT.relative_to("/")  # what packages are made with
        here.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", ROOT, here)
        run("mount", "-o", "remount,bind,ro", here)
        (self.path / "etc" / "hostname").write_text(f"{self.name}\n")
        stand_in = self.path / "usr" / "local" / "bin" / "systemctl"
        shutil.copy(ROOT / "tests" / "interop" / "systemctl.py", stand_in)
        stand_in.chmod(0o755)

    def run(self, script: str, status: int = 0, **environment: str) -> str:
        """What a script of the shell says, as root, with the network of the machine that this one is."""
        return _told(
            subprocess.run(
                ["chroot", self.path, "sh", "-euc", f"umask 022\ncd /root\n{script}"],
                env={**os.environ, "PATH": _PATH, "HOME": "/root", **environment},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
            ),
            script,
            status,
        )  # fmt: skip


class Machine:
    """A machine that runs."""

    def __init__(self, root: Root, address: str, hosts: str = "") -> None:
        name = self.name = root.name
        self.path, self.address = root.path, address
        with (root.path / "etc" / "hosts").open("a") as file:
            file.write(hosts)
        (root.path / "etc" / "resolv.conf").unlink(missing_ok=True)
        (root.path / "etc" / "resolv.conf").touch()
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"to-{name}", "master", "sw", "up")
        for link in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", link, "up")
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for network in NETWORKS:
            if not address.startswith(network):
                run("ip", "-n", name, "route", "add", f"{network}0/24", "dev", "eth0")
        script = 'hostname "$2"; mount -t proc proc "$1/proc"; exec chroot "$1" sleep infinity'
        there = ["ip", "netns", "exec", name, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        self._init = subprocess.Popen([*there, "sh", "-euc", script, "sh", root.path, name], stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        until(lambda: self._is_up(children), 10, f"{name} does not come up")
        self.first = children.read_text().split()[0]

    @staticmethod
    def _is_up(children: Path) -> bool:
        found = children.read_text().split()
        return bool(found) and Path(f"/proc/{found[0]}/comm").read_text().strip() == "sleep"

    def command(self, *words: str) -> list[str]:
        """What runs a program here."""
        return ["nsenter", "-t", self.first, "-m", "-u", "-p", "-n", "-r", "-w", *words]

    def run(self, script: str, status: int = 0, asked: str = "", **environment: str) -> str:
        """What a script of the shell says, as root. ``asked``: what is typed."""
        return _told(
            subprocess.run(
                self.command("sh", "-euc", f"umask 022\ncd /root\n{script}"),
                env={"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **environment},
                input=asked, capture_output=True, text=True, timeout=120, check=False,
            ),
            script,
            status,
        )  # fmt: skip

    def journal(self) -> str:
        """What its units have said."""
        files = sorted((Path(f"/proc/{self.first}/root/run/journal")).glob("*"))
        return "\n".join(f"-- {self.name} {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def stop(self) -> None:
        self._init.kill()
        self._init.wait()


def wire(*addresses: str) -> None:
    """The wire, and what of its addresses this process itself has."""
    Path("/run/netns").mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "none", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "sw", "type", "bridge")
    run("ip", "link", "set", "sw", "up")
    for address in addresses:
        run("ip", "addr", "add", f"{address}/24", "dev", "sw")
    for network in NETWORKS:
        if not any(address.startswith(network) for address in addresses):
            run("ip", "route", "add", f"{network}0/24", "dev", "sw")
