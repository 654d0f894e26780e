"""python -m tests.interop.guide

The guides, followed by one who has nothing yet: the commands of the README on one machine without anything of ours
(`empty_machines`), and those of docs/deploy.md on four more, with the site file of the page, the Asterisk of the
page, a carrier that wants to be registered with, a telephone in a call all the while, and a Prometheus whose alert is
to fire and to clear. Each block of shell commands of the pages is run, or the guide fails. Root; packages are fetched
as a reader would fetch them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT
from tests.certificates import Authority
from tests.interop import guide_pages
from tests.interop.empty_machines import Failure, Machine, Root
from tests.interop.guided import (
    CARRIER,
    CLONE,
    MACHINES,
    MONITORING,
    PATIENCE,
    SITE,
    TELEPHONE,
    UNIT,
    Page,
    Site,
    Telephone,
    asterisk,
    clone,
    in_own_mounts,
    packaged,
    say,
    unhurried,
)
from tests.interop.programs import until
from tests.interop.watched import Prometheus

PAGES: Final = (
    "README.md",
    "deploy.md",
    "tls.md",
    "trunks.md",
    "browsers.md",
    "stations.md",
    "runbook.md",
    "cli.md",
    "troubleshooting.md",
)
HOME: Final = "home"
_CARRIER_PJSIP: Final = """
[own]
type=transport
bind={carrier}:5060
protocol=udp
[own-tls]
type=transport
bind={carrier}:5061
protocol=tls
method=tlsv1_2
cert_file=/mnt/keys/sip.pem
priv_key_file=/mnt/keys/sip.key
[agent]
type=identify
endpoint=agent
match={agent}
[agent]
type=endpoint
context=in
disallow=all
allow=ulaw,alaw
direct_media=no
aors=33140506070
auth=agent
[agent]
type=auth
auth_type=userpass
username=33140506070
password=a word of the carrier
[33140506070]
type=aor
max_contacts=1
remove_existing=yes
"""
BEFORE: Final = (
    ("README.md", "python3 -m venv"),
    ("deploy.md", "make deb", "useradd --system", "[web,srtp]", "b2bua run --site paris.toml --site lyon.toml"),
    ("browsers.md", "npm install"),
    ("tls.md", "certbot certonly", "RENEWED_LINEAGE"),
)
"""Blocks that were run with the packages; of several sites in one process by `test_sites`, with certbot by
`guide_beside`."""


# -- 1. packages: with the network of the machine that this one is ---------------------------------------------------


def install(pages: dict[str, Page], roots: dict[str, Root]) -> None:
    """By the package on three machines, without it on m2, and as the README says at home."""
    readme, page = pages["README.md"], pages["deploy.md"]
    say("the README's installation")
    clone(roots[HOME])
    roots[HOME].run(f"cd /usr/src/clone\n{readme.block('python3 -m venv')}")
    say("the package is made and installed")
    package = packaged(roots["m1"], page.block("make deb"), "web,station")
    for name in ("gw1", "gw2"):
        shutil.copy(package, roots[name].path / "root" / package.name)
        roots[name].run(f"apt-get install ./{package.name}")
    say("m2 is installed without the package")
    repository = roots["m2"].path / "srv" / "repository"
    repository.mkdir()
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, repository], check=True)
    roots["m2"].run(page.block("useradd --system").replace("HOLDFAST_REPOSITORY", "/srv/repository"))
    roots["m2"].run(page.block("[web,srtp]"))
    guide_pages.libraries(pages["browsers.md"], roots["gw2"])
    roots["m2"].run("/opt/holdfast/bin/pip wheel -q --no-deps -w /srv/wheels /usr/src/holdfast")  # for the upgrade


# -- 2. the site: in networks of its own -----------------------------------------------------------------------------


def keys(site: Site) -> None:
    """The key, the passwords, the site file: made on one machine, copied to the others."""
    page, first = site.page, site["m1"]
    first.run(page.block("head -c 32 /dev/urandom"))
    made = first.run("base64 -w0 /etc/holdfast/site.key")
    for name in ("m2", "gw1", "gw2"):
        site[name].run(
            "install -d -m 750 -o root -g holdfast /etc/holdfast/secrets\n"
            f"echo {made} | base64 -d | install -m 640 -o root -g holdfast /dev/stdin /etc/holdfast/site.key"
        )
    put = page.block("secrets/alice\n")
    for name, secret in (("gw1", "carrier"), ("gw2", "alice"), ("m1", "api"), ("m2", "api")):
        site[name].run(
            put.replace("secrets/alice", f"secrets/{secret}").replace("a long word", f"a word of the {secret}")
        )
    text = page.block('[site]\nname = "paris"', "toml")
    for name in ("m1", "m2"):  # "Give each server an API that the other machine can reach"
        key = f'listen = "tcp:{MACHINES[name]}:5161"'
        text = text.replace(key, f'{key}\napi = "tcp:{MACHINES[name]}:8080"\napi_token = {{ secret = "api" }}', 1)
    site.spread(text.replace('name = "paris"\n', 'name = "paris"\nprovisioned = "last"\n', 1))
    export = page.block("export HOLDFAST_SITE")
    for name in ("m1", "m2"):
        told = site[name].run(f"{export}b2bua check --node {name}")
        if "survives" not in told:
            raise Failure(f"check says nothing of what the site survives:\n{told}")


def first_start(site: Site) -> None:
    page = site.page
    authority = Authority(site.directory, "carrier")
    certificate = authority.issue("sip", ["sip.carrier.example"])
    site["m1"].run(page.block("b2bua init"), HOLDFAST_SITE=SITE)
    agent, server, status = page.block("systemctl enable").splitlines()
    for name in ("gw1", "gw2"):
        site[name].run(agent.replace("gw1", name))
    for name in ("m1", "m2"):
        site[name].run(server.replace("m1", name))
    asterisk(
        site,
        "pbx",
        "gw2",
        page.block("[transport-udp]", "ini"),
        "[from-holdfast]\nexten => _X.,1,Answer()\n same => n,Echo()\n",
    )
    asterisk(
        site, "carrier", "", _CARRIER_PJSIP.format(carrier=CARRIER, agent=MACHINES["gw1"]),
        "[in]\nexten => _0X.,1,Answer()\n same => n,Echo()\n", (certificate.certificate, certificate.key),
    )  # fmt: skip
    site.healthy("the first start", "m1")
    site["m1"].run(status, HOLDFAST_SITE=SITE)


def watched(site: Site, talk: Telephone) -> None:
    """Monitoring as the page says; the active server is killed, an alert fires, and clears."""
    token = "a word of the api"
    block = site.page.block("b2bua status --format json")
    site["m1"].run(block.replace("192.0.2.1:8080", f"{MACHINES['m1']}:8080"), HOLDFAST_SITE=SITE, API_TOKEN=token)
    targets = {name: f"http://{MACHINES[name]}:8080" for name in ("m1", "m2")}
    prometheus = Prometheus(site.directory, MONITORING, targets, token)
    site.stack.callback(prometheus.close)
    until(lambda: prometheus.ask("sum(up)").get("") == 2.0, PATIENCE, "the servers are not scraped")
    fires = 'ALERTS{alertname="HoldfastTakeover", alertstate="firing"}'
    assert not prometheus.ask(fires)
    say("m1 is killed, its supervisor too")
    site.kills("m1")
    until(lambda: prometheus.ask(fires), PATIENCE, "no alert fires")
    talk.goes_on("after the death of m1")
    site.healthy("m1 is started again by its unit")
    said = site.b2bua("explain takeover --calls")
    if "both of its legs were handed over" not in said:
        raise Failure(f"the takeover is not explained:\n{said}")
    critical = 'ALERTS{alertstate="firing", severity="critical"}'
    until(lambda: not prometheus.ask(critical), PATIENCE, lambda: f"still: {prometheus.ask(critical)}")


def switched(site: Site, talk: Telephone) -> None:
    """The other server leads, because an operator says so."""
    site.b2bua("switchover", asked="y\n")
    talk.goes_on("a switchover")
    site.healthy("a switchover")


def reloaded(site: Site, talk: Telephone) -> None:
    """A phone is added, and the key is changed, while alice talks."""
    text = site["m1"].run(f"cat {SITE}")
    put = site.page.block("secrets/alice\n").replace("secrets/alice", "secrets/bob")
    site["gw2"].run(put)
    text += '\n[lines.bob]\nkind = "phone"\nagent = "gw2"\nnumbers = ["1002"]\npassword = { secret = "bob" }\n'
    site.spread(text)
    site.reload()
    site.healthy("a phone was added")
    if "bob" not in site.b2bua("lines", status=1):  # nobody has registered it yet
        raise Failure("the line of bob is not there")
    new = site["m1"].run("head -c 32 /dev/urandom | base64")
    for machine in site.machines.values():
        machine.run("cat > new\ninstall -m 640 -o root -g holdfast new /etc/holdfast/new.key", asked=new)
    for step in ("# 1. all nodes", "# 2. all nodes", "# 3. the old one"):
        keys = site.page.block(step, "toml")
        text = re.sub(r"^(previous_)?key = .*\n", "", text, flags=re.M)
        site.spread(text.replace('name = "paris"\n', f'name = "paris"\n{keys}', 1))
        site.reload()
        talk.goes_on(f"the key, {step}")
        talk.changes()  # after step 2 the status wants that something is said in the call
        site.healthy(f"the key, {step}")


def provisioned(site: Site, talk: Telephone) -> None:
    """A phone that is put by command, and handed to all nodes by the active server."""
    word, put, *asked = site.page.block("b2bua provision put -").splitlines()
    site["gw2"].run(word)
    for line in (put, *asked):
        site["m1"].run(line, HOLDFAST_SITE=SITE)
    until(
        lambda: "carol" in site["gw2"].run("gateway-agent lines || true", HOLDFAST_SITE=SITE),
        PATIENCE,
        "gw2 has no line of carol",
    )
    talk.goes_on("a phone was provisioned")


def upgraded(site: Site, talk: Telephone) -> None:
    """The same version once more, node by node."""
    site["m2"].run("/opt/holdfast/bin/pip install --no-index --no-deps --force-reinstall /srv/wheels/*.whl")
    site["m2"].run(f"systemctl restart {UNIT['m2']}")
    site.healthy("m2 was restarted")
    switched(site, talk)
    site["m1"].run("dpkg -i /usr/src/clone/build/*.deb")
    site["m1"].run(f"systemctl restart {UNIT['m1']}")
    site.healthy("m1 was restarted")
    for name in ("gw1", "gw2"):
        site[name].run("dpkg -i /root/*.deb")
        site[name].run(f"systemctl restart {UNIT[name]}")
        site.healthy(f"{name} was restarted")
        talk.goes_on(f"{name} was restarted")


def replaced(site: Site, talk: Telephone) -> None:
    """A node that lost its disk has no vote until somebody gives it one."""
    gw1 = site["gw1"]
    gw1.run(f"systemctl stop {UNIT['gw1']}\nrm -r /var/lib/holdfast/gw1/epochs.json\nsystemctl start {UNIT['gw1']}")
    until(
        lambda: "gw1 has no vote any more" in site.look(), PATIENCE, lambda: f"nobody misses its vote:\n{site.look()}"
    )
    site.b2bua("readmit gw1", asked="y\n")
    site.healthy("gw1 was readmitted")
    talk.goes_on("gw1 was readmitted")


def accounted(site: Site) -> None:
    page, m2 = site.page, site["m2"]
    made = site["m1"].run("tar -C /var/lib/holdfast/m1 -c cdr | base64 -w0")
    m2.run("mkdir -p /backup/m1\nbase64 -d | tar -C /backup/m1 -x", asked=made)
    m2.run("mkdir -p /backup/m2\ncp -r /var/lib/holdfast/m2/cdr /backup/m2/cdr")
    told = m2.run(page.block("b2bua cdrs --since"), HOLDFAST_SITE=SITE)
    if "2600" not in m2.run("b2bua cdrs --all", HOLDFAST_SITE=SITE) or not told:
        raise Failure(f"the call of alice is not in the records:\n{told}")


def at_home(readme: Page, root: Root) -> None:
    """One machine with a whole site: a call lives through the death of its server."""
    home = Machine(root, "192.0.2.99")
    there = f"cd {CLONE}\nexport PATH=/opt/holdfast/bin:$PATH\n"
    try:
        home.run(f"{there}cat > site.toml", asked=readme.block('name = "paris"', "toml"))
        *begin, status = readme.block("b2bua init --node m1").splitlines()
        home.run(f"{there}exec > site.log 2>&1\n" + "\n".join(begin))
        until(lambda: _says(home, f"{there}{status}", "healthy"), PATIENCE, "the site does not come up", 0.5)
        bob = readme.block("--line bob").replace("--seconds 60", "--seconds 40")
        home.run(f"{there}exec > bob.log 2>&1\n{bob}")
        until(lambda: _says(home, f"cat {CLONE}/bob.log", "bob registered"), PATIENCE, "bob is not registered", 0.3)
        call = readme.block("--call 1002").replace("--seconds 30", "--seconds 15")
        phones = subprocess.Popen(
            home.command("sh", "-euc", f"{there}{call}"),
            env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        until(lambda: _says(home, f"{there}b2bua status", "1 talking"), PATIENCE, "alice does not talk to bob", 0.3)
        home.run("pkill -9 -f '[b]2bua run --node m1'")
        until(lambda: _says(home, f"{there}b2bua status", "m2 active"), PATIENCE, "m2 does not take over", 0.3)
        said, _ = phones.communicate(timeout=PATIENCE)
        if phones.returncode or "0 lost" not in said:
            raise Failure(f"the telephones ended with {phones.returncode}:\n{said}")
    except (Failure, AssertionError):
        print(home.run(f"cat {CLONE}/*.log"), file=sys.stderr)
        raise
    finally:
        home.stop()


def _says(machine: Machine, script: str, words: str) -> bool:
    return words in machine.run(f"{script.partition('#')[0]} || true")


def play(directory: Path) -> None:
    pages = {name: Page(name) for name in PAGES}
    for page, *beginnings in BEFORE:
        for has in beginnings:
            pages[page].block(has)
    with ExitStack() as stack:
        site = Site(pages, directory, stack)
        say("the README's site")
        at_home(pages["README.md"], Root(directory, HOME))
        try:
            say("the key, the passwords, the site file")
            keys(site)
            say("the first start")
            first_start(site)
            say("alice calls the carrier, and the Asterisk")
            there = f"{MACHINES['gw2']}:5060"
            talk = Telephone(stack, f"{TELEPHONE}:5060", there, "alice", "a word of the alice", "paris")
            talk.calls("+33140506099")
            talk.hangs_up()
            talk.calls("2600")
            talk.goes_on("at first")
            for what, act in (
                ("a carrier by TLS", guide_pages.secured), ("an alert", watched), ("a planned switchover", switched),
                ("a reload", reloaded), ("a phone by command", provisioned), ("an upgrade", upgraded),
                ("a lost disk", replaced), ("a browser", guide_pages.browsed), ("stations", guide_pages.stationed),
                ("commands and HTTP", guide_pages.commanded),
                ("an agent's own key", guide_pages.keyed), ("the runbook", guide_pages.looked_after),
            ):  # fmt: skip
                say(what)
                act(site, talk)
            talk.hangs_up()
            say("call records")
            accounted(site)
            if rest := [block for page in pages.values() for block in page.not_run()]:
                raise Failure("nobody has tried these commands:\n" + "\n".join(rest))
        except (Failure, AssertionError):
            for machine in site.machines.values():
                print(machine.journal(), file=sys.stderr)
            print(site.look("m1"), file=sys.stderr)
            raise
    say("all of it works")


def main() -> int:
    match sys.argv[1:]:
        case ["packages", where]:
            directory = Path(where)
            roots = {name: Root(directory, name) for name in (HOME, *MACHINES)}
            for root in roots.values():
                root.make()
            with unhurried():
                install({name: Page(name) for name in PAGES}, roots)
            os.execvp("unshare", ["unshare", "-n", sys.executable, "-m", "tests.interop.guide", "site", where])
        case ["site", where]:
            play(Path(where))
            return 0
        case _:
            return in_own_mounts("tests.interop.guide")


if __name__ == "__main__":
    sys.exit(main())
