#!/bin/sh
# cli.sh PID COMMAND: has the Asterisk that up.sh started (it keeps its process id) execute a command of its CLI.
set -eu
. "$(dirname "$0")/common.sh"
exec nsenter -t "$1" -m -- chroot "$AST_ROOT" /usr/sbin/asterisk -C /mnt/etc/asterisk.conf -rx "$2"
