"""Replies become programs, or a message that a model can use; nothing else ever comes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vevolve.evolve.edits import MAX_PROGRAM, MAX_REPLY, Edit, Unapplied, apply

PARENT = """\
import torch

PAGE = 16


def score(query, keys):
    bound = query @ keys
    return bound


def select(query, cache):
    if cache.n > PAGE:
        return score(query, cache)
    return None
"""


def block(search: str, replace: str, width: int = 7) -> str:
    return f"{'<' * width} SEARCH\n{search}\n{'=' * width}\n{replace}\n{'>' * width} REPLACE"


# --------------------------------------------------------------------------------------------- SEARCH/REPLACE blocks


def test_a_block_replaces_the_one_place_it_names_and_the_idea_is_read():
    edit = apply("Idea: larger pages\n\n" + block("PAGE = 16", "PAGE = 32"), PARENT)
    assert edit == Edit(PARENT.replace("PAGE = 16", "PAGE = 32"), "larger pages")


def test_blocks_apply_in_order_each_to_the_outcome_of_those_before():
    text = block("PAGE = 16", "PAGE = 32") + "\nand then\n" + block("PAGE = 32", "PAGE = 64")
    assert apply(text, PARENT).source == PARENT.replace("PAGE = 16", "PAGE = 64")


def test_an_empty_replace_deletes():
    text = "<<<<<<< SEARCH\nPAGE = 16\n=======\n>>>>>>> REPLACE"
    assert apply(text, PARENT).source == PARENT.replace("PAGE = 16\n", "")


def test_blocks_inside_a_fence_apply():
    text = f"Idea: x\n```python\n{block('PAGE = 16', 'PAGE = 8')}\n```\nDone."
    assert apply(text, PARENT).source == PARENT.replace("PAGE = 16", "PAGE = 8")


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_foreign_newlines_of_reply_and_parent_do_not_matter(newline):
    text = block("PAGE = 16\n\n", "PAGE = 8\n\n").replace("\n", newline)
    assert apply(text, PARENT.replace("\n", newline)).source == PARENT.replace("PAGE = 16", "PAGE = 8")


def test_trailing_blanks_are_forgiven():
    text = block("def score(query, keys):   \n    bound = query @ keys\t", "def score(query, keys):\n    bound = 1")
    assert "    bound = 1\n    return bound" in apply(text, PARENT).source


def test_a_shifted_block_is_indented_like_the_program():
    text = block(
        "if cache.n > PAGE:\n    return score(query, cache)", "if cache.n > PAGE:\n    return 1\nelse:\n    pass"
    )
    changed = apply(text, PARENT).source
    assert "    if cache.n > PAGE:\n        return 1\n    else:\n        pass\n    return None" in changed


def test_a_shifted_block_with_tabs_keeps_the_tabs():
    parent = "def f():\n\tif True:\n\t\treturn 1\n"
    assert apply(block("if True:\n\treturn 1", "if False:\n\treturn 2"), parent).source == (
        "def f():\n\tif False:\n\t\treturn 2\n"
    )


def test_blank_lines_around_a_search_are_forgiven():
    assert apply(block("\nPAGE = 16\n\n\n", "\nPAGE = 4\n"), PARENT).source == PARENT.replace("= 16", "= 4")


def test_a_shifted_block_whose_replacement_leaves_the_margin_is_refused():
    text = block("        bound = query @ keys\n        return bound", "    return 1")
    with pytest.raises(Unapplied, match="goes further left"):
        apply(text, PARENT)


def test_a_search_that_matches_twice_is_refused_with_the_lines():
    with pytest.raises(Unapplied, match=r"block 1 matches 2 places, at lines 1, 2"):
        apply(block("x = 1", "x = 2"), "x = 1\nx = 1\n")


def test_an_exact_match_wins_over_a_tolerant_one():
    assert apply(block("x = 1", "x = 2"), "    x = 1\nx = 1\n").source == "    x = 1\nx = 2\n"


def test_a_search_that_is_missing_shows_the_nearest_lines():
    with pytest.raises(Unapplied) as refused:
        apply(block("def score(query, keys):\n    bound = keys @ query\n    return bound", "pass"), PARENT)
    assert "block 1 is not in the program" in str(refused.value)
    assert "    6 | def score(query, keys):\n    7 |     bound = query @ keys" in str(refused.value)


def test_a_search_with_no_common_line_shows_the_line_with_most_of_its_words():
    with pytest.raises(Unapplied, match=r"    7 \|     bound = query @ keys"):
        apply(block("bound = keys * query", "pass"), PARENT)


def test_an_empty_search_rewrites_the_program():
    assert apply("<<<<<<< SEARCH\n=======\nA = 1\n>>>>>>> REPLACE", PARENT).source == "A = 1\n"
    assert apply(block("", "A = 1"), "").source == "A = 1\n"


def test_an_empty_search_among_several_blocks_is_refused():
    with pytest.raises(Unapplied, match="Block 2 has an empty SEARCH"):
        apply(block("PAGE = 16", "PAGE = 1") + "\n" + block("", "A = 1"), PARENT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< SEARCH\nPAGE = 16\n=======\nPAGE = 8\n", "no line `>>>>>>> REPLACE`; was the reply cut off"),
        ("<<<<<<< SEARCH\nPAGE = 16\n>>>>>>> REPLACE", "no line `=======`"),
        (block("PAGE = 16", "PAGE = 16"), "Nothing changed"),
        (block("PAGE = 16", "PAGE = '\ud800'"), "surrogate"),
        (block("PAGE = 16", "#" * MAX_PROGRAM), "at most 262,144 are allowed"),
        ("x" * (MAX_REPLY + 1), "characters; at most"),
        ("<<<<<<< SEARCH\n=======\n\n>>>>>>> REPLACE", "empty program"),
        ("I would rather not.", "neither a SEARCH/REPLACE block nor a program"),
        ("", "neither"),
    ],
)
def test_a_reply_without_a_program_is_refused_with_the_reason(text, message):
    with pytest.raises(Unapplied, match=message):
        apply(text, PARENT)


def test_a_program_that_holds_a_line_of_equals_signs_can_be_searched_and_written():
    parent = '"""Title\n=======\n"""\nA = 1\n'
    edit = apply(block('"""Title\n=======\n"""', '"""Other\n=======\n"""'), parent)
    assert edit.source == '"""Other\n=======\n"""\nA = 1\n'


def test_a_block_that_can_be_divided_in_two_sound_ways_is_refused():
    with pytest.raises(Unapplied, match="use longer markers"):
        apply("<<<<<<< SEARCH\na\n=======\n=======\n>>>>>>> REPLACE", '"""\na\n=======\n"""\n')


def test_longer_markers_carry_a_program_that_holds_markers():
    inner = block("a", "b")
    assert apply(block("A = 1", f'A = """\n{inner}\n"""', width=9), "A = 1\n").source == f'A = """\n{inner}\n"""\n'


# ------------------------------------------------------------------------------------------------------ full rewrites


def test_a_fenced_program_replaces_the_parent():
    assert apply("Idea: new\n\n```python\nA = 1\n```\nThat is all.", PARENT) == Edit("A = 1\n", "new")


def test_of_several_fenced_programs_the_longest_counts():
    text = "```python\nA = 1\n```\nwhole:\n```py\nA = 1\nB = 2\n```\nuse it so:\n```python\nf()\n```"
    assert apply(text, PARENT).source == "A = 1\nB = 2\n"


def test_a_program_wins_over_a_longer_fence_that_does_not_parse_and_over_other_languages():
    text = "```python\n... and so on ( as above, and more\n```\n```python\nA = 1\n```\n```json\n[1, 2, 3, 4]\n```"
    assert apply(text, PARENT).source == "A = 1\n"


def test_a_fence_inside_a_docstring_does_not_end_the_program():
    program = 'def f():\n    """Use:\n\n```python\nf()\n```\n    """\n    return 1\n'
    assert apply(f"```python\n{program}```", PARENT).source == program
    assert apply(f"````python\n{program}````", PARENT).source == program


def test_an_untagged_fence_counts_only_where_it_is_python():
    assert apply("```\nA = 1\n```", PARENT).source == "A = 1\n"
    with pytest.raises(Unapplied, match="neither"):
        apply("```\n$ pip install torch\n```", PARENT)


def test_an_indented_fence_is_read_without_its_indent():
    assert apply("1. So:\n\n   ```python\n   def f():\n       return 1\n   ```", PARENT).source == (
        "def f():\n    return 1\n"
    )


def test_a_program_that_is_cut_off_is_refused():
    with pytest.raises(Unapplied, match="never closed"):
        apply("```python\nA = 1\n", PARENT)


def test_a_program_that_does_not_parse_is_applied_so_that_it_fails_where_programs_are_judged():
    assert apply("```python\ndef f(:\n```", PARENT).source == "def f(:\n"


def test_drafts_in_front_of_the_answer_are_not_read():
    text = f"<think>{block('PAGE = 16', 'PAGE = 1')}</think>\nIdea: real\n{block('PAGE = 16', 'PAGE = 2')}"
    assert apply(text, PARENT) == Edit(PARENT.replace("PAGE = 16", "PAGE = 2"), "real")


# --------------------------------------------------------------------------------------------------------------- idea


@pytest.mark.parametrize(
    ("line", "idea"),
    [
        ("Idea: a", "a"),
        ("**Idea:** b", "b"),
        ("**Idea**: c", "c"),
        ("## idea: d", "d"),
        ("- Idea： e", "e"),
        ("*Idea:* two", "two"),
        ("Idea: *all of it*", "all of it"),
        ("**Idea: bold**", "bold"),
        ("Idea: _mix() of Quest", "_mix() of Quest"),
        ("Idea: __slots__ for Page_", "__slots__ for Page_"),
        ("Idea: `a + b` with * for +", "`a + b` with * for +"),
        ("Idea: \x1b[31mred\x00", "[31mred"),
        ("Idea: " + "x" * 999, "x" * 200),
        ("The idea is f", ""),
    ],
)
def test_the_idea_is_one_plain_short_line(line, idea):
    assert apply(f"{line}\n{block('PAGE = 16', 'PAGE = 2')}", PARENT).idea == idea


# --------------------------------------------------------------------------------------------------------- properties

LINES = st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12), max_size=30)


def written(parent: list[str], start: int, stop: int, new: list[str]) -> str:
    """A block that names lines `start` to `stop` of the parent, with markers longer than any in the texts."""
    runs = [len(run) for line in [*parent, *new] for run in re.findall(r"[<=>]+", line)]
    width = max([6, *runs]) + 1
    body = ["<" * width + " SEARCH", *parent[start:stop], "=" * width, *new, ">" * width + " REPLACE"]
    return "\n".join(body)


@settings(max_examples=300, deadline=None)
@given(LINES, LINES, LINES, st.data())
def test_an_edit_written_as_blocks_applies_back_to_its_target(lines, new, more, data):
    lines = [f"{line}  # {i}" for i, line in enumerate(["start", *lines])]  # every line stands once
    start = data.draw(st.integers(0, len(lines) - 1))
    stop = data.draw(st.integers(start + 1, len(lines)))
    middle = [*lines[:start], *new, *lines[stop:], "end"]
    target = [*middle[:-1], *more, "last"]
    assume("end" not in new)  # the second block looks for it in what the first one wrote
    first = written(lines, start, stop, new)
    second = written(middle, len(middle) - 1, len(middle), [*more, "last"])
    edit = apply(f"Idea: both\n{first}\nand\n{second}", "\n".join([*lines, "end"]))
    assert edit == Edit("\n".join(target), "both")


MARKERS = ["<<<<<<< SEARCH", "<<<<<<<< SEARCH", "=======", "========", ">>>>>>> REPLACE", "```", "```python", "~~~"]
OTHERS = ["PAGE = 16", "    return bound", "", "  ", "x = (", "Idea: y", "<think>", "</think>", "\r", "\ud800", "\x00"]
PIECES = st.sampled_from([*MARKERS, *OTHERS])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=25), st.sampled_from([PARENT, "", "x\nx\nx", "\n\n"]))
def test_garbage_is_applied_or_refused_and_nothing_else(pieces, parent):
    try:
        edit = apply("\n".join(pieces), parent)
    except Unapplied as refused:
        assert str(refused)
    else:
        assert edit.source != parent
        assert "\r" not in edit.source
        edit.source.encode()


@pytest.mark.parametrize(
    "text",
    [
        "```" + " " * 200_000 + "`",
        "~" * 200_000 + "`",
        "```python\n```\n" * 30_000,
        "```\n" * 100_000,
        "<<<<<<< SEARCH\nx\n=======\n>>>>>>> REPLACE\n" * 20_000,
        "<<<<<<< SEARCH\n" + "x\n" * 50_000 + "y\n=======\n>>>>>>> REPLACE\n",
        "<<<<<<< SEARCH\n" + "=======\n" * 50_000 + ">>>>>>> REPLACE\n",
        " " * 500_000 + "idea",
        "```python\n" + "(" * 100_000 + "\n```",
        "```python\n" + "-" * 100_000 + "1\n```",
    ],
    ids=lambda text: f"{text[:12]!r}...",
)
@pytest.mark.timeout(20)
def test_hostile_replies_end(text):
    try:
        assert apply(text, "x\n" * 50_000).source
    except Unapplied as refused:
        assert str(refused)
