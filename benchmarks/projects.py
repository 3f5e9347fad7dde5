"""The projects that are measured: the chat template as it is scaffolded, and variants of it."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

QUESTION = "What is the capital of France?"
PEER_APPS = Path(__file__).parent / "peer_apps"


@dataclass(frozen=True)
class FactEdit:
    """An edit of `facts.py`, and the answer that a fresh process gives after it."""

    pattern: str
    replacement: str
    expected: str | int


# By the name of the answer that the edit must change.
FACT_EDITS = {
    "body": FactEdit(r"body 1", "body 2", "body 2"),
    "import_constant": FactEdit(r"^LIMIT = 1", "LIMIT = 2", 2),
    "decorator": FactEdit(r"decorator 1", "decorator 2", "by decorator 2"),
    "closure": FactEdit(r"closure 1", "closure 2", "closure 2"),
    "constructor": FactEdit(r"self\.start = 1", "self.start = 2", 2),
}


@dataclass
class Project:
    """A folder with an app in it, edited as an editor does.

    Attributes:
        is_saved_in_place: Write into the file itself. Else a new file is renamed over the old one.
    """

    root: Path
    is_saved_in_place: bool = False

    def substitute(self, name: str, pattern: str, replacement: str) -> str:
        """The text of a file with one match replaced.

        Raises:
            ValueError: The file does not match: the template changed.
        """
        text, count = re.subn(pattern, replacement, (self.root / name).read_text(), count=1, flags=re.MULTILINE)
        if not count:
            msg = f"{self.root / name} has no line that matches {pattern!r}"
            raise ValueError(msg)
        return text

    def edit(self, name: str, pattern: str, replacement: str) -> float:
        """Replace one match in a file and save it; returns the moment of the save on CLOCK_MONOTONIC, seconds."""
        text = self.substitute(name, pattern, replacement)
        if self.is_saved_in_place:
            (self.root / name).write_text(text)
            return time.monotonic()
        return save(self.root / name, text)

    def edit_prompt(self, prompt: str) -> float:
        """Save another prompt; returns the moment of the save."""
        return self.edit("app.py", r"^PROMPT = .*$", f"PROMPT = {prompt!r}")


def save(path: Path, text: str) -> float:
    """Write a file beside `path`, rename it over `path`, and return the moment just after, seconds."""
    fresh = path.with_name(f"{path.name}___jb_tmp___")  # as PyCharm calls it
    fresh.write_text(text)
    fresh.replace(path)
    return time.monotonic()


def scaffolded(name: str, folder: Path) -> Project:
    """A template, as `dev new` writes it."""
    with as_file(files("hotloop.templates") / name) as template:
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Project(folder)


def chat(folder: Path) -> Project:
    """The chat template, as `dev new` writes it."""
    return scaffolded("chat", folder)


def chat_for_peers(folder: Path) -> Project:
    """The chat template with the servers that peers need beside it."""
    project = chat(folder)
    for path in PEER_APPS.glob("*.py"):
        shutil.copy(path, folder)
    return project


def chat_without_probe(folder: Path) -> Project:
    """The chat template without its probe, so that nothing runs between a save and the first request.

    It has the peers' `facts.py`, and an endpoint for it.
    """
    project = chat(folder)
    shutil.copy(PEER_APPS / "facts.py", folder)
    project.edit("app.py", r"^from generate import", "import facts\nfrom generate import")
    text = (folder / "app.py").read_text()
    save(folder / "app.py", text[: text.index("@app.probe")] + _FACTS_ENDPOINT)
    return project


_FACTS_ENDPOINT = """@app.endpoint(path="/facts")
def served_facts() -> dict[str, object]:
    return facts.answers()
"""


def edit_all_facts(project: Project) -> float:
    """Make every edit of `FACT_EDITS` in one save; returns its moment."""
    text = (project.root / "facts.py").read_text()
    for edit in FACT_EDITS.values():
        text = re.sub(edit.pattern, edit.replacement, text, count=1, flags=re.MULTILINE)
    return save(project.root / "facts.py", text)


def chat_with_own_class(folder: Path) -> Project:
    """The chat template, its language model wrapped in a torch module of the project's own (`answerer.py`)."""
    project = chat(folder)
    save(folder / "answerer.py", _ANSWERER)
    project.edit("app.py", r"^from generate import", "from answerer import Answerer\nfrom generate import")
    project.edit("app.py", r"return (.+)\.eval\(\)$", r"return Answerer(\1).eval()")
    return project


_ANSWERER = '''"""The language model, and what is done to its scores."""

import torch


class Answerer(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, input_ids, past_key_values=None, use_cache=True):
        temperature = 1.0
        output = self.model(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
        output.logits = output.logits * self.scale / temperature
        return output
'''


def edit_forward(project: Project, number: int) -> float:
    """Edit the body of `Answerer.forward`; the answers stay the same."""
    return project.edit("answerer.py", r"temperature = .*$", f"temperature = 1.0 + {number} * 1e-9")


def edit_loader(project: Project, number: int) -> float:
    """Edit the body of `llm`, the loader, so that the model must be loaded again."""
    return project.edit("app.py", r"^    return (.+)\.(eval\(\)|train\(.*\))$", rf"    return \1.train({number} < 0)")


def chat_of_50_modules(folder: Path) -> Project:
    """The chat template and modules of about 100 lines each, 50 in all, every one imported by the app."""
    project = chat(folder)
    (folder / "parts").mkdir()
    save(folder / "parts" / "__init__.py", "")
    numbers = range(50 - len(list(folder.rglob("*.py"))) + 1)  # test_app.py is no part of the app
    for number in numbers:
        save(folder / "parts" / f"part{number:02}.py", _part(number))
    imports = "\n".join(f"from parts import part{number:02}" for number in numbers)
    project.edit("app.py", r"^from generate import", f"{imports}\nfrom generate import")
    return project


def _part(number: int) -> str:
    before = f"from parts import part{number - 1:02}\n\n" if number else ""
    functions = "".join(
        f'''

def step{i}(values, factor={i}):
    """Scale what is positive, drop the rest."""
    kept = [value * factor for value in values if value > 0]
    if not kept:
        return {{"count": 0, "sum": 0.0, "step": "part {number} step {i}"}}
    return {{"count": len(kept), "sum": sum(kept) + OFFSET, "step": "part {number} step {i}"}}
'''
        for i in range(12)
    )
    return f'"""Part {number} of 50."""\n\n{before}OFFSET = 0\n{functions}'


def edit_part(project: Project, number: int) -> float:
    """Edit one constant of one module in the middle."""
    return project.edit("parts/part20.py", r"^OFFSET = .*$", f"OFFSET = {number}")
