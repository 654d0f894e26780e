#!/bin/sh
# docker/secrets.sh: makes the secrets of the compose site, once, in docker/secrets. As root: they are given to the user
# 10001, whom the containers run as, and nobody else may read them. What is there already is left as it is.
set -eu
umask 077
cd "$(dirname "$0")"
[ "$(id -u)" -eq 0 ] || { echo "secrets.sh: run it as root, it gives the files to the containers' user 10001" >&2; exit 1; }
mkdir -p secrets
for name in site_key api_token alice_password records_password; do
    [ -s "secrets/$name" ] || head -c 32 /dev/urandom | base64 | tr -d '\n' >"secrets/$name"
done
chown -R 10001:10001 secrets
