"""The chat project behind plain ASGI: what someone writes who has uvicorn and no hotloop.

The models are loaded when the module is imported; the answers come from the project's own functions.
"""

import json
import sys

import app
import facts

LLM = app.llm()
TOKENIZER = app.tokenizer()


async def _body(receive):
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    return json.loads(body or b"{}")


def _answer(path, request):
    if path == "/prompt":
        return {"prompt": app.PROMPT}
    if path == "/facts":
        return facts.answers()
    if path == "/chat":
        return {"prompt": app.PROMPT, "answer": app.chat(request["message"], LLM, TOKENIZER)}
    return None


async def serve(scope, receive, send):
    if scope["type"] != "http":
        return
    result = _answer(scope["path"], await _body(receive))
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 404 if result is None else 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(result).encode()})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(serve, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
