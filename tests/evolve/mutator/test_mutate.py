"""Mutants parse, differ from their parents, read nothing that nobody provides, and find better programs."""

from __future__ import annotations

import ast
import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve import registry
from vevolve.evolve.mutator.mutate import mutate
from vevolve.evolve.mutator.program import Program, calls_that_miss, keys_unwritten, parse, unresolved
from vevolve.types import Candidate

SEEDS = [f"{folder}/{name}" for folder in ("sparse_decode", "circle_packing") for name in registry.seed_names(folder)]


def shipped(name):
    return Candidate(registry.seed_path(name).read_text())


def mutants(parent, count, donors=()):
    found = (mutate([parent], donors, random.Random(seed)) for seed in range(count))
    return [mutant for mutant in found if mutant is not None]


@pytest.mark.parametrize("name", SEEDS)
def test_mutants_of_every_seed_parse_and_differ_from_it(name):
    parent, donors = shipped(name), [shipped(other) for other in SEEDS]
    found = mutants(parent, 20, donors)
    assert len(found) == 20
    for mutant in found:
        assert Candidate(mutant.source).tree_hash != parent.tree_hash
        assert mutant.idea and "\n" not in mutant.idea.strip()


@pytest.mark.parametrize("name", ["sparse_decode/vattention", "circle_packing/grid"])
def test_the_idea_says_what_was_changed_and_nothing_else(name):
    parent, donors = shipped(name), [shipped(other) for other in SEEDS if other.startswith(name.partition("/")[0])]
    before = parse(parent.source)
    for mutant in mutants(parent, 150, donors):
        after = parse(mutant.source)
        changed = before.differing(after)
        assert all(part in mutant.idea for part in changed if part not in before.imports), (changed, mutant.idea)
        claims = re.findall(r"(?:^|; )([A-Z_]+) (\S+) -> ([^;,]+)", mutant.idea)
        for constant, old, new in claims:
            assert before.text(before.assignments[constant].value) == old, mutant.idea
            assert after.text(after.assignments[constant].value) == new, mutant.idea
        named = {*before.functions, *after.functions, *before.assignments, *after.assignments}
        first_words = {re.split(r"\W", idea, maxsplit=1)[0] for idea in mutant.idea.split("; ")}
        assert first_words & named <= changed, (changed, mutant.idea)


def test_most_mutants_are_different_from_each_other():
    found = mutants(shipped("sparse_decode/vattention"), 100, [shipped("sparse_decode/quest")])
    assert len({mutant.source for mutant in found}) > 70


def test_the_same_seed_gives_the_same_mutant():
    parent, donors = shipped("sparse_decode/vattention"), [shipped("sparse_decode/quest")]
    for seed in range(20):
        assert mutate([parent], donors, random.Random(seed)) == mutate([parent], donors, random.Random(seed))


def test_a_mutant_leaves_the_rest_of_the_text_alone():
    parent = shipped("sparse_decode/vattention")
    for mutant in mutants(parent, 60):
        before, after = parent.source.split("\n"), mutant.source.split("\n")
        assert len(set(before) - set(after)) <= 6
        assert parent.source[: parent.source.index("import math")] in mutant.source


def test_a_mutant_asks_for_no_name_key_or_argument_that_is_missing():
    parent, donors = shipped("sparse_decode/vattention"), [shipped(other) for other in SEEDS]
    for mutant in mutants(parent, 100, donors):
        program = parse(mutant.source)
        assert program is not None
        assert unresolved(program) == keys_unwritten(program) == calls_that_miss(program) == set()


def test_a_mutant_is_none_of_its_parents():
    first, second = Candidate("A = 6\n\n\ndef f():\n    return A\n"), Candidate("A = 12\n\n\ndef f():\n    return A\n")
    found = [mutate([first, second], [], random.Random(seed)) for seed in range(100)]
    hashes = {Candidate(mutant.source).tree_hash for mutant in found if mutant is not None}
    assert len(hashes) > 1 and not hashes & {first.tree_hash, second.tree_hash}


@pytest.mark.parametrize(
    "source", ["", "pass", '"""Only words."""', "def f(:", "\0", "x = 'a'", "def f():\n    return x\n"]
)
def test_a_program_without_anything_to_change_gives_none(source):
    assert mutate([Candidate(source)], [], random.Random(0)) is None


@pytest.mark.parametrize("depth", [50, 500, 950, 5000])
@pytest.mark.parametrize("text", ["x = 1" + "{}", "x = {}1"], ids=["wide", "deep"])
def test_deep_programs_do_not_overflow(text, depth):
    source = text.format(("+ 1" if text.endswith("{}") else "-") * depth)
    mutant = mutate([Candidate(source)], [], random.Random(0))
    assert depth > 50 or mutant is not None
    assert mutant is None or mutant.source != source


# ------------------------------------------------------------------------------------------------ random programs

names = st.sampled_from(["a", "b", "cé", "SCALE"])
numbers = st.one_of(
    st.integers(-3, 40).map(str),
    st.floats(0, 1e6, allow_nan=False).map(repr),
    st.sampled_from(
        ["1e999", "0x1F", "1_000", "1e-300", "10**400", str(10**400), "True", "3j", "'é{'", "f'{a + 1:{b}}'"]
    ),
)


def compound(inner):
    sign = st.sampled_from(["+", "-", "*", "/", "**", "<", "<=", "==", " and ", " if a else "])
    return st.one_of(
        st.builds(lambda x, s, y: f"({x}{s}{y})", inner, sign, inner),
        st.builds(lambda x, s, y: f"{x} {s} \\\n    {y}" if s in "+-*" else f"{x} {s} {y}", inner, sign, inner).map(
            lambda text: f"({text})"
        ),
        st.builds(lambda f, x, y: f"{f}({x}, {y})", st.sampled_from(["max", "min", "f", "math.ceil"]), inner, inner),
        st.builds(lambda x, m: f"({x}).{m}(dim=1)", inner, st.sampled_from(["sum", "amax", "logsumexp", "max"])),
        st.builds(lambda x: f"-({x})", inner),
        st.builds(lambda x, y: f"{{'k': {x}}}['k'][{y}]", inner, inner),
        st.builds(lambda x: f"(lambda a: {x})", inner),
    )


expressions = st.recursive(st.one_of(names, numbers), compound, max_leaves=6)
simple = st.one_of(
    st.builds(lambda n, e: f"{n} = {e}", names, expressions),
    st.builds(lambda n, e: f"{n} += {e}  # ünï # comment", names, expressions),
    st.builds(lambda n, e: f"{n} = {e}; {n} = 2", names, expressions),
    expressions,
    st.just("'''words\nof two lines'''"),
    st.just("return a"),
    st.just("pass"),
    st.just("a: int = 3"),
    st.just("global a"),
    st.just("match a:\n    case [1, *b]: pass\n    case {'x': 2, **b}: pass"),
    st.just("with a as b: pass"),
    st.just("a = [x * 2 for x in b if x > 0]"),
)


def indented(text):
    return "\n".join("    " + line for line in text.split("\n"))


def block(inner):
    body = st.lists(inner, min_size=1, max_size=3).map(lambda lines: indented("\n".join(lines)))
    heads = st.sampled_from(["if a > 1:", "for b in a:", "while a:", "def inner(a):", "try:"])
    return st.builds(
        lambda head, text: f"{head}\n{text}" + ("\nexcept ValueError as e:\n    b = e" if head == "try:" else ""),
        heads,
        body,
    )


statements = st.recursive(simple, block, max_leaves=6)
functions = st.builds(
    lambda name, lines: f"@wraps\ndef {name}(a, *, b=2):\n" + indented("\n".join(lines)),
    st.sampled_from(["f", "g", "h"]),
    st.lists(statements, min_size=1, max_size=5),
)
programs = st.lists(st.one_of(functions, statements), max_size=5).map("\n".join)


@given(programs, programs, st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_no_program_breaks_the_mutator(source, donor, seed):
    mutant = mutate([Candidate(source)], [Candidate(donor)], random.Random(seed))
    if mutant is not None:
        ast.parse(mutant.source)
        assert Candidate(mutant.source).tree_hash != Candidate(source).tree_hash


@given(st.text(max_size=60), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_the_mutator(source, seed):
    mutate([Candidate(source)], [], random.Random(seed))


def test_most_random_programs_do_parse():
    """The property above would say little over programs that are refused at the door."""
    seen: list[Program | None] = []

    @given(programs)
    @settings(max_examples=100, deadline=None, database=None)
    def collect(source):
        seen.append(parse(source))

    collect()
    assert sum(program is not None for program in seen) > len(seen) / 2


# -------------------------------------------------------------------------------------------------- a landscape

LANDSCAPE = '''"""A program whose value is known."""

WIDTH = 3
SHARE = 0.9
KIND = "slow"


def penalty(x):
    return abs(x - 37) / 10


def value():
    kind = 0.0 if KIND == "fast" else 1.0 if KIND == "slow" else 2.0
    return penalty(WIDTH) + abs(SHARE - 0.2) + kind
'''


def value(source):
    scope = {}
    exec(source, scope)
    return scope["value"]()


@pytest.mark.parametrize("start", range(5))
def test_climbing_a_known_landscape_gets_near_its_best(start):
    """Constants alone must get there: what `penalty` and `value` compute is fixed by judging constants only."""
    rng, best = random.Random(start), Candidate(LANDSCAPE)
    frozen = LANDSCAPE[LANDSCAPE.index("def penalty") :]

    def judged(source):
        head = source[: source.index("def penalty")] if "def penalty" in source else ""
        try:
            return value(head + frozen)
        except (NameError, TypeError, ZeroDivisionError, SyntaxError):
            return math.inf

    assert judged(best.source) > 5
    for _ in range(300):
        mutant = mutate([best], [], rng)
        if mutant is not None and judged(mutant.source) < judged(best.source):
            best = Candidate(mutant.source)
    assert judged(best.source) < 0.5
