"""Changes of constants: numbers are scaled, stepped or switched off; a named choice takes another of its values."""

from __future__ import annotations

import ast
import random
from functools import partial

from vevolve.evolve.mutator.program import Change, Option, Program, Site, Span, pick, sites

LARGEST = 2**53
"""Beyond it a float no longer holds every integer."""
_NAMED, _FLOAT, _INTEGER, _LIMIT, _STRUCTURAL, _CHOICE = 6.0, 1.0, 0.5, 0.3, 0.03, 2.0


def change_constant(program: Program, rng: random.Random) -> Change | None:
    """One constant changed. Those with a name at top level are drawn most, axes and indices hardly ever."""
    places = [site for site in sites(program) if is_number(site.node)]
    numbers = [Option(site.owner, weight(site), partial(_number, program, site, rng)) for site in places]
    named = [Option("", _CHOICE, partial(_choice, program, name, rng)) for name in choices(program)]
    return pick([*numbers, *named], rng)


def is_number(node: ast.expr) -> bool:
    """Whether a node is a finite int or float literal that can be changed."""
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return False
    return isinstance(node.value, int | float) and abs(node.value) < LARGEST


def vary(value: int | float, rng: random.Random) -> int | float:
    """Another value of the same type, finite and not negative where `value` is not."""
    for _ in range(20):
        found = _integer(value, rng) if isinstance(value, int) else _float(value, rng)
        if found != value:
            return found
    return value + 1


def _integer(value: int, rng: random.Random) -> int:
    if value == 0:
        return rng.choice([1, 1, 2])
    near, far = round(value * 2 ** rng.uniform(-0.3, 0.3)), round(value * 2 ** rng.uniform(-1, 1))
    step = rng.choice([value - 1, value + 1, value * 2, value // 2, value * 4, near, far])
    return max(step, 1)


def _float(value: float, rng: random.Random) -> float:
    if value == 0:
        return float(f"{10 ** rng.uniform(-3, 0):.2g}")
    kind = rng.random()
    if kind < 0.08:
        return 0.0
    if kind < 0.3:
        found = value * rng.choice([0.1, 0.25, 0.5, 2.0, 4.0, 10.0])
    elif kind < 0.4 and value < 1:
        found = 1 - (1 - value) * 2 ** rng.uniform(-1, 1)
    elif kind < 0.6:
        found = value * 2 ** rng.uniform(-0.3, 0.3)
    else:
        found = value * 2 ** rng.uniform(-1, 1)
    if value < 1 <= found and rng.random() < 0.9:  # most numbers below 1 are shares
        found = (1 + value) / 2
    return float(f"{abs(found):.2g}")


def weight(site: Site) -> float:
    """How readily the number at a site is drawn."""
    parent = site.above[-1]
    if not site.owner and isinstance(parent, ast.Assign | ast.AnnAssign):
        return _NAMED
    if isinstance(site.node, ast.Constant) and isinstance(site.node.value, float):
        return _FLOAT
    if isinstance(parent, ast.UnaryOp):
        parent = site.above[-2]
    if isinstance(parent, ast.keyword):
        return _LIMIT if parent.arg in ("min", "max") else _STRUCTURAL
    if isinstance(parent, ast.Call):
        return _LIMIT if isinstance(parent.func, ast.Name) and parent.func.id in ("min", "max") else _STRUCTURAL
    if isinstance(parent, ast.Subscript | ast.Slice | ast.Tuple):
        return _STRUCTURAL
    return _INTEGER


def _number(program: Program, site: Site, rng: random.Random) -> Change | None:
    assert isinstance(site.node, ast.Constant)
    value = site.node.value
    if not isinstance(value, int | float):
        return None
    found = vary(value, rng)
    source = program.replaced(Span(*program.span(site.node), repr(found)))
    return Change(source, f"{_where(program, site)} {program.text(site.node)} -> {found!r}")


def _where(program: Program, site: Site) -> str:
    parent = site.above[-1]
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return parent.targets[0].id if not site.owner else f"{site.owner}(): {parent.targets[0].id}"
    line = program.source.split("\n")[site.node.lineno - 1].strip()
    return f"{site.owner + '()' if site.owner else 'top level'}, in `{line[:60]}`:"


# ----------------------------------------------------------------------------------------------------------- choices


def choices(program: Program) -> dict[str, list[str]]:
    """Top-level strings that the program compares with others: the name, and the other values."""
    compared: dict[str, set[str]] = {}
    for node in program.nodes:
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
            for other in node.comparators:
                for each in ast.walk(other):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        compared.setdefault(node.left.id, set()).add(each.value)
    found: dict[str, list[str]] = {}
    for name, values in compared.items():
        assigned = program.assignments.get(name)
        if assigned and isinstance(assigned.value, ast.Constant) and isinstance(assigned.value.value, str):
            others = sorted(values - {assigned.value.value})
            if others:
                found[name] = others
    return found


def _choice(program: Program, name: str, rng: random.Random) -> Change:
    node = program.assignments[name].value
    found = rng.choice(choices(program)[name])
    quoted = '"' + found + '"' if found.isprintable() and not set(found) & {'"', "\\"} else repr(found)
    return Change(program.replaced(Span(*program.span(node), quoted)), f"{name} {program.text(node)} -> {quoted}")
