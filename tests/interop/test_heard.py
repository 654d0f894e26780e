"""The comparison of what devices received, on logs written by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.interop.heard import difference, logged, multiset

HEAD = "-" * 47 + " 2026-01-02 03:04:{second:09.6f}\nUDP message {way}\n\n{text}\n"
WAYS = {"received": "received [{}] bytes :", "sent": "sent ({} bytes):"}
BYE = (
    "BYE sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch={branch}\r\nFrom: <sip:b@h>;tag={tag}\r\n"
    "Call-ID: {call}\r\nCSeq: {cseq} BYE\r\nContent-Length: 0\r\n\r\n"
)
ACK = "ACK sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch={branch}\r\nCall-ID: x\r\nCSeq: 1 ACK\r\n\r\n"


def log(path: Path, *messages: str, way: str = "received") -> Path:
    text = "".join(
        HEAD.format(second=float(n), way=WAYS[way].format(len(each)), text=each) for n, each in enumerate(messages)
    )
    path.write_bytes(text.encode("latin-1"))
    return path


def bye(branch: str = "z1", tag: str = "t", call: str = "c", cseq: int = 1) -> str:
    return BYE.format(branch=branch, tag=tag, call=call, cseq=cseq)


def test_a_log_is_read_with_times_and_directions(tmp_path: Path) -> None:
    (message,) = logged(log(tmp_path / "log", bye(), way="sent"))
    assert (message.at, message.received, message.first) == (3 * 3600 + 4 * 60, False, "BYE sip:a@127.0.0.1 SIP/2.0")
    assert message.header("Call-ID") == "c"
    assert list(logged(tmp_path / "no such log")) == []


def test_a_retransmission_counts_once_and_another_call_again(tmp_path: Path) -> None:
    found = multiset(logged(log(tmp_path / "log", bye(), bye(), bye(call="d", tag="u", branch="z2", cseq=7))))
    assert list(found.values()) == [2]


def test_a_second_bye_of_one_call_is_no_retransmission(tmp_path: Path) -> None:
    found = multiset(logged(log(tmp_path / "log", bye(), bye(branch="z2"))))
    assert list(found.values()) == [2]


def test_an_ack_sent_again_by_another_branch_counts_once(tmp_path: Path) -> None:
    found = multiset(logged(log(tmp_path / "log", ACK.format(branch="z1"), ACK.format(branch="z2"))))
    assert list(found.values()) == [1]


def test_what_was_sent_is_not_heard(tmp_path: Path) -> None:
    assert multiset(logged(log(tmp_path / "log", bye(), way="sent"))) == Counter()


def test_sessions_and_ports_differ_without_a_difference_but_versions_do_not(tmp_path: Path) -> None:
    def body(session: int, version: int, port: int) -> str:
        return f"INFO sip:a@h SIP/2.0\r\n\r\no=- {session} {version} IN IP4 h\r\nm=audio {port} RTP/AVP 0\r\n"

    first = multiset(logged(log(tmp_path / "1", body(1, 1, 4000))))
    assert multiset(logged(log(tmp_path / "2", body(2, 1, 4002)))) == first
    assert multiset(logged(log(tmp_path / "3", body(1, 2, 4000)))) != first
    assert multiset(logged(log(tmp_path / "4", body(1, 1, 0)))) != first, "a stream that was refused"


def test_a_difference_names_both_sides() -> None:
    lines = difference(Counter(a=2, b=1), Counter(a=1, c=3))
    assert lines == ["missing 1 x 'a'", "missing 1 x 'b'", "unexpected 3 x 'c'"]
