"""Who calls whom, on the way through a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.site.devices import identity_of
from sip.device.identity import Numbers, asserted_to_device, from_device, in_site_form, to_device, with_fields
from sip.wire.errors import Malformed
from sip.wire.message import Request, parse
from tests.gateway_agent.agent_fixture import site

LINE = identity_of(site().lines["trunk1"])
PHONE = identity_of(site().lines["alice"])
NATIONAL = identity_of(
    site(
        'to_device.caller = [{ match = "+33*", strip = 3, prefix = "0" }]\n'
        'from_device.caller = [{ match = "0*", strip = 1, prefix = "+33" }]'
    ).lines["trunk1"]
)
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'


def invite(uri: str, sender: str = "<sip:+33155@h>", *lines: str) -> Request:
    head = [f"INVITE {uri} SIP/2.0", f"From: {sender};tag=f", "To: <sip:b@x>", "Call-ID: c", "CSeq: 1 INVITE", *lines]
    text = "\r\n".join([*head, "", ""])
    request = parse(text.encode())
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(
    "uri, onward",
    [
        ("sip:+33166@h", "sip:+33166@m1"),
        ("sip:+33166;npdi;rn=+33177@h;user=phone", "sip:+33166;npdi;rn=+33177@m1;user=phone"),
        ("sip:+33166;isub=1234@h", "sip:+33166;isub=1234@m1"),
        ("sip:+33166;tgrp=tg1;trunk-context=x@h", "sip:+33166;tgrp=tg1;trunk-context=x@m1"),
        ("tel:1660;phone-context=x.example", "sip:1660;phone-context=x.example@m1;user=phone"),
        ("sip:alice;day=tuesday@h", "sip:alice;day=tuesday@m1"),
    ],
)
def test_what_is_said_of_a_number_crosses(uri: str, onward: str) -> None:
    assert from_device(LINE, invite(uri), "paris").uri("m1") == onward
    named = onward.replace("@m1", "@gw1;line=trunk1")
    assert to_device(LINE, invite(named), "gw1", "h").uri("m1") == onward


def test_what_is_said_of_the_caller_crosses_with_his_number_alone() -> None:
    request = invite("sip:1@h", '"A" <sip:+33155;cpc=ordinary@h;user=phone>')
    assert from_device(LINE, request, "paris").sender == '"A" <sip:+33155;cpc=ordinary@paris;user=phone>'
    assert to_device(LINE, request, "gw1", "h").sender == '"A" <sip:+33155;cpc=ordinary@gw1;user=phone>'
    shown = replace(LINE, caller_number="+33100")
    assert from_device(shown, request, "paris").sender == '"A" <sip:+33100@paris>'


def test_a_caller_of_another_scheme_crosses_as_he_is() -> None:
    request = invite("sip:1@h", '"A" <http://example.com/a>')
    told = from_device(LINE, request, "paris")
    assert (told.sender, told.caller) == ('"A" <http://example.com/a>', "")
    assert to_device(LINE, request, "gw1", "h").sender == told.sender
    shown = replace(LINE, caller_number="+33100")
    assert from_device(shown, request, "paris").sender == "<sip:+33100@paris>"


@pytest.mark.parametrize("uri", ["sip:h", "sip:h;user=phone"])
def test_a_request_uri_without_a_number_is_no_call(uri: str) -> None:
    with pytest.raises(Malformed):
        from_device(LINE, invite(uri), "paris")


CLAIMS = (
    "P-Asserted-Identity: <sip:police@x>",
    "P-Preferred-Identity: <sip:police@x>",
    "Remote-Party-ID: <sip:police@x>;party=calling;screen=yes",
    "Diversion: <sip:police@x>",
    "History-Info: <sip:police@x>;index=1",
    "P-Charging-Vector: icid-value=police@x",
)


def crossed(told: Numbers, request: Request) -> list[str]:
    """The lines that the other side gets."""
    kept = [line for name, line in zip(request.names, request.lines, strict=True) if name not in told.dropped]
    return [*kept, *told.more]


@pytest.mark.parametrize(
    "sender, shown",
    [
        ("<sip:alice@paris>", "<sip:alice@paris>"),
        ("<sip:1001@192.0.2.9:5062>", "<sip:1001@paris>"),
        ('"Alice" <sip:+1001@paris>', '"Alice" <sip:1001@paris>'),
        ("<sip:anybody@paris>", "<sip:1001@paris>"),
        ('"A" <http://example.com/a>', "<sip:1001@paris>"),
    ],
)
def test_a_phone_is_who_it_has_proved_to_be_whatever_it_claims(sender: str, shown: str) -> None:
    request = invite("sip:200@paris", sender, *CLAIMS)
    told = from_device(PHONE, request, "paris")
    assert told.sender.partition("<")[2] == shown.partition("<")[2]
    assert not [line for line in crossed(told, request) if "police" in line]


def test_a_phone_may_prefer_another_number_of_its_line() -> None:
    policy = replace(PHONE, claims=("1001", "1002", "alice"))
    request = invite("sip:200@paris", "<sip:alice@paris>", "P-Preferred-Identity: <sip:1002@paris>")
    assert from_device(policy, request, "paris").sender == "<sip:1002@paris>"


@pytest.mark.parametrize(
    "sender, lines",
    [
        (ANONYMOUS, ()),
        (ANONYMOUS, ("Privacy: id",)),
        ("<sip:1001@paris>", ("Privacy: user;id",)),
    ],
)
def test_a_caller_who_hides_is_known_to_the_trusted_alone(sender: str, lines: tuple[str, ...]) -> None:
    request = invite("sip:+33166@paris", sender, *lines, "P-Asserted-Identity: <sip:police@x>")
    told = from_device(PHONE, request, "paris")
    onward = invite("sip:+33166@gw1", told.sender, *crossed(told, request)[4:])
    assert "P-Asserted-Identity: <sip:1001@paris>" in onward.lines and onward.get("privacy")
    carrier = to_device(LINE, onward, "gw1", "carrier")
    assert "P-Asserted-Identity: <sip:1001@gw1>" in carrier.more and carrier.sender == told.sender.replace(
        "paris", "gw1"
    )
    phone = to_device(PHONE, onward, "gw1", "paris")
    assert phone.sender == ANONYMOUS and phone.caller == ""
    assert not [line for line in crossed(phone, onward) if "1001" in line and not line.startswith("From")]


def test_privacy_of_a_user_covers_what_tells_of_him_besides() -> None:
    lines = ("Privacy: user", "Organization: Acme", "Subject: money", "User-Agent: x", "X-Kept: y")
    request = invite("sip:1001@gw1", "<sip:+33155@paris>", *lines)
    got = crossed(to_device(PHONE, request, "gw1", "paris"), request)
    assert [line for line in got if line in lines] == ["Privacy: user", "X-Kept: y"]


def test_none_is_no_privacy_and_remote_party_id_has_its_own() -> None:
    shown = invite("sip:1001@gw1", "<sip:+33155@paris>", "Privacy: none", "P-Asserted-Identity: <sip:+33155@paris>")
    assert to_device(PHONE, shown, "gw1", "paris").more == ("P-Asserted-Identity: <sip:+33155@gw1>",)
    hidden = invite("sip:1001@gw1", "<sip:+33155@paris>", "Remote-Party-ID: <sip:+33155@paris>;privacy=full")
    told = to_device(PHONE, hidden, "gw1", "paris")
    assert told.sender == ANONYMOUS and "remote-party-id" in told.dropped and not told.more


IN_SITE = (
    "P-Asserted-Identity: <sip:+33155@paris>, <tel:+33155>",
    'Remote-Party-ID: "A, B" <sip:+33155@paris;user=phone>;party=calling',
    "Diversion: <sip:+33177@paris>;reason=unconditional",
    "History-Info: <sip:+33177@paris?Reason=SIP%3Bcause%3D302>;index=1",
    "Referred-By: sip:+33188@paris",
)
NATIONALLY = (
    "P-Asserted-Identity: <sip:0155@gw1>, <sip:0155@gw1;user=phone>",
    'Remote-Party-ID: "A, B" <sip:0155@gw1;user=phone>;party=calling',
    "Diversion: <sip:0177@gw1>;reason=unconditional",
    "History-Info: <sip:0177@gw1?Reason=SIP%3Bcause%3D302>;index=1",
    "Referred-By: <sip:0188@gw1>",
)


def test_all_identities_have_one_form_each_way() -> None:
    told = to_device(NATIONAL, invite("sip:1@gw1", "<sip:+33155@paris>", *IN_SITE), "gw1", "carrier")
    assert (told.sender, told.more) == ("<sip:0155@gw1>", NATIONALLY)
    back = from_device(NATIONAL, invite("sip:1@gw1", "<sip:0155@carrier>", *NATIONALLY), "paris")
    assert back.sender == "<sip:+33155@paris>"
    assert all("+33" in line and "@paris" in line for line in back.more) and len(back.more) == len(NATIONALLY)


def test_a_name_is_at_our_host_where_it_was_at_that_of_its_side_and_else_stays() -> None:
    lines = (
        "Diversion: <sip:alice@paris>",
        "History-Info: <sip:b@elsewhere>;index=1, <sip:+33188@elsewhere>;index=2",
    )
    assert to_device(NATIONAL, invite("sip:1@gw1", "<sip:+33155@paris>", *lines), "gw1", "carrier").more == (
        "Diversion: <sip:alice@gw1>",
        "History-Info: <sip:b@elsewhere>;index=1, <sip:0188@gw1>;index=2",
    )


def test_what_cannot_be_read_or_tells_nothing_stays_as_it_is() -> None:
    lines = ("P-Asserted-Identity: <sip:anonymous@anonymous.invalid>", "Diversion: <http://x/y>", "Diversion: <sip:>")
    assert to_device(NATIONAL, invite("sip:1@gw1", ANONYMOUS, *lines), "gw1", "carrier").more == lines


def test_a_line_with_a_caller_number_shows_that_alone() -> None:
    policy = replace(LINE, caller_number="+33999")
    request = invite("sip:1@h", "<sip:+33155@pbx>", *CLAIMS)
    told = from_device(policy, request, "paris")
    assert told.sender == "<sip:+33999@paris>"
    assert not [line for line in crossed(told, request) if "police" in line]


def test_a_trunk_that_is_not_trusted_is_believed_as_far_as_its_numbers_go() -> None:
    policy = identity_of(site('trust = false\nnumbers = ["+33155", "+33156"]').lines["trunk1"])
    for sender, shown in (("+33156", "+33156"), ("+33999", "+33155")):
        request = invite("sip:1@h", f"<sip:{sender}@pbx>", "P-Asserted-Identity: <sip:police@x>")
        told = from_device(policy, request, "paris")
        assert told.sender == f"<sip:{shown}@paris>" and "p-asserted-identity" in told.dropped and not told.more
    unknown = replace(policy, claims=())
    assert from_device(unknown, invite("sip:1@h", "<sip:+33999@pbx>"), "paris").sender == "<sip:+33999@paris>"


@pytest.mark.parametrize(
    "asked, shown",
    [
        ("both", ["Diversion", "History-Info"]),
        ("diversion", ["Diversion"]),
        ("history-info", ["History-Info"]),
        ("none", []),
    ],
)
def test_a_line_says_how_it_is_told_of_diversions(asked: str, shown: list[str]) -> None:
    policy = identity_of(site(f'diversion = "{asked}"').lines["trunk1"])
    lines = ("Diversion: <sip:1@paris>;reason=user-busy", "History-Info: <sip:1@paris>;index=1")
    told = to_device(policy, invite("sip:2@gw1", "<sip:+33155@paris>", *lines), "gw1", "carrier")
    assert [line.partition(":")[0] for line in told.more] == shown and told.dropped >= {"diversion", "history-info"}


@pytest.mark.parametrize("line", ["b: <sip:+33188@h>", "Diversion : <sip:+33188@h>"])
def test_an_identity_stays_one_however_its_field_is_spelled(line: str) -> None:
    """Between two trunks of a server it is not read anew: who hides would else be told of."""
    untrusted = replace(LINE, trusted=False)
    request = invite("sip:1@h", "<sip:+33155@h>", line, "Privacy: id")
    told = in_site_form(request, from_device(LINE, request, "paris"), "paris")
    for believed in (told, with_fields(request, frozenset(), (line,))):
        dropped, more = asserted_to_device(untrusted, believed, "gw1")
        onward = with_fields(believed, dropped, more)
        assert "+33188" in "".join(believed.lines) and "+33188" not in "".join(onward.lines)
