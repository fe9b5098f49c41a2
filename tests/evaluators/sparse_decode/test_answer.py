"""Every rule about an answer: what breaks it is refused with the rule's name, what just keeps it is not."""

import numpy as np
import pytest

from vevolve.evaluators.sparse_decode.answer import MAX_TAIL, check
from vevolve.types import CandidateFault, Frame

H, G, D, N = 2, 3, 8, 20


def answer(ids, prob=None, tail=None):
    ids = np.asarray(ids)
    frame = Frame({"0": ids, "1": np.ones(ids.shape, np.float32) if prob is None else np.asarray(prob)})
    if tail is not None:
        frame["2.0"], frame["2.1"] = tail
    return frame


def checked(frame, tokens=None):
    return check(frame, H, G, D, N, tokens)


def refused(frame, match, tokens=None):
    with pytest.raises(CandidateFault, match=match) as caught:
        checked(frame, tokens)
    assert caught.value.status == "wrong"


PLAIN = np.array([[0, 5, 19], [1, 2, -1]])


def test_a_plain_answer_is_taken_with_its_pads():
    taken = checked(answer(PLAIN, [[1, 0.5, 0.25], [1, 1, np.nan]]))
    assert taken.attended == 5
    assert taken.ids.shape == (H, 1, 3)
    assert np.allclose(taken.log_weights[:, 0], [[0, np.log(2), np.log(4)], [0, 0, -np.inf]])
    assert {tuple(place) for place in np.argwhere(taken.chosen)} == {(0, 0), (0, 5), (0, 19), (1, 1), (1, 2)}


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1"])
def test_any_integer_type_is_taken(dtype):
    ids = np.array([[0, 5], [1, 2]], dtype)
    assert checked(answer(ids)).attended == 4


def test_query_heads_may_choose_for_themselves_and_their_union_counts():
    ids = np.stack([np.arange(4) + head for head in range(H * G)]).reshape(H, G, 4)
    taken = checked(answer(ids), tokens=6)
    assert taken.attended == 12
    refused(answer(ids), "attended 12 distinct tokens over 2 KV heads.*allows 10", tokens=5)


def test_a_budget_is_shared_by_the_heads_of_a_layer():
    ids = np.full((H, 9), -1)
    ids[0], ids[1, 0] = np.arange(9), 3
    assert checked(answer(ids), tokens=5).attended == 10
    refused(answer(ids), "allows 8", tokens=4)


def test_a_budget_above_the_context_allows_everything():
    assert checked(answer(np.tile(np.arange(N), (H, 1))), tokens=512).attended == H * N


@pytest.mark.parametrize("ids", [[[0, N], [0, 1]], [[0, -2], [0, 1]], [[0, 2**40], [0, 1]], [[-(2**63), 0], [0, 1]]])
def test_ids_outside_the_context_are_refused(ids):
    refused(answer(ids), "ids are in")


def test_repeated_ids_are_refused_within_a_row_only():
    refused(answer([[3, 4, 3], [0, 1, 2]]), "id 3 was chosen more than once in KV head 0")
    per_query = np.tile(np.array([1, 2]), (H, G, 1))
    assert checked(answer(per_query)).attended == 4
    per_query[1, 2] = 7
    refused(answer(per_query), "id 7 was chosen more than once in KV head 1")


@pytest.mark.parametrize("prob", [0.0, -0.5, 1.0001, np.nan, np.inf, -np.inf])
def test_probabilities_outside_the_interval_are_refused(prob):
    refused(answer(PLAIN, np.where(PLAIN == 5, prob, 1.0)), r"outside \(0, 1\]")


def test_the_probability_of_a_pad_is_ignored():
    assert checked(answer(PLAIN, np.where(PLAIN < 0, -7.0, 1.0))).attended == 5


SHAPES = {
    "a row too many": np.zeros((H + 1, 2), np.int64),
    "one dimension": np.zeros(3, np.int64),
    "the wrong group": np.zeros((H, G + 1, 2), np.int64),
    "four dimensions": np.zeros((H, G, 2, 2), np.int64),
    "a scalar": np.int64(3),
    "floats": np.zeros((H, 2)),
    "bools": np.zeros((H, 2), bool),
    "a flood of pads": np.full((H, 4 * N + 1), -1),
}


@pytest.mark.parametrize("name", SHAPES)
def test_ids_of_another_form_are_refused(name):
    refused(answer(SHAPES[name]), "ids")


@pytest.mark.parametrize("prob", [np.ones((H, 4)), np.ones(H), np.ones((H, 3), bool), np.ones((H, 1))])
def test_probabilities_of_another_form_are_refused(prob):
    refused(answer(PLAIN, prob), "prob must")


@pytest.mark.parametrize(
    "entries", [{"0"}, {"0", "1", "2"}, {"0", "1", "2.0"}, {"ids", "prob"}, {"0", "1", "3"}, set()]
)
def test_an_answer_of_other_parts_is_refused(entries):
    refused(Frame(dict.fromkeys(entries, PLAIN)), "select must return")


def tail(size=4, log_weights=None, values=None):
    return (
        np.zeros((H, G, size), np.float32) if log_weights is None else log_weights,
        np.zeros((H, size, D), np.float32) if values is None else values,
    )


def test_a_tail_of_64_is_taken_and_counted_and_one_of_65_refused():
    taken = checked(answer(PLAIN, tail=tail(MAX_TAIL)))
    assert taken.tail_elements == H * G * MAX_TAIL + H * MAX_TAIL * D
    refused(answer(PLAIN, tail=tail(MAX_TAIL + 1)), "65 pseudo-tokens")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tail_that_is_not_finite_is_refused(bad):
    refused(answer(PLAIN, tail=tail(log_weights=np.full((H, G, 4), bad))), "NaN or infinite")
    refused(answer(PLAIN, tail=tail(values=np.full((H, 4, D), bad))), "NaN or infinite")
    refused(answer(PLAIN, tail=tail(values=np.full((H, 4, D), -np.inf))), "NaN or infinite")


TAILS = {
    "no group": (np.zeros((H, 4)), np.zeros((H, 4, D))),
    "values of another length": (np.zeros((H, G, 4)), np.zeros((H, 3, D))),
    "values of another width": (np.zeros((H, G, 4)), np.zeros((H, 4, D + 1))),
    "integers": (np.zeros((H, G, 4), np.int64), np.zeros((H, 4, D))),
}


@pytest.mark.parametrize("name", TAILS)
def test_a_tail_of_another_form_is_refused(name):
    refused(answer(PLAIN, tail=TAILS[name]), "tail")


def test_every_query_head_attends_to_something():
    nothing = np.array([[3, 4], [-1, -1]])
    refused(answer(nothing), "KV head 1 attends to nothing")
    assert checked(answer(nothing, tail=tail())).attended == 2
    light = np.zeros((H, G, 4), np.float32)
    light[1, 2] = -np.inf
    refused(answer(nothing, tail=tail(log_weights=light)), "KV head 1 attends to nothing")
    assert checked(answer(np.array([[3, 4], [5, -1]]), tail=tail(log_weights=light))).attended == 3
    refused(answer(np.zeros((H, 0), np.int64)), "KV head 0 attends to nothing")
