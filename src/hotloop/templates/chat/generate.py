"""Greedy decoding, one token at a time. Edit it: the model stays in memory."""

from collections.abc import Iterator

import torch


def pieces(messages: list[dict[str, str]], llm, tokenizer, max_tokens: int) -> Iterator[str]:
    """Yield the answer's text as it grows, at most `max_tokens` long."""
    encoded = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = encoded["input_ids"].to(llm.device)  # [1, T] int64
    cache, tokens, shown = None, [], ""
    for _ in range(max_tokens):
        with torch.inference_mode():
            output = llm(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, ids = output.past_key_values, output.logits[:, -1:].argmax(-1)  # [1, 1] int64
        if ids.item() == tokenizer.eos_token_id:
            return
        tokens.append(ids.item())
        text = tokenizer.decode(tokens)
        yield text[len(shown) :]
        shown = text
