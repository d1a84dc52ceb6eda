#!/usr/bin/env bash
# Checks everything, the cheap things first: format, vet, staticcheck, known
# vulnerabilities, the files of deploy/, then all tests with the race detector.
# Needs Go. What the tests run against (Redis, PostgreSQL, nginx, Caddy, promtool,
# systemd-analyze, Chromium) and the C compiler that the race detector links with,
# it installs itself where apt-get is at hand. Arguments go to the last `go test`.
#
# OKTASYNC_ARTEFACTS  folder for the SBOM and screenshots; default: a temporary one
# OKTASYNC_VULNDB     another vulnerability database than https://vuln.go.dev, as file:///…
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v "$(go env CC)" >/dev/null || missing+=(gcc libc6-dev)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx)
command -v caddy >/dev/null || missing+=(caddy)
command -v promtool >/dev/null || missing+=(prometheus)
[ "$(uname)" != Linux ] || command -v systemd-analyze >/dev/null || missing+=(systemd)

[ ${#missing[@]} -eq 0 ] || deploy/packages.sh "${missing[@]}"
export PATH=$PATH:/usr/sbin
export OKTASYNC_ARTEFACTS=${OKTASYNC_ARTEFACTS:-$(mktemp -d)}
mkdir -p "$OKTASYNC_ARTEFACTS"
OKTASYNC_ARTEFACTS=$(cd "$OKTASYNC_ARTEFACTS" && pwd)

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

echo "== govulncheck"
# Without its database nothing is checked, which is no finding and no success: it is
# said here and again at the end.
unchecked=
status=0
report=$OKTASYNC_ARTEFACTS/govulncheck.txt
go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "${OKTASYNC_VULNDB:-https://vuln.go.dev}" ./... >"$report" 2>&1 || status=$?
if [ "$status" -ne 0 ] && [ -z "${OKTASYNC_VULNDB:-}" ] && grep -q 'fetching vulnerabilities' "$report"; then
  unchecked="NOT CHECKED for known vulnerabilities: the database https://vuln.go.dev is not reached from here. Run this where it is, or name a copy by OKTASYNC_VULNDB."
  echo "$unchecked"
elif [ "$status" -ne 0 ]; then
  cat "$report" >&2
  exit 1
else
  tail -1 "$report"
fi

echo "== SBOM"
go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 app -json -licenses -main cmd/oktasync \
  -output "$OKTASYNC_ARTEFACTS/oktasync.cdx.json" . 2>"$OKTASYNC_ARTEFACTS/sbom.log" || { cat "$OKTASYNC_ARTEFACTS/sbom.log" >&2; exit 1; }
echo "$OKTASYNC_ARTEFACTS/oktasync.cdx.json"

echo "== what the test of the console needs"
OKTASYNC_AXE=$(deploy/browser-setup.sh)
export OKTASYNC_AXE

echo "== go test -race, and beside it deploy/: Helm chart, compose file, systemd unit, Terraform example"
# Helm is built first, which takes minutes on a new machine; meanwhile many tests
# wait for processes and leases, which is also why more run at once than there are
# cores. The engine's histories take most of the time: with -race 6 minutes on 2 idle cores.
# deploy/ has no code whose races could be found. Alert rules, dashboard and
# proxies are tested in cmd/oktasync, against the service.
go test ./deploy >"$OKTASYNC_ARTEFACTS/deploy.log" 2>&1 &
deploy=$!
status=0
# SQLite is C that was translated: to look for races in it too takes longer than all else
# that is done with it.
go test -race -gcflags=modernc.org/sqlite/lib=-race=false -timeout 25m -parallel 8 "$@" $(go list ./... | grep -v '/deploy$') || status=$?
wait "$deploy" || status=$?
cat "$OKTASYNC_ARTEFACTS/deploy.log"
[ "$status" -eq 0 ] || exit "$status"

echo "Artefacts: $OKTASYNC_ARTEFACTS"
if [ -n "$unchecked" ]; then
  line=$(printf '%.0s!' {1..100})
  printf '\n%s\n%s\nAll else passed, but: %s\n' "$line" "$line" "$unchecked"
fi
