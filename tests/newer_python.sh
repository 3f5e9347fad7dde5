#!/usr/bin/env bash
# Run the tests of what depends on the interpreter with the newest Python here, if it is newer than the one of .venv.
# Usage: newer_python.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; } # a shim may find nothing
newest="$(version_of .venv/bin/python)"
python=""
for candidate in "$@" python3.{12..19} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
  version="$(version_of "$candidate")"
  if [[ -n "$version" && "$version" != "$newest" && "$(printf '%s\n' "$newest" "$version" | sort -V | tail -1)" == "$version" ]]; then
    newest="$version"
    python="$candidate"
  fi
done
if [[ -z "$python" ]]; then
  echo "no Python newer than $newest here: not tested with another one"
  exit 0
fi

echo "tests of what runs in the user's environment, with Python $newest"
environment=".venvs/python$newest"
[[ -x "$environment/bin/python" ]] || "$python" -m venv "$environment"
"$environment/bin/python" -m pip install -qq 'pip>=25.1'
"$environment/bin/python" -m pip install -qq -e . --group dev
"$environment/bin/python" -m compileall -q src # once here, and not in each process of the tests'
exec "$environment/bin/python" -m pytest -q -n 3 --dist loadgroup -p no:cacheprovider -m "not models" \
  tests/gpu_runtime/user_env tests/gpu_runtime/test_{runtime,learning,left}.py
