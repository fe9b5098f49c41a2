"""A table fits the terminal, whatever its width: nothing is lost on the right, and what is cut says so."""

import io
import re
import sys

import pytest
from rich.cells import cell_len

from vevolve.evolve.cli import tables

HEADER = ["#", "id", "status", "gain", "idea"]
ROWS = [
    ["0", "d1f7cb0a78", "ok", "1.9", ""],
    ["1", "2b3b5d0ebb", "unapplied", "0.413", "score() of StreamingLLM; pilot(): minimum for maximum"],
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Print a table on a terminal of a width; its lines."""

    def show(width: int | None, *arguments, **more) -> list[str]:
        if width is not None:
            monkeypatch.setattr(tables, "_width", lambda: width)
        tables.table(*arguments, **more)
        return capsys.readouterr().out.splitlines()

    return show


def test_off_a_terminal_lines_are_as_long_as_they_are(shown) -> None:
    assert shown(None, HEADER, ROWS, right=["#", "gain"]) == [
        "#  id          status      gain  idea",
        "0  d1f7cb0a78  ok           1.9",
        "1  2b3b5d0ebb  unapplied  0.413  score() of StreamingLLM; pilot(): minimum for maximum",
    ]


def test_prose_is_cut_with_an_ellipsis_and_figures_are_not(shown) -> None:
    lines = shown(60, HEADER, ROWS, right=["#", "gain"])
    assert lines[2] == "1  2b3b5d0ebb  unapplied  0.413  score() of StreamingLLM; p…"
    assert cell_len(lines[2]) == 60


def test_prose_that_would_keep_a_few_characters_stands_below_its_row(shown) -> None:
    assert shown(45, HEADER, ROWS, right=["#", "gain"]) == [
        "#  id          status      gain",
        "    idea",
        "0  d1f7cb0a78  ok           1.9",
        "1  2b3b5d0ebb  unapplied  0.413",
        "    score() of StreamingLLM; pilot(): minimu…",
    ]


def test_a_path_is_never_cut(shown) -> None:
    path = "runs/20261122T005444-sparse_decode-vattention-ccc4"
    header, rows = ["seed", "hypervolume", "run"], [["quest", "2.672", path]]
    assert shown(80, header, rows, right=["hypervolume"], whole=True) == [
        "seed   hypervolume  run",
        f"quest        2.672  {path}",
    ]
    assert shown(60, header, rows, right=["hypervolume"], whole=True)[-2:] == [
        "quest        2.672",
        f"    {path}",
    ]


def test_columns_that_do_not_fit_follow_under_the_first_column_again(shown) -> None:
    names = ["method", *(f"figure {number}" for number in range(9))]
    rows = [[name, *(f"{number}.25" for number in range(9))] for name in ("quest", "pqcache")]
    lines = shown(40, names, rows, right=names[1:])
    assert max(map(cell_len, lines)) <= 40
    blocks = "\n".join(lines).split("\n\n")
    assert [block.split()[0] for block in blocks] == ["method"] * len(blocks)
    assert re.findall(r"figure \d", "".join(block.splitlines()[0] for block in blocks)) == names[1:]
    assert [cell for block in blocks for cell in block.splitlines()[2].split()[1:]] == rows[1][1:]


@pytest.mark.parametrize("width", [20, 37, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(shown, width: int) -> None:
    wide = [["0", "d1f7cb0a78", "漢字" * 2, "1.9", "漢字かな" * 30], *ROWS]
    assert max(map(cell_len, shown(width, HEADER, wide, right=["#", "gain"]))) <= width


def test_the_width_is_that_of_the_terminal(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert tables._width() == 77
