"""Those who say that they are somebody else, or too much: nobody believes them, and a site at work bears it.

The site is that of ``test_bad_messages``.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import ExitStack

import pytest

from heartbeat import header as beats
from tests.interop.attacked import SDP, Scene
from tests.interop.programs import KEY
from tests.interop.strangers import Tcp, Udp, request, statuses

pytestmark = pytest.mark.interop

FLAT = 4 * 1024 * 1024
"""Bytes by which a program may grow between two equal floods: heaps breathe, and a huge page may be made of a few
small ones (``sip.io.huge_pages``)."""


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
                beat = beats.Beat("interop", "m2", 10**9, 99, beats.ACTIVE, n, kind=kind, to="m1", for_epoch=99)
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
        scene.end_strange_calls()
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
    for door in scene.tcp_doors():
        for _ in range(50):
            with Tcp(scene.stranger, door) as tcp:
                tcp.send(request("REGISTER", f"sip:{door[0]}", tcp.via, transport="TCP"))


def test_a_flood_from_strangers_is_refused_and_leaves_no_memory(scene: Scene) -> None:
    """Transactions of what was answered live for 64*T1, 6.4 s here; then all of it is gone."""
    flood(scene, 1000)
    scene.all_is_well()
    time.sleep(7)
    before = scene.rss()
    flood(scene, 1000)
    scene.all_is_well()
    time.sleep(7)
    after = scene.rss()
    grown = {name: after[name] - before[name] for name in before}
    assert max(grown.values()) < FLAT, grown


def test_a_stranger_with_many_connections_keeps_nobody_out(scene: Scene) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    for door in scene.tcp_doors():
        with ExitStack() as held:
            many = [held.enter_context(Tcp(scene.stranger, door)) for _ in range(1200)]
            closed = sum(tcp.closed(0.001) for tcp in many)
            assert closed >= 100, f"{door}: 1200 connections of one address, {closed} of them closed"
            with Tcp(scene.peer, door) as tcp:
                tcp.send(request("OPTIONS", f"sip:{door[0]}", tcp.via, transport="TCP"))
                assert statuses(tcp.receive(3)) in ([200], [403]), f"{door}: nobody else gets in"
            if door == scene.agent:
                scene.all_is_well()
