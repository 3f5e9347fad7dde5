# ruff: noqa: PLW0108, PTH123, SIM115, ANN, D
"""Objects as loaders return them, each with a question whose answer must survive storing. Runs in the user's environment."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import logging
import re
import sys
import threading
import types
import weakref

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError:
    np = torch = nn = None

DEPTH = 300 if sys.version_info[:2] == (3, 12) else 3000  # Python 3.12 alone has a fixed limit, which pickle meets


class Plain:
    def __init__(self):
        self.x = [1, 2]

    def ask(self):
        return self.x


class Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 5


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int = 3


def make_adder(n):
    def add(y):
        return y + n

    return add


def recursive():
    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)

    return fact


def replaced(self):
    return "replaced"


def patched():
    plain = Plain()
    plain.ask = types.MethodType(replaced, plain)
    return plain


def with_lambda():
    plain = Plain()
    plain.post = lambda y: y * 2
    return plain


def weak():
    target = Plain()
    return {"target": target, "ref": weakref.ref(target)}


def locks():
    return {"lock": threading.Lock(), "rlock": threading.RLock(), "event": threading.Event()}


def cycle():
    plain = Plain()
    plain.me = plain
    return plain


KINDS = {
    "plain object": (Plain, lambda v: v.ask()),
    "slots": (Slotted, lambda v: v.a),
    "enum": (lambda: Colour.RED, lambda v: v is Colour.RED),
    "dataclass": (Point, repr),
    "nested function": (lambda: make_adder(3), lambda v: v(1)),
    "recursive closure": (recursive, lambda v: v(5)),
    "lambda on an instance": (with_lambda, lambda v: v.post(4)),
    "patched method": (patched, lambda v: v.ask()),
    "bound method": (lambda: Plain().ask, lambda v: v()),
    "partial of a closure": (lambda: functools.partial(make_adder(1), 2), lambda v: v()),
    "weakref": (weak, lambda v: v["ref"]() is v["target"]),
    "dead weakref": (lambda: weakref.ref(Plain()), lambda v: v()),
    "module": (lambda: [re], lambda v: v[0].__name__),
    "locks": (locks, lambda v: v["lock"].acquire() and not v["event"].is_set()),
    "logger": (lambda: logging.getLogger("x"), lambda v: v is logging.getLogger("x")),
    "regex": (lambda: re.compile("a+"), lambda v: v.findall("caab")),
    "cycle": (cycle, lambda v: v.me is v),
    "defaultdict": (lambda: collections.defaultdict(lambda: 7), lambda v: v["k"]),
    "mapping proxy": (lambda: types.MappingProxyType({"a": 1}), lambda v: v["a"]),
    "class": (lambda: Plain, lambda v: v is Plain),
    "deep list": (lambda: functools.reduce(lambda a, _: [a], range(DEPTH), []), lambda v: len(v)),
    "bytes": (lambda: bytearray(b"x" * 100_000), lambda v: (len(v), bytes(v[:1]))),
}

if torch is not None:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(64, 64, bias=False)
            self.b = nn.Linear(64, 64, bias=False)
            self.b.weight = self.a.weight
            self.register_buffer("kept", torch.ones(3))
            self.register_buffer("lost", torch.arange(3.0), persistent=False)
            self.scale = torch.tensor(2.0)

        def forward(self, x):
            return self.b(self.a(x)) * self.scale + self.lost[1]

    def seeded(make):
        def build():
            torch.manual_seed(0)
            return make()

        return build

    def run(m):
        return m(torch.ones(1, 64)).sum().item()

    def with_grad():
        p = nn.Parameter(torch.ones(3))
        (p * 2).sum().backward()
        return p

    def hooked():
        m = nn.Linear(64, 64)
        m.register_forward_hook(lambda mod, args, out: out * 3)
        return m

    def parametrized():
        return nn.utils.parametrizations.weight_norm(nn.Linear(64, 64))

    def frozen():
        m = Net().eval()
        for p in m.parameters():
            p.requires_grad_(False)
        return m

    def inference():
        with torch.inference_mode():
            return torch.ones(4)

    def views():
        base = torch.arange(12.0)
        return {"base": base, "view": base[2:8].view(2, 3).t()}

    def aliased(v):
        v["base"][2] = 99
        return v["view"][0, 0].item(), v["view"].stride()

    KINDS |= {
        "tied module": (seeded(Net), lambda m: (run(m), m.a.weight is m.b.weight)),
        "frozen module": (seeded(frozen), lambda m: (run(m), m.training, m.a.weight.requires_grad)),
        "half precision": (seeded(lambda: Net().bfloat16()), lambda m: m.a.weight.float().sum().item()),
        "views": (views, aliased),
        "gradient": (with_grad, lambda p: p.grad.tolist()),
        "forward hook": (seeded(hooked), run),
        "parametrized": (seeded(parametrized), run),
        "script module": (seeded(lambda: torch.jit.script(nn.Linear(64, 64))), run),
        "inference tensor": (inference, lambda t: (t.is_inference(), t.tolist())),
        "sparse": (lambda: torch.eye(5).to_sparse(), lambda t: t.to_dense().tolist()),
        "quantized": (
            lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
            lambda t: t.dequantize().tolist(),
        ),
        "meta tensor": (lambda: torch.ones(4, device="meta"), lambda t: (t.device.type, tuple(t.shape))),
        "empty tensor": (lambda: torch.ones(0, 3), lambda t: tuple(t.shape)),
        "generator": (lambda: torch.Generator().manual_seed(3), lambda g: torch.rand(1, generator=g).item()),
        "optimizer": (seeded(lambda: torch.optim.Adam(Net().parameters())), lambda o: len(o.param_groups[0]["params"])),
        "compiled module": (seeded(lambda: torch.compile(nn.Linear(64, 64), backend="eager")), run),
        "numpy array": (lambda: np.arange(100_000.0), lambda a: (a.sum(), a.flags.writeable)),
        "numpy view": (lambda: np.arange(12.0).reshape(3, 4).T, lambda a: a.tolist()),
        "numpy generator": (lambda: np.random.default_rng(1), lambda g: g.random()),
        "complex tensor": (lambda: torch.ones(3, dtype=torch.complex64).conj(), lambda t: str(t.tolist())),
        "state dict": (seeded(lambda: Net().state_dict()), lambda d: sorted(d)),
    }


class Holder:
    def __init__(self, what):
        self.decoder = Plain()
        self.decoder.cache = what


def held_lock():
    lock = threading.Lock()
    lock.acquire()
    return lock


def local_class():
    class Local:
        pass

    return Local()


# What must be refused, and the way to it.
REFUSED = {
    "open file": (lambda: Holder(open(__file__)), ".decoder.cache"),
    "generator": (lambda: Holder(i for i in [1]), ".decoder.cache"),
    "held lock": (lambda: {"k": [held_lock()]}, "['k'][0]"),
    "local class": (lambda: Holder(local_class()), ".decoder.cache"),
    "thread": (lambda: Holder(threading.current_thread()), ".decoder.cache"),
    "function of no source": (lambda: Holder(eval("lambda: 1")), ".decoder.cache"),
    "itself": (lambda: sys._getframe(), ""),
}
if torch is not None:

    def module_with_file():
        m = nn.Sequential(nn.Linear(2, 2))
        m[0].cache = open(__file__)
        return m

    REFUSED |= {
        "file in a module": (module_with_file, ".0.cache"),
        "inside an autograd graph": (lambda: Holder(torch.ones(2, requires_grad=True) * 2), ".decoder.cache"),
    }
