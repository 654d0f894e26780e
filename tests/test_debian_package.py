"""tools/debian: the package is built, installed, upgraded, removed and purged, on this machine's files under an
overlay that is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SITE = """
[site]
name = "paris"
key = { file = "site.key" }
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
state = "/var/lib/holdfast"
[agents.gw1]
sip = ["udp:127.0.0.11:5060"]
state = "/var/lib/holdfast"
[lines.carrier]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 30
"""
_WORLD = """
world=$1
mount -t tmpfs none "$1"
umask 022
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
cp "$2" "$1/root/holdfast.deb"
shift 2
exec chroot "$world/root" sh -euc "$1"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0 or shutil.which("dpkg-deb") is None:
        pytest.skip("a package is tried as root, on Debian")
    copy = tmp_path_factory.mktemp("debian") / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    built = subprocess.run(
        ["sh", "tools/debian/build.sh"],
        cwd=copy,
        env={**os.environ, "DEB_COMPRESSION": "gzip"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return copy / built.stdout.strip()


def in_overlay(package: Path, directory: Path, commands: str) -> list[str]:
    """The lines that ``commands`` say, run as root on a machine like this one on which nothing was installed."""
    world = directory / "world"
    world.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", _WORLD, "sh", world, package, commands],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def test_it_is_installed_with_all_that_it_needs_and_leaves_what_is_the_operators(
    package: Path, tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text(_SITE)
    said = in_overlay(
        package,
        tmp_path,
        f"""
        dpkg -i /holdfast.deb >/dev/null
        b2bua --version; gateway-agent --version; heartbeat --version
        stat -c '%n %a %U %G' /etc/holdfast /etc/holdfast/secrets /var/lib/holdfast
        test -s /usr/share/bash-completion/completions/b2bua
        zcat /usr/share/man/man1/b2bua-status.1.gz | grep -c '^.SH'
        ls /usr/lib/systemd/system/holdfast-server@.service
        test -d /opt/holdfast/lib/python3*/site-packages/sip/__pycache__
        cd /etc/holdfast
        cat >site.toml <<'SITE'
{_SITE}
SITE
        (umask 077; head -c 32 /dev/urandom | base64 >site.key); chown root:holdfast site.*; chmod 640 site.*
        setpriv --reuid holdfast --regid holdfast --init-groups b2bua check --site site.toml --node m1 >/dev/null
        echo check $?
        dpkg -i /holdfast.deb | grep -o 'until each is restarted'
        dpkg -r holdfast >/dev/null
        test ! -e /opt/holdfast; test ! -e /usr/bin/b2bua
        touch /var/lib/holdfast/records
        dpkg -P holdfast | grep -o '/[a-z/]* is not empty'
        ls /etc/holdfast /var/lib/holdfast
        rm -rf /etc/holdfast/* /var/lib/holdfast/*
        dpkg -i /holdfast.deb >/dev/null; dpkg -P holdfast >/dev/null
        test ! -e /etc/holdfast; test ! -e /var/lib/holdfast
        """,
    )
    assert [line.partition(" of ")[0] for line in said[:3]] == ["b2bua", "gateway-agent", "heartbeat"]
    assert said[3:6] == [
        "/etc/holdfast 750 root holdfast",
        "/etc/holdfast/secrets 750 root holdfast",
        "/var/lib/holdfast 750 holdfast holdfast",
    ]
    assert int(said[6]) >= 3
    assert said[7] == "/usr/lib/systemd/system/holdfast-server@.service"
    assert said[8] == "check 0"
    assert said[9:] == [
        "until each is restarted",
        "/etc/holdfast is not empty",
        "/var/lib/holdfast is not empty",
        "/etc/holdfast:",
        "site.key",
        "site.toml",
        "",
        "/var/lib/holdfast:",
        "records",
    ]


_PLAY = """
cd /play
run() { ANSIBLE_LOCALHOST_WARNING=0 ansible-playbook -i hosts examples/ansible/site.yml -e @vars.yml "$@"; }
run -e holdfast_init=true
runuser -u holdfast -- b2bua check --site /etc/holdfast/site.toml --node m1 >/dev/null; echo checked $?
stat -c '%n %a %U %G' /etc/holdfast/site.toml /etc/holdfast/site.key /etc/holdfast/secrets/carrier
cat /etc/holdfast/secrets/carrier; test -s /var/lib/holdfast/m1/epochs.json; test -s site.key
echo again; run | tail -2
sed -i 's/role = "main"/role = "mian"/' site.toml
echo wrong; run 2>&1 | grep -o 'servers.m1.role: must be main or standby' | head -1
grep -c mian /etc/holdfast/site.toml || true
sed -i 's/mian/main/; s/channels = 30/channels = 31/' site.toml
echo file; run --tags file | tail -2; grep channels /etc/holdfast/site.toml
cd examples/ansible; ansible-playbook -i inventory.ini site.yml upgrade.yml --syntax-check
"""


def test_the_playbook_sets_a_machine_up_and_changes_nothing_at_the_second_time(package: Path, tmp_path: Path) -> None:
    ansible = shutil.which("ansible-playbook", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    if ansible is None:
        pytest.skip("there is no ansible-playbook: run 'make setup', or 'apt-get install ansible-core'")
    play = tmp_path / "play"
    shutil.copytree(ROOT / "examples" / "ansible", play / "examples" / "ansible")
    (play / "site.toml").write_text(_SITE + 'user = "331"\npassword = { secret = "carrier" }\n')
    (play / "hosts").write_text(
        "[holdfast]\nhere ansible_connection=local ansible_python_interpreter=/usr/bin/python3 ansible_become=false\n"
        "[holdfast_main]\nhere\n"
    )
    secret = "a word that no log has"
    (play / "vars.yml").write_text(
        f"holdfast_package: /holdfast.deb\nholdfast_site_file: /play/site.toml\nholdfast_key_file: /play/site.key\n"
        f"holdfast_secrets: {{ carrier: '{secret}' }}\nholdfast_servers: [m1]\nholdfast_agents: [gw1]\n"
        "holdfast_start: false\n"
    )
    program = Path(ansible).parent
    said = in_overlay(
        package,
        tmp_path,
        f"cp -r {play} /play; export HOME=/root PATH={program}:$PATH LC_ALL=C.UTF-8; {_PLAY}",
    )
    text = "\n".join(said)
    assert "checked 0" in said, text
    assert [line for line in said if line.startswith("/etc/holdfast/")] == [
        "/etc/holdfast/site.toml 640 root holdfast",
        "/etc/holdfast/site.key 640 root holdfast",
        "/etc/holdfast/secrets/carrier 640 root holdfast",
    ]
    assert text.count(secret) == 1, "it is shown by the test's own cat alone"
    again = said[said.index("again") + 1 : said.index("wrong")]
    assert any("changed=0" in line and "failed=0" in line for line in again), again
    assert said[said.index("wrong") + 1 : said.index("file")] == ["servers.m1.role: must be main or standby", "0"]
    assert any("changed=1" in line and "failed=0" in line for line in said[said.index("file") :]), text
    assert "channels = 31" in said
