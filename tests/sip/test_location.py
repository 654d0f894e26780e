"""The order of targets, against a zone in a dictionary."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sip.location import (
    MAX_TARGETS,
    Answer,
    Host,
    Naptr,
    Place,
    Question,
    Record,
    Srv,
    find,
    order_services,
)
from sip.wire.uri import Uri

ZONE: dict[tuple[str, str], list[Record]] = {
    ("example.com", "NAPTR"): [
        Naptr(90, 50, "s", "SIP+D2T", "tcp.example.com"),
        Naptr(50, 50, "s", "SIPS+D2T", "tls.example.com"),
        Naptr(90, 40, "s", "sip+d2u", "udp.example.com"),
        Naptr(10, 10, "u", "E2U+sip", "x.example.com"),
    ],
    ("udp.example.com", "SRV"): [Srv(1, 0, 5070, "a.example.com"), Srv(2, 0, 5080, "b.example.com")],
    ("tcp.example.com", "SRV"): [Srv(1, 0, 5090, "a.example.com")],
    ("tls.example.com", "SRV"): [Srv(1, 0, 5061, "a.example.com")],
    ("a.example.com", "A"): [Host("192.0.2.1"), Host("192.0.2.2")],
    ("a.example.com", "AAAA"): [Host("2001:db8::1")],
    ("b.example.com", "A"): [Host("192.0.2.9")],
    ("_sip._udp.srv.test", "SRV"): [Srv(1, 0, 5070, "a.example.com")],
    ("_sip._tcp.srv.test", "SRV"): [Srv(1, 0, 5071, "b.example.com")],
    ("_sip._udp.off.test", "SRV"): [Srv(0, 0, 0, "")],
    ("off.test", "A"): [Host("192.0.2.7")],
    ("plain.test", "A"): [Host("192.0.2.8")],
    ("plain.test", "AAAA"): [Host("2001:db8::8")],
    ("huge.test", "A"): [Host(f"192.0.2.{number}") for number in range(200)],
}
A1, A2, A6 = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


def search(uri: str, supported: tuple[str, ...] = ("udp", "tcp")) -> tuple[list[Place], list[Question]]:
    asked: list[Question] = []
    finding = find(Uri.parse(uri), Random(1), supported)
    answers: list[Answer] | None = None
    try:
        while True:
            questions = next(finding) if answers is None else finding.send(answers)
            asked += questions
            answers = [ZONE.get(question, []) for question in questions]
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize(
    ("uri", "targets"),
    [
        ("sip:bob@192.0.2.5", [Place("udp", "192.0.2.5", 5060)]),
        ("sip:bob@192.0.2.5:5070", [Place("udp", "192.0.2.5", 5070)]),
        ("sip:192.0.2.5;transport=TCP", [Place("tcp", "192.0.2.5", 5060)]),
        ("sip:[2001:db8::5]:5062;transport=udp", [Place("udp", "2001:db8::5", 5062)]),
        ("sip:bob@example.com;maddr=192.0.2.6", [Place("udp", "192.0.2.6", 5060)]),
        ("sips:bob@192.0.2.5", []),  # no TLS here
        ("sip:bob@192.0.2.5;transport=ws", []),
        ("tel:+4930123", []),
        ("sip:plain.test:5099", [Place("udp", "192.0.2.8", 5099), Place("udp", "2001:db8::8", 5099)]),
        ("sip:plain.test:5099;transport=tcp", [Place("tcp", "192.0.2.8", 5099), Place("tcp", "2001:db8::8", 5099)]),
        ("sip:PLAIN.test.", [Place("udp", "192.0.2.8", 5060), Place("udp", "2001:db8::8", 5060)]),
        ("sip:plain.test;transport=tcp", [Place("tcp", "192.0.2.8", 5060), Place("tcp", "2001:db8::8", 5060)]),
        (
            "sip:srv.test",
            [Place("udp", A1, 5070), Place("udp", A2, 5070), Place("udp", A6, 5070), Place("tcp", "192.0.2.9", 5071)],
        ),
        ("sip:srv.test;transport=tcp", [Place("tcp", "192.0.2.9", 5071)]),
        ("sip:off.test", []),  # RFC 2782: decidedly not available, so not at its address either
        (
            "sip:bob@example.com",
            [
                Place("udp", A1, 5070),
                Place("udp", A2, 5070),
                Place("udp", A6, 5070),
                Place("udp", "192.0.2.9", 5080),
                Place("tcp", A1, 5090),
                Place("tcp", A2, 5090),
                Place("tcp", A6, 5090),
            ],
        ),
        ("sip:nowhere.test", []),
    ],
)
def test_order(uri: str, targets: list[Place]) -> None:
    assert search(uri)[0] == targets


def test_numeric_hosts_ask_nothing_and_names_no_more_than_needed() -> None:
    assert search("sip:192.0.2.5")[1] == []
    assert search("sip:plain.test:5060")[1] == [("plain.test", "A"), ("plain.test", "AAAA")]
    assert [question.kind for question in search("sip:plain.test;transport=udp")[1]] == ["SRV", "A", "AAAA"]
    assert [question.kind for question in search("sip:plain.test")[1]] == ["NAPTR", "SRV", "SRV", "A", "AAAA"]


def test_tls_once_it_is_supported() -> None:
    assert search("sips:example.com", ("udp", "tcp", "tls"))[0][0] == Place("tls", A1, 5061, "example.com")
    assert {target.transport for target in search("sips:example.com", ("udp", "tcp", "tls"))[0]} == {"tls"}
    assert search("sips:192.0.2.5;transport=tcp", ("tls",))[0] == [Place("tls", "192.0.2.5", 5061, "192.0.2.5")]


def test_answers_are_looked_at_within_limits() -> None:
    assert len(search("sip:huge.test")[0]) == MAX_TARGETS


def test_services_by_priority_and_weight() -> None:
    services = [Srv(2, 100, 1, "last"), Srv(1, 75, 1, "often"), Srv(1, 25, 1, "seldom"), Srv(1, 0, 1, "hardly")]
    rng = Random(7)
    orders = [[each.target for each in order_services(services, rng)] for _ in range(4000)]
    assert all(order[3] == "last" and len(set(order)) == 4 for order in orders)
    first = Counter(order[0] for order in orders)
    assert 0.70 < first["often"] / 4000 < 0.80
    assert 0.20 < first["seldom"] / 4000 < 0.30
    assert 0 < first["hardly"] / 4000 < 0.05


def test_services_without_weights_are_all_tried() -> None:
    services = [Srv(1, 0, 1, str(number)) for number in range(5)]
    assert sorted(order_services(services, Random(3))) == services
    assert order_services([], Random(3)) == []
