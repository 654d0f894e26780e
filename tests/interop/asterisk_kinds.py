"""Asterisk as a PBX of other kinds: by mutual TLS, with session timers, and with a fax machine (T.38)."""

from __future__ import annotations

import re
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from examples.softphone_call import Call
from tests.certificates import Authority
from tests.interop.asterisk import Asterisk
from tests.interop.asterisk_scenes import BASIC, MORE, AsteriskScene, AsteriskStage
from tests.interop.played import PATIENCE, Feature
from tests.interop.programs import secure_head, until

EXPIRES: Final = 90
"""Seconds of a session: the least that there is (RFC 4028 section 5)."""
_LAPSED: Final = 70.0
"""Seconds after which who does not refresh has ended a session that nobody refreshed (section 10)."""
_FAX_TAKES: Final = 60.0


class AsteriskByTlsScene(AsteriskScene):
    """Each shows its certificate, and wants one of the other."""

    peer = "Asterisk as PBX, by mutual TLS"
    features = (*BASIC[:3], *BASIC[8:], *MORE[5:7], MORE[9])  # a call that rings dies with its connection
    wide = True

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "site")
        super().__init__(directory)
        self.authority.issue("gw2", ["gw2.example"], addresses=[f"{self.net}12"])

    def head(self) -> str:
        return secure_head()

    def lines(self) -> str:
        by = f'peer = "sip:{self.net}22:5061;transport=tls"\ncertificate = "pbx.example"'
        return super().lines().replace(f'peer = "sip:{self.net}22:5060"', by)

    def begin(self) -> None:
        files = self.authority.issue("pbx", ["pbx.example"], addresses=[f"{self.net}22"])
        keys = self.directory / "keys"
        keys.mkdir()
        for source, name in ((files.certificate, "cert"), (files.key, "key"), (self.authority.path, "ca")):
            shutil.copy(source, keys / f"{name}.pem")
        self.asterisk = Asterisk(
            self.role, self.directory / "asterisk", f"{self.net}22:5061", f"{self.net}12:5061", tls=keys,
            endpoint=self.endpoint,
        )  # fmt: skip

    def complaints(self) -> list[str]:
        """It says so when the connection of an agent that was killed breaks off."""
        return [line for line in super().complaints() if "SSL" not in line]


def is_refreshed_by_us(stage: TimerStage) -> Iterator[None]:
    call = stage.talks("2600")
    yield from stage.outlives_its_session(call, "<==")


def is_refreshed_by_it(stage: TimerStage) -> Iterator[None]:
    call = stage.originates()
    stage.answered(call)
    yield from stage.outlives_its_session(call, "==>")


class TimerStage(AsteriskStage):
    def outlives_its_session(self, call: Call, arrow: str) -> Iterator[None]:
        """A call that has just been answered, and on which way its refresh has to be seen in Asterisk's history."""
        over_at = time.monotonic() + _LAPSED
        before = self.refreshes(arrow)
        yield
        until(lambda: time.monotonic() > over_at, 2 * _LAPSED, "")
        assert self.refreshes(arrow) > before, self.peer.cli("pjsip show history")
        self.hears(call)
        self.hangs_up(call)

    def refreshes(self, arrow: str) -> int:
        """Requests within sessions that went that way."""
        again = re.compile(rf" {arrow} .*(UPDATE |INVITE sip:(asterisk@)?127\.)")  # else there is a number in it
        return len(again.findall(self.peer.cli("pjsip show history")))


class SessionTimerScene(AsteriskScene):
    """A session that nobody refreshes does not live for as long as is waited for."""

    peer = "Asterisk as PBX, session timers of 90 s"
    endpoint = f"timers=always\ntimers_min_se={EXPIRES}\ntimers_sess_expires={EXPIRES}"
    wide = True
    features = (
        Feature("a call to it is refreshed before its session ends, by us", is_refreshed_by_us),
        Feature("a call by it is refreshed before its session ends, by it", is_refreshed_by_it),
    )

    def stage(self, number: int) -> TimerStage:
        return TimerStage(self, number)

    def begin(self) -> None:
        super().begin()
        self.asterisk.cli("pjsip set history on")

    def lines(self) -> str:
        timer = f"session_timer = {{ expires = {EXPIRES}, min_se = {EXPIRES} }}\n"
        return super().lines().replace("channels = 200\n", f"channels = 200\n{timer}")


def sends_a_fax(stage: AsteriskStage) -> Iterator[None]:
    spool = stage.scene.directory / "asterisk" / "spool"
    taken = spool / "taken.tif"
    taken.unlink(missing_ok=True)
    (spool / "sent.tif").write_bytes(white_page(rows=1000))
    before = stage.faxes()
    stage.peer.cli("channel originate PJSIP/2608@agent application SendFAX /mnt/spool/sent.tif")
    until(
        lambda: stage.peer.cli("fax show sessions").count("T.38") >= 2, PATIENCE, "the call does not change to T.38"
    )
    yield
    until(lambda: stage.faxes() == before + 2, _FAX_TAKES, lambda: stage.peer.cli("fax show stats"))
    until(lambda: not stage.peer.channels, PATIENCE, "the call does not end")
    assert height(taken.read_bytes()) == 1000


def phone_takes_no_fax(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2608")
    yield
    until(lambda: stage.told("refused", call), PATIENCE, "no T.38 is offered")
    stage.peer.redirect(stage.number, "2600")
    stage.hears(call)
    stage.hangs_up(call)


class FaxStage(AsteriskStage):
    def faxes(self) -> int:
        """How many were sent or taken by T.38 without a fault."""
        said = self.peer.cli("fax show stats").partition("Spandsp T.38")[2]
        return int(said.partition("Success")[2].partition(":")[2].split()[0])


class FaxScene(AsteriskScene):
    """Both fax machines are Asterisk's: each leg of the call is relayed (UDPTL)."""

    peer = "Asterisk as PBX with fax machines"
    endpoint = "t38_udptl=yes\nt38_udptl_ec=redundancy\nt38_bind_udptl_to_media_address=yes"
    wide = True
    features = (
        Feature("a fax to itself by way of us: re-INVITE to T.38, UDPTL relayed", sends_a_fax),
        Feature("our phone takes no T.38 (488): the call goes on as it was", phone_takes_no_fax),
    )

    def stage(self, number: int) -> FaxStage:
        return FaxStage(self, number)

    def complaints(self) -> list[str]:
        """That a phone is no fax machine is no fault of ours."""
        return [line for line in super().complaints() if "refused to negotiate T.38" not in line]


def white_page(rows: int, width: int = 1728) -> bytes:
    """A TIFF file of one page in the coding of Group 4 (ITU-T T.6), where a white row is one bit."""
    data = b"\xff" * (rows // 8) + bytes.fromhex("00100100")
    short, long, fraction = 3, 4, 5
    at = 8 + len(data)
    entries = [
        (256, long, width), (257, long, rows), (258, short, 1), (259, short, 4), (262, short, 0), (273, long, 8),
        (277, short, 1), (278, long, rows), (279, long, len(data)), (282, fraction, at), (283, fraction, at + 8),
        (296, short, 2),
    ]  # fmt: skip
    out = struct.pack("<2sHI", b"II", 42, at + 16) + data + struct.pack("<IIII", 204, 1, 98, 1)
    out += struct.pack("<H", len(entries))
    return out + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)


def height(tiff: bytes) -> int:
    """Rows of the first page of a TIFF file, in the byte order of Intel."""
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    entries = [struct.unpack_from("<HHII", tiff, at + 2 + 12 * number) for number in range(count)]
    return next(int(value) for tag, _, _, value in entries if tag == 257)
