from config import threshold

SEED = 6


def size(n):
    return n + threshold(2)


def describe(name, width=3):
    return f"{name}:{width * 2}"


class Vocabulary:
    limit = 4

    def __init__(self, found, sep="+"):
        self.found = list(found)[: self.limit]
        self.sep = sep

    def joined(self):
        return self.sep.join(self.found)

    def first(self, upper=False):
        word = self.found[0]
        return word.upper() if upper else word
