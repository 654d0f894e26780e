"""The recipes of docs/trunks.md against carriers that insist on what they are for, at agents and at servers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sip.actions import Certified, Flow, Open
from sip.io.codec import CodecError
from sip.io.tls import Credentials
from sip.location import Place
from tests.certificates import Authority
from tests.device_rigs import TYPE, AgentRig, ServerRig
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP

TEXT = (Path(__file__).parents[1] / "docs" / "trunks.md").read_text(encoding="utf-8")
RECIPES = {found[1]: found[2] for found in re.finditer(r"```toml\n# recipe: (.+)\n((?s:.+?))```", TEXT)}
SECOND = Flow("udp", LISTEN, ("127.0.0.22", 5060))
NONCE = 'Digest realm="carrier", nonce="n", qop="auth", algorithm=MD5'
WELL = [Place("udp", *CARRIER.remote)]

owners = pytest.mark.parametrize("make", [AgentRig, ServerRig], ids=["agent", "server"])


def cooked(make: Any, recipe: str, places: list[Place], secure: bool = False) -> Any:
    """A rig whose trunk is that of the recipe, with the carrier on loopback; its names stand for ``places``."""
    lines = RECIPES[recipe].splitlines()
    keys = [line for line in lines if line and not re.match(r"\[|kind|agent|channels", line)]
    text = "\n".join(keys).replace("203.0.113.10", "127.0.0.21").replace("203.0.113.20", "127.0.0.22")
    text = text.replace("203.0.113.0/24", "127.0.0.0/27").replace("CARRIER_PASSWORD", "ALICE")
    rig = make("", text, secure=secure)
    for asked in list(rig.resolving):
        rig.core.done(asked, places, rig.now)
    rig.resolving.clear()
    rig.pump()
    return rig


def registered(rig: Any, flow: Flow = CARRIER, lines: tuple[str, ...] = ()) -> Any:
    """The carrier takes the registration of who proves himself only."""
    register = rig.take("REGISTER", flow)
    rig.reply(register, 401, [f"WWW-Authenticate: {NONCE}"], flow=flow)
    register = rig.take("REGISTER", flow)
    assert 'username="33140506070"' in register.get("authorization")
    rig.reply(register, 200, [f"Contact: {register.get('contact')};expires=600", *lines], flow=flow)
    return register


def test_every_recipe_is_tried() -> None:
    assert set(RECIPES) == {
        "registering",
        "by address",
        "outbound proxy",
        "number in To",
        "two sites",
        "Microsoft Teams",
    }


@owners
def test_a_carrier_that_is_registered_with(make: Any) -> None:
    rig = cooked(make, "registering", WELL)
    register = registered(rig)
    assert register.uri == "sip:sip.carrier.example"
    rig.far_calls()
    invite = rig.take("INVITE")
    rig.reply(invite, 407, [f"Proxy-Authenticate: {NONCE}"])
    rig.take("ACK")
    invite = rig.take("INVITE")
    assert 'username="33140506070"' in invite.get("proxy-authorization")
    assert invite.uri == "sip:+33177@sip.carrier.example"
    assert invite.from_untagged == "<sip:33140506070@sip.carrier.example>"
    assert invite.get("contact") == register.get("contact") and "33140506070@" in invite.get("contact")
    assert invite.get("p-asserted-identity") == "<sip:+33155@sip.carrier.example>"
    assert invite.get("session-expires") == "1800;refresher=uac"
    rig.reply(invite, 200, [TYPE], SDP)
    rig.far_forgets()


@owners
def test_a_carrier_that_knows_the_address(make: Any) -> None:
    rig = cooked(make, "by address", WELL)
    rig.reply(rig.take("OPTIONS"), 200)
    rig.far_calls()
    invite = rig.take("INVITE")
    assert invite.uri == "sip:0177@127.0.0.21:5060" and invite.from_untagged == "<sip:0155@127.0.0.11>"
    rig.request("INVITE", "sip:0166@127.0.0.11", body=SDP, sender="<sip:004420@127.0.0.21>", call_id="in")
    rig.take(100)
    rig.far_forgets()
    if make is AgentRig:
        return
    came = [call.state for call in rig.core.calls.values() if call.state.callee == "+33166"]
    assert [state.caller for state in came] == ["+4420"]


@owners
def test_an_outbound_proxy_before_a_domain(make: Any) -> None:
    rig = cooked(make, "outbound proxy", [])
    proxy = Flow("udp", LISTEN, ("127.0.0.22", 5060))
    core = Flow("udp", LISTEN, ("127.0.0.23", 5080))
    register = registered(rig, proxy, ("Service-Route: <sip:127.0.0.23:5080;lr>",))
    assert register.uri == "sip:ims.carrier.example" and register.get("route") == "<sip:127.0.0.22:5060;lr>"
    rig.far_calls()
    invite = rig.take("INVITE", core)
    assert invite.get("route") == "<sip:127.0.0.23:5080;lr>" and invite.uri == "sip:+33177@ims.carrier.example"
    assert invite.from_untagged == "<sip:+33155@ims.carrier.example>"


@owners
def test_the_number_called_in_to(make: Any) -> None:
    rig = cooked(make, "number in To", WELL)
    registered(rig)
    to = "<sip:+33166@sip.carrier.example>"
    rig.request("INVITE", "sip:33140506070@127.0.0.11", body=SDP, recipient=to)
    rig.take(100)
    assert "+33166@" in rig.far_takes("INVITE").uri


@owners
def test_two_sites_of_which_one_dies(make: Any) -> None:
    rig = cooked(make, "two sites", [Place("udp", *CARRIER.remote), Place("udp", *SECOND.remote)])

    def second_is_well() -> None:
        for one in [one for one in rig.inbox.get(SECOND, ()) if getattr(one, "method", "") == "OPTIONS"]:
            rig.inbox[SECOND].remove(one)
            rig.reply(one, 200, flow=SECOND)

    for _ in range(30):
        rig.run(1)
        second_is_well()
    rig.far_calls()
    assert rig.take("INVITE", SECOND).uri == "sip:+33177@carrier.example"
    rig.inbox[CARRIER].clear()
    rig.run(11)
    asked = [one for one in rig.inbox[CARRIER] if getattr(one, "method", "") == "OPTIONS"]
    rig.reply(asked[-1], 200)
    rig.inbox[CARRIER].clear()
    rig.far_calls(call_id="again")
    rig.take("INVITE")


TEAMS = "sip.pstnhub.microsoft.com"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shaken(wanted: Open, authority: Authority) -> tuple[tuple[str, ...], str]:
    """A handshake as the program wants it, with Teams, which insists on a certificate: who it is by that, and who
    Teams is, by the one of its certificates that it was asked for."""
    ours = [authority.issue("other", ["other.example"]), authority.issue("sbc", ["sbc.example.com"])]
    theirs = [authority.issue("default", ["default.example"]), authority.issue("teams", [TEAMS])]
    callee = Credentials(theirs, authority.path, "required").accept()
    caller = Credentials(ours, authority.path).connect(wanted.names, wanted.shown, wanted.authority)
    caller.begin()
    while not (callee.ready and caller.ready):
        callee.receive(caller.pending())
        caller.receive(callee.pending())
    return callee.names, caller.names[0]


@owners
def test_mutual_tls_with_a_carrier_that_wants_our_name_everywhere(make: Any, authority: Authority) -> None:
    teams = [Place("tls", "127.0.0.21", 5061, TEAMS)]
    rig = cooked(make, "Microsoft Teams", teams, secure=True)
    wanted = [one for one in rig.all_opened if one.flow.transport == "tls"]
    flow = wanted[0].flow
    assert shaken(wanted[0], authority) == (("sbc.example.com",), TEAMS)
    rig.core.done(Certified(flow), (TEAMS,), rig.now)
    options = rig.take("OPTIONS", flow)
    assert options.get("contact") == "<sip:sbc.example.com:5061;transport=tls>"
    assert options.get("via").startswith("SIP/2.0/TLS sbc.example.com:5061;")
    rig.reply(options, 200, flow=flow)
    rig.far_calls()
    invite = next(one for one in rig.inbox[flow] if getattr(one, "method", "") == "INVITE")
    assert invite.uri.startswith(f"sip:+33177@{TEAMS}")
    assert invite.get("contact") == "<sip:sbc.example.com:5061;transport=tls>"
    assert invite.from_untagged == "<sip:+33155@sbc.example.com>"
    rig.far_forgets()
    for host, names, well in (("127.0.0.77", (TEAMS,), True), ("127.0.0.21", ("evil.example",), False)):
        theirs = Flow("tls", f"127.0.0.11:5061#{host}", (host, 40000))
        rig.opened.append(theirs)
        rig.core.done(Certified(theirs), names, rig.now)
        rig.core.flow_changed(theirs, "open", rig.now)
        rig.request("INVITE", "sip:+33166@sbc.example.com:5061", body=SDP, flow=theirs, call_id=host)
        heard = {getattr(one, "status", 0) for one in rig.inbox[theirs]}
        assert (100 in heard) == well and bool({401, 403, 407} & heard) != well


def test_a_carrier_that_shows_another_name_is_not_talked_to(authority: Authority) -> None:
    impostor = Credentials([authority.issue("impostor", ["evil.example"])], authority.path).accept()
    caller = Credentials([], authority.path).connect([TEAMS])
    caller.begin()
    with pytest.raises(CodecError, match=r"its certificate is for evil\.example, not for sip\.pstnhub"):
        for _ in range(3):
            impostor.receive(caller.pending())
            caller.receive(impostor.pending())
