#!/usr/bin/python3
"""systemctl of an emulated machine, which has no systemd: what the guides ask of it, done by the unit files.

It starts ``ExecStart`` as ``User`` with the environment, the state directory and the notify socket that the unit
says, waits for READY=1 where the unit is of ``Type=notify``, starts again what ends as ``Restart`` and
``RestartPreventExitStatus`` say, and starts what a unit wants along with it. Sandboxing is systemd's own, and is
looked at elsewhere. Output goes to /run/journal.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RUN = Path("/run/units")
JOURNAL = Path("/run/journal")
PLACES = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
STATE = {"activating": 3, "active": 0, "inactive": 3, "failed": 1}


class Unit:
    """A unit file of one instance: each key with all its values."""

    def __init__(self, name: str) -> None:
        self.name = name.removesuffix(".service")
        template, _, instance = self.name.partition("@")
        file = next(path for place in PLACES if (path := place / f"{template}@.service").exists())
        self._values: dict[str, list[str]] = {}
        for line in file.read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self._values.setdefault(key.strip(), []).append(value.strip().replace("%i", instance))

    def all(self, key: str) -> list[str]:
        return self._values.get(key, [])

    def one(self, key: str, default: str = "") -> str:
        return self.all(key)[-1] if self.all(key) else default

    @property
    def wanted(self) -> list[str]:
        return re.findall(r"holdfast-\S+", " ".join(self.all("Wants")))

    @property
    def file(self) -> Path:
        return RUN / self.name

    @property
    def state(self) -> str:
        return self.file.read_text().split()[0] if self.file.exists() else "inactive"

    def say(self, *words: object) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(" ".join(map(str, words)))
        part.rename(self.file)


class Keeper:
    """What systemd is for one unit: a process that starts it, and starts it again."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._stopping = False
        self._child: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self._child is not None and self._child.send_signal(signal.SIGHUP))

    def _stop(self, *_: object) -> None:
        self._stopping = True
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)

    def run(self) -> None:
        unit = self._unit
        while not self._stopping:
            code = self._once()
            if self._stopping:
                break
            if str(code) in unit.one("RestartPreventExitStatus").split() or unit.one("Restart") != "always":
                unit.say("failed", os.getpid(), code)
                return
            time.sleep(
                float(unit.one("RestartSec", "0.1").removesuffix("ms"))
                / (1000 if "ms" in unit.one("RestartSec") else 1)
            )
        unit.say("inactive")

    def _once(self) -> int:
        unit = self._unit
        unit.say("activating", os.getpid())
        user = unit.one("User", "root")
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        environment |= dict(each.split("=", 1) for each in unit.all("Environment"))
        for name in unit.one("StateDirectory").split():
            place = Path("/var/lib", name)
            place.mkdir(mode=int(unit.one("StateDirectoryMode", "0755"), 8), exist_ok=True)
            subprocess.run(["chown", f"{user}:{user}", place], check=True)
        notifies = unit.one("Type") == "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
            if notifies:
                at = RUN / f"{unit.name}.notify"
                at.unlink(missing_ok=True)
                said.bind(str(at))
                at.chmod(0o666)
                environment["NOTIFY_SOCKET"] = str(at)
            with (JOURNAL / unit.name).open("ab") as journal:
                self._child = subprocess.Popen(
                    shlex.split(unit.one("ExecStart")), user=user, group=user, extra_groups=[], env=environment,
                    umask=int(unit.one("UMask", "0022"), 8), stdin=subprocess.DEVNULL, stdout=journal, stderr=journal,
                    start_new_session=True, cwd="/",
                )  # fmt: skip
            ready = not notifies
            said.settimeout(0.1)
            while self._child.poll() is None:
                if ready:
                    unit.say("active", os.getpid(), self._child.pid)
                    return self._child.wait()
                try:
                    ready = b"READY=1" in said.recv(4096)
                except TimeoutError:
                    pass
            return self._child.returncode


def start(name: str) -> int:
    unit = Unit(name)
    for wanted in unit.wanted:
        start(wanted)
    if unit.state in ("active", "activating"):
        return 0
    unit.say("activating", 0)
    subprocess.Popen(
        [sys.executable, __file__, "keep", name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(JOURNAL / "systemctl").open("ab"),
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 90
    while unit.state == "activating" and time.monotonic() < end:
        time.sleep(0.05)
    return STATE[unit.state]


def stop(name: str) -> int:
    unit = Unit(name)
    if unit.state in ("active", "activating"):
        os.kill(int(unit.file.read_text().split()[1]), signal.SIGTERM)
    while unit.state in ("active", "activating"):
        time.sleep(0.05)
    return 0


def main() -> int:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    verb, names = words[0], words[1:]
    for place in (RUN, JOURNAL):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
    if verb == "keep":
        Keeper(Unit(names[0])).run()
        return 0
    codes = [0]
    for name in names:
        if verb in ("restart", "stop"):
            codes.append(stop(name))
        if verb in ("restart", "start") or (verb == "enable" and "--now" in sys.argv):
            codes.append(start(name))
        if verb == "reload" or (verb == "try-reload-or-restart" and Unit(name).state == "active"):
            os.kill(int(Unit(name).file.read_text().split()[1]), signal.SIGHUP)
        if verb == "enable":
            Unit(name).file.with_suffix(".enabled").touch()
        if verb in ("is-enabled", "show"):  # as Ansible asks
            enabled = Unit(name).file.with_suffix(".enabled").exists()
            codes.append(0 if enabled or verb == "show" else 1)
            print("enabled" if enabled else "disabled") if verb == "is-enabled" else print(
                f"Id={name}\nLoadState=loaded\nActiveState={Unit(name).state}"
            )
        if verb == "status":
            print(name, Unit(name).state)
            codes.append(STATE[Unit(name).state])
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
