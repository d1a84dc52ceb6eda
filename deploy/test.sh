#!/usr/bin/env bash
# Checks everything: format, vet, staticcheck, and all tests with the race
# detector. Needs Go. A redis-server and a PostgreSQL for the tests, and the C
# compiler that the race detector links with, it installs itself where apt-get is at hand.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v "$(go env CC)" >/dev/null || missing+=(gcc libc6-dev)

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]}. This system has no apt-get: install Redis 7 or later, PostgreSQL 12" >&2
    echo "or later and a C compiler (macOS: brew install redis postgresql; Fedora: dnf install redis" >&2
    echo "postgresql-server gcc; Alpine: apk add redis postgresql gcc musl-dev; Arch: pacman -S redis" >&2
    echo "postgresql gcc), then run this again." >&2
    exit 1
  fi
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing: ${missing[*]}. There is no sudo: as root, run" >&2
      echo "  apt-get update && apt-get install ${missing[*]}" >&2
      exit 1
    fi
    sudo=(sudo)
  fi
  echo "== installing ${missing[*]}"
  # The tests start servers of their own: no service is to start (RUNLEVEL=1).
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

echo "== gofmt"
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
  echo "Not formatted; run gofmt -w on:" >&2
  echo "$unformatted" >&2
  exit 1
fi

echo "== go vet"
go vet ./...

echo "== staticcheck"
# All checks but those on the wording of doc comments.
go tool staticcheck -checks 'all,-ST1000,-ST1020,-ST1021,-ST1022' ./...

echo "== go test -race"
# Many tests wait for processes and leases: more run at once than there are cores.
go test -race -parallel 8 "$@" ./...
