"""Provisioning of lines and routes over the API; each request is one change, applied as a whole or not at all.

``PUT /v1/provisioned/lines/NAME`` and ``/routes/NAME`` with the keys of the site file as a JSON object, ``DELETE`` of
the same, and ``POST /v1/provisioned`` with several of both. Each is answered when the server uses the change, or with
all its faults (422, ``errors``); then nothing has changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from heartbeat.console.access import PROVISIONED, AccessControl
from heartbeat.console.api_socket import REFUSED, Audit
from heartbeat.console.contract import ConsoleProcess, Refused, RefusedChange
from heartbeat.console.json_body import parse_json
from heartbeat.console.reload_orders import PROVISION
from heartbeat.site.provisioned import KINDS, Change, ProvisionError

MOST_CHANGE: Final = 1024 * 1024
"""Bytes of one change."""
SPREAD: Final = 3.0
"""Seconds that an answer waits until another node has stored the change."""
POLL: Final = 0.03
"""Seconds between two checks whether a change has been applied."""


def add_provisioning(
    app: web.Application, process: ConsoleProcess, gate: AccessControl, audit: Audit, clock: Callable[[], float]
) -> None:
    """Add the routes to ``app``."""

    async def many(request: web.Request) -> web.Response:
        return await take(request, await _body(request))

    async def put(request: web.Request) -> web.Response:
        table = await _body(request)
        if not isinstance(table, dict):
            raise RefusedChange(["the body must be a JSON object with keys of the site file"])
        return await take(request, {request.match_info["kind"]: {request.match_info["name"]: table}})

    async def delete(request: web.Request) -> web.Response:
        return await take(request, {request.match_info["kind"]: {request.match_info["name"]: None}})

    async def take(request: web.Request, value: Any) -> web.Response:
        who, host = gate.admit(request), request.remote or ""
        words = "what was sent is no change"
        try:
            change = Change.of(value)
            words = change.words
            text = await asyncio.to_thread(json.dumps, value)
            order = process.command(PROVISION, {"change": text}, clock())
            while order.state == "running":
                await asyncio.sleep(POLL)
                order = process.view("progress", {"id": order.id}, clock())
            if order.state == "failed":
                raise RefusedChange(order.sentence.splitlines())
        except ProvisionError as error:
            audit(who.user, host, PROVISION, {"change": words}, REFUSED, str(error))
            raise RefusedChange(error.complaints) from None
        except Refused as refusal:
            audit(who.user, host, PROVISION, {"change": words}, REFUSED, refusal.sentence)
            raise
        said, *warned = order.sentence.splitlines()
        audit(who.user, host, PROVISION, {"change": words}, "done", said)
        nodes = await spread()
        have = sorted(name for name, has in nodes["nodes"].items() if has)
        kept = f"{', '.join(have)} {'have' if len(have) > 1 else 'has'} it" if have else "no other node has it yet"
        answer = {"version": nodes["version"], "sentence": f"{said}; {kept}", "nodes": have, "warnings": warned}
        return web.json_response(answer, headers={"Cache-Control": "no-store", "Connection": "close"})

    async def spread() -> Any:
        """Wait until another node has the change, if one can be reached, so that it survives a single failure."""
        until = clock() + SPREAD
        while True:
            found = process.view("provisioned", {}, clock())
            if not found["nodes"] or any(found["nodes"].values()) or clock() > until:
                return found
            await asyncio.sleep(POLL)

    one = f"{PROVISIONED}/{{kind:{'|'.join(KINDS)}}}/{{name}}"
    app.router.add_post(PROVISIONED, many)
    app.router.add_put(one, put)
    app.router.add_delete(one, delete)


async def _body(request: web.Request) -> Any:
    try:
        return await asyncio.to_thread(parse_json, await request.read())
    except ValueError:
        raise RefusedChange(["the body is no JSON"]) from None
