"""One mutant: a change, or a few on top of each other, drawn again until it is a new program that hangs together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence, Set

from vevolve.evolve.mutator.constants import change_constant
from vevolve.evolve.mutator.grafts import copy_constant, graft_function, likeness
from vevolve.evolve.mutator.operators import change_operator
from vevolve.evolve.mutator.program import Change, Program, parse
from vevolve.evolve.mutator.statements import change_statement
from vevolve.types import Candidate

DRAWS = 60
"""Attempts at a mutant before a parent is given up."""
STACKED = ((1, 0.62), (2, 0.28), (3, 0.1))
"""How many changes a mutant stacks, and how often."""
KINDS = (("constant", 0.62), ("graft", 0.14), ("copy", 0.08), ("operator", 0.1), ("statement", 0.06))
"""How often each kind of change is drawn. Constants lead: nearly all such mutants run."""


def mutate(parents: Sequence[Candidate], donors: Sequence[Candidate], rng: random.Random) -> Change | None:
    """A mutant of the first parent, or None where none was found.

    The other parents and the donors lend functions and constants. The mutant parses, differs from every parent by its
    syntax tree, and reads no name or key that nothing provides.
    """
    parent = parse(parents[0].source)
    if parent is None:
        return None
    others = _parsed(parents[1:])
    lenders = [*others, *_parsed(donors)]
    taken = {program.shape for program in (parent, *others)}
    for _ in range(DRAWS):
        program, ideas = _stacked(parent, lenders, rng)
        if ideas and program.shape not in taken:
            return Change(program.source, "; ".join(ideas))
    return None


def mend(parents: Sequence[Candidate], donors: Sequence[Candidate], rng: random.Random) -> Change | None:
    """The first parent, which failed, with a part of the program among the others that is most like it, or None.

    Where that only gives the other program back, a mutation is put on top, so that what comes out is new.
    """
    broken, lenders = parse(parents[0].source), _parsed([*parents[1:], *donors])
    if broken is None or not lenders:
        return None
    sound = max(lenders, key=lambda other: likeness(broken, other))
    for _ in range(DRAWS):
        change = graft_function(broken, [sound], rng) or copy_constant(broken, [sound], rng)
        program = parse(change.source) if change else None
        if change is None or program is None:
            return None
        ideas = [change.idea]
        if program.shape == sound.shape:
            program, more = _stacked(program, lenders, rng, broken.differing(program))
            ideas += more
        if program.shape not in (broken.shape, sound.shape):
            return Change(program.source, "; ".join(ideas))
    return None


def _parsed(candidates: Sequence[Candidate]) -> list[Program]:
    return [program for candidate in candidates if (program := parse(candidate.source)) is not None]


def _stacked(
    parent: Program, lenders: Sequence[Program], rng: random.Random, changed_already: Set[str] = frozenset()
) -> tuple[Program, list[str]]:
    """Changes on top of each other, each of other parts of the program, so that all that is said of them holds."""
    makers: dict[str, Callable[[Program], Change | None]] = {
        "constant": lambda program: change_constant(program, rng),
        "graft": lambda program: graft_function(program, lenders, rng),
        "copy": lambda program: copy_constant(program, lenders, rng),
        "operator": lambda program: change_operator(program, rng),
        "statement": lambda program: change_statement(program, rng),
    }
    count = rng.choices([count for count, _ in STACKED], [share for _, share in STACKED])[0]
    program, ideas, touched = parent, list[str](), set(changed_already)
    for _ in range(count):
        kind = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])[0]
        change = makers[kind](program)
        changed = parse(change.source) if change else None
        if change is None or changed is None or changed.faults - parent.faults:
            continue
        parts = program.differing(changed)
        if not parts or parts & touched:
            continue  # what it says would undo what another change says, or be said of nothing
        program, touched = changed, touched | parts
        ideas.append(change.idea)
    return program, ideas
