"""Parts of another candidate: a same-named function with the helpers that it needs, or the value of a constant."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence

from vevolve.evolve.mutator.constants import is_number
from vevolve.evolve.mutator.program import Change, Function, Program, Span, bound, called, loaded, shape

TITLE = 40
"""Characters of a donor's first docstring line that name it."""


def graft_function(program: Program, donors: Sequence[Program], rng: random.Random) -> Change | None:
    """One function takes a donor's text.

    What that text needs and the program lacks comes along: top-level names it reads, and functions that handle the
    same string keys (one that reads `index["bounds"]` needs the one that writes it). Where the program has a function
    or constant of the needed name, its own stays: shared names are what makes parts fit each other.
    """
    options = [(donor, name) for donor in donors for name in _differing(program, donor)]
    if not options:
        return None
    donor, name = rng.choice(options)
    taken = _closure(program, donor, name)
    source = _transplanted(program, donor, taken)
    known = {
        each for each, node in program.functions.items() if each in taken and _same(node, donor.functions.get(each))
    }
    others = sorted(taken - {name} - known)
    return Change(source, f"{name}(){' with ' + ', '.join(others) if others else ''} of {title(donor)}")


def copy_constant(program: Program, donors: Sequence[Program], rng: random.Random) -> Change | None:
    """One top-level number takes the value that a donor gives it."""
    options = [
        (name, donor)
        for donor in donors
        for name, node in donor.assignments.items()
        if name in program.assignments
        and is_number(node.value)
        and is_number(program.assignments[name].value)
        and donor.text(node.value) != program.text(program.assignments[name].value)
    ]
    if not options:
        return None
    name, donor = rng.choice(options)
    old, new = program.assignments[name].value, donor.text(donor.assignments[name].value)
    source = program.replaced(Span(*program.span(old), new))
    return Change(source, f"{name} {program.text(old)} -> {new}, as in {title(donor)}")


def likeness(program: Program, other: Program) -> int:
    """How many functions both have alike."""
    shared = program.functions.keys() & other.functions.keys()
    return sum(shape(program.functions[name]) == shape(other.functions[name]) for name in shared)


def title(program: Program) -> str:
    """How a program is called: the start of its docstring."""
    first = (ast.get_docstring(program.tree) or "another candidate").partition("\n")[0]
    first = first.partition(": ")[0].partition(" (")[0]
    return first if len(first) <= TITLE else first[: TITLE - 3] + "..."


def _differing(program: Program, donor: Program) -> list[str]:
    """Functions of both that differ. Those that only the examiner calls pass between programs of the same flags."""
    inner = called(program) | called(donor)
    lent = donor.functions if _flags(program) == _flags(donor) else donor.functions.keys() & inner
    return [
        name
        for name, function in donor.functions.items()
        if name in lent and name in program.functions and shape(function) != shape(program.functions[name])
    ]


def _same(function: Function, other: Function | None) -> bool:
    return other is not None and shape(function) == shape(other)


def _flags(program: Program) -> dict[str, bool]:
    """What a program declares of itself, such as `VERIFIED = True`."""
    flags: dict[str, bool] = {}
    for name, node in program.assignments.items():
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
            flags[name] = node.value.value
    return flags


def _closure(program: Program, donor: Program, name: str) -> set[str]:
    """The donor's functions and constants that have to come along with the function `name`."""
    known = _keys(*program.functions.values())
    offered = {*donor.functions, *donor.assignments, *donor.imports}
    taken, pending = set[str](), {name}
    while pending:
        each = pending.pop()
        taken.add(each)
        node = donor.functions.get(each) or donor.assignments.get(each)
        if node is None:
            continue
        needed = {other for other in loaded(node) & offered if other not in program.globals}
        if each in donor.functions:
            strange = _keys(node) - known
            needed |= {other for other, function in donor.functions.items() if _keys(function) & strange}
        pending |= needed - taken
    return taken


def _keys(*nodes: ast.AST) -> set[str]:
    """Strings that the nodes use to name parts of a mapping."""
    found: set[str] = set()
    for node in (each for top in nodes for each in ast.walk(top)):
        if isinstance(node, ast.Dict):
            found |= {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        elif isinstance(node, ast.Subscript):
            found |= (
                {node.slice.value}
                if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
                else set()
            )
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            found |= {first.value} if isinstance(first, ast.Constant) and isinstance(first.value, str) else set()
    return found


def _transplanted(program: Program, donor: Program, taken: set[str]) -> str:
    """The program's text with the taken parts in place of its own, or before its first function."""
    spans: list[Span] = []
    arriving: dict[int, list[str]] = {}
    for node in donor.tree.body:
        names = bound(node) if isinstance(node, ast.Import | ast.ImportFrom) else _defined(node)
        lines = donor.block(node)
        again = isinstance(node, Function) and donor.functions[node.name] is not node  # the last definition counts
        if not names & taken or lines is None or again:
            continue
        text = donor.data[slice(*lines)].decode().rstrip("\n") + "\n"
        own = next((program.functions[name] for name in names if name in program.functions), None)
        place = program.block(own) if own is not None else None
        if isinstance(node, Function) and place is not None:
            spans.append(Span(*place, text))
        else:
            at, blank = _landing(program, node)
            arriving.setdefault(at, []).append(text + ("\n\n" if blank else ""))
    spans += [Span(at, at, "".join(texts)) for at, texts in arriving.items()]
    return program.replaced(*spans)


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, Function):
        return {node.name}
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return {node.targets[0].id}
    return set()


def _landing(program: Program, node: ast.stmt) -> tuple[int, bool]:
    """Where a part that the program lacks is put, and whether blank lines follow it."""
    if isinstance(node, Function):
        first = next(iter(program.functions.values()))
        place = program.block(first)
        return (place or program.span(first))[0], True
    kinds = (
        ast.Import | ast.ImportFrom
        if isinstance(node, ast.Import | ast.ImportFrom)
        else ast.Import | ast.ImportFrom | ast.Assign
    )
    last = [each for each in _head(program) if isinstance(each, kinds)]
    documented = ast.get_docstring(program.tree, clean=False) is not None
    if last:
        return program.lines[last[-1].end_lineno or 1], False
    return (program.lines[program.tree.body[0].end_lineno or 1] if documented else 0), False


def _head(program: Program) -> list[ast.stmt]:
    """What stands before the first function."""
    found: list[ast.stmt] = []
    for node in program.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            break
        found.append(node)
    return found
