"""The first lines that run on a runner, by ``python -c``: take `bridge.py` from the cache if it is intact, else from stdin.

Its arguments are itself and the request. Parsed by any Python 3; leaves with 97 where the shell is to try another one.
"""

# ruff: noqa: E401, I001, S102 - sent whole with each start, so it is short
# pyright: basic
import sys

if sys.version_info < (3, 8):
    sys.exit(97)
import base64, hashlib, json, os

request = json.loads(base64.b64decode(sys.argv[2]))
cache = os.path.expanduser(request["cache"] or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "hotloop"))
program = b""
try:
    # Not through a link, and only a file of this user's: what it holds is run.
    with open(
        os.open(
            os.path.join(cache, "bridge-%s.py" % request["program"][:16]), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        ),
        "rb",
    ) as kept:
        if os.fstat(kept.fileno()).st_uid == os.getuid():
            program = kept.read(1 << 20)
except OSError:
    pass
is_kept = hashlib.sha256(program).hexdigest() == request["program"]
if not is_kept:
    os.write(1, ("\nhotloop%s?" % request["marker"]).encode())
    program = b""
    while len(program) < request["program_bytes"]:
        block = os.read(0, request["program_bytes"] - len(program))
        if not block:
            sys.exit(1)
        program += block
    if hashlib.sha256(program).hexdigest() != request["program"]:
        sys.exit("what arrived is not what was sent")
space = {"__name__": "hotloop_bridge"}
exec(compile(program, "hotloop/bridge.py", "exec"), space)
main = space["main"]
sys.exit(main(request, cache, b"" if is_kept else program))  # type: ignore[operator]
