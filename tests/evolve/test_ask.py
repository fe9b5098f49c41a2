"""Ask: who becomes a parent."""

from __future__ import annotations

from collections import Counter

import pytest

from vevolve.archive.events import Told
from vevolve.evolve.ask import EXPLORE, View, choose
from vevolve.types import Candidate, Objective, Point, Seed, Verdict

OBJECTIVES = (Objective("left", "min", worst=1.0), Objective("right", "min", worst=1.0))
SEED = Seed(b"0123456789abcdef")


def told(number, left=0.5, right=0.5, *, parents=(), status="ok", text="", points=None):
    verdict = (
        Verdict(valid=True, points=points or (Point(label="a", left=left, right=right),))
        if status == "ok"
        else Verdict(valid=False, status=status, feedback="it failed")
    )
    return Told(
        iteration=number,
        source=f"N = {number}\n{text}",
        parents=parents,
        operation="mutate",
        proposer="x",
        verdict=verdict,
    )


def view_of(*events):
    view = View(OBJECTIVES)
    for event in events:
        view.tell(event, Candidate(event.source))
    return view


def id_of(event):
    return Candidate(event.source).id


def parents(view, draws=2000):
    return Counter(choose(view, SEED.derive(n)).parents[0] for n in range(draws))


def test_a_choice_is_a_function_of_view_and_seed():
    events = [told(0), told(1, 0.4, 0.6), told(2, 0.3, 0.9), told(3, status="crash")]
    first, second = view_of(*events), view_of(*events)
    assert [choose(first, SEED.derive(n)) for n in range(50)] == [choose(second, SEED.derive(n)) for n in range(50)]
    assert len({choose(first, SEED.derive(n)) for n in range(50)}) > 5


def test_the_front_is_preferred_and_everything_valid_is_explored():
    events = [told(n, 0.9 - n / 20, 0.9 - n / 20) for n in range(10)]
    drawn = parents(view_of(*events))
    assert set(drawn) == {id_of(event) for event in events}
    best = drawn.most_common(1)[0]
    assert best[0] == id_of(events[-1])
    assert best[1] > 2000 * (EXPLORE / 10 + 0.15)
    assert min(drawn.values()) > 2000 * EXPLORE / 10 / 2


def test_children_wear_a_parent_out():
    a, b = told(0, 0.3, 0.6), told(1, 0.6, 0.3)
    fresh = parents(view_of(a, b))
    worn = parents(view_of(a, b, *(told(n, status="crash", parents=(id_of(a),)) for n in range(2, 12))))
    assert fresh[id_of(a)] == pytest.approx(fresh[id_of(b)], rel=0.2)
    assert worn[id_of(a)] < worn[id_of(b)] / 3


def test_what_adds_more_volume_to_the_front_is_preferred():
    wide, narrow, other = told(0, 0.2, 0.2), told(1, 0.19, 0.9), told(2, 0.9, 0.19)
    drawn = parents(view_of(wide, narrow, other))
    assert drawn[id_of(wide)] > 1.3 * drawn[id_of(narrow)]


def test_crossover_takes_two_different_parents_and_donors_are_others():
    view = view_of(*(told(n, 0.1 * n + 0.1, 0.9 - 0.1 * n) for n in range(5)))
    choices = [choose(view, SEED.derive(n)) for n in range(300)]
    assert {choice.operation for choice in choices} == {"mutate", "crossover"}
    for choice in choices:
        everyone = (*choice.parents, *choice.donors)
        assert len(set(everyone)) == len(everyone)
        assert len(choice.parents) == (2 if choice.operation == "crossover" else 1)
    assert any(choice.donors for choice in choices)


def test_repair_is_rare_while_something_is_valid_and_always_otherwise():
    broken = told(1, status="crash")
    some = [choose(view_of(told(0), broken), SEED.derive(n)).operation for n in range(400)]
    assert 5 < some.count("repair") < 50
    view = view_of(told(0, status="wrong"), broken)
    assert {choose(view, SEED.derive(n)).operation for n in range(50)} == {"repair"}


@pytest.mark.parametrize("status", ["duplicate", "unapplied"])
def test_what_holds_no_new_program_is_never_mended(status):
    view = view_of(told(0), told(1, status=status))
    assert {choose(view, SEED.derive(n)).operation for n in range(200)} <= {"mutate", "crossover"}
    assert view.barren == 1


def test_a_failure_is_mended_once():
    broken = told(1, status="crash")
    view = view_of(told(0), broken, told(2, status="wrong", parents=(id_of(broken),)))
    mended = {
        choose(view, SEED.derive(n)).parents for n in range(400) if choose(view, SEED.derive(n)).operation == "repair"
    }
    assert mended == {(id_of(told(2, status="wrong")),)}


def test_points_of_other_splits_and_families_do_not_rank():
    honest = told(0, 0.5, 0.5)
    elsewhere = told(
        1,
        points=(
            Point(label="a", left=0.6, right=0.6),
            Point(label="a", split="select", left=0.01, right=0.01),
            Point(label="a", family="other", left=0.01, right=0.01),
        ),
    )
    drawn = parents(view_of(honest, elsewhere))
    assert drawn[id_of(honest)] > drawn[id_of(elsewhere)]


def test_a_view_with_nothing_has_no_answer():
    with pytest.raises(LookupError):
        choose(View(OBJECTIVES), SEED)
