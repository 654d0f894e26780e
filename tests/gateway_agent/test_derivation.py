"""Identifiers that come out alike at each start of an agent."""

from __future__ import annotations

from gateway_agent.derivation import Derivation
from sip.actions import Flow
from sip.wire.message import Request, parse

FLOW = Flow("udp", "192.0.2.11:5060", ("192.0.2.31", 5060))


def asked(method: str = "INVITE", branch: str = "z9hG4bKabc", cseq: int = 1, more: str = "") -> Request:
    found = parse(
        f"{method} sip:2001@192.0.2.11 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.31;branch={branch}\r\n"
        f"From: <sip:a@b>;tag=one\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: {cseq} {method}\r\n{more}\r\n".encode()
    )
    assert isinstance(found, Request)
    return found


def made(agent: str = "gw1", key: bytes = b"a site key") -> Derivation:
    return Derivation(agent, lambda: key)


def test_an_attempt_has_the_same_identifiers_at_each_start() -> None:
    one, again = (made().to_device("gw2;z9hG4bKx;1", "sip:bob@192.0.2.31", FLOW) for _ in range(2))
    assert one is not None and again is not None
    assert one[:2] == again[:2] and one.branches(1) == again.branches(1)
    assert one.branches(1) != one.branches(2), "a challenged INVITE is another transaction"


def test_whatever_differs_makes_others() -> None:
    origin, uri = "gw2;z9hG4bKx;1", "sip:bob@192.0.2.31"
    others = [
        made().to_device(origin, uri, FLOW),
        made().to_device("gw2;z9hG4bKx;2", uri, FLOW),
        made().to_device(origin, "sip:carol@192.0.2.31", FLOW),
        made().to_device(origin, uri, FLOW._replace(remote=("192.0.2.32", 5060))),
        made("gw2").to_device(origin, uri, FLOW),
        made(key=b"another key").to_device(origin, uri, FLOW),
        made().to_servers(asked()),
        made().to_servers(asked(branch="z9hG4bKabd")),
        made().to_servers(asked(cseq=2)),
    ]
    found = [one for one in others if one is not None]
    assert len(found) == len(others)
    for part in range(2):
        assert len({one[part] for one in found}) == len(found)
    assert len({one.branches(1) for one in found}) == len(found)


def test_without_something_unique_to_derive_from_they_are_drawn() -> None:
    assert made().to_device("", "sip:bob@192.0.2.31", FLOW) is None
    assert made().to_servers(asked(branch="1")) is None, "an element of RFC 2543"


def test_a_request_inside_a_call_has_a_branch_by_who_asked_for_it() -> None:
    info = asked("INFO", more="Call-Origin: gw2;z9hG4bKy;1\r\n")
    repeat = asked("INFO", branch="z9hG4bKother", more="Call-Origin: gw2;z9hG4bKy;1\r\n")
    assert made().branch(info, "dialog") == made().branch(repeat, "dialog"), "another server sent it again"
    assert made().branch(info, "dialog") != made().branch(info, "another")
    assert made().branch(asked("INFO"), "dialog") != made().branch(asked("INFO", branch="z9hG4bKz"), "dialog")
    assert made().branch(info, "dialog").startswith("z9hG4bK")


def test_secrets_are_good_for_one_use_and_one_agent() -> None:
    assert made().secret("nonces") == made().secret("nonces")
    assert len({made().secret("nonces"), made().secret("other"), made("gw2").secret("nonces")}) == 3
