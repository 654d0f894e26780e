#!/bin/sh
# unpack.sh NAME PACKAGE...: Debian packages, with what they need and this machine has not, unpacked into a directory of that name
# in the user's cache directory, which it prints. To install them would start their daemons. Needs no root; nothing is done
# where it is done already.
set -eu
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
name=$1
shift
into=$cache/$name
if [ -d "$into" ]; then echo "$into"; exit 0; fi
mkdir -p "$cache"
exec 9>"$cache/$name.lock"
flock 9
if [ -d "$into" ]; then echo "$into"; exit 0; fi
echo "unpacking $* into $into (once)" >&2
half=$into.part
log=$cache/$name.log
rm -rf "$half"
mkdir "$half"
cd "$half"
{
    # Who has the package installed finds it all the same; the lists of a fresh machine are missing.
    needed() { apt-get -s --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p'; }
    all=$(needed "$@") || { apt-get -q update && all=$(needed "$@"); }
    apt-get -q download $(printf '%s\n' "$@" $all | sort -u)
    for package in *.deb; do dpkg-deb -x "$package" .; done
    rm -f ./*.deb
} >"$log" 2>&1 </dev/null 9>&- || { echo "$* cannot be had: see $log" >&2; exit 1; }
mv "$half" "$into"
echo "$into"
