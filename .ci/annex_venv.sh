#!/usr/bin/env bash
# Makes a virtual environment with the released git-annex, once, and prints where it is.
# ANNEX_VENV picks the place (default ${TMPDIR:-/tmp}/seedgrid-git-annex-VERSION). Needs Python 3 and git.
set -euo pipefail
version=10.20261026
venv=${ANNEX_VENV:-${TMPDIR:-/tmp}/seedgrid-git-annex-$version}
complete=$venv/git-annex-$version-installed   # written last: an interrupted installation is made again

if [ ! -e "$complete" ]; then
  python3 -m venv --clear "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "git-annex==$version" >&2
  touch "$complete"
fi
echo "$venv"
