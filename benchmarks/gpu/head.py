"""A class of the project's own around the weights: an edit of it is live without loading them again."""

import time

import torch


class Head(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.first_steps_ms = []

    def generate(self, prompt, count):
        ids = torch.tensor([prompt], device=self.model.device)
        cache, tokens, began = None, [], time.monotonic()
        for _ in range(count):
            out = self.model(ids, past_key_values=cache, use_cache=True)
            cache, ids = out.past_key_values, (out.logits[:, -1:].argmax(-1) + 0) % 32000  # edit 2
            tokens.append(int(ids))
            if len(self.first_steps_ms) < count:
                self.first_steps_ms.append(round(1000 * (time.monotonic() - began)))
        return tokens


class Steered(torch.nn.Module):
    """A model over another's weights, with a few of its own: after every save both are the same objects still."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.bias = torch.nn.Parameter(torch.ones(8, device=base.model.device))

    def is_over(self, base):
        mine, theirs = next(self.base.parameters()), next(base.parameters())
        return self.base is base and mine.data_ptr() == theirs.data_ptr() and float(self.bias.sum()) == 8.0
