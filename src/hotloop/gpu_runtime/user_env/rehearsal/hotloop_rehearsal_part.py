# pyright: basic
"""A module beside the made-up app, as projects have them."""

import functools


class Part:
    """A class of the project's own."""

    size = 2

    def __init__(self, width):
        self.width = width * self.size

    @property
    def area(self):
        return self.width * self.size


def decorated(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


@decorated
def helper(text, suffix="!"):
    return f"{text}{suffix}"
