"""The nouns: how a candidate is named, how points and objectives read, how seeds derive."""

import ast
import hashlib
import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vevolve import registry
from vevolve.types import Candidate, CandidateFault, Objective, Point, Seed, Verdict

PROGRAM = '''"""Says what it is."""
PAGE = 16

def select(query, index, *, budget=None, rng, **rest):
    """Chooses."""
    return query[:PAGE]
'''


def test_a_candidate_is_named_by_its_text_with_plain_newlines() -> None:
    assert Candidate(PROGRAM).id == hashlib.sha256(PROGRAM.encode()).hexdigest()
    assert Candidate(PROGRAM.replace("\n", "\r\n")) == Candidate(PROGRAM)


def test_parameters_are_part_of_the_name() -> None:
    ids = {Candidate(PROGRAM).id, Candidate(PROGRAM, b"").id, Candidate(PROGRAM, b"x").id}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("16", "16  # a page"),
        ('    """Chooses."""\n', ""),
        ("query[:PAGE]", "query[ : PAGE ]"),
        ("PAGE = 16", "PAGE = 0x10"),
    ],
    ids=["comment", "docstring", "layout", "notation"],
)
def test_the_tree_hash_ignores_what_does_not_run(old: str, new: str) -> None:
    changed = Candidate(PROGRAM.replace(old, new))
    assert changed.id != Candidate(PROGRAM).id
    assert changed.tree_hash == Candidate(PROGRAM).tree_hash


@pytest.mark.parametrize(("old", "new"), [("16", "17"), ("[:PAGE]", "[PAGE:]"), ("rng", "random")])
def test_the_tree_hash_sees_what_runs(old: str, new: str) -> None:
    assert Candidate(PROGRAM.replace(old, new)).tree_hash != Candidate(PROGRAM).tree_hash


def test_the_tree_hash_tells_apart_just_what_a_dump_without_docstrings_does() -> None:
    seeds = [path.read_text() for path in sorted((registry.PACKAGE / "seeds").rglob("*.py"))]
    odd = [
        "",
        "pass",
        '"text"',
        "def f(): 'text'",
        "def f(): pass",
        "x = [], 1",
        "x = [1], ()",
        "x = 1; y",
        "x = '1'; y",
    ]
    odd += ["f(*a, **b)", "f(a, b)", "def f(a, /, b): pass", "def f(a, *, b): pass", "x: int", "x: int = None", "b'1'"]
    sources = [*seeds, *(source.replace("1", "2", 1) for source in seeds), *odd]
    ours, theirs = [Candidate(one).tree_hash for one in sources], [dumped(one) for one in sources]
    assert len(set(ours)) > len(odd)
    for i, j in itertools.combinations(range(len(sources)), 2):
        assert (ours[i] == ours[j]) == (theirs[i] == theirs[j]), (sources[i], sources[j])


def dumped(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def test_hashing_leaves_the_tree_as_it_was() -> None:
    candidate = Candidate(PROGRAM)
    before = candidate.functions
    assert candidate.tree_hash
    assert candidate.tree.body[0].lineno == 1
    assert candidate.functions == before


def test_a_program_that_does_not_parse_is_a_fault_that_names_the_line() -> None:
    for read in (lambda one: one.tree, lambda one: one.tree_hash, lambda one: one.functions):
        with pytest.raises(CandidateFault, match="line 2") as caught:
            read(Candidate("x = 1\ny = (\n"))
        assert caught.value.status == "syntax"


def test_a_signature_says_what_is_asked_for_and_what_must_be_given() -> None:
    signature = Candidate(PROGRAM).functions["select"]
    assert signature.names == ("query", "index", "budget", "rng")
    assert signature.required == ("query", "index", "rng")
    assert signature.open


def test_constants_are_the_literals_at_top_level() -> None:
    assert Candidate(PROGRAM + "HALF = PAGE / 2\nVERIFIED = True\n").constants == {"PAGE": 16, "VERIFIED": True}


def test_a_fault_survives_pickling() -> None:
    fault = pickle.loads(pickle.dumps(CandidateFault("timeout", "10 s")))
    assert (fault.status, fault.feedback) == ("timeout", "10 s")


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["min", "max"]))
def test_a_loss_never_leaves_the_axis_and_less_is_better(value: float, direction: str) -> None:
    ends = {"worst": 2.0, "best": 0.5} if direction == "min" else {"worst": 0.5, "best": 2.0}
    axis = Objective("x", direction, scale="log10", **ends)  # type: ignore[arg-type]
    assert axis.loss(ends["best"]) <= axis.loss(value) <= axis.loss(ends["worst"])


@pytest.mark.parametrize("ends", [{"worst": 0.0}, {"worst": 1.0, "best": 0.0}, {"worst": float("inf")}])
def test_a_log_axis_refuses_ends_that_have_no_logarithm(ends: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Objective("x", "min", scale="log10", **ends)


@given(st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_points_and_verdicts_survive_json(values: dict[str, float]) -> None:
    verdict = Verdict(valid=True, points=(Point(label="64 tokens", **values),))
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert all(verdict.points[0][name] == value for name, value in values.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_point_holds_finite_numbers_only(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Point(error=value)


def test_a_figure_that_is_absent_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        _ = Point(error=1.0, needle=None)["needle"]


def test_seeds_differ_by_purpose_and_never_show_their_key() -> None:
    seed = Seed(bytes(16))
    derived = {seed.derive(*words).key for words in [("a",), ("b",), ("a", 1), ("a", "1"), ("a1",)]}
    assert len(derived) == 5
    assert seed.derive("a") == Seed(bytes(16)).derive("a")
    assert "00" not in repr(seed)
    assert 0 <= Seed.fresh().integer < 1 << 63
