"""Kamailio as dispatcher before two sites, one by mutual TLS, the other by UDP, both of which it asks by OPTIONS. Its
configuration for them is the one that ``b2bua check --dispatcher`` prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from examples.softphone_call import Line, Policy
from tests.certificates import Authority
from tests.interop import kamailio
from tests.interop.far_scenes import FAR, FarScene, FarStage
from tests.interop.kamailio import Kamailio
from tests.interop.phones import Phone, ended, talking
from tests.interop.played import PATIENCE, WORDS, Feature, Stage
from tests.interop.programs import HEAD, Site, network, secure_head, until

_AWAY = ("tcpconn_1st_send", "tcp_send failed", "precreated request failed", "Connection refused", "Connection reset")
_CALLS = 4
"""One after the other, so that each site has its turn."""


class DispatcherStage(FarStage):
    """q has a twin of the same number at the second site."""

    scene: DispatcherScene

    def __init__(self, scene: DispatcherScene, number: int) -> None:
        super().__init__(scene, number)
        self._twin: Line | None = None

    def twin(self) -> Line:
        """Registered with the second site."""
        if self._twin is None:
            self._twin = self.scene.twins.line(self.numbers["q"], f"{self.scene.second.net}11:5060", WORDS["phone"])
        self._twin.policy = Policy(answer_after=0.0)
        return self._twin

    def arrives_at(self) -> str:
        """Have the far phone call q's number, and hang up: ``first`` or ``second``; ``""`` where the call fails."""
        before = {call for line in (self.line("q"), self.twin()) for call in line.calls.values()}
        there = self.scene.far.call(self.far(), self.numbers["q"])
        until(lambda: talking(there) or ended(there), PATIENCE, "no answer")
        if not talking(there):
            return ""
        [here] = [
            call for line in (self.line("q"), self.twin()) for call in line.calls.values() if call not in before
        ]
        self.there("hang_up", there)
        self.ended(here, there)
        return "second" if here.line is self._twin else "first"

    def arrive_at(self, *wanted: str) -> None:
        """The dispatcher learns by OPTIONS that these sites take calls, and no others; new calls arrive there."""
        flags = {site: "AP" if site in wanted else "IP" for site in ("first", "second")}
        until(lambda: self.scene.flags() == flags, PATIENCE, lambda: f"the dispatcher has {self.scene.flags()}")
        found = [self.arrives_at() for _ in range(_CALLS)]
        assert set(found) == set(wanted), found


def calls_by_options(stage: DispatcherStage) -> Iterator[None]:
    stage.line("q", Policy(answer_after=0.0))
    stage.arrive_at("first", "second")
    yield
    second = stage.scene.second
    stage.arrive_at("first", "second")
    assert second.agent_command("drain", "--agent", "gw2", "--no-wait", "--yes").returncode == 0
    stage.arrive_at("first")
    assert second.agent_command("resume", "--agent", "gw2").returncode == 0
    stage.arrive_at("first", "second")
    active = second.active
    second[active].kill()
    heir = "m2" if active == "m1" else "m1"
    until(lambda: second.active == heir, PATIENCE, lambda: f"{heir} does not serve\n{second.words()}")
    stage.arrive_at("first", "second")
    second[heir].kill()
    stage.arrive_at("first")
    stage.scene.start_again("m1", "m2")
    stage.arrive_at("first", "second")
    second["gw2"].kill()
    assert {stage.arrives_at() for _ in range(2)} == {"first"}, "calls do not wait for the next OPTIONS"
    stage.arrive_at("first")


class DispatcherScene(FarScene):
    peer = "Kamailio as dispatcher, one site by mutual TLS, one by UDP"
    wide = True
    features = (
        Feature(
            "calls go to both in turn, after a server's death, too; none to a site that drains, has no server "
            "(OPTIONS: 503), or whose agent is dead",
            calls_by_options,
        ),
        FAR[0],
        FAR[1],
        FAR[7],
        FAR[8],
    )

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "site")
        super().__init__(directory)
        self.proxy = f"{self.net}31:5060"
        self.authority.issue("gw2", ["gw2.example"], addresses=[f"{self.net}12"])
        twins = "".join(stage.lines() for stage in self.stages.values())
        trunk = f'peer = "sip:{self.proxy}"\n'
        head = HEAD.replace('name = "interop"', 'name = "second"')
        self.second = Site(directory / "second", network(), twins + _trunk(trunk), passwords=WORDS, head=head)
        self._starter = ThreadPoolExecutor(1)
        self.twins = Phone(f"{self.net}71:5060")
        self.dispatcher: Kamailio | None = None

    def head(self) -> str:
        return secure_head()

    @classmethod
    def missing(cls) -> str:
        return kamailio.package().because

    @property
    def version(self) -> str:
        return kamailio.version()

    def stage(self, number: int) -> Stage:
        return DispatcherStage(self, number)

    def lines(self) -> str:
        return _trunk(f'peer = "sip:{self.net}31:5061;transport=tls"\ncertificate = "proxy.example"\n')

    def begin(self) -> None:
        directory = self.directory / "dispatcher"
        directory.mkdir()
        files = self.authority.issue("proxy", ["proxy.example"], addresses=[f"{self.net}31"])
        for file in (files.certificate, files.key, self.authority.path):
            shutil.copy(file, directory)
        config = (kamailio.SCRIPTS / "tls.cfg").read_text().replace("DIRECTORY", str(directory))
        (directory / "tls.cfg").write_text(config)
        done = self.site.command("check", "--site", str(self.second.path), "--dispatcher", "--format", "json")
        assert done.returncode == 0, done.stderr.decode()
        made = json.loads(done.stdout)
        (directory / "dispatcher.list").write_text(made["list"])
        (directory / "sites.cfg").write_text(made["config"])
        self.dispatcher = Kamailio(
            directory, "dispatcher.cfg", f"{self.net}31:5060", secure=f"{self.net}31:5061", next=f"{self.net}61:5060"
        )

    def flags(self) -> dict[str, str]:
        """What the dispatcher thinks of each site in the set of all: ``AP`` active, ``IP`` inactive, other letters
        while it tries. In a site's own set one that does not answer is found by its first call, or later by OPTIONS.
        """
        found = kamailio.package()
        words = [found.program("kamcmd"), "-s", f"unix:{self.directory}/dispatcher/ctl", "dispatcher.list"]
        said = subprocess.run(words, env=found.environment, capture_output=True, text=True, check=False).stdout
        all_sites = next((part for part in said.split("SET: {") if re.search(r"^\s*ID: 1$", part, re.M)), "")
        flags = dict(re.findall(r"URI: sip:([\d.]+):\S+\s+FLAGS: (\w+)", all_sites))
        return {"first": flags.get(f"{self.net}12", ""), "second": flags.get(f"{self.second.net}12", "")}

    def start(self) -> None:
        super().start()
        self.second.start()

    def stop(self) -> None:
        super().stop()
        self.twins.close()
        self.second.stop()
        self._starter.shutdown()

    def end(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.stop()

    def all_in_good_order(self) -> None:
        super().all_in_good_order()
        self.start_again("m1", "m2", "gw2")
        until(self.second.whole, PATIENCE, lambda: f"the second site is not whole\n{self.second.words()}")
        assert not self.second.bugs()

    def start_again(self, *names: str) -> None:
        """Those of the second site that are dead: not by the thread of a feature, with which they would end."""
        for name in names:
            if not self.second[name].alive:
                self._starter.submit(self.second[name].start).result()

    def complaints(self) -> list[str]:
        """But for those that a connection broke, or is refused: an agent was away."""
        found = self.dispatcher.complaints() if self.dispatcher is not None else []
        return [line for line in found if not any(word in line for word in _AWAY)]


def _trunk(peer: str) -> str:
    return f"""
[lines.carrier]
kind = "trunk"
agent = "gw2"
{peer}channels = 200
transfer = "serve"
options = {{ interval = 1 }}
[[routes]]
match = "2*"
to = ["carrier"]
"""
