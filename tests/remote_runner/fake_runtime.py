"""A thin stand-in for the runtime: speaks its frames, serves nothing. Says each frame it got as a notice.

Usage: fake_runtime.py FD. The configuration's ``behaviour`` makes it misbehave: ``exit`` (at once), ``fork`` (leave a
child that never ends), ``keep`` (give the agent a descriptor to keep). With an ``address`` it says that it
serves there, with ``logs`` that the app wrote these lines, each text ``times`` over. ``count`` (samples, 50 a second,
whose memory counts up).
"""

import json
import os
import sys
import threading
import time

from hotloop.gpu_runtime.user_env.wire import LinkClosed, link_from_fd

link = link_from_fd(int(sys.argv[1]))
writing = threading.Lock()


def tell(event):
    with writing:
        link.send({"kind": "event", "event": event})


def say(key, text):
    tell({"kind": "notice", "at_s": time.monotonic(), "key": key, "text": text})


def count():
    sample = {"kind": "runtime_sampled", "interval_s": 0.02, "endpoints": []}
    for number in range(1, 5000):
        tell({**sample, "at_s": time.monotonic(), "memory_bytes": number})
        time.sleep(0.02)


def begin(config):
    say("start", json.dumps(config))
    if "address" in config:
        event = {"kind": "runtime_started", "at_s": time.monotonic(), "pid": os.getpid(), "python": sys.executable}
        started = {**event, "address": config["address"], "grpc_address": config.get("grpc_address", "")}
        tell(started)
    for text in config.get("logs", ()):
        event = {"kind": "log", "at_s": time.monotonic(), "generation": 1, "stream": "stdout"}
        tell({**event, "text": text * config.get("times", 1)})
    behaviour = config.get("behaviour", "")
    if behaviour == "exit":
        sys.exit(7)
    if behaviour == "fork" and not (pid := os.fork()):
        os.setsid()
        time.sleep(600)
    elif behaviour == "fork":
        say("forked", str(pid))
    if behaviour == "count":
        threading.Thread(target=count, daemon=True).start()
    if behaviour == "keep":
        fd = os.memfd_create("model")
        os.write(fd, b"weights")
        link.send({"kind": "keep", "model": "encoder", "record": {"n": 1}}, b"graph", (fd,))


def main():
    try:
        while True:
            message = link.receive()
            if message.kind == "start":
                begin(message.header["config"])
            elif message.kind == "keep":
                content = os.pread(message.fds[0], 100, 0).decode()
                say("given back", f"{message.header['model']} {message.payload.decode()} {content}")
            elif message.kind == "stop":
                return
            else:
                payload = message.payload.decode()
                say(message.kind, json.dumps({"got_at_s": time.monotonic(), "payload": payload, **message.header}))
    except LinkClosed:
        return


if __name__ == "__main__":
    main()
