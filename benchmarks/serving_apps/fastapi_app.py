"""FastAPI on uvicorn, the work done in the process that serves."""

import uvicorn
import work
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

server = FastAPI()
EMBED = work.load_embed() if work.workload() == "embed" else None


class Question(BaseModel):
    text: str


@server.post("/embed")
async def embed(question: Question) -> list[float]:
    return EMBED([question.text])[0]


@server.post("/echo")
async def echo(question: Question) -> dict:
    return {"n": len(question.text)}


async def write():
    for item in work.items():
        yield work.as_event(item)


@server.post("/events")
async def events():
    return StreamingResponse(write(), media_type="text/event-stream")


if __name__ == "__main__":
    options = {"log_level": "warning", "loop": "uvloop", "http": "httptools", "access_log": False}
    uvicorn.run(server, host="127.0.0.1", port=work.port(), **options)
