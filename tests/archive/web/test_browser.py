"""The page in a real browser: plots, keys, live updates, hostile text, ten thousand candidates, accessibility."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.archive.web.browser import DRAWN, VENDOR, flaws, visit
from tests.archive.web.conftest import HOSTILE, SEED, started, told

from vevolve.archive import Archive
from vevolve.archive.events import Ended, Told
from vevolve.types import Candidate, Point, Verdict

RUN = "/run/20260101-plain"
VIEWS = ("", "/scatter", "/table", "/lineage", "/compare", "/failures", "/costs")
Serve = Callable[[Path], Any]


def best(served: Any) -> str:
    return served.data(f"{RUN}/table.json?front=1")["rows"][0]["id"]


def test_vendored_files_are_those_that_are_named() -> None:
    named = tomllib.loads((VENDOR / "vendor.toml").read_text(encoding="utf-8"))
    files = {name: digest for one in named.values() for name, digest in one["files"].items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    found.pop("vendor.toml")
    assert found == files
    assert all(one["version"] in name for one in named.values() for name in one["files"])
    assert all(one["licence"] and one["source"] for one in named.values())


def test_pages_are_clean_accessible_and_never_leave_this_machine(runs: Path, serve: Serve, page: Any) -> None:
    served = serve(runs)
    assert not flaws(page, served, ["/", *(RUN + view for view in VIEWS), f"{RUN}/c/{best(served)}"])
    assert not page.faults
    assert {url.split("/")[2] for url in page.asked} == {f"127.0.0.1:{served.port}"}


def test_keys_move_open_compare_and_help(runs: Path, serve: Serve, page: Any) -> None:
    served = serve(runs)
    visit(page, served, f"{RUN}/table?sort=iteration")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("tr.here td").first.inner_text() == "1"
    page.keyboard.press("k")
    page.keyboard.press("c")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.wait_for_url("**/compare?a=*")
    shown = served.data(page.url.removeprefix(served.url).replace("/compare", "/compare.json"))
    assert (shown["a"]["iteration"], shown["b"]["iteration"]) == (0, 3)
    visit(page, served, f"{RUN}/table?sort=iteration")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/c/*")
    page.wait_for_load_state()
    page.keyboard.press("d")
    assert page.evaluate("document.activeElement.id") == "diff-h"
    page.keyboard.press("j")
    page.wait_for_function("() => document.querySelector('h1 small').textContent.includes('iteration 2')")
    page.wait_for_load_state()
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('h1 small').textContent.includes('iteration 1')")
    page.wait_for_load_state()
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.wait_for_url("**/table#search")
    page.wait_for_function("() => document.activeElement.matches('[data-search]')")
    page.keyboard.type("smaller")
    page.wait_for_url("**/table?*q=smaller*")
    page.wait_for_function("() => document.querySelectorAll('tr[data-row]').length === 1")


def test_the_tab_key_reaches_content_first_and_points_by_name(runs: Path, serve: Serve, page: Any) -> None:
    visit(page, serve(runs), RUN)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    names = page.locator("[data-plot=scatter] a").evaluate_all("all => all.map((a) => a.getAttribute('aria-label'))")
    assert len(names) == 4 and all("traffic" in name and "error" in name for name in names)


def test_a_brush_over_the_plot_lists_what_is_in_it_and_stands_in_the_address(
    runs: Path, serve: Serve, page: Any
) -> None:
    served = serve(runs)
    visit(page, served, f"{RUN}/scatter")
    one = page.locator("[data-plot=scatter] a").last.bounding_box()
    x, y = one["x"] + one["width"] / 2, one["y"] + one["height"] / 2
    page.mouse.move(x - 14, y - 14)
    page.mouse.down()
    page.mouse.move(x + 14, y + 14, steps=4)
    page.mouse.up()
    page.wait_for_url("**x0=*")
    page.wait_for_function("() => document.querySelector('.found').textContent.includes('in the marked part')")
    address = page.url.removeprefix(served.url)
    listed = page.locator("tr[data-row] td:first-child").all_inner_texts()
    again = served.data(address.replace("/scatter?", "/scatter.json?"))
    assert listed == [str(row["iteration"]) for row in again["rows"]] and 0 < again["found"] < 4
    page.goto(served.url + address)
    page.wait_for_function(DRAWN)
    assert page.locator("rect.brush").get_attribute("visibility") == "visible"


def test_a_run_is_followed_live_while_it_goes_on(tmp_path: Path, serve: Serve, page: Any) -> None:
    """A real run: the offline mutator on the circle problem, in a process of its own."""
    command = [sys.executable, "-m", "vevolve.evolve.cli", "run", "circle_packing/grid", "--model", "offline"]
    command += ["--evaluations", "12", "--workers", "inline", "--allow-degraded"]
    (tmp_path / "runs").mkdir()
    served = serve(tmp_path / "runs")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        name = next((tmp_path / "runs").iterdir()).name
        page.goto(f"{served.url}/run/{name}")
        # The state and the counters come with a page fetched anew, the feed by events: each in its own time.
        page.wait_for_function(
            "() => document.querySelector('.top .state').textContent.trim() === 'ended'"
            " && document.querySelector('.counters dd').textContent.startsWith('12')"
            " && document.querySelector('#feed li .status').textContent === 'ended'",
            timeout=120_000,
        )
        rest = run.stdout.read()
    assert run.returncode in (0, 3), first + rest
    assert page.locator("#feed li.new").count() > 0
    live = page.locator("#feed li").all_inner_texts()
    page.reload()
    assert live == page.locator("#feed li").all_inner_texts(), "each event is told once, in the order of the log"
    assert not page.faults


@pytest.mark.parametrize("view", ["", "/scatter", "/lineage", "/failures", "/c"])
def test_hostile_text_does_nothing_in_a_browser(tmp_path: Path, serve: Serve, page: Any, view: str) -> None:
    text = " ".join(HOSTILE)
    with Archive.create(tmp_path / "r", started(problem=text, seed=text, config={"models": [text]})) as archive:
        archive.append(told(0, SEED, (0.5, 0.5), operation="seed"))
        verdict = Verdict(valid=True, points=(Point(label=text, traffic=0.1, error=0.1),))
        hostile = told(1, f"# {text}", verdict=verdict, idea=text, proposer=text, parents=(Candidate(SEED).id,))
        archive.append(hostile.model_copy(update={"hypervolume_gain": 0.5}))
        archive.append(told(2, text, status="crash", feedback=text))
    served = serve(tmp_path / "r")
    address = f"/c/{Candidate(f'# {text}').id}" if view == "/c" else view
    visit(page, served, f"/run/r{address}")
    with Archive.open(tmp_path / "r", write=True) as archive:
        archive.append(told(3, "x = 3", (0.1, 0.2), idea=text), Ended(reason=text))
    if not view:
        page.wait_for_function("() => document.querySelector('#feed li.new')")
    for point in page.locator("[data-plot] a").all():
        point.focus()
    assert page.evaluate("window.owned") is None
    assert page.locator("iframe, main img, main script").count() == 0
    assert not page.faults


def test_ten_thousand_candidates_can_be_searched_brushed_and_drawn(tmp_path: Path, serve: Serve, page: Any) -> None:
    seed = Candidate(SEED).id
    with Archive.create(tmp_path / "big", started()) as archive:
        archive.append(told(0, SEED, (0.9, 0.9), operation="seed"))
        for start in range(1, 10_000, 500):
            archive.append(
                *(
                    Told(
                        iteration=number,
                        source=f"X = {number}\n",
                        parents=(seed,),
                        operation="mutate",
                        proposer="offline",
                        idea=f"X 0 -> {number}",
                        verdict=Verdict(
                            valid=True,
                            points=(
                                Point(label="", traffic=0.01 + (number * 7919 % 10_007) / 10_007, error=1 / number),
                            ),
                        ),
                    )
                    for number in range(start, min(start + 500, 10_000))
                )
            )
    served = serve(tmp_path / "big")
    visit(page, served, "/run/big/scatter")
    assert page.locator("figcaption").first.inner_text().startswith("10,000 candidates, 10,000 points")
    page.locator("[data-search]").fill("0 -> 9876")
    page.wait_for_function("() => document.querySelectorAll('tr[data-row]').length === 1")
    page.locator("[data-search]").fill("")
    page.wait_for_function("() => document.querySelectorAll('tr[data-row]').length === 100")
    page.locator("#rows thead a", has_text="error").click()
    page.wait_for_function("() => document.querySelector('tr[data-row] td').textContent === '9999'")
    visit(page, served, "/run/big/lineage")
    assert not page.faults
