"""What is shown of a message proves nothing and opens nothing."""

from __future__ import annotations

import re

import pytest

from sip.redaction import redacted

HEAD = "INVITE sip:b@x SIP/2.0\r\nCall-ID: c1\r\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            'Authorization: Digest username="a", realm="r", nonce="n0", response="abcd", cnonce="c", qop=auth, nc=1',
            'Authorization: Digest username="a", realm="r", nonce="**", response="****", cnonce="*", qop=auth, nc=1',
        ),
        (
            'proxy-authorization : digest response=abcd,\r\n nonce="q\\"uoted"',
            'proxy-authorization : digest response=****,\r\n nonce="********"',
        ),
        ("Authorization: Bearer eyJh.b.c", "Authorization: Bearer ********"),
        ("Authorization: secret", "Authorization: ******"),  # a token whose scheme was forgotten
        ("Authorization: Bearer\tsecret", "Authorization: Bearer\t******"),
        ("Authorization: Bearer\r\n secret", "Authorization: Bearer\r\n ******"),
        ('Authorization: Digest\tresponse="abcd",nc=1', 'Authorization: Digest\tresponse="****",nc=1'),
        ('Authorization: response="abcd", nc=1', "Authorization: *********************"),
        (
            'WWW-Authenticate: Digest realm="r", nonce="abc", opaque="o"',
            'WWW-Authenticate: Digest realm="r", nonce="***", opaque="*"',
        ),
        ('Authentication-Info: nextnonce="abc", rspauth="d"', 'Authentication-Info: nextnonce="***", rspauth="*"'),
        ("Call-State: 1.4.c0ffee.cGF5.bWFj", "Call-State: 1.4.c0ffee.*********"),
        ("Line-State: 1.3.7.cGF5.bWFj", "Line-State: 1.3.7.*********"),
        ('Line-State: 2.3.7.["in call",7].bWFj', "Line-State: 2.3.7." + "*" * 18),
        ("Line-State: what", "Line-State: ****"),
        (
            "Heartbeat: site=p; node=m1; epoch=7; nonce=aa; mac=9f",
            "Heartbeat: site=p; node=m1; epoch=7; nonce=**; mac=**",
        ),
        ("Death: site=p; node=m1; secret=00ff; by=signal-9", "Death: site=p; node=m1; secret=****; by=signal-9"),
        ("Contact: <sip:a:pass@h:5060>", "Contact: <sip:a:****@h:5060>"),
        ("Contact: <sip:1;ext=2:pass@h>", "Contact: <sip:1;ext=2:****@h>"),
        (f"Contact: <sips:a:{'pw:' * 100}@h>", f"Contact: <sips:a:{'*' * 300}@h>"),
        ("Contact: <sip:a@h:5060;ob>, <sip:h:5060>", "Contact: <sip:a@h:5060;ob>, <sip:h:5060>"),
        ("Subject: response=1", "Subject: response=1"),
    ],
)
def test_headers(line: str, shown: str) -> None:
    text = f"{HEAD}{line}\r\nVia: x\r\n\r\n"
    assert redacted(text) == f"{HEAD}{shown}\r\nVia: x\r\n\r\n"
    assert redacted(text.removesuffix("\r\n\r\n")) == f"{HEAD}{shown}\r\nVia: x", "one that was cut"


SDP = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/SAVP 0\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        (
            "application/sdp",
            f"{SDP}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:a2V5|2^20;inline:b\r\na=sendrecv\r\n",
            f"{SDP}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:******************\r\na=sendrecv\r\n",
        ),
        ("application/sdp", f"{SDP}k=clear:pw\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n", None),
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "Signal=*\r\nDuration=160\r\n"),
        ("application/dtmf", "5", "*"),
        ("application/line-dialog+json-seq", '{"call-state":"1.2.3"}', "*" * 22),
        ("message/sipfrag", "SIP/2.0 200 OK\r\nCall-State: 1.2.x.y\r\n", "SIP/2.0 200 OK\r\nCall-State: 1.2.x.*\r\n"),
    ],
)
def test_bodies(kind: str, body: str, shown: str | None) -> None:
    found = redacted(f"{HEAD}Content-Type: {kind}\r\n\r\n{body}").partition("\r\n\r\n")[2]
    assert len(found) == len(body)
    expected = shown or f"{SDP}k=********\r\na=ice-ufrag:u\r\na=ice-pwd:*\r\n"
    assert found == expected


def test_one_whose_head_has_no_end_is_read_as_a_body_too() -> None:
    text = "INVITE sip:b@x SIP/2.0\nCall-ID: c1\n\nv=0\na=ice-pwd:secret\nk=clear:secret\nSignal=5\n"
    shown = "INVITE sip:b@x SIP/2.0\nCall-ID: c1\n\nv=0\na=ice-pwd:******\nk=************\nSignal=*\n"
    assert redacted(text) == shown


@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization", "Authentication-Info", "Call-State"])
def test_the_compact_content_type_and_many_spaces_cost_no_time(name: str) -> None:
    text = f"{HEAD}c: application/line-dialog+json-seq\r\n{name}: {'a=' * 4000}\r\n\r\nsecret"
    assert not re.search("secret", redacted(text))
