"""The trivial endpoints, as someone writes them for hotloop."""

import hotloop

app = hotloop.App("trivial")
NUM_ITEMS = 200


@app.endpoint(batch=hotloop.Batch(max_size=32))
def echo(text: list[str]) -> list[dict]:
    """Tell how long each text is."""
    return [{"n": len(each)} for each in text]


@app.endpoint
def echo_plain(text: str) -> dict:
    """Tell how long one text is."""
    return {"n": len(text)}


@app.endpoint
def events():
    """Stream small items."""
    for number in range(NUM_ITEMS):
        yield {"i": number, "text": "token"}


@app.endpoint
async def events_async():
    """Stream small items, from the event loop."""
    for number in range(NUM_ITEMS):
        yield {"i": number, "text": "token"}
