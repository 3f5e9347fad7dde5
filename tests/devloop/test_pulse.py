"""When the question is asked, and when it is not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hotloop import events
from hotloop.devloop import answers, history, pulse
from hotloop.devloop.pulse import DAY_S, Asked, Memory, Moment

NOW_S, WALL_S = 10_000.0, 1_800_000_000.0
AGREED = Memory("yes", (), 9, 30)
QUIT = Moment(is_quitting=True)


def asks(memory=AGREED, moment=QUIT, wall_s=WALL_S):
    return pulse.next_question(memory, moment, NOW_S, wall_s, random.Random(1))


def ignored(count, days_ago):
    return tuple(Asked(WALL_S - days_ago * DAY_S - n, "load") for n in range(count, 0, -1))


@pytest.mark.parametrize(("sessions", "is_asked"), [(4, False), (5, True), (50, True)])
def test_consent_is_asked_after_the_fifth_session(sessions, is_asked):
    question = asks(Memory(num_sessions=sessions))

    assert (question is not None) == is_asked
    assert question is None or (question.item is None and question.keys == ("y", "n", "v"))


def test_whoever_said_no_is_asked_nothing():
    assert asks(replace(AGREED, consent="no")) is None


@pytest.mark.parametrize(("iterations", "is_asked"), [(9, False), (10, True)])
def test_a_week_with_little_work_is_not_asked_about(iterations, is_asked):
    assert (asks(replace(AGREED, num_iterations=iterations)) is not None) == is_asked


@pytest.mark.parametrize(("days_ago", "is_asked"), [(6.99, False), (7.01, True)])
def test_it_asks_at_most_once_a_week(days_ago, is_asked):
    asked = (Asked(WALL_S - days_ago * DAY_S, "load", 4),)

    assert (asks(replace(AGREED, asked=asked)) is not None) == is_asked


def test_another_project_that_asked_this_week_is_enough():
    assert asks(replace(AGREED, asked_elsewhere_s=WALL_S - DAY_S)) is None


@pytest.mark.parametrize(
    ("count", "days_ago", "is_asked"),
    [(2, 8, True), (3, 8, False), (3, 31, True), (5, 31, True), (6, 31, False), (6, 400, False)],
)
def test_whoever_ignores_it_is_asked_monthly_then_never(count, days_ago, is_asked):
    assert (asks(replace(AGREED, asked=ignored(count, days_ago))) is not None) == is_asked


def test_an_answer_begins_the_count_anew():
    asked = (*ignored(5, 40), Asked(WALL_S - 20 * DAY_S, "load", 1), *ignored(2, 8))

    assert asks(replace(AGREED, asked=asked)) is not None


@pytest.mark.parametrize(
    ("moment", "is_asked"),
    [
        (Moment(active_at_s=NOW_S - 599), False),
        (Moment(active_at_s=NOW_S - 600), True),
        (replace(QUIT, is_red=True), False),
        (replace(QUIT, is_offline=True), False),
        (replace(QUIT, failed_at_s=NOW_S - 119), False),
        (replace(QUIT, failed_at_s=NOW_S - 120), True),
    ],
)
def test_it_asks_in_good_moments_alone(moment, is_asked):
    assert (asks(moment=moment) is not None) == is_asked


def test_four_questions_cover_all_items_in_an_order_that_differs():
    orders = set()
    for seed in range(20):
        chooser, asked = random.Random(seed), ()
        for n in range(4):
            memory = replace(AGREED, asked=asked)
            question = pulse.next_question(memory, QUIT, NOW_S, WALL_S + n * 8 * DAY_S, chooser)
            asked = (*asked, Asked(WALL_S + n * 8 * DAY_S, question.item, 3))
        assert {each.item for each in asked} == set(pulse.TEXTS)
        orders.add(tuple(each.item for each in asked))
    assert len(orders) > 5


def test_the_moment_follows_the_events():
    failed = events.Iteration(1, "failed", 0.0, False, 1, None, (), 0, 0.1, None, {})
    said = [
        events.IterationStarted(5.0, 1, ()),
        events.IterationFinished(6.0, failed),
        events.IterationFinished(7.0, replace(failed, outcome="superseded")),
        events.Offline(8.0, 1),
    ]
    moment = Moment()
    for event in said:
        moment = pulse.follow(moment, event)
    assert moment == Moment(active_at_s=5.0, is_red=True, is_offline=True, failed_at_s=8.0)

    for event in (events.Online(9.0, 1.0), events.IterationFinished(9.5, replace(failed, outcome="ok"))):
        moment = pulse.follow(moment, event)
    assert (moment.is_red, moment.is_offline) == (False, False)


# --- kept answers


@pytest.fixture
def kept(tmp_path):
    history.History(tmp_path / "history.db").close()
    found = answers.Answers(tmp_path / "history.db", tmp_path / "state")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("key", "consent", "of_another_project"), [("y", "yes", ""), ("n", "no", ""), ("v", "no", "no"), ("", "no", "")]
)
def test_consent_is_the_projects_and_never_is_the_users(tmp_path, kept, key, consent, of_another_project):
    answers.answer(kept, pulse.Question(None, "?", ("y", "n", "v")), key)
    (tmp_path / "other").mkdir()
    history.History(tmp_path / "other" / "history.db").close()
    other = answers.Answers(tmp_path / "other" / "history.db", tmp_path / "state")

    assert (kept.memory(WALL_S).consent, other.memory(WALL_S).consent) == (consent, of_another_project)
    other.agree(yes=True)
    assert other.memory(WALL_S).consent == "yes"
    other.close()


def test_a_key_that_is_no_answer_counts_as_ignored(kept):
    answers.answer(kept, pulse.question("focus"), "x")
    answers.answer(kept, pulse.question("load"), "4", "it was")

    assert [(each.item, each.answer, each.because) for each in kept.asked()] == [
        ("focus", None, ""),
        ("load", 4, "it was"),
    ]
    assert kept.memory(WALL_S).asked_elsewhere_s == kept.asked()[-1].at_s


def test_answers_are_handed_out_by_week_without_the_ignored_ones():
    asked = (Asked(1_795_665_600.0, "load", 4), Asked(1_795_665_601.0, "focus"))

    assert answers.by_week(asked) == [("2026-W48", "load", 4)]
