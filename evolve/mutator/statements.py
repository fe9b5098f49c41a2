"""Changes of whole statements inside functions: one is deleted, done twice, or swapped with its neighbour.

A change is offered only where every name is still bound before it is read, and where it can make a difference.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from vevolve.evolve.mutator.program import Change, Function, Option, Program, Span, bound, loaded, pick


def change_statement(program: Program, rng: random.Random) -> Change | None:
    """One statement deleted, repeated or swapped."""
    options = [
        Option(name, 1.0, make)
        for name, function in program.functions.items()
        for make in _makes(program, name, function)
    ]
    return pick(options, rng)


def _makes(program: Program, name: str, function: Function) -> Iterator[Callable[[], Change | None]]:
    arguments = set(bound(function.args))
    for body, before, after in _bodies(function.body, arguments, set()):
        for i, statement in enumerate(body):
            earlier = before.union(*(bound(each) for each in body[:i]))
            later = after.union(*(loaded(each) for each in body[i + 1 :]))
            if _is_fixed(statement):
                continue
            if not (bound(statement) & later) - earlier:
                yield partial(_deleted, program, name, statement, len(body) == 1)
            if _has_effect(statement):
                yield partial(_repeated, program, name, statement)
            if i + 1 < len(body) and not _is_fixed(body[i + 1]):
                following = body[i + 1]
                touched = bound(statement) & (loaded(following) | bound(following)) | loaded(statement) & bound(
                    following
                )
                if (touched or _has_effect(statement)) and not (loaded(following) & bound(statement)) - earlier:
                    yield partial(_swapped, program, name, statement, following)


def _bodies(
    body: Sequence[ast.stmt], before: set[str], after: set[str]
) -> Iterator[tuple[Sequence[ast.stmt], set[str], set[str]]]:
    """Every list of statements in a function, with the names bound before it and read after it."""
    yield body, before, after
    for i, statement in enumerate(body):
        if isinstance(statement, Function | ast.ClassDef):
            continue
        inner_before = before.union(*(bound(each) for each in body[:i]))
        inner_after = after.union(*(loaded(each) for each in body[i + 1 :]))
        if isinstance(statement, ast.For | ast.While):
            inner_after |= loaded(statement)
        for field in ("body", "orelse"):
            inner = getattr(statement, field, None)
            if isinstance(inner, list) and inner:
                yield from _bodies(inner, inner_before, inner_after)


def _is_fixed(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    return isinstance(statement, Function | ast.ClassDef | ast.Return | ast.Import | ast.ImportFrom | ast.Pass)


def _has_effect(statement: ast.stmt) -> bool:
    """Whether doing it a second time may change something."""
    return isinstance(statement, ast.AugAssign | ast.Expr)


def _deleted(program: Program, name: str, statement: ast.stmt, alone: bool) -> Change | None:
    lines = program.block(statement)
    if lines is None:
        return None
    indent = " " * statement.col_offset
    source = program.replaced(Span(*lines, f"{indent}pass\n" if alone else ""))
    return Change(source, f"{name}(): without `{_brief(program, statement)}`")


def _repeated(program: Program, name: str, statement: ast.stmt) -> Change | None:
    lines = program.block(statement)
    if lines is None:
        return None
    text = _ended(program.data[slice(*lines)].decode())
    source = program.replaced(Span(*lines, text + text))
    return Change(source, f"{name}(): `{_brief(program, statement)}` twice")


def _swapped(program: Program, name: str, first: ast.stmt, second: ast.stmt) -> Change | None:
    one, two = program.block(first), program.block(second)
    if one is None or two is None:
        return None
    source = program.replaced(
        Span(*one, _ended(program.data[slice(*two)].decode())), Span(*two, _ended(program.data[slice(*one)].decode()))
    )
    return Change(source, f"{name}(): `{_brief(program, second)}` before `{_brief(program, first)}`")


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _brief(program: Program, statement: ast.stmt) -> str:
    text = " ".join(program.text(statement).split())
    return text if len(text) <= 50 else text[:47] + "..."
