"""What is perhaps sent without being meant is told, each file once, with the lines that leave it out."""

import pytest

from hotloop.changes import Link, MakeDirectory, Put
from hotloop.devloop.ignore import OWN_RULES, Ignore
from hotloop.devloop.unintended import LARGE_BYTES, MANY_FILES, unintended

DIGEST = "0" * 64


def file(path, size_bytes=1_000):
    return Put(path, DIGEST, size_bytes)


def test_an_ordinary_project_is_sent_without_a_word():
    files = [file(f"src/{number}.py") for number in range(MANY_FILES - 1)]

    assert unintended([*files, file("at.bin", LARGE_BYTES), Link("x/site-packages", "y"), MakeDirectory("d")]) == []


def test_more_files_than_one_writes_are_told_with_the_folders_that_have_most():
    files = [file(f"data/{number % 3}/{number}") for number in range(MANY_FILES)]
    (many,) = unintended([*files, file("app.py")])

    assert many.text == "20,001 files, 20 MB are synced; data has 20,000"
    assert many.hint == "to leave it out, write to .hotloopignore: /data/"


def test_many_files_in_no_folder_are_told_too():
    (many,) = unintended(file(str(number)) for number in range(MANY_FILES + 1))

    assert (many.text, many.lines) == ("20,001 files, 20 MB are synced", ("*.SUFFIX",))


def test_large_files_are_told_largest_first_and_no_more_than_three_by_name():
    sizes = (101, 2_300, 140, 120, 102)
    (large,) = unintended(file(f"{size} [a]", size * 1_000_000) for size in sizes)

    assert large.text == (
        "large files are synced: 2300 [a] (2.3 GB), 140 [a] (140 MB), 120 [a] (120 MB) and 2 more (203 MB)"
    )
    assert large.hint == r"to leave it out, write to .hotloopignore, a line each: /2300 \[a]  /140 \[a]  /120 \[a]"


def test_installed_packages_are_one_finding_for_each_outermost_folder():
    inside = [file(f"vendor/site-packages/torch/{number}.so", 600_000_000) for number in range(2)]
    nested = [file("web/node_modules/a/node_modules/b/c.js")]

    assert [(item.text, item.lines) for item in unintended([*inside, *nested])] == [
        ("vendor/site-packages holds installed packages, and is synced: 2 files, 1.2 GB", ("/vendor/site-packages/",)),
        ("web/node_modules holds installed packages, and is synced: 1 file, 0 MB", ("/web/node_modules/",)),
    ]


@pytest.mark.parametrize("name", ["plain.bin", "[a] ?*.bin", "!a#", "#a", "back\\slash", "end "])
def test_the_line_that_is_told_leaves_the_file_out_and_no_other(tmp_path, name):
    for folder in (tmp_path, tmp_path / "d"):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    (large,) = unintended([file(name, LARGE_BYTES + 1)])
    (tmp_path / OWN_RULES).write_text("\n".join(large.lines) + "\n")

    assert sorted(path for path, _ in Ignore(tmp_path).walk()) == sorted([OWN_RULES, "d", f"d/{name}"])
