"""What strangers may send to a site at work: clear answers or silence, as the standards say, and nothing lost by it.

One site for all tests. Through all of them a call stands between two phones of ours, with audio; after each a plain
OPTIONS is answered at every door and a new call goes through; at the end it still talks, no packet of it was lost,
the same server is active under the same epoch, and no log holds a traceback.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.demo_processes import ROOT
from examples.softphone_call import Call, Policy
from heartbeat import beat as beats
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import KEY, Site, network, until
from tests.interop.strangers import Tcp, Udp, request, statuses

pytestmark = pytest.mark.interop

TORTURE = ROOT.parent / "shared" / "torture"
PASSWORDS = {"alice": "in the looking-glass", "bob": "a builder of towers"}
LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
channels = 10
numbers = ["5001"]
password = {{ file = "alice.secret" }}
media = "relay"
[lines.bob]
kind = "phone"
agent = "gw2"
channels = 50
numbers = ["5002"]
password = {{ file = "bob.secret" }}
[lines.peer]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}31:5060"
channels = 1000
[lines.own]
kind = "trunk"
peer = "sip:{net}32:5060"
channels = 1000
"""
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
FLAT = 12 * 1024 * 1024
"""Bytes by which a program may grow between two equal floods: heaps breathe."""


class Scene:
    def __init__(self, directory: Path) -> None:
        net = self.net = network()
        self.site = Site(directory, net, LINES.format(net=net), passwords=PASSWORDS, timing="t1 = 0.1")
        self.agent, self.server = (f"{net}11", 5060), (f"{net}1", 5060)
        self.connections, self.beat = (f"{net}1", 5161), (f"{net}1", 5162)
        self.stranger, self.peer, self.own = f"{net}66", f"{net}31", f"{net}32"
        self.alices, self.bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")

    def start(self) -> None:
        self.site.start()
        net = self.net
        self.alice = self.alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        self.bob = self.bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        self.standing = self.call()
        (self.standing_there,) = self.bobs.core.calls
        self.epoch = self.site["m1"].view()["epoch"]

    def call(self) -> Call:
        call = self.alices.call(self.alice, "5002")
        until(lambda: talking(call) or ended(call), 8, "a call is not answered")
        assert talking(call), f"the call failed with {call.status}\n{self.site.words()}"
        return call

    def rss(self) -> dict[str, int]:
        return {name: program.rss for name, program in self.site.programs.items()}

    def all_is_well(self) -> None:
        """Every door answers, a new call goes through, the old one talks, nothing was decided."""
        for door in (self.agent, (f"{self.net}12", 5060), self.server):
            self.answers(door)
        call = self.call()
        self.alices.ask(self.alices.core.bye, call)
        until(lambda: ended(call), 5, "the call does not end")
        packets = self.alices.heard_audio(self.standing)
        until(lambda: self.alices.heard_audio(self.standing) > packets + 5, 5, "the audio has stopped")
        page = self.site["m1"].view()
        assert (page["state"], page["epoch"]) == ("active", self.epoch)
        assert self.site["m2"].view()["state"] == "standby"
        assert not self.site.bugs()

    def answers(self, door: tuple[str, int], host: str = "") -> None:
        """A plain OPTIONS is answered 200."""
        with Udp(host or self.stranger, door) as udp:
            status = udp.ask(request("OPTIONS", f"sip:{door[0]}:{door[1]}", udp.via))
        assert status == 200, f"OPTIONS to {door}: {status or 'no answer'}\n{self.site.words()}"

    def stop(self) -> None:
        for phone in (self.alices, self.bobs):
            phone.close()
        self.site.stop()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("site"))
    try:
        scene.start()
        scene.all_is_well()
        yield scene
        alices, standing = scene.alices, scene.standing
        assert talking(standing)
        alices.ask(alices.core.bye, standing)
        until(lambda: ended(standing) and not scene.bobs.core.calls, 5, "the standing call does not end")
        until(lambda: scene.site.idle("m1", "gw1", "gw2"), 15, lambda: f"a call is left over\n{scene.site.words()}")
        for audio in (*scene.alices.reports, *scene.bobs.reports):
            assert (audio.lost, audio.foreign, audio.corrupted) == (0, 0, 0), audio
    finally:
        scene.stop()


@pytest.fixture
def scene(opened: Scene) -> Iterator[Scene]:
    yield opened
    opened.all_is_well()


def udp_doors(scene: Scene) -> list[tuple[tuple[str, int], str]]:
    """Doors for datagrams, and who may knock there: a stranger and, where there is one, a known peer."""
    known = [(scene.agent, scene.peer), (scene.server, scene.own)]
    return [*known, *((door, scene.stranger) for door in (scene.agent, scene.server, scene.beat))]


def tcp_doors(scene: Scene) -> list[tuple[str, int]]:
    return [scene.agent, scene.server, scene.connections]


# -- bytes that are no SIP ------------------------------------------------------------------------------------------


def test_garbage_is_met_with_silence(scene: Scene) -> None:
    chance = random.Random(4475)
    for door, host in udp_doors(scene):
        with Udp(host, door) as udp:
            for length in (0, 1, 2, 3, 4, 5, 17, 200, 1400, 9000, 65507):
                udp.send(chance.randbytes(length))
                udp.send(b"\r\n" * (length // 2))
                udp.send(b"\0" * length)
                udp.send(b"INVITE " + chance.randbytes(length) + b"\r\n\r\n")
                udp.send(b"SIP/2.0 " + chance.randbytes(length) + b"\r\n\r\n")
            assert statuses(b"".join(udp.drain())) == [], door
            assert udp.receive(0.3) == b"", door


def test_garbage_on_a_stream_ends_at_the_limit(scene: Scene) -> None:
    chance = random.Random(3261)
    for door in tcp_doors(scene):
        with Tcp(scene.stranger, door) as tcp:
            for _ in range(64):
                if not tcp.send(chance.randbytes(16384).replace(b"\r", b"")):
                    break
            assert tcp.closed(5), f"{door}: a megabyte that is no message, and still open"


def test_a_message_cut_short_anywhere_breaks_nothing(scene: Scene) -> None:
    for door, host in udp_doors(scene):
        with Udp(host, door) as udp:
            whole = request(
                "OPTIONS", f"sip:5002@{door[0]}", udp.via, body=SDP, lines=("Content-Type: application/sdp",)
            )
            for end in range(0, len(whole), 3):
                udp.send(whole[:end])
            udp.drain()
    for door in tcp_doors(scene):
        for end in range(1, 400, 40):
            with Tcp(scene.stranger, door) as tcp:
                whole = request("INVITE", f"sip:5002@{door[0]}", tcp.via, transport="TCP", body=SDP)
                tcp.send(whole[:end])


def test_streams_that_stand_half_way_hold_nobody_up(scene: Scene) -> None:
    with ExitStack() as held:
        for door in tcp_doors(scene):
            for _ in range(60):
                tcp = held.enter_context(Tcp(scene.stranger, door))
                tcp.send(request("INVITE", f"sip:5002@{door[0]}", tcp.via, transport="TCP", body=SDP)[:150])
        scene.all_is_well()


# -- SIP that is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "status"),
    [("9999", 400), ("-1", 400), ("-999", 400), ("twelve", 400), ("1e2", 400), ("99999999999999999999", 400)],
)
def test_a_content_length_that_cannot_be_is_refused_in_a_datagram(scene: Scene, length: str, status: int) -> None:
    for door, host in ((scene.agent, scene.peer), (scene.server, scene.own)):
        with Udp(host, door) as udp:
            wrong = request("INVITE", f"sip:5002@{door[0]}", udp.via, body=SDP, change={"Content-Length": length})
            assert udp.ask(wrong) == status, door  # RFC 3261 section 18.3


def test_bytes_behind_the_body_of_a_datagram_are_left_out(scene: Scene) -> None:
    with Udp(scene.peer, scene.agent) as udp:
        options = request("OPTIONS", f"sip:{scene.agent[0]}", udp.via)
        assert udp.ask(options + request("INVITE", "sip:5002@h", udp.via)) == 200


@pytest.mark.parametrize(
    ("length", "least"),
    [("-1", 400), ("twelve", 400), (None, 400), ("99999999999999999999", 400), ("999999999", 400)],
)
def test_a_stream_whose_framing_is_lost_is_answered_and_closed(scene: Scene, length: str | None, least: int) -> None:
    for door in tcp_doors(scene):
        with Tcp(scene.stranger, door) as tcp:
            change = {"Content-Length": length}
            tcp.send(request("OPTIONS", f"sip:{door[0]}", tcp.via, transport="TCP", change=change))
            answer = tcp.receive(3)
            assert [status // 100 for status in statuses(answer)] in ([4], []), (door, answer)
            assert tcp.closed(5), door


SILENCE = 0
WRONG: list[tuple[str, dict[str, str | None], int]] = [
    # RFC 3261 section 8.2.6.2: an answer takes these from the request, so there can be none
    ("no From", {"From": None}, SILENCE),
    ("no To", {"To": None}, SILENCE),
    ("no Call-ID", {"Call-ID": None}, SILENCE),
    ("no CSeq", {"CSeq": None}, SILENCE),
    ("another method in CSeq", {"CSeq": "1 BYE"}, 400),
    ("a CSeq that is too large", {"CSeq": "4294967296 INVITE"}, 400),
    ("quotes without an end", {"To": '"Mr. J. User <sip:j.user@example.com>'}, 400),
    ("a From that is no address", {"From": "<<<>>>;tag=1"}, 400),
    ("no hops left", {"Max-Forwards": "0"}, 483),
    ("an extension nobody has", {"Require": "no-such-thing"}, 420),
    ("a Contact that is none", {"Contact": "<sip:"}, 400),
]


@pytest.mark.parametrize(("what", "change", "status"), WRONG, ids=[what for what, _, _ in WRONG])
def test_a_malformed_invite_gets_its_status(
    scene: Scene, what: str, change: dict[str, str | None], status: int
) -> None:
    with Udp(scene.peer, scene.agent) as udp:
        wrong = request("INVITE", f"sip:5002@{scene.agent[0]}", udp.via, change=change, body=SDP)
        if status == SILENCE:
            udp.send(wrong)
            assert not udp.receive(0.5)
        else:
            assert udp.ask(wrong) == status


def test_methods_versions_and_addresses_that_nobody_has(scene: Scene) -> None:
    with Udp(scene.peer, scene.agent) as udp:
        host = scene.agent[0]
        assert udp.ask(request("OPTIONS", f"sip:{host}", udp.via, version="SIP/7.0")) == 505
        assert udp.ask(request("DANCE", f"sip:5002@{host}", udp.via)) in (405, 501)
        assert udp.ask(request("BYE", f"sip:5002@{host}", udp.via, change={"To": f"<sip:5002@{host}>;tag=x"})) == 481
        assert udp.ask(request("INVITE", "mailto:5002@example.com", udp.via, body=SDP)) in (400, 404, 416)
        assert udp.ask(request("INVITE", f"sip:nobody@{host}", udp.via, body=SDP)) == 404


def test_what_is_too_large_is_refused_or_carried(scene: Scene) -> None:
    for door, host in ((scene.agent, scene.peer), (scene.server, scene.own)):
        with Udp(host, door) as udp:
            vias = tuple(f"Via: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK{n}" for n in range(1000))
            for big in (
                request("INVITE", f"sip:{'5' * 60000}@h", udp.via),
                request("INVITE", "sip:5002@h", udp.via, lines=("X-Long: " + "x" * 60000,)),
                request("INVITE", "sip:5002@h", udp.via, lines=vias),
                request("INVITE", "sip:5002@h", udp.via, lines=("a:b",) * 12000),
                request("INVITE", "sip:5002@h", udp.via, body=b"x" * 60000),
            ):
                udp.send(big)
            time.sleep(0.2)
            found = statuses(b"".join(udp.drain()))
            assert all(status in (100, 180, 200) or status >= 400 for status in found), found
    end_calls(scene)
    for door in tcp_doors(scene):
        with Tcp(scene.stranger, door) as tcp:
            change = {"Content-Length": str(64 * 1024 * 1024)}
            tcp.send(request("INVITE", "sip:5002@h", tcp.via, transport="TCP", change=change))
            for _ in range(64):
                if not tcp.send(b"x" * 1024 * 1024):
                    break
            assert tcp.closed(5), door


def nested(depth: int) -> bytes:
    """A multipart in a multipart in a …"""
    head = b"".join(b"--b%d\r\nContent-Type: multipart/mixed;boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    return head + b"--b%d\r\nContent-Type: application/sdp\r\n\r\n" % depth + SDP


def test_deeply_nested_multiparts_do_not_stop_anything(scene: Scene) -> None:
    with Udp(scene.peer, scene.agent) as udp:
        for depth in (1, 10, 100, 900):
            lines = ("Content-Type: multipart/mixed;boundary=b0",)
            status = udp.ask(
                request("INVITE", f"sip:5002@{scene.agent[0]}", udp.via, lines=lines, body=nested(depth))
            )
            assert status == 200 or 400 <= status < 500, (depth, status)
        end_calls(scene)


def end_calls(scene: Scene) -> None:
    """Bob hangs up whatever strange calls reached him."""
    bobs = scene.bobs
    time.sleep(0.3)
    for call in list(bobs.core.calls):
        if call is not scene.standing_there:
            bobs.ask(bobs.core.hang_up, call)


# -- messages that nobody here wrote --------------------------------------------------------------------------------


def torture(folder: str) -> Path:
    path = TORTURE / folder
    if not path.exists():
        pytest.skip("the torture messages (other people's data) are not at ../shared/torture")
    return path


def test_the_torture_messages_of_rfc_4475(scene: Scene) -> None:
    files = sorted(torture("rfc4475").glob("*.dat"))
    assert files
    for door, host in ((scene.agent, scene.peer), (scene.server, scene.own), (scene.agent, scene.stranger)):
        with Udp(host, door, 5060) as udp:
            for file in files:
                udp.send(file.read_bytes())
                assert udp.ask(request("OPTIONS", f"sip:{door[0]}", udp.via)) == 200, f"after {file.name} to {door}"
        for file in files:
            with Tcp(host, door) as tcp:
                tcp.send(file.read_bytes())
                tcp.receive(0.02)
    for file in files:
        with Tcp(scene.stranger, scene.connections) as tcp:
            tcp.send(file.read_bytes())


def test_the_protos_suite(scene: Scene) -> None:
    folder = torture("protos")
    cases = sorted(folder.glob("*.invite"))
    assert cases
    for door, host in ((scene.agent, scene.peer), (scene.server, scene.own)):
        with Udp(host, door) as udp:
            for case in cases:
                for method, template in (("INVITE", case), ("CANCEL", case.with_suffix(".teardown")), ("ACK", None)):
                    text = (template or case.with_suffix(".teardown")).read_bytes()
                    udp.send(filled(text, udp.via, f"5002@{door[0]}", case.stem, method))
                if int(case.stem) % 200 == 0:
                    assert udp.ask(request("OPTIONS", f"sip:{door[0]}", udp.via)) == 200, f"after case {case.stem}"
        for case in cases[::4]:
            with Tcp(host, door) as tcp:
                tcp.send(filled(case.read_bytes(), tcp.via, f"5002@{door[0]}", f"t{case.stem}", "INVITE"))
    end_calls(scene)


def filled(template: bytes, via: str, to: str, number: str, method: str) -> bytes:
    """A PROTOS template with its placeholders filled in."""
    host, _, port = via.partition(":")
    body = (
        template.partition(b"\r\n\r\n")[2]
        .replace(b"<From-Address>", host.encode())
        .replace(b"<From-IP>", host.encode())
    )
    values = {
        "From": f"peer@{host}", "To": to, "From-Name": "peer", "From-Address": host, "From-IP": host,
        "To-Name": "5002", "To-Address": to.partition("@")[2], "To-IP": to.partition("@")[2],
        "Call-ID": f"protos{number}", "CSeq": "1", "Local-Port": port, "Branch-ID": f"p{number}",
        "Teardown-Method": method, "Content-Length": str(len(body)),
    }  # fmt: skip
    for name, value in values.items():
        template = template.replace(f"<{name}>".encode(), value.encode())
    return template


# -- who is not whom he says ----------------------------------------------------------------------------------------


def beat_datagram(via: str, beat: beats.Beat, key: bytes, n: int) -> bytes:
    call_id = f"beat{n}@{via}"
    header = beats.serialize(beat, key, "OPTIONS", call_id, n)
    change = {"Call-ID": call_id, "CSeq": f"{n} OPTIONS"}
    return request("OPTIONS", "sip:m1@interop", via, change=change, lines=(f"Heartbeat: {header}",))


def test_beats_that_are_spoofed_are_not_believed(scene: Scene) -> None:
    """Another key, no mac, a mac for another message: silence or refusal, and nobody steps down."""
    high = beats.Beat("interop", "m2", 10**9, 99, beats.ACTIVE, 1, to="m1")
    with Udp(f"{scene.net}2", scene.beat) as near, Udp(scene.stranger, scene.beat) as far:
        for udp in (near, far):
            for n, kind in enumerate(sorted(beats.KINDS)):
                beat = beats.Beat("interop", "m2", 10**9, 99, beats.ACTIVE, n, kind=kind, to="m1", term=99)
                udp.send(beat_datagram(udp.via, beat, b"another key, of sixteen bytes and more", n))
            header = beats.serialize(high, KEY.encode(), "OPTIONS", "other", 1)
            udp.send(request("OPTIONS", "sip:m1@interop", udp.via, lines=(f"Heartbeat: {header}",)))
            udp.send(request("OPTIONS", "sip:m1@interop", udp.via, lines=(f"Heartbeat: {header[:-70]}",)))
            udp.send(request("OPTIONS", "sip:m1@interop", udp.via, lines=("Heartbeat: " + "a=b;" * 20000,)))
            assert all(status >= 400 for status in statuses(b"".join([udp.receive(0.5), *udp.drain()])))
        scene.all_is_well()


def test_beats_of_the_past_are_not_believed(scene: Scene) -> None:
    """Signed with the right key, but older than what was heard since, or caught on the wire and sent again."""
    if os.geteuid() != 0:
        pytest.skip("catching packets needs root")
    caught: list[bytes] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire:
        wire.bind(("lo", 0))
        wire.settimeout(0.5)
        end = time.monotonic() + 1.5
        while time.monotonic() < end and len(caught) < 20:
            try:
                packet = wire.recv(65535)
            except TimeoutError:
                continue
            datagram = packet[14 + 20 :]
            there = (packet[23], packet[30:34], datagram[2:4])
            if there == (17, socket.inet_aton(scene.beat[0]), scene.beat[1].to_bytes(2, "big")):
                caught.append(datagram[8:])
    assert caught, "no beat was seen on the wire"
    with Udp(scene.stranger, scene.beat) as udp:
        for _ in range(20):
            for data in caught:
                udp.send(data)
        old = beats.Beat("interop", "m2", 1, 1, beats.ACTIVE, 1, to="m1")
        for n in range(50):
            udp.send(beat_datagram(udp.via, old, KEY.encode(), n))
        udp.receive(0.3)
    scene.all_is_well()


def test_a_signed_claim_to_rule_without_proof_moves_nobody(scene: Scene) -> None:
    """Even who has the site key needs the grants of a quorum: a higher epoch alone fences the main off nothing."""
    with Udp(scene.stranger, scene.beat) as udp:
        for n in range(5):
            high = beats.Beat("interop", "m2", 1, 1000 + n, beats.ACTIVE, n, to="m1", proof="x")
            udp.send(beat_datagram(udp.via, high, KEY.encode(), n))
        udp.receive(0.3)
    time.sleep(0.5)
    scene.all_is_well()


def takeover(uri: str, via: str, transport: str) -> bytes:
    body = b'{"epoch": 99, "proof": "m2.99.1.aaaa"}'
    lines = (
        "Event: line-dialog;purpose=takeover", "Accept: application/line-dialog+json-seq;version=1", "Expires: 3600",
        "Content-Type: application/line-dialog-request+json", "Heartbeat: site=interop; node=m2; boot=9; epoch=99",
    )  # fmt: skip
    return request("SUBSCRIBE", uri, via, transport=transport, lines=lines, body=body)


def test_a_stranger_who_subscribes_to_take_over_learns_nothing(scene: Scene) -> None:
    host = scene.agent[0]
    for local in (scene.stranger, scene.peer, f"{scene.net}2"):
        with Udp(local, scene.agent) as udp:
            for purpose in (b"takeover", b"reset", b"observe"):
                asked = takeover(f"sip:gw1@{host}", udp.via, "UDP").replace(
                    b"purpose=takeover", b"purpose=" + purpose
                )
                udp.send(asked)
                answer = b"".join([udp.receive(2), *udp.drain()])
                assert statuses(answer) and min(statuses(answer)) >= 400, answer
                assert b"NOTIFY" not in answer and b"Heartbeat" not in answer, answer
            assert b"NOTIFY" not in udp.receive(0.3)
        with Tcp(local, scene.agent) as tcp:
            tcp.send(takeover(f"sip:gw1@{host}", tcp.via, "TCP"))
            answer = tcp.receive(2)
            assert statuses(answer) and min(statuses(answer)) >= 400, answer
            assert b"NOTIFY" not in answer + tcp.receive(0.3, 2)
    assert scene.site.obeys("gw1", "m1") and scene.site.obeys("gw2", "m1")


def test_a_connection_that_is_not_proved_gets_403_and_its_end(scene: Scene) -> None:
    host = scene.connections[0]
    with Tcp(scene.stranger, scene.connections) as tcp:
        for _ in range(4):
            tcp.send(
                request("INVITE", f"sip:5002@{host}", tcp.via, transport="TCP", lines=("Line: alice",), body=SDP)
            )
        assert set(statuses(tcp.receive(3, 4))) == {403}
        assert tcp.closed(3)
    with Tcp(scene.stranger, scene.connections) as tcp:
        beat = beats.Beat("interop", "gw1", 10**9, 1, beats.AGENT, 1, kind=beats.OPEN, to="m1", nonce="ab" * 16)
        header = beats.serialize(beat, b"another key, of sixteen bytes and more", "OPTIONS", "o", 1)
        change = {"Call-ID": "o"}
        line = (f"Heartbeat: {header}",)
        tcp.send(request("OPTIONS", "sip:m1@interop", tcp.via, transport="TCP", change=change, lines=line))
        answer = tcp.receive(3)
        assert statuses(answer) == [403] and b"Heartbeat" not in answer, answer
        assert tcp.closed(3)


def test_headers_of_the_site_mean_nothing_from_a_device_and_do_not_cross(scene: Scene) -> None:
    """They are neither believed nor passed on: the far phone sees none, the call is still the peer's."""
    ours = (
        "Call-State: 1.9.0123456789abcdef.eyJ4IjoxfQ.00", "Call-Origin: gw2;z9hG4bKx;1;n=7", "Line: alice",
        "Heartbeat: site=interop; node=m2; boot=9; epoch=99", "call-state: 1.1.x.y.z", "X-Own: passes",
    )  # fmt: skip
    scene.bobs.log.clear()
    with Udp(scene.peer, scene.agent) as udp:
        lines = (*ours, "Content-Type: application/sdp")
        invite = request("INVITE", f"sip:5002@{scene.agent[0]}", udp.via, lines=lines, body=SDP)
        assert udp.ask(invite) == 200
        page = scene.site["m1"].view("calls")
        assert [call["caller_line"].partition("/")[0] for call in page["calls"]].count("peer") == 1
        end_calls(scene)
        time.sleep(0.3)
        there = [each.text.lower() for each in scene.bobs.log]
        assert any("\nx-own" in text for text in there)
        for text in (*there, *(data.decode("latin-1").lower() for data in udp.drain())):
            assert not any(f"\n{name}" in text for name in ("call-state", "call-origin", "line:", "heartbeat"))


# -- too much of it -------------------------------------------------------------------------------------------------


def flood(scene: Scene, number: int) -> None:
    for door in (scene.agent, scene.server):
        with Udp(scene.stranger, door) as udp:
            for n in range(number):
                udp.send(request("INVITE", f"sip:{n}@{door[0]}", udp.via, body=SDP))
                udp.send(request("REGISTER", f"sip:{door[0]}", udp.via, change={"To": f"<sip:u{n}@interop.test>"}))
                udp.send(request("REGISTER", f"sip:{door[0]}", udp.via, change={"To": "<sip:alice@interop.test>"}))
                if n % 20 == 0:
                    time.sleep(0.02)
                    udp.drain()
            answers = statuses(b"".join([udp.receive(0.5), *udp.drain()]))
            assert all(status >= 400 for status in answers), sorted(set(answers))
    for door in tcp_doors(scene):
        for _ in range(50):
            with Tcp(scene.stranger, door) as tcp:
                tcp.send(request("REGISTER", f"sip:{door[0]}", tcp.via, transport="TCP"))


def test_a_flood_from_strangers_is_refused_and_leaves_no_memory(scene: Scene) -> None:
    """Transactions of what was answered live for 64*T1, 6.4 s here; then all of it is gone."""
    flood(scene, 1000)
    scene.all_is_well()
    time.sleep(7)
    before = scene.rss()
    for _ in range(2):
        flood(scene, 1000)
        scene.all_is_well()
        time.sleep(7)
    after = scene.rss()
    grown = {name: after[name] - before[name] for name in before}
    assert max(grown.values()) < FLAT, grown
