"""What the report says, and that no text of the user's can say something in its place."""

from __future__ import annotations

import html as entities
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.devloop.report.kept import NOW_S, loaded, trip, week

from hotloop.devloop.metrics import Model, Records, Session
from hotloop.devloop.pulse import DAY_S, Asked
from hotloop.devloop.report import data, document, html, markdown, svg, terminal
from hotloop.devloop.report.data import Kept
from hotloop.devloop.report.words import harmless, share
from hotloop.errors import UsageError

VOID = {"meta", "circle", "path", "line", "polyline"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects what a reader sees."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text, self.titles = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def made(kept=None, **more):
    return data.make(kept if kept is not None else week(), NOW_S, **more)


def shown(report, width=100):
    console = Console(file=StringIO(), width=width, highlight=False, emoji=False, markup=False)
    console.print(terminal.render(report))
    return console.file.getvalue()


def test_the_page_is_whole_and_asks_nobody_for_anything():
    page = Page(html.render(made()))

    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [value for _, value in page.attributes if value and ("://" in value or "url(" in value)]
    assert "http" not in re.sub(r"http-equiv", "", html.render(made()))


def test_each_chart_has_a_name_and_a_table():
    page = Page(html.render(made()))
    labels = [value for name, value in page.attributes if name == "aria-label"]

    assert page.tags.count("svg") - [name for name, _ in page.attributes].count("aria-hidden") == len(labels) == 6
    assert page.tags.count("details") == 3


def test_the_first_sentence_says_what_the_figures_say():
    report = made()
    num_good = sum(point.outcome == "ok" for point in report.points)

    assert report.sentences[0].startswith("An edit came back in ")
    assert len(report.sentences) == 3
    assert "has one cause: encoder was loaded again because LENGTH in app.py changed" in report.sentences[2]
    assert report.current.num_edits == len(report.points)
    assert report.previous is not None
    assert report.previous.p50_s > report.current.p50_s
    assert report.tiles[0].tone == "good"
    assert len(report.current.feedback_s) == num_good


def test_the_shares_add_up_to_all_that_was_waited():
    report = made()

    assert sum(each.num_edits for each in report.shares) == len(report.points)
    assert sum(each.waited_s for each in report.shares) == pytest.approx(
        sum(min(point.feedback_s, 120) for point in report.points)
    )


@pytest.mark.parametrize("kept", [Kept("empty", 0.0, ()), Kept("empty", NOW_S - DAY_S, ())])
def test_an_empty_history_has_a_page_that_says_what_to_do(kept):
    report = made(kept)

    assert report.sentences == ("No edit was saved in this period: run dev serve, and save a file.",)
    Page(html.render(report))
    assert "run dev serve" in shown(report)
    assert "run dev serve" in markdown.render(report)


@pytest.mark.parametrize(("number", "word"), [(19, "slowest"), (20, "p95")])
def test_p95_is_said_from_twenty_on(number, word):
    trips = tuple(trip(NOW_S - 60 * n, 0.1, number=n) for n in range(1, number + 1))

    assert word in made(Kept("p", NOW_S - DAY_S, trips)).tiles[0].about


@pytest.mark.parametrize(("number", "has_line"), [(3, False), (4, True)])
def test_no_trend_is_drawn_below_four_answers(number, has_line):
    report = made(week(num_weeks=5, num_answers=number))

    page = html.render(report)
    felt = page[page.index("Felt and measured") :]
    assert ("polyline" in felt) == has_line
    assert ("no line is drawn" in felt) != has_line


@pytest.mark.parametrize(("number", "is_said"), [(7, False), (8, True)])
def test_nothing_is_said_of_answers_and_speed_together_below_eight_answers(number, is_said):
    trips = tuple(trip(NOW_S - 7 * DAY_S * n, 0.1 * n, number=1) for n in range(1, 10))
    asked = tuple(Asked(NOW_S - 7 * DAY_S * n + 60, "load", max(1, 5 - n // 2)) for n in range(number, 0, -1))
    reading = made(Kept("p", NOW_S - 70 * DAY_S, trips, asked=asked)).felt.reading

    assert ("In faster weeks the answers were better" in reading) == is_said


def test_a_slow_week_that_felt_bad_names_the_fix():
    trips = tuple(loaded(took_s=3.0, saved_at_s=NOW_S - 60 * n, number=n) for n in range(1, 9))
    reading = made(Kept("p", NOW_S - DAY_S, trips, asked=(Asked(NOW_S - 30, "feedback", 1),))).felt.reading

    assert (
        reading
        == "Slow, and it feels so: use LENGTH in the endpoint, not in encoder(): then no change of it loads anything."
    )


def test_a_fast_week_that_felt_bad_shows_how_it_varies_and_fails():
    trips = (*(trip(NOW_S - 60 * n, 0.1, number=n) for n in range(1, 9)), trip(NOW_S - 5, 0.1, "failed", number=9))
    reading = made(Kept("p", NOW_S - DAY_S, trips, asked=(Asked(NOW_S - 30, "load", 2),))).felt.reading

    assert reading.startswith("Fast, yet it does not feel good")
    assert "1 of 9 edits failed" in reading


def test_it_says_that_nothing_was_deployed_and_what_it_cost():
    text = shown(made())

    assert "No deploys are recorded" in text
    assert "$4.90 in 2 sessions" in text
    assert "What it cost" not in shown(made(replace(week(), records=Records())))


def test_the_json_is_one_document_that_another_report_compares_with(tmp_path):
    written = document.render(made(replace(week(), project="x\ud800")))
    (tmp_path / "before.json").write_text(written)
    figures = document.read_figures(tmp_path / "before.json")

    assert json.loads(written)["schema"] == 1
    assert figures == replace(made().current, name="before.json")
    assert "before.json" in made(previous=figures).tiles[0].change


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{}", '{"schema": 2, "kind": "report"}', '{"schema": 1, "kind": "report", "current": {}}']
)
def test_another_file_is_no_report_to_compare_with(tmp_path, text):
    (tmp_path / "x.json").write_text(text)

    with pytest.raises(UsageError, match="--compare"):
        document.read_figures(tmp_path / "x.json")


def test_figures_of_another_type_are_no_report(tmp_path):
    found = json.loads(document.render(made()))
    found["current"]["p50_s"] = "fast"
    (tmp_path / "x.json").write_text(json.dumps(found))

    with pytest.raises(UsageError, match="holds no report"):
        document.read_figures(tmp_path / "x.json")


HOSTILE = st.text(
    st.sampled_from([*"<>&\"'`|\\[]*_ \n\r\t\x00\x1b\x07\x7f\x9b", "\u202e", "\u2028", "\ud800", "a", "/", ".", "é", "字"]),
    min_size=1, max_size=12,
)  # fmt: skip


def hostile_report(name):
    names = f"{name}.py"
    model = Model(name, "loaded", "resident", 2.0, 0, f"{names}: LENGTH changed")
    trips = tuple(trip(NOW_S - 60 * n, 2.1, number=n, cause="model", models=(model,)) for n in range(1, 6))
    return made(Kept(name, NOW_S - DAY_S, trips, Records((Session("s1", NOW_S - 900, name),))))


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_whatever_things_are_called_the_page_shows_as_text(name):
    report = hostile_report(name)
    page = Page(html.render(report))
    plain = Page(html.render(hostile_report("name")))

    assert page.tags.count("section") == plain.tags.count("section")
    assert {name for name, _ in page.attributes} == {name for name, _ in plain.attributes}
    assert harmless(name) in " ".join(page.text)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", html.render(report))


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_whatever_things_are_called_a_terminal_and_markdown_stay_as_they_are(name):
    report = hostile_report(name)

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", shown(report))
    text = markdown.render(report)
    assert not re.search(r"(?<!\\)[<>]", text)
    assert text.count("\n") == markdown.render(hostile_report("name")).count("\n")
    json.loads(document.render(report))


@given(st.text())
def test_escaped_text_is_read_back_without_what_is_harmful(text):
    assert entities.unescape(svg.escape(text)) == harmless(text)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminals_page_fits(width):
    assert max(len(line.rstrip()) for line in shown(made(), width).splitlines()) <= width


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0 %"), (0.0001, "< 0.1 %"), (0.024, "2.4 %"), (0.39, "39 %"), (0.997, "> 99 %"), (1, "100 %")],
)
def test_a_share_is_never_rounded_to_none_or_all(ratio, text):
    assert share(ratio) == text


@pytest.mark.parametrize(("days", "label"), [(14, "Thu 26"), (60, "w48"), (400, "Nov 2026")])
def test_long_periods_are_shown_in_weeks_or_months(days, label):
    trips = tuple(trip(NOW_S - n * DAY_S, 0.1, number=1) for n in range(days))
    report = made(Kept("p", 0.0, tuple(reversed(trips))))

    assert label in svg.feedback(report.points, 980)
