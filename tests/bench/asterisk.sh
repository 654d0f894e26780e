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
case $host in 127.*) ;; *) fail "only a loopback address, not $host" ;; esac

modules=$(cd "$AST_ROOT" && ls -d usr/lib/*/asterisk/modules usr/lib/asterisk/modules 2>/dev/null | head -1)
for name in etc db keys spool log run; do rm -rf "${dir:?}/$name"; mkdir "$dir/$name"; done
# Asterisk looks its own host name up for every call: without this line that is two blocking DNS queries.
printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$AST_ROOT/etc/hosts"
cd "$dir/etc"
cat >asterisk.conf <<E
[directories]
astetcdir => /mnt/etc
astmoddir => /$modules
astvarlibdir => /mnt
astdbdir => /mnt/db
astkeydir => /mnt/keys
astdatadir => /usr/share/asterisk
astspooldir => /mnt/spool
astrundir => /mnt/run
astlogdir => /mnt/log
astsbindir => /usr/sbin
[options]
verbose = 0
debug = 0
maxfiles = $(ulimit -Hn)
E
printf '[general]\n[logfiles]\nmessages => warning,error\n' >logger.conf
{
    printf '[modules]\nautoload=no\n'
    for module in res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd res_pjproject \
        res_geolocation res_rtp_asterisk res_pjsip res_pjsip_session res_pjsip_pubsub res_pjsip_sdp_rtp \
        res_pjsip_endpoint_identifier_ip res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_nat \
        res_pjsip_rfc3326 chan_pjsip pbx_config app_dial bridge_simple bridge_native_rtp codec_ulaw; do
        [ -e "$AST_ROOT/$modules/$module.so" ] && echo "load = $module.so"
    done
} >modules.conf
printf '[general]\nrtpstart=10000\nrtpend=60000\nstrictrtp=no\nicesupport=no\n' >rtp.conf
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
for name in geolocation features acl ccss udptl indications codecs pjproject sorcery dnsmgr; do : >"$name.conf"; done
for name in cdr cel; do printf '[general]\nenable=no\n' >"$name.conf"; done
for name in manager http; do printf '[general]\nenabled=no\n' >"$name.conf"; done
ulimit -n "$(ulimit -Hn)"

# In a mount namespace of its own, which ends with the process: /proc and /dev, and DIRECTORY as /mnt.
exec unshare -m sh -eu -c '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --bind "$2" "$1/mnt"
    cd /
    exec chroot "$1" /usr/sbin/asterisk -C /mnt/etc/asterisk.conf -f' sh "$AST_ROOT" "$dir"
