"""``docker/`` and what is installed: what can be known of images, compose file, manifests and rules without a Docker
daemon or a cluster. Their commands are started as processes, on a site file that differs by its addresses only."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import yaml

from b2bua import cli as b2bua_cli
from examples.demo_processes import Processes
from heartbeat.site import load as sites
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.values import Endpoint
from tests.interop import asterisk
from tests.interop.compose import (
    COMPOSE,
    DOCKER,
    NODES,
    SERVICES,
    STAGES,
    ComposeSite,
    address,
    command_of,
    target_of,
)
from tests.interop.postgres import Postgres
from tests.interop.programs import network, until

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"
CACHE = Path(os.environ.get("HOLDFAST_CACHE") or CACHE)
RUN_AS = "10001:10001"
NET = "172.30.0."
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# -- the Dockerfile --------------------------------------------------------------------------------------------------

RUNNING = ("server", "relay", "agent", "agent-media", "asterisk")


def programs_of(command: list[str]) -> set[str]:
    """Entry points and modules of ours that a command of an image or a manifest names."""
    text = " ".join(command)
    return set(re.findall(r"(?:^|\s)(b2bua|gateway-agent|heartbeat) [a-z]", text)) | set(
        re.findall(r"python -m (\S+)", text)
    )


@pytest.mark.parametrize("name", RUNNING)
def test_an_image_runs_as_nobody_special_under_tini(name: str):
    stage = STAGES[name]
    assert stage.last("USER") in (RUN_AS, "asterisk")
    assert stage.command("ENTRYPOINT") == ["/usr/bin/tini", "--"]
    assert stage.command() and stage.command("HEALTHCHECK")


@pytest.mark.parametrize("name", ["server", "relay", "agent", "agent-media"])
def test_the_commands_of_an_image_are_installed_with_the_product(name: str):
    for command in (STAGES[name].command(), STAGES[name].command("HEALTHCHECK")):
        for program in programs_of(command):
            if "." in program:
                assert (ROOT / (program.replace(".", "/") + ".py")).exists()
            else:
                assert program in PROJECT["project"]["scripts"]
    assert programs_of(STAGES[name].command())


def test_the_build_copies_what_is_there_and_all_that_is_packed():
    copied = [
        source
        for name in ("build", "asterisk")
        for step, text in STAGES[name].steps
        if step == "COPY" and not text.startswith("--from")
        for source in text.split()[:-1]
    ]
    sent = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    for source in copied:
        assert (ROOT / source).exists() and f"!{source}" in sent, source
    packed = {one.rstrip("*") for one in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packed <= set(copied)


def test_all_extras_are_in_an_image():
    """What ends browsers' media and stations are large and, the latter, of another licence: they have an image."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    installed = [found.split(",") for found in re.findall(r"install \S+ --compile '\.\[(\S+)\]'", dockerfile)]
    wanted = set(PROJECT["project"]["optional-dependencies"]) - {"test", "check", "fuzz"}
    assert [set(found) for found in installed] == [wanted - {"web", "station"}, wanted]


def test_hadolint_has_nothing_to_say():
    program = BIN / "hadolint"
    if not program.exists():
        pytest.skip("hadolint is not here: pip install '.[check]'")
    done = subprocess.run(
        [program, "--no-color", "-c", DOCKER / "hadolint.yaml", DOCKER / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


# -- the compose file ------------------------------------------------------------------------------------------------

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


@pytest.fixture(scope="module")
def compose_site() -> Site:
    return sites.load(DOCKER / "site" / "site.toml")


@every_service
def test_a_service_may_do_nothing_that_it_need_not(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    if "build" in service:
        assert service["build"]["target"] in STAGES
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DOCKER / "Dockerfile")
        assert service["image"] == f"holdfast-{service['build']['target']}"
    else:
        assert re.fullmatch(r"\S+:v?\d+\.\d+(?:\.\d+)?", service["image"])
    assert all(one.startswith("127.0.0.1:") for one in service.get("ports", ()))


@every_service
def test_what_a_service_mounts_is_there(name: str):
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert (DOCKER / source).exists() and mode == ["ro"], volume
        else:
            where = "/var/lib/holdfast" if "build" in SERVICES[name] else "/var/lib/postgresql/data"
            assert source in COMPOSE["volumes"] and target == where and source == name.split("-")[0]
    for secret in SERVICES[name].get("secrets", ()):
        assert COMPOSE["secrets"][secret]["file"] == f"./secrets/{secret}"


def test_each_address_of_the_compose_file_is_given_once():
    given = [service["networks"]["site"]["ipv4_address"] for service in SERVICES.values() if "networks" in service]
    (subnet,) = [ip_network(one["subnet"]) for one in COMPOSE["networks"]["site"]["ipam"]["config"]]
    assert len(given) == len(set(given)) and all(ip_address(one) in subnet for one in given)


def test_secrets_sh_makes_what_is_mounted():
    (made,) = re.findall(r"^for name in (.*); do$", (DOCKER / "secrets.sh").read_text(), re.M)
    assert set(made.split()) == set(COMPOSE["secrets"])


def listened(program: Server | Agent) -> set[str]:
    """``PORT/PROTOCOL`` of all that a server or agent listens at, as compose writes it."""
    ends: list[Endpoint] = [*program.sip]
    if isinstance(program, Server):
        ends += [*program.listen, *([program.beat] if program.beat else [])]
        rtp = set()
    else:
        rtp = {"{}-{}/udp".format(*program.rtp.ports)}
    return (
        {f"{end.port}/{'udp' if end.transport == 'udp' else 'tcp'}" for end in ends}
        | rtp
        | {f"{program.api_address.port}/tcp"}
    )


def hosts_of(program: Server | Agent) -> set[str]:
    ends = [*program.sip, *(program.listen if isinstance(program, Server) else ())]
    beat = {program.beat.host} if isinstance(program, Server) and program.beat else set()
    return {end.host for end in ends} | beat | {program.api_address.host}


def test_the_site_of_the_compose_file_is_that_of_its_containers(compose_site: Site):
    programs: dict[str, Server | Agent] = {**compose_site.servers, **compose_site.agents}
    assert programs.keys() == NODES.keys()
    for name, program in programs.items():
        service = SERVICES[name]
        assert hosts_of(program) == {address(name)}
        assert service["environment"]["HOLDFAST_NODE"] == name and service["build"]["target"] == NODES[name]
        exposed = SERVICES[service.get("network_mode", "").removeprefix("service:") or name]["expose"]
        assert set(exposed) == listened(program)
        assert str(program.state) == "/var/lib/holdfast"
    for name in compose_site.agents:
        assert SERVICES[f"{name}-relay"]["environment"] == {"HOLDFAST_NODE": name}
        assert address(f"{name}-relay") == address(name) and SERVICES[f"{name}-relay"]["network_mode"]
        assert SERVICES[f"{name}-relay"]["volumes"][0] in SERVICES[name]["volumes"]
    assert [str(one) for one in compose_site.lines["pbx"].peer] == [f"sip:{address('pbx')}:5060"]
    assert [str(one) for one in compose_site.lines["carrier"].peer] == [f"sip:{address('carrier')}:5060"]


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_node_has_the_secrets_that_it_needs_and_no_others(name: str, tmp_path: Path):
    here = moved(tmp_path, NET, SERVICES[name]["secrets"])
    assert sites.load(here, name).name == "paris"
    for secret in SERVICES[name]["secrets"]:
        kept = (tmp_path / "secrets" / secret).rename(tmp_path / "away")
        with pytest.raises(sites.SiteError):
            sites.load(here, name)
        kept.rename(tmp_path / "secrets" / secret)


@pytest.mark.parametrize("role", ["pbx", "carrier"])
def test_asterisk_is_where_its_line_looks_for_it(role: str, compose_site: Site):
    agent = compose_site.agents[compose_site.lines[role].agent or ""]
    text = (DOCKER / "asterisk" / role / "pjsip.conf").read_text()
    assert f"bind = {address(role)}:5060\n" in text and f"media_address = {address(role)}\n" in text
    assert f"contact = sip:{agent.sip[0].host}:5060\n" in text and f"match = {agent.sip[0].host}\n" in text


def test_the_page_orders_what_there_is():
    page = (ROOT / "docs" / "containers.md").read_text()
    orders = re.findall(
        r"\bdc (exec|kill|start|stop|restart)(?: -s HUP)? ([\w-]+)(?: (b2bua|asterisk) ?([a-z]*))?", page
    )
    assert len(orders) > 20
    for _, service, program, verb in orders:
        assert service in SERVICES
        assert program != "b2bua" or verb in b2bua_cli.main.list_commands(click.Context(b2bua_cli.main))
    for name in RUNNING:
        assert f"| `{name}` |" in page
    for target in re.findall(r"--target ([\w-]+)", page):
        assert target in STAGES


def moved(directory: Path, net: str, names: list[str]) -> Path:
    """The site of the compose file on other addresses, with secrets and state below ``directory``."""
    text = (DOCKER / "site" / "site.toml").read_text()
    for old, new in (
        (NET, net),
        ("/run/secrets", f"{directory}/secrets"),
        ("/var/lib/holdfast", f"{directory}/state"),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "secrets").mkdir()
    (directory / "state").mkdir()
    for name in names:
        path = directory / "secrets" / name
        path.write_text(secrets.token_hex(16))
        path.chmod(0o400)
    (directory / "site.toml").write_text(text)
    return directory / "site.toml"


# -- Prometheus and Grafana ------------------------------------------------------------------------------------------


def metrics() -> dict[str, set[str]]:
    """Each metric of docs/cli.md, which is made from the views, and of docs/stations.md, and its labels."""
    rows = re.findall(
        r"^\| `([a-z_]+)(?:\{([a-z_, ]+)\})?` \| ([a-z]*) ?\|", (ROOT / "docs" / "cli.md").read_text(), re.M
    )
    own = {"server": {"node"}, "agent": {"agent"}, "": {"node", "agent"}}
    stations = re.findall(r"`(holdfast_(?:station|probe)_\w+)`", (ROOT / "docs" / "stations.md").read_text())
    return {
        f"holdfast_{name}": {"site", *filter(None, labels.split(", ")), *own[of]}
        for name, labels, of in rows
        if of in own
    } | {name: {"site", "agent", "station"} for name in stations}


def expressions() -> Iterator[tuple[str, str]]:
    """All expressions of the rules and of the dashboard, with what else speaks of their labels."""
    for group in yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"], " ".join(rule["annotations"].values())
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for one in dashboard()["annotations"]["list"]:
        yield one["expr"], one["titleFormat"] + one["textFormat"]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "holdfast.json").read_text())
    return found


def test_rules_and_dashboard_ask_for_metrics_that_exist():
    known = metrics()
    assert len(known) > 40 and known["holdfast_calls"] == {"site", "node", "agent", "state"}
    for expression, shown in expressions():
        named = set(re.findall(r"\b(?:holdfast_\w+|up)\b", expression))
        assert named, expression
        labels = {"instance", "job"}
        for name in named:
            name = name.removesuffix("_bucket")
            if not name.startswith(("holdfast_process_", "up")):
                assert name in known, f"{name} in {expression}"
                labels |= known[name]
        used = set(re.findall(r"\$labels\.(\w+)|\{\{(\w+)\}\}", shown)) | set(
            re.findall(r"(\w+)(?:=~?|!=)\"()", expression)
        )
        assert {one or other for one, other in used} <= labels, expression


def test_prometheus_asks_each_node_at_its_api(compose_site: Site):
    (job,) = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    programs = [*compose_site.servers.values(), *compose_site.agents.values()]
    assert job["static_configs"][0]["targets"] == [
        f"{one.api_address.host}:{one.api_address.port}" for one in programs
    ]
    for path in (job["authorization"]["credentials_file"], *(str(one.api_token) for one in programs)):
        assert "/run/secrets/api_token" in path
    assert "api_token" in SERVICES["prometheus"]["secrets"] and SERVICES["prometheus"]["user"] == RUN_AS


def test_grafana_finds_prometheus_and_the_dashboard():
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == f"http://{address('prometheus')}:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "holdfast.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/holdfast.json"
    for panel in dashboard()["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def promtool(*words: str | Path) -> None:
    program = shutil.which("promtool") or shutil.which("promtool", path=str(CACHE / "prometheus" / "usr" / "bin"))
    if program is None:
        pytest.skip("promtool is not here: tools/setup.sh promtool, or apt-get install prometheus")
    done = subprocess.run([program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules_and_they_fire_when_they_should():
    promtool("check", "rules", ROOT / "docs" / "alerts.yaml")
    promtool("test", "rules", ROOT / "tests" / "alerts.yaml")


def test_promtool_takes_the_configuration(tmp_path: Path):
    text = (DOCKER / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "api_token").write_text("a token")
    text = text.replace("/run/secrets", str(tmp_path)).replace(
        "/etc/prometheus/alerts.yaml", f"{ROOT}/docs/alerts.yaml"
    )
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", tmp_path / "prometheus.yml")


# -- Kubernetes ------------------------------------------------------------------------------------------------------

KUBERNETES = DOCKER / "kubernetes"
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
MANIFESTS = [
    one for file in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((KUBERNETES / file).read_text())
]
PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in MANIFESTS
    if "template" in one["spec" if "spec" in one else "metadata"]
}


def test_the_manifests_fit_the_schemas_of_kubernetes():
    schemas = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not here: pip install '.[check]'"
    )
    for manifest in MANIFESTS:
        schemas.validate(manifest, "1.31", strict=True)
    assert {file.name for file in KUBERNETES.glob("*.yaml")} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_the_pods_are_those_of_the_site():
    site = sites.load(KUBERNETES / "site.toml")
    assert PODS.keys() == {*site.servers, "agents"}
    for name, pod in PODS.items():
        program = site.servers.get(name) or next(iter(site.agents.values()))
        assert pod["hostNetwork"] and pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(RUN_AS.partition(":")[0])
        assert pod["securityContext"]["fsGroup"] == int(RUN_AS.partition(":")[2])
        secret = next(one["secret"] for one in pod["volumes"] if "secret" in one)
        assert not secret["defaultMode"] & 0o007, "status would warn of a key that everybody may read"
        for container in pod["containers"]:
            assert container["image"].removeprefix("holdfast-") in STAGES
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["requests"] == container["resources"]["limits"]
            mounts = {one["name"] for one in container["volumeMounts"]}
            assert mounts <= {one["name"] for one in pod["volumes"]} | {"state"}
        main = pod["containers"][-1]
        ports = {f"{one['containerPort']}/{one['protocol'].lower()}" for one in main["ports"]}
        assert ports == {one for one in listened(program) if "-" not in one}
        assert main["readinessProbe"]["httpGet"] == {"path": "/health", "port": "api"}
        stage = STAGES[main["image"].removeprefix("holdfast-")]
        assert main["livenessProbe"]["exec"]["command"] == stage.command("HEALTHCHECK")
    apart = [
        PODS[name]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
        for name in site.servers
    ]
    assert all(one["topologyKey"] == "kubernetes.io/hostname" for one in apart)
    assert KUSTOMIZATION["configMapGenerator"] == [{"name": "site", "files": ["site.toml"]}]


# -- the commands of the images, as processes ------------------------------------------------------------------------


class Here:
    """What compose would start as processes of this machine, on other addresses, each with the command of its image.
    Asterisk is that of the interop tests, in its chroot."""

    def __init__(self, directory: Path) -> None:
        self.net = network()
        self.directory = directory
        self.site = moved(directory, self.net, list(COMPOSE["secrets"]))
        self.processes = Processes(directory)
        self._enter: dict[str, list[str]] = {}
        """The words before a command in one of the chroots."""

    def _environment(self, name: str) -> dict[str, str]:
        environment = SERVICES[name].get("environment", {})
        return {**environment, "HOLDFAST_SITE": str(self.site), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def start(self, name: str) -> None:
        if target_of(name) == "asterisk":
            self._start_asterisk(name)
            return
        words = [f"{key}={value}" for key, value in self._environment(name).items()]
        self.processes.start(name, ["env", *words, *command_of(name)], directory=self.directory / "state")

    def _start_asterisk(self, name: str) -> None:
        """With the configuration of its image, that of docker/asterisk, as /etc/asterisk; it writes to memory."""
        root = subprocess.run([asterisk.SCRIPTS / "install.sh"], capture_output=True, text=True).stdout.strip()
        etc = self.directory / name
        shutil.copytree(DOCKER / "asterisk" / "common", etc)
        shutil.copytree(DOCKER / "asterisk" / name, etc / "role")
        for file in (etc / "role").iterdir():
            file.write_text(file.read_text().replace(NET, self.net))
        script = """
            mount --make-rprivate /
            mount -t proc proc "$1/proc"
            mount --rbind /dev "$1/dev"
            mount -t tmpfs tmpfs "$1/tmp"
            mount --bind "$2" "$1/etc/asterisk"
            root=$1; shift 2; cd /
            exec chroot "$root" "$@" """
        running = self.processes.start(
            name, ["unshare", "-m", "sh", "-eu", "-c", script, "sh", root, str(etc), *command_of(name)]
        )
        self._enter[name] = ["nsenter", "-t", str(running.pid), "-m", "--", "chroot", root]

    def kill(self, name: str) -> None:
        self.processes.running.pop(name).kill()

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {**os.environ, **self._environment(name)}
        words = [*self._enter.get(name, ()), *command]
        where = self.directory / "state"
        return subprocess.run(words, env=environment, cwd=where, capture_output=True, text=True, timeout=60)

    def get(self, name: str, path: str) -> str:
        token = (self.directory / "secrets" / "api_token").read_text()
        host = address(name).replace(NET, self.net)
        request = urllib.request.Request(f"http://{host}:8080{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def words(self) -> str:
        return f"the site is not up\n{self.processes.last_words()}"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    found = Here(tmp_path)
    with found.processes:
        yield found


@pytest.fixture
def site(here: Here) -> ComposeSite:
    found = ComposeSite(here)
    found.up()
    return found


def test_the_commands_of_the_images_make_a_site_that_survives_a_kill(here: Here, site: ComposeSite):
    assert 'holdfast_active{node="m1",site="paris"} 1.0' in here.get("m1", "/metrics")
    seen = set(re.findall(r"^(holdfast_\w+)", here.get("m1", "/metrics") + here.get("gw2", "/metrics"), re.M))
    assert {"holdfast_peer_heard_seconds", "holdfast_relay_packets_total", "holdfast_line_busy"} <= seen
    site.kill("m1")
    site.until_active("m2")
    assert not site.healthy("m1") and site.healthy("m2")
    site.start("m1")
    site.until_healthy("m1")
    until(lambda: site.status()["servers"]["m1"].get("state") == "standby", 60, here.words, every=0.5)


class Database:
    """The one of the compose file, by Debian's PostgreSQL, at the address of its service."""

    def __init__(self, host: str) -> None:
        self._server = Postgres()
        if self._server.because:
            pytest.skip(self._server.because)
        self._server.start(host)
        with psycopg.connect(self._server.connect, autocommit=True) as asked:
            asked.execute("CREATE DATABASE calls")
        self._calls = self._server.connect.replace("dbname=postgres", "dbname=calls")

    def callees(self) -> list[str]:
        """Of all calls, once there are two."""

        def rows() -> list[str]:
            with psycopg.connect(self._calls) as asked:
                found = asked.execute("SELECT callee FROM holdfast_calls").fetchall()
            return [str(one) for (one,) in found]

        found: list[str] = until(lambda: rows() if len(rows()) > 1 else None, 60, "no records come", every=0.5)
        return found

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def database(here: Here) -> Iterator[Database]:
    found = Database(address("records").replace(NET, here.net))
    yield found
    found.close()


@pytest.mark.interop
def test_the_story_of_the_page(database: Database, site: ComposeSite):
    if why := asterisk.missing():
        pytest.skip(why)
    site.tell_the_story()
    assert sorted(database.callees()) == ["0140506071", "2000"]
    if find_spec("pjsua2") is None:
        pytest.skip("the last step needs pjsua2: pip install '.[test]', where it has wheels")
    found = site.probe()
    assert found["heard"] >= 3 and site.healthy("gw2-desk")


# -- wheel and sdist -------------------------------------------------------------------------------------------------


def test_wheel_and_sdist_hold_the_product_alone_and_install(tmp_path: Path):
    pytest.importorskip("build", reason="build is not here: pip install '.[test]'")
    (needed,) = PROJECT["build-system"]["requires"]
    if int(metadata.version("setuptools").partition(".")[0]) < int(needed.partition(">=")[2]):
        pytest.skip(f"{needed} is not here: pip install '.[test]'")
    copy = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    # Without isolation: a test asks no package index.
    build = [sys.executable, "-m", "build", "--no-isolation", "-o", tmp_path / "dist", copy]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    packages = {"sip", "heartbeat", "b2bua", "gateway_agent"}
    with zipfile.ZipFile(wheel) as packed:
        held = packed.namelist()
    assert {name.partition("/")[0] for name in held if ".dist-info/" not in name} == packages
    ours = {str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("*.py")}
    ours |= {f"b2bua/page/{path.name}" for path in (ROOT / "b2bua" / "page").iterdir()}
    assert ours | {f"{package}/py.typed" for package in packages} <= set(held)
    with tarfile.open(sdist) as packed_source:
        assert any(name.endswith("/LICENSE") for name in packed_source.getnames())
    # What it depends on is here already: its own venv sees it, and none of this project's source.
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True)
    (packages_dir,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (own_packages,) = (BIN.parent / "lib").glob("python3*/site-packages")
    (packages_dir / "dependencies.pth").write_text(f"{own_packages}\n")
    where = subprocess.run(
        [python, "-c", "import b2bua; print(b2bua.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert where.stdout.startswith(str(packages_dir))
    for program in PROJECT["project"]["scripts"]:
        done = subprocess.run([tmp_path / "venv" / "bin" / program, "--version"], capture_output=True, text=True)
        assert PROJECT["project"]["version"] in done.stdout, done.stderr
