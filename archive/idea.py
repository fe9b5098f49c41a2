"""One line on what a program changed, read off the two syntax trees, where its proposer gave none."""

from __future__ import annotations

import ast
import difflib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vevolve.types import parse_program

MOST = 3
"""Changes that are named; the others are counted."""
_LONGEST = 48


@functools.lru_cache(maxsize=512)
def difference(old: str, new: str) -> str:
    """What `new` changed against `old`: constants, functions and their parts; empty where nothing that runs did."""
    try:
        before, after = _parts(old), _parts(new)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    said: list[str] = []
    for name in [*after, *(name for name in before if name not in after)]:
        one, two = before.get(name), after.get(name)
        if one is None and two is not None:
            said.append(f"new {_named(name, two.node)}")
        elif two is None and one is not None:
            said.append(f"without {_named(name, one.node)}")
        elif one is not None and two is not None and one.differs(two):
            said += _changed(name, one.node, two.node)
    if len(said) > MOST:
        said = [*said[:MOST], f"{len(said) - MOST} more"]
    return "; ".join(said)


@dataclass(frozen=True)
class _Part:
    """A top-level statement and its lines: comparing trees takes long, and most parts are the same to the letter."""

    node: ast.stmt
    text: str

    def differs(self, other: _Part) -> bool:
        """Whether another thing is meant, and not only written otherwise."""
        return self.text != other.text and ast.dump(self.node) != ast.dump(other.node)


@functools.lru_cache(maxsize=128)
def _parts(source: str) -> dict[str, _Part]:
    """The top-level statements by what they define; docstrings left out."""
    lines = re.split(r"\r\n|\r|\n", source)  # as the parser counts them
    found: dict[str, _Part] = {}
    for node in parse_program(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                name = node.name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case _:
                name = _text(node)
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        found[name] = _Part(node, "\n".join(lines[first - 1 : node.end_lineno]))
    return found


def _named(name: str, node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{name}()"
    return _text(node) if isinstance(node, ast.Assign | ast.AnnAssign) else name


def _changed(name: str, one: ast.stmt, two: ast.stmt) -> list[str]:
    if isinstance(one, ast.Assign | ast.AnnAssign) and isinstance(two, ast.Assign | ast.AnnAssign):
        return [f"{name} {_text(one.value)} -> {_text(two.value)}"]
    if not isinstance(one, ast.FunctionDef) or not isinstance(two, ast.FunctionDef):
        return [f"{name} rewritten"]
    if ast.unparse(one.args) != ast.unparse(two.args):
        return [f"{name}({_cut(ast.unparse(one.args))}) -> ({_cut(ast.unparse(two.args))})"]
    before, after = _statements(one.body), _statements(two.body)
    if before == after:
        return []
    edits = [
        op for op in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    if len(edits) > 2 or not before:
        kept = difflib.SequenceMatcher(None, before, after, autojunk=False).ratio()
        return [f"{name}() rewritten" if kept < 0.4 else f"{name}() changed in {len(edits)} places"]
    return [f"{name}(): {_edit(before[a0:a1], after[b0:b1])}" for _, a0, a1, b0, b1 in edits]


def _statements(body: Sequence[ast.stmt]) -> list[str]:
    """The lines of a body, docstring left out."""
    first = body[0] if body else None
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    text = "\n".join(ast.unparse(node) for node in body[documented:])
    return [line.strip() for line in text.splitlines() if line.strip()]


def _edit(removed: Sequence[str], added: Sequence[str]) -> str:
    if not removed:
        return f"with {_quoted(added)}"
    if not added:
        return f"without {_quoted(removed)}"
    if len(removed) == len(added) == 1:
        one, two = _where_they_part(removed[0], added[0])
        return f"`{_cut(one)}` -> `{_cut(two)}`"
    return f"{_quoted(removed)} -> {_quoted(added)}"


def _where_they_part(one: str, two: str) -> tuple[str, str]:
    """Two lines; of long ones the parts from a little before the first difference."""
    if max(len(one), len(two)) <= _LONGEST:
        return one, two
    same = next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    start = max(0, same - _LONGEST // 3)
    return (f"...{one[start:]}", f"...{two[start:]}") if start else (one, two)


def _quoted(lines: Sequence[str]) -> str:
    rest = (
        f" and {len(lines) - 1} more lines" if len(lines) > 2 else f" and `{_cut(lines[1])}`" if len(lines) == 2 else ""
    )
    return f"`{_cut(lines[0])}`{rest}"


def _text(node: ast.AST | None) -> str:
    return "" if node is None else _cut(ast.unparse(node))


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 3] + "..."
