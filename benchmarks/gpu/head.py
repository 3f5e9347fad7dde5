"""A class of the project's own around the weights: an edit of it is live without loading them again."""

import torch


class Head(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def generate(self, prompt, count):
        ids = torch.tensor([prompt], device=self.model.device)
        cache, tokens = None, []
        for _ in range(count):
            out = self.model(ids, past_key_values=cache, use_cache=True)
            cache, ids = out.past_key_values, (out.logits[:, -1:].argmax(-1) + 0) % 32000  # edit 2
            tokens.append(int(ids))
        return tokens
