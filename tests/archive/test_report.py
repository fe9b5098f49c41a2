"""Reports, figures, the folder for a colleague, and the table of pandas."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.archive.web.conftest import HOSTILE, started, story, told

from vevolve.archive import Archive, bundle, figure, notes, report
from vevolve.errors import BadInput, MissingDependency
from vevolve.types import Candidate, Point, Verdict


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Archive.create(tmp_path / "run", started()) as archive:
        story(archive)
    return tmp_path / "run"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_report_tells_the_question_the_front_and_the_story(run: Path) -> None:
    with Archive.open(run) as archive:
        facts = report.facts(archive, "run")
    text = report.markdown(facts)
    for part in ("## Question", "## Method", "## Front on search", "## Story of the winning", "## Certificates"):
        assert part in text
    assert [step["iteration"] for step in facts["story"]] == [0, 1, 3]
    assert facts["story"][2]["idea"] == "score(): `return keys @ query` -> `return (keys @ query).abs()`"
    assert "vevolve run sparse_decode/quest --model offline --evaluations 40" in text


def test_an_html_report_asks_for_nothing(run: Path) -> None:
    with Archive.open(run) as archive:
        text = report.html(report.facts(archive, "run"))
    tags = Tags()
    tags.feed(text)
    assert not [tag for tag, _ in tags.found if tag in ("script", "link", "img", "iframe", "object")]
    assert not [attrs for _, attrs in tags.found if "src" in attrs or "href" in attrs]
    assert any(tag == "svg" for tag, _ in tags.found)


def test_a_report_of_a_seed_alone_says_that_nothing_beats_it(tmp_path: Path) -> None:
    with Archive.create(tmp_path / "r", started()) as archive:
        archive.append(told(0, "x = 0", (0.1, 0.1), operation="seed"))
        facts = report.facts(archive, "r")
    for text in (report.markdown(facts), report.html(facts)):
        assert "Nothing beats the seed by 0.1 % yet" in text
        assert "Better than the seed by at least" not in text


def test_an_html_report_says_what_gain_it_shows_at_least(run: Path) -> None:
    with Archive.open(run) as archive:
        text = report.html(report.facts(archive, "run"))
    assert "Better than the seed by at least 0.1 % in one objective" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_reports(tmp_path: Path, text: str) -> None:
    start = started(problem=text, seed=text, config={"models": [text]})
    with Archive.create(tmp_path / "r", start) as archive:
        archive.append(told(0, "x = 0", (0.5, 0.5), operation="seed"))
        verdict = Verdict(valid=True, points=(Point(label=text, traffic=0.1, error=0.1),))
        archive.append(
            told(1, f"# {text}", verdict=verdict, idea=f"{text} | `` \n# head", parents=(Candidate("x = 0").id,))
        )
        notes.note(archive.path, archive.records()[1].id, text)
        facts = report.facts(archive, text)
    page, markdown = report.html(facts), report.markdown(facts)
    tags = Tags()
    tags.feed(page)
    assert not {tag for tag, _ in tags.found} & {"script", "img", "iframe"}
    assert not [attrs for _, attrs in tags.found if any(name.startswith("on") for name in attrs)]
    outside = re.sub(r"(`+).*?\1", "", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))
    assert "<" not in outside and "\n# head" not in markdown


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_is_written_for_a_paper(run: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    with Archive.open(run) as archive:
        drawn = figure.figure(archive, "search")
    figure.write(drawn, tmp_path / f"front{suffix}")
    start = (tmp_path / f"front{suffix}").read_bytes()[:400]
    assert start.startswith(b"\x89PNG") or b"<?xml" in start or start.startswith(b"%PDF")
    assert drawn.front == ((0.1 / 3, 0.8), (0.3, 0.4 / 3))


def test_the_front_is_drawn_as_stairs_that_claim_nothing_between_points(run: Path) -> None:
    with Archive.open(run) as archive:
        line = figure.stairs(figure.figure(archive, "search"))
    assert line == [(0.1 / 3, 0.8), (0.3, 0.8), (0.3, 0.4 / 3)]


def test_a_figure_of_another_kind_or_of_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    with Archive.open(run) as archive:
        drawn = figure.figure(archive, "search")
        with pytest.raises(BadInput, match="No points on the sealed split"):
            figure.figure(archive, "sealed")
    with pytest.raises(BadInput, match=r"\.png, \.svg or \.pdf"):
        figure.write(drawn, tmp_path / "front.gif")


def test_a_folder_for_a_colleague_holds_programs_that_run_and_a_whole_copy(run: Path, tmp_path: Path) -> None:
    with Archive.open(run) as archive:
        bundle.write(archive, tmp_path / "out")
        count = archive.totals()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "README.md",
        "candidates.json",
        "front",
        "points.csv",
        "programs",
        "report.html",
        "report.md",
        "run",
    ]
    (best,) = (tmp_path / "out" / "front").iterdir()
    ran = subprocess.run([sys.executable, str(best)], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with Archive.open(tmp_path / "out" / "run") as copy:
        copy.verify()
        assert copy.totals() == count
    assert len((tmp_path / "out" / "points.csv").read_text().splitlines()) == 1 + 6


def test_a_folder_that_holds_something_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with Archive.open(run) as archive, pytest.raises(BadInput, match="not empty"):
        bundle.write(archive, tmp_path / "out")


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path, start: Callable[..., Any]) -> None:
    with Archive.create(tmp_path / "r", start()) as archive:
        verdict = Verdict(valid=True, points=(Point(label="=1+1", traffic=0.1, error=-0.1),))
        archive.append(told(0, "x = 0", verdict=verdict, operation="seed"))
        bundle.write(archive, tmp_path / "out")
    row = (tmp_path / "out" / "points.csv").read_text().splitlines()[1]
    assert ",'=1+1," in row and ",-0.1" in row


def test_a_table_of_pandas_has_a_row_for_every_point(run: Path) -> None:
    with Archive.open(run) as archive:
        if importlib.util.find_spec("pandas") is None:
            with pytest.raises(MissingDependency, match="pip install pandas"):
                archive.to_dataframe()
            return
        table = archive.to_dataframe()
    assert len(table) == 7 and set(table["status"]) == {"ok", "crash"} and table["traffic"].min() < 0.1
    assert set(table["elite"]) == {None}, "nothing was compared"
