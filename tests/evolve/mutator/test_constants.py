"""Constants keep their type and stay finite; axes and indices are left alone; names with a value are drawn most."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.evolve.mutator.constants import LARGEST, change_constant, choices, vary
from vevolve.evolve.mutator.program import parse


@given(st.one_of(st.integers(0, LARGEST - 1), st.floats(0, LARGEST, exclude_max=True)), st.integers(0, 2**32))
def test_a_number_becomes_another_of_its_type_finite_and_not_negative(value, seed):
    found = vary(value, random.Random(seed))
    assert type(found) is type(value) and math.isfinite(found) and found >= 0 and found != value


def test_steps_reach_both_near_and_far():
    found = {vary(16, random.Random(seed)) for seed in range(300)}
    assert {8, 15, 17, 32} <= found and min(found) >= 1 and max(found) <= 64
    shares = [vary(0.1, random.Random(seed)) for seed in range(300)]
    assert any(0 < share < 0.06 for share in shares) and any(share > 0.2 for share in shares)
    assert sum(share >= 1 for share in shares) < 30


def changed(source, seed):
    program = parse(source)
    assert program is not None
    return change_constant(program, random.Random(seed))


def test_only_the_literal_changes():
    source = 'A = 2  # it was 2\n\n\ndef f(x):\n    """Twice 2."""\n    return x\n'
    for seed in range(20):
        change = changed(source, seed)
        assert change is not None
        first, *rest = change.source.split("\n")
        assert rest == source.split("\n")[1:] and first.endswith("  # it was 2") and not first.startswith("A = 2 ")
        assert change.idea == f"A 2 -> {first.split()[2]}"


def test_named_constants_are_drawn_most_and_axes_hardly_ever():
    source = "GAIN = 2.0\n\n\ndef f(x):\n    return x.sum(dim=1)[:, 0] * 3\n"
    counts = {"GAIN": 0, "axis": 0, "factor": 0}
    for seed in range(400):
        text = changed(source, seed).source
        counts["GAIN"] += "GAIN = 2.0" not in text
        counts["axis"] += "x.sum(dim=1)[:, 0]" not in text
        counts["factor"] += "* 3\n" not in text
    assert counts["GAIN"] > 300 and counts["factor"] > 10 and counts["axis"] < 20


@pytest.mark.parametrize("source", ["X = True", "X = 1e999", "X = 3j", f"X = {LARGEST}", "X = f'{1}'", "'3'", "X: int"])
def test_what_is_no_plain_number_is_left_alone(source):
    assert changed(source, 0) is None


def test_negative_numbers_keep_their_sign():
    assert all(changed("X = -4", seed).source.startswith("X = -") for seed in range(20))


def test_a_string_takes_the_values_that_the_program_compares_it_with():
    source = 'MODE = "a"\n\n\ndef f():\n    return MODE == "b" or MODE in ("c", "a")\n'
    assert choices(parse(source)) == {"MODE": ["b", "c"]}
    assert {changed(source, seed).source.split("\n")[0] for seed in range(30)} == {'MODE = "b"', 'MODE = "c"'}


def test_text_beyond_ascii_before_a_number_shifts_nothing():
    change = changed("ÄÖ, X = 'äöü€😀', 5\n", 1)
    assert change.source.startswith("ÄÖ, X = 'äöü€😀', ") and change.source.split()[-1] != "5"


def test_a_long_function_weighs_no_more_than_a_short_one():
    long = "def f(x):\n" + "".join(f"    x[{i}.5] = {i}.5\n" for i in range(20)) + "    return x\n"
    source = long + "\n\ndef g(x):\n    return 0.5 * x\n"
    hits = sum("0.5 * x" not in changed(source, seed).source for seed in range(200))
    assert 60 < hits < 140
