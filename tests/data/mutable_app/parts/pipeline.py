from functools import partial

from . import shapes


def shift(x, by):
    return x + by


def make_steps(first, second):
    offset = first * 3
    return [partial(shift, by=first), lambda x: x * second + offset, clip]


def clip(x, high=500):
    return min(x, high)


class Pipeline:
    def __init__(self, steps, seed=1, start=0):
        self.steps = steps
        self.point = shapes.Point(seed, start)

    def run(self, x):
        for step in self.steps:
            x = step(x)
        return x + self.point.norm
