"""LitServe: with its default queue or its fast one, batched or not."""

import litserve
import work


class Embed(litserve.LitAPI):
    def setup(self, device):
        self.embed = work.load_embed()

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        return self.embed(texts)

    def encode_response(self, output):
        return output


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        if isinstance(text, list):
            return [{"n": len(each)} for each in text]
        return {"n": len(text)}

    def encode_response(self, output):
        return output


class Events(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request

    def predict(self, request):
        yield from work.items()

    def encode_response(self, outputs):
        for output in outputs:
            yield work.as_event(output)


def main():
    workload = work.workload()
    wait_s = 0.005 if workload == "embed" else 0.001
    batch = {"max_batch_size": work.MAX_BATCH, "batch_timeout": wait_s} if "batch" in work.variant() else {}
    kind = {"embed": Embed, "echo": Echo, "events": Events}[workload]
    api = kind(api_path=f"/{workload}", stream=workload == "events", **batch)
    is_fast = "fast" in work.variant()
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=60, fast_queue=is_fast)
    server.run(host="127.0.0.1", port=work.port(), num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
