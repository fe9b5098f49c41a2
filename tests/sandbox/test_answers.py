"""What an honest program gets and gives: arguments, the three kinds of answer, reads, state, faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vevolve.sandbox import Sandbox
from vevolve.types import Array, Arrays, Candidate, CandidateFault, Frame, Json, Seed, Service, Settings

Ask = Callable[..., Any]
Fault = Callable[..., CandidateFault]
DTYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"]


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 1, 3, 2)], ids=str)
def test_an_array_goes_in_and_comes_back_unchanged(kind: str, shape: tuple[int, ...], ask: Ask) -> None:
    sent = np.random.default_rng(0).integers(0, 2, shape).astype(kind)
    back = ask("def f(x):\n    assert x.flags.writeable\n    return x", sent, returns=Array(kind, shape))
    assert back.dtype == sent.dtype and back.shape == shape and np.array_equal(back, sent)


@pytest.mark.parametrize("kind", DTYPES)
def test_a_tensor_goes_in_and_comes_back_unchanged(kind: str, torch_sandbox: Sandbox) -> None:
    sent = np.arange(6).reshape(2, 3).astype(kind)
    text = "import torch\ndef f(x):\n    assert isinstance(x, torch.Tensor)\n    return {'t': x.T, 'x': x}"
    frame = torch_sandbox.subject(Candidate(text)).call("f", sent, returns=Arrays())
    assert np.array_equal(frame["t"], sent.T) and frame["x"].dtype == sent.dtype


def test_a_program_computes_with_torch_from_several_threads(torch_sandbox: Sandbox) -> None:
    text = """
import concurrent.futures, torch
def f(x):
    torch.set_num_threads(2)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return sum(pool.map(lambda n: torch.softmax(x @ x.T, -1) * n, range(4)))
"""
    x = np.random.default_rng(0).normal(size=(64, 64))
    logits = np.exp(x @ x.T - (x @ x.T).max(-1, keepdims=True))
    answer = torch_sandbox.subject(Candidate(text)).call("f", x, returns=Array("f8", (64, 64)))
    assert np.allclose(answer, 6 * logits / logits.sum(-1, keepdims=True))


def test_threads_that_need_a_static_variable_of_cpp_at_once_wait_until_one_has_made_it(torch_sandbox: Sandbox) -> None:
    # What two threads do in an operation of torch that neither has called before, made certain.
    text = """
import ctypes, threading, time
import torch
cpp, guard, BEING_MADE, AWAITED = ctypes.CDLL("libstdc++.so.6"), ctypes.c_uint64(0), 0x100, 0x10000
def f():
    found = [cpp.__cxa_guard_acquire(ctypes.byref(guard))]
    waits = lambda: found.append(cpp.__cxa_guard_acquire(ctypes.byref(guard)))
    threads = [threading.Thread(target=waits, daemon=True) for _ in range(3)]
    for thread in threads: thread.start()
    while guard.value != BEING_MADE | AWAITED: time.sleep(0.001)
    time.sleep(0.05)
    cpp.__cxa_guard_release(ctypes.byref(guard))
    for thread in threads: thread.join()
    return found
"""
    assert torch_sandbox.subject(Candidate(text)).call("f", returns=Json()) == [1, 0, 0, 0]


def test_a_thread_of_the_c_library_is_joined(ask: Ask) -> None:
    text = """
import ctypes, time
libc, made = ctypes.CDLL(None), []
@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def work(_):
    time.sleep(0.05)
    made.append(1)
def f():
    thread = ctypes.c_ulong()
    started = libc.pthread_create(ctypes.byref(thread), None, work, None)
    return [started, libc.pthread_join(thread, None), made]
"""
    assert ask(text) == [0, 0, [1]]


def test_arguments_keep_their_form(ask: Ask) -> None:
    text = """
def f(number, word, nothing, row, *, names, budget):
    return [number, word, nothing, [r.tolist() if hasattr(r, "tolist") else r for r in row], names["a"].tolist(),
            budget.tokens, budget.epsilon, type(names["b"]).__name__]
"""
    row = [np.arange(2), "x", 2.5]
    settings = Settings({"tokens": 64, "epsilon": None})
    names = {"a": np.eye(2), "b": (1, np.float32(2))}
    assert ask(text, 3, "w", None, row, names=names, budget=settings) == [
        *(3, "w", None, [[0, 1], "x", 2.5], [[1, 0], [0, 1]]),
        *(64, None, "tuple"),
    ]


def test_many_megabytes_arrive_whole_and_writable(ask: Ask) -> None:
    sent = np.random.default_rng(1).normal(size=(3, 1 << 18)).astype("f4")
    back = ask("def f(a, b):\n    a *= 2\n    return a - b", sent, sent, returns=Array("f4", sent.shape))
    assert np.array_equal(back, sent)


def test_a_function_gets_only_the_names_that_it_asks_for(ask: Ask) -> None:
    assert ask("def f(a, *, b=5): return [a, b]", 1, b=2, c=3, serve={"d": Service({})}) == [1, 2]
    assert ask("def f(**rest): return sorted(rest)", b=2, c=3, serve={"d": Service({})}) == ["b", "c", "d"]


def test_a_seed_becomes_a_generator_that_repeats(ask: Ask, torch_sandbox: Sandbox) -> None:
    seed = Seed(bytes(range(16)))
    numbers = [ask("def f(rng): return rng.random(4)", seed, returns=Array("f8", (4,))) for _ in range(2)]
    assert np.array_equal(*numbers) and np.array_equal(numbers[0], np.random.default_rng(seed.integer).random(4))
    text = "import torch\ndef f(*, rng): return torch.rand(4, generator=rng)"
    drawn = [torch_sandbox.subject(Candidate(text)).call("f", rng=seed, returns=Array("f4", (4,))) for _ in range(2)]
    assert np.array_equal(*drawn) and len(set(drawn[0])) == 4


def test_nested_answers_arrive_by_their_paths(ask: Ask) -> None:
    text = "import numpy as np\ndef f(): return (np.arange(3), (np.ones((2, 2), 'f4'), None), {'a': {'b': [7, True]}})"
    frame = ask(text, returns=Arrays())
    assert isinstance(frame, Frame)
    assert {path: (array.dtype.str[1:], array.shape) for path, array in frame.items()} == {
        "0": ("i8", (3,)),
        "1.0": ("f4", (2, 2)),
        "2.a.b.0": ("i8", ()),
        "2.a.b.1": ("b1", ()),
    }
    assert not any(array.flags.writeable for array in frame.values())
    payload = sum(array.nbytes for array in frame.values())
    dims, paths = sum(array.ndim for array in frame.values()), sum(map(len, frame))
    assert frame.wire_bytes == 2 + payload + 8 * dims + 3 * len(frame) + paths


def test_a_bare_array_and_an_empty_dict_are_answers(ask: Ask) -> None:
    assert list(ask("import numpy\ndef f(): return numpy.ones(2)", returns=Arrays())) == [""]
    empty = ask("def f(): return {}", returns=Arrays())
    assert empty == {} and empty.wire_bytes == 2


def test_json_answers_may_hold_numbers_of_numpy(ask: Ask) -> None:
    text = "import numpy\ndef f(): return {'a': numpy.float32(.5), 'b': numpy.arange(2), 'ü': [None, True]}"
    assert ask(text) == {"a": 0.5, "b": [0, 1], "ü": [None, True]}


@pytest.mark.parametrize(
    ("answer", "dtype"), [("[[1, 2.5], [3, 4]]", "f4"), ("[[1, 2], [3, 4]]", "f8"), ("[(0, 1), (1, 0)]", "i4")]
)
def test_nested_lists_become_the_array_that_was_asked_for(answer: str, dtype: str, ask: Ask) -> None:
    back = ask(f"def f(): return {answer}", returns=Array(dtype, (2, 2)))
    assert back.dtype == dtype and np.array_equal(back, np.array(eval(answer), dtype))


@pytest.mark.parametrize(
    ("answer", "returns", "said"),
    [
        ("np.ones((2, 3))", Array("f8", (3, 2)), "(3, 2)"),
        ("np.ones(2)", Array("i4", (2,)), "int32"),
        ("'text'", Array("f8", ()), "str"),
        ("np.ones(2, 'c16')", Arrays(), "complex128"),
        ("np.array([None])", Arrays(), "object"),
        ("np.ones((0, 1 << 40))", Arrays(), "empty"),
        ("[1] * 9", Arrays(max_count=8), "8"),
        ("np.ones((1,) * 5)", Arrays(max_dims=4), "4"),
        ("np.ones(9)", Arrays(max_bytes=64), "64"),
        ("{'a.b': 1}", Arrays(), "a.b"),
        ("{'\\n': 1}", Arrays(), "plain words"),
        ("{'a' * 300: 1}", Arrays(), "255"),
        ("'a' * 99", Json(max_bytes=64), "64"),
        ("{1j}", Json(), "set"),
    ],
    ids=str,
)
def test_an_answer_of_the_wrong_form_is_told_what_was_expected(
    answer: str, returns: Any, said: str, fault: Fault
) -> None:
    found = fault(f"import numpy as np\ndef f(): return {answer}", returns=returns)
    assert (found.status, said in found.feedback) == ("wrong", True), found.feedback


def test_bfloat16_is_told_what_to_use(torch_sandbox: Sandbox) -> None:
    text = "import torch\ndef f(): return torch.ones(2, dtype=torch.bfloat16)"
    with pytest.raises(CandidateFault, match="use float16 or float32"):
        torch_sandbox.subject(Candidate(text)).call("f", returns=Arrays())


def test_a_crash_names_the_error_and_the_candidates_own_lines(fault: Fault) -> None:
    text = "def g(x):\n    return 1 / x\n\ndef f():\n    return g(0)  # here\n"
    found = fault(text)
    assert found.status == "crash"
    assert found.feedback.startswith("ZeroDivisionError: division by zero (line 2: return 1 / x)")
    assert "called from line 5: return g(0)  # here" in found.feedback and "child.py" not in found.feedback


def test_a_crash_at_the_top_level_is_reported_when_the_process_opens(sandbox: Sandbox) -> None:
    with pytest.raises(CandidateFault, match=r"KeyError: 3 \(line 2: \{\}\[3\]\)"):
        sandbox.subject(Candidate("x = 1\n{}[3]")).fresh()


def test_a_crash_is_short_and_plain_text(fault: Fault) -> None:
    found = fault("def f(): raise ValueError('\\x1b[2J\\u202e\\0' + 'long ' * 9999)")
    assert len(found.feedback) <= 2048 and found.feedback.startswith("ValueError: [2Jlong")


def test_a_syntax_error_starts_no_process(sandbox: Sandbox) -> None:
    subject = sandbox.subject(Candidate("def f(:"))
    with pytest.raises(CandidateFault) as caught:
        subject.fresh()
    assert caught.value.status == "syntax"


def test_a_missing_function_is_a_fault_of_the_interface(fault: Fault) -> None:
    assert fault("def g(): pass").status == "interface"
    assert fault("def f(): pass\ndel f").status == "interface"


READER = """
def f(cache, index):
    first = cache.keys([[0, 2], [1, 1]])
    table = index["centroids"]
    rows = index.rows("centroids", table[:1].astype("i4"))
    return [cache.n, index.name, first.tolist(), table.tolist(), rows.tolist(), first.dtype.name]
"""


def test_reads_are_served_by_the_trusted_side(ask: Ask) -> None:
    keys = np.arange(12, dtype="f4").reshape(3, 4)
    asked: list[Any] = []

    def rows(name: str, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append((name, ids.dtype.name, ids.tolist()))
        return ids * 10

    cache = Service({"n": 3}, keys=lambda ids: keys[ids])
    index = Service({"name": "pages"}, __getitem__=lambda name: np.array([2, 1]), rows=rows)
    answer = ask(READER, serve={"cache": cache, "index": index})
    assert answer == [3, "pages", keys[[[0, 2], [1, 1]]].tolist(), [2, 1], [20], "float32"]
    assert asked == [("centroids", "int32", [2])]


def test_large_reads_arrive_whole(torch_sandbox: Sandbox) -> None:
    table = np.random.default_rng(2).normal(size=(1 << 16, 16)).astype("f4")
    text = "def f(cache): return [cache.keys(n).sum() for n in (1, 60000, 65536)]"
    service = Service({}, keys=lambda count: table[:count])
    frame = torch_sandbox.subject(Candidate(text)).call("f", serve={"cache": service}, returns=Arrays())
    assert np.allclose([frame[str(n)] for n in range(3)], [table[:n].sum() for n in (1, 60000, 65536)], atol=0.1)


def test_a_fault_of_a_handler_ends_the_call_and_the_process(sandbox: Sandbox) -> None:
    def refuse(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise CandidateFault("wrong", "ids out of range")

    text = "def f(cache):\n    try: cache.keys([9])\n    except BaseException: pass\n    return 1"
    with sandbox.subject(Candidate(text)).fresh() as process:
        for _ in range(2):
            with pytest.raises(CandidateFault, match="ids out of range"):
                process.call("f", serve={"cache": Service({}, keys=refuse)}, returns=Json())


@pytest.mark.parametrize("error", [LookupError, TimeoutError, BrokenPipeError, EOFError, TypeError, MemoryError])
def test_a_bug_of_a_handler_is_not_blamed_on_the_candidate(error: type[Exception], sandbox: Sandbox) -> None:
    def broken() -> np.ndarray[Any, Any]:
        raise error("ours")

    with (
        sandbox.subject(Candidate("def f(cache): cache.keys()")).fresh() as process,
        pytest.raises(error, match="ours"),
    ):
        process.call("f", serve={"cache": Service({}, keys=broken)}, returns=Json())


def test_a_read_with_too_many_arguments_is_the_candidates_fault(fault: Fault) -> None:
    service = Service({}, keys=lambda ids: np.zeros(1))
    found = fault("def f(cache): cache.keys([1], [2])", serve={"cache": service})
    assert (found.status, found.feedback) == ("crash", "`cache.keys` does not take 2 arguments")


@pytest.mark.parametrize("argument", ["'x' * 65", "[0.5]", "{}", "[2.0]"])
def test_reads_take_short_words_and_integers_only(argument: str, fault: Fault) -> None:
    service = Service({}, keys=lambda ids: np.zeros(1))
    assert fault(f"def f(cache): cache.keys({argument})", serve={"cache": service}).status == "wrong"


def test_a_service_cannot_be_used_after_its_call(sandbox: Sandbox) -> None:
    text = "kept = []\ndef f(cache): kept.append(cache); return 1\ndef g(): return kept[0].keys([0]).tolist()"
    with sandbox.subject(Candidate(text)).fresh() as process:
        process.call("f", serve={"cache": Service({}, keys=lambda ids: np.zeros(1))}, returns=Json())
        with pytest.raises(CandidateFault) as caught:
            process.call("g", returns=Json())
    assert caught.value.status == "protocol"


def test_a_process_remembers_and_a_fresh_one_does_not(sandbox: Sandbox) -> None:
    text = """
import os
seen = []
def f():
    open("note", "a").write("x")
    seen.append(1)
    return [len(seen), os.path.getsize("note")]
"""
    subject = sandbox.subject(Candidate(text))
    for _ in range(2):
        with subject.fresh() as process:
            assert [process.call("f", returns=Json()) for _ in range(2)] == [[1, 1], [2, 2]]
    assert subject.processes == 2 and subject.cpu_s > 0


def test_two_processes_live_side_by_side(sandbox: Sandbox) -> None:
    subject = sandbox.subject(Candidate("n = []\ndef f(): n.append(1); return len(n)"))
    with subject.fresh() as one, subject.fresh() as other:
        counts = [one.call("f", returns=Json()), one.call("f", returns=Json()), other.call("f", returns=Json())]
    assert counts == [1, 2, 1]


def test_the_same_question_gets_the_same_answer_in_every_process(ask: Ask) -> None:
    text = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f'})"
    assert ask(text) == ask(text)
