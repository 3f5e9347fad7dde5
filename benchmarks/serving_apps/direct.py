"""The model without a server, in one process, on one thread: what no server can exceed.

The first line of its input is the texts; it answers with their vectors. For each line after that, seconds, it measures
and answers with a line of JSON.
"""

import json
import sys
import time

import work

BATCH_SIZES = (4, 8, 16, 32)


def measure_single(embed, texts, seconds):
    """Time one text a call, in the order of the texts."""
    began, times_s = time.perf_counter(), []
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        embed([texts[len(times_s) % len(texts)]])
        times_s.append(time.perf_counter() - start)
    return times_s


def measure_sorted(embed, texts, size, seconds):
    """Embed all texts in batches of like length, over and over; give texts a second."""
    ordered = sorted(texts, key=len)
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for batch in batches:  # always all of them: a part would be the short ones only
            embed(batch)
            count += len(batch)
    return count / (time.perf_counter() - began)


def num_tokens(texts):
    """How many tokens each text has, the two around it included."""
    import app

    tokenizer = app.tokenizer()
    return [len(tokenizer(text)["input_ids"]) for text in texts]


def main():
    texts = json.loads(sys.stdin.readline())
    embed = work.load_embed()
    vectors = [embed([text])[0] for text in texts]
    print(json.dumps({"vectors": vectors, "num_tokens": num_tokens(texts)}), flush=True)
    for line in sys.stdin:
        seconds = float(line)
        single_s = measure_single(embed, texts, seconds)
        rates = {size: measure_sorted(embed, texts, size, seconds / len(BATCH_SIZES)) for size in BATCH_SIZES}
        print(json.dumps({"single_s": single_s, "rates": rates}), flush=True)


if __name__ == "__main__":
    main()
