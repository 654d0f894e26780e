#!/bin/sh
# Builds build/holdfast_VERSION_ARCHITECTURE.deb: the product with all that it needs of PyPI in /opt/holdfast, its units,
# manual pages and completion. Debian's own Python runs it, of the version that it was built with.
#
#   tools/debian/build.sh [EXTRA,...]    extras of pyproject.toml to pack besides, as "web,postgres"
#   DEB_COMPRESSION=gzip                 larger and sooner ready than xz
#
# Progress goes to standard error, the path of the package to standard output. Nothing is installed.
set -eu
cd "$(dirname "$0")/../.."
say() { printf '%s\n' "deb: $*" >&2; }
fail() { say "$*"; exit 1; }

command -v dpkg-deb >/dev/null || fail "packages are built on Debian: there is no dpkg-deb here"
[ -x .venv/bin/click-man ] || fail "click-man is not there, which makes the manual pages: run 'make check' once"
extras=${1:+[$1]}
python=/usr/bin/python3
home=/opt/holdfast
version=$(.venv/bin/python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
architecture=$(dpkg --print-architecture)
minor=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$($python -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
stage=build/debian/holdfast
rm -rf "$stage" build/lib build/bdist.*  # setuptools packs what an older build has left there
mkdir -p "$stage/DEBIAN" "$stage/usr/bin"
umask 022
chmod 755 build/debian "$stage" "$stage/DEBIAN" "$stage/usr" "$stage/usr/bin"

say "installing the packages that it needs into the image of $home"
$python -m venv "$stage$home"
"$stage$home/bin/python" -m pip install --disable-pip-version-check --no-compile -q ".$extras" >&2 ||
    fail "pip could not install it: its words are above"
"$stage$home/bin/python" -m pip uninstall --disable-pip-version-check -q -y pip setuptools >&2
# The environment was made in the image and is used at its place: the paths in it are those of its place.
find "$stage$home" -name __pycache__ -prune -exec rm -rf {} +
grep -rlIF "$PWD/$stage$home" "$stage$home" | xargs -r sed -i "s|$PWD/$stage$home|$home|g"
rm -f "$stage$home"/bin/activate* "$stage$home"/bin/Activate* "$stage$home"/.gitignore
find "$stage$home" -name direct_url.json -delete
! grep -rqIF "$PWD" "$stage$home" || fail "a path of this machine is left in the image"

for program in b2bua gateway-agent heartbeat; do
    ln -s "$home/bin/$program" "$stage/usr/bin/$program"
    variable=_$(printf '%s' "$program" | tr 'a-z-' 'A-Z_')_COMPLETE
    for shell in bash zsh fish; do
        case $shell in
            bash) file=usr/share/bash-completion/completions/$program ;;
            zsh) file=usr/share/zsh/vendor-completions/_$program ;;
            fish) file=usr/share/fish/vendor_completions.d/$program.fish ;;
        esac
        mkdir -p "$stage/$(dirname $file)"
        env "$variable=${shell}_source" .venv/bin/$program >"$stage/$file"
    done
    mkdir -p "$stage/usr/share/man/man1"
    .venv/bin/click-man --target "$stage/usr/share/man/man1" "$program" >&2
done
gzip -9n "$stage"/usr/share/man/man1/*

install -D -m 644 -t "$stage/usr/lib/systemd/system" examples/systemd/*.service
install -D -m 644 tools/debian/sysusers.conf "$stage/usr/lib/sysusers.d/holdfast.conf"
doc=$stage/usr/share/doc/holdfast
install -D -m 644 -t "$doc" README.md
install -D -m 644 LICENSE "$doc/copyright"
install -D -m 644 -t "$doc/docs" docs/*.md docs/*.yaml
install -D -m 644 -t "$doc/examples" examples/*.toml

install -D -m 644 -t "$stage/usr/share/holdfast/webphone" examples/webphone/*

for script in postinst prerm postrm; do
    install -m 755 tools/debian/$script "$stage/DEBIAN/$script"
done
cat >"$stage/DEBIAN/control" <<CONTROL
Package: holdfast
Version: $version
Architecture: $architecture
Maintainer: The Holdfast developers <holdfast@localhost>
Depends: python3 (>= $minor), python3 (<< $next), adduser
Recommends: systemd
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Section: comm
Priority: optional
Description: pair of SIP call servers that keeps every call when one dies
 A main and a stand-by back-to-back user agent connect calls between gateway
 agents, which stand in front of SIP trunks, PBXs, phones and browsers. The
 servers copy nothing to each other: when one dies, the other asks the agents
 for their dialogs, and calls go on, those that ring and those on hold too.
CONTROL

say "packing"
package=build/holdfast_${version}_$architecture.deb
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$stage" "$package" >&2
rm -rf build/debian
echo "$package"
