"""Plugins are found by their file names, and a wrong name gets the nearest right one."""

from pathlib import Path

import pytest

from vevolve import registry
from vevolve.errors import BadInput, BadProblem, UnknownName


def test_shipped_problems_and_their_seeds_are_found() -> None:
    assert {"circle_packing", "sparse_decode"} <= set(registry.problem_names())
    assert {"quest", "vattention"} <= set(registry.seed_names("sparse_decode"))
    assert registry.seed_path("sparse_decode/quest").name == "quest.py"


@pytest.mark.parametrize("name", ["sparse_decod", "sparse-decode"])
def test_a_misspelt_problem_gets_the_nearest_name(name: str) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'sparse_decode'"):
        registry.problem_module(name)


@pytest.mark.parametrize("name", ["sparse_decode/qest", "sparse_decode", "sparse_decode/__init__", "quest"])
def test_a_misspelt_seed_lists_what_is_there(name: str) -> None:
    with pytest.raises(UnknownName, match="sparse_decode/quest"):
        registry.seed_path(name)


def test_a_long_list_of_names_ends_with_how_many_it_leaves_out() -> None:
    names = [f"n{place:02}" for place in range(15)]
    assert str(UnknownName("seed", "?", names)).endswith("n10, n11 and 3 more.")
    assert str(UnknownName("seed", "?", names[:12])).endswith("n10, n11.")


def test_a_folder_without_a_problem_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="vevolve new problem"):
        registry.problem_module(str(tmp_path))


def test_a_problem_that_does_not_import_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(BadProblem, match="ModuleNotFoundError") as caught:
        registry.problem_module(str(tmp_path))
    assert "\n" not in str(caught.value)
