"""What is tried with baresip of Debian: one telephone for each feature, registered with the agent gw2."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from examples.softphone_call import Call
from sip.wire.sdp import direction
from tests.interop.played import PATIENCE, WORDS, Feature, Scene, Stage
from tests.interop.programs import until
from tests.interop.unpacked import Unpacked, unpacked

_CONTROL = 4444
_CONFIG = """
poll_method epoll
sip_listen {host}:5060
audio_player aubridge,x
audio_source aubridge,x
audio_alert aubridge,y
audio_srate 8000-8000
audio_channels 1-1
call_max_calls 4
net_interface {host}
rtp_ports 30000-30100
module_path {modules}
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control}
"""


def package() -> Unpacked:
    return unpacked("baresip", ("baresip-core",))


class Baresip:
    """One, with one account. It plays back what it hears, and answers at once."""

    def __init__(self, directory: Path, host: str, account: str) -> None:
        found = package()
        directory.mkdir()
        modules = found.root / "usr" / "lib" / "baresip" / "modules"
        (directory / "config").write_text(_CONFIG.format(host=host, modules=modules, control=_CONTROL))
        (directory / "accounts").write_text(account)
        self._host = host
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [found.program("baresip"), "-4", "-f", str(directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=found.environment,
            )  # fmt: skip

    def words(self) -> str:
        return self._log.read_text(errors="replace")

    def order(self, command: str, params: str = "") -> None:
        """A command of its menu."""
        text = json.dumps({"command": command, "params": params, "token": "t"})
        with socket.create_connection((self._host, _CONTROL), 5, (self._host, 0)) as control:
            control.sendall(f"{len(text)}:{text},".encode())
            heard = b""
            while b'"response":true' not in heard:  # events come besides
                heard += (more := control.recv(65536))
                assert more, heard
        assert b'"ok":true' in heard, heard

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class BaresipStage(Stage):
    scene: BaresipScene

    def __init__(self, scene: BaresipScene, number: int) -> None:
        super().__init__(scene, number)
        self.far_number = f"20{number:02}"
        self.host = f"{scene.net}{100 + number}"
        self.far: Baresip | None = None

    def lines(self) -> str:
        return super().lines() + (
            f'[lines.{self.far_number}]\nkind = "phone"\nagent = "gw2"\nchannels = 4\n'
            f'numbers = ["{self.far_number}"]\n'
            f'password = {{ file = "phone.secret" }}\ntransfer = "serve"\ndigest = "MD5"\n'
        )

    def telephone(self) -> Baresip:
        """Registered."""
        if self.far is None:
            by = self.scene.by
            account = (
                f"<sip:{self.far_number}@interop.test;transport={by}>;auth_pass={WORDS['phone']};answermode=auto"
                f';outbound="sip:{self.scene.net}12:5060;transport={by}";regint=60\n'
            )
            self.far = Baresip(self.scene.directory / self.far_number, self.host, account)
        until(lambda: "200 OK" in self.far.words(), PATIENCE, lambda: f"it does not register: {self.far.words()}")
        return self.far

    def audio(self, call: Call) -> int:
        """It need not keep to our packets: all that come count."""
        end = self.phone.socket.end_of(call)
        return end.watch.received + end.watch.foreign + end.watch.corrupted if end is not None else 0

    def is_called_by_it(self) -> Call:
        far, comes = self.telephone(), self.waits()
        far.order("dial", f"sip:{self.numbers['p']}@interop.test")
        call = comes()
        self.answered(call)
        return call


def is_registered(stage: BaresipStage) -> Iterator[None]:
    stage.telephone()
    yield
    stage.hangs_up(stage.talks(stage.far_number))


def calls_it(stage: BaresipStage) -> Iterator[None]:
    stage.telephone()
    call = stage.talks(stage.far_number)
    stage.hears(call)
    yield
    stage.hears(call)
    stage.hangs_up(call)


def is_called(stage: BaresipStage) -> Iterator[None]:
    call = stage.is_called_by_it()
    stage.hears(call)
    yield
    stage.hears(call)
    stage.telephone().order("hangup")
    stage.ended(call)


def holds(stage: BaresipStage) -> Iterator[None]:
    call = stage.is_called_by_it()
    stage.telephone().order("hold")
    until(lambda: call.held_there, PATIENCE, "its hold does not come")
    yield
    stage.telephone().order("resume")
    until(lambda: not call.held_there, PATIENCE, "the end of its hold does not come")
    stage.holds(call)
    stage.holds(call, False)
    # Its source of audio does not begin again after so many changes: what it says of it is looked at.
    assert direction(call.received_sdp) == "sendrecv"
    stage.hangs_up(call)


def transfers(stage: BaresipStage) -> Iterator[None]:
    call, comes = stage.is_called_by_it(), stage.waits("q")
    yield
    stage.telephone().order("transfer", stage.numbers["q"])
    other = comes()
    stage.answered(other)
    stage.hears(call, other)
    stage.hangs_up(call)
    stage.ended(other)


class BaresipScene(Scene):
    peer = "baresip as phone"
    by = "udp"
    features = (
        Feature("registration, with a password", is_registered),
        Feature("a call to it; media both ways", calls_it),
        Feature("a call by it; media both ways", is_called),
        Feature("hold and resumption by either side", holds),
        Feature("blind transfer by it (REFER)", transfers),
    )

    @classmethod
    def missing(cls) -> str:
        return package().because

    @property
    def version(self) -> str:
        found = package()
        said = subprocess.run([found.program("baresip"), "-h"], env=found.environment, capture_output=True, text=True)
        return (said.stdout + said.stderr).split()[1].removeprefix("v")

    def stage(self, number: int) -> Stage:
        return BaresipStage(self, number)

    def lines(self) -> str:
        return ""

    def begin(self) -> None:
        """They are started when their agent is there."""

    def end(self) -> None:
        for stage in self.stages.values():
            if isinstance(stage, BaresipStage) and stage.far is not None:
                stage.far.stop()


class BaresipByTcpScene(BaresipScene):
    peer = "baresip as phone, by TCP"
    by = "tcp"
    wide = True
    features = BaresipScene.features[1:3]
