"""What a Kamailio in front of several sites needs to spread calls over them: the list of destinations and the
configuration of its dispatcher module, which asks each destination by OPTIONS. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.values import Endpoint
from sip.device.flows import shown_address

ALL: Final = 1
"""The number of the set of destinations in which all sites are. The sites' own sets follow it."""

_CONFIG: Final = """\
# Spreads new calls over {names}. It is for Kamailio 5.6 and newer, and needs the
# modules tm, tmx, sl, pv and textops. In kamailio.cfg write include_file "sites.cfg" after these, and in
# request_route, for an INVITE without a To tag, after record_route():
#     $var(sites) = {all}; # all sites; dispatcher.list has the other numbers
#     route(SITES);
loadmodule "dispatcher.so"
modparam("dispatcher", "list_file", "/etc/kamailio/dispatcher.list")
modparam("dispatcher", "flags", 2) # there is a next destination when one fails
# Every destination is asked by OPTIONS all the time. Only 2xx means that it takes calls: 503 is the answer of one
# that drains, has no active server, or is not the active server itself.
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_ping_interval", 2) # seconds
modparam("dispatcher", "ds_ping_reply_codes", "class=2")
modparam("dispatcher", "ds_probing_threshold", 1)
modparam("dispatcher", "ds_inactive_threshold", 1)

route[SITES] {{
    if (!ds_select_dst("$var(sites)", "4")) {{ # 4: in turn
        append_to_reply("Retry-After: 5\\r\\n");
        sl_send_reply("503", "No Site");
        exit;
    }}
    t_set_fr(0, 2000); # milliseconds without any answer
    t_on_failure("SITES");
    if (!t_relay()) sl_reply_error();
    exit;
}}

failure_route[SITES] {{
    if (t_is_canceled()) exit;
    if (t_branch_timeout() and !t_branch_replied()) ds_mark_dst("ip"); # until it answers OPTIONS
    else if (!t_check_status("503")) exit;
    if (ds_next_dst()) {{
        t_set_fr(0, 2000);
        t_on_failure("SITES");
        t_relay();
    }}
}}
"""


class NoDestination(Exception):
    """What sites have does not say where a proxy sends their calls; the text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Two files of Kamailio."""

    list: str
    """``dispatcher.list``: a line for each destination, ``SET URI``."""
    config: str
    """``sites.cfg``, to be included in ``kamailio.cfg``."""


def dispatcher(sites: Sequence[Site], chosen: Collection[str] = ()) -> Dispatcher:
    """For calls over ``sites``, at least one, by the trunks of these names, by default all that do not register.

    Raises :class:`NoDestination` where a site has no such trunk, or several that lead to different peers.
    """
    found = {site.name: list(_destinations(site, chosen)) for site in sites}
    if len(found) < len(sites):
        raise NoDestination("Two of the files are of sites of one name.")
    text = [f"# What {', '.join(found)} have for calls of a proxy, for dispatcher.list of Kamailio: SET URI"]
    own_sets = len(found) > 1
    text += [f"# {ALL}: all of them", *(f"{ALL} {uri}" for uris in found.values() for uri in uris)]
    for number, (name, uris) in enumerate(found.items() if own_sets else (), ALL + 1):
        text += [f"# {number}: {name} alone", *(f"{number} {uri}" for uri in uris)]
    names = " and ".join(", ".join(found).rsplit(", ", 1))
    return Dispatcher("\n".join(text) + "\n", _CONFIG.format(names=names, all=ALL))


def _destinations(site: Site, chosen: Collection[str]) -> Iterator[str]:
    """The SIP URIs of one site, each once."""
    trunks = [line for line in site.lines.values() if line.kind == "trunk" and line.register is None]
    if chosen:
        trunks = [line for line in trunks if line.name in chosen]
    if not trunks:
        what = f"named {' or '.join(sorted(chosen))}" if chosen else "that does not register"
        raise NoDestination(f"The site {site.name} has no trunk {what}, from which a proxy's calls could come.")
    if not chosen and len({(line.peer, line.source) for line in trunks}) > 1:
        names = ", ".join(line.name for line in trunks)
        raise NoDestination(
            f"The trunks {names} of the site {site.name} have different peers: say --line for the proxy's."
        )
    uris: dict[str, None] = {}
    for line in trunks:
        programs: list[Server | Agent] = [site.agents[line.agent]] if line.agent else [*site.servers.values()]
        uris.update((_uri(line, program), None) for program in programs)
    yield from uris


def _uri(line: LineSettings, program: Server | Agent) -> str:
    """Where a program takes requests from the trunk's peer: where its own requests to that peer come from."""
    first = line.outbound_proxy or (line.peer[0] if line.peer else None)
    transport = "tls" if line.by_tls else (first.transport if first is not None else "") or "udp"
    six = first is not None and ":" in first.host

    def distance(endpoint: Endpoint) -> tuple[bool, bool, bool]:
        there = not line.address or endpoint.host == line.address.strip("[]")
        return endpoint.transport != transport, not there, (":" in endpoint.host) != six

    endpoint = min(program.sip, key=distance)
    shown = line.advertise or program.advertise_by.get(endpoint.transport) or program.advertise or endpoint.host
    by = "" if endpoint.transport == "udp" else f";transport={endpoint.transport}"
    return f"sip:{shown_address(shown, endpoint.port)}{by}"
