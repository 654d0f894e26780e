"""Messages that nobody here wrote: RFC 4475 section 3.1 and a part of the PROTOS suite, where they are at hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sip.wire.errors import Malformed, SipError, Unanswerable
from sip.wire.headers import NameAddr, Via, stamp_received
from sip.wire.message import Request, Response, elements, parse
from sip.wire.validation import validate

TORTURE = Path(__file__).parents[2].parent / "shared" / "torture"
MISSING = "the torture messages (other people's data) are not at ../shared/torture"

TOLERATED = {"baddate"}
"""Invalid by the letter, but the RFC asks to let it pass where Date does not matter."""
DROPPED = {"scalarlg", "bigcode"}


def _manifest() -> list[dict[str, str]]:
    path = TORTURE / "rfc4475" / "MANIFEST.tsv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _rows(kind: str) -> list[str]:
    return [row["file"] for row in _manifest() if row["class"].startswith(kind)]


def _checked(data: bytes) -> Request | Response:
    message = parse(data)
    if isinstance(message, Request):
        validate(message)
    return message


@pytest.fixture(autouse=True)
def _at_hand() -> None:
    if not TORTURE.exists():
        pytest.skip(MISSING)


@pytest.mark.parametrize("file", _rows("valid") or [""])
def test_valid_messages_are_taken_and_leave_as_they_came(file: str) -> None:
    data = (TORTURE / "rfc4475" / file).read_bytes()
    message = _checked(data)
    assert data.startswith(message.to_bytes())
    for value in elements(message, "contact"):
        NameAddr.parse(value)
    for value in elements(message, "via"):
        Via.parse(value)


@pytest.mark.parametrize("file", _rows("invalid") or [""])
def test_invalid_messages_are_refused_with_the_status_of_the_rfc(file: str) -> None:
    data = (TORTURE / "rfc4475" / file).read_bytes()
    name = file.removesuffix(".dat")
    if name in TOLERATED:
        _checked(data)
        return
    with pytest.raises(Malformed) as caught:
        _checked(data)
    if name in DROPPED:
        assert isinstance(caught.value, Unanswerable)
        return
    assert not isinstance(caught.value, Unanswerable)
    assert caught.value.status == (505 if name == "badvers" else 400)
    request = caught.value.request
    assert request is not None
    assert {"from", "to", "call-id", "cseq"} <= set(request.names)
    stamped = stamp_received(request.lines[request.names.index("via")], ("127.0.0.2", 5099))
    assert Via.parse(stamped.partition(":")[2]).received == "127.0.0.2"


def test_details_of_the_valid_ones() -> None:
    def read(name: str) -> Request | Response:
        return _checked((TORTURE / "rfc4475" / f"{name}.dat").read_bytes())

    odd = read("wsinv")
    assert (odd.cseq, odd.cseq_method, odd.to_tag, odd.from_tag) == (9, "INVITE", "1918181833n", "98asjd8")
    assert odd.branch == "390skdjuw"
    assert [Via.parse(value).branch for value in elements(odd, "via")] == [
        "390skdjuw",
        "z9hG4bK9ikj8",
        "z9hG4bK30239",
    ]
    assert NameAddr.parse(odd.get("contact") or "").get("q") == "0.33"
    assert read("dblreq").body == b""
    assert len(read("mpart01").body) == 553
    assert len(elements(read("longreq"), "via")) == 34
    assert len(elements(read("esc02"), "contact")) == 2
    assert read("intmeth").from_tag == "_token~1'+`*%!-."


def _protos() -> list[Path]:
    return sorted((TORTURE / "protos").glob("*.invite"))


def _filled(data: bytes) -> bytes:
    values = {
        b"<From>": b"alice@127.0.0.2",
        b"<To>": b"bob@127.0.0.1",
        b"<From-Name>": b"alice",
        b"<From-Address>": b"127.0.0.2",
        b"<From-IP>": b"127.0.0.2",
        b"<To-Name>": b"bob",
        b"<To-Address>": b"127.0.0.1",
        b"<To-IP>": b"127.0.0.1",
        b"<Call-ID>": b"1234",
        b"<CSeq>": b"7",
        b"<Local-Port>": b"5060",
        b"<Branch-ID>": b"99",
        b"<Teardown-Method>": b"CANCEL",
        b"<Content-Length>": b"0",
    }
    for name, value in values.items():
        data = data.replace(name, value)
    return data


def test_protos_brings_nothing_down() -> None:
    taken = 0
    for path in _protos():
        for file in (path, path.with_suffix(".teardown")):
            data = _filled(file.read_bytes())
            try:
                message = _checked(data)
                stamp_received(message.lines[message.names.index("via")], ("127.0.0.2", 5060))
                Via.parse(message.get("via") or "")
                taken += 1
            except SipError:
                continue
    assert taken > 0


def test_the_unmutated_protos_message_is_taken() -> None:
    assert isinstance(_checked(_filled((TORTURE / "protos" / "0000.invite").read_bytes())), Request)
