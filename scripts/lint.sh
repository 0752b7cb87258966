#!/usr/bin/env bash
# Every check that needs no test run: style, format, types, and which module may import which.
# Run inside the project's environment: `make lint`, or `uv run scripts/lint.sh`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

ruff check .
ruff format --check .
lint-imports

# The repository's root is the package ml_trainer_env, and mypy takes module names from folder names. So it looks at
# the root through a link of that name, which lies outside of the tree: OpenEnv refuses a package with links in it.
link_folder=$(mktemp -d)
trap 'rm -rf "$link_folder"' EXIT
ln -s "$root" "$link_folder/ml_trainer_env"
ln -s "$root/permuted_mnist" "$link_folder/permuted_mnist"
cd "$link_folder"
mypy --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" --package ml_trainer_env --package permuted_mnist
