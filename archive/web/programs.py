"""Programs as data for a page: tokens with their kind, lines, and what differs word by word.

A line is a list of pieces `(class, text)`; nothing here is markup, so that escaping is left to the template alone.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

Piece: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Piece]

LONGEST = 400_000
"""Characters beyond which a program is shown without colours."""
ALIKE = 0.4
"""The least likeness of two lines whose words are compared."""
_WORD = re.compile(r"\w+|\s+|.", re.DOTALL)
_CLASSES = (
    ("Token.Keyword", "k"),
    ("Token.Operator.Word", "k"),
    ("Token.Literal.String.Doc", "c"),
    ("Token.Literal.String", "s"),
    ("Token.Literal.Number", "n"),
    ("Token.Comment", "c"),
    ("Token.Name.Function", "f"),
    ("Token.Name.Class", "f"),
    ("Token.Name.Builtin", "b"),
    ("Token.Name.Decorator", "b"),
)


def lines(source: str) -> list[Line]:
    """A Python program as coloured lines."""
    return [list(line) for line in _lines(source)]


@functools.lru_cache(maxsize=64)
def _lines(source: str) -> tuple[tuple[Piece, ...], ...]:
    if len(source) > LONGEST:
        return tuple((("", text),) for text in source.split("\n"))
    from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]

    found: list[list[Piece]] = [[]]
    for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(source):
        name = next((short for prefix, short in _CLASSES if str(kind).startswith(prefix)), "")
        for number, part in enumerate(text.split("\n")):
            if number:
                found.append([])
            if part:
                found[-1].append((name, part))
    return tuple(tuple(line) for line in found)


def difference(old: str, new: str, context: int | None = 3) -> list[dict[str, Any]]:
    """Rows of a side-by-side diff, the words that differ marked.

    Args:
        old: the program before.
        new: the program after.
        context: how many equal lines stand around a change; None for all.

    Returns:
        Rows with `kind` (same, change, add, remove, skip), `left` and `right` (None, or `number` and `pieces`); a
        skip has `count` and `into`, the line of the new program at which it begins.
    """
    before, after = _split(old), _split(new)
    left, right = lines("\n".join(before)), lines("\n".join(after))
    rows: list[dict[str, Any]] = []
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [_row("same", a, left[a], b, right[b]) for a, b in zip(range(a0, a1), range(b0, b1), strict=True)]
            continue
        paired = min(a1 - a0, b1 - b0)
        for k in range(paired):
            one, two = words(before[a0 + k], after[b0 + k])
            rows.append(_row("change", a0 + k, overlay(left[a0 + k], one), b0 + k, overlay(right[b0 + k], two)))
        rows += [_row("remove", a, left[a], None, None) for a in range(a0 + paired, a1)]
        rows += [_row("add", None, None, b, right[b]) for b in range(b0 + paired, b1)]
    return rows if context is None else _folded(rows, context)


def words(old: str, new: str) -> tuple[list[bool], list[bool]]:
    """For each character of two lines, whether it belongs to a word that the other lacks; none where all is new."""
    a, b = _WORD.findall(old), _WORD.findall(new)
    one = [False] * len(old)
    two = [False] * len(new)
    at = [0]
    for word in a:
        at.append(at[-1] + len(word))
    bt = [0]
    for word in b:
        bt.append(bt[-1] + len(word))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < ALIKE:
        return one, two
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag != "equal":
            one[at[a0] : at[a1]] = [True] * (at[a1] - at[a0])
            two[bt[b0] : bt[b1]] = [True] * (bt[b1] - bt[b0])
    return one, two


def overlay(line: Sequence[Piece], marked: Sequence[bool]) -> Line:
    """The pieces of a line, cut where marks begin and end; marked ones have the class `w` as well."""
    found: Line = []
    at = 0
    for name, text in line:
        start = 0
        for k in range(1, len(text) + 1):
            if k == len(text) or marked[at + k] != marked[at + start]:
                found.append((f"{name} w".strip() if marked[at + start] else name, text[start:k]))
                start = k
        at += len(text)
    return found


def _split(source: str) -> list[str]:
    return source.rstrip("\n").split("\n")


def _row(kind: str, a: int | None, left: Line | None, b: int | None, right: Line | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "left": None if a is None else {"number": a + 1, "pieces": left},
        "right": None if b is None else {"number": b + 1, "pieces": right},
    }


def _folded(rows: list[dict[str, Any]], context: int) -> list[dict[str, Any]]:
    near = [False] * len(rows)
    for at, row in enumerate(rows):
        if row["kind"] != "same":
            for k in range(max(0, at - context), min(len(rows), at + context + 1)):
                near[k] = True
    found: list[dict[str, Any]] = []
    for row, shown in zip(rows, near, strict=True):
        if shown:
            found.append(row)
        elif found and found[-1]["kind"] == "skip":
            found[-1]["count"] += 1
        else:
            found.append({"kind": "skip", "count": 1, "left": None, "right": None})
    return found
