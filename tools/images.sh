#!/bin/sh
# Builds the images of docker/Dockerfile without a Docker daemon and without a registry: buildah runs its steps in a chroot,
# on a base that debootstrap makes from the mirror of this machine. As root; some ten minutes at the first time.
#
#   tools/images.sh [TARGET...]    the targets of the Dockerfile, all that run if none is said; prints name and size of each
#   tools/images.sh run WORDS      buildah on the store of these images
#
# All is kept in the user's cache directory, layers too: what has not changed is not built again.
set -eu
cd "$(dirname "$0")/.."
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}/images
say() { printf '%s\n' "images: $*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "images are built as root: their files belong to several users"
for program in buildah debootstrap; do
    command -v "$program" >/dev/null || fail "there is no $program: run 'tools/setup.sh images', or 'apt-get install $program'"
done
umask 022
mkdir -p "$cache"
store() { buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver overlay "$@"; }

if [ "${1:-}" = run ]; then
    shift
    store "$@"
    exit
fi

# base SUITE: what a registry calls debian:SUITE-slim, as localhost/debian:SUITE. The authorities that this machine's
# administrator trusts, as a proxy's, are put where ca-certificates finds them.
base() {
    if store images --quiet "localhost/debian:$1" >/dev/null 2>&1; then return; fi
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1)
    half=$cache/$1.part
    rm -rf "$half"
    say "making a base of Debian $1 (once)"
    debootstrap --variant=minbase "$1" "$half" "${mirror:-http://deb.debian.org/debian}" >"$cache/$1.log" 2>&1 ||
        fail "debootstrap failed: see $cache/$1.log"
    rm -rf "$half"/var/cache/apt/archives/*.deb "$half"/var/lib/apt/lists/* "$half"/usr/share/doc/* "$half"/usr/share/man/*
    # A mirror may serve a frozen sid, whose Release file is past its date; signatures are checked all the same.
    printf 'Acquire::Check-Valid-Until "false";\n' >"$half/etc/apt/apt.conf.d/80frozen"
    if [ -d /usr/local/share/ca-certificates ]; then
        mkdir -p "$half/usr/local/share/ca-certificates"
        cp -r /usr/local/share/ca-certificates/. "$half/usr/local/share/ca-certificates"
    fi
    made=$(store from scratch)
    store add --quiet "$made" "$half" / >/dev/null
    store config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$made"
    store commit --quiet --rm "$made" "localhost/debian:$1" >/dev/null
    rm -rf "$half"
}

[ $# -gt 0 ] || set -- server agent agent-media relay asterisk
base bookworm
for target; do
    if [ "$target" = asterisk ]; then base sid; fi
    say "building $target"
    store build --quiet --isolation chroot --format docker --layers -f docker/Dockerfile \
        --ignorefile docker/Dockerfile.dockerignore --build-arg BASE=localhost/debian:bookworm \
        --build-arg ASTERISK_BASE=localhost/debian:sid --target "$target" -t "holdfast-$target" . \
        >"$cache/$target.log" 2>&1 || { tail -n 20 "$cache/$target.log" >&2; fail "$target was not built: see $cache/$target.log"; }
done
store images --format '{{.Name}} {{.Size}}' | sed -n 's/^localhost\///p' | sort
