#!/usr/bin/env bash
# Gets what the browser test of the console needs: Chromium, by apt-get if it is
# missing, and axe-core, by npm, into a cache outside of the repository. Prints the
# path that OKTASYNC_AXE must hold; everything else goes to standard error.
set -euo pipefail

version=4.14.1
sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
cache="${XDG_CACHE_HOME:-$HOME/.cache}/oktasync/axe-core-$version"

good() { echo "$sha256  $cache/axe.min.js" | sha256sum --check --status 2>/dev/null; }

missing=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
good || command -v npm >/dev/null || missing+=(npm)

[ ${#missing[@]} -eq 0 ] || "$(dirname "$0")/packages.sh" "${missing[@]}"

if ! good; then
  echo "== fetching axe-core $version" >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  if ! (cd "$work" && npm pack --loglevel=error --fetch-retries=1 "axe-core@$version" >&2 && tar -xzf "axe-core-$version.tgz"); then
    cat >&2 <<END
axe-core $version, which looks for what people with disabilities cannot use, was not got: npm says why, above.
Let npm reach its registry (npm config get registry; a proxy: npm config set https-proxy …) and run this
again, or put axe.min.js of that version at $cache/axe.min.js yourself.
END
    exit 1
  fi
  mkdir -p "$cache"
  # By a rename: two that run at once do not see half a file.
  cp "$work/package/axe.min.js" "$cache/axe.min.js.$$"
  mv "$cache/axe.min.js.$$" "$cache/axe.min.js"
  if ! good; then
    echo "axe-core $version has another sha256 than $sha256: it is not used. See what the registry that npm asks serves." >&2
    rm -f "$cache/axe.min.js"
    exit 1
  fi
fi
echo "$cache/axe.min.js"
