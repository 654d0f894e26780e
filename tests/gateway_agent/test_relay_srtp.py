"""The relay between a device with SRTP and one without, on real sockets."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator

import pytest

from gateway_agent.media.ports import Keys, RelaySettings, Remote
from tests.gateway_agent.test_relay import HOST, OTHER, PHONE, STRANGER, Bench

pylibsrtp = pytest.importorskip("pylibsrtp", reason="pylibsrtp is not here: pip install '.[srtp]'")
SUITE = "AES_CM_128_HMAC_SHA1_80"
OURS, THEIRS, OTHERS = (bytes([n]) * 30 for n in (1, 2, 3))


def keys(ours: bytes = OURS, theirs: bytes = THEIRS, suite: str = SUITE) -> Keys:
    return Keys(suite, b64encode(ours).decode(), b64encode(theirs).decode())


def session(key: bytes, inbound: bool, suite: str = SUITE) -> pylibsrtp.Session:
    kind = pylibsrtp.Policy.SSRC_ANY_INBOUND if inbound else pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    short = suite.endswith("32")
    profile = (
        pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32 if short else pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    )
    return pylibsrtp.Session(pylibsrtp.Policy(key, kind, 0, profile))


def rtp(number: int) -> bytes:
    return struct.pack(">BBHII", 0x80, 0, number, 160 * number, 7) + bytes([number % 256]) * 160


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench(RelaySettings((HOST,), 40_000, 40_999, ahead=4))
    yield found
    found.close()


class Secured:
    """A session between a phone with SRTP and one without."""

    def __init__(self, bench: Bench, suite: str = SUITE) -> None:
        self.bench = bench
        self.phone, self.other = bench.end(PHONE), bench.end(OTHER)
        here = Remote(*self.phone.getsockname(), self.phone.getsockname()[1] + 1, eager=True, types=(0,))
        there = Remote(*self.other.getsockname(), self.other.getsockname()[1] + 1, eager=True, types=(0,))
        self.a, self.b = bench.take(), bench.take()
        bench.ports.connect(self.a, self.b)
        bench.ports.set_remote(self.a, here, keys=keys(suite=suite))
        bench.ports.set_remote(self.b, there)
        bench.obeyed()
        self.here = here

    def dropped(self) -> int:
        counts = {tuple(pair): rest for pair, *rest in self.bench.obeyed()["counts"]}
        return int(counts[tuple(self.a)][2])


@pytest.mark.parametrize("suite", [SUITE, "AES_CM_128_HMAC_SHA1_32"])
def test_it_is_opened_one_way_and_sealed_the_other(bench: Bench, suite: str) -> None:
    call = Secured(bench, suite)
    sealing, opening = session(THEIRS, False, suite), session(OURS, True, suite)
    for number in range(3):
        call.phone.sendto(sealing.protect(rtp(number)), call.a)
        assert call.other.recv(2000) == rtp(number)
        call.other.sendto(rtp(number + 100), call.b)
        sealed = call.phone.recv(2000)
        assert sealed != rtp(number + 100) and opening.unprotect(sealed) == rtp(number + 100)


def test_rtcp_is_secured_too(bench: Bench) -> None:
    call = Secured(bench)
    report = struct.pack(">BBHI", 0x80, 201, 1, 7)
    call.phone.sendto(session(THEIRS, False).protect_rtcp(report), call.a)  # on the port of RTP (RFC 5761)
    assert call.other.recv(2000) == report
    call.other.sendto(report, call.b)
    assert session(OURS, True).unprotect_rtcp(call.phone.recv(2000)) == report


def test_what_is_not_sealed_by_its_key_or_came_before_is_dropped(bench: Bench) -> None:
    call = Secured(bench)
    sealing = session(THEIRS, False)
    first = sealing.protect(rtp(1))
    for packet in (rtp(0), session(OTHERS, False).protect(rtp(0)), b"", first, first):
        call.phone.sendto(packet, call.a)
    bench.end(STRANGER).sendto(sealing.protect(rtp(2)), call.a)
    assert call.other.recv(2000) == rtp(1)
    call.phone.sendto(sealing.protect(rtp(3)), call.a)
    assert call.other.recv(2000) == rtp(3)
    assert call.dropped() == 5


def test_a_direction_whose_key_stays_goes_on(bench: Bench) -> None:
    call = Secured(bench)
    sealing, opening = session(THEIRS, False), session(OURS, True)
    for number in (65_535, 65_536):  # the numbers wrap: only who has seen them opens the next
        call.phone.sendto(sealing.protect(rtp(number % 65_536)), call.a)
        call.other.recv(2000)
    bench.ports.set_remote(call.a, call.here, again=True, keys=keys(OTHERS))
    bench.obeyed()
    call.phone.sendto(sealing.protect(rtp(1)), call.a)
    assert call.other.recv(2000) == rtp(1)
    call.other.sendto(rtp(2), call.b)
    with pytest.raises(pylibsrtp.Error):
        opening.unprotect(sealed := call.phone.recv(2000))
    assert session(OTHERS, True).unprotect(sealed) == rtp(2)


def test_a_start_of_the_agent_finds_it_as_it_was(bench: Bench) -> None:
    call = Secured(bench)
    sealing = session(THEIRS, False)
    call.phone.sendto(sealing.protect(rtp(1)), call.a)
    assert call.other.recv(2000) == rtp(1)
    bench.disconnect()
    call.phone.sendto(sealing.protect(rtp(2)), call.a)
    assert call.other.recv(2000) == rtp(2)
    bench.connect(2)
    bench.hear("ready")
    call.phone.sendto(sealing.protect(rtp(3)), call.a)
    assert call.other.recv(2000) == rtp(3)


def test_keys_that_are_none_shut_the_session_and_are_not_said(bench: Bench) -> None:
    call = Secured(bench)
    bench.ports.set_remote(call.a, call.here, again=True, keys=Keys(SUITE, "c2hvcnQ=", "c2hvcnQ="))
    bench.flush()
    why = bench.hear("refused")["why"]
    assert "an order with keys" in why and "c2hvcnQ" not in why
    call.other.sendto(rtp(1), call.b)
    call.phone.sendto(session(THEIRS, False).protect(rtp(1)), call.a)
    bench.obeyed()
    call.phone.settimeout(0.05)
    with pytest.raises(TimeoutError):
        call.phone.recv(2000)
