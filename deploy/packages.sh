#!/usr/bin/env bash
# Installs packages of Debian: deploy/packages.sh NAME…. Says what to do where it cannot.
set -euo pipefail
if ! command -v apt-get >/dev/null; then
  echo "Missing: $*. This system has no apt-get: install Redis 7 or later, PostgreSQL 12 or later, nginx," >&2
  echo "Caddy, Prometheus's promtool, Chromium, npm, a C compiler and, on Linux, systemd, as far as they are" >&2
  echo "named here (macOS: brew install redis postgresql nginx caddy prometheus), then run this again." >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing: $*. There is no sudo: as root, run" >&2
    echo "  apt-get update && apt-get install $*" >&2
    exit 1
  fi
  sudo=(sudo)
fi
echo "== installing $*" >&2
# The tests start servers of their own: no service is to start (RUNLEVEL=1).
"${sudo[@]}" apt-get update -q >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "$@" >&2
