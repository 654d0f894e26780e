"""What the tests of the commands share: a site whose processes are made up, but speak the real API over sockets."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner

import b2bua.core
import b2bua.views
import gateway_agent.views
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.schema import as_json
from heartbeat.site.values import Api


def seen(core: Any, name: str, params: Mapping[str, str], now: float) -> Any:
    """A view of a server's or an agent's core, as JSON."""
    views = b2bua.views if isinstance(core, b2bua.core.Core) else gateway_agent.views
    return as_json(views.view(core, name, params, now))


def ordered(core: Any, verb: str, params: Mapping[str, str], now: float) -> Any:
    """What a core answers to a verb, as JSON."""
    views = b2bua.views if isinstance(core, b2bua.core.Core) else gateway_agent.views
    return as_json(views.command(core, verb, params, now))


SITE = """
[site]
name = "paris"
key = { env = "PARIS_KEY" }
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "udp:127.0.0.2:5162"
[agents.gw1]
sip = "udp:127.0.0.11:5060"
[agents.gw2]
sip = "udp:127.0.0.12:5060"
[lines.carrier]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 30
[lines.alice]
kind = "phone"
agent = "gw2"
numbers = ["1001"]
password = { env = "ALICE_PASSWORD" }
[[routes]]
match = "+*"
to = ["carrier"]
"""

VITALS = {"cpu": 0.12, "messages_per_s": 86.0, "stall_last_minute": 0.034, "stall_since_start": 1.234}


def peer(name, **changes):
    """A row of a table of servers and agents."""
    server = name.startswith("m")
    value = {
        "name": name,
        "kind": "server" if server else "agent",
        "role": {"m1": "main", "m2": "standby"}.get(name, ""),
        "state": "standby" if server else "serving",
        "reached": True,
        "heard_ago": 0.12,
        "judged": "alive",
        "boot": 41,
        "epoch": 7,
        "obeys": "" if server else "m1",
        "config": "9c41d0aa",
        "drift": False,
        "voter": not server,
        "calls": 0 if server else 406,
        "capacity": 5000,
        "address": "127.0.0.11:5161",
    }
    return {**value, **changes}


def line(name, **changes):
    value = {
        "name": name,
        "agent": "gw1",
        "kind": "trunk",
        "state": "active",
        "in_service": True,
        "why": "",
        "channels": 30,
        "busy": 1,
        "address": "127.0.0.21:5060",
        "registered": None,
        "contacts": 1,
        "forward": {},
        "priority": 0,
        "recovery": "hot",
    }
    return {**value, **changes}


class Offered:
    """Processes by name, each at its socket, in a loop of their own thread; and a program to ask them with."""

    def __init__(self, directory, program, serve, processes):
        self.directory = directory
        self.program = program
        self.path = directory / "site.toml"
        self.path.write_text(SITE)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.served = {}
        for name, process in processes.items():
            where = Api(path=str(directory / "state" / name / f"{name}.sock"))
            self.served[name] = self.run(serve(process, ApiSocket(where, None), time.monotonic))

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(5)

    def stop(self, name):
        self.run(self.served.pop(name).close())

    def close(self):
        for name in list(self.served):
            self.stop(name)
        self.run(self.finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def finish(self):
        """Let what a test began in the loop come to its end."""
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    def cli(self, *words, code=0, stdin=None):
        result = CliRunner().invoke(self.program, [*words, "--site", str(self.path)], input=stdin)
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *words, code=0):
        return json.loads(self.cli(*words, "--format", "json", code=code))
