"""One line on what a program changed, where nobody said."""

from __future__ import annotations

import pytest

from vevolve.archive.idea import difference

BASE = '"""Doc."""\nPAGE = 16\n\ndef score(keys, query):\n    """Doc."""\n    bound = keys @ query\n    return bound\n'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("PAGE = 16", "PAGE = 32", "PAGE 16 -> 32"),
        (
            "bound = keys @ query",
            "bound = keys @ query * 2",
            "score(): `bound = keys @ query` -> `bound = keys @ query * 2`",
        ),
        ("    return bound", "    bound = bound + 1\n    return bound", "score(): with `bound = bound + 1`"),
        ("    bound = keys @ query\n", "", "score(): without `bound = keys @ query`"),
        ("def score(keys, query)", "def score(keys, query, rng)", "score(keys, query) -> (keys, query, rng)"),
        ("PAGE = 16\n", "PAGE = 16\nHEADS = 4\n", "new HEADS = 4"),
        ("PAGE = 16\n", "", "without PAGE = 16"),
        ('    """Doc."""\n', '    """Another."""\n    # a comment\n', ""),
    ],
)
def test_the_change_is_named(old: str, new: str, said: str) -> None:
    assert difference(BASE, BASE.replace(old, new)) == said


def test_of_long_lines_the_first_difference_is_in_sight() -> None:
    long = "bound = " + " + ".join(f"keys[{n}] * query" for n in range(20))
    before = BASE.replace("bound = keys @ query", long)
    said = difference(before, before.replace("keys[17]", "keys[99]"))
    one, two = said.removeprefix("score(): ").split(" -> ")
    assert "17" in one and "99" in two and len(said) < 130


def test_many_changes_are_counted() -> None:
    many = "".join(f"C{n} = {n}\n" for n in range(9))
    assert difference("", many) == "new C0 = 0; new C1 = 1; new C2 = 2; 6 more"


@pytest.mark.parametrize("text", ["def (", "\x00", "x = " + "(" * 500, "A reply without a program."])
def test_what_does_not_parse_has_no_idea(text: str) -> None:
    assert difference(BASE, text) == ""
