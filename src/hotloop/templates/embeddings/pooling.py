"""From tokens to one vector a text. Edit it: the model stays in memory."""

import torch


def vectors(texts: list[str], encoder, tokenizer) -> torch.Tensor:
    """Embed texts as the mean of their tokens' vectors, scaled to length one."""
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt").to(encoder.device)
    with torch.inference_mode():
        hidden = encoder(**tokens).last_hidden_state  # [B, T, 384] float32
    mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)  # [B, T, 1]
    mean = (hidden * mask).sum(1) / mask.sum(1)  # padding counts for nothing
    return torch.nn.functional.normalize(mean, dim=-1)  # [B, 384] float32
