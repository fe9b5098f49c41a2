"""What is known without any run: published methods and figures on the plot, and the leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.archive.web.conftest import SEED, objectives, started, story, told

from vevolve.archive import Archive
from vevolve.archive.events import Selected
from vevolve.archive.web.published import Figure, Known, Method, Section
from vevolve.types import Candidate, Point, Verdict

Serve = Callable[..., Any]


def method(name: str, *points: Point, id: str = "0" * 64, reference: bool = False) -> Method:
    return Method(name, id, f"What {name} does.", reference, points)


class OneShelf:
    """A shelf that holds one problem."""

    def __init__(self, known: Known | None, *sections: Section) -> None:
        self.found, self.sections = known, sections

    def known(self, problem: str) -> Known | None:
        return self.found if problem == "sparse_decode" else None

    def board(self) -> Sequence[Section]:
        return self.sections


QUEST = method(
    "quest", Point(label="32 tokens", traffic=0.2, error=0.7), Point(label="64 tokens", traffic=0.3, error=0.5)
)
ORACLE = method("oracle", Point(label="32 tokens", traffic=0.5, error=0.1), reference=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Archive.create(tmp_path / "r", started()) as archive:
        story(archive)
    return tmp_path / "r"


def test_methods_measured_on_the_same_problem_and_split_stand_beside_a_runs_points(run: Path, serve: Serve) -> None:
    elsewhere = method(
        "elsewhere", Point(split="select", traffic=0.2, error=0.7), Point(family="f", traffic=1, error=1)
    )
    half = method("half", Point(label="32 tokens", traffic=0.2))
    served = serve(run, OneShelf(Known("c0ffee", (QUEST, ORACLE, elsewhere, half))))
    found = served.data("/run/r/published.json")
    assert [(one["name"], one["reference"]) for one in found["methods"]] == [("quest", False), ("oracle", True)]
    assert found["methods"][0]["points"][1] == {"label": "64 tokens", "figures": {"traffic": 0.3, "error": 0.5}}
    assert [one["name"] for one in served.data("/run/r/published.json?split=select")["methods"]] == ["elsewhere"]


def test_the_method_that_a_run_began_with_is_not_drawn_twice(run: Path, serve: Serve) -> None:
    begun = method("the seed", *QUEST.points, id=Candidate(SEED).id)
    found = serve(run, OneShelf(Known("c0ffee", (begun, QUEST)))).data("/run/r/published.json")
    assert [one["name"] for one in found["methods"]] == ["quest"]


def test_methods_measured_on_another_version_of_the_problem_are_left_out_and_it_is_said(
    run: Path, serve: Serve
) -> None:
    found = serve(run, OneShelf(Known("another", (QUEST,)))).data("/run/r/published.json")
    assert found["methods"] == [] and "another version" in found["note"]


def test_figures_of_the_literature_stand_on_the_axis_of_a_single_objective_alone(tmp_path: Path, serve: Serve) -> None:
    figures = (Figure("AlphaEvolve", {"traffic": 0.25}, "a paper"), Figure("other", {"error": 1.0}, "another"))
    for count in (1, 2):
        with Archive.create(tmp_path / f"{count}", started(objectives=objectives(count))) as archive:
            archive.append(told(0, SEED, (0.5, 0.5)[:count], operation="seed"))
    served = serve(tmp_path, OneShelf(Known("c0ffee", (), figures)))
    assert served.data("/run/1/published.json")["figures"] == [
        {"name": "AlphaEvolve", "value": 0.25, "source": "a paper"}
    ]
    assert served.data("/run/2/published.json")["figures"] == []


def test_without_a_shelf_nothing_is_published_and_there_is_no_leaderboard(run: Path, serve: Serve) -> None:
    served = serve(run)
    assert served.data("/run/r/published.json")["methods"] == []
    assert served.ask("/leaderboard")[0] == 404 and "/leaderboard" not in served.ask("/")[2]


def test_the_leaderboard_is_linked_and_shown_with_every_text_escaped(run: Path, serve: Serve) -> None:
    rows = [
        {"cells": {"method": name, "error": "0.5", "published": "-"}, "reference": last, "stale": not last, "title": ""}
        for name, last in (("<b>quest</b>", False), ("dense", True))
    ]
    section = Section("sparse_decode", "128 tokens", ["method", "error", "published"], ["method", "published"], rows)
    served = serve(run, OneShelf(None, section))
    text = served.ask("/leaderboard")[2]
    assert "&lt;b&gt;quest&lt;/b&gt;" in text and "references, which read" in text and "another version" in text
    assert 'href="/leaderboard"' in served.ask("/run/r")[2]
    assert served.data("/leaderboard.json")["sections"][0]["rows"][1]["cells"]["method"] == "dense"


def test_published_methods_have_a_shape_and_a_name_and_are_switched_in_the_legend(
    run: Path, serve: Serve, page: Any
) -> None:
    with Archive.open(run, write=True) as archive:
        archive.append(
            Selected(
                iteration=1,
                candidate=next(iter(archive.ranks())),
                verdict=Verdict(valid=True, points=(Point(split="select", traffic=0.3, error=0.6),)),
                promoted=True,
            )
        )
    served = serve(run, OneShelf(Known("c0ffee", (QUEST, ORACLE))))
    page.goto(f"{served.url}/run/r/scatter?split=search")
    page.wait_for_function("() => document.querySelector('[data-plot]').dataset.whole")
    assert page.locator("g.method").get_attribute("aria-label") == "quest, published: 2 points"
    assert page.locator("g.reference").count() == 1
    assert "quest" in page.locator("text.known").all_text_contents()
    page.get_by_role("button", name="published methods").click()
    assert page.locator("g.method").count() == 0 and page.url.endswith("off=methods")
    page.locator("[data-search]").fill("smaller")
    page.wait_for_url("**q=smaller**")
    assert "off=methods" in page.url
    page.reload()
    page.wait_for_function("() => document.querySelector('[data-plot]').dataset.whole")
    assert page.locator("g.method").count() == 0 and page.locator("g.reference").count() == 1
    assert page.get_by_role("button", name="published methods").get_attribute("aria-pressed") == "false"
    assert not page.faults
