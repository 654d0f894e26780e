#!/bin/sh
# Installs what the targets of the Makefile need, once. It changes the system only by apt, and only where it must.
#
#   tools/setup.sh product [PROGRAM]  a virtual environment in .venv with this project, made by the Python PROGRAM
#   tools/setup.sh python [PROGRAM]   the same, with the tools that check and test it
#   tools/setup.sh programs           programs that tests drive: SIPp (Debian: sip-tester)
#   tools/setup.sh peers              what some tests want besides and say when it is missing: promtool; as root also nft,
#                                     tshark, Asterisk 22 in a chroot in the user's cache directory, and other peers
#                                     unpacked there
#   tools/setup.sh browser            headless Chromium, and JsSIP and SIP.js (npm) in one file each, for the tests of calls
#                                     from pages and for examples/webphone
#   tools/setup.sh images             what builds images without Docker (tools/images.sh): buildah, debootstrap
#   tools/setup.sh promtool           Prometheus' checker of rules, out of Debian's package, into the user's cache directory
#
# Progress goes to standard error, so that `make demo ARGS='--format json'` prints JSON only.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# apt_install PACKAGE... : as root or by sudo without a password; returns 1 where neither may be had.
apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        as_root="sudo -n"
    fi
    say "installing $* by apt"
    # The lists of a fresh machine are missing or old; a mirror that fails must not hide one that works.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q update >&2 || true
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -q install -y \
        --no-install-recommends "$@" >&2
}

fits() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# set_up_python EXTRAS STAMP [PROGRAM] : .venv with the project and these extras ("" or "[NAME,...]"), and .venv/STAMP
set_up_python() {
    extras=$1 stamp=$2
    shift 2
    # The distribution's Python is built with profile-guided optimisation, and mended when something is found. One that
    # was compiled by hand and stands before it on the path often is not: a call costs a fifth more there.
    python=${1:-/usr/bin/python3}
    [ -n "$1" ] || fits "$python" || python=python3
    if ! command -v "$python" >/dev/null; then
        [ "$python" = python3 ] && apt_install python3 python3-venv && command -v python3 >/dev/null ||
            fail "there is no $python: run 'apt-get install python3 python3-venv', or 'make PYTHON=/path/to/python3.11'"
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" -V 2>&1), but 3.11 or newer is needed: run 'make PYTHON=/path/to/python3.11'"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3-venv && "$python" -c 'import ensurepip, venv' ||
            fail "$python cannot make virtual environments: run 'apt-get install python3-venv' as root"
    fi
    # One that was broken off half-way, or whose Python is gone, is made again.
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "making a virtual environment in .venv"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    say "installing Python packages into .venv (a minute at the first time)"
    for attempt in 1 2 3; do
        if .venv/bin/python -m pip install --disable-pip-version-check -e ".$extras" >.venv/setup.log 2>&1; then
            touch ".venv/$stamp"
            say "ready"
            return
        fi
        say "pip failed (attempt $attempt of 3)"
        sleep 3
    done
    tail -n 15 .venv/setup.log >&2
    fail "the Python packages could not be installed: pip's words are above, all of them in .venv/setup.log"
}

set_up_programs() {
    if ! command -v sipp >/dev/null; then
        apt_install sip-tester && command -v sipp >/dev/null ||
            fail "the tests need SIPp: run 'apt-get install sip-tester' as root, then again"
    fi
}

set_up_peers() {
    set_up_promtool
    if [ "$(id -u)" -ne 0 ]; then
        say "not root: tests that drop packets, read captures or need Asterisk will be skipped"
        return
    fi
    for pair in nft:nftables debootstrap:debootstrap unshare:util-linux tshark:tshark chromium:chromium sqlite3:sqlite3 \
        systemd-analyze:systemd jq:jq curl:curl; do
        command -v "${pair%:*}" >/dev/null || apt_install "${pair#*:}" || say "no ${pair#*:}: some tests will be skipped"
    done
    tests/peers/asterisk/install.sh >/dev/null || say "no Asterisk: its tests will be skipped"
    for packages in "kamailio kamailio kamailio-tls-modules" "baresip baresip-core" "nsd nsd" "sipsak sipsak" \
        "sipvicious sipvicious" "postgresql postgresql" "coturn coturn" "linphone linphone-cli" \
        "rtpengine rtpengine-daemon" "redis redis-server redis-tools"; do
        # shellcheck disable=SC2086 # words
        tests/peers/unpack.sh $packages >/dev/null || say "no ${packages%% *}: its tests will be skipped"
    done
    (set_up_browser) || say "no browser: its tests will be skipped"
}

# Pages load each library as one file; npm has them as many.
set_up_browser() {
    command -v chromium >/dev/null || apt_install chromium && command -v chromium >/dev/null ||
        fail "there is no Chromium: run 'apt-get install chromium' as root"
    into=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}/webphone
    if [ -s "$into/jssip.js" ] && [ -s "$into/sip.js" ]; then return; fi
    command -v npm >/dev/null || apt_install npm && command -v npm >/dev/null ||
        fail "there is no npm: run 'apt-get install npm' as root"
    half=$into.part
    rm -rf "$half" && mkdir -p "$half"
    if (cd "$half" && echo '{"private": true}' >package.json &&
        npm install --no-audit --no-fund jssip@3 sip.js@0.21 esbuild@0.25 &&
        npx esbuild node_modules/jssip/lib/JsSIP.js --bundle --minify --global-name=JsSIP --outfile=jssip.js &&
        echo 'export * from "sip.js"' |
        npx esbuild --bundle --minify --global-name=SIP --outfile=sip.js) >"$into.log" 2>&1; then
        mkdir -p "$into" && mv "$half"/jssip.js "$half"/sip.js "$into" && rm -rf "$half"
    else
        rm -rf "$half"
        fail "no JsSIP and SIP.js: npm's words are in $into.log"
    fi
}

set_up_images() {
    for program in buildah debootstrap; do
        command -v "$program" >/dev/null || apt_install "$program" && command -v "$program" >/dev/null ||
            fail "there is no $program: run 'apt-get install $program' as root"
    done
}

# Unpacked, not installed: the package would start a Prometheus.
set_up_promtool() {
    into=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}/prometheus
    if command -v promtool >/dev/null || [ -x "$into/usr/bin/promtool" ]; then return; fi
    half=$into.part
    rm -rf "$half" && mkdir -p "$half"
    # The package lists of a fresh machine are missing.
    if (cd "$half" && { apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }; } &&
        dpkg-deb -x ./*.deb .) >"$into.log" 2>&1; then
        rm -rf "$half"/*.deb && mv "$half" "$into"
    else
        rm -rf "$half"
        say "no promtool: its tests will be skipped (see $into.log)"
    fi
}

case ${1:-} in
    product) set_up_python "" product "${2:-}" ;;
    python) set_up_python "[test,check]" installed "${2:-}" ;;
    programs) set_up_programs ;;
    peers) set_up_peers ;;
    browser) set_up_browser ;;
    images) set_up_images ;;
    promtool) set_up_promtool ;;
    *) fail "say 'tools/setup.sh product', 'python', 'programs', 'peers', 'browser', 'images' or 'promtool'" ;;
esac
