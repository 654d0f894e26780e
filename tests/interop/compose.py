"""docker/compose.yaml as it is run without Docker: services by the commands of their images, and the story of
docs/containers.md told with them."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from examples.demo_processes import ROOT
from tests.interop.programs import until

DOCKER: Final = ROOT / "docker"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
NODES: Final = {"m1": "server", "m2": "server", "gw1": "agent", "gw2": "agent"}
"""Of the compose file, and the target of each."""
PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile with all that it inherits from stages of the file."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def last(self, instruction: str) -> str:
        found = [text for name, text in self.steps if name == instruction]
        assert found, f"{self.name} has no {instruction}"
        return found[-1]

    def command(self, instruction: str = "CMD") -> list[str]:
        words: list[str] = json.loads(
            self.last(instruction).partition("[")[1] + self.last(instruction).partition("[")[2]
        )
        return words


def read_stages(dockerfile: Path) -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            inherited = found[base].steps if base in found else ()
            found[stage] = Stage(stage, base, inherited)
        elif name and found:
            last = list(found)[-1]
            found[last] = Stage(last, found[last].base, (*found[last].steps, (name, rest.strip())))
    return found


STAGES: Final = read_stages(DOCKER / "Dockerfile")


def network_of(name: str) -> str:
    """The service whose network a service uses: itself, or another one."""
    mode: str = SERVICES[name].get("network_mode", "")
    return mode.removeprefix("service:") or name


def address(name: str) -> str:
    """Of a service, or of the one whose network it uses."""
    return str(SERVICES[network_of(name)]["networks"]["site"]["ipv4_address"])


def target_of(name: str) -> str:
    """The target of the image that a service runs."""
    return str(SERVICES[name]["build"]["target"])


def command_of(name: str) -> list[str]:
    """What process 1 of a service runs below ``tini``."""
    return list(SERVICES[name].get("command") or STAGES[target_of(name)].command())


def health_check(name: str) -> list[str]:
    test = SERVICES[name].get("healthcheck", {}).get("test")
    words = list(test[1:]) if test else STAGES[target_of(name)].command("HEALTHCHECK")
    return [word.replace("$$", "$") for word in words]


class Engine(Protocol):
    """What stands in for Docker."""

    def start(self, name: str) -> None:
        """``docker compose start NAME``."""

    def kill(self, name: str) -> None:
        """``docker compose kill NAME``: SIGKILL to all processes of a container at once."""

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """``docker compose exec NAME COMMAND``."""

    def words(self) -> str:
        """The last words of all, for a failure."""


class ComposeSite:
    """The site of the compose file in an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.start, self.kill, self.run = engine.start, engine.kill, engine.run

    def healthy(self, name: str) -> bool:
        """By the health check of the service."""
        return self.run(name, *health_check(name)).returncode == 0

    def until_healthy(self, *names: str) -> None:
        until(lambda: all(self.healthy(name) for name in names), PATIENCE, self.engine.words, every=0.5)

    def up(self) -> None:
        """``docker compose up --wait`` of the site, and its first start."""
        for name in ("gw1-relay", "gw2-relay"):
            self.start(name)
        self.until_healthy("gw1-relay", "gw2-relay")
        for name in NODES:
            self.start(name)
        self.until_healthy(*NODES)
        done = self.run("m1", "b2bua", "init", "--node", "m1")
        assert done.returncode == 0, done.stderr
        until(lambda: self.active() == "m1", PATIENCE, self.engine.words, every=0.5)

    def status(self, name: str = "m2") -> dict[str, Any]:
        done = self.run(name, "b2bua", "status", "--format", "json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode < 3 else {}
        return found

    def active(self) -> str:
        """The active server, once it reaches both agents; empty while there is none."""
        found = self.status()
        name = str(found.get("active", ""))
        agents = [peer for peer in (found["servers"][name].get("peers", ()) if name else ()) if peer["name"] in NODES]
        reached = {peer["name"] for peer in agents if peer["reached"]}
        return name if {"gw1", "gw2"} <= reached else ""

    def until_active(self, name: str) -> None:
        until(lambda: self.active() == name, PATIENCE, self.engine.words, every=0.5)

    def talking(self) -> int:
        found = self.status()
        return int(found["servers"][found["active"]]["calls"]["talking"]) if found.get("active") else -1

    def until_talking(self, calls: int) -> None:
        until(lambda: self.talking() == calls, PATIENCE, self.engine.words, every=0.5)

    def asterisk(self, name: str, order: str) -> str:
        return self.run(name, "asterisk", "-rx", order).stdout

    def until_qualified(self, name: str) -> None:
        """Asterisk asks its agent every ten seconds, and calls none that did not answer last."""

        def available() -> bool:
            return "Avail" in self.asterisk(name, "pjsip show contacts").replace("Unavail", "")

        until(available, PATIENCE, self.engine.words, every=0.5)

    def packets(self, name: str) -> int:
        """RTP packets that came to an Asterisk on its only call; 0 while it has none."""
        rows = [line.split() for line in self.asterisk(name, "pjsip show channelstats").splitlines()]
        counts = [row[row.index(codec) + 1] for row in rows for codec in ("alaw", "ulaw") if codec in row]
        return int(counts[0]) if counts else 0

    def hears_on(self, name: str) -> None:
        """A second of audio more comes to an Asterisk."""
        before = self.packets(name)
        until(lambda: self.packets(name) > before + 50, 30, f"no audio comes to {name}", every=0.5)

    def tell_the_story(self) -> None:
        """Steps 3 to 7 of docs/containers.md, on a site that is up. Raises ``AssertionError`` where it fails."""
        for name in ("carrier", "pbx"):
            self.start(name)
        self.until_healthy("carrier", "pbx")

        self.until_qualified("carrier")
        self.asterisk("carrier", "channel originate PJSIP/2000@holdfast application Milliwatt")
        self.until_talking(1)
        self.hears_on("carrier")

        self.kill("m1")
        assert not self.healthy("m1")
        self.hears_on("carrier")
        self.until_active("m2")
        assert self.talking() == 1
        assert "kept" in self.run("m2", "b2bua", "explain", "takeover", "--calls").stdout
        self.start("m1")
        self.until_healthy("m1")

        self.kill("gw2")
        self.hears_on("carrier")
        self.start("gw2")
        self.until_healthy("gw2")
        self.until_active("m2")
        assert self.talking() == 1
        self.hears_on("carrier")

        self.until_qualified("pbx")
        self.asterisk("pbx", "channel originate PJSIP/0140506071@holdfast application Echo")
        self.until_talking(2)
        self.asterisk("carrier", "channel request hangup all")
        self.until_talking(0)
        kept = json.loads(self.run("m2", "b2bua", "cdrs", "--format", "json").stdout)["cdrs"]
        assert {(one["callee"], one["result"]) for one in kept} == {("2000", "answered"), ("0140506071", "answered")}

    def probe(self) -> dict[str, Any]:
        """Step 8: the station calls Asterisk's echo, and measures what it hears."""
        self.start("gw2-desk")
        look = ("gateway-agent", "station", "status", "desk")
        until(lambda: self.run("gw2-desk", *look).returncode == 0, PATIENCE, self.engine.words, every=0.5)
        done = self.run("gw2-desk", "gateway-agent", "probe", "desk", "2000", "--seconds", "5", "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
