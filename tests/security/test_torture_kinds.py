"""The torture of RFC 4475 and RFC 5118 as an agent lives it.

The messages of RFC 4475 section 3.1 are other people's and read from where they are; for its sections 3.2 to 3.4 and
for RFC 5118 there are messages of our own of the same kinds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sip.actions import Flow, Send
from sip.registrar import Registrar
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, elements, parse
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, AgentFixture

MESSAGES = Path(__file__).parents[2].parent / "shared" / "torture" / "rfc4475"
MISSING = "the torture messages (other people's data) are not at ../shared/torture"

ANSWERS = {
    **dict.fromkeys(("lwsdisp", "semiuri", "transports"), 200),
    **dict.fromkeys(("esc01", "longreq", "baddate"), 100),
    **dict.fromkeys(("dblreq", "escnull"), 401),
    "mpart01": 405,
    "wsinv": 481,  # a To tag, and no such dialog (RFC 3261 section 12.2.2)
    **dict.fromkeys(("intmeth", "esc02"), 501),
    "badvers": 505,
    **dict.fromkeys(
        "badaspec baddn badinv01 clerr escruri ltgtruri lwsruri lwsstart mismatch01 mismatch02 ncl quotbal regbadct "
        "scalar02 trws".split(),
        400,
    ),
    **dict.fromkeys("unreason noreason scalarlg bigcode".split(), 0),
}
"""What an agent says to each when it comes from a trunk by UDP; 0: nothing."""


def sent(fixture: AgentFixture, data: bytes, flow: Flow = CARRIER) -> list[Send]:
    """What an agent sends because of a message."""
    fixture.core.receive(data, flow, fixture.now)
    return [action for action in fixture.core.to_do() if isinstance(action, Send)]


def status_of(actions: list[Send], host: str = "127.0.0.21") -> int:
    """The first answer to that host; 0 for none. Nothing may go elsewhere but to servers."""
    answers = [one for one in actions if one.flow.remote[0] == host]
    assert {one.flow.remote[0] for one in actions} <= {host, "127.0.0.1", "127.0.0.2"}
    return int(answers[0].data[8:11]) if answers else 0


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_each_message_of_the_rfc_gets_its_answer(name: str) -> None:
    if not MESSAGES.exists():
        pytest.skip(MISSING)
    fixture = AgentFixture()
    actions = sent(fixture, (MESSAGES / f"{name}.dat").read_bytes())
    assert status_of(actions) == ANSWERS[name]
    onward = [one for one in actions if one.flow.remote[0] != "127.0.0.21"]
    assert bool(onward) == (ANSWERS[name] == 100) == bool(fixture.core.calls)
    fixture.request("OPTIONS", flow=CARRIER)
    fixture.take(200)


def test_no_message_of_the_rfc_is_left_out() -> None:
    if not MESSAGES.exists():
        pytest.skip(MISSING)
    assert {path.stem for path in MESSAGES.glob("*.dat")} == set(ANSWERS)


def test_what_goes_on_is_clean_and_keeps_its_escapes() -> None:
    if not MESSAGES.exists():
        pytest.skip(MISSING)
    fixture = AgentFixture()
    actions = sent(fixture, (MESSAGES / "esc01.dat").read_bytes())
    [onward] = [one for one in actions if one.flow.remote[0] == "127.0.0.1"]
    invite = parse(onward.data)
    assert isinstance(invite, Request)
    assert invite.uri.startswith("sip:sips%3Auser%40example.com@")


def test_escaped_nulls_make_two_bindings() -> None:
    if not MESSAGES.exists():
        pytest.skip(MISSING)
    request = parse((MESSAGES / "escnull.dat").read_bytes())
    assert isinstance(request, Request)
    outcome = Registrar(lambda uri: "null").register(request, CARRIER, 0.0)
    assert outcome.reply is not None and outcome.reply.status == 200
    assert len(outcome.changes) == 2 == len(outcome.reply.lines)


def test_the_answer_echoes_every_via_in_order() -> None:
    if not MESSAGES.exists():
        pytest.skip(MISSING)
    data = (MESSAGES / "longreq.dat").read_bytes()
    said = [parse(action.data) for action in sent(AgentFixture(), data)]
    answer = next(message for message in said if isinstance(message, Response))
    assert [value.split(";")[0] for value in elements(answer, "via")] == [
        value.split(";")[0] for value in elements(parse(data), "via")
    ]


# -- of our own ------------------------------------------------------------------------------------------------------


def message(
    method: str = "INVITE",
    uri: str = "sip:+33166@127.0.0.11",
    more: str = "",
    body: bytes = SDP,
    without: str = "",
    **fields: str,
) -> bytes:
    """A request of the trunk's peer; ``fields`` (with _ for -) take the place of the usual ones."""
    usual = {
        "Via": "SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKkin",
        "From": "<sip:+33155@127.0.0.21>;tag=f",
        "To": "<sip:+33166@127.0.0.11>",
        "Call-ID": "kin-1",
        "CSeq": f"7 {method}",
        "Contact": "<sip:+33155@127.0.0.21>",
        "Max-Forwards": "70",
        "Content-Type": "application/sdp",
        "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in usual.items() if name not in without.split()]
    return (
        "\r\n".join([f"{method} {uri} SIP/2.0", *lines, *more.split("|"), "", ""])
        .replace("\r\n\r\n\r\n", "\r\n\r\n")
        .encode()
        + body
    )


KINDS: dict[str, tuple[bytes, int]] = {
    # RFC 4475 section 3.2, 3.3 and 3.4
    "3.2.1 a branch that is the cookie alone": (message(Via="SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bK"), 100),
    "3.3.1 what is required is missing": (message(without="Call-ID From To"), 0),
    "3.3.1 no Call-ID": (message(without="Call-ID"), 0),
    "3.3.2 a scheme that nobody knows": (message(uri="nobodyknows:totallyopaque"), 416),
    "3.3.3 a scheme that others know": (message(uri="soap.beep://127.0.0.11/x"), 416),
    "3.3.4 such schemes in To and From": (message(To="<isbn:123>", From="<http://x.example/>;tag=f"), 100),
    "3.3.5 an extension is required": (message(more="Require: nothingSupportsThis"), 420),
    "3.3.7 credentials of a kind nobody knows": (
        message("REGISTER", more="Authorization: NoOneKnows opaque-data=here", body=b"", To="<sip:alice@paris>"),
        401,
    ),
    "3.3.8 two of what there may be one": (message(more="Call-ID: other|CSeq: 9 INVITE|Max-Forwards: 3"), 400),
    "3.3.9 two lengths": (message("OPTIONS", more="Content-Length: 3"), 400),
    "3.3.11 no hop left": (message("OPTIONS", Max_Forwards="0", body=b""), 200),
    "3.3.14 a Contact with a header in it": (
        message("REGISTER", body=b"", To="<sip:alice@paris>", Contact="<sip:u@127.0.0.21?Route=%3Csip:x%3E>"),
        401,
    ),
    "3.4.1 a client of RFC 2543": (
        message(Via="SIP/2.0/UDP 127.0.0.21:5060", From="sip:+33155@127.0.0.21", without="Max-Forwards"),
        100,
    ),
    # RFC 5118
    "4.1 an IPv6 reference": (message("OPTIONS", "sip:[2001:db8::10]", body=b""), 200),
    "4.2 an IPv6 address without brackets": (message("OPTIONS", "sip:2001:db8::10", body=b""), 400),
    "4.3 a port that is part of the address": (message("OPTIONS", "sip:[2001:db8::10:5070]", body=b""), 200),
    "4.4 a port behind it": (message("OPTIONS", "sip:[2001:db8::10]:5070", body=b""), 200),
    "4.5 received with brackets": (
        message("OPTIONS", Via="SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKa", body=b""),
        200,
    ),
    "4.5 received without": (
        message("OPTIONS", Via="SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKa", body=b""),
        200,
    ),
    "4.6 IPv6 in a description": (message(body=SDP.replace(b"IP4 127.0.0.21", b"IP6 2001:db8::20")), 100),
    "4.8 several addresses in one message": (
        message(more="Record-Route: <sip:[2001:db8::9];lr>, <sip:127.0.0.21;lr>"),
        100,
    ),
    "4.9 IPv4 within IPv6": (message(Contact="<sip:u@[::ffff:192.0.2.10]:19823>"), 100),
    "4.10 three colons": (message("OPTIONS", "sip:u@[2001:db8:::192.0.2.1]", body=b""), 200),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_gets_its_answer(kind: str) -> None:
    data, status = KINDS[kind]
    fixture = AgentFixture()
    actions = sent(fixture, data)
    assert status_of(actions) == status
    for one in actions:
        try:
            parse(one.data)
        except SipError:  # an answer echoes what it answers
            assert status == 400
    fixture.request("OPTIONS", flow=CARRIER, call_id="after")
    fixture.take(200)


@pytest.mark.parametrize(
    "line", ["To\r\n: <sip:a@b>", "To", "Call-ID\nX: y", "To: <sip:a@b>\nX-Forged: y", "Via\r\n ", "CSeq"]
)
def test_an_answer_to_a_message_with_two_faults_has_none(line: str) -> None:
    whole = message("OPTIONS", "<sip:x>", body=b"").decode()
    name = line.partition(":")[0].strip()
    fixture = AgentFixture()
    fixture.core.receive(whole.replace(f"{name}: ", f"{line}\r\nOld-{name}: ").encode(), CARRIER, fixture.now)
    fixture.core.receive(whole.replace("\r\n\r\n", f"\r\n{line}\r\n\r\n").encode(), CARRIER, fixture.now)
    for action in fixture.core.to_do():
        assert isinstance(action, Send)
        answer = parse(action.data)
        assert isinstance(answer, Response) and answer.status == 400
        assert all(":" in one and "\n" not in one.replace("\r\n", "") for one in answer.lines)


def test_a_response_for_a_broadcast_address_is_dropped() -> None:
    data = (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber\r\nFrom: <sip:a@x>;tag=f\r\n"
        b"To: <sip:b@x>;tag=t\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:b@x>\r\nContent-Length: 0\r\n\r\n"
    )
    assert sent(AgentFixture(), data) == []


def test_a_body_that_is_too_long_for_a_stream_ends_it() -> None:
    fixture = AgentFixture()
    flow = Flow("tcp", f"{LISTEN}#1", ("127.0.0.21", 40000))
    fixture.core.flow_changed(flow, "open", fixture.now)
    fixture.core.receive(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n", flow, fixture.now)
    assert flow not in fixture.core.stack.receiver.streams.framers
