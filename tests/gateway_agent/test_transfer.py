"""REFER, its NOTIFYs and Replaces as they cross an agent (RFC 3515, RFC 3891)."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from sip.references import DialogId, ReferTo, is_of_transfer, naming_lines
from sip.wire.errors import Malformed
from sip.wire.message import Request, parse
from tests.gateway_agent.agent_fixture import SDP, AgentFixture

PASS = 'transfer = "pass"\nto_device = { called = [{ match = "+33*", strip = 3, prefix = "0" }] }'


def refer(to: str) -> Request:
    head = f"REFER sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nRefer-To: {to}\r\n"
    found = parse(
        f"{head}From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 2 REFER\r\n\r\n".encode()
    )
    assert isinstance(found, Request)
    return found


# -- what they say


@pytest.mark.parametrize(
    ("text", "early"),
    [("a@b;to-tag=1;from-tag=2", False), ("a@b ; From-Tag=2 ;to-tag=1;early-only", True)],
)
def test_a_dialog_is_named_by_call_id_and_both_tags(text: str, early: bool) -> None:
    assert DialogId.parse(text) == DialogId("a@b", "1", "2", early)
    assert DialogId.parse(str(DialogId.parse(text))) == DialogId.parse(text)


@pytest.mark.parametrize(
    "to",
    [
        "<sip:1@h?Replaces=a%40b%3Bto-tag%3D1%2b2%3Bfrom-tag%3D2>",
        "<sip:1@h?Replaces=a@b%3Bto-tag%3D1+2%3Bfrom-tag%3D2>",
        '"Bob" <sip:1@h;user=phone?Require=replaces&replaces=a@b;to-tag=1+2;from-tag=2>',
        "sip:1@h?Replaces=a@b%3bto-tag%3d1%2B2%3bfrom-tag%3d2",
    ],
)
def test_a_dialog_in_a_refer_to_is_read_however_it_is_escaped(to: str) -> None:
    found = ReferTo.of(refer(to))
    assert found.replaces == DialogId("a@b", "1+2", "2") and found.uri.dialled == "1"
    line = found.line("sip:2@there", lambda dialog: dialog)
    assert "Replaces=a%40b%3Bto-tag%3D1%2B2%3Bfrom-tag%3D2" in line and line.count("@") == 1


@pytest.mark.parametrize("text", ["", "a", "a;to-tag=1", "a;to-tag=1;from-tag=2;to-tag=3", "a;to-tag=;from-tag=2"])
def test_a_dialog_that_is_not_named_whole_is_none(text: str) -> None:
    with pytest.raises(Malformed):
        DialogId.parse(text)


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("<sip:1@h;method=BYE>", 403),
        ("<sip:h>", 403),
        ("<sip:1@h?Replaces=x>", 400),
        ("<http://h>", 416),
        ("<sip:1@h>\r\nRefer-To: <sip:2@h>", 400),
    ],
)
def test_only_calls_to_one_number_are_made_for_others(to: str, status: int) -> None:
    with pytest.raises(Malformed) as error:
        ReferTo.of(refer(to))
    assert error.value.status == status


def test_what_is_said_besides_of_who_is_to_be_called_crosses() -> None:
    found = ReferTo.of(refer("<sip:1@h;user=phone?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=x&Route=y>"))
    line = found.line("sip:2@there", lambda dialog: dialog._replace(call_id="z"))
    assert line == "Refer-To: <sip:2@there;user=phone?Subject=x&Replaces=z%3Bto-tag%3D1%3Bfrom-tag%3D2>"
    assert not is_of_transfer(refer("<sip:1@h>"))


@pytest.mark.parametrize(
    "header",
    [
        "P-Asserted-Identity=%3Csip:boss@h%3E",
        "p-asserted-identity=x",
        "P%2DAsserted%2DIdentity=x",
        "Remote-Party-ID=x",
        "Diversion=x",
        "Identity=x",
        "Line=other%2F1",
        "Call-State=1.2.x",
        "Authorization=Digest%20x",
        "f=%3Csip:boss@h%3E",
        "i=x",
        "Subject=x%0D%0AP-Asserted-Identity:%20boss",
        "X%0AFrom=y",
        "X%00=y",
    ],
)
def test_nobody_says_by_another_device_what_he_may_not_say_himself(header: str) -> None:
    found = ReferTo.of(refer(f"<sip:1@h?{header}&X-Account=7&{header}>"))
    assert found.line("sip:2@there", lambda dialog: dialog) == "Refer-To: <sip:2@there?X-Account=7>"


# -- how they cross


def test_a_line_refuses_transfers_unless_it_says_otherwise_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.request("REFER", lines=["Refer-To: <sip:1001@127.0.0.11>"], to_tag=tag, cseq=2)
    fixture.take(603)
    assert not fixture.m1.inbox
    [said] = [message for message in caplog.messages if "REFER" in message]
    assert 'asks for a transfer (REFER), which its line refuses: transfer = "serve" in [lines.' in said


def test_a_refer_of_the_device_names_the_number_at_the_server_and_its_dialog_as_servers_know_it() -> None:
    fixture = AgentFixture(PASS)
    invite, tag = fixture.answered_in()
    fixture.request("INVITE", body=SDP, call_id="dev-2", from_tag="dev2")
    fixture.take(100)
    second = fixture.m1.take("INVITE")
    fixture.m1.reply(second, 200, body=SDP, lines=["Content-Type: application/sdp"], tag="srvtag2")
    ours = fixture.take(200).to_tag
    named = f"dev-2%3Bto-tag%3D{ours}%3Bfrom-tag%3Ddev2"
    fixture.request("REFER", lines=[f"r: <sip:+33177@127.0.0.11?Replaces={named}>"], to_tag=tag, cseq=2)
    asked = fixture.m1.take("REFER")
    found = ReferTo.of(asked)
    assert (found.uri.dialled, found.uri.host, asked.get("contact") is not None) == ("+33177", "m1", True)
    assert found.replaces == DialogId(second.call_id, "srvtag2", second.from_tag)
    fixture.m1.reply(asked, 202)
    assert fixture.take(202).get("contact")
    fixture.m1.request(
        "NOTIFY",
        "sip:gw1",
        ["Event: refer;id=2", "Subscription-State: active;expires=60", "Content-Type: message/sipfrag"],
        b"SIP/2.0 100 Trying\r\n",
        call_id=invite.call_id,
        from_tag=tag,
        to_tag=invite.from_tag,
        origin="gw2;z9hG4bKn;1",
    )
    told = fixture.take("NOTIFY")
    assert told.get("event") == "refer" and told.body == b"SIP/2.0 100 Trying\r\n"
    assert told.get("subscription-state") == "active;expires=60" and told.get("contact")


def test_a_refer_to_the_device_names_the_number_as_it_dials_it() -> None:
    fixture = AgentFixture(PASS)
    _, ok = fixture.answered_out()
    dialog = "x%3Bto-tag%3D1%3Bfrom-tag%3D2"
    fixture.m1.request(
        "REFER",
        "sip:gw1",
        [f"Refer-To: <sip:+33177@m1?Replaces={dialog}>", "Refer-Sub: false"],
        call_id="s-1",
        to_tag=ok.to_tag,
        cseq=2,
        origin="gw2;z9hG4bKr;1",
    )
    asked = fixture.take("REFER")
    found = ReferTo.of(asked)
    assert (found.uri.dialled, found.uri.host) == ("0177", "127.0.0.11")
    assert found.replaces == DialogId("x", "1", "2") and asked.get("refer-sub") == "false"
    fixture.reply(asked, 603)
    fixture.m1.take(603)


def test_a_notify_of_another_package_is_none_of_a_call() -> None:
    fixture = AgentFixture(PASS)
    _, tag = fixture.answered_in()
    fixture.request("NOTIFY", lines=["Event: presence", "Subscription-State: active"], to_tag=tag, cseq=2)
    fixture.take(489)


def test_a_call_in_place_of_a_dialog_names_it_to_the_servers() -> None:
    fixture = AgentFixture(PASS)
    first, _ = fixture.answered_in()
    leg = next(iter(fixture.core.calls.values())).device
    assert leg is not None
    named = DialogId(leg.dialog.call_id, leg.dialog.local_tag, leg.dialog.remote_tag)
    lines = [f"Replaces: {named}", "Require: replaces"]
    fixture.request("INVITE", lines=lines, body=SDP, call_id="dev-3", from_tag="dev3")
    asked = fixture.m1.take("INVITE")
    assert asked.get("replaces") == str(DialogId(first.call_id, "srvtag", first.from_tag))
    assert unquote(asked.get("require") or "") == ""


@pytest.mark.parametrize("more", [PASS, ""])
def test_devices_of_a_line_that_passes_transfers_are_told_that_calls_may_be_replaced(more: str) -> None:
    fixture = AgentFixture(more)
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=["Content-Type: application/sdp"])
    assert ("replaces" in fixture.take(200).all("supported")) is bool(more)
    invite, _ = AgentFixture(more).answered_out()
    assert ("replaces" in invite.all("supported")) is bool(more)


# -- dialogs that are named besides

NAMED = "abc;to-tag=1;from-tag=2"
TARGET = "abc;local-tag=1;remote-tag=2"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Join: {NAMED}", ["Join: z;to-tag=1;from-tag=2"]),
        ("Join: abc;from-tag=2 ; To-Tag=1", ["Join: z;to-tag=1;from-tag=2"]),
        (f"Target-Dialog: {TARGET}", ["Target-Dialog: z;local-tag=1;remote-tag=2"]),
        (f"Target-Dialog: {NAMED}", []),
        ("Join: abc;to-tag=1", []),
        ("Subject: x", []),
    ],
)
def test_join_and_target_dialog_are_named_anew(line: str, expected: list[str]) -> None:
    request = Request("INVITE", "sip:a@b", [line.partition(":")[0].lower()], [line])
    assert naming_lines(request, lambda dialog: dialog._replace(call_id="z")) == expected


@pytest.mark.parametrize("more", [PASS, ""])
def test_a_device_s_join_names_its_dialog_as_the_servers_know_it(more: str) -> None:
    fixture = AgentFixture(more)
    first, _ = fixture.answered_in()
    leg = next(iter(fixture.core.calls.values())).device
    assert leg is not None
    dialog = leg.dialog
    lines = [
        f"Join: {dialog.call_id};to-tag={dialog.local_tag};from-tag={dialog.remote_tag}",
        f"Target-Dialog: {dialog.call_id};local-tag={dialog.local_tag};remote-tag={dialog.remote_tag}",
        "Require: join, tdialog",
    ]
    fixture.request("INVITE", lines=lines, body=SDP, call_id="dev-3", from_tag="dev3")
    asked = fixture.m1.take("INVITE")
    ours = f"{first.call_id};to-tag=srvtag;from-tag={first.from_tag}" if more else None
    target = f"{first.call_id};local-tag=srvtag;remote-tag={first.from_tag}" if more else None
    assert (asked.get("join"), asked.get("target-dialog")) == (ours, target)


@pytest.mark.parametrize("more", [PASS, ""])
def test_a_join_names_a_dialog_to_the_device_that_has_it(more: str) -> None:
    fixture = AgentFixture(more)
    fixture.answered_out()
    call = next(iter(fixture.core.calls.values()))
    assert call.server is not None and call.device is not None
    ours, theirs = call.server.dialog, call.device.dialog
    lines = [
        f"Join: {ours.call_id};to-tag={ours.remote_tag};from-tag={ours.local_tag}",
        "Target-Dialog: other;local-tag=3;remote-tag=4",
    ]
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", lines, SDP, call_id="s-9", origin="gw2;j;1")
    told = fixture.take("INVITE")
    named = f"{theirs.call_id};to-tag={theirs.remote_tag};from-tag={theirs.local_tag}"
    assert told.get("join") == (named if more else None)
    assert told.get("target-dialog") == ("other;local-tag=3;remote-tag=4" if more else None)
