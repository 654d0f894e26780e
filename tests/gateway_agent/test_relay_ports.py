import json

import pytest

from gateway_agent.media.ports import (
    Count,
    Counts,
    Pair,
    Ready,
    RelayPorts,
    RelaySettings,
    Remote,
    Silent,
    Trouble,
    remote_of,
)
from sip.wire.sdp import MediaAddress, SdpError

HOST = "127.0.0.1"
A, B, C = Pair(HOST, 20000), Pair(HOST, 20002), Pair(HOST, 20004)


def stocked() -> RelayPorts:
    ports = RelayPorts()
    assert ports.receive('{"is":"ready"}') == Ready(0)
    assert ports.receive(json.dumps({"is": "pairs", "pairs": [A, B, C]})) is None
    return ports


def said(ports: RelayPorts) -> list[tuple[object, ...]]:
    return [tuple(json.loads(line).values()) for line in ports.to_send()]


def test_a_call_takes_connects_and_releases_two_pairs() -> None:
    ports = stocked()
    assert [ports.take(HOST), ports.take(HOST)] == [A, B]
    ports.set_remote(A, Remote("192.0.2.1", 4000, 4001))
    ports.connect(A, B)
    ports.set_remote(B, Remote("192.0.2.2", 5000, 5001, "127.0.0.9"))
    ports.watch(A, 30.0)
    ports.count([A])
    assert ports.in_use == 2
    ports.release(A)
    ports.release(B)
    assert ports.in_use == 0
    assert said(ports) == [
        ("take", [*A]),
        ("take", [*B]),
        ("remote", [*A], ["192.0.2.1", 4000, 4001, "", False, "rtp", []]),
        ("connect", [*A], [*B]),
        ("remote", [*B], ["192.0.2.2", 5000, 5001, "127.0.0.9", False, "rtp", []]),
        ("watch", [*A], 30.0),
        ("count", [[*A]]),
        ("release", [*A]),
        ("release", [*B]),
    ]
    assert said(ports) == []


def test_what_is_said_twice_costs_nothing() -> None:
    ports = stocked()
    ports.take(HOST), ports.take(HOST)
    for _ in range(2):
        ports.set_remote(A, Remote("192.0.2.1", 4000, 4001))
        ports.connect(A, B)
        ports.connect(B, A)
        ports.watch(B, 30.0)
    assert [command for command, *_ in said(ports)] == ["take", "take", "remote", "connect", "watch"]


def test_what_is_described_again_is_said_again() -> None:
    ports = stocked()
    ports.take(HOST)
    there = Remote("192.0.2.1", 4000, 4001, types=(0, 8))
    for _ in range(2):
        ports.set_remote(A, there, again=True)
    ports.expect(A, (8,))
    ports.expect(A, (101,))
    assert ports.types(A) == (0, 8, 101)
    wire = ["192.0.2.1", 4000, 4001, "", False, "rtp"]
    assert said(ports)[1:] == [
        ("remote", [*A], [*wire, [0, 8]], True),
        ("remote", [*A], [*wire, [0, 8]], True),
        ("remote", [*A], [*wire, [0, 8, 101]]),
    ]


def test_a_pair_already_given_back_is_passed_over() -> None:
    ports = stocked()
    ports.take(HOST)
    ports.release(A)
    ports.release(A)
    assert said(ports) == [("take", [*A]), ("release", [*A])]


def test_no_ports_means_none_and_a_sentence() -> None:
    ports = RelayPorts()
    assert ports.take(HOST) is None
    assert "not running" in ports.shortage(HOST)
    ports = stocked()
    assert [ports.take(HOST) for _ in range(4)] == [A, B, C, None]
    assert "no pair of ports ready on 127.0.0.1" in ports.shortage(HOST)
    short = {"is": "short", "address": HOST, "why": "all ports are in use"}
    assert ports.receive(json.dumps(short)) == Trouble("all ports are in use")
    assert ports.shortage(HOST) == "all ports are in use"
    assert "no pair of ports ready on ::1" in ports.shortage("::1")
    assert ports.receive(json.dumps({**short, "why": ""})) is None
    assert "at this moment" in ports.shortage(HOST)


def test_the_next_process_is_told_of_all_that_is_in_use() -> None:
    ports = stocked()
    for _ in range(3):
        ports.take(HOST)
    ports.connect(A, B)
    ports.set_remote(A, Remote("192.0.2.1", 4000, 4001))
    ports.watch(B, 30.0)
    ports.lost()
    ports.set_remote(C, Remote("192.0.2.3", 6000, 6001))
    ports.set_remote(A, None)
    assert ports.take(HOST) is None
    assert said(ports) == []
    assert ports.receive('{"is":"ready"}') == Ready(1)
    assert said(ports) == [
        ("bind", [*A]),
        ("bind", [*B]),
        ("bind", [*C]),
        ("remote", [*C], ["192.0.2.3", 6000, 6001, "", False, "rtp", []]),
        ("connect", [*A], [*B]),
        ("watch", [*B], 30.0),
    ]
    ports.offer([A, Pair(HOST, 20006)])
    assert ports.in_stock(HOST) == 1


def test_one_side_released_ends_the_session() -> None:
    ports = stocked()
    ports.take(HOST), ports.take(HOST)
    ports.connect(A, B)
    ports.release(A)
    assert ports.receive('{"is":"ready"}') == Ready(0)
    assert [command for command, *_ in said(ports)] == ["bind"]


def test_a_pair_connected_anew_leaves_the_one_before() -> None:
    ports = stocked()
    for _ in range(3):
        ports.take(HOST)
    ports.connect(A, B)
    ports.connect(A, C)
    assert ports.receive('{"is":"ready"}') == Ready(1)
    assert said(ports)[3:] == [("connect", [*A], [*C])]


def test_notices_become_values() -> None:
    ports = stocked()
    assert ports.receive(
        b'{"is":"silent","pairs":[["127.0.0.1",20000],["127.0.0.1",20002]],"seconds":31.5}'
    ) == Silent((A, B), 31.5)
    assert ports.receive('{"is":"counts","counts":[[["127.0.0.1",20000],5,860,1,null]]}') == Counts(
        (Count(A, 5, 860, 1, None),)
    )
    assert ports.receive('{"is":"refused","why":"no"}') == Trouble("no")
    assert ports.receive('{"is":"something of a later version"}') is None


def test_a_payload_type_that_only_looks_like_a_number_is_passed_over() -> None:
    """A superscript is a digit, and no number."""
    place = MediaAddress("127.0.0.21", 4000, 4001, "RTP/AVP", "audio", False, 1, ("0", "\xb2", "1000", "101"))
    assert remote_of(place).types == (0, 101)


def test_remotes_come_from_numeric_addresses_only() -> None:
    at = MediaAddress("2001:db8::1", 4000, 4005, "RTP/AVP", "audio", False)
    assert remote_of(at, "2001:db8::2") == Remote("2001:db8::1", 4000, 4005, "2001:db8::2")
    assert remote_of(at._replace(address="phone.example"), "192.0.2.1", True) == Remote(
        "192.0.2.1", 4000, 4005, "192.0.2.1", True
    )
    audio = at._replace(formats=("8", "0", "101", "0", "x"))
    assert remote_of(audio).types == (0, 8, 101) and remote_of(audio).kind == "rtp"
    assert [remote_of(at._replace(proto=proto)).kind for proto in ("udptl", "UDP/BFCP")] == ["udptl", ""]
    for name in ("phone.example", "fe80::1%eth0", ""):
        with pytest.raises(SdpError, match="not a numeric address"):
            remote_of(at._replace(address=name))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"low": 30000, "high": 20000}, "no range"),
        ({"low": 80}, "no range"),
        ({"addresses": ()}, "needs an address"),
        ({"addresses": ("localhost",)}, "not numeric"),
        ({"sessions": 0}, "at least 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], sentence: str) -> None:
    good = {"addresses": (HOST,), "low": 20000, "high": 20999}
    assert RelaySettings.from_json(RelaySettings(**good).to_json()) == RelaySettings(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=sentence):
        RelaySettings(**{**good, **settings})  # type: ignore[arg-type]
