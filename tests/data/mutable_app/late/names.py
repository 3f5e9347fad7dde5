from config import Mode

PREFIX = "row"


def key(number):
    return f"{PREFIX}{number + len(Mode)}"


def kind(level):
    return f"late/{level}"
