from typing import Any

import numpy as np
import pytest

from vevolve.evaluators.testing import PlainSubject
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
    assert fault(source, serve={"cache": service}).status == "protocol"


def test_nested_answers_arrive_flat_by_path() -> None:
    source = "import numpy as np\ndef f():\n    return np.ones(2), (np.zeros((1, 2)), {'w': np.arange(3)})"
    frame = call(source, returns=Arrays())
    assert isinstance(frame, Frame)
    assert {path: array.shape for path, array in frame.items()} == {"0": (2,), "1.0": (1, 2), "1.1.w": (3,)}
    assert frame.wire_bytes > sum(array.nbytes for array in frame.values())


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        (Arrays(max_count=1), "[np.ones(1), np.ones(1)]"),
        (Arrays(max_bytes=15), "np.ones(2)"),
        (Arrays(max_dims=1), "np.ones((1, 1))"),
        (Arrays(), "[np.ones(1), 'text']"),
        (Arrays(), "np.array(['text'])"),
        (Arrays(), "np.array([None])"),
        (Array("f8", (2,)), "np.ones(3)"),
        (Array("f8", (2,)), "np.ones(2, np.float32)"),
        (Array("f8", (2,)), "[1.0, 2.0]"),
        (Array("f8", (2,)), "None"),
        (Json(), "np.ones(1)"),
        (Json(), "float('nan')"),
        (Json(max_bytes=4), "'12345'"),
    ],
    ids=str,
)
def test_an_answer_of_another_form_is_the_candidates_fault(limits: Any, answer: str) -> None:
    found = fault(f"import numpy as np\ndef f():\n    return {answer}", returns=limits)
    assert found.status == "protocol"
    assert "`f`" in found.feedback


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
