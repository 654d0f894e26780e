#!/bin/sh
# up.sh pbx|carrier DIRECTORY: Asterisk in the foreground, from the chroot that install.sh made. What it writes goes below
# DIRECTORY. Root only. These say where and for whom:
#
#   AST_ADDRESS     host:port to listen at; loopback
#   AST_AGENT       host:port of the gateway agent: its calls are taken, and calls to it go there (pbx)
#   AST_USER, AST_PASSWORD   carrier: the account with which the agent registers, calls, and where it is called
#   AST_RTP         first-last port of its media; left out: 10000-10999
#
# What it does with a call: 2600 echoes; 2601 sends early media first, answers after a second, echoes; 2602 rings, echoes
# and hangs up after AST_HANGUP seconds (8); 2603 rings for ever.
set -eu
. "$(dirname "$0")/common.sh"
role=$1
dir=$(cd "$2" && pwd)
host=${AST_ADDRESS%:*}
agent=${AST_AGENT%:*}
rtp=${AST_RTP:-10000-10999}
case $role in pbx | carrier) ;; *) fail "say pbx or carrier, not $role" ;; esac
case $host in 127.*) ;; *) fail "only a loopback address, not $host" ;; esac
[ -x "$AST_ROOT/usr/sbin/asterisk" ] || fail "there is no Asterisk in $AST_ROOT: run install.sh"

modules=$(cd "$AST_ROOT" && ls -d usr/lib/*/asterisk/modules usr/lib/asterisk/modules 2>/dev/null | head -1)
mkdir -p "$dir/etc" "$dir/db" "$dir/keys" "$dir/spool" "$dir/log" "$dir/run"
# Asterisk looks its own host name up for every call: without this line that is two blocking DNS queries.
printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$AST_ROOT/etc/hosts"
cd "$dir/etc"
cat >asterisk.conf <<E2
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
verbose = 3
E2
printf '[general]\n[logfiles]\nmessages => notice,warning,error\n' >logger.conf
# Only what these calls need: no CDR, no CEL, no AMI, no HTTP. chan_pjsip needs pubsub and an empty geolocation.conf.
{
    printf '[modules]\nautoload=no\n'
    for module in res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd res_pjproject \
        res_geolocation res_rtp_asterisk res_pjsip res_pjsip_session res_pjsip_pubsub res_pjsip_sdp_rtp \
        res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user res_pjsip_authenticator_digest \
        res_pjsip_registrar res_pjsip_caller_id res_pjsip_nat res_pjsip_rfc3326 res_pjsip_dtmf_info chan_pjsip \
        res_clioriginate pbx_config app_dial app_echo func_timeout bridge_simple codec_ulaw; do
        [ -e "$AST_ROOT/$modules/$module.so" ] && echo "load = $module.so"
    done
} >modules.conf
cat >rtp.conf <<E2
[general]
rtpstart=${rtp%-*}
rtpend=${rtp#*-}
strictrtp=no
icesupport=no
E2
cat >pjsip.conf <<E2
[global]
type=global
user_agent=Asterisk
[udp]
type=transport
protocol=udp
bind=$AST_ADDRESS
[agent]
type=identify
endpoint=agent
match=$agent
[agent]
type=endpoint
context=in
disallow=all
allow=ulaw
direct_media=no
media_address=$host
bind_rtp_to_media_address=yes
E2
if [ "$role" = carrier ]; then
    # A REGISTER names the account in its To, which here is the name of an address of record.
    cat >>pjsip.conf <<E2
aors=$AST_USER
auth=agent
[agent]
type=auth
auth_type=userpass
username=$AST_USER
password=$AST_PASSWORD
[$AST_USER]
type=aor
max_contacts=1
remove_existing=yes
minimum_expiration=10
E2
else
    cat >>pjsip.conf <<E2
aors=agent
[agent]
type=aor
contact=sip:$AST_AGENT
E2
fi
cat >extensions.conf <<E2
[in]
exten => 2600,1,Answer()
 same => n,Echo()
exten => 2601,1,Progress()
 same => n,Wait(1)
 same => n,Answer()
 same => n,Echo()
exten => 2602,1,Ringing()
 same => n,Wait(1)
 same => n,Answer()
 same => n,Set(TIMEOUT(absolute)=${AST_HANGUP:-8})
 same => n,Echo()
exten => 2603,1,Ringing()
 same => n,Wait(120)
E2
for name in geolocation features acl ccss udptl indications codecs pjproject sorcery dnsmgr; do : >"$name.conf"; done
for name in cdr cel; do printf '[general]\nenable=no\n' >"$name.conf"; done
for name in manager http; do printf '[general]\nenabled=no\n' >"$name.conf"; done

# In a mount namespace of its own, which ends with the process: /proc and /dev, and DIRECTORY as /mnt.
exec unshare -m sh -eu -c '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --bind "$2" "$1/mnt"
    cd /
    exec chroot "$1" /usr/sbin/asterisk -C /mnt/etc/asterisk.conf -f' sh "$AST_ROOT" "$dir"
