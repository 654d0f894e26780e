#!/bin/sh
# asterisk.sh DIRECTORY HOST:PORT PEER: Asterisk in the foreground as a plain back-to-back user agent, from the chroot that
# tests/peers/asterisk/install.sh made. It takes every call from its own host and sends it on to PEER (host:port). What it
# writes goes below DIRECTORY. Root only.
#
# asterisk.sh installed: whether it can be run; exit code 0 or 1.
set -eu
. "$(dirname "$0")/../peers/asterisk/common.sh"
if [ "$1" = installed ]; then
    [ "$(id -u)" -eq 0 ] && [ -x "$AST_ROOT/usr/sbin/asterisk" ] && command -v unshare >/dev/null
    exit
fi
dir=$(cd "$1" && pwd)
host=${2%:*}
loopback "$host"
for name in etc db keys spool log run; do rm -rf "${dir:?}/$name"; done
prepare "$dir" 0 warning,error
load bridge_native_rtp
media 10000 60000
cat >pjsip.conf <<E
[global]
type=global
user_agent=Asterisk
[system]
type=system
timer_t1=500
threadpool_initial_size=5
[udp]
type=transport
protocol=udp
bind=$2
[caller]
type=identify
endpoint=caller
match=$host
[caller]
type=endpoint
context=in
disallow=all
allow=ulaw
direct_media=no
media_address=$host
timers=no
[callee]
type=endpoint
context=in
disallow=all
allow=ulaw
direct_media=no
media_address=$host
timers=no
aors=callee
[callee]
type=aor
contact=sip:$3
qualify_frequency=0
E
cat >extensions.conf <<'E'
[in]
exten => _[0-9a-zA-Z].,1,Dial(PJSIP/${EXTEN}@callee,30)
 same => n,Hangup()
E
run "$dir"
