# Sourced by the scripts that install and start Asterisk. Nothing is written outside $CACHE and the directory given.
CACHE=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
AST_SUITE=${AST_SUITE:-sid}
AST_ROOT=${AST_ROOT:-$CACHE/asterisk-$AST_SUITE}

say() { printf '%s\n' "asterisk: $*" >&2; }
fail() { say "$*"; exit 1; }

# loopback HOST: only there may it listen.
loopback() { case $1 in 127.*) ;; *) fail "only a loopback address, not $1" ;; esac; }

# prepare DIRECTORY VERBOSE LEVELS: its directories, asterisk.conf and logger.conf, and in etc/ what else it wants to
# find. Leaves the shell in etc/.
prepare() {
    [ -x "$AST_ROOT/usr/sbin/asterisk" ] || fail "there is no Asterisk in $AST_ROOT: run install.sh"
    modules=$(cd "$AST_ROOT" && ls -d usr/lib/*/asterisk/modules usr/lib/asterisk/modules 2>/dev/null | head -1)
    for name in etc db keys spool log run; do mkdir -p "$1/$name"; done
    # Asterisk looks its own host name up for every call: without this line that is two blocking DNS queries.
    printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$AST_ROOT/etc/hosts"
    cd "$1/etc"
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
verbose = $2
debug = 0
maxfiles = $(ulimit -Hn)
E2
    printf '[general]\n[logfiles]\nmessages => %s\n' "$3" >logger.conf
    # No CDR, no CEL, no AMI, no HTTP; chan_pjsip needs an empty geolocation.conf.
    for name in geolocation features acl ccss udptl indications codecs pjproject sorcery dnsmgr; do : >"$name.conf"; done
    for name in cdr cel; do printf '[general]\nenable=no\n' >"$name.conf"; done
    for name in manager http; do printf '[general]\nenabled=no\n' >"$name.conf"; done
}

# load MODULE...: these, besides what every call by chan_pjsip needs.
load() {
    printf '[modules]\nautoload=no\n' >modules.conf
    for module in res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd res_pjproject \
        res_geolocation res_rtp_asterisk res_pjsip res_pjsip_session res_pjsip_pubsub res_pjsip_sdp_rtp \
        res_pjsip_endpoint_identifier_ip res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_nat \
        res_pjsip_rfc3326 chan_pjsip pbx_config app_dial bridge_simple codec_ulaw "$@"; do
        if [ -e "$AST_ROOT/$modules/$module.so" ]; then echo "load = $module.so" >>modules.conf; fi
    done
}

# media FIRST LAST: the ports of its RTP; those of its T.38 follow.
media() {
    printf '[general]\nudptlstart=%s\nudptlend=%s\n' "$(($2 + 1))" "$(($2 + 200))" >udptl.conf
    printf '[general]\nrtpstart=%s\nrtpend=%s\nstrictrtp=no\nicesupport=no\n' "$1" "$2" >rtp.conf
}

# run DIRECTORY: becomes that Asterisk, in a mount namespace of its own, which ends with the process: /proc and /dev, and
# DIRECTORY as /mnt.
run() {
    ulimit -n "$(ulimit -Hn)"
    exec unshare -m sh -eu -c '
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --bind "$2" "$1/mnt"
        cd /
        exec chroot "$1" /usr/sbin/asterisk -C /mnt/etc/asterisk.conf -f' sh "$AST_ROOT" "$1"
}
