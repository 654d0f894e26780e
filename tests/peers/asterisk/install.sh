#!/bin/sh
# Asterisk 22 for the interop tests: Debian 12 has none, so it comes from Debian sid, into a chroot of its own under the
# user's cache directory. Needs root and debootstrap; a few minutes and 600 MB at the first time, nothing after that.
#
#   install.sh            installs, unless it is there; prints the chroot's path
#   AST_SUITE, AST_MIRROR another suite or mirror; left out: sid, and the Debian mirror that this machine's apt uses
#   AST_ROOT              another place for the chroot
set -eu
. "$(dirname "$0")/common.sh"

[ -x "$AST_ROOT/usr/sbin/asterisk" ] && { echo "$AST_ROOT"; exit 0; }
[ "$(id -u)" -eq 0 ] || fail "installing Asterisk into a chroot needs root"
command -v debootstrap >/dev/null || fail "installing Asterisk needs debootstrap: apt-get install debootstrap"
command -v unshare >/dev/null || fail "installing Asterisk needs unshare: apt-get install util-linux"

if [ -z "${AST_MIRROR:-}" ]; then
    AST_MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1)
    AST_MIRROR=${AST_MIRROR:-http://deb.debian.org/debian}
fi
mkdir -p "$CACHE"
exec 9>"$CACHE/asterisk.lock"
flock 9
[ -x "$AST_ROOT/usr/sbin/asterisk" ] && { echo "$AST_ROOT"; exit 0; }

# Under another name until it is whole: what was broken off half-way is never taken for an Asterisk.
half=$AST_ROOT.part
log=$CACHE/asterisk-install.log
rm -rf "$half"
say "installing Asterisk from Debian $AST_SUITE into $AST_ROOT (a few minutes, once)"
debootstrap --variant=minbase "$AST_SUITE" "$half" "$AST_MIRROR" >"$log" 2>&1 </dev/null 9>&- ||
    { tail -5 "$log" >&2; fail "debootstrap failed: see $log"; }
printf '#!/bin/sh\nexit 101\n' >"$half/usr/sbin/policy-rc.d"
chmod +x "$half/usr/sbin/policy-rc.d"
cp -L /etc/resolv.conf "$half/etc/resolv.conf"
# In a mount namespace of its own: /proc and /dev go with it, there is nothing to unmount. A mirror may serve a frozen
# sid whose Release file is past its Valid-Until; signatures are checked all the same.
unshare -m sh -eu -c '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    chroot "$1" apt-get -o Acquire::Check-Valid-Until=false -q update
    chroot "$1" apt-get install -q -y --no-install-recommends asterisk
    chroot "$1" apt-get clean
' sh "$half" >>"$log" 2>&1 </dev/null 9>&- || { tail -5 "$log" >&2; fail "apt failed in the chroot: see $log"; }
mv "$half" "$AST_ROOT"
say "$(chroot "$AST_ROOT" asterisk -V) is in $AST_ROOT ($(du -sm "$AST_ROOT" | cut -f1) MB)"
echo "$AST_ROOT"
