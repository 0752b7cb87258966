#!/usr/bin/env bash
# Runs uv with the arguments given: the one on the PATH, or else one of the project's own in .uv/, which pip puts there
# at the first call. Needs Python 3.11 or newer with pip or venv; never needs root.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

works() { "$@" >/dev/null 2>&1; }

if works uv --version; then
    exec uv "$@"
fi

own=$root/.uv/bin/uv
if ! works "$own" --version; then
    for python in python3.12 python3.11 python3 python ""; do
        works "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && break
    done
    if [[ -z $python ]]; then
        echo "uv.sh: neither uv nor Python 3.11 or newer is on the PATH" >&2
        exit 1
    fi
    if ! works "$python" -m pip --version; then
        scratch=$(mktemp -d)
        trap 'rm -rf "$scratch"' EXIT
        if ! works "$python" -m venv "$scratch/venv"; then
            echo "uv.sh: $python has neither pip nor venv; install one of them, or uv itself" >&2
            exit 1
        fi
        python=$scratch/venv/bin/python
    fi
    # A plain folder, not a virtual environment: that would hold links, which OpenEnv's validation refuses.
    "$python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$root/.uv" uv
fi
if [[ -n ${scratch:-} ]]; then
    rm -rf "$scratch"
fi
exec "$own" "$@"
