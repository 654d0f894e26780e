"""python -m tests.interop.images

Runs the site of docker/compose.yaml from the images that tools/images.sh has built: each service in the root of its
image, with its own user, address, mounts and health check, as the compose file says, in network namespaces on one
bridge. Tells the whole story of docs/containers.md, and says what was seen. Needs root, buildah, and the images.

A container is a process 1 with namespaces for mounts, processes and (one for each address) the network; its root is
read-only, it has no capabilities and gains no privileges. Limits of resources are not set.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from examples.demo_processes import ROOT, Processes
from tests.interop import machines
from tests.interop.compose import COMPOSE, DOCKER, SERVICES, ComposeSite, address, network_of, target_of

STORE: Final = ROOT / "tools" / "images.sh"
USER: Final = 10001
_BEGIN: Final = """
    root=$1; shift
    mount --bind "$root" "$root"
    while [ "$1" != -- ]; do
        case $1 in
            tmpfs) mount -t tmpfs tmpfs "$root$2" ;;
            ro) mount --bind "$3" "$root$2"; mount -o remount,bind,ro "$root$2" ;;
            rw) mount --bind "$3" "$root$2" ;;
        esac
        shift 3
    done
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -o remount,bind,ro "$root"
    cd /
    exec chroot "$root" "$@" """


def _done(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout.strip()


class _Image:
    """An image, unpacked once."""

    def __init__(self, name: str) -> None:
        found = json.loads(_done(STORE, "run", "inspect", "--type", "image", name))
        self.config: dict[str, Any] = found["Docker"]["config"]
        self.container = _done(STORE, "run", "from", "--pull-never", name)
        self.root = Path(_done(STORE, "run", "mount", self.container))

    def become(self) -> list[str]:
        """The words before a command that run it as the image's user, without privileges, with its environment."""
        user, _, group = self.config["User"].partition(":")
        who = ["--reuid", user, "--regid", group or user, "--clear-groups"]
        drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        where = ["-C", self.config.get("WorkingDir") or "/"]
        return ["/usr/bin/setpriv", *who, *drop, "/usr/bin/env", *where, "-i", *self.config["Env"]]

    def remove(self) -> None:
        _done(STORE, "run", "rm", self.container)


class Images:
    """The engine."""

    def __init__(self, directory: Path) -> None:
        assert machines.is_inside(), "made only in namespaces of its own"
        self.directory = directory
        self.processes = Processes(directory)
        self._images: dict[str, _Image] = {}
        self._pids: dict[str, int] = {}
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        _done("mount", "-t", "tmpfs", "none", "/run/netns")
        _done("ip", "link", "set", "lo", "up")
        _done("ip", "link", "add", "site", "type", "bridge")
        _done("ip", "link", "set", "site", "up")
        for number, name in enumerate(one for one in SERVICES if "build" in SERVICES[one]):
            if network_of(name) == name:
                self._connect(name, f"to-{number}")
        for volume in COMPOSE["volumes"]:
            (directory / volume).mkdir(mode=0o750)
            os.chown(directory / volume, USER, USER)
        (directory / "secrets").mkdir()
        for name in COMPOSE["secrets"]:
            path = directory / "secrets" / name
            path.write_text(secrets.token_hex(16))
            path.chmod(0o400)
            os.chown(path, USER, USER)

    def _connect(self, name: str, link: str) -> None:
        _done("ip", "netns", "add", name)
        _done("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _done("ip", "link", "set", link, "master", "site", "up")
        for each in ("lo", "eth0"):
            _done("ip", "-n", name, "link", "set", each, "up")
        _done("ip", "-n", name, "addr", "add", f"{address(name)}/24", "dev", "eth0")

    def image(self, name: str) -> _Image:
        wanted = SERVICES[name]["image"]
        if wanted not in self._images:
            self._images[wanted] = _Image(wanted)
        return self._images[wanted]

    def _mounts(self, name: str) -> list[tuple[str, str, Path]]:
        """How, where and what, of a service."""
        found = [("tmpfs", where, Path()) for where in SERVICES[name].get("tmpfs", ())]
        for volume in SERVICES[name].get("volumes", ()):
            source, where, *mode = volume.split(":")
            place = (DOCKER / source).resolve() if source.startswith(".") else self.directory / source
            found.append((mode[0] if mode else "rw", where, place))
        if given := SERVICES[name].get("secrets"):
            place = self.directory / f"{name}.secrets"
            place.mkdir(exist_ok=True)
            for one in given:
                shutil.copy2(self.directory / "secrets" / one, place / one)
                os.chown(place / one, USER, USER)
            found.append(("ro", "/run/secrets", place))
        return found

    def start(self, name: str) -> None:
        image, mounts = self.image(name), self._mounts(name)
        for _, where, _ in mounts:
            (image.root / where.lstrip("/")).mkdir(parents=True, exist_ok=True)
        words = [word for how, where, what in mounts for word in (how, where, str(what))]
        environment = [f"{key}={value}" for key, value in SERVICES[name].get("environment", {}).items()]
        main = [*image.config["Entrypoint"], *(SERVICES[name].get("command") or image.config["Cmd"])]
        spaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        command = ["ip", "netns", "exec", network_of(name), *spaces, "sh", "-euc", _BEGIN, "sh", str(image.root)]
        running = self.processes.start(name, [*command, *words, "--", *image.become(), *environment, *main])
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        self._pids[name] = int(found[0])

    def kill(self, name: str) -> None:
        """Process 1: with it all others of its namespace end."""
        os.kill(self._pids.pop(name), 9)
        self.processes.running.pop(name).process.wait()

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        if name not in self._pids:
            return subprocess.CompletedProcess(command, 255, "", f"{name} does not run")
        image = self.image(name)
        environment = [f"{key}={value}" for key, value in SERVICES[name].get("environment", {}).items()]
        enter = ["nsenter", "-t", str(self._pids[name]), "-n", "-m", "-p", "--", "chroot", str(image.root)]
        words = [*enter, *image.become(), *environment, *command]
        return subprocess.run(words, cwd="/", capture_output=True, text=True, timeout=90, check=False)

    def words(self) -> str:
        return f"the site is not up\n{self.processes.last_words()}"

    def close(self) -> None:
        # Whoever has become another user does not end with who started it (prctl(2), PR_SET_PDEATHSIG).
        for name in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                self.kill(name)
        for image in self._images.values():
            with contextlib.suppress(AssertionError):  # what was seen matters more than what is left
                image.remove()


def _say(engine: Images, site: ComposeSite) -> None:
    """What can be seen of the containers themselves: process 1, user, capabilities, root."""
    look = "grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/self/status; cat /proc/1/comm; touch /x 2>&1 || true"
    for name in ("m1", "gw1", "gw1-relay", "gw2-desk", "pbx"):
        print(f"{name:10} {target_of(name):12} {' | '.join(site.run(name, 'sh', '-c', look).stdout.split(chr(10)))}")


def main() -> int:
    if why := machines.impossible():
        print(why, file=sys.stderr)
        return 2
    if not machines.is_inside():
        return subprocess.run(machines.enter("tests.interop.images"), cwd=ROOT, check=False).returncode
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        engine = Images(Path(directory))
        site = ComposeSite(engine)
        try:
            site.up()
            print("two servers and two agents are up, each from its image", flush=True)
            began = time.monotonic()
            site.tell_the_story()
            print(f"the story was told in {time.monotonic() - began:.0f} s", flush=True)
            found = site.probe()
            print("the station's probe:", json.dumps(found), flush=True)
            media = "import aiortc, gateway_agent.webrtc.session; print('aiortc', aiortc.__version__)"
            print(site.run("gw2-desk", "python", "-c", media).stdout.strip())
            _say(engine, site)
        finally:
            engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
