"""Operators, statements and grafts: what each may do, and what it must not."""

from __future__ import annotations

import random

import pytest

from vevolve.evolve.mutator.grafts import copy_constant, graft_function
from vevolve.evolve.mutator.operators import change_operator
from vevolve.evolve.mutator.program import calls_that_miss, keys_unwritten, parse, unresolved
from vevolve.evolve.mutator.statements import change_statement


def outcomes(change, source, *more, seeds=60):
    program = parse(source)
    assert program is not None
    found = {change(program, *more, random.Random(seed)) for seed in range(seeds)}
    return {each.source for each in found if each is not None}


# ------------------------------------------------------------------------------------------------------ operators


def test_arithmetic_and_comparisons_take_another_sign():
    assert outcomes(change_operator, "x = a * b") == {"x = a + b", "x = a - b", "x = a / b"}
    assert outcomes(change_operator, "x = (a) < (b)") == {"x = (a) <= (b)", "x = (a) > (b)", "x = (a) >= (b)"}


def test_functions_become_others_that_take_the_same_arguments():
    reductions = {"amin", "sum", "mean", "logsumexp"}
    assert outcomes(change_operator, "x = y.amax(dim=1)") == {f"x = y.{name}(dim=1)" for name in reductions}
    assert outcomes(change_operator, "x = torch.maximum(a, b)") == {"x = torch.minimum(a, b)"}
    assert outcomes(change_operator, "x = max(a, b)") == {"x = min(a, b)"}


def test_what_would_not_run_is_not_offered():
    assert "x = y.logsumexp()" not in outcomes(change_operator, "x = y.sum()")
    assert outcomes(change_operator, "x = y.max(1)") == set()  # it returns two tensors, and sum one


def test_a_comment_between_the_sides_is_no_operator():
    assert outcomes(change_operator, "x = (a  # b * c\n  * b)") == set()


# ----------------------------------------------------------------------------------------------------- statements


def test_a_statement_goes_where_no_later_one_needs_it():
    source = "def f(x):\n    x = x + 1\n    y = 2\n    z = y\n    return x, y\n"
    found = outcomes(change_statement, source)
    assert "def f(x):\n    y = 2\n    z = y\n    return x, y\n" in found  # x is an argument
    assert "def f(x):\n    x = x + 1\n    y = 2\n    return x, y\n" in found  # nobody reads z
    assert all("    y = 2\n" in each for each in found)


def test_the_last_statement_of_a_block_leaves_pass():
    found = outcomes(change_statement, "def f(x):\n    if x:\n        x[0] = 1\n    return x\n")
    assert "def f(x):\n    if x:\n        pass\n    return x\n" in found


def test_neighbours_swap_only_where_it_matters_and_runs():
    source = "def f(x):\n    x = g(x)\n    x[0] = 1\n    return x\n"
    assert "def f(x):\n    x[0] = 1\n    x = g(x)\n    return x\n" in outcomes(change_statement, source)
    idle = "def f(x):\n    a = x\n    b = x\n    return a, b\n"
    assert outcomes(change_statement, idle) == set()
    needed = "def f(x):\n    a = x\n    b = a\n    return a, b\n"
    assert outcomes(change_statement, needed) == set()


def test_only_what_adds_up_is_done_twice():
    assert "def f(x):\n    x += 1\n    x += 1\n    return x\n" in outcomes(
        change_statement, "def f(x):\n    x += 1\n    return x\n"
    )
    once = outcomes(change_statement, "def f(x):\n    x = 1\n    return x\n")
    assert all(each.count("x = 1") <= 1 for each in once)


def test_a_name_bound_in_a_loop_may_be_read_by_its_next_turn():
    source = "def f(x):\n    for i in x:\n        y = i if i else y\n        x.append(y)\n    return x\n"
    assert all("y = i if i else y" in each for each in outcomes(change_statement, source) if "for" in each)


def test_statements_that_share_a_line_stay():
    assert outcomes(change_statement, "def f(x):\n    x[0] = 1; x[1] = 2\n    return x\n") == set()


# --------------------------------------------------------------------------------------------------------- grafts

PARENT = '''"""Parent: plain."""

import math

SIZE = 4


def score(x):
    return x * SIZE


def run(x):
    return score(x)
'''
DONOR = '''"""Donor: fancy."""

import math
import random

SIZE = 9
POWER = 2.0


def bend(x):
    return x**POWER + random.random()


# A comment above.
def score(x):
    """Bent."""
    return bend(x) * math.pi * SIZE


def run(x):
    return score(x)
'''


def test_a_function_comes_with_the_helpers_that_are_missing_and_meets_those_that_are_there():
    (found,) = outcomes(graft_function, PARENT, [parse(DONOR)])
    assert '    """Bent."""\n    return bend(x) * math.pi * SIZE' in found
    assert "POWER = 2.0\n" in found and "def bend(x):" in found and "import random\n" in found
    assert "SIZE = 4\n" in found and "SIZE = 9" not in found and found.count("import math") == 1
    assert found.startswith('"""Parent: plain."""') and unresolved(parse(found)) == set()
    assert list(parse(found).functions) == ["bend", "score", "run"]
    scope = {}
    exec(found, scope)
    assert scope["run"](3.0) > 0


def test_a_function_that_reads_a_key_comes_with_the_one_that_writes_it():
    text = "def build(x):\n    return {'old': x}\n\n\ndef score(i):\n    return i['old']\n\n\n"
    text += "def run(i):\n    return score(i)\n"
    parent, donor = text, text.replace("old", "new").replace("i['new']", "i['new'] + 1")
    found = outcomes(graft_function, parent, [parse(donor)])
    assert any("{'new': x}" in each and "i['new'] + 1" in each for each in found)
    assert all(keys_unwritten(parse(each)) == set() for each in found if "i['new']" in each)


def test_functions_that_only_the_examiner_calls_pass_between_programs_with_the_same_flags():
    parent, donor = "SURE = True\n\n\ndef run(x):\n    return x\n", "def run(x):\n    return 2 * x\n"
    assert outcomes(graft_function, parent, [parse(donor)]) == set()
    assert len(outcomes(graft_function, parent, [parse("SURE = True\n\n\n" + donor)])) == 1


def test_of_a_function_that_a_donor_defines_twice_the_last_text_is_taken():
    parent, twice = "def f(x):\n    return x\n", "def f(x):\n    return 'é'\n\n\ndef f(x):\n    return 2 * x\n"
    assert outcomes(graft_function, parent, [parse(twice)]) == {"def f(x):\n    return 2 * x\n"}


def test_equal_functions_are_not_swapped():
    relaid = PARENT.replace("    return x * SIZE", '    """New words."""\n    return (x * SIZE)')
    assert outcomes(graft_function, PARENT, [parse(relaid)]) == set()


def test_a_constant_takes_a_donors_value():
    assert outcomes(copy_constant, PARENT, [parse(DONOR)]) == {PARENT.replace("SIZE = 4", "SIZE = 9")}
    assert outcomes(copy_constant, PARENT, [parse(PARENT)]) == set()


# --------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("source", "missed"),
    [
        ("def f(a): pass\ndef g(): f()", {"f"}),
        ("def f(a): pass\ndef g(): f(1, 2)", {"f"}),
        ("def f(a): pass\ndef g(): f(b=1)", {"f"}),
        ("def f(a, b=1): pass\ndef g(): f(1, b=2); f(a=1)", set()),
        ("def f(*a, **b): pass\ndef g(): f(1, 2, c=3)", set()),
        ("def f(a): pass\ndef g(x): f(*x); f(**x)", set()),
    ],
)
def test_calls_with_the_wrong_arguments_are_seen(source, missed):
    assert calls_that_miss(parse(source)) == missed


def test_names_and_keys_that_nobody_provides_are_seen():
    assert unresolved(parse("X = 1\ndef f(a):\n    b = a\n    return b + X + max(a, c)")) == {"c"}
    assert unresolved(parse("def f(a):\n    return [i for i in a] + [g(a)]\n\ndef g(a): return a")) == set()
    assert keys_unwritten(parse("def f(a): return a['x'] + a['y']\ndef g(): return {'x': 1}")) == {"y"}
    assert keys_unwritten(parse("def f(a):\n    a['y'] = 2\n    return dict(x=1)['x'] + a['y']")) == set()
