#!/bin/sh
# up.sh pbx|carrier DIRECTORY: Asterisk in the foreground, from the chroot that install.sh made. What it writes goes below
# DIRECTORY. Root only. These say where and for whom:
#
#   AST_ADDRESS     host:port to listen at; loopback
#   AST_AGENT       host:port of the gateway agent: its calls are taken, and calls to it go there (pbx)
#   AST_ALSO        hosts whose calls are taken as those of AST_AGENT, with commas between
#   AST_USER, AST_PASSWORD   carrier: the account with which the agent registers, calls, and where it is called
#   AST_TLS         a directory with cert.pem, key.pem and ca.pem: it speaks TLS at AST_ADDRESS and AST_AGENT, shows its
#                   certificate, and wants one of the agent
#   AST_RTP         first-last port of its media; left out: 10000-10999
#   AST_TRANSPORT   udp or tcp; left out: udp
#   AST_ENDPOINT    more lines for the endpoint of the agent
#   AST_MAILBOX     a number that has a mailbox, which may be subscribed to: messages are files in
#                   spool/voicemail/default/NUMBER/INBOX
#
# What it does with a call: 2600 echoes; 2601 sends early media first, answers after a second, echoes; 2602 rings, echoes
# and hangs up after AST_HANGUP seconds (8); 2603 rings for ever; 2604 echoes as early media, and never answers; 2605 is
# busy, 2606 has no circuit; 2607 waits for the digit 5, then echoes, and hangs up at any other; 2608 takes a fax into
# spool/taken.tif, by T.38 where the other side does; 2609 sends the digit 5, then echoes. 2450xxx has the caller transferred to
# 50xxx by REFER; 2850xxx calls 50xxx by way of the agent, and who was called may transfer the call by digits: ## blindly, *2
# after a talk. 2670 is a lamp, which shows the device state Custom:lamp. What it is referred to with Replaces it calls where that is.
set -eu
. "$(dirname "$0")/common.sh"
role=$1
dir=$(cd "$2" && pwd)
host=${AST_ADDRESS%:*}
agent=${AST_AGENT%:*}
rtp=${AST_RTP:-10000-10999}
case $role in pbx | carrier) ;; *) fail "say pbx or carrier, not $role" ;; esac
loopback "$host"
prepare "$dir" 3 notice,warning,error
load res_pjsip_endpoint_identifier_user res_pjsip_registrar res_pjsip_dtmf_info res_clioriginate app_echo func_timeout \
    res_pjsip_refer app_read app_senddtmf app_transfer bridge_builtin_features bridge_softmix res_musiconhold \
    format_gsm codec_gsm res_srtp res_pjsip_history res_fax res_fax_spandsp res_pjsip_t38 codec_alaw \
    res_pjsip_outbound_publish res_pjsip_exten_state res_pjsip_dialog_info_body_generator func_devstate
media "${rtp%-*}" "${rtp#*-}"
cat >pjsip.conf <<E2
[global]
type=global
user_agent=Asterisk
[own]
type=transport
bind=$AST_ADDRESS
E2
if [ -n "${AST_TLS:-}" ]; then
    install -m 600 "$AST_TLS/cert.pem" "$AST_TLS/key.pem" "$AST_TLS/ca.pem" "$dir/keys"
    by='\;transport=tls' # not the begin of a comment
    cat >>pjsip.conf <<E2
protocol=tls
method=tlsv1_2
cert_file=/mnt/keys/cert.pem
priv_key_file=/mnt/keys/key.pem
ca_list_file=/mnt/keys/ca.pem
verify_server=yes
verify_client=yes
require_client_cert=yes
E2
else
    by=
    echo "protocol=${AST_TRANSPORT:-udp}" >>pjsip.conf
    [ "${AST_TRANSPORT:-udp}" = udp ] || by='\;transport=tcp'
fi
cat >>pjsip.conf <<E2
[agent]
type=identify
endpoint=agent
match=$agent${AST_ALSO:+,$AST_ALSO}
[agent]
type=endpoint
context=in
disallow=all
allow=ulaw
direct_media=no
media_address=$host
bind_rtp_to_media_address=yes
${AST_ENDPOINT:-}
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
contact=sip:$AST_AGENT$by
qualify_frequency=1
qualify_timeout=1
E2
fi
if [ -n "${AST_MAILBOX:-}" ]; then
    printf 'load = %s.so\n' res_pjsip_mwi res_pjsip_mwi_body_generator app_voicemail >>modules.conf
    printf '[general]\nformat=gsm\npollmailboxes=yes\npollfreq=1\n[default]\n%s => 1,Box\n' "$AST_MAILBOX" >voicemail.conf
    printf '[%s]\ntype=aor\nmailboxes=%s@default\n' "$AST_MAILBOX" "$AST_MAILBOX" >>pjsip.conf
fi
printf '[general]\ntransferdigittimeout=20\nfeaturedigittimeout=5000\n[featuremap]\nblindxfer=##\natxfer=*2\n' >features.conf
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
exten => 2604,1,Progress()
 same => n,Echo()
exten => 2605,1,Busy(1)
exten => 2606,1,Congestion(1)
exten => 2607,1,Answer()
 same => n,Read(digit,,1,,1,120)
 same => n,GotoIf(\$["\${digit}" = "5"]?2600,1)
exten => 2609,1,Answer()
 same => n,SendDTMF(5)
 same => n,Goto(2600,1)
exten => 2608,1,Answer()
 same => n,ReceiveFAX(/mnt/spool/taken.tif,f)
exten => _2450XXX,1,Transfer(PJSIP/sip:\${EXTEN:2}@$agent)
exten => _2850XXX,1,Dial(PJSIP/\${EXTEN:2}@agent,60,t)
exten => 2670,hint,Custom:lamp
exten => external_replaces,1,Dial(PJSIP/agent/\${SIPREFERTOHDR},60)
exten => _50XXX,1,Dial(PJSIP/\${EXTEN}@agent,60)
[out]
exten => _X.,1,Answer()
 same => n,Echo()
E2
run "$dir"
