"""Views that only the web page of a server uses; loaded at their first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from heartbeat.console.commands import node_client
from heartbeat.console.contract import Refused
from heartbeat.console.ladder import lanes, what
from heartbeat.console.traces import Gathering, unknown
from heartbeat.site.model import Site

MOST_HOPS: Final = 2000


def ladder(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """The view ``ladder``, parameter ``id``: the messages of a call at all servers and agents, and the names of those
    that could not be asked. It blocks on sockets: for a thread. Raises :class:`Refused`.
    """
    wanted = params.get("id", "")
    if not wanted:
        raise Refused("of which call? Say id=", 400)
    gathering = Gathering(node_client(site, name) for name in (*site.servers, *site.agents))
    calls = gathering.known(id=wanted) or [unknown(wanted)]
    if len(calls) > 1:
        raise Refused(f"{len(calls)} calls are named so: give more of the id", 400)
    found = gathering.trace(calls)
    hops = [hop for call in found.calls for hop in call.hops][:MOST_HOPS]
    return {
        "hops": [
            {"time": hop.at, "source": hop.source, "target": hop.target, "what": what(hop.text), "text": hop.text}
            for hop in hops
        ],
        "lanes": lanes(hops),
        "missing": list(found.missing.values()),
    }
