"""The HTTP API over real sockets: who may ask, what is answered, and what a stranger cannot do."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from b2bua import api
from heartbeat.console import server
from heartbeat.console.answers import on_wall
from heartbeat.console.api_socket import Access, ApiError, ApiSocket
from heartbeat.console.contract import Refused
from heartbeat.console.schema import of_json
from heartbeat.console.views.process import Disk, ProcessStats, Records
from heartbeat.console.views.status import Health, ServerStatus, Trunk
from heartbeat.console.web_page import MOST_LISTENERS
from heartbeat.site.values import Api
from tests.b2bua.fake_servers import Server

STATUS = replace(
    of_json(ServerStatus, Server("m1", "m2", 1000.0).status),
    node='m"1',
    takeovers={"takeover": 2, "restart": 1},
    trunks=(Trunk("carrier", True, 30, 7),),
    process=ProcessStats(
        0.25,
        21.0,
        0.012,
        0.3,
        messages=4711,
        clock=1.5e9,
        disks=(Disk("state", 10**9, 10**10),),
        records=Records(3, 1),
        decisions={"suspect": 4},
        results={"answered": 5, "busy": 2},
    ),
)


class Process:
    def __init__(self):
        self.healthy = True
        self.asked = []

    def view(self, name, params, now):
        self.asked.append((name, dict(params), now))
        if name == "health":
            return Health(self.healthy, "active" if self.healthy else "standby")
        if name == "explain":
            raise Refused("There is no such call.", 404)
        if name == "report":
            raise RuntimeError("a bug")
        if name == "trend":
            return {"trend": []}
        if name == "history":
            return {"decisions": [{"at": now - 10, "what": "x"}], "total": 1}
        return STATUS

    def command(self, name, params, now):
        self.asked.append((name, dict(params), now))
        return {"id": "p1", "state": "done"}


async def http(where, request, wait=True):
    """One raw request; the status, and the body."""
    if isinstance(where, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", where)
    else:
        reader, writer = await asyncio.open_unix_connection(str(where))
    writer.write(request.encode("latin-1"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body.decode()


def get(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""])


def post(path, body, length=None):
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}"


def over_unix(tmp_path, talk):
    async def run():
        process = Process()
        path = tmp_path / "m1" / "m1.sock"
        served = await api.serve(process, ApiSocket(Api(path=str(path)), None), lambda: 1000.0)
        try:
            await talk(path, process)
        finally:
            await served.close()
        assert not path.exists()

    asyncio.run(run())


def test_pages_are_json_with_wall_clock_instants(tmp_path):
    async def talk(path, process):
        status, body = await http(path, get("/v1/history?limit=5"))
        assert status == 200
        assert process.asked == [("history", {"limit": "5"}, 1000.0)]
        assert abs(json.loads(body)["decisions"][0]["at"] - (time.time() - 10)) < 5

    over_unix(tmp_path, talk)


def test_the_page_is_open_its_events_are_not_and_listeners_are_bounded(tmp_path):
    opened = []

    async def listen(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        opened.append(writer)
        writer.write(get("/page/events").encode())
        return await reader.readuntil(b"\r\n\r\n"), reader

    async def talk(path, process):
        foreign = "Sec-Fetch-Mode: navigate"
        for name in ("", "page.css", "page.js"):
            assert (await http(path, get(f"/page/{name}", foreign)))[0] == 200
        assert process.asked == []
        for name in ("/page/events", "/page/session", "/v1/status", "/metrics"):
            assert (await http(path, get(name, foreign)))[0] == 401
        listeners = [await listen(path) for _ in range(MOST_LISTENERS)]
        assert all(b"200 OK" in head and b"Content-Security-Policy" in head for head, _ in listeners)
        assert (await http(path, get("/page/events")))[0] == 503
        told = await listeners[0][1].readuntil(b"}\n\n")
        shown = json.loads(told.partition(b"data: ")[2])
        assert shown["status"]["site"] == "paris" and shown["trend"] == []
        opened.pop().close()
        while b"503" in (await listen(path))[0]:  # that one is gone is seen when it is written to
            opened.pop().close()
        for writer in opened:
            writer.close()
            await writer.wait_closed()

    over_unix(tmp_path, talk)


def test_only_instants_are_moved():
    page = {
        "at": 1,
        "since_at": 2.0,
        "ended_at": None,
        "format": 3,
        "rows": [{"asked_at": 4.0000004, "flag": True}],
        "flat": 1,
    }
    moved = {"at": 101, "since_at": 102.0, "ended_at": None, "format": 3, "rows": [{"asked_at": 104.0, "flag": True}]}
    assert on_wall(page, 100.0) == {**moved, "flat": 1}


def test_verbs_are_posted(tmp_path):
    async def talk(path, process):
        assert (await http(path, post("/v1/switchover", '{"to": "m2"}')))[0] == 200
        assert process.asked[-1][:2] == ("switchover", {"to": "m2"})
        assert (await http(path, post("/v1/pause", "")))[0] == 200
        assert (await http(path, get("/v1/switchover")))[0] == 404
        for bad in ("[]", '{"to": 1}', "{", "[" * 50_000):
            assert (await http(path, post("/v1/switchover", bad)))[0] == 400
        assert len(process.asked) == 2

    over_unix(tmp_path, talk)


def test_every_verb_that_a_command_posts_may_be_posted(tmp_path):
    files = (Path(api.__file__).parent).glob("cli*.py")
    posted = {verb for file in files for verb in re.findall(r'\.command\("(\w+)"', file.read_text("utf-8"))}
    assert {"init", "readmit", "reset"} <= posted <= api.VERBS

    async def talk(path, process):
        assert (await http(path, post("/v1/init", "")))[0] == 200  # beside a server that runs already
        assert process.asked[-1][:2] == ("init", {})

    over_unix(tmp_path, talk)


def test_refusals_are_sentences(tmp_path, caplog):
    async def talk(path, process):
        assert await http(path, get("/v1/explain?id=x")) == (404, '{"error": "There is no such call."}')
        status, body = await http(path, get("/v1/nothing"))
        assert status == 404 and "agents, audit, audit-log, bans, call-ids, calls" in json.loads(body)["error"]
        for limit in ("0", "2001", "-1", "many", "9" * 5000):
            assert (await http(path, get(f"/v1/calls?limit={limit}")))[0] == 400
        status, body = await http(path, get("/v1/report"))
        assert status == 500 and json.loads(body)["error"] == "The process failed to answer; its log says why."

    with caplog.at_level(logging.ERROR):
        over_unix(tmp_path, talk)
    assert "a bug" in caplog.text


def test_health_is_for_load_balancers(tmp_path):
    async def talk(path, process):
        assert await http(path, get("/health")) == (200, '{"healthy": true, "state": "active"}')
        process.healthy = False
        assert (await http(path, get("/health")))[0] == 503

    over_unix(tmp_path, talk)


def figures(text, **common):
    """The samples of Prometheus' text, by name and labels but for the ``common`` ones."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = {key: value for key, value in sample.labels.items() if common.get(key) != value}
            found[sample.name, *own.items()] = sample.value
    return found


def test_metrics(tmp_path):
    async def talk(path, process):
        status, body = await http(path, get("/metrics"))
        assert status == 200
        found = figures(body, site="paris", node='m"1')
        for name, labels, value in (
            ("calls", {"state": "talking"}, 640),
            ("active", {}, 1),
            ("holding", {}, 0),
            ("lease_seconds", {}, 1.71),
            ("peer_reached", {"peer": "gw1"}, 1),
            ("line_in_service", {"line": "carrier"}, 1),
            ("disk_free_bytes", {"directory": "state"}, 1e9),
            ("clock_seconds", {}, 1.5e9),
            ("cdr_waiting", {}, 3),
            ("takeovers_total", {"kind": "takeover"}, 2),
            ("calls_ended_total", {"result": "busy"}, 2),
            ("cdr_lost_total", {}, 1),
            ("messages_total", {}, 4711),
            ("decisions_total", {"code": "suspect"}, 4),
            ("warnings", {}, 0),
        ):
            assert found[f"holdfast_{name}", *labels.items()] == value, name
            assert f"# TYPE holdfast_{name} {'counter' if name.endswith('_total') else 'gauge'}\n" in body
        assert body.count("# TYPE holdfast_peer_reached gauge") == 1
        assert "holdfast_process_resident_memory_bytes" in body

    over_unix(tmp_path, talk)


def test_a_command_has_a_bound(tmp_path):
    async def talk(path, process):
        body = json.dumps({"to": "m" * 70_000})
        for where in ("/v1/switchover", "/page/login"):
            assert (await http(path, post(where, body)))[0] == 413
        assert (await http(path, post("/v1/provisioned", " " * 1_100_000)))[0] == 413
        assert process.asked == []

    over_unix(tmp_path, talk)


def test_connections_have_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)

    async def talk(path, process):
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        for _, one in [*idle, (reader, writer)]:
            one.close()
            await one.wait_closed()

    over_unix(tmp_path, talk)


def test_a_connection_does_not_live_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "LONGEST_CONNECTION", 0.05)

    async def talk(path, process):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost:")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    over_unix(tmp_path, talk)


def test_the_socket_is_its_owners_alone(tmp_path):
    async def talk(path, process):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    over_unix(tmp_path, talk)


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "m1" / "m1.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def talk(path, process):
        with pytest.raises(ApiError, match="Another process already listens"):
            await api.serve(process, ApiSocket(Api(path=str(path)), None), time.monotonic)
        assert (await http(path, get("/health")))[0] == 200

    over_unix(tmp_path, talk)


def test_a_file_in_its_place_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ApiError, match="move it away"):
        asyncio.run(api.serve(Process(), ApiSocket(Api(path=str(path)), None), time.monotonic))
    assert path.read_text() == "data"


def test_a_path_too_long_for_a_socket_address(tmp_path):
    over_unix_path = tmp_path / ("d" * 100) / ("e" * 100)

    async def run():
        path = over_unix_path / "m1.sock"
        served = await api.serve(Process(), ApiSocket(Api(path=str(path)), None), time.monotonic)
        assert path.is_socket()
        await served.close()

    asyncio.run(run())


def test_tcp_wants_a_token():
    with pytest.raises(ApiError, match="api_token"):
        asyncio.run(api.serve(Process(), ApiSocket(Api(host="127.0.0.1", port=1), None), time.monotonic))

    async def run():
        process = Process()
        at = ApiSocket(Api(host="127.0.0.1", port=0), Access(b"secret"))
        served = await api.serve(process, at, time.monotonic)
        port = at.port
        wrong = ([], ["Authorization: Bearer wrong"], ["Authorization: Basic secret"], ["Authorization: Bearer \xff"])
        for path in ("/v1/status", "/metrics", "/v1/nothing"):
            for headers in wrong:
                assert (await http(port, get(path, *headers)))[0] == 401
        assert process.asked == []
        assert (await http(port, get("/v1/status", "Authorization: Bearer secret")))[0] == 200
        assert (await http(port, get("/health")))[0] == 200
        with pytest.raises(ApiError, match="cannot listen at tcp:127"):
            await api.serve(process, ApiSocket(Api(host="127.0.0.1", port=port), Access(b"secret")), time.monotonic)
        for token, status in ((b"another", 401), (None, 401), (b"", 401), (b"secret", 200)):
            at.access = Access(token)  # as a reload does it
            assert (await http(port, get("/v1/status", "Authorization: Bearer secret")))[0] == status
            assert (await http(port, get("/v1/status", "Authorization: Bearer ")))[0] == 401
        await served.close()

    asyncio.run(run())


def test_the_api_takes_no_body_that_is_no_text(tmp_path):
    bodies = ['{"to": "\xff\xfe"}', "\x00", '{"to": "\\ud800"}', '{"to": "m2", "to": "\x00"}', '{"\xe9": "x"}']

    async def talk(path, process):
        statuses = [(await http(path, post("/v1/switchover", body)))[0] for body in bodies]
        assert statuses == [400, 400, 400, 400, 400]
        for query in ("number=%00%1b", "number=%ff%fe", "state=" + "x" * 4000, "limit=%00", "limit=%D9%A1"):
            status, text = await http(path, get(f"/v1/calls?{query}"))
            assert status in (200, 400) and not set(text) & {"\x1b", "\x00"}
        assert (await http(path, get("/v1/%0a%1b[2J")))[0] == 404
        assert (await http(path, get("/v1/../../etc/passwd")))[0] == 404

    over_unix(tmp_path, talk)


def test_a_stranger_s_login_of_no_text_is_refused_and_fills_no_log(tmp_path, caplog):
    async def talk(path, process):
        for body in ('{"token": "\\ud800"}', '{"token": ["\\udfff"]}', '{"\\ud800": "x"}', "[" * 60_000, '"\\ud800"'):
            assert (await http(path, post("/page/login", body)))[0] == 400

    with caplog.at_level(logging.WARNING):
        over_unix(tmp_path, talk)
    assert caplog.records == []
