"""Levels of lines as libraries write them."""

from __future__ import annotations

import pytest

from hotloop.tui.log.levels import Levels, level_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("INFO:     127.0.0.1:5000 - 'GET /' 200", "I"),
        ("WARNING:root:slow", "W"),
        ("2026-05-04 10:00:00,123 - app.db - ERROR - gone", "E"),
        ("2026-05-04 10:00:00.123 | DEBUG    | app:main:3 - x", "D"),
        ("INFO 05-04 10:10:10 [core.py:70] engine", "I"),
        ("(EngineCore pid=7) WARNING 05-04 10:10:10 [x.py:1] y", "W"),
        ("E0504 10:00:00.123456 7 file.cc:12] bad", "E"),
        ('{"level": "error", "msg": "x"}', "E"),
        ("ts=1 level=warn msg=x", "W"),
        ("[error] worker left", "E"),
        ("warning: unused variable", "W"),
        ("app.py:3: UserWarning: deprecated", "W"),
        ("0 errors, ERROR_RATE=0.1", "I"),
        ("step batch=10 kv=52%", "I"),
        ("the error was mended", "I"),
        ("", "I"),
    ],
)
def test_a_line_says_its_level(text: str, level: str) -> None:
    assert level_of(text) == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("something odd", "W"),  # `logging` without a set-up writes warnings like this
        ("Loading: 40%|####      | 4/10 [00:01<00:02]", "I"),
        ("INFO: fine", "I"),
        ("ValueError: no", "E"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory", "E"),
    ],
)
def test_stderr_is_worth_a_warning_unless_it_says_otherwise(text: str, level: str) -> None:
    assert level_of(text, is_error_stream=True) == level


def test_a_traceback_is_an_error_down_to_its_exception() -> None:
    levels = Levels()
    lines = [
        "Traceback (most recent call last):",
        '  File "app.py", line 3, in f',
        "    x = INFO",
        "    ~~^~~",
        "chat.Missing: no",
        "served",
    ]

    assert [levels.of(1, "stderr", line) for line in lines] == ["E", "E", "E", "E", "E", "W"]
    assert levels.of(2, "stdout", "served") == "I"
