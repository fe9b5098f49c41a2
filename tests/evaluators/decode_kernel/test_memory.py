"""The memory of a launch: what is counted, what is refused, and what a program sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.evaluators.decode_kernel.memory import SECTOR, SPACING, Memory, makespan
from vevolve.evaluators.decode_kernel.workload import SHAPES, cases, reference
from vevolve.types import CandidateFault, Frame, Seed

SEED = Seed(b"decode kernels!!")


@pytest.fixture
def memory():
    opened = Memory({"keys": np.arange(100, dtype=np.float16)}, {"out": np.zeros(64, np.float32)})
    opened.launch()
    opened.program()
    return opened


def at(memory, name, *elements):
    return np.array(elements) * memory[name].itemsize + memory.address(name)


def stores(*pieces):
    """An answer: (addresses, values) of each store."""
    return Frame(
        sizes=np.array([len(place) for place, _ in pieces]),
        at=np.concatenate([place for place, _ in pieces]),
        values=np.concatenate([np.asarray(values, np.float64) for _, values in pieces]),
    )


# ----------------------------------------------------------------------------------------------------------- counts


def test_a_load_counts_the_sectors_that_it_touches_each_once(memory):
    found = memory.load(at(memory, "keys", 3, 3, 5, 15, 16), "float16")
    assert found.tolist() == [3, 3, 5, 15, 16] and memory.tally.by_buffer == {"keys": 2 * SECTOR}


def test_two_loads_of_one_place_count_twice(memory):
    for _ in range(2):
        memory.load(at(memory, "keys", 0), "float16")
    assert memory.tally.moved == 2 * SECTOR and memory.tally.launches == [[2 * SECTOR]]


def test_stores_count_as_loads_do_each_for_itself(memory):
    memory.store(stores((at(memory, "out", 0, 1), [1, 2]), (at(memory, "out", 2, 9), [3, 4])))
    assert memory.tally.by_buffer == {"out": 3 * SECTOR}


@given(st.lists(st.integers(0, 99), min_size=1, max_size=50))
def test_counts_agree_with_a_set_of_sectors(elements):
    memory = Memory({"keys": np.arange(100, dtype=np.float16)}, {})
    memory.launch()
    memory.program()
    memory.load(at(memory, "keys", *elements), "float16")
    assert memory.tally.moved == SECTOR * len({2 * element // SECTOR for element in elements})


def test_bytes_belong_to_the_program_that_moved_them(memory):
    memory.load(at(memory, "keys", 0), "float16")
    memory.program()
    memory.load(at(memory, "keys", 0, 16, 32), "float16")
    memory.launch()
    memory.program()
    assert memory.tally.launches == [[32, 96], [0]] and memory.tally.waited == 96


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 6))
def test_the_makespan_is_that_of_handing_out_one_by_one(programs, processors):
    free = [0] * processors
    for size in programs:
        free[free.index(min(free))] += size
    assert makespan(programs, processors) == max(free)
    assert makespan(programs, processors) * processors >= sum(programs)


# ------------------------------------------------------------------------------------------------------- what is seen


def test_outputs_begin_as_no_number_and_show_what_was_written_in_the_next_launch(memory):
    memory.store(stores((at(memory, "out", 4), [7])))
    assert np.isnan(memory.load(at(memory, "out", 4, 5), "float32")).all()
    memory.launch()
    memory.program()
    seen = memory.load(at(memory, "out", 4, 5), "float32")
    assert seen[0] == 7 and np.isnan(seen[1])


def test_two_programs_may_write_one_value_to_one_place_but_not_two(memory):
    memory.store(stores((at(memory, "out", 4), [7])))
    memory.program()
    memory.store(stores((at(memory, "out", 4), [7])))
    with pytest.raises(CandidateFault, match="two programs of a launch wrote different values to one place of `out`"):
        memory.program()
        memory.store(stores((at(memory, "out", 4), [8])))


def test_one_program_may_write_a_place_again_and_so_may_a_later_launch(memory):
    memory.store(stores((at(memory, "out", 4), [7]), (at(memory, "out", 4), [8])))
    memory.launch()
    memory.program()
    memory.store(stores((at(memory, "out", 4), [9])))
    memory.launch()
    assert memory["out"][4] == 9


# ----------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (lambda m: at(m, "keys", 100), "element 100 of `keys`, which has 100"),
        (lambda m: at(m, "keys", 0, -1), "element -1 of `keys`"),
        (lambda m: at(m, "keys", 0) + 1, "between two elements"),
        (lambda m: np.array([0]), "where no buffer is"),
        (lambda m: np.array([-5]), "where no buffer is"),
        (lambda m: np.array([40 * SPACING]), "where no buffer is"),
        (lambda m: np.array([], np.int64), "where no buffer is"),
        (lambda m: np.concatenate([at(m, "keys", 0), at(m, "out", 0)]), "of `keys`"),
    ],
)
def test_a_load_where_nothing_lies_is_a_fault(memory, address, message):
    with pytest.raises(CandidateFault, match=message) as caught:
        memory.load(address(memory), "float16")
    assert caught.value.status == "wrong"


def test_a_load_has_the_type_of_what_it_reads(memory):
    with pytest.raises(CandidateFault, match="a load of int32 from `keys`, which holds float16"):
        memory.load(at(memory, "keys", 0), "int32")
    with pytest.raises(CandidateFault, match="names its addresses"):
        memory.load("keys", "float16")


def test_inputs_are_not_written(memory):
    with pytest.raises(CandidateFault, match="a store to `keys`, which is an input"):
        memory.store(stores((at(memory, "keys", 0), [1])))
    assert memory["keys"].tolist() == list(range(100))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.pop("sizes"),
        lambda frame: frame.update(sizes=np.array([1])),
        lambda frame: frame.update(sizes=np.array([3])),
        lambda frame: frame.update(sizes=np.array([-1, 3])),
        lambda frame: frame.update(sizes=np.array([2.0])),
        lambda frame: frame.update(values=np.array([1.0])),
        lambda frame: frame.update(at=frame["at"].astype(np.int32)),
        lambda frame: frame.update(at=frame["at"][None]),
    ],
)
def test_stores_of_another_form_are_a_fault(memory, spoil):
    frame = stores((at(memory, "out", 0, 1), [1, 2]))
    spoil(frame)
    with pytest.raises(CandidateFault) as caught:
        memory.store(frame)
    assert caught.value.status == "protocol"


def test_a_program_stores_so_often_and_no_more(memory):
    place = np.repeat(at(memory, "out", 0), 4097)
    with pytest.raises(CandidateFault, match="4097 times, at most 4096") as caught:
        memory.store(Frame(sizes=np.ones(4097, np.int64), at=place, values=np.zeros(4097)))
    assert caught.value.status == "resource"


def test_an_answer_without_stores_stores_nothing(memory):
    memory.store(Frame())
    memory.launch()
    assert np.isnan(memory["out"]).all() and memory.tally.moved == 0


# ------------------------------------------------------------------------------------------------------------ the cases


@pytest.mark.parametrize("split", SHAPES)
def test_the_answer_in_float64_agrees_with_a_plain_loop(split):
    for case in cases(split, SEED):
        found = reference(case)
        for b, h, g in np.ndindex(found.shape[:3]):
            mass, held = 0.0, np.zeros(found.shape[3])
            for i, log_prob in zip(case.ids[b, h], case.log_prob[b, h], strict=True):
                if i >= 0:
                    score = float(np.dot(case.query[b, h, g].astype(float), case.keys[b, h, i].astype(float)))
                    weight = np.exp(score / 8 - float(log_prob))
                    mass, held = mass + weight, held + weight * case.values[b, h, i].astype(float)
            np.testing.assert_allclose(found[b, h, g], held / mass, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("split", SHAPES)
def test_the_floor_is_every_sector_that_matters_once(split):
    for case in cases(split, SEED):
        _, heads, n, width = case.keys.shape
        rows = {(b * heads + h) * n + int(i) for b, h, m in np.ndindex(case.ids.shape) if (i := case.ids[b, h, m]) >= 0}
        meant = np.flatnonzero(case.ids.ravel() >= 0)
        want = 2 * len(rows) * width * 2 + len({4 * int(place) // 32 for place in meant}) * 32
        want += -(-4 * case.ids.size // 32) * 32 + 2 * -(-2 * case.query.size // 32) * 32
        assert case.floor == want


def test_splits_have_other_shapes_and_each_draw_has_padding_and_distinct_ids():
    assert not {shape[3:] for shape in SHAPES["search"]} & {shape[3:] for shape in SHAPES["select"]}
    for case in cases("search", SEED):
        for row in case.ids.reshape(-1, case.ids.shape[2]):
            meant = row[row >= 0]
            assert len(set(meant.tolist())) == len(meant) > 0 and meant.max() < case.keys.shape[2]
        assert (case.ids < 0).any() and (case.log_prob == 0).any() and (case.log_prob < 0).any()
