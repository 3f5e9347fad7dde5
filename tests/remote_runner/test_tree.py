"""What a tree knows of itself agrees with what is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotloop.changes import Delete, MakeDirectory, Put
from hotloop.remote_runner.tree import Tree

PATHS = st.sampled_from(["a", "b", "d/a", "d/e/a", "d", "d/e"])
OPERATIONS = st.lists(
    st.one_of(
        st.builds(Delete, PATHS), st.builds(MakeDirectory, PATHS), PATHS.map(lambda path: Put(path, "0" * 64, 1))
    ),
    max_size=12,
)


@given(OPERATIONS, OPERATIONS)
def test_directories_are_counted_whatever_was_done(first, second):
    tree = Tree(entry for entry in first if not isinstance(entry, Delete))
    tree.apply(second)

    assert tree.num_directories == sum(isinstance(entry, MakeDirectory) for entry in tree)
