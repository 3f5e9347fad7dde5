"""Layers of the project's own for `cases_app.py`."""

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(64, 64)
        self.convolution = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.attention = torch.nn.MultiheadAttention(64, 4, batch_first=True)
        self.register_buffer("shift", torch.ones(64))

    def forward(self, rows):
        hidden = torch.nn.functional.gelu(self.first(rows)) + self.shift
        image = self.convolution(hidden.reshape(-1, 1, 8, 8)).mean(1).reshape(-1, 1, 64)
        return self.attention(image, image, image, need_weights=False)[0].reshape(-1, 64)


class Int8Linear(torch.nn.Module):
    """Weights of eight bits and a scale a row, in buffers, as quantised layers have them."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, rows):
        return rows @ (self.weight.to(rows.dtype) * self.scale).T


def gelu_then_norm(rows):
    return torch.nn.functional.layer_norm(torch.nn.functional.gelu(rows), (64,))
