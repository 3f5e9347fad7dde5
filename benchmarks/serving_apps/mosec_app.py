"""mosec: its Rust front, one worker process."""

import os
import sys
from pathlib import Path

import work
from mosec import Runtime, Server, SSEWorker, Worker

IS_BATCHED = "batch" in work.variant()


class Embed(Worker):
    def __init__(self):
        self.embed = work.load_embed()

    def forward(self, data):
        if IS_BATCHED:
            return self.embed([each["text"] for each in data])
        return self.embed([data["text"]])[0]


class Echo(Worker):
    def forward(self, data):
        if IS_BATCHED:
            return [{"n": len(each["text"])} for each in data]
        return {"n": len(data["text"])}


class Events(SSEWorker):
    def forward(self, data):
        for item in work.items():
            self.send_stream_event(work.as_event(item).removeprefix("data: ").rstrip())
        return data


def main():
    workload = work.workload()
    worker = {"embed": Embed, "echo": Echo, "events": Events}[workload]
    batch = {"max_batch_size": work.MAX_BATCH, "max_wait_time": 1} if IS_BATCHED else {}
    server = Server()
    server.register_runtime({f"/{workload}": [Runtime(worker, timeout=60, **batch)]})
    server.run()


if __name__ == "__main__":
    # It reads its own command line; the workers, which are spawned, read the environment.
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(work.port()), "--timeout", "60000"]
    sys.argv += ["--log-level", "warning", "--path", str(Path(os.environ["SERVING_FOLDER"], "mosec"))]
    main()
