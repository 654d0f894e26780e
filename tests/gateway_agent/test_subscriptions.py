"""Subscriptions of devices at an agent (RFC 6665): whose they are, what crosses, how they end, and busy lamps."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway_agent import subscription_state
from gateway_agent.seal import LineStateError
from gateway_agent.subscription_state import SubscriptionState
from sip.actions import Flow
from sip.dialog import UAS, DialogState
from sip.packages.dialog_info import NAMESPACE, WatchedDialog, dialog_info
from sip.subscription import lasts_of
from sip.wire.message import Request, Response, parse
from tests.gateway_agent.agent_fixture import ALICE, CARRIER, KEY, SDP, SITE, AgentFixture, response_to
from tests.gateway_agent.test_phone import AOR, DESK, proved, register

PASS = 'subscriptions = "pass"'
PHONES = SITE.replace('numbers = ["1001"]', f'numbers = ["1001"]\n{PASS}')
KEYED = f'{PASS}\nuser = "gw"\npassword = {{ env = "ALICE" }}'
DIALOG = ["Event: dialog;id=7", "Expires: 600"]
MWI = ["Event: message-summary", "Expires: 600"]


def phones(trunk: str = PASS, **more: Any) -> AgentFixture:
    fixture = AgentFixture(trunk, text=PHONES, **more)
    assert register(fixture, ALICE) == 200
    return fixture


def subscribe(fixture: AgentFixture, lines: list[str], uri: str = "sip:+33166@paris") -> Request:
    """Alice subscribes; what the servers get."""
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request("SUBSCRIBE", uri, lines, cseq=1, **fields)
    proof = proved(fixture, fixture.take(407, ALICE), "SUBSCRIBE", uri)
    fixture.request("SUBSCRIBE", uri, [*lines, proof], cseq=2, **fields)
    asked: Request = fixture.m1.take("SUBSCRIBE")
    return asked


def granted(fixture: AgentFixture) -> tuple[Request, Response]:
    """Her subscription stands: what the servers got, and her answer."""
    asked = subscribe(fixture, MWI)
    lines = ["Expires: 300", "Contact: <sip:trunk1@gw2;transport=tcp>"]
    fixture.m1.send(response_to(asked, 200, lines, b"", "far"))
    answer: Response = fixture.take(200, ALICE)
    return asked, answer


def tell(fixture: AgentFixture, asked: Request, cseq: int, state: str = "active", **more: Any) -> None:
    """The other agent has a NOTIFY for her."""
    lines = ["Event: message-summary", f"Subscription-State: {state}", "Content-Type: text/plain", "Line: trunk1"]
    fixture.m1.inbox.clear()
    fixture.m1._notified = fixture.m1.inbox.append  # type: ignore[method-assign]
    fields: dict[str, Any] = {
        "call_id": asked.call_id,
        "from_tag": "far",
        "to_tag": asked.from_tag,
        "origin": f"gw2;z9hG4bKn{cseq};1",
        **more,
    }
    uri = "sip:alice@gw1;transport=tcp"
    fixture.m1.request("NOTIFY", uri, lines, b"Messages-Waiting: yes", cseq=cseq, **fields)


def asked_here(fixture: AgentFixture, uri: str, lines: list[str], origin: str = "gw2;z9hG4bKs;1") -> None:
    """A server has a SUBSCRIBE for a line."""
    fixture.m1._notified = fixture.m1.inbox.append  # type: ignore[method-assign]
    contact = "Contact: <sip:wanda@gw2;transport=tcp>"
    fixture.m1.request("SUBSCRIBE", uri, [*lines, contact], call_id="s-1", from_tag="far", origin=origin)


def test_a_phone_s_subscription_is_one_between_agents_under_names_of_ours() -> None:
    fixture = phones()
    asked, answer = granted(fixture)
    assert (asked.get("line"), asked.get("event"), asked.get("expires")) == ("alice", "message-summary", "600")
    assert asked.call_id != "m1" and asked.get("contact") == "<sip:alice@gw1;transport=tcp>"
    assert "proxy-authorization" not in asked
    assert (answer.call_id, answer.get("expires"), answer.get("contact")) == ("m1", "300", "<sip:127.0.0.11:5060>")
    tell(fixture, asked, 1)
    told: Request = fixture.take("NOTIFY", ALICE)
    assert (told.call_id, told.to_tag, told.from_tag) == ("m1", "dev", answer.to_tag)
    assert (told.uri, told.get("subscription-state"), told.body) == (
        "sip:127.0.0.31:5062",
        "active",
        b"Messages-Waiting: yes",
    )
    assert "line" not in told and "call-origin" not in told
    fixture.reply(told, 200, flow=ALICE)
    fixture.m1.take(200)


def test_a_notify_that_comes_again_reaches_the_phone_once() -> None:
    fixture = phones()
    asked, _ = granted(fixture)
    tell(fixture, asked, 1)
    told = fixture.take("NOTIFY", ALICE)
    tell(fixture, asked, 1, branch="z9hG4bKother")
    assert fixture.silent(ALICE)
    fixture.reply(told, 200, flow=ALICE)
    fixture.m1.take(200)


@pytest.mark.parametrize(("status", "stands"), [(200, True), (500, True), (481, False), (489, False)])
def test_what_the_phone_says_to_a_notify_may_end_it(status: int, stands: bool) -> None:
    fixture = phones()
    asked, _ = granted(fixture)
    tell(fixture, asked, 1)
    fixture.reply(fixture.take("NOTIFY", ALICE), status, flow=ALICE)
    fixture.m1.take(status)
    assert bool(fixture.core.subscriptions.known) is stands


def test_a_refresh_goes_to_the_contact_of_the_other_end_and_a_481_ends_it() -> None:
    fixture = phones()
    _, answer = granted(fixture)
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request("SUBSCRIBE", "sip:127.0.0.11:5060", MWI, cseq=3, to_tag=answer.to_tag, **fields)
    asked: Request = fixture.m1.take("SUBSCRIBE")
    assert (asked.uri, asked.to_tag, asked.cseq) == ("sip:trunk1@gw2;transport=tcp", "far", 2)
    fixture.m1.reply(asked, 481)
    fixture.take(481, ALICE)
    assert not fixture.core.subscriptions.known
    fixture.request("SUBSCRIBE", "sip:127.0.0.11:5060", MWI, cseq=4, to_tag=answer.to_tag, **fields)
    fixture.take(481, ALICE)


@pytest.mark.parametrize(("method", "cseq", "status"), [("SUBSCRIBE", 2, 500), ("NOTIFY", 3, 405), ("INFO", 3, 405)])
def test_what_does_not_belong_into_it_is_refused(method: str, cseq: int, status: int) -> None:
    fixture = phones()
    _, answer = granted(fixture)
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request(method, "sip:127.0.0.11:5060", MWI, cseq=cseq, to_tag=answer.to_tag, **fields)
    fixture.take(status, ALICE)


def test_whoever_knows_the_tags_only_gets_a_challenge() -> None:
    fixture = phones()
    _, answer = granted(fixture)
    fields: dict[str, Any] = {"sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request("SUBSCRIBE", "sip:127.0.0.11:5060", MWI, cseq=3, to_tag=answer.to_tag, flow=DESK, **fields)
    fixture.take(407, DESK)
    assert not [one for one in fixture.m1.inbox if one.cseq_method == "SUBSCRIBE"]


@pytest.mark.parametrize(
    ("lines", "status"), [(["Event: presence"], 489), ([], 489), (["Event: dialog", "Contact: *"], 400)]
)
def test_what_cannot_be_subscribed_to_is_refused_at_once(lines: list[str], status: int) -> None:
    fixture = phones()
    fixture.request("SUBSCRIBE", "sip:1001@127.0.0.11", lines)
    answer = fixture.take(status)
    assert status != 489 or answer.get("allow-events") == "dialog, message-summary"  # RFC 6665 section 8.3.2


def test_a_line_that_passes_none_says_so() -> None:
    fixture = AgentFixture()
    fixture.request("SUBSCRIBE", lines=MWI)
    assert "SUBSCRIBE" not in (fixture.take(405).get("allow") or "SUBSCRIBE")
    asked_here(fixture, "sip:+33166@gw1;line=trunk1", MWI)
    fixture.m1.take(405)


def test_without_a_server_it_is_refused_for_now() -> None:
    fixture = phones()
    fixture.kill(fixture.m1)
    fixture.kill(fixture.m2)
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request("SUBSCRIBE", "sip:+33166@paris", MWI, cseq=1, **fields)
    proof = proved(fixture, fixture.take(407, ALICE), "SUBSCRIBE", "sip:+33166@paris")
    fixture.request("SUBSCRIBE", "sip:+33166@paris", [*MWI, proof], cseq=2, **fields)
    fixture.run(9.0)
    assert fixture.take(503, ALICE).get("retry-after")
    assert not fixture.core.subscriptions.known


def test_a_trunk_is_subscribed_to_in_a_dialog_of_ours_and_its_challenge_met() -> None:
    fixture = AgentFixture(KEYED)
    asked_here(fixture, "sip:+33166@gw1;line=trunk1", MWI)
    first: Request = fixture.take("SUBSCRIBE")
    assert first.call_id != "s-1" and first.uri == "sip:+33166@127.0.0.21:5060" and "line" not in first
    fixture.reply(first, 401, ['WWW-Authenticate: Digest realm="carrier", nonce="n1"'])
    second: Request = fixture.take("SUBSCRIBE")
    assert 'username="gw"' in (second.get("authorization") or "")
    assert (second.call_id, second.from_tag, second.cseq) == (first.call_id, first.from_tag, first.cseq + 1)
    fixture.reply(second, 200, ["Expires: 300"])
    answer: Response = fixture.m1.take(200)
    assert (answer.get("expires"), answer.get("contact")) == ("300", "<sip:trunk1@gw1;transport=tcp>")
    fixture.request(
        "NOTIFY",
        "sip:gw@127.0.0.11:5060",
        ["Event: message-summary", "Subscription-State: active;expires=300"],
        call_id=first.call_id,
        from_tag="devtag",
        to_tag=first.from_tag,
        cseq=7,
    )
    told: Request = fixture.m1.take("NOTIFY")
    assert (told.uri, told.call_id, told.to_tag) == ("sip:wanda@gw2;transport=tcp", "s-1", "far")
    assert told.get("line") == "trunk1"
    fixture.m1.reply(told, 200)
    fixture.take(200)
    # of another fork: one dialog is all that the other end has (RFC 6665 section 4.1.4)
    fixture.request(
        "NOTIFY", "sip:gw@127.0.0.11:5060", MWI, call_id=first.call_id, from_tag="x", to_tag=first.from_tag
    )
    fixture.take(481)


def test_a_notify_may_overtake_the_200() -> None:
    fixture = AgentFixture(PASS)
    asked_here(fixture, "sip:+33166@gw1;line=trunk1", MWI)
    first: Request = fixture.take("SUBSCRIBE")
    route = "Record-Route: <sip:127.0.0.21:5070;lr>"
    lines = [*MWI[:1], "Subscription-State: active", route]
    fields: dict[str, Any] = {"call_id": first.call_id, "from_tag": "devtag", "to_tag": first.from_tag}
    fixture.request("NOTIFY", "sip:127.0.0.11:5060", lines, **fields)
    fixture.m1.reply(fixture.m1.take("NOTIFY"), 200)
    fixture.take(200)
    fixture.reply(first, 200, ["Expires: 300"])
    fixture.m1.take(200)


@pytest.mark.parametrize("status", [404, 423, 489])
def test_the_refusal_of_a_trunk_goes_back_and_nothing_is_left(status: int) -> None:
    fixture = AgentFixture(PASS)
    asked_here(fixture, "sip:+33166@gw1;line=trunk1", MWI)
    fixture.reply(fixture.take("SUBSCRIBE"), status, ["Min-Expires: 900"])
    assert fixture.m1.take(status).get("min-expires") == "900"
    assert not fixture.core.subscriptions.known


def test_a_trunk_that_says_nothing_is_408() -> None:
    fixture = AgentFixture(PASS)
    asked_here(fixture, "sip:+33166@gw1;line=trunk1", MWI)
    fixture.run(33.0)
    fixture.m1.take(408)
    assert not fixture.core.subscriptions.known


def states(told: Request) -> tuple[str, list[str]]:
    """Version, and the states of calls."""
    root = ElementTree.fromstring(told.body)
    assert root.tag == f"{{{NAMESPACE}}}dialog-info" and root.get("state") == "full"
    assert root.get("entity") == "sip:1001@paris"
    return root.get("version") or "", [str(each.text) for each in root.iter(f"{{{NAMESPACE}}}state")]


def shown(fixture: AgentFixture) -> list[str]:
    """What the next NOTIFY of a lamp shows; it is answered."""
    told: Request = fixture.m1.take("NOTIFY")
    fixture.m1.reply(told, 200)
    assert states(told)[0] == str(told.cseq)
    return states(told)[1]


def test_a_lamp_is_told_of_by_the_agent_of_the_phone() -> None:
    fixture = phones()
    asked_here(fixture, "sip:1001@gw1;line=alice", DIALOG)
    answer: Response = fixture.m1.take(200)
    assert answer.get("expires") == "600" and answer.get("contact") == "<sip:alice@gw1;transport=tcp>"
    told: Request = fixture.m1.inbox[0]  # type: ignore[assignment]
    assert told.get("event") == "dialog;id=7" and told.get("subscription-state") == "active;expires=600"
    assert told.get("content-type") == "application/dialog-info+xml"
    assert shown(fixture) == []
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="c", origin="gw2;z9hG4bKc;1")
    fixture.m1.take(100)
    assert shown(fixture) == ["early"]
    fixture.reply(fixture.take("INVITE", ALICE), 486, flow=ALICE)
    assert shown(fixture) == ["terminated"]
    fixture.m1.take(486)
    fixture.run(3.0)
    assert not fixture.m1.inbox


def test_what_changes_while_a_notify_is_under_way_goes_with_the_next() -> None:
    fixture = phones()
    asked_here(fixture, "sip:1001@gw1;line=alice", DIALOG)
    fixture.m1.take(200)
    first: Request = fixture.m1.take("NOTIFY")
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="c", origin="gw2;z9hG4bKc;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE", ALICE)
    fixture.reply(invite, 180, flow=ALICE)
    fixture.m1.take(180)
    assert not fixture.m1.inbox
    fixture.m1.reply(first, 200)
    assert shown(fixture) == ["early"]
    assert not fixture.m1.inbox


def test_a_lamp_ends_with_its_time() -> None:
    fixture = phones()
    asked_here(fixture, "sip:1001@gw1;line=alice", DIALOG)
    fixture.m1.take(200)
    assert shown(fixture) == []
    fixture.run(601.0)
    last = [one for one in fixture.m1.inbox if isinstance(one, Request) and one.method == "NOTIFY"][-1]
    assert last.get("subscription-state") == "terminated;reason=timeout"
    fixture.m1.reply(last, 200)
    assert not fixture.core.subscriptions.known


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Event: dialog", "Expires: 10"], 423),
        (["Event: message-summary"], 489),
        (["Event: dialog", "Expires: x"], 400),
    ],
)
def test_a_lamp_that_cannot_be_had(lines: list[str], status: int) -> None:
    fixture = phones()
    asked_here(fixture, "sip:1001@gw1;line=alice", lines)
    fixture.m1.take(status)
    assert not fixture.core.subscriptions.known


def test_a_481_to_its_notify_puts_a_lamp_out() -> None:
    fixture = phones()
    asked_here(fixture, "sip:1001@gw1;line=alice", DIALOG)
    fixture.m1.take(200)
    fixture.m1.reply(fixture.m1.take("NOTIFY"), 481)
    assert not fixture.core.subscriptions.known


def test_a_phone_that_registers_from_elsewhere_takes_its_subscription_along() -> None:
    fixture = phones()
    asked, _ = granted(fixture)
    moved = Flow("udp", ALICE.local, (ALICE.remote[0], 5099))
    assert register(fixture, moved, contact="<sip:127.0.0.31:5062>", call_id="r") == 200
    tell(fixture, asked, 1)
    fixture.take("NOTIFY", moved)


def test_what_nobody_subscribed_to_is_passed_to_the_devices() -> None:
    fixture = phones()
    fixture.m1._notified = fixture.m1.inbox.append  # type: ignore[method-assign]
    lines = [*MWI[:1], "Subscription-State: active"]
    fixture.m1.request("NOTIFY", "sip:1001@gw1;line=alice", lines, b"Messages-Waiting: yes", origin="gw2;z9hG4bKu;1")
    told: Request = fixture.take("NOTIFY", ALICE)
    assert told.body == b"Messages-Waiting: yes" and told.get("contact")
    fixture.reply(told, 200, flow=ALICE)
    fixture.m1.take(200)
    fixture.request("NOTIFY", "sip:+33166@127.0.0.11", [*lines[:1], "Subscription-State: active"])
    assert fixture.m1.take("NOTIFY").get("line") == "trunk1"
    fixture.request("NOTIFY", "sip:+33166@127.0.0.11", ["Event: dialog"], call_id="d2")
    fixture.take(481)


STATE = SubscriptionState(
    "watches",
    "alice",
    "dialog;id=7",
    55.5,
    DialogState("c1", "l", "r", "<sip:a@paris>", "<sip:b@paris>", 3, 4, "sip:b@gw2"),
    DialogState("c2", "l", "r", "<sip:a@x>", "<sip:b@x>", 5, 6, "sip:d", ("<sip:p;lr>",), UAS),
    CARRIER,
)


def test_what_is_kept_of_it_is_the_same_when_it_is_given_back() -> None:
    bound = subscription_state.bound_to("paris", "gw1", "c1 l")
    text = subscription_state.encode(STATE, 1, 2, bound, KEY)
    assert re.match(r"[0-9]+\.1\.2\.", text)
    assert subscription_state.decode(text, bound, [KEY]) == STATE
    lamp = STATE._replace(role="lamp", device=None, flow=None, number="1001")
    assert subscription_state.decode(subscription_state.encode(lamp, 1, 3, bound, KEY), bound, [KEY]) == lamp
    with pytest.raises(LineStateError):
        subscription_state.decode(text, subscription_state.bound_to("paris", "gw1", "c2 l"), [KEY])
    with pytest.raises(LineStateError):
        subscription_state.decode(subscription_state.encode(STATE._replace(role="x"), 1, 2, bound, KEY), bound, [KEY])  # type: ignore[arg-type]


def test_a_document_of_calls_cannot_be_broken_by_what_is_in_it() -> None:
    body = dialog_info('sip:"<&@paris', 3, [WatchedDialog('"><x', "initiator", "early")])
    root = ElementTree.fromstring(body)
    assert root.get("entity") == 'sip:"<&@paris' and root[0].get("id") == '"><x' and root[0].get("call-id") is None
    body = dialog_info("sip:a@paris", 3, [WatchedDialog("1", "recipient", "early", '"><y', "<z", "t")])
    dialog = ElementTree.fromstring(body)[0]
    assert (dialog.get("call-id"), dialog.get("local-tag"), dialog.get("remote-tag")) == ('"><y', "<z", "t")


@pytest.mark.parametrize(
    ("start", "lines", "lasts"),
    [
        ("SUBSCRIBE sip:a SIP/2.0", ["CSeq: 1 SUBSCRIBE", "Expires: 60"], 60),
        ("SIP/2.0 200 OK", ["CSeq: 1 SUBSCRIBE", "Expires: 30"], 30),
        ("SIP/2.0 200 OK", ["CSeq: 1 NOTIFY"], 0),
        ("NOTIFY sip:a SIP/2.0", ["CSeq: 1 NOTIFY", "Subscription-State: active ; Expires=77;x=1"], 77),
        ("NOTIFY sip:a SIP/2.0", ["CSeq: 1 NOTIFY", "Subscription-State: terminated"], 0),
        ("SUBSCRIBE sip:a SIP/2.0", ["CSeq: 1 SUBSCRIBE", "Expires: often"], 0),
    ],
)
def test_how_long_a_subscription_lasts_by_its_messages(start: str, lines: list[str], lasts: int) -> None:
    head = [start, "Via: SIP/2.0/TCP x;branch=z9hG4bK1", "From: <sip:a>;tag=1", "To: <sip:b>;tag=2", "Call-ID: c"]
    message = parse("\r\n".join([*head, *lines, "Content-Length: 0", "", ""]).encode())
    assert lasts_of(message) == lasts
