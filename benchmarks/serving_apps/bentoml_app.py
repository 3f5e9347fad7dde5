"""BentoML: adaptive batching for the model, plain calls for the rest, one worker."""

from collections.abc import AsyncGenerator

import bentoml
import work


@bentoml.service(workers=1, traffic={"timeout": 60})
class Embed:
    def __init__(self):
        self.model = work.load_embed()

    @bentoml.api(batchable=True, max_batch_size=work.MAX_BATCH)
    def embed(self, text: list[str]) -> list[list[float]]:
        return self.model(text)


@bentoml.service(workers=1, traffic={"timeout": 60})
class Echo:
    @bentoml.api
    async def echo(self, text: str) -> dict:
        return {"n": len(text)}


@bentoml.service(workers=1, traffic={"timeout": 60})
class Events:
    @bentoml.api
    async def events(self) -> AsyncGenerator[str, None]:
        for item in work.items():
            yield work.as_event(item)


Service = {"embed": Embed, "echo": Echo, "events": Events}[work.workload()]
