"""A new server asks the telephones at it for their dialogs (RFC 4235), and makes calls again of what they tell."""

from __future__ import annotations

import pytest

from b2bua.takeover.dialog_fetch import MOST_OF_LINE
from sip.wire.message import Request, Response
from tests.b2bua.direct_fixture import Telephone
from tests.b2bua.fake import Side
from tests.b2bua.test_cookie_recovery import Scene, died

NAMESPACE = "urn:ietf:params:xml:ns:dialog-info"


def told(side: Side, state: str = "confirmed", target: str | None = None) -> str:
    """What the telephone of a side tells of it."""
    who = side.peer
    uri, own = (target or side.target).replace("&", "&amp;"), who.contact.strip("<>")
    ids = f'id="1" call-id="{side.call_id}" local-tag="{side.tag}" remote-tag="{side.other_tag}"'
    return (
        f'<dialog {ids} direction="initiator"><state>{state}</state>'
        f"<local><identity>sip:{who.name}@paris</identity><target uri='{own}'/></local>"
        f"<remote><identity>sip:1062@paris</identity><target uri='{uri}'/></remote></dialog>"
    )


def document(*dialogs: str) -> bytes:
    head = (
        f'<?xml version="1.0"?>\n<dialog-info xmlns="{NAMESPACE}" version="0" state="full" entity="sip:desk@paris">'
    )
    return f"{head}{''.join(dialogs)}</dialog-info>".encode()


def subscribe(phone: Telephone) -> Request:
    """What it was asked."""
    found = [each for each in phone.others if isinstance(each, Request) and each.method == "SUBSCRIBE"]
    assert len(found) == 1, phone.others
    phone.others.clear()
    return found[0]


def answer(phone: Telephone, request: Request, status: int) -> None:
    phone.send(
        f"SIP/2.0 {status} Said\nVia: {request.get('via')}\nFrom: {request.get('from')}\n"
        f"To: {request.get('to')};tag=s\nCall-ID: {request.call_id}\nCSeq: 1 SUBSCRIBE\n"
        f"Contact: {phone.contact}\nExpires: 0\nContent-Length: 0\n\n"
    )


def notify(phone: Telephone, request: Request, body: bytes, event: str = "dialog") -> int:
    """Tell it; the answer."""
    phone.branches += 1
    head = (
        f"NOTIFY sip:127.0.0.2:5060 SIP/2.0\nVia: SIP/2.0/UDP {phone.host}:{phone.port};"
        f"branch=z9hG4bK-n{phone.name}{phone.branches}\nFrom: {request.get('to')};tag=s\nTo: {request.get('from')}\n"
        f"Call-ID: {request.call_id}\nCSeq: 1 NOTIFY\nMax-Forwards: 70\nContact: {phone.contact}\nEvent: {event}\n"
        f"Subscription-State: terminated;reason=timeout\nContent-Type: application/dialog-info+xml\n"
        f"Content-Length: {len(body)}\n\n"
    ).replace("\n", "\r\n")
    phone.send(head.encode() + body)
    response = phone.others.pop()
    assert isinstance(response, Response)
    return response.status


def phone_of(side: Side) -> Telephone:
    assert isinstance(side.peer, Telephone)
    return side.peer


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_the_call_is_back_before_anybody_asks_something(who: str) -> None:
    scene = died()
    telling = scene.caller if who == "caller" else scene.callee
    phone = phone_of(telling)
    scene.bench.after(0.1)
    request = subscribe(phone)
    assert (request.get("event"), request.get("expires"), request.uri) == (
        "dialog", "0", f"sip:{phone.name}@{phone.host}:5060",
    )  # fmt: skip
    answer(phone, request, 200)
    assert notify(phone, request, document(told(telling))) == 200
    assert len(scene.bench.core.calls) == 1
    scene.bench.after(1.2)
    for side in (scene.caller, scene.callee):
        for update in side.asked[:1]:
            side.answer(update, 200)
        side.asked.clear()
    _hang_up(scene)


def _hang_up(scene: Scene) -> None:
    scene.led(scene.caller)
    scene.caller.say("BYE")
    scene.callee.answer(scene.callee.take("BYE"), 200)
    assert scene.caller.statuses == [200] and [cdr.result for cdr in scene.bench.cdrs] == ["answered"]
    scene.fixture.gone()


def test_both_tell_of_it_and_it_is_one_call() -> None:
    scene = died()
    scene.bench.after(0.1)
    for side in (scene.callee, scene.caller):
        phone = phone_of(side)
        request = subscribe(phone)
        assert notify(phone, request, document(told(side))) == 200
    assert len(scene.bench.core.calls) == 1 and not scene.bench.core.dialog_fetch.asked


@pytest.mark.parametrize("status", [489, 405, 481])
def test_who_does_not_know_the_package_is_asked_once(status: int) -> None:
    scene = died()
    scene.bench.after(0.1)
    for side in (scene.caller, scene.callee):
        phone = phone_of(side)
        answer(phone, subscribe(phone), status)
    assert not scene.bench.core.dialog_fetch.asked
    _hang_up(scene)


def test_who_says_nothing_is_not_waited_for() -> None:
    scene = died()
    scene.bench.after(80)
    assert not scene.bench.core.dialog_fetch.asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no document",
        b'<!DOCTYPE x [<!ENTITY a "b">]><dialog-info/>',
        b"<dialog-info/>",
        document("<dialog/>"),
        b"\xff\xfe<",
        b"<a>" * 30_000,
        document("<dialog id='1'><state/></dialog>" * 100),
    ],
)
def test_what_says_nothing_changes_nothing(body: bytes) -> None:
    scene = died()
    scene.bench.after(0.1)
    phone = phone_of(scene.caller)
    assert notify(phone, subscribe(phone), body) == 200
    assert not scene.bench.core.calls


@pytest.mark.parametrize(
    ("was", "told_instead", "back"),
    [
        ('call-id="', 'call-id="\u65e5', True),
        ('call-id="', 'call-id="x&#13;&#10;Evil: y', False),
        ('local-tag="', 'local-tag="1;tag=\u65e5', False),
        ("sip:desk@paris", "sip:\u65e5@paris", True),
        ("sip:desk@paris", "sip:desk@paris&gt;;tag=1&#10;Evil: y", True),
        ("sip:desk@127", "sip:\u65e5@127", True),
        ("sip:desk@127", "mailto:desk@127", True),
        ("<identity>sip:desk@paris</identity>", "", True),
    ],
)
def test_nothing_that_it_tells_spoils_a_message(was: str, told_instead: str, back: bool) -> None:
    scene = died()
    scene.bench.after(0.1)
    phone = phone_of(scene.caller)
    body = document(told(scene.caller)).decode().replace(was, told_instead)
    assert notify(phone, subscribe(phone), body.encode()) == 200
    assert len(scene.bench.core.calls) == back
    scene.bench.after(1.2)
    asked = [*scene.caller.asked, *phone.others]
    assert any(isinstance(each, Request) and each.method == "UPDATE" for each in asked) == back
    for each in asked:
        assert isinstance(each, Request) and "evil" not in each.names and "<>" not in (each.get("to") or "")


def test_only_its_own_confirmed_dialogs_count_and_only_from_it() -> None:
    scene = died()
    scene.bench.after(0.1)
    caller, callee = scene.caller, scene.callee
    phone, other = phone_of(caller), phone_of(callee)
    request, theirs = subscribe(phone), subscribe(other)
    assert notify(other, request, document(told(caller))) == 481, "somebody else's"
    assert notify(phone, request, document(told(caller)), event="presence") == 481
    body = document(told(caller, "early"), told(callee), told(caller, target="sip:hf1-AAAA@127.0.0.1:5060"))
    assert notify(phone, request, body) == 200
    assert notify(phone, request, document(told(caller))) == 481, "it has told all"
    assert not scene.bench.core.calls
    assert notify(other, theirs, document(told(callee))) == 200 and scene.bench.core.calls


def test_who_registers_later_is_asked_then_and_after_ten_minutes_nobody_is() -> None:
    scene = died(registered=False)
    bench = scene.bench
    desk, hall = phone_of(scene.caller), phone_of(scene.callee)
    bench.after(300)
    assert desk.register() == 200
    bench.after(0.1)
    assert subscribe(desk)
    bench.after(301)
    assert hall.register() == 200
    bench.after(5)
    assert not hall.others


def test_a_server_that_is_overruled_asks_nobody_any_more() -> None:
    scene = died()
    scene.bench.core.leadership_changes.step_down(scene.bench.now)
    scene.bench.after(5)
    assert not phone_of(scene.caller).others and not scene.bench.core.dialog_fetch.asked


def test_one_that_registers_without_end_is_not_asked_without_end() -> None:
    scene = died()
    desk, fetch = phone_of(scene.caller), scene.bench.core.dialog_fetch
    for port in range(41_000, 41_100):
        desk.behind = f"10.1.2.3:{port}"
        assert desk.register() == 200 and desk.register(expires=0) == 200
    assert sum(one.line == "desk" for one in fetch.asked.values()) == MOST_OF_LINE
    scene.bench.after(80)
    assert not fetch.asked
    desk.behind = "10.1.2.3:42000"
    assert desk.register() == 200
    assert [one.line for one in fetch.asked.values()] == ["desk"], "those that told nothing are forgotten"
