"""What ``b2bua check --dispatcher`` tells a Kamailio of sites. That it works: tests/interop/dispatcher_scene.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.site.dispatcher import NoDestination, dispatcher
from heartbeat.site.load import parse
from heartbeat.site.model import Site

PROXY = "192.0.2.9"


def site(name: str, lines: str, *, agent: str = "", server: str = "") -> Site:
    text = f'[site]\nname = "{name}"\nkey = {{ env = "KEY" }}\n'
    for number, role in ((1, "main"), (2, "standby")):
        text += f'[servers.m{number}]\nrole = "{role}"\nlisten = "tcp:127.0.0.{number}:5161"\n'
        text += f'beat = "udp:127.0.0.{number}:5162"\nsip = ["udp:127.0.0.{number}:5060"]\n{server}\n'
    for number in (1, 2):
        text += f'[agents.g{number}]\nsip = ["udp:127.0.1.{number}:5060", "tcp:127.0.1.{number}:5062", '
        text += f'"tls:127.0.1.{number}:5061", "udp:[::{number}]:5060"]\n'
        text += f'tls = {{ certificate = "a.pem", key = "a.key" }}\n{agent}\n'
    return parse(text + lines, Path("/etc/site.toml"), {})


def trunk(name: str = "proxy", *, agent: str = "g1", peer: str = f"sip:{PROXY}:5060", more: str = "") -> str:
    owner = f'agent = "{agent}"\n' if agent else ""
    return f'[lines.{name}]\nkind = "trunk"\n{owner}peer = "{peer}"\nchannels = 9\n{more}\n'


def uris(made: str) -> list[str]:
    return [line for line in made.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("lines", "more", "expected"),
    [
        (trunk(), {}, ["sip:127.0.1.1:5060"]),
        (trunk(peer=f"sip:{PROXY};transport=tcp"), {}, ["sip:127.0.1.1:5062;transport=tcp"]),
        (trunk(peer=f"sip:{PROXY};transport=tls"), {}, ["sip:127.0.1.1:5061;transport=tls"]),
        (trunk(peer="sips:p.example", more='certificate = "p.example"'), {}, ["sip:127.0.1.1:5061;transport=tls"]),
        (trunk(peer="sip:[2001:db8::9]:5060"), {}, ["sip:[::1]:5060"]),
        (trunk(more='address = "::1"'), {}, ["sip:[::1]:5060"]),
        (trunk(more='advertise = "sbc.example"'), {}, ["sip:sbc.example:5060"]),
        (trunk(more='outbound_proxy = "sip:192.0.2.8;transport=tcp"'), {}, ["sip:127.0.1.1:5062;transport=tcp"]),
        (trunk(), {"agent": 'advertise = "203.0.113.1:5070"'}, ["sip:203.0.113.1:5070"]),
        (trunk(), {"agent": 'advertise = "s.example"\nadvertise_by = { udp = "u.example" }'}, ["sip:u.example:5060"]),
        (trunk() + trunk("second", agent="g2"), {}, ["sip:127.0.1.1:5060", "sip:127.0.1.2:5060"]),
        (trunk(agent=""), {}, ["sip:127.0.0.1:5060", "sip:127.0.0.2:5060"]),
    ],
    ids=[
        "udp", "tcp", "tls", "sips", "IPv6", "address", "advertised by the line", "outbound proxy", "advertised",
        "advertised by transport", "two agents", "the servers' own",
    ],
)  # fmt: skip
def test_the_list_has_each_program_that_takes_calls_of_the_proxy(lines, more, expected):
    made = dispatcher([site("paris", lines, **more)])
    assert uris(made.list) == [f"1 {uri}" for uri in expected]
    assert 'modparam("dispatcher", "ds_ping_reply_codes", "class=2")' in made.config


def test_several_sites_are_in_one_set_and_each_in_one_of_its_own():
    made = dispatcher(
        [site("paris", trunk()), site("lyon", trunk("office", agent="g2")), site("nice", trunk(agent=""))]
    )
    paris, lyon, nice = ["sip:127.0.1.1:5060"], ["sip:127.0.1.2:5060"], ["sip:127.0.0.1:5060", "sip:127.0.0.2:5060"]
    expected = [(1, paris + lyon + nice), (2, paris), (3, lyon), (4, nice)]
    assert uris(made.list) == [f"{number} {uri}" for number, found in expected for uri in found]
    assert "# 3: lyon alone" in made.list
    assert made.config.startswith("# Spreads new calls over paris, lyon and nice.")


REGISTERS = 'register = { registrar = "sip:192.0.2.7", user = "u", password = { env = "W" } }'


def test_a_program_with_two_proxies_is_there_once():
    lines = trunk() + trunk("other", peer="sip:192.0.2.8")
    assert uris(dispatcher([site("paris", lines)], ["proxy", "other"]).list) == ["1 sip:127.0.1.1:5060"]


def test_the_trunks_of_others_are_left_out():
    carriers = trunk("carrier", peer="sip:192.0.2.7", more=REGISTERS) + trunk(
        "office", agent="g2", peer="sip:192.0.2.6"
    )
    with pytest.raises(NoDestination, match=r"The trunks proxy, office of the site paris have different peers"):
        dispatcher([site("paris", trunk() + carriers)])
    made = dispatcher([site("paris", trunk() + carriers), site("lyon", trunk("door"))], ["proxy", "door"])
    assert uris(made.list)[:2] == ["1 sip:127.0.1.1:5060", "1 sip:127.0.1.1:5060"]


@pytest.mark.parametrize(
    ("sites", "chosen", "sentence"),
    [
        ([("paris", trunk(more=REGISTERS))], [], "The site paris has no trunk that does not register"),
        ([("paris", trunk()), ("lyon", trunk("door"))], ["door"], "The site paris has no trunk named door"),
        ([("paris", trunk()), ("paris", trunk())], [], "Two of the files are of sites of one name"),
    ],
)
def test_what_does_not_say_where_calls_go_is_refused(sites, chosen, sentence):
    with pytest.raises(NoDestination, match=sentence):
        dispatcher([site(*one) for one in sites], chosen)
