"""The board as the page of the runs asks for it."""

from __future__ import annotations

from pathlib import Path

from vevolve.evaluators.contract import load
from vevolve.evolve.leaderboard import measured
from vevolve.evolve.leaderboard.shelf import Measurements


def test_the_shipped_methods_are_known_with_their_points_under_the_problems_hash() -> None:
    known = Measurements(own=Path("nowhere.json")).known("kv_quantization")
    problem = load("kv_quantization")
    assert known is not None and known.problem_hash == problem.hash
    by_id = {one.id: one for one in measured.read(measured.SHIPPED) if one.stage == "select"}
    assert known.methods
    for method in known.methods:
        assert method.points == tuple(by_id[method.id].verdict.points)


def test_a_problem_of_one_objective_brings_figures_of_the_literature() -> None:
    known = Measurements().known("circle_packing")
    assert known is not None and known.methods == ()
    assert all("sum_radii" in one.values and one.source for one in known.figures) and known.figures


def test_a_folder_that_a_run_names_is_not_imported(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "problem.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert Measurements().known(str(folder)) is None
    assert not (tmp_path / "ran").exists()


def test_the_board_has_a_section_for_each_problem_with_every_method() -> None:
    sections = Measurements(own=Path("nowhere.json")).board()
    assert [section.problem for section in sections] == list(measured.PROBLEMS)
    for section in sections:
        assert {row["cells"]["method"].rstrip("*") for row in section.rows} == set(load(section.problem).seeds())
        assert set(section.columns) <= set().union(*(row["cells"] for row in section.rows))
