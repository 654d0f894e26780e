"""baresip of Debian as telephone."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from tests.certificates import Authority
from tests.interop.played import WORDS
from tests.interop.programs import secure_head
from tests.interop.telephones import Telephone, TelephoneScene, TelephoneStage
from tests.interop.unpacked import Unpacked, unpacked

_CONFIG = """
poll_method epoll
sip_listen {host}:{sip}
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
{more}module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control}
"""


def package() -> Unpacked:
    return unpacked("baresip", ("baresip-core",))


class Baresip:
    """See :class:`~tests.interop.telephones.Telephone`."""

    def __init__(
        self, directory: Path, host: str, account: str, more: str = "", ports: tuple[int, int] = (5060, 4444)
    ) -> None:
        """``more``: lines of its configuration. Its media comes from where the system will have it: on loopback that
        is 127.0.0.1, whatever ``host`` says. ``ports``: those of SIP and of its control."""
        found = package()
        directory.mkdir()
        modules = found.root / "usr" / "lib" / "baresip" / "modules"
        config = _CONFIG.format(host=host, modules=modules, sip=ports[0], control=ports[1], more=more)
        (directory / "config").write_text(config)
        (directory / "accounts").write_text(account)
        self._control = host, ports[1]
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [found.program("baresip"), "-4", "-f", str(directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=found.environment,
            )  # fmt: skip

    @property
    def registered(self) -> bool:
        return "200 OK" in self.words()

    def words(self) -> str:
        return self._log.read_text(errors="replace")

    def dials(self, number: str) -> None:
        self._order("dial", f"sip:{number}@interop.test")

    def hangs_up(self) -> None:
        self._order("hangup")

    def holds(self) -> None:
        self._order("hold")

    def resumes(self) -> None:
        self._order("resume")

    def transfers(self, number: str) -> None:
        self._order("transfer", number)

    def _order(self, command: str, params: str = "") -> None:
        """A command of its menu."""
        text = json.dumps({"command": command, "params": params, "token": "t"})
        with socket.create_connection(self._control, 5, (self._control[0], 0)) as control:
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


class BaresipScene(TelephoneScene):
    peer = "baresip as phone"
    by = "udp"
    settings = 'digest = "MD5"\n'

    @classmethod
    def missing(cls) -> str:
        return package().because

    @property
    def version(self) -> str:
        found = package()
        said = subprocess.run([found.program("baresip"), "-h"], env=found.environment, capture_output=True, text=True)
        return (said.stdout + said.stderr).split()[1].removeprefix("v")

    def telephone(self, stage: TelephoneStage) -> Telephone:
        port = 5061 if self.by == "tls" else 5060
        account = (
            f"<sip:{stage.far_number}@interop.test;transport={self.by}>;auth_pass={WORDS['phone']};answermode=auto"
            f';outbound="sip:{self.net}12:{port};transport={self.by}";regint=60\n'
        )
        return Baresip(self.directory / stage.far_number, stage.host, account, self.more())

    def more(self) -> str:
        """Lines of its configuration."""
        return ""


class BaresipByTcpScene(BaresipScene):
    peer = "baresip as phone, by TCP"
    by = "tcp"
    wide = True
    features = BaresipScene.features[1:3]


class BaresipByTlsScene(BaresipScene):
    """It believes the agent by its certificate, and proves itself by its password."""

    peer = "baresip as phone, by TLS"
    by = "tls"
    wide = True
    features = BaresipScene.features[1:4]  # new calls reach it again when it registers again: every 60 s

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "site")
        super().__init__(directory)
        self.authority.issue("gw2", ["gw2.example"], addresses=[f"{self.net}12"])

    def head(self) -> str:
        return secure_head().replace(', clients = "required"', "")

    def more(self) -> str:
        return f"sip_cafile {self.authority.path}\n"
