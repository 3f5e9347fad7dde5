"""Ray Serve: one replica; `serve.batch` for the model."""

import os
import threading
from pathlib import Path

import ray
import work
from ray import serve
from starlette.responses import StreamingResponse

OPTIONS = {"num_replicas": 1, "max_ongoing_requests": 512, "ray_actor_options": {"num_cpus": 1}}


@serve.deployment(**OPTIONS)
class Embed:
    def __init__(self):
        self.embed = work.load_embed()

    @serve.batch(max_batch_size=work.MAX_BATCH, batch_wait_timeout_s=0.005)
    async def embed_all(self, texts):
        return self.embed(texts)

    async def __call__(self, request):
        return await self.embed_all((await request.json())["text"])


@serve.deployment(**OPTIONS)
class Echo:
    async def __call__(self, request):
        return {"n": len((await request.json())["text"])}


@serve.deployment(**OPTIONS)
class Events:
    async def write(self):
        for item in work.items():
            yield work.as_event(item)

    async def __call__(self, request):
        return StreamingResponse(self.write(), media_type="text/event-stream")


def main():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(Path(os.environ["SERVING_FOLDER"], "ray")),
        object_store_memory=100 * 2**20,
    )
    workload = work.workload()
    serve.start(http_options={"host": "127.0.0.1", "port": work.port()})
    deployment = {"embed": Embed, "echo": Echo, "events": Events}[workload]
    serve.run(deployment.bind(), route_prefix=f"/{workload}")
    threading.Event().wait()


if __name__ == "__main__":
    main()
