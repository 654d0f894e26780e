#!/bin/sh
# conf.sh DIRECTORY PJSIP EXTENSIONS: Asterisk in the foreground with these two files as pjsip.conf and extensions.conf, from
# the chroot that install.sh made. What it writes goes below DIRECTORY. Only in a network namespace made for it.
set -eu
. "$(dirname "$0")/common.sh"
dir=$(cd "$1" && pwd)
[ -z "$(ip route show default)" ] || fail "only in a network namespace of its own, from which no way leads out"
pjsip=$(cat "$2") extensions=$(cat "$3")
prepare "$dir" 3 notice,warning,error
load res_pjsip_endpoint_identifier_user res_pjsip_registrar codec_alaw app_echo
media 10000 10999
printf '%s\n' "$pjsip" >pjsip.conf
printf '%s\n' "$extensions" >extensions.conf
run "$dir"
