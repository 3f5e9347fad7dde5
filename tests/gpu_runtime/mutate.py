"""Edits of a project's text, as people and their tools make them: most are fine, many are broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Files = dict[str, str]
Edit = Callable[[Files, Random], str]

_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
_OPERATOR = re.compile(r" ([+\-*]) ")


def _python(files: Files, random: Random) -> str:
    return random.choice(sorted(path for path in files if path.endswith(".py") and files[path].strip()))


def _replace_one(text: str, pattern: re.Pattern[str], random: Random, new: Callable[[re.Match[str]], str]) -> str:
    matches = list(pattern.finditer(text))
    if not matches:
        return text
    match = random.choice(matches)
    return text[: match.start()] + new(match) + text[match.end() :]


def change_number(files: Files, random: Random) -> str:
    """A constant, a default, an argument, a class attribute, whatever the number stands for."""
    path = _python(files, random)
    files[path] = _replace_one(files[path], _NUMBER, random, lambda _: str(random.randint(0, 12)))
    return f"a number in {path}"


def change_operator(files: Files, random: Random) -> str:
    path = _python(files, random)
    files[path] = _replace_one(files[path], _OPERATOR, random, lambda _: f" {random.choice('+-*')} ")
    return f"an operator in {path}"


def change_text(files: Files, random: Random) -> str:
    path = _python(files, random)
    pattern = re.compile(r"\"[a-z+-]{1,8}\"")
    files[path] = _replace_one(files[path], pattern, random, lambda m: m[0][:-1] + random.choice("xyz") + '"')
    return f"a string in {path}"


def delete_line(files: Files, random: Random) -> str:
    path = _python(files, random)
    lines = files[path].splitlines(keepends=True)
    gone = lines.pop(random.randrange(len(lines)))
    files[path] = "".join(lines)
    return f"delete {gone.strip()!r} from {path}"


def double_line(files: Files, random: Random) -> str:
    path = _python(files, random)
    lines = files[path].splitlines(keepends=True)
    at = random.randrange(len(lines))
    files[path] = "".join([*lines[: at + 1], *lines[at:]])
    return f"double {lines[at].strip()!r} in {path}"


def swap_lines(files: Files, random: Random) -> str:
    path = _python(files, random)
    lines = files[path].splitlines(keepends=True)
    at = random.randrange(max(1, len(lines) - 1))
    lines[at : at + 2] = reversed(lines[at : at + 2])
    files[path] = "".join(lines)
    return f"swap lines {at + 1} of {path}"


def comment(files: Files, random: Random) -> str:
    path = _python(files, random)
    lines = files[path].splitlines(keepends=True)
    lines.insert(random.randrange(len(lines) + 1), f"# a note {random.randrange(100)}\n")
    files[path] = "".join(lines)
    return f"comment in {path}"


def rename(files: Files, random: Random) -> str:
    """Rename a name everywhere."""
    path = _python(files, random)
    names = re.findall(r"(?:def|class) (\w+)", files[path])
    names = [name for name in names if not name.startswith("__") and name not in {"numbers", "text", "decorated"}]
    if not names:
        return comment(files, random)
    name = random.choice(names)
    new = f"{name.rstrip('0123456789')}{random.randrange(100)}"
    for other in [p for p in files if p.endswith(".py")]:
        files[other] = re.sub(rf"\b{name}\b", new, files[other])
    return f"rename {name} to {new}"


def rename_carelessly(files: Files, random: Random) -> str:
    """Rename a name where it is defined only."""
    path = _python(files, random)
    files[path] = _replace_one(files[path], re.compile(r"(?<=def )\w+"), random, lambda m: m[0] + "_old")
    return f"rename a function in {path} carelessly"


def add_decorator(files: Files, random: Random) -> str:
    path = _python(files, random)
    pattern = re.compile(r"^def (\w+)\(", re.MULTILINE)
    files[path] = "import decorate\n" * (path != "decorate.py") + files[path]
    if path != "decorate.py":
        files[path] = _replace_one(files[path], pattern, random, lambda m: f"@decorate.doubled\n{m[0]}")
    return f"decorate a function of {path}"


def remove_decorator(files: Files, random: Random) -> str:
    path = _python(files, random)
    files[path] = _replace_one(files[path], re.compile(r"^@(?!app).*\n", re.MULTILINE), random, lambda _: "")
    return f"remove a decorator from {path}"


def change_signature(files: Files, random: Random) -> str:
    path = _python(files, random)
    new = f"extra{random.randrange(10)}={random.randrange(10)}"
    files[path] = _replace_one(
        files[path], re.compile(r"(?<=def )(\w+)\((.*)\)(?=:)"), random, lambda m: f"{m[1]}({m[2]}, {new})"
    )
    return f"a parameter {new} in {path}"


def change_base(files: Files, random: Random) -> str:
    pattern = re.compile(r"class (\w+)\((Shape|Square|Wide|object)\):")
    files["parts/shapes.py"] = _replace_one(
        files.get("parts/shapes.py", ""), pattern, random, lambda m: f"class {m[1]}({random.choice(['Shape', 'Square', 'Wide', 'object'])}):"
    )  # fmt: skip
    return "a base class"


def add_method(files: Files, random: Random) -> str:
    """Override something that is inherited."""
    name = random.choice(["adjust", "label", "area"])
    files["parts/shapes.py"] = _replace_one(
        files.get("parts/shapes.py", ""), re.compile(r"class \w+\((?:Shape|Square)\):\n"), random,
        lambda m: f"{m[0]}    def {name}(self, *args):\n        return {random.randrange(9)}\n\n",
    )  # fmt: skip
    return f"override {name}"


def add_module(files: Files, random: Random) -> str:
    name = f"extra{random.randrange(5)}"
    files[f"{name}.py"] = f"VALUE = {random.randrange(9)}\n\n\ndef more(x):\n    return x + VALUE\n"
    user = random.choice(["app.py", "parts/build.py", "config.py"])
    if user in files:
        files[user] = f"import {name}\n" + files[user] + f"\n\nEXTRA = {name}.more(1)\n"
        files[user] = _replace_one(files[user], re.compile(r"return (?=\w)"), random, lambda m: f"{m[0]}EXTRA and ")
    return f"new module {name} used by {user}"


def import_late(files: Files, random: Random) -> str:
    """Move an import from a module's top into one of its functions, or one from a function to the top."""
    path = _python(files, random)
    lines = files[path].splitlines(keepends=True)
    imports = [
        n for n, line in enumerate(lines) if line.lstrip().startswith(("import ", "from ")) and "hotloop" not in line
    ]
    functions = [n for n, line in enumerate(lines) if line.startswith("def ") and line.endswith(":\n")]
    if not imports or not functions:
        return comment(files, random)
    at = random.choice(imports)
    line = lines.pop(at)
    if line.startswith(" "):
        lines.insert(0, line.lstrip())
    else:
        functions = [n - (n > at) for n in functions]
        lines.insert(random.choice(functions) + 1, "    " + line)
    files[path] = "".join(lines)
    return f"move {line.strip()!r} in {path}"


def move_function(files: Files, random: Random) -> str:
    """Move config.threshold to a module of its own, or shadow a builtin."""
    if random.random() < 0.5:
        files["limits.py"] = f"def threshold(level={random.randrange(9)}):\n    return level * 3\n"
        files["parts/build.py"] = files.get("parts/build.py", "").replace(
            "from config import threshold", "from limits import threshold"
        )
        return "move threshold"
    path = _python(files, random)
    files[path] += f"\n\ndef {random.choice(['min', 'sum', 'sorted', 'len'])}(*args, **kwargs):\n    return 7\n"
    return f"shadow a builtin in {path}"


def delete_module(files: Files, random: Random) -> str:
    path = _python(files, random)
    if path == "app.py":
        return comment(files, random)
    del files[path]
    return f"delete {path}"


def break_syntax(files: Files, random: Random) -> str:
    path = _python(files, random)
    at = random.randrange(len(files[path]))
    files[path] = files[path][:at] + random.choice(["(", ")", ":", "\n  ", "'"]) + files[path][at:]
    return f"a slip in {path}"


def change_data(files: Files, random: Random) -> str:
    """Data that a loader reads: contents, a new file in a folder that is listed, a file that is gone."""
    what = random.randrange(3)
    if what == 0:
        values = [random.randrange(9) for _ in range(3)]
        files["data/weights.json"] = f'{{"values": {values}, "bias": 1}}\n'
        return "the loader's data"
    name = f"data/{random.choice('abcd')}.txt"
    if what == 1 or name not in files:
        files[name] = f"word{random.randrange(50)}\n"
        return f"write {name}"
    del files[name]
    return f"delete {name}"


EDITS: tuple[Edit, ...] = (
    change_number, change_number, change_number, change_operator, change_operator, change_text, delete_line,
    double_line, swap_lines, comment, rename, rename_carelessly, add_decorator, remove_decorator, change_signature,
    change_base, add_method, add_module, import_late, import_late, move_function, delete_module, break_syntax, change_data, change_data,
)  # fmt: skip
