"""python -m tests.interop.guide_rollout

docs/rollout.md: three machines on which nothing of ours is installed get a site by Ansible, and under a call a new
version and the old one again. ssh is a stand-in that goes to emulated machines; all else is the reader's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from examples.demo_processes import ROOT
from examples.softphone_call import Policy
from tests.interop.empty_machines import Failure, Machine, Root, run, wire
from tests.interop.guided import (
    CLONE,
    OPERATOR,
    PATIENCE,
    SITE,
    Page,
    Telephone,
    in_own_mounts,
    packaged,
    say,
    unhurried,
)
from tests.interop.phones import Phone
from tests.interop.programs import until

MACHINES: Final = {"a": "192.0.2.21", "b": "192.0.2.22", "gw": "192.0.2.23"}
_SSH: Final = """#!/bin/sh
# ssh to an emulated machine, as root: options, its name, and what its shell is to do
while :; do
    case $1 in -o | -F | -i | -p | -l) shift 2 ;; -*) shift ;; *) break ;; esac
done
name=${{1%%.*}}
shift
exec nsenter -t "$(cat "{place}/$name.pid")" -m -u -p -n -r -w env -i PATH={path} HOME=/root LANG=C.UTF-8 sh -c "$*"
"""
_SITE_FILE: Final = """
[site]
name = "lyon"
key = {{ file = "/etc/holdfast/site.key" }}
[servers.m1]
role = "main"
listen = "tcp:{a}:5161"
api = "tcp:{a}:8080"
api_token = {{ secret = "api" }}
beat = "udp:{a}:5162"
state = "/var/lib/holdfast"
[servers.m2]
role = "standby"
listen = "tcp:{b}:5161"
api = "tcp:{b}:8080"
api_token = {{ secret = "api" }}
beat = "udp:{b}:5162"
state = "/var/lib/holdfast"
[agents.gw1]
sip = "udp:{gw}:5060"
state = "/var/lib/holdfast"
[agents.gw2]
sip = "udp:{gw}:5070"
state = "/var/lib/holdfast"
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = "1001"
password = {{ secret = "alice" }}
[lines.bob]
kind = "phone"
agent = "gw2"
numbers = "1002"
password = {{ secret = "bob" }}
"""
_WORDS: Final = {"alice": "a long word", "bob": "another one"}


class Controller:
    """The reader's own machine, with a clone, packages of two versions, and Ansible."""

    def __init__(self, directory: Path, package: Path, machines: dict[str, Machine]) -> None:
        place = directory / "controller"
        self._ansible = place / "clone" / "examples" / "ansible"
        shutil.copytree(ROOT / "examples" / "ansible", self._ansible)
        build = place / "clone" / "build"
        build.mkdir()
        shutil.copy(package, build / package.name)
        _newer(build / package.name, build / package.name.replace("0.1.0", "0.2.0"))
        (self._ansible / "site.toml").write_text(_SITE_FILE.format(**MACHINES))
        for name, machine in machines.items():
            (place / f"{name}.pid").write_text(machine.first)
        ssh = place / "ssh"
        ssh.write_text(_SSH.format(place=place, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
        ssh.chmod(0o755)
        (place / "vault").write_text("a word of the vault\n")
        self._environment = {
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "HOME": str(place), "LC_ALL": "C.UTF-8",
            "ANSIBLE_SSH_EXECUTABLE": str(ssh), "ANSIBLE_SSH_ARGS": "", "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_REMOTE_USER": "root", "ANSIBLE_VAULT_PASSWORD_FILE": str(place / "vault"),
        }  # fmt: skip

    def run(self, script: str) -> str:
        """What the reader types, from the clone."""
        done = subprocess.run(
            ["sh", "-euc", script], cwd=self._ansible.parents[1], env=self._environment, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=400, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failure(f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def _newer(package: Path, made: Path) -> None:
    """The same package under the next version."""
    tree = made.with_suffix("")
    run("dpkg-deb", "--raw-extract", package, tree)
    for file in (
        tree / "DEBIAN" / "control",
        *tree.glob("opt/holdfast/lib/python*/site-packages/holdfast-*/METADATA"),
    ):
        file.write_text(file.read_text().replace("\nVersion: 0.1.0\n", "\nVersion: 0.2.0\n", 1))
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made)
    shutil.rmtree(tree)


def play(directory: Path) -> None:
    page = Page("rollout.md")
    package = next((directory / "maker" / "root").joinpath(CLONE[1:], "build").glob("*.deb"))
    wire(OPERATOR)
    with ExitStack() as stack:
        machines = {name: Machine(Root(directory, name), address) for name, address in MACHINES.items()}
        for machine in machines.values():
            stack.callback(machine.stop)
        controller = Controller(directory, package, machines)
        try:
            _followed(page, controller, machines, stack)
        except (Failure, AssertionError):
            for machine in machines.values():
                print(machine.journal(), file=sys.stderr)
            raise
    if rest := page.not_run():
        raise Failure("nobody has tried these commands:\n" + "\n".join(rest))
    say("all of it works")


def _followed(page: Page, controller: Controller, machines: dict[str, Machine], stack: ExitStack) -> None:
    say("a site by Ansible")
    controller.run(page.block("ansible-vault encrypt"))
    _, *plays = page.block("make deb\n").splitlines()
    controller.run("\n".join(plays))  # the package is made
    _healthy(machines, "the play")
    bob = Phone(f"{OPERATOR}:5070")
    stack.callback(bob.close)
    gw = MACHINES["gw"]
    bob.line("bob", f"{gw}:5070", _WORDS["bob"], Policy(answer_after=0.0), domain="lyon")
    alice = Telephone(stack, f"{OPERATOR}:5060", f"{gw}:5060", "alice", _WORDS["alice"], "lyon")
    alice.calls("1002")
    alice.goes_on("at first")
    upgrade = page.block("upgrade.yml")
    for version, active, block in (
        ("0.2.0", "m2", upgrade), ("0.1.0", "m1", upgrade.replace("holdfast_0.2.0", "holdfast_0.1.0")),
    ):  # fmt: skip
        say(f"{version} by Ansible")
        controller.run(f"cd examples/ansible\n{block}")
        alice.goes_on(f"{version} was installed")
        alice.changes()
        _healthy(machines, version)
        told = machines["a"].run("b2bua status --format json", HOLDFAST_SITE=SITE)
        if f'"active": "{active}"' not in told or told.count(f'"version": "{version}"') < 2:
            raise Failure(f"{active} was to be active, all of them of version {version}:\n{told}")
    alice.hangs_up()
    _replaced(page, machines)


def _healthy(machines: dict[str, Machine], what: str) -> None:
    def look() -> str:
        return machines["a"].run("b2bua status || echo sick", HOLDFAST_SITE=SITE)

    until(lambda: "sick" not in look(), PATIENCE, lambda: f"{what}: {look()}", 0.3)


def _replaced(page: Page, machines: dict[str, Machine]) -> None:
    """The machine of m1 is kept, and comes anew from what was kept."""
    a, b = machines["a"], machines["b"]
    for line in page.block("sqlite3").splitlines():
        a.run(f"cd /var/tmp\n{line}")
    away, status, readmit, whole = (line.partition("#")[0] for line in page.block("b2bua readmit").splitlines())
    a.run(away, asked="y\n", HOLDFAST_SITE=SITE)
    a.run("systemctl stop holdfast-server@m1\nrm -r /etc/holdfast /var/lib/holdfast/m1")
    until(lambda: "m1" in b.run(f"{status} || true", HOLDFAST_SITE=SITE), PATIENCE, "nobody misses m1")
    a.run("cd /var/tmp\ntar -C / -xzf holdfast-etc.tar.gz\nsystemctl start holdfast-server@m1")
    _healthy(machines, "m1 is back")
    gw = machines["gw"]
    gw.run("systemctl stop holdfast-agent@gw1\nrm -r /var/lib/holdfast/gw1\nsystemctl start holdfast-agent@gw1")
    until(
        lambda: "gw1 has no vote" in b.run(f"{status} || true", HOLDFAST_SITE=SITE), PATIENCE, "nobody misses a vote"
    )
    b.run(readmit, asked="y\n", HOLDFAST_SITE=SITE)
    _healthy(machines, "gw1 has its vote again")
    b.run(whole, HOLDFAST_SITE=SITE)


def main() -> int:
    match sys.argv[1:]:
        case ["packages", where]:
            roots = {name: Root(Path(where), name) for name in ("maker", *MACHINES)}
            for root in roots.values():
                root.make()
            with unhurried():
                packaged(roots["maker"], Page("deploy.md").block("make deb"), "")
            os.execvp(
                "unshare", ["unshare", "-n", sys.executable, "-m", "tests.interop.guide_rollout", "site", where]
            )
        case ["site", where]:
            play(Path(where))
            return 0
        case _:
            return in_own_mounts("tests.interop.guide_rollout")


if __name__ == "__main__":
    sys.exit(main())
