"""linphone of Debian as telephone. Its mount namespace has /usr/share from its package, where it looks for files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.interop.played import PATIENCE, WORDS
from tests.interop.programs import until
from tests.interop.telephones import Telephone, TelephoneScene, TelephoneStage
from tests.interop.unpacked import Unpacked, unpacked

_CONFIG = """[sip]
sip_port=5060
sip_tcp_port=5060
use_ipv6=0
bind_address={host}
[rtp]
bind_address={host}
audio_rtp_port=30000-30100
"""
_INSIDE = 'mount --bind "$0"/usr/share /usr/share && exec "$@"'


def package() -> Unpacked:
    return unpacked("linphone", ("linphone-cli",))


class Linphone:
    """See :class:`~tests.interop.telephones.Telephone`. What it sounds comes from a file."""

    def __init__(self, directory: Path, host: str, agent: str, number: str, password: str) -> None:
        found = package()
        self._agent = agent
        (directory / ".local" / "share" / "linphone").mkdir(parents=True)
        (directory / "rc").write_text(_CONFIG.format(host=host))
        self._log = directory / "log"
        program = [found.program("linphonec"), "-a", "-c", str(directory / "rc"), "-d", "6", "-l", str(self._log)]
        with (directory / "screen").open("wb") as screen:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", _INSIDE, str(found.root), *program],
                stdin=subprocess.PIPE, stdout=screen, stderr=screen, text=True,
                env={**found.environment, "HOME": str(directory)},
            )  # fmt: skip
        until(lambda: "Creating listening point" in self.words(), PATIENCE, "linphone does not start")
        self._order("soundcard use files")
        self._order(f"register sip:{number}@interop.test sip:{agent} {password}")

    @property
    def registered(self) -> bool:
        return "to [LinphoneRegistrationOk]" in self.words()

    def words(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def dials(self, number: str) -> None:
        self._order(f"call sip:{number}@{self._agent}")  # a name it would look up

    def hangs_up(self) -> None:
        self._order("terminate all")

    def holds(self) -> None:
        self._order("pause")

    def resumes(self) -> None:
        self._order("resume")

    def transfers(self, number: str) -> None:
        self._order(f"transfer sip:{number}@interop.test")

    def _order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LinphoneScene(TelephoneScene):
    peer = "linphone as phone"
    wide = True

    @classmethod
    def missing(cls) -> str:
        if os.geteuid() != 0:
            return "linphone is given its files by a mount namespace, which needs root"
        if shutil.which("unshare") is None:
            return "linphone needs unshare: apt-get install util-linux"
        return package().because

    @property
    def version(self) -> str:
        found = package()
        words = [found.program("linphonec"), "-v"]
        said = subprocess.run(words, env=found.environment, capture_output=True, text=True)
        return said.stdout.split()[-1]

    def telephone(self, stage: TelephoneStage) -> Telephone:
        directory, agent = self.directory / stage.far_number, f"{self.net}12:5060"
        return Linphone(directory, stage.host, agent, stage.far_number, WORDS["phone"])
