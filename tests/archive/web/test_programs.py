"""Programs as coloured lines, diffs by word, and reports of any shape as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.archive.web.programs import difference, lines, words
from vevolve.archive.web.views.breakdown import breakdown

TEXT = st.text(st.sampled_from("ab =()\n\t#'\"é\u2028"), max_size=60)


def text_of(row: dict[str, Any], side: str) -> str | None:
    return None if row[side] is None else "".join(text for _, text in row[side]["pieces"])


@given(TEXT)
def test_colouring_changes_no_character(source: str) -> None:
    assert "\n".join("".join(text for _, text in line) for line in lines(source)) == source


@given(TEXT, TEXT)
def test_a_diff_holds_every_line_of_both_in_order(old: str, new: str) -> None:
    rows = difference(old, new, context=None)
    assert [text_of(row, "left") for row in rows if row["left"]] == old.rstrip("\n").split("\n")
    assert [text_of(row, "right") for row in rows if row["right"]] == new.rstrip("\n").split("\n")
    assert all(text_of(row, "left") == text_of(row, "right") for row in rows if row["kind"] == "same")


@given(TEXT, TEXT)
def test_folded_lines_are_counted(old: str, new: str) -> None:
    whole, near = difference(old, new, context=None), difference(old, new, context=1)
    hidden = sum(row["count"] for row in near if row["kind"] == "skip")
    assert len(whole) == hidden + sum(row["kind"] != "skip" for row in near)


def test_only_the_words_that_differ_are_marked() -> None:
    (row,) = difference("page = keys.mean(dim=1)", "page = keys.amax(dim=1)")
    assert [text for kind, text in row["left"]["pieces"] if "w" in kind.split()] == ["mean"]
    assert [text for kind, text in row["right"]["pieces"] if "w" in kind.split()] == ["amax"]


def test_lines_that_share_nothing_have_no_marked_words() -> None:
    one, two = words("return keys", "for x in y: pass")
    assert not any(one) and not any(two)


def test_a_very_long_program_is_shown_without_colours() -> None:
    assert lines("x = 1\n" * 100_000)[0] == [("", "x = 1")]


def test_records_of_sibling_branches_stand_in_one_table() -> None:
    report = {"points": {"main": {p: {"layers": [{"layer": 1, "error": e}]} for p, e in (("32", 0.5), ("64", 0.25))}}}
    (table,) = breakdown(report)
    assert table["header"] == ["at", "error"] and table["title"] == "points › main › layers"
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [["32", "0.5"], ["64", "0.25"]]
    assert [row[1]["shade"] for row in table["rows"]] == [5, 0]


@pytest.mark.parametrize(
    "report", [{}, {"a": None}, {"a": []}, {"a": [1, "x"]}, {"a": {"b": {"c": [{}]}}}, {"": {"": 1}}]
)
def test_a_report_of_any_shape_becomes_tables(report: dict[str, Any]) -> None:
    for table in breakdown(report):
        assert all(len(row) == len(table["header"]) for row in table["rows"])


def test_a_report_that_never_ends_is_cut() -> None:
    deep: dict[str, Any] = {"value": 1}
    for _ in range(50):
        deep = {"deeper": deep, "value": 1}
    assert len(breakdown(deep)) < 12
    (table,) = breakdown({"rows": [{"n": n} for n in range(2000)]})
    assert len(table["rows"]) == 500
