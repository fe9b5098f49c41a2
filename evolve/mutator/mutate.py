"""One mutant: a change, or a few on top of each other, drawn again until it is a new program that hangs together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from vevolve.evolve.mutator.constants import change_constant
from vevolve.evolve.mutator.grafts import copy_constant, graft_function
from vevolve.evolve.mutator.operators import change_operator
from vevolve.evolve.mutator.program import Change, Program, parse
from vevolve.evolve.mutator.statements import change_statement
from vevolve.types import Candidate

DRAWS = 60
"""Attempts at a mutant before a parent is given up."""
STACKED = ((1, 0.5), (2, 0.35), (3, 0.15))
"""How many changes a mutant stacks, and how often."""
KINDS = (("constant", 0.55), ("graft", 0.15), ("copy", 0.1), ("operator", 0.12), ("statement", 0.08))
"""How often each kind of change is drawn. Constants lead: nearly all such mutants run."""


def mutate(parents: Sequence[Candidate], donors: Sequence[Candidate], rng: random.Random) -> Change | None:
    """A mutant of the first parent, or None where none was found.

    The other parents and the donors lend functions and constants. The mutant parses, differs from every parent by its
    syntax tree, and reads no name or key that nothing provides.
    """
    try:
        return _drawn(parents, donors, rng)
    except RecursionError:  # nested too deeply to be walked
        return None


def _drawn(parents: Sequence[Candidate], donors: Sequence[Candidate], rng: random.Random) -> Change | None:
    parent, *others = (parse(each.source) for each in (*parents, *donors))
    if parent is None:
        return None
    known = {program.shape for program in (parent, *others[: len(parents) - 1]) if program is not None}
    lenders = [program for program in others if program is not None]
    for _ in range(DRAWS):
        program, ideas = _stacked(parent, lenders, rng)
        if ideas and program.shape not in known:
            return Change(program.source, "; ".join(ideas))
    return None


def _stacked(parent: Program, lenders: Sequence[Program], rng: random.Random) -> tuple[Program, list[str]]:
    kinds: dict[str, Callable[[Program], Change | None]] = {
        "constant": lambda program: change_constant(program, rng),
        "graft": lambda program: graft_function(program, lenders, rng),
        "copy": lambda program: copy_constant(program, lenders, rng),
        "operator": lambda program: change_operator(program, rng),
        "statement": lambda program: change_statement(program, rng),
    }
    count = rng.choices([count for count, _ in STACKED], [share for _, share in STACKED])[0]
    program, ideas = parent, list[str]()
    for _ in range(count):
        kind = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])[0]
        change = kinds[kind](program)
        changed = parse(change.source) if change else None
        if change is None or changed is None or changed.faults - parent.faults:
            continue
        program = changed
        ideas.append(change.idea)
    return program, ideas
