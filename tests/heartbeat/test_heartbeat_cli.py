"""``heartbeat ping`` and ``heartbeat watch`` against small SIP servers on loopback."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from click.testing import CliRunner

from heartbeat.cli import main
from heartbeat.console.ping import PingTarget, Tally, read_answer, request

HEARTBEAT = "site=paris; node=m1; boot=41; epoch=7; state=active; seq=1; calls=812; capacity=5000; load=0.31; mac=00"


def answer(data: bytes, status: str, *more: str) -> bytes:
    wanted = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
    lines = [line for line in data.split(b"\r\n") if line.lower().startswith(wanted)]
    head = [f"SIP/2.0 {status}".encode(), *lines, *(line.encode() for line in more), b"Content-Length: 0", b"", b""]
    return b"\r\n".join(head)


class Udp:
    """A SIP server that answers with what the script says, in turn; None is silence."""

    def __init__(self, *script):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.script = script
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        count = 0
        while True:
            data, source = self.socket.recvfrom(65536)
            if data == b"end":
                return
            step = self.script[count % len(self.script)]
            count += 1
            if step is not None:
                self.socket.sendto(b"garbage", source)
                self.socket.sendto(answer(data, *step), source)

    def close(self):
        self.socket.sendto(b"end", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


@pytest.fixture
def udp(request):
    server = Udp(*request.param)
    yield server.address
    server.close()


def heartbeat(*words, code=0):
    result = CliRunner(env={"HOLDFAST_SITE": None}).invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


ALIVE = ("200 OK", "Allow: INVITE, OPTIONS", "Server: some server 1.0")
OURS = ("200 OK", f"Heartbeat: {HEARTBEAT}")


@pytest.mark.parametrize("udp", [[ALIVE]], indirect=True)
def test_any_server_answers(udp):
    output = heartbeat("ping", f"sip:{udp}", "-c", "2", "-i", "0.01")
    assert output.count("200 OK") == 2
    assert "2 sent, 2 answered, 0% lost" in output
    assert "some server 1.0" in output
    assert "INVITE, OPTIONS" in output
    assert "Site" not in output


@pytest.mark.parametrize("udp", [[OURS]], indirect=True)
def test_a_server_of_ours_tells_its_site(udp):
    assert "paris  m1  ● active  epoch 7  812 of 5,000 calls" in heartbeat("ping", udp, "-c", "1")
    found = json.loads(heartbeat("ping", udp, "-c", "1", "--format", "json"))
    assert found["heartbeat"]["site"] == "paris"
    assert found["rtt_ms"]["least"] > 0


@pytest.mark.parametrize("udp", [[ALIVE, None]], indirect=True)
def test_a_lost_ping_is_degraded(udp):
    output = heartbeat("ping", udp, "-c", "2", "-i", "0.01", "-W", "0.05", code=1)
    assert "no answer within 0.05 s" in output
    assert "2 sent, 1 answered, 50% lost" in output


@pytest.mark.parametrize("udp", [[("503 Service Unavailable", "Retry-After: 5")]], indirect=True)
def test_a_server_that_is_not_active_says_503(udp):
    assert "503 Service Unavailable" in heartbeat("ping", udp, "-c", "1", code=2)


def test_nobody_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for transport in ("udp", "tcp"):
        output = heartbeat("ping", f"sip:127.0.0.1:{port};transport={transport}", "-c", "1", "-W", "1", code=3)
        assert "nobody listens there" in output


def test_tcp_on_one_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(answer(data, *ALIVE))

        thread = threading.Thread(target=serve)
        thread.start()
        target = f"sip:127.0.0.1:{listener.getsockname()[1]};transport=tcp"
        assert "2 sent, 2 answered" in heartbeat("ping", target, "-c", "2", "-i", "0.01")
        thread.join()


@pytest.mark.parametrize("udp", [[OURS]], indirect=True)
def test_watching_several(udp):
    output = heartbeat("watch", udp, "127.0.0.1:9;transport=tcp", "-c", "1", "-i", "0.01", "-W", "0.5", code=3)
    assert "Address" in output and "Node" not in output
    assert "paris  m1" in output
    rows = json.loads(heartbeat("watch", udp, "-c", "1", "-i", "0.01", "--format", "json").splitlines()[-1])
    assert rows[0]["answered"] == 1


SITE = """
[site]
name = "paris"
key = {{ env = "PARIS_KEY" }}

[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:9"
beat = "udp:{address}"

[agents.gw1]
sip = ["tcp:127.0.0.1:10"]
"""


@pytest.fixture
def site_of(tmp_path, monkeypatch):
    def write(address, key="a key of the site, long enough"):
        if key:
            monkeypatch.setenv("PARIS_KEY", key)
        else:
            monkeypatch.delenv("PARIS_KEY", raising=False)
        (tmp_path / "site.toml").write_text(SITE.format(address=address))
        return str(tmp_path / "site.toml")

    return write


@pytest.mark.parametrize("udp", [[OURS]], indirect=True)
def test_a_node_is_pinged_by_its_name_in_the_site_file(udp, site_of):
    site = site_of(udp)
    output = heartbeat("ping", "m1", "--site", site, "-c", "1")
    assert output.startswith(f"1  m1 at {udp} over udp: 200 OK  ")
    assert "1  gw1 at 127.0.0.1:10 over tcp: nobody listens there" in heartbeat(
        "ping", "gw1", "--site", site, "-c", "1", code=3
    )


@pytest.mark.parametrize("udp", [[OURS]], indirect=True)
def test_a_watched_site_shows_its_nodes_by_name(udp, site_of):
    lines = heartbeat("watch", "--site", site_of(udp), "-c", "1", "-i", "0.01", code=3).splitlines()
    assert lines[0].split()[:2] == ["Node", "Address"]
    assert [line.split()[:2] for line in lines[1:3]] == [["m1", f"udp:{udp}"], ["gw1", "tcp:127.0.0.1:10"]]


@pytest.mark.parametrize("command", ["ping", "watch"])
def test_a_missing_key_is_a_sentence(command, site_of):
    output = heartbeat(command, "m1", "--site", site_of("127.0.0.1:11", key=""), code=3)
    assert output == "The secret from env PARIS_KEY is missing: the environment variable PARIS_KEY is not set.\n"


@pytest.mark.parametrize("udp", [[None]], indirect=True)
def test_a_signed_ping_without_an_answer_says_what_may_be_wrong(udp, site_of):
    site = site_of(udp)
    signed = heartbeat("ping", "m1", "--site", site, "-c", "1", "-W", "0.05", code=3)
    assert (
        "A node answers a signed ping only when its site key is the same; without --site it answers anyone." in signed
    )
    assert "key" not in heartbeat("ping", udp, "-c", "1", "-W", "0.05", code=3)


def test_what_cannot_be_pinged_says_why():
    assert "cannot be pinged" in heartbeat("ping", "sip:somewhere;transport=wss", code=3)
    assert "no SIP address" in heartbeat("ping", "sip:a b", code=3)
    assert "Usage" in heartbeat("ping", code=3)


@pytest.mark.parametrize(
    ("text", "host", "port", "transport"),
    [
        ("192.0.2.1", "192.0.2.1", 5060, "udp"),
        ("sip:[::1]:5070;transport=TCP", "::1", 5070, "tcp"),
        ("tcp:192.0.2.1:5061", "192.0.2.1", 5061, "tcp"),
        ("sip:user@example.org", "example.org", 5060, "udp"),
        ("sips:example.org", "example.org", 5061, "tls"),
        ("tls:[::1]:5071", "::1", 5071, "tls"),
    ],
)
def test_targets(text, host, port, transport):
    target = PingTarget.parse(text)
    assert (target.host, target.port, target.transport) == (host, port, transport)


def test_only_the_answer_to_this_very_ping_counts():
    target = PingTarget.parse("192.0.2.1")
    sent = request(target, ("192.0.2.9", 5099), "c1" * 16, "z9hG4bK1", 1)
    found = read_answer(answer(sent, "200 O\x1b[2JK", "Heartbeat: nonsense"), "z9hG4bK1")
    assert (found.status, found.reason, found.beat) == (200, "O[2JK", None)
    assert read_answer(answer(sent, "200 OK"), "z9hG4bK2") is None
    assert read_answer(answer(sent, "100 Trying"), "z9hG4bK1") is None
    assert read_answer(sent, "z9hG4bK1") is None
    assert read_answer(b"\0garbage", "z9hG4bK1") is None


def test_a_tally_counts():
    tally = Tally(PingTarget.parse("192.0.2.1"))
    assert (tally.code, tally.lost) == (3, 0.0)
    tally.miss("no answer")
    assert (tally.code, tally.lost, tally.to_json()["rtt_ms"]) == (3, 1.0, None)
