"""The oracle: what a fresh interpreter answers. Plain imports, loaders run, endpoints called; no runtime, no vault.

Reads requests (a list of [endpoint, arguments]) from its argument; prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, ".")


def main() -> None:
    from hotloop.gpu_runtime.user_env import resolve, values

    try:
        app = resolve.find_app(importlib.import_module("app"))
        plan = resolve.check(app)
        models: dict[str, Any] = {}
        for spec in plan.models:
            models[spec.name] = spec.loader(**{p: models[p] for p in spec.parameters if p in models})
    except BaseException as error:  # noqa: BLE001  whatever it is, a reload fails with it too
        print(json.dumps({"failed": type(error).__name__}))
        return
    endpoints = {endpoint.spec.name: endpoint for endpoint in plan.endpoints}
    answers: list[Any] = []
    for name, arguments in json.loads(sys.argv[1]):
        endpoint = endpoints.get(name)
        if endpoint is None:
            answers.append([404, None])
            continue
        try:
            body = json.dumps(arguments).encode()
            decoded = values.RequestDecoder(endpoint.parameters).decode({"type": "application/json"}, body)
            injected = {p: models[p] for p in endpoint.injected}
            _, body = values.encode(endpoint.spec.function(**decoded, **injected), "application/json")
            answers.append([200, json.loads(body)])
        except values.BadRequest as error:
            answers.append([error.status, None])
        except Exception as error:  # noqa: BLE001
            answers.append([500, type(error).__name__])
    print(json.dumps({"answers": answers}))


main()
