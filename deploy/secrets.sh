#!/usr/bin/env bash
# Makes the secret files of deploy/compose.yaml in a folder. What is there stays, so it can
# be run again; --postgres makes PostgreSQL the sink instead of SQLite. The folder is closed
# to others; the files in it are readable, since the containers, which see the
# files alone, run as users of their own.
set -euo pipefail

usage="usage: deploy/secrets.sh [--postgres] FOLDER"
sinks=sql:/data/oktasync.db
if [ "${1:-}" = --postgres ]; then
  sinks=
  shift
fi
folder=${1:?$usage}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"
[ -n "$sinks" ] || rm -f sinks
umask 022

# put NAME: standard input becomes the file NAME, unless there is one.
put() {
  if [ -e "$1" ]; then
    cat >/dev/null
  else
    cat >"$1"
    echo "made $folder/$1"
  fi
}

hex() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

hex | put admin_token
hex | put trigger_token
hex | put hook_secret
hex | put redis_password
hex | put postgres_password
head -c 32 /dev/urandom | base64 | put secret_key
printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" | put redis_url
printf '%s' "${sinks:-postgres://oktasync:$(cat postgres_password)@postgres/oktasync?sslmode=disable}" | put sinks
printf '' | put okta_token
