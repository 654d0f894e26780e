"""Messages gathered from several processes: each once, as a ladder and as a capture file."""

from __future__ import annotations

import ipaddress
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from heartbeat import tracing
from heartbeat.console import traces
from heartbeat.console.client import Client
from heartbeat.console.errors import ConsoleError, RefusedByProcess, Unreachable
from heartbeat.console.ladder import Ladder, lanes, what
from heartbeat.console.pcap import capture
from heartbeat.console.render import Console
from heartbeat.console.schema import as_json
from heartbeat.console.trace_command import trace
from heartbeat.console.traces import Gathering, Hop, joined
from heartbeat.console.views.calls import CallLeg, KnownCall, KnownCalls, Trace, TracedMessage
from heartbeat.site.values import Api

INVITE = "INVITE sip:b@x SIP/2.0\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
OK = "SIP/2.0 200 OK\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\n\r\n"


def said(
    at: float, sent: bool, text: str, call_id: str = "s1", local: str = "127.0.0.1:5161",
    remote: str = "127.0.0.11:40000", peer: str = "", transport: str = "tcp",
) -> TracedMessage:  # fmt: skip
    return TracedMessage(at, sent, transport, local, remote, peer, call_id, text.format(call_id))


def of_agent(at: float, sent: bool, text: str) -> TracedMessage:
    return said(at, sent, text, "s1", "127.0.0.11:0", "127.0.0.1:5161", "m1")


def of_device(at: float, sent: bool, text: str) -> TracedMessage:
    return said(at, sent, text, "d1", "127.0.0.11:5060", "127.0.0.31:5060", "left", "udp")


AGENT = (
    of_device(10.000, False, INVITE),
    of_agent(10.001, True, INVITE),
    of_agent(10.004, False, OK),
    of_device(10.005, True, OK),
)
SERVER = (said(10.002, False, INVITE, peer="gw1"), said(10.003, True, OK, peer="gw1"))


def test_what_two_ends_tell_of_is_one_message_from_where_to_where_each_knows_best() -> None:
    hops = joined({"gw1": AGENT, "m1": SERVER})
    assert [(hop.at, hop.source, hop.target, hop.told_by) for hop in hops] == [
        (10.000, "left", "gw1", ("gw1",)),
        (10.001, "gw1", "m1", ("gw1", "m1")),
        (10.003, "m1", "gw1", ("m1", "gw1")),
        (10.005, "gw1", "left", ("gw1",)),
    ]
    assert [(hop.from_address, hop.to_address) for hop in hops[1:3]] == [
        ("127.0.0.11:40000", "127.0.0.1:5161"),
        ("127.0.0.1:5161", "127.0.0.11:40000"),
    ]


def test_repetitions_are_messages_of_their_own_and_one_end_is_enough() -> None:
    again = (of_agent(10.001, True, INVITE), of_agent(10.501, True, INVITE), of_agent(99.0, True, INVITE))
    hops = joined({"gw1": again, "m1": (SERVER[0], said(10.502, False, INVITE, peer="gw1"))})
    assert [(hop.at, hop.told_by) for hop in hops] == [
        (10.001, ("gw1", "m1")),
        (10.501, ("gw1", "m1")),
        (99.0, ("gw1",)),
    ]
    (alone,) = joined({"m1": (said(1.0, False, INVITE),)})
    assert (alone.source, alone.target, alone.from_address) == ("127.0.0.11:40000", "m1", "127.0.0.11:40000")


class Site:
    """Processes that answer what they know."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = {
            "m1": [
                KnownCall("aaaa", (CallLeg("s1", "m1", "gw1"), CallLeg("s2", "m1", "gw2")), "1", "2", "failed", 9.0)
            ],
            "gw1": [KnownCall("", (CallLeg("s1", "gw1", "servers"), CallLeg("d1", "gw1", "left/1")))],
            "gw2": [KnownCall("", (CallLeg("s2", "gw2", "servers"), CallLeg("d2", "gw2", "right")))],
        }
        self.messages = {"m1": SERVER, "gw1": AGENT, "gw2": ()}
        self.silent: dict[str, ConsoleError] = {}
        self.off = ""
        """Who remembers nothing."""
        self.asked: list[tuple[str, str]] = []
        monkeypatch.setattr(traces, "ask_all", self.ask_all)

    def clients(self) -> list[Client]:
        names = (*self.calls, *self.silent)
        return [Client(name, Api(path="/nowhere"), is_agent=name.startswith("gw")) for name in names]

    def ask_all(self, clients: list[Client], page: str, **params: str) -> dict[str, Any]:
        self.asked += [(client.name, page) for client in clients]
        return {client.name: self._page(client.name, page, params) for client in clients}

    def _page(self, name: str, page: str, params: Mapping[str, str]) -> Any:
        if name in self.silent:
            return self.silent[name]
        ids = set(params.get("id", "").split(",")) - {""}
        if page == "trace":
            found = tuple(message for message in self.messages[name] if message.call_id in ids)
            return as_json(Trace(name, int(name != self.off), 1.0, found))
        chosen = [
            call
            for call in self.calls[name]
            if (params.get("failed") and call.id)
            or (params.get("line") and any(leg.towards.startswith(params["line"]) for leg in call.legs))
            or ids & {call.id, *(leg.call_id for leg in call.legs)}
        ]
        return as_json(KnownCalls(tuple(chosen)))


@pytest.mark.parametrize("about", ["aaaa", "s1", "s2", "d1", "d2"])
def test_any_id_leads_to_all_dialogs_of_the_call(monkeypatch: pytest.MonkeyPatch, about: str) -> None:
    (call,) = Gathering(Site(monkeypatch).clients()).known(id=about)
    assert traces.ids_of(call) == {"aaaa", "s1", "s2", "d1", "d2"}
    assert (call.id, call.caller, call.state) == ("aaaa", "1", "failed")


def test_the_last_calls_of_all_servers_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    old = KnownCall("bbbb", (), state="failed", started_at=1.0)
    site.calls = {"m2": [old], **site.calls}
    site.messages["m2"] = ()
    gathering = Gathering(site.clients())
    assert [call.id for call in gathering.known(failed="yes", limit="5")] == ["aaaa", "bbbb"]
    assert [call.id for call in gathering.known(failed="yes", limit="1")] == ["aaaa"]


def test_who_does_not_answer_is_said_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    site.silent = {"m2": Unreachable("m2 is not there."), "old": RefusedByProcess("no such page", 404)}
    found = trace(site.clients(), ["left"], "d1", False, None, False, 5)
    assert found.code == 1
    assert (
        found.value["missing"]["m2"] == "m2 is not there." and "old is of a version" in found.value["missing"]["old"]
    )
    assert [name for name, _ in site.asked].count("m2") == 1
    assert len(found.value["calls"]) == 1 and len(found.value["calls"][0]["hops"]) == 4


LEG = {"call_id": "s1", "node": "gw2", "towards": "servers"}
MESSAGE = as_json(AGENT[1])


@pytest.mark.parametrize(
    ("page", "lie"),
    [
        ("call-ids", 7),
        ("call-ids", {"calls": 7}),
        ("call-ids", {"calls": [{"id": None, "legs": [LEG]}]}),
        ("call-ids", {"calls": [{"id": "", "legs": [{**LEG, "call_id": 7}]}]}),
        ("call-ids", {"calls": [{"id": "", "legs": [LEG], "started_at": 1e300}]}),
        ("call-ids", {"calls": [{"id": "", "legs": [LEG], "started_at": float("nan")}]}),
        ("call-ids", {"calls": [{"id": "", "legs": [LEG, *({**LEG, "call_id": f"x{i}"} for i in range(50_000))]}]}),
        ("call-ids", {"calls": [{"id": "", "legs": [{**LEG, "call_id": f"x{i}"}]} for i in range(50_000)]}),
        ("trace", []),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": "x", "messages": [7]}),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": 1.0, "messages": [{**MESSAGE, "text": 7}]}),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": 1.0, "messages": [{**MESSAGE, "at": -1e9}]}),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": 1.0, "messages": [{**MESSAGE, "at": float("inf")}]}),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": 1.0, "messages": [{**MESSAGE, "local": "é:99999999"}]}),
        ("trace", {"node": "gw2", "memory": 1, "oldest_at": 1.0, "messages": [MESSAGE] * 20_000}),
    ],
)
def test_what_an_agent_makes_up_keeps_nobody_from_seeing_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str, lie: Any
) -> None:
    site = Site(monkeypatch)
    monkeypatch.setattr(Site, "_page", _lying(Site._page, page, lie))
    found = trace(site.clients(), ["left"], "aaaa", False, str(tmp_path / "x.pcap"), False, 5)
    told = {(hop["source"], hop["target"]) for call in found.value["calls"] for hop in call["hops"]}
    assert {("left", "gw1"), ("gw1", "m1"), ("m1", "gw1"), ("gw1", "left")} <= told
    assert drawn(found.shown)
    assert len(site.asked) < 500


def _lying(page: Any, about: str, lie: Any) -> Any:
    def found(self: Site, name: str, what: str, params: Mapping[str, str]) -> Any:
        return lie if (name, what) == ("gw2", about) else page(self, name, what, params)

    return found


def test_a_call_whose_server_is_gone_is_put_together_by_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    del site.calls["m1"]
    (call,) = Gathering(site.clients()).known(id="d1")
    site.messages["gw1"] = (*AGENT, said(10.1, True, OK, "s2"))  # found by its Call-State
    monkeypatch.setattr(Site, "_page", _by_token(Site._page))
    (traced,) = Gathering(site.clients()).trace([call]).calls
    assert "d2" in traces.ids_of(traced.call) and len(traced.hops) == 5


class Busy(Site):
    """Calls of one line, each with two messages at its agents and at the server; beside them a record of all calls.

    ``most``: of one answer, the last messages; ``former``: of a version that does not say by which ids it found one.
    """

    CALLS = 50

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, former: bool = False) -> None:
        super().__init__(monkeypatch)
        self.most, self.former = most, former
        monkeypatch.setattr(tracing, "MOST_MESSAGES", most)
        ids = [[f"{name}{number}-{'x' * 40}" for name in ("c", "s", "t", "d", "e")] for number in range(self.CALLS)]
        self.ids = ids
        self.calls = {
            "m1": [
                KnownCall(c, (CallLeg(s, "m1", "gw1"), CallLeg(t, "m1", "gw2")), "1", "2", "failed", float(number))
                for number, (c, s, t, _, _) in enumerate(ids)
            ],
            "gw1": [
                KnownCall("", (CallLeg(s, "gw1", "servers"), CallLeg(d, "gw1", "left"))) for _, s, _, d, _ in ids
            ],
            "gw2": [
                KnownCall("", (CallLeg(t, "gw2", "servers"), CallLeg(e, "gw2", "east"))) for _, _, t, _, e in ids
            ],
        }
        self.record = said(0.5, True, "NOTIFY sip:m1 SIP/2.0\r\nCall-ID: {}\r\n\r\n*****", "n1")
        self.messages = {
            "m1": tuple(said(10.0 + at, True, INVITE, each[2]) for at, each in enumerate(ids)),
            "gw1": (
                self.record,
                *(said(10.0 + at, False, INVITE, each[3]) for at, each in enumerate(ids)),
                *(said(11.0 + at, True, OK, each[3]) for at, each in enumerate(ids)),
            ),
            "gw2": tuple(said(10.1 + at, True, INVITE, each[4]) for at, each in enumerate(ids)),
        }

    def _page(self, name: str, page: str, params: Mapping[str, str]) -> Any:
        if page != "trace":
            found = super()._page(name, page, params)["calls"]
            return {"calls": found[: int(params.get("limit", "20"))]}
        ids = params["id"].split(",")
        found = [replace(m, by=(m.call_id,)) for m in self.messages[name] if m.call_id in ids]
        if name == "gw1" and (by := tuple(each[0] for each in self.ids if each[0] in ids)):
            found.append(replace(self.record, by=by))
        found = sorted(found, key=lambda message: message.at)[-self.most :]
        if self.former:
            found = [replace(message, by=()) for message in found]
        return as_json(Trace(name, 1, 1.0, tuple(found)))


@pytest.mark.parametrize(
    ("most", "former", "asked"),
    [(2000, False, 25), (2000, True, 75), (40, False, 60), (3, False, 250), (3, True, 300)],
)
def test_many_calls_are_asked_for_at_once_and_each_is_whole(
    monkeypatch: pytest.MonkeyPatch, most: int, former: bool, asked: int
) -> None:
    site = Busy(monkeypatch, most, former)
    found = trace(site.clients(), ["left"], "left", False, None, False, 50)
    assert found.code == 0 and len(found.value["calls"]) == Busy.CALLS
    by_id = {call["call"]["id"]: call for call in found.value["calls"]}
    for c, s, t, d, e in site.ids:
        call = by_id[c]
        assert {leg["call_id"] for leg in call["call"]["legs"]} == {s, t, d, e, "n1"}
        assert sorted(hop["call_id"] for hop in call["hops"]) == sorted([t, d, d, e, "n1"])
    assert max(Counter(name for name, _ in site.asked).values()) <= asked


def _by_token(page: Any) -> Any:
    def found(self: Site, name: str, what: str, params: Mapping[str, str]) -> Any:
        if what == "trace" and name == "gw1":
            return as_json(Trace(name, 1, 1.0, self.messages[name]))
        return page(self, name, what, params)

    return found


@pytest.mark.parametrize(
    ("about", "failed", "wrong"),
    [
        (None, False, "Say which"),
        ("left", True, "Say which"),
        ("what", False, "Nobody who was asked remembers a message of what."),
    ],
)
def test_what_cannot_be_traced(monkeypatch: pytest.MonkeyPatch, about: str, failed: bool, wrong: str) -> None:
    with pytest.raises(ConsoleError, match=wrong):
        trace(Site(monkeypatch).clients(), ["left"], about, failed, None, False, 5)


def test_lines_and_failures_are_traced_without_an_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site, file = Site(monkeypatch), tmp_path / "x.pcap"
    for about, failed in (("left", False), ("left/1", False), (None, True)):
        found = trace(site.clients(), ["left"], about, failed, str(file), True, 5)
        assert len(found.value["calls"]) == 1 and found.code == 0
    shown = drawn(found.shown)
    assert "call aaaa  1 → 2  failed" in shown and "Content-Type: application/sdp" in shown
    assert f"4 messages are in {file}." in shown and file.stat().st_size >= 500
    site.off = "m1"
    off = trace(site.clients(), ["left"], "left", False, None, False, 5)
    assert off.code == 1 and "the site file says so" in off.value["missing"]["m1"]
    with pytest.raises(ConsoleError, match="cannot be written"):
        trace(Site(monkeypatch).clients(), [], "aaaa", False, str(tmp_path / "no" / "x"), False, 5)


def drawn(shown: Any) -> str:
    out = StringIO()
    Console(out).put(shown)
    return out.getvalue()


def hop(source: str, target: str, text: str = INVITE, at: float = 1.0, transport: str = "udp", **more: Any) -> Hop:
    return Hop(at, source, target, more.get("a", ""), more.get("b", ""), transport, "c", text.format("c"), ())


def test_the_ladder_has_a_lane_for_each_end_and_fits_into_eighty_columns() -> None:
    hops = [hop("left", "gw1"), hop("gw1", "m1"), hop("m1", "gw2"), hop("gw2", "127.0.0.41:5060")]
    hops += [hop("127.0.0.41:5060", "gw2", OK), hop("gw2", "m1", OK), hop("m1", "m1")]
    assert lanes(hops) == ["left", "gw1", "m1", "gw2", "127.0.0.41:5060"]
    rows = drawn(Ladder(hops)).splitlines()
    assert all(len(row) <= 80 for row in rows)
    assert rows[0].split() == ["left", "gw1", "m1", "gw2", "127.0.0.41"] and rows[1].split() == ["5060"]
    assert rows[2].split()[1:] == ["│INVITE", "SDP─▶│", "│", "│", "│"]
    assert rows[6].endswith("│◀200 INVITE─│")
    assert rows[8].split()[1:] == ["│", "│", "↺", "INVITE", "SDP"]
    takeover = [*hops, hop("m2", "gw1", OK), hop("gw2", "m2")]
    assert lanes(takeover) == ["left", "m2", "gw1", "m1", "gw2", "127.0.0.41:5060"]
    assert drawn(Ladder([])) == "\n"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (INVITE, "INVITE SDP"),
        (OK, "200 INVITE"),
        (OK.replace("\r\n\r\n", "\r\nContent-Type: application/sdp\r\n\r\n"), "200 OK SDP"),
        ("SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n", "180 Ringing"),
        ("SIP/2.0 200\r\n\r\n", "200"),
        ("rubbish", "rubbish"),
        ("", ""),
    ],
)
def test_a_message_in_a_word(text: str, short: str) -> None:
    assert what(text) == short


def packets(data: bytes) -> list[bytes]:
    found, at = [], 24
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        found.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return found


def summed(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


CASES = [
    hop("left", "gw1", a="127.0.0.31:5060", b="127.0.0.11:5060", at=1.0000015),
    hop("gw1", "m1", a="127.0.0.11:0", b="127.0.0.1:5161", transport="tcp"),
    hop("m1", "gw1", OK, a="127.0.0.1:5161", b="127.0.0.11:0", transport="tcp"),
    hop("gw1", "m1", OK, a="127.0.0.11:0", b="127.0.0.1:5161", transport="tcp"),
    hop("phone", "gw1", a="[2001:db8::7]:40000", b="[::1]:5061", transport="tls"),
    hop("phone", "gw1", OK, a="[2001:db8::7]:5060", b=""),
    hop("gw1", "phone", OK, a="", b="[2001:db8::7]:5060"),
    hop("nobody", "gw1", OK),
]


def test_a_capture_has_whole_packets_with_right_checksums() -> None:
    found = packets(capture(CASES))
    assert len(found) == len(CASES)
    for packet, case in zip(found, CASES, strict=True):
        if packet[0] >> 4 == 4:
            assert summed(packet[:20]) == 0xFFFF and struct.unpack_from("!H", packet, 2)[0] == len(packet)
            addresses, protocol, inner = packet[12:20], packet[9], packet[20:]
        else:
            addresses, protocol, inner = packet[8:40], packet[6], packet[40:]
            assert struct.unpack_from("!H", packet, 4)[0] == len(inner)
        assert summed(addresses + struct.pack("!II", len(inner), protocol) + inner) == 0xFFFF
        assert protocol == (17 if case.transport == "udp" else 6) and inner.endswith(case.text.encode())
    assert str(ipaddress.ip_address(found[0][12:16])) == "127.0.0.31"
    first, back, second = (struct.unpack_from("!HHII", packet, 20) for packet in found[1:4])
    assert second[2] == first[2] + len(CASES[1].text) and second[3] == back[2] + len(CASES[2].text)
    assert first[0] == back[1] == second[0] >= 49_152, "a port that is not known is the same one each time"


def test_a_capture_is_read_by_tshark(tmp_path: Path) -> None:
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed: run 'apt-get install tshark' as root")
    file = tmp_path / "x.pcap"
    file.write_bytes(capture(CASES))
    fields = ["-T", "fields", "-e", "ip.src", "-e", "ipv6.src", "-e", "sip.Method", "-e", "sip.Status-Code"]
    checks = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    done = subprocess.run(["tshark", "-r", str(file), *checks, *fields], capture_output=True, timeout=60, check=True)
    rows = done.stdout.decode().splitlines()
    assert rows[0] == "127.0.0.31\t\tINVITE\t" and rows[5] == "\t2001:db8::7\t\t200"
    assert [bool(row.split("\t", 2)[2].strip()) for row in rows] == [True] * len(CASES)
