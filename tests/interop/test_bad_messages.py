"""What strangers may send to a site at work: clear answers or silence, as the standards say, and nothing lost by it.

One site for all tests. Through all of them a call stands between two phones of ours, with audio; after each a plain
OPTIONS is answered at every door and a new call goes through; at the end it still talks, no packet of it was lost,
the same server is active under the same epoch, and no log holds a traceback (see ``attacked`` and ``conftest``).
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.demo_processes import ROOT
from tests.interop.attacked import SDP, Scene
from tests.interop.strangers import Tcp, Udp, request, statuses

pytestmark = pytest.mark.interop

TORTURE = ROOT.parent / "shared" / "torture"


# -- bytes that are no SIP ------------------------------------------------------------------------------------------


def test_garbage_is_met_with_silence(scene: Scene) -> None:
    chance = random.Random(4475)
    for door, host in scene.udp_doors():
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
    for door in scene.tcp_doors():
        with Tcp(scene.stranger, door) as tcp:
            for _ in range(64):
                if not tcp.send(chance.randbytes(16384).replace(b"\r", b"")):
                    break
            assert tcp.closed(5), f"{door}: a megabyte that is no message, and still open"


def test_a_message_cut_short_anywhere_breaks_nothing(scene: Scene) -> None:
    for door, host in scene.udp_doors():
        with Udp(host, door) as udp:
            whole = request(
                "OPTIONS", f"sip:5002@{door[0]}", udp.via, body=SDP, lines=("Content-Type: application/sdp",)
            )
            for end in range(0, len(whole), 3):
                udp.send(whole[:end])
            udp.drain()
    for door in scene.tcp_doors():
        for end in range(1, 400, 40):
            with Tcp(scene.stranger, door) as tcp:
                whole = request("INVITE", f"sip:5002@{door[0]}", tcp.via, transport="TCP", body=SDP)
                tcp.send(whole[:end])


def test_streams_that_stand_half_way_hold_nobody_up(scene: Scene) -> None:
    with ExitStack() as held:
        for door in scene.tcp_doors():
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
    for door in scene.tcp_doors():
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
    scene.end_strange_calls()
    for door in scene.tcp_doors():
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
        scene.end_strange_calls()


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
    scene.end_strange_calls()


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
