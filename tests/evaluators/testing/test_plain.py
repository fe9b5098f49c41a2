from typing import Any

import numpy as np
import pytest

from vevolve.evaluators.testing import PlainSubject
from vevolve.sandbox import Sandbox
from vevolve.types import Array, Arrays, Candidate, CandidateFault, Frame, Json, Seed, Service, Settings

ANY = Json()


def call(source: str, *args: Any, returns: Any = ANY, arrays: Any = "numpy", **named: Any) -> Any:
    return PlainSubject(Candidate(source), arrays).call("f", *args, returns=returns, **named)


def fault(source: str, *args: Any, returns: Any = ANY, **named: Any) -> CandidateFault:
    with pytest.raises(CandidateFault) as caught:
        call(source, *args, returns=returns, **named)
    return caught.value


def test_a_function_gets_the_arguments_that_it_names_and_no_others() -> None:
    assert call("def f(b, a=7):\n    return [a, b]", b=1, c=2) == [7, 1]
    assert call("def f(b, **rest):\n    return sorted(rest)", a=0, b=1, c=2) == ["a", "c"]
    assert call("def f(anything, /):\n    return anything", 5) == 5


def test_arrays_arrive_as_copies_in_the_library_that_was_asked_for() -> None:
    ours = np.arange(3.0)
    source = "def f(x):\n    x[0] = 9\n    return [type(x).__module__, float(x[0])]"
    assert call(source, x=ours) == ["numpy", 9.0]
    assert call(source, x=ours, arrays="torch") == ["torch", 9.0]
    assert ours[0] == 0


def test_settings_are_attributes_and_a_seed_is_a_generator() -> None:
    source = "def f(budget, rng):\n    return [budget.tokens, budget.epsilon, int(rng.integers(1000))]"
    settings, seed = Settings({"tokens": 64, "epsilon": None}), Seed(b"x" * 16)
    expected = int(np.random.default_rng(seed.integer).integers(1000))
    assert call(source, budget=settings, rng=seed) == [64, None, expected]
    torched = "def f(rng):\n    import torch\n    return [type(rng).__name__, rng.initial_seed()]"
    assert call(torched, rng=seed, arrays="torch") == ["Generator", seed.integer]


def test_a_service_has_attributes_methods_and_items() -> None:
    asked: list[Any] = []

    def rows(name: str, ids: Any) -> Any:
        asked.append((name, ids))
        return np.float32([1, 2])

    service = Service({"n": 10}, rows=rows, __getitem__=lambda name: np.arange(len(name)))
    source = """
import numpy as np
def f(index):
    return [index.n, index.rows("page", np.array([3, 4])).tolist(), index["abc"].tolist()]
"""
    assert call(source, serve={"index": service}) == [10, [1.0, 2.0], [0, 1, 2]]
    assert asked[0][0] == "page"
    assert asked[0][1].tolist() == [3, 4]


def test_a_rule_that_a_read_breaks_ends_the_call_though_the_candidate_catches_it() -> None:
    def keys(ids: Any) -> Any:
        raise CandidateFault("wrong", "id 99 is out of range")

    source = (
        "import numpy as np\ndef f(cache):\n    try: cache.keys(np.array([99]))\n    except BaseException: return 1"
    )
    assert fault(source, serve={"cache": Service(keys=keys)}).feedback == "id 99 is out of range"


def test_a_read_takes_integers_and_strings_only() -> None:
    source = "import numpy as np\ndef f(cache):\n    return cache.keys(np.array([0.5]))"
    service = Service(keys=lambda ids: np.zeros(1))
    assert fault(source, serve={"cache": service}).status == "wrong"


def test_nested_answers_arrive_flat_by_path() -> None:
    source = "import numpy as np\ndef f():\n    return np.ones(2), (np.zeros((1, 2)), {'w': np.arange(3)})"
    frame = call(source, returns=Arrays())
    assert isinstance(frame, Frame)
    assert {path: array.shape for path, array in frame.items()} == {"0": (2,), "1.0": (1, 2), "1.1.w": (3,)}
    assert frame.wire_bytes > sum(array.nbytes for array in frame.values())


ANSWERS = [
    (Arrays(max_count=1), "[np.ones(1), np.ones(1)]"),
    (Arrays(max_bytes=15), "np.ones(2)"),
    (Arrays(max_dims=1), "np.ones((1, 1))"),
    (Arrays(), "[np.ones(1), 'text']"),
    (Arrays(), "np.ones((0, 2))"),
    (Arrays(), "{'a.b': np.ones(1)}"),
    (Array("f8", (2,)), "np.ones(3)"),
    (Array("i8", (2,)), "np.ones(2)"),
    (Array("f8", (2,)), "None"),
    (Array("f8", (2,)), "np.array(['a', 'b'])"),
    (Json(), "object()"),
    (Json(max_bytes=4), "'12345'"),
]


@pytest.mark.parametrize(("limits", "answer"), ANSWERS, ids=str)
def test_an_answer_of_another_form_is_the_candidates_fault(limits: Any, answer: str) -> None:
    assert fault(f"import numpy as np\ndef f():\n    return {answer}", returns=limits).status == "wrong"


def test_the_sandbox_refuses_the_same_answers_and_takes_the_same_ones() -> None:
    taken = [
        (Array("f8", (2,)), "[1, 2]"),
        (Array("f8", (2,)), "np.ones(2, np.float32)"),
        (Arrays(), "{'a': np.arange(3), 'b': (np.ones((2, 2), np.float32), None, 4.5)}"),
        (Json(), "{'a': np.float64(1.5), 'b': [1, None, 'text']}"),
    ]
    with Sandbox(arrays="numpy", allow_degraded=True) as sandbox:
        for returns, answer in taken + ANSWERS:
            candidate = Candidate(f"import numpy as np\ndef f():\n    return {answer}")
            plain = outcome(PlainSubject(candidate), returns)
            assert plain == outcome(sandbox.subject(candidate), returns), answer
            assert (plain in ["wrong", "protocol"]) == ((returns, answer) in ANSWERS), answer


def outcome(subject: Any, returns: Any) -> Any:
    """The answer as plain values, or the status of the fault."""
    try:
        answer = subject.call("f", returns=returns)
    except CandidateFault as caught:
        return caught.status
    if isinstance(answer, Frame):
        return {path: (array.dtype.str, array.tolist()) for path, array in answer.items()}, answer.wire_bytes
    return (answer.dtype.str, answer.tolist()) if isinstance(answer, np.ndarray) else answer


def test_answers_are_read_only_copies() -> None:
    source = "import numpy as np\nkept = np.zeros(2)\ndef f():\n    return kept"
    with PlainSubject(Candidate(source)).fresh() as process:
        answer = process.call("f", returns=Array("f8", (2,)))
    with pytest.raises(ValueError, match="read-only"):
        answer[0] = 1


def test_a_process_that_failed_fails_again() -> None:
    source = "def f(x):\n    return 1 / x"
    with PlainSubject(Candidate(source)).fresh() as process:
        with pytest.raises(CandidateFault, match="ZeroDivisionError"):
            process.call("f", x=0, returns=ANY)
        with pytest.raises(CandidateFault, match="ZeroDivisionError"):
            process.call("f", x=1, returns=ANY)


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f():\n    raise ValueError('no')", "crash"),
        ("def f():\n    raise SystemExit(0)", "crash"),
        ("def f(needed):\n    return needed", "crash"),
        ("import nothing_of_this_name\ndef f(): return 1", "crash"),
        ("def g():\n    return 1", "interface"),
        ("def f(:", "syntax"),
    ],
)
def test_failures_of_the_program_become_faults_of_their_kind(source: str, status: str) -> None:
    assert fault(source).status == status


def test_a_process_remembers_and_a_fresh_one_does_not() -> None:
    source = "count = 0\ndef f():\n    global count\n    count += 1\n    return count"
    subject = PlainSubject(Candidate(source))
    with subject.fresh() as process:
        assert [process.call("f", returns=ANY) for _ in range(2)] == [1, 2]
    assert subject.call("f", returns=ANY) == 1
    assert subject.processes == 2
