"""Whole screens are as they were looked at: a difference is wanted (`make screens`, look at it, commit it) or a bug."""

from __future__ import annotations

import pytest
from tests.tui import screens


@pytest.mark.parametrize(
    ("name", "size"), screens.GOLDENS, ids=[screens.file_of(*golden).stem for golden in screens.GOLDENS]
)
def test_a_screen_is_as_it_was(name: str, size: tuple[int, int]):
    assert screens.text_of(name, size).splitlines() == screens.file_of(name, size).read_text().splitlines()
