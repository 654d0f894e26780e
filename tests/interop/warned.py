"""python -m tests.interop.warned [SCENE ...]

What an operator is warned of, provoked in a site of real processes, each node on a machine of its own (`machines`):
`b2bua status` must say it with its code, in its first lines and by its exit code, and be healthy again afterwards.
Without a scene named all are run, in their order. Needs root.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from examples.demo_processes import ROOT
from tests.certificates import Authority
from tests.interop import machines
from tests.interop.faults import head_of
from tests.interop.machines import NODES, Machines, fill, small_disk, take_away
from tests.interop.phones import Phone
from tests.interop.programs import PASSWORDS, Program, Site, phone_line, until

PATIENCE: Final = 40.0
_LINES: Final = """
[lines.carrier]
kind = "trunk"
agent = "gw1"
peer = "sip:{west}:5070"
channels = 10
options = {{ interval = 0.3, misses = 1 }}
[[routes]]
match = "9*"
to = ["carrier"]
"""
_MORE: Final = (
    '[lines.later]\nkind = "phone"\nagent = "gw2"\nnumbers = ["5009"]\npassword = { file = "bob.secret" }\n'
)


class Carrier:
    """Answers whatever comes, unless it is silent."""

    def __init__(self, host: str) -> None:
        self.silent = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 5070))
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            data, source = self._socket.recvfrom(65_535)
            kept = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
            lines = [line for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:] if line.lower().startswith(kept)]
            if not self.silent:
                answer = (b"SIP/2.0 200 OK", *lines, b"Content-Length: 0", b"", b"")
                self._socket.sendto(b"\r\n".join(answer), source)


class Scene:
    """A whole site, and what surrounds it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machines = Machines(directory)
        self.clock = directory / "clock"
        self.clock.write_text("0")
        self.machines.before["gw1"] = ["-m", "tests.interop.stepped", str(self.clock)]
        places = {name: f"10.77.0.{host}" for name, host in machines.HOSTS.items()}
        self.carrier = Carrier(places["west"])
        self.authority = Authority(directory, "authority")
        self.address = places["gw2"]
        self.certified(90.0)
        own = f'"udp:{self.address}:5060", "tcp:{self.address}:5060"'
        tls = 'tls = {{ certificate = "{dir}/gw2.pem", key = "{dir}/gw2.key" }}\n'
        head = head_of(places).replace(own, f'{own}, "tls:{self.address}:5061"')
        self.site = Site(
            directory,
            self.machines.net,
            phone_line("alice", "gw1") + phone_line("bob", "gw2") + _LINES.format(**places),
            head=head.replace("[agents.gw2]\n", f"[agents.gw2]\n{tls}"),
            passwords=PASSWORDS,
        )
        self.site.processes = self.machines
        self.site.programs = {name: Program(self.machines, name, self.site.path) for name in NODES}
        self.phone = Phone(f"{places['west']}:5060", speaks=False)
        self._registrar = f"{places['gw1']}:5060"
        for name in ("m1", "m2"):
            small_disk(self.state(name))

    def __getitem__(self, name: str) -> Program:
        return self.site[name]

    def state(self, name: str) -> Path:
        return self.directory / "state" / name

    def certified(self, days: float) -> None:
        """A certificate for gw2 of 91 days, which ends in so many."""
        self.authority.issue("gw2", addresses=[self.address], since=days - 91.0, until=days)

    def b2bua(self, *words: str) -> None:
        self._done(self.site.command(*words), words)

    def gateway_agent(self, *words: str) -> None:
        self._done(self.site.agent_command(*words), words)

    def _done(self, done: subprocess.CompletedProcess[bytes], words: tuple[str, ...]) -> None:
        assert done.returncode == 0, (words, done.returncode, done.stdout.decode() + done.stderr.decode())

    def calls_nobody(self) -> None:
        """A call that is refused, and has its record."""
        alice = self.phone.line("alice", self._registrar, PASSWORDS["alice"])
        self.phone.call(alice, "7777")

    def status(self) -> tuple[int, list[tuple[str, str]]]:
        """Exit code, and codes with their sentences."""
        done = self.site.command("status", "--format", "json")
        if done.returncode == 3:
            return 3, []
        page: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, [(alert["code"], alert["text"]) for alert in page["alerts"]]

    def close(self) -> None:
        self.phone.close()
        self.site.stop()
        for name in ("m1", "m2"):
            take_away(self.state(name))


class Warned(NamedTuple):
    """Something that is wrong."""

    begins: Callable[[Scene], None]
    said: dict[str, str]
    """Code -> words of its sentence."""
    ends: Callable[[Scene], None]


def _dies(*names: str) -> Callable[[Scene], None]:
    def kill(scene: Scene) -> None:
        for name in names:
            scene[name].kill()

    return kill


def _starts(*names: str) -> Callable[[Scene], None]:
    def start(scene: Scene) -> None:
        for name in names:
            scene[name].start()

    return start


def _silent(silent: bool) -> Callable[[Scene], None]:
    def set_it(scene: Scene) -> None:
        scene.carrier.silent = silent

    return set_it


def _says(*words: str) -> Callable[[Scene], None]:
    return lambda scene: scene.b2bua(*words)


def _agent_says(*words: str) -> Callable[[Scene], None]:
    return lambda scene: scene.gateway_agent(*words)


def _password_file(mode: int) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        (scene.directory / "bob.secret").chmod(mode)
        scene.gateway_agent("reload", "--agent", "gw2")

    return change


def _clock(seconds: str) -> Callable[[Scene], None]:
    def step(scene: Scene) -> None:
        scene.clock.write_text(seconds)

    return step


def _certificate(days: float) -> Callable[[Scene], None]:
    def renew(scene: Scene) -> None:
        scene.certified(days)
        scene.gateway_agent("reload", "--agent", "gw2")

    return renew


def _another_file(scene: Scene) -> None:
    with scene.site.path.open("a") as file:
        file.write(_MORE)
    scene.b2bua("reload", "--node", "m1")


def _the_same_file(scene: Scene) -> None:
    scene.b2bua("reload")
    scene.gateway_agent("reload")


def _no_file_of_epochs(scene: Scene) -> None:
    scene["gw1"].kill()
    (scene.state("gw1") / "gw1" / "epochs.json").unlink()
    scene["gw1"].start()


def _full(name: str) -> Callable[[Scene], None]:
    return lambda scene: fill(scene.state(name))


def _room(name: str) -> Callable[[Scene], None]:
    return lambda scene: (scene.state(name) / "fill").unlink()


def _records_wait(scene: Scene) -> None:
    fill(scene.state("m1"))
    scene.calls_nobody()


def _ends_in_order(scene: Scene) -> None:
    scene["m2"].signal(15)
    until(lambda: not scene["m2"].alive, PATIENCE, "m2 does not end")


SCENES: Final = {
    "only carrier": Warned(
        _silent(True),
        {"trunk-out": "carrier is out of service", "route-out": "no call can be made by routes[1] (9*)"},
        _silent(False),
    ),
    "drained agent": Warned(
        _agent_says("drain", "--agent", "gw2", "--yes", "--no-wait"),
        {"agent-draining": "gw2 drains"},
        _agent_says("resume", "--agent", "gw2"),
    ),
    "line busied out": Warned(
        _says("busyout", "bob"), {"line-busied-out": "bob takes no new calls"}, _says("busyout", "bob", "--end")
    ),
    "line reset": Warned(
        _says("reset", "bob", "--state", "out of service", "--yes"),
        {"line-reset": "bob was reset to out of service"},
        _says("reset", "bob", "--state", "idle", "--yes"),
    ),
    "paused": Warned(_says("pause"), {"paused": "automatic takeovers are paused"}, _says("resume")),
    "password that all may read": Warned(
        _password_file(0o644), {"agent-warns": "gw2 has warnings of its own (key-file)"}, _password_file(0o600)
    ),
    "clock": Warned(_clock("-7"), {"clock": "the clock of gw1 is 7."}, _clock("0")),
    "certificate": Warned(
        _certificate(2.0), {"agent-warns": "gw2 has warnings of its own (certificate)"}, _certificate(90.0)
    ),
    "another site file": Warned(_another_file, {"drift": "gw2"}, _the_same_file),
    "lost vote": Warned(_no_file_of_epochs, {"no-vote": "gw1 has no vote"}, _says("readmit", "gw1", "--yes")),
    "agent away": Warned(_dies("gw2"), {"agent-away": "gw2 is not connected to m1"}, _starts("gw2")),
    "way between the servers": Warned(
        lambda scene: scene.machines.cut("m1", "m2"),
        {"beats-cut": "m1 is not heard here, but agents hear it"},
        lambda scene: scene.machines.heal(),
    ),
    "stand-by that died": Warned(
        lambda scene: scene["m2"].die(), {"standby-dead": "m2 is dead: its supervisor saw it end"}, _starts("m2")
    ),
    "stand-by without a word": Warned(_dies("m2"), {"server-silent": "m2 is not heard: it is off"}, _starts("m2")),
    "stand-by that was stopped": Warned(
        _ends_in_order, {"server-silent": "m2 has ended in good order: nobody could take over"}, _starts("m2")
    ),
    "disk of the stand-by": Warned(
        _full("m2"), {"disk": "the disk of m2"}, _room("m2")
    ),
    "record backlog": Warned(
        _records_wait, {"records": "m1 cannot write call records", "disk": "the disk of m1"}, _room("m1")
    ),
}  # fmt: skip
"""By name."""


def _is_said(found: list[tuple[str, str]], wanted: dict[str, str]) -> bool:
    return all(any(code == each and words in text for each, text in found) for code, words in wanted.items())


def play(scene: Scene, name: str, warned: Warned) -> None:
    """Raises AssertionError."""
    began, last = time.monotonic(), (0, list[tuple[str, str]]())

    def said() -> bool:
        nonlocal last
        last = scene.status()
        return _is_said(last[1], warned.said)

    def well() -> bool:
        nonlocal last
        last = scene.status()
        return last == (0, [])

    warned.begins(scene)
    until(said, PATIENCE, lambda: f"{name}: nobody says it, but {last}\n{scene.site.words()}", 0.2)
    done = scene.site.command("status")
    assert done.returncode == 1, (name, done.returncode, done.stdout.decode())
    first = done.stdout.decode().splitlines()
    top = " ".join(line.removeprefix("!").strip() for line in first[1 : 4 + 3 * len(last[1])])
    assert "healthy" not in first[0], first[0]
    for words in warned.said.values():
        assert words in top, (name, words, first)
    warned.ends(scene)
    until(well, PATIENCE, lambda: f"{name}: it is over, but {last}\n{scene.site.words()}", 0.2)
    print(f"{time.monotonic() - began:5.1f} s  {name}", flush=True)


def never_started(scene: Scene) -> None:
    """Servers and agents run, and nobody has said `b2bua init`."""
    for program in scene.site.programs.values():
        program.start()
    code, found = 0, list[tuple[str, str]]()

    def said() -> bool:
        nonlocal code, found
        code, found = scene.status()
        return _is_said(found, {"no-active": "say `b2bua init`", "no-voters": "the site has no voters"})

    until(said, PATIENCE, lambda: f"that it was never started: {found}\n{scene.site.words()}", 0.2)
    assert code == 2, (code, found)
    scene.b2bua("init")
    until(scene.site.ready, PATIENCE, lambda: f"after init: {scene.status()}\n{scene.site.words()}")


def run(names: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-warned-") as directory:
        scene = Scene(Path(directory))
        try:
            never_started(scene)
            for name, warned in SCENES.items():
                if not names or name in names:
                    play(scene, name, warned)
        finally:
            scene.close()
    return 0


def main() -> int:
    if machines.is_inside():
        return run(sys.argv[1:])
    if why := machines.impossible():
        print(why, file=sys.stderr)
        return 2
    return subprocess.run(machines.enter("tests.interop.warned", *sys.argv[1:]), cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
