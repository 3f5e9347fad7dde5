"""Values that are right after a restart. Each is edited in turn; a server that still gives the old one is stale."""

import functools

LIMIT = 1
SETTINGS = {"limit": LIMIT}  # the constant is used at import


def marked(function):
    mark = "decorator 1"

    @functools.wraps(function)
    def inner():
        return f"{function()} {mark}"

    return inner


@marked
def decorated():
    return "by"


def closing_over(word="closure 1"):
    return lambda: word


closure = closing_over()


class Counter:
    def __init__(self):
        self.start = 1


COUNTER = Counter()  # made once, by the class as it was


def body():
    return "body 1"


def answers():
    return {
        "import_constant": SETTINGS["limit"],
        "decorator": decorated(),
        "closure": closure(),
        "constructor": COUNTER.start,
        "body": body(),
    }
