#!/usr/bin/env bash
# Install the wheel in a fresh environment outside the tree, then do what a new user does first.
# Usage: wheel_smoke.sh WHEEL
set -euo pipefail

wheel="$(realpath "$1")"
python="$(realpath "$(dirname "$0")/..")/.venv/bin/python"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
export HOTLOOP_STATE_DIR="$place/state"
unset VIRTUAL_ENV PYTHONPATH
cd "$place"

"$python" -m venv env
env/bin/python -m pip install -q "$wheel"
PATH="$place/env/bin:$PATH"

dev --help >/dev/null
hotloop --help >/dev/null
dev version
dev new chat -t chat --no-env
dev new embeddings -t embeddings --no-env
for name in app.py README.md pyproject.toml .gitignore test_app.py; do
  test -s "chat/$name"
  test -s "embeddings/$name"
done

mkdir -p hello
cat >hello/app.py <<'APP'
import hotloop

app = hotloop.App("hello")


@app.endpoint
def greet(name: str) -> str:
    return f"Hello {name}"
APP
"$python" -m venv --without-pip hello/.venv
(cd hello && exec dev run --port 0 --json >"$place/events" 2>"$place/errors") &
server=$!
stop() { kill -INT "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$place"; }
trap stop EXIT

ask='
import json, sys, time, urllib.request
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    events = [json.loads(line) for line in open(sys.argv[1]) if line.endswith("\n")]
    address = next((e["address"] for e in events if e["kind"] == "runtime_started"), None)
    if address and any(e["kind"] == "ready" for e in events):
        body = json.dumps({"name": "wheel"}).encode()
        request = urllib.request.Request(address + "/greet", body, {"content-type": "application/json"})
        answer = urllib.request.urlopen(request, timeout=30).read().decode()
        assert "Hello wheel" in answer, answer
        sys.exit(print("the installed wheel answered:", answer))
    time.sleep(0.05)
sys.exit("the app was not ready within 60 s: " + "".join(open(sys.argv[1])) + "".join(open(sys.argv[2])))
'
"$python" -c "$ask" "$place/events" "$place/errors"
