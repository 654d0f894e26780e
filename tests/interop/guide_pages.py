"""The pages that a reader of docs/deploy.md goes on with, on the site that it made: TLS and a carrier by it, a call
from a tab of a browser, stations, and the runbook. A telephone is in a call all the while."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tests.interop.chromium import Chromium
from tests.interop.empty_machines import Failure, Root, run
from tests.interop.guided import CARRIER, MACHINES, PATIENCE, SITE, UNIT, Page, Site, Telephone
from tests.interop.microphone import HEARS, speaking
from tests.interop.programs import until

NAME = "sbc.example.com"
_CAROL = '[lines.carol]\nkind = "phone"\nagent = "gw2"\nnumbers = ["1003"]\npassword = { secret = "carol" }\n'
_KEY = re.compile(r"^([\w.-]+) *=", re.M)


def merged(text: str, block: str) -> str:
    """A site file with the keys of a page in the place of those that its tables have already, and its new tables."""
    for table in re.split(r"^(?=\[)", block, flags=re.M):
        head = table[: table.find("]") + 1]
        if not table.startswith("["):
            continue
        if head not in text:
            text += f"\n{table}"
            continue
        before, _, rest = text.partition(head)
        own, *others = re.split(r"^(?=\[)", rest, maxsplit=1, flags=re.M)
        for line in table.splitlines()[1:]:
            if key := _KEY.match(line):
                own = re.sub(rf"^{re.escape(key[1])} *=.*\n", "", own, flags=re.M).rstrip("\n") + f"\n{line}\n"
        text = before + head + own + "\n" + "".join(others)
    return text


def _takes(site: Site, block: str, replaced: Mapping[str, str] | None = None) -> None:
    """The site file of all machines has the tables of a page from now on."""
    for old, new in (replaced or {}).items():
        block = block.replace(old, new)
    site.spread(merged(site["m1"].run(f"cat {SITE}"), block))


def _brought(site: Site, name: str, *files: Path) -> None:
    """Files that somebody copied to root's directory on a machine."""
    for file in files:
        shutil.copy(file, site[name].path / "root" / file.name)


def _certified(site: Site, name: str) -> Path:
    """An agent gets a certificate; where our authority is."""
    tls = site.pages["tls.md"]
    place = site.directory / "authority"
    if not place.exists():
        place.mkdir()
        subprocess.run(["sh", "-euc", tls.block("# tls: own authority")], cwd=place, check=True, capture_output=True)
    block = tls.block("# tls: own certificate").replace("192.0.2.11", MACHINES[name])
    subprocess.run(["sh", "-euc", block], cwd=place, check=True, capture_output=True)
    _brought(site, name, place / "sbc.pem", place / "sbc.key")
    site[name].run(tls.block("# tls: at its place"))
    return place


def secured(site: Site, talk: Telephone) -> None:
    """The carrier, which registers us, by TLS; alice calls it, and stays in that call."""
    _certified(site, "gw1")
    _brought(site, "gw1", site.directory / "carrier.pem")
    site["gw1"].run("install -m 644 carrier.pem /etc/holdfast/carrier.pem")
    _takes(site, site.pages["trunks.md"].block("# the same by TLS", "toml"))
    talk.hangs_up()
    site["gw1"].run(f"systemctl restart {UNIT['gw1']}")
    site.reload()
    site.healthy("the carrier by TLS")
    told = site["gw1"].run("b2bua test carrier", HOLDFAST_SITE=SITE)
    if f"{CARRIER}:5061 by tls" not in told:
        raise Failure(f"the carrier is not reached by TLS:\n{told}")
    talk.calls("+33140506098")


def libraries(page: Page, root: Root) -> None:
    """What the example page loads, made on a machine that reaches npm's registry."""
    root.run(page.block("npm install"))


def browsed(site: Site, talk: Telephone) -> None:
    """A tab calls the Asterisk, hears itself, and goes on when the active server is killed."""
    page = site.pages["browsers.md"]
    certificate = _certified(site, "gw2") / "sbc.pem"
    gw2 = site["gw2"]
    gw2.run(page.block("cp jssip.js"))
    gw2.run(
        "printf 'a word of the anna\\n' | install -m 640 -o root -g holdfast /dev/stdin /etc/holdfast/secrets/anna"
    )
    _takes(site, page.block("# browsers: a page", "toml"))
    reload, restart, status = page.block("systemctl restart holdfast-agent@gw2").splitlines()
    site["m1"].run(reload, HOLDFAST_SITE=SITE)
    site["gw1"].run(restart.replace("gw2", "gw1"))
    gw2.run(restart)
    site.healthy("a line for a browser")
    told = gw2.run(status, HOLDFAST_SITE=SITE)
    if "WebRTC" not in told:
        raise Failure(f"nothing is said of the WebRTC gateway:\n{told}")
    talk.goes_on("an agent has got a page")
    tab = speaking(
        site.directory / "anna",
        440.0,
        f"--ignore-certificate-errors-spki-list={_pin(certificate)}",
        f"MAP {NAME} {MACHINES['gw2']}, ",
    )
    site.stack.callback(tab.close)
    tab.open(f"https://{NAME}:7443/")
    tab.until("typeof logIn === 'function'")
    for field, value in (("user", "anna"), ("realm", "paris"), ("password", "a word of the anna")):
        tab.value(f"$('{field}').value = '{value}'")
    tab.value("$('login').requestSubmit()")
    tab.until("ua.isRegistered()")
    tab.value("$('number').value = '2600', $('call').click()")
    tab.until("session?.isEstablished()")
    _hears(tab, "the tab calls Asterisk")
    server = tab.until("$('serving').textContent").rpartition(" ")[2]
    site.kills(server)
    _hears(tab, "its server was killed")
    tab.until(f"!$('serving').textContent.endsWith('{server}')")
    talk.goes_on("the server of a tab was killed")
    tab.value("$('hangup').click()")
    tab.until("!session")
    site.healthy("the server of a tab was killed")


def _pin(certificate: Path) -> str:
    """By which Chromium, that has no authority added, believes a certificate: the hash of its public key."""
    key = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-pubkey", "-noout"], check=True, capture_output=True
    )
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, check=True, capture_output=True
    )
    return b64encode(sha256(der.stdout).digest()).decode()


def _hears(tab: Chromium, what: str) -> None:
    until(
        lambda: abs(tab.value(HEARS % "session.connection") - 440.0) < 20,
        PATIENCE,
        lambda: f"{what}: it does not hear its own tone: {tab.text()}\n{tab.said}",
    )


def stationed(site: Site, talk: Telephone) -> None:
    """Two stations: one echoes, the other one calls it, and measures."""
    page = site.pages["stations.md"]
    _takes(site, page.block("[lines.desk]", "toml"))
    reload, agents, desk, mirror, registered = page.block("systemctl enable").splitlines()
    site["m1"].run(reload, HOLDFAST_SITE=SITE)
    for name in ("gw1", "gw2"):
        site[name].run(agents, HOLDFAST_SITE=SITE)
    site["gw1"].run(desk)
    site["gw2"].run(mirror)
    until(lambda: _well(site, "gw2", registered), PATIENCE, lambda: site["gw2"].journal())
    gw1 = site["gw1"]
    first, *later = page.block("gateway-agent dial desk").splitlines()
    until(lambda: _well(site, "gw1", first), PATIENCE, lambda: site["gw1"].journal())
    dial, look, hang_up = later
    gw1.run(dial, HOLDFAST_SITE=SITE)
    until(
        lambda: "hears -" in gw1.run(look, HOLDFAST_SITE=SITE),
        PATIENCE,
        lambda: gw1.run(look, HOLDFAST_SITE=SITE),
        0.3,
    )
    gw1.run(hang_up, HOLDFAST_SITE=SITE)
    probe = page.block("gateway-agent probe")
    until(lambda: _well(site, "gw1", probe), PATIENCE, lambda: gw1.run(f"{probe} || true", HOLDFAST_SITE=SITE), 0.5)
    talk.goes_on("stations were added")
    site.healthy("stations were added")


def _well(site: Site, name: str, script: str) -> bool:
    try:
        site[name].run(script, HOLDFAST_SITE=SITE)
    except Failure:
        return False
    return True


def looked_after(site: Site, talk: Telephone) -> None:
    """The runbook: each look at what is, then a site that has lost its quorum for good."""
    page = site.pages["runbook.md"]
    for has in ("b2bua history", "b2bua test carrier", "b2bua explain takeover", "b2bua reload"):
        for line in page.block(has).splitlines():
            machine = "gw1" if line.startswith("gateway-agent") else "m2"
            site[machine].run(line, HOLDFAST_SITE=SITE)
    for has in ("gateway-agent status --agent gw1", "gateway-agent lines --agent gw1"):
        site["gw1"].run(page.block(has), HOLDFAST_SITE=SITE)
    site.b2bua("pause")
    site["m2"].run(page.block("b2bua resume"), HOLDFAST_SITE=SITE)
    if "m2 active" not in site.look():
        site.b2bua("switchover --to m2", asked="y\n")
    for name in ("m2", "gw1"):
        run("ip", "link", "set", f"to-{name}", "down")
    until(lambda: "no active server" in site.look("m1"), PATIENCE, lambda: site.look("m1"))
    force = page.block("b2bua switchover --force")
    told = site["m1"].run(force, asked="y\n", HOLDFAST_SITE=SITE)
    if "1 agent obeys it" not in told:
        raise Failure(f"gw2 does not obey m1:\n{told}")
    until(lambda: "m1 active" in site.look("m1"), PATIENCE, lambda: site.look("m1"))
    for name in ("m2", "gw1"):
        run("ip", "link", "set", f"to-{name}", "up")
    site.healthy("a quorum was lost for good, and is back")
    talk.goes_on("a quorum was lost for good, and is back")


def commanded(site: Site, talk: Telephone) -> None:
    """The HTTP API, lines by it, and a call looked at: as root on the machine of m1, which is active."""
    cli, troubleshooting = site.pages["cli.md"], site.pages["troubleshooting.md"]
    if "m1 active" not in site.look():
        site.b2bua("switchover --to m1", asked="y\n")
    germany = '[routes.germany]\nmatch = "+49*"\nto = ["carrier"]\n'
    site.b2bua("provision put -", "m1", asked=germany)
    m1, environment = site["m1"], {"HOLDFAST_SITE": SITE, "TOKEN": "a word of the api"}
    socket = "--unix-socket /var/lib/holdfast/m1/m1.sock"
    by_tcp = '-H "Authorization: Bearer $TOKEN"'  # this site's APIs are not sockets

    def over_http(has: str) -> list[str]:
        text = cli.block(has).replace("\\\n", "").replace(socket, by_tcp)
        return text.replace("http://x/", "http://192.0.2.1:8080/").splitlines()

    *looks, order = over_http("http://x/v1/status")
    for look in looks:
        json.loads(m1.run(look, **environment))
    *puts, listed = over_http("/v1/provisioned/lines/carol")
    for put in puts:
        if "error" in (told := m1.run(put, **environment)):
            raise Failure(f"{put}\nsays {told}")
    if "berlin" not in m1.run(listed, **environment):
        raise Failure("the route to Berlin is not there")
    m1.run(f"cat > new.toml\n{cli.block('provision put new.toml')}", asked=_CAROL, **environment)
    for has in ("b2bua audit-log --node m1", "b2bua cdrs --since 2h"):
        m1.run(cli.block(has), **environment)
    call = json.loads(m1.run("b2bua calls --format json", **environment))["calls"][0]["id"]
    failed, explain = troubleshooting.block("b2bua trace --failed").splitlines()
    m1.run(f"{failed} || true", **environment)  # perhaps none has failed
    pcap, tshark, sngrep = troubleshooting.block("--pcap call.pcap").splitlines()
    if not sngrep.startswith("sngrep "):  # it wants a terminal
        raise Failure(f"nobody has tried {sngrep}")
    told = m1.run(f"{explain}\n{pcap}\n{tshark}".replace("CALL", call), **environment)
    if "Request: " not in told:
        raise Failure(f"tshark sees no message:\n{told}")
    if "running" not in m1.run(order, **environment):
        raise Failure("the switchover by HTTP has not begun")
    site.healthy("a switchover by HTTP")
    talk.goes_on("a switchover by HTTP")


def keyed(site: Site, talk: Telephone) -> None:
    """gw1, which has the leg towards the carrier of a call, gets a key of its own, and the site key leaves it."""
    page, m1, gw1 = site.page, site["m1"], site["gw1"]
    made = page.block("b2bua agent-key gw1 --to").strip()
    m1.run(f"cd /tmp\n{made}", HOLDFAST_SITE=SITE)
    key = m1.run("cat /tmp/gw1.key\nrm /tmp/gw1.key")
    gw1.run("install -m 640 -o root -g holdfast /dev/stdin /etc/holdfast/gw1.key", asked=key)
    steps = page.block("gateway-agent reload --agent gw1")
    both = "".join(f"{line[1:].strip()}\n" for line in steps.splitlines() if line.startswith("#   "))
    beside, looked, alone, shredded = (line for line in steps.splitlines() if not line.startswith("#"))
    file = re.search(r'^key = \{ file = "(.+)" \}.*$', text := gw1.run(f"cat {SITE}"), re.M)
    if file is None:
        raise Failure(f"{SITE} names no key:\n{text}")
    for keys, reload in (
        (both.replace("site.key", file[1]), beside),
        (both.splitlines()[0] + "\n", alone),
    ):
        put = "cat > site.new\ninstall -m 640 -o root -g holdfast site.new /etc/holdfast/site.toml"
        gw1.run(put, asked=text.replace(f"{file[0]}\n", keys, 1))
        gw1.run(reload, HOLDFAST_SITE=SITE)
        site.healthy("gw1 has a key of its own")
        until(
            lambda: re.search(r"^gw1 .*\bown\b", site["m2"].run(looked, HOLDFAST_SITE=SITE), re.M) is not None,
            PATIENCE,
            lambda: "gw1 is not believed by its own key:\n" + gw1.run("gateway-agent status", HOLDFAST_SITE=SITE),
        )
        talk.goes_on("gw1 has a key of its own")
        talk.changes()
    gw1.run(f"mv /etc/holdfast/{file[1]} /etc/holdfast/site.key.old\n{shredded}")
    gw1.run(f"systemctl restart {UNIT['gw1']}")
    site.healthy("gw1 has no site key any more")
    talk.goes_on("gw1 has no site key any more")
