import pytest

from hotloop.devloop.safety import doubt_about_deletion


@pytest.mark.parametrize(
    ("known", "deleted", "is_doubtful"),
    [(0, 0, False), (100, 49, False), (100, 50, False), (100, 51, True), (100, 100, True), (4, 3, False), (4, 4, True)],
)
def test_most_of_a_tree_is_not_deleted_unasked(known, deleted, is_doubtful):
    assert (doubt_about_deletion(known, deleted) is not None) == is_doubtful


def test_a_checkout_may_delete_most_but_not_all():
    assert doubt_about_deletion(100, 90, is_vcs_operation=True) is None
    assert doubt_about_deletion(100, 100, is_vcs_operation=True) is not None


def test_a_project_that_is_gone_is_doubtful():
    assert doubt_about_deletion(1, 1, is_root_there=False) is not None
