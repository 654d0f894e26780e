"""What the guides are followed with: pages and which of their blocks were run, the four machines of a site, and the
Asterisks and the telephone around it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT
from examples.softphone_call import Policy
from tests.interop.asterisk import SCRIPTS
from tests.interop.empty_machines import Failure, Machine, Root, wire
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import until

MACHINES: Final = {"m1": "192.0.2.1", "m2": "192.0.2.2", "gw1": "198.51.100.10", "gw2": "192.0.2.12"}
CARRIER: Final = "203.0.113.5"
TELEPHONE: Final = "192.0.2.51"
MONITORING: Final = "192.0.2.61"
OPERATOR: Final = "192.0.2.52"
UNIT: Final = {
    "m1": "holdfast-server@m1",
    "m2": "holdfast-server@m2",
    "gw1": "holdfast-agent@gw1",
    "gw2": "holdfast-agent@gw2",
}
PATIENCE: Final = 60.0
CLONE: Final = "/usr/src/clone"
SITE: Final = "/etc/holdfast/site.toml"
_BEGAN_AT: Final = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN_AT:7.1f} s  {text}", file=sys.stderr, flush=True)


class Page:
    """A page of the documentation, and which of its blocks were run."""

    def __init__(self, name: str) -> None:
        path = next(place for place in (ROOT / name, ROOT / "docs" / name) if place.exists())
        self.name = name
        text = path.read_text("utf-8")
        self._blocks = [(kind, body) for kind, body in re.findall(r"^```(\S+)\n(.*?)^```", text, re.M | re.S)]
        self._run: set[str] = set()

    def block(self, has: str, kind: str = "sh") -> str:
        """The one block of that kind in which these words stand."""
        found = [body for each, body in self._blocks if each == kind and has in body]
        if len(found) != 1:
            raise Failure(f"{self.name}: {len(found)} blocks have {has!r}")
        self._run.add(found[0])
        return found[0]

    def not_run(self, kind: str = "sh") -> list[str]:
        """The shell commands, or the blocks of another kind, that nobody has tried."""
        return [body for each, body in self._blocks if each == kind and body not in self._run]


def clone(root: Root) -> Path:
    """The sources, where a reader has them."""
    copy = root.path / "usr" / "src" / "clone"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def packaged(root: Root, block: str, extras: str) -> Path:
    """The Debian package, made by these commands of a page."""
    copy = clone(root)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    root.run(f"cd {CLONE}\n{block}", DEB_COMPRESSION="none", ARGS=extras)
    return next((copy / "build").glob("*.deb"))


@contextmanager
def unhurried() -> Iterator[None]:
    """What is installed meanwhile, as root, gives way to programs that keep real time."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 10)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def in_own_mounts(module: str) -> int:
    """The exit code of ``python -m MODULE packages DIRECTORY`` in a mount namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="holdfast-guide-") as where:
        command = [sys.executable, "-m", module, "packages", where]
        return subprocess.run(
            ["unshare", "-m", "--propagation", "private", *command], cwd=ROOT, check=False
        ).returncode


class Site:
    """The four machines, and what stands around them."""

    def __init__(self, pages: Mapping[str, Page], directory: Path, stack: ExitStack) -> None:
        self.pages, self.page, self.directory, self.stack = pages, pages["deploy.md"], directory, stack
        wire(CARRIER, TELEPHONE, MONITORING, OPERATOR)
        hosts = f"{CARRIER} sip.carrier.example\n"
        self.machines = {name: Machine(Root(directory, name), address, hosts) for name, address in MACHINES.items()}
        for machine in self.machines.values():
            stack.callback(machine.stop)

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def b2bua(self, words: str, name: str = "m2", status: int = 0, asked: str = "") -> str:
        return self[name].run(f"b2bua {words}", status, asked, HOLDFAST_SITE=SITE)

    def healthy(self, what: str, name: str = "m2") -> None:
        """Whoever reads the status is told that all is well, some time soon, and is told so again: what one server
        knows of the connections of the other one is as old as its last heartbeat."""
        looks = 0

        def well() -> bool:
            nonlocal looks
            try:
                self.b2bua("status", name)
                looks += 1
            except Failure:
                looks = 0
            return looks == 3

        until(well, PATIENCE, lambda: f"{what}: {self.look(name)}", 0.3)

    def look(self, name: str = "m2") -> str:
        return self[name].run("b2bua status || true", HOLDFAST_SITE=SITE)

    def spread(self, text: str) -> None:
        """The site file goes to all machines."""
        for machine in self.machines.values():
            machine.run(
                "cat > site.new\ninstall -m 640 -o root -g holdfast site.new /etc/holdfast/site.toml", asked=text
            )

    def kills(self, name: str) -> None:
        """Server and supervisor of a machine, at one moment: a server that sees its supervisor end hands over."""
        self[name].run("pkill -STOP -f '[b]2bua run'\npkill -KILL -f '[b]2bua run'")

    def reload(self) -> None:
        for name, machine in self.machines.items():
            machine.run("b2bua reload" if name in ("m1", "m2") else "gateway-agent reload", HOLDFAST_SITE=SITE)


def asterisk(site: Site, name: str, machine: str, pjsip: str, extensions: str, keys: tuple[Path, ...] = ()) -> None:
    """An Asterisk in the network of a machine, or in that of this process."""
    place = site.directory / name
    (place / "keys").mkdir(parents=True)
    for key in keys:
        shutil.copy(key, place / "keys" / key.name)
    (place / "pjsip").write_text(pjsip)
    (place / "extensions").write_text(extensions)
    where = ["ip", "netns", "exec", machine] if machine else []
    with (place / "screen").open("wb") as screen:
        process = subprocess.Popen(
            [*where, SCRIPTS / "conf.sh", place, place / "pjsip", place / "extensions"],
            stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip
    site.stack.callback(process.wait)
    site.stack.callback(process.terminate)


class Telephone:
    """It is in a call, and hears the far end."""

    def __init__(self, stack: ExitStack, listen: str, agent: str, user: str, password: str, domain: str) -> None:
        self._user, self._phone = user, Phone(listen)
        stack.callback(self._phone.close)
        self._line = self._phone.line(user, agent, password, Policy(), domain=domain)

    def calls(self, number: str) -> None:
        call = self._call = self._phone.call(self._line, number)
        until(lambda: talking(call), PATIENCE, lambda: f"{number} does not answer: {self._phone.events}")

    def goes_on(self, what: str) -> None:
        """It talks, and audio comes."""
        before = self._phone.heard_audio(self._call)
        until(
            lambda: self._phone.heard_audio(self._call) > before + 25, PATIENCE, f"{what}: {self._user} hears nothing"
        )
        if not talking(self._call):
            raise Failure(f"{what}: the call of {self._user} has ended")

    def changes(self) -> None:
        """Hold and resume: messages by which servers tell of the call anew."""
        for verb, direction in ((self._phone.core.hold, "sendonly"), (self._phone.core.resume, "sendrecv")):
            self._phone.ask(verb, self._call)
            until(
                lambda wanted=direction: self._call.media_direction == wanted,
                PATIENCE,
                f"the call is not {direction}",
            )  # type: ignore[misc]

    def hangs_up(self) -> None:
        self._phone.ask(self._phone.core.bye, self._call)
        until(lambda: ended(self._call), PATIENCE, "the call does not end")
