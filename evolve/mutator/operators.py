"""Changes of one operator: arithmetic, comparison, or a function for another that takes the same arguments."""

from __future__ import annotations

import ast
import random
from functools import partial

from vevolve.evolve.mutator.program import Change, Option, Program, Site, Span, pick, sites

_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISON: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_ALIKE = (
    ("amax", "amin", "sum", "mean", "logsumexp"),
    ("max", "min"),
    ("maximum", "minimum"),
    ("ceil", "floor"),
    ("exp", "sqrt", "abs", "square", "tanh", "sigmoid"),
    ("softmax", "log_softmax"),
    ("var", "std"),
)
_NEEDS_AXIS = {"logsumexp"}
_WITHOUT_AXIS = {"amax", "amin", "sum", "mean"}


def change_operator(program: Program, rng: random.Random) -> Change | None:
    """One operator changed; functions are drawn more often than signs."""
    options: list[Option] = []
    for site in sites(program):
        if isinstance(site.node, ast.BinOp) and type(site.node.op) in _ARITHMETIC:
            options.append(Option(site.owner, 1.0, partial(_arithmetic, program, site, rng)))
        elif isinstance(site.node, ast.Compare) and type(site.node.ops[0]) in _COMPARISON:
            options.append(Option(site.owner, 1.0, partial(_comparison, program, site, rng)))
        elif isinstance(site.node, ast.Call) and alike(site.node):
            options.append(Option(site.owner, 3.0, partial(_function, program, site, rng)))
    return pick(options, rng)


def alike(call: ast.Call) -> list[str]:
    """Names of functions that would take this call's arguments as they are."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = len(call.args) + len(call.keywords)
    for group in _ALIKE:
        if name not in group:
            continue
        others = [other for other in group if other != name]
        if not given:
            others = [other for other in others if other not in _NEEDS_AXIS]
        if isinstance(call.func, ast.Attribute) and name in ("max", "min") and given:
            return []  # with an axis these return values and places
        return others
    return []


def _arithmetic(program: Program, site: Site, rng: random.Random) -> Change | None:
    assert isinstance(site.node, ast.BinOp)
    old = _ARITHMETIC[type(site.node.op)]
    new = rng.choice([sign for sign in _ARITHMETIC.values() if sign != old])
    return _between(program, site, site.node.left, site.node.right, old, new)


def _comparison(program: Program, site: Site, rng: random.Random) -> Change | None:
    assert isinstance(site.node, ast.Compare)
    old = _COMPARISON[type(site.node.ops[0])]
    new = rng.choice([sign for sign in _COMPARISON.values() if sign != old])
    return _between(program, site, site.node.left, site.node.comparators[0], old, new)


def _between(program: Program, site: Site, left: ast.expr, right: ast.expr, old: str, new: str) -> Change | None:
    start, end = program.span(left)[1], program.span(right)[0]
    gap = program.data[start:end].decode()
    if "#" in gap or gap.count(old) != 1:
        return None
    at = start + len(gap[: gap.index(old)].encode())
    source = program.replaced(Span(at, at + len(old), new))
    return Change(source, f"{site.owner or 'top level'}(): `{_brief(program, site.node)}` with {new} for {old}")


def _function(program: Program, site: Site, rng: random.Random) -> Change:
    assert isinstance(site.node, ast.Call)
    new = rng.choice(alike(site.node))
    end = program.span(site.node.func)[1]
    old = site.node.func.attr if isinstance(site.node.func, ast.Attribute) else program.text(site.node.func)
    source = program.replaced(Span(end - len(old.encode()), end, new))
    return Change(source, f"{site.owner or 'top level'}(): `{_brief(program, site.node)}` with {new} for {old}")


def _brief(program: Program, node: ast.expr) -> str:
    text = " ".join(program.text(node).split())
    return text if len(text) <= 60 else text[:57] + "..."
