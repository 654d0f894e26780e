"""python -m tests.interop.guide_beside

What the docs put beside a site: a certificate by certbot, from an authority of its own (Pebble, which speaks ACME as
Let's Encrypt does), nginx in front of the page, and what fail2ban looks for. All of it is of Debian and runs as real
processes, on one machine with a site on which nothing of ours is installed. Each such block of the pages is run, or
this fails. Root; packages are fetched as a reader would fetch them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import sysconfig
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT
from tests.interop.empty_machines import Failure, Machine, Root, wire
from tests.interop.guide_pages import merged
from tests.interop.guided import OPERATOR, PATIENCE, SITE, Page, in_own_mounts, say
from tests.interop.programs import until

PAGES: Final = ("page.md", "tls.md", "security.md")
KINDS: Final = ("nginx",)
"""Kinds of blocks of which each is run here, whatever page has it."""
ADDRESS: Final = "192.0.2.11"
NAME: Final = "sbc.example.com"
PACKAGES: Final = "nginx certbot pebble fail2ban"
_TOKEN: Final = "a word of the api"
_SITE: Final = f"""
[site]
name = "paris"
key = {{ file = "site.key" }}
[servers.m1]
state = "/var/lib/holdfast"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
[servers.m2]
state = "/var/lib/holdfast"
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "udp:127.0.0.2:5162"
api = "tcp:127.0.0.2:8080"
api_token = {{ secret = "api" }}
api_user_header = "X-Remote-User"
api_operators = ["olga"]
[agents.gw1]
state = "/var/lib/holdfast"
sip = ["udp:{ADDRESS}:5060", "tls:{ADDRESS}:5061"]
tls = {{ certificate = "/etc/holdfast/sbc.pem", key = "/etc/holdfast/sbc.key" }}
[lines.desk]
kind = "station"
agent = "gw1"
numbers = ["6001"]
station = {{ play = "tone" }}
"""
_PEBBLE: Final = {
    "pebble": {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/etc/pebble.pem",
        "privateKey": "/etc/pebble.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
}


def install(root: Root) -> None:
    """Debian's packages, which start nothing, and the programs of this project where an installation has them."""
    (root.path / "usr" / "sbin" / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    root.run("chmod 755 /usr/sbin/policy-rc.d")
    apt = f"apt-get -q install -y --no-install-recommends {PACKAGES}"
    root.run(f"export DEBIAN_FRONTEND=noninteractive\n{apt} || {{ apt-get -q update; {apt}; }}")
    root.run("useradd --system --home-dir /var/lib/holdfast --shell /usr/sbin/nologin holdfast")
    root.run("install -d -m 755 /opt/holdfast /opt/holdfast/bin /opt/holdfast/lib")
    # A copy that the services' user may read: the clone may be its owner's alone.
    product = " ".join(f"{ROOT}/{name}" for name in ("sip", "heartbeat", "b2bua", "gateway_agent", "examples"))
    root.run(
        f"cp -r {product} {sysconfig.get_path('purelib')}/. /opt/holdfast/lib/\nchmod -R go+rX /opt/holdfast/lib"
    )
    programs = root.path / "opt" / "holdfast" / "bin"
    python = f"#!/bin/sh\nPYTHONPATH=/opt/holdfast/lib exec {Path(sys.executable).resolve()}"
    for name, words in (("python", ""), ("b2bua", "-m b2bua.cli"), ("gateway-agent", "-m gateway_agent.cli")):
        (programs / name).write_text(f'{python} {words} "$@"\n')
        (programs / name).chmod(0o755)
    root.run(
        "ln -s /opt/holdfast/bin/b2bua /opt/holdfast/bin/gateway-agent /usr/local/bin/\n"
        f"install -m 644 {ROOT}/examples/systemd/*.service /etc/systemd/system/\n"
        "install -d -m 750 -o root -g holdfast /etc/holdfast /etc/holdfast/secrets\n"
        "install -d -m 750 -o holdfast -g holdfast /var/lib/holdfast\n"
    )


def prepared(machine: Machine, pages: dict[str, Page]) -> None:
    """The site file and what it names, but for the certificate."""
    text = merged(_SITE, pages["page.md"].block("api_user_header", "toml"))
    put = "install -m 640 -o root -g holdfast /dev/stdin /etc/holdfast/"
    machine.run(f"{put}site.toml", asked=text)
    machine.run(f"head -c 32 /dev/urandom | base64 | {put}site.key")
    machine.run(f"{put}secrets/api", asked=_TOKEN)


def certified(machine: Machine, page: Page) -> None:
    """A certificate before the agent runs, and its successor, which the running agent takes."""
    machine.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        " -keyout /etc/pebble.key -out /etc/pebble.pem 2>/dev/null"
    )
    machine.run("cat > /etc/pebble.json", asked=json.dumps(_PEBBLE))
    machine.run("PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 pebble -config /etc/pebble.json >/tmp/pebble 2>&1 &")
    until(
        lambda: "Listening on: 127.0.0.1:14000" in machine.run("cat /tmp/pebble"), PATIENCE, "Pebble does not listen"
    )
    machine.run(  # where a reader has Let's Encrypt, and has answered what certbot asks
        "cat > /etc/letsencrypt/cli.ini",
        asked="server = https://localhost:14000/dir\nno-verify-ssl = true\nagree-tos = true\n"
        "register-unsafely-without-email = true\nnon-interactive = true\n",
    )
    machine.run("install -m 755 /dev/stdin /etc/holdfast/renewed", asked=page.block("RENEWED_LINEAGE"))
    _without_failure(machine.run(f"{page.block('certbot certonly').strip()} 2>&1"))
    machine.run("".join(f"b2bua check --node {name}\n" for name in ("m1", "m2", "gw1")), HOLDFAST_SITE=SITE)
    machine.run("b2bua init --node m1\nchown -R holdfast: /var/lib/holdfast", HOLDFAST_SITE=SITE)
    for unit in ("holdfast-agent@gw1", "holdfast-server@m1", "holdfast-server@m2"):
        machine.run(f"systemctl start {unit}")
    until(lambda: _well(machine), PATIENCE, lambda: machine.run("b2bua status || true", HOLDFAST_SITE=SITE), 0.3)
    first, process = _shown(machine), machine.run("cat /run/units/holdfast-agent@gw1")
    if "Pebble" not in first:
        raise Failure(f"the agent shows another certificate:\n{first}")
    _without_failure(machine.run("certbot renew --force-renewal --no-random-sleep-on-renew 2>&1"))
    until(lambda: _shown(machine) != first, PATIENCE, "the agent shows the former certificate")
    if machine.run("cat /run/units/holdfast-agent@gw1") != process:
        raise Failure("the agent was started anew for a certificate")


def _without_failure(said: str) -> None:
    """certbot goes on when its hook has failed, and says so."""
    if re.search(r"hook .*(error|reported|ran with error)|error output", said, re.I):
        raise Failure(f"the hook has failed:\n{said}")


def _shown(machine: Machine) -> str:
    """Issuer and number of the certificate at the agent's address."""
    return machine.run(
        f"openssl s_client -connect {ADDRESS}:5061 -servername {NAME} </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer -serial"
    )


def _well(machine: Machine) -> bool:
    try:
        machine.run("b2bua status", HOLDFAST_SITE=SITE)
    except Failure:
        return False
    return True


class Browser:
    """Somebody who asks nginx, with a password or without."""

    def __init__(self, port: int, user: str = "") -> None:
        self._port = port
        self._headers = {"Origin": f"https://{NAME}:{port}"}
        if user:
            self._headers["Authorization"] = "Basic " + b64encode(f"{user}:{user}'s word".encode()).decode()

    def asks(self, path: str, body: str | None = None, **headers: str) -> tuple[int, str, http.client.HTTPResponse]:
        """Status, text, and the answer."""
        connection = http.client.HTTPSConnection(ADDRESS, self._port, timeout=10, context=_trusting())
        sent = {**self._headers, "Host": f"{NAME}:{self._port}", **headers}
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        if answer.headers.get_content_type() == "text/event-stream":
            return answer.status, "", answer
        return answer.status, answer.read().decode(), answer


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def fronted(machine: Machine, page: Page) -> None:
    """nginx before the page: at the socket of m1, at the TCP port of m2."""
    users = page.block("openssl passwd").replace("-apr1", "-apr1 -stdin")  # there is no terminal
    for user in ("olga", "victor"):
        machine.run(users.replace("olga", user), asked=f"{user}'s word\n")
    by_socket, by_tcp = page.block("proxy_pass http://unix:", "nginx"), page.block("proxy_pass http://127.", "nginx")
    proxied = re.compile(r"^ *proxy_pass .*\n", re.M)
    other = proxied.sub(lambda _: by_tcp.replace("127.0.0.1", "127.0.0.2"), by_socket, count=1)
    other = other.replace("a long word", _TOKEN)
    machine.run("rm -f /etc/nginx/sites-enabled/*\nsed -i 's/^user .*/user holdfast;/' /etc/nginx/nginx.conf")
    keys = "".join(
        f"ssl_{key} /etc/letsencrypt/live/{NAME}/{file}.pem;\n"
        for key, file in (("certificate", "fullchain"), ("certificate_key", "privkey"))
    )
    for port, block in ((8443, by_socket), (8444, other)):
        text = f"server {{\nlisten {ADDRESS}:{port} ssl;\n{keys}{block}}}\n"
        machine.run(f"cat > /etc/nginx/sites-enabled/{port}", asked=text)
    machine.run("nginx -t 2>/tmp/nginx || { cat /tmp/nginx; exit 1; }\nnginx >/dev/null 2>&1 </dev/null")
    for port, node in ((8443, "m1"), (8444, "m2")):
        _guards(port, node)


def _guards(port: int, node: str) -> None:
    if (status := Browser(port).asks("/page/")[0]) != 401:
        raise Failure(f"{port}: who has no password is answered {status}")
    for user, role, allowed in (("olga", "operator", 200), ("victor", "viewer", 403)):
        browser = Browser(port, user)
        status, text, _ = browser.asks("/page/")
        if status != 200 or "page.js" not in text:
            raise Failure(f"{port}: {user} does not see the page: {status} {text}")
        status, text, _ = browser.asks("/page/session", **{"X-Remote-User": "olga", "X-Forwarded-For": "127.0.0.1"})
        session = json.loads(text)
        if session.get("role") != role:
            raise Failure(f"{port}: {user} is {session}")
        status, _, events = browser.asks("/page/events")
        lines = [events.readline() for _ in range(12)] if status == 200 else []
        if sum(line.startswith(b"data:") for line in lines) < 2:
            raise Failure(f"{port}: no events come: {status} {lines}")
        events.close()
        order = {"Content-Type": "application/json", "X-CSRF-Token": session["csrf"]}
        status, text, _ = browser.asks("/v1/log-level", '{"package": "sip", "level": "default"}', **order)
        if status != allowed:
            raise Failure(f"{port}: {user} sets a log level of {node}: {status} {text}")


def looked_for(machine: Machine, page: Page) -> None:
    """fail2ban takes the page's files, and finds the line of a ban, as test_bans has it, in a log."""
    _, *parts = re.split(r"^# (/etc/fail2ban/\S+)\n", page.block("failregex", "ini"), flags=re.M)
    for path, text in zip(parts[::2], parts[1::2], strict=True):
        machine.run(f"cat > {path}", asked=text)
    machine.run("touch /var/log/auth.log\nfail2ban-client -t")  # Debian's own jail looks for that file
    line = "Dec  1 06:00:00 gw1 gateway-agent[1]: banned 203.0.113.9 for 600 s: 201 unknown dialog"
    told = machine.run(f"fail2ban-regex '{line}' /etc/fail2ban/filter.d/holdfast.conf || true")
    if "1 matched" not in told:
        raise Failure(f"fail2ban does not find the line:\n{told}")


def play(directory: Path) -> None:
    pages = {name: Page(name) for name in PAGES}
    wire(OPERATOR)
    with ExitStack() as stack:
        machine = Machine(Root(directory, "sbc"), ADDRESS, f"{ADDRESS} {NAME}\n")
        stack.callback(machine.stop)
        try:
            prepared(machine, pages)
            say("a certificate by certbot")
            certified(machine, pages["tls.md"])
            say("the page behind nginx")
            fronted(machine, pages["page.md"])
            say("what fail2ban looks for")
            looked_for(machine, pages["security.md"])
        except (Failure, AssertionError, subprocess.TimeoutExpired):
            print(machine.journal(), file=sys.stderr)
            raise
    rest = [body for page in pages.values() for kind in KINDS for body in page.not_run(kind)]
    rest += pages["page.md"].not_run()
    if rest:
        raise Failure("nobody has tried these blocks:\n" + "\n".join(rest))
    say("all of it works")


def main() -> int:
    match sys.argv[1:]:
        case ["packages", where]:
            root = Root(Path(where), "sbc")
            root.make()
            install(root)
            os.execvp("unshare", ["unshare", "-n", sys.executable, "-m", "tests.interop.guide_beside", "site", where])
        case ["site", where]:
            play(Path(where))
            return 0
        case _:
            return in_own_mounts("tests.interop.guide_beside")


if __name__ == "__main__":
    sys.exit(main())
