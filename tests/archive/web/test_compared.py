"""Elites and comparisons in the views: a run of which one program won, one lost as it aged, and two did not win."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.archive.web.browser import flaws
from tests.archive.web.conftest import HOSTILE, SEED, started, told

from vevolve.archive import Archive, report
from vevolve.archive.elites import Elites, elites, follow
from vevolve.archive.events import Compared, Selected
from vevolve.types import Candidate, Point, Verdict

Serve = Callable[[Path], Any]
LABEL = "64 tokens"


def source(number: int) -> str:
    return f"N = {number}\n{SEED}"


def name(number: int) -> str:
    return Candidate(source(number)).id


def selected(number: int, *, incumbent: str = "", label: str = LABEL, promoted: bool = True) -> Selected:
    points = tuple(
        Point(label=text, split="select", traffic=traffic / (number + 1), error=0.3 / (number + 1))
        for text, traffic in (("32 tokens", 0.1), (label, 0.2))
    )
    verdict = Verdict(valid=True, points=points)
    claims, claimed = ((label,), 0.2) if incumbent else ((), 0.0)
    return Selected(
        iteration=number,
        candidate=name(number),
        verdict=verdict,
        promoted=promoted,
        incumbent=incumbent,
        claims=claims,
        claimed=claimed,
    )


def compared(number: int, incumbent: str, *gains: float, elite: bool, **rest: Any) -> Compared:
    plain: dict[str, Any] = {"evidence": 60.0 if elite else 0.5, "level": 0.025, "lower": 0.31, "claims": (LABEL,)}
    return Compared(
        iteration=number,
        candidate=name(number),
        incumbent=incumbent,
        claimed=0.2,
        told=number,
        gains=gains,
        workloads=("hash",) * len(gains),
        elite=elite,
        **(plain | rest),
    )


def begun(archive: Archive, count: int = 5, label: str = LABEL) -> None:
    """A seed and its children, each told and promoted; all but the seed are to meet it."""
    for number in range(count):
        origin: dict[str, Any] = {"operation": "seed"} if number == 0 else {"parents": (name(0),)}
        archive.append(told(number, source(number), (0.5, 0.5), hypervolume_gain=0.1, **origin))
        archive.append(selected(number, incumbent=name(0) if number else "", label=label))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Number 1 is an elite, 2 became one and was demoted, 3 did not win, 4 was not compared yet."""
    with Archive.create(tmp_path / "r", started()) as archive:
        begun(archive)
        archive.append(
            compared(1, name(0), *(0.1,) * 11, -0.9, elite=True),
            compared(2, name(1), *(0.3,) * 6, elite=True, lower=0.2),
            compared(3, name(1), -0.1, 0.1, -0.1, -0.1, elite=False, lower=-0.9),
            compared(2, name(1), *(-0.2,) * 4, elite=False, aged=64, evidence=0.02, against=90.0, lower=-0.4),
        )
    return tmp_path / "r"


PLACES = {0: "first", 1: "elite", 2: "demoted", 3: "unconfirmed", 4: "unconfirmed"}


def test_the_log_is_followed_bit_by_bit_to_the_same_elites(run: Path) -> None:
    with Archive.open(run) as archive:
        whole, rows = elites(archive), [entry.seq for entry in archive.events()]
    grown = Elites()
    with Archive.create(run.parent / "again", started()) as copy, Archive.open(run) as archive:
        seen = 0
        for entry in list(archive.events())[1:]:
            copy.append(entry.event)
            seen = follow(copy, grown, seen)
            assert seen <= copy.head
    assert seen == rows[-1] and grown.compared == whole.compared and grown.first == whole.first == name(0)
    assert (grown.tests, grown.made, grown.incumbents) == (3, 2, [name(0), name(1)])


def test_the_table_says_and_counts_what_each_promoted_candidate_is(run: Path, serve: Serve) -> None:
    served = serve(run)
    found = served.data("/run/r/table.json")
    assert {row["iteration"]: row["elite"] for row in found["rows"]} == PLACES
    assert dict(found["facets"]["elite"]) == {"first": 1, "elite": 1, "demoted": 1, "unconfirmed": 2}
    assert [row["id"] for row in served.data("/run/r/table.json?elite=elite")["rows"]] == [name(1)]
    left = served.data("/run/r/table.json?elite=unconfirmed&operation=mutate")
    assert sorted(row["iteration"] for row in left["rows"]) == [3, 4]
    assert dict(left["facets"]["elite"]) == {"elite": 1, "demoted": 1, "unconfirmed": 2}
    page = served.ask("/run/r/table?elite=elite")[2]
    assert '<option value="elite" selected>elite (1)</option>' in page and "clear all" in page


def test_a_run_counts_its_elites_and_tells_them_as_the_terminal_does(run: Path, serve: Serve) -> None:
    served = serve(run)
    found = served.data("/run/r.json")
    assert found["counters"]["fresh"] == {"elites": 1, "demoted": 1, "unconfirmed": 1, "compared": 3}
    (one,) = found["elites"]
    with Archive.open(run) as archive:
        assert one["text"] == str(elites(archive).standing[0])
    assert (one["candidate"]["id"], one["incumbent"]["id"], one["wins"], one["count"]) == (name(1), name(0), 11, 12)
    text = served.ask("/run/r")[2]
    assert "<small>of 3 compared</small>" in text and "11 of 12" in text and "at least 31 %" in text
    assert served.data("/index.json")["runs"][0]["elites"] == 1


def test_the_feed_tells_comparisons(run: Path, serve: Serve) -> None:
    feed = serve(run).data("/run/r.json")["feed"]
    lines = [(line["kind"], line["id"], line["text"]) for line in feed][-4:]
    assert lines == [
        ("elite", name(1), f"won 11 of 12 fresh documents against {name(0)[:10]}, e-value 60"),
        ("elite", name(2), f"won 6 of 6 fresh documents against {name(1)[:10]}, e-value 60"),
        ("unconfirmed", name(3), f"won 1 of 4 fresh documents against {name(1)[:10]}, e-value 0.5"),
        (
            "demoted",
            name(2),
            f"met its incumbent again after 64 iterations: won 0 of 4 fresh documents against {name(1)[:10]}, "
            "e-value 0.02 over all so far",
        ),
    ]
    waiting = [line["text"] for line in feed if line["kind"] == "promoted" and line["iteration"] == 4]
    assert waiting == [f"gained on the select split as well; it meets {name(0)[:10]} on fresh documents"]


def test_a_candidate_shows_whom_it_met_and_every_document(run: Path, serve: Serve) -> None:
    served = serve(run)
    found = served.data(f"/run/r/c/{name(1)}.json")
    facts = found["comparison"]["facts"]
    assert found["candidate"]["elite"] == found["comparison"]["place"] == facts["place"] == "elite"
    assert (facts["evidence"], facts["level"], facts["wins"], facts["gain_lower"]) == (60.0, 0.025, 11, 0.31)
    assert (facts["incumbent"]["id"], facts["claims"], found["level"]) == (name(0), [LABEL], "L2")
    assert (found["comparison"]["rank"], found["comparison"]["elites"], facts["needed"]) == (1, 1, 40.0)
    assert [one["id"] for one in found["comparison"]["met"]] == [name(2), name(3)]
    assert len(facts["documents"]) == 12 and not any(row["later"] for row in facts["documents"])
    last = facts["documents"][-1]
    assert last["share"] == pytest.approx(-4.5) and last["cut"] and not last["won"]
    text = served.ask(f"/run/r/c/{name(1)}")[2]
    assert "mean gain, each cut at the claim, at least 31% of it (95 % confidence)" in text
    assert "which may not be the best of the front" in text and text.count("−100%, cut") == 1
    assert f'href="/run/r/c/{name(0)}"' in text


def test_a_demoted_candidate_says_so_with_the_documents_since(run: Path, serve: Serve) -> None:
    served = serve(run)
    facts = served.data(f"/run/r/c/{name(2)}.json")["comparison"]["facts"]
    assert [row["later"] for row in facts["documents"]] == [False] * 6 + [True] * 4
    text = served.ask(f"/run/r/c/{name(2)}")[2]
    assert "Demoted <small>" in text and "on 4 further documents" in text and "64 iterations after" in text
    assert "no incumbent any more" in text and "which may not be the best" not in text


def test_promoted_candidates_that_met_nobody_claim_nothing(run: Path, serve: Serve) -> None:
    served = serve(run)
    waiting, first = (served.ask(f"/run/r/c/{name(number)}")[2] for number in (4, 0))
    assert "Compared with none" in waiting and "e-value" not in waiting
    assert "with which later ones are compared" in first and "e-value" not in first
    assert "weak ones are missed" in served.ask(f"/run/r/c/{name(3)}")[2]


def test_only_the_points_at_which_an_elite_is_held_to_be_better_are_marked(run: Path, serve: Serve) -> None:
    drawn = serve(run).data("/run/r/points.json")
    marked = [(drawn["candidates"][drawn["owner"][k]][0], drawn["labels"][drawn["label"][k]]) for k in drawn["elites"]]
    assert drawn["split"] == "select" and marked == [(name(1)[:16], LABEL)]
    places = {drawn["candidates"][int(at)][1]: place for at, place in drawn["places"].items()}
    assert places == PLACES


def test_the_lineage_keeps_and_names_elites(run: Path, serve: Serve) -> None:
    served = serve(run)
    with Archive.open(run, write=True) as archive:  # off the front, and nothing was added when it was told
        archive.append(told(5, source(5), (0.9, 0.9), parents=(name(0),)))
        archive.append(selected(5, incumbent=name(0)).model_copy(update={"verdict": Verdict(valid=True)}))
        assert name(5) not in [node["id"] for node in served.data("/run/r/lineage.json")["nodes"]]
        archive.append(compared(5, name(0), 0.1, elite=True))
    nodes = {node["iteration"]: node["elite"] for node in served.data("/run/r/lineage.json")["nodes"]}
    assert nodes == PLACES | {5: "elite"}
    text = served.ask("/run/r/lineage")[2]
    assert text.count('<path class="elite ') == 2 + 1, "two elites, and the legend"


def test_a_report_tells_the_elites_and_that_their_gains_are_cut(run: Path) -> None:
    with Archive.open(run) as archive:
        facts = report.facts(archive, "r")
    assert [one["id"] for one in facts["elites"]["told"]] == [name(1)[:10], name(2)[:10]]
    for text in (report.html(facts), report.markdown(facts)):
        assert "Compared: 3, of which 1 elite, 1 demoted, 1 unconfirmed." in text
        assert "elite: won 11 of 12 fresh documents" in text and "demoted: won 6 of 10 fresh documents" in text
        assert "gains are cut at the claim" in text
    front = {point["id"]: point["elite"] for point in facts["points"]}
    assert front[name(4)[:10]] == "unconfirmed"
    assert f"{name(4)[:10]} `, unconfirmed |" in report.markdown(facts)


def test_a_run_that_compares_nothing_shows_nothing_of_it(runs: Path, serve: Serve) -> None:
    served = serve(runs)
    here = "/run/20260101-plain"
    table = served.data(f"{here}/table.json")
    assert "elite" not in table["facets"] and {row["elite"] for row in table["rows"]} == {None}
    views = ["", "/scatter", "/table", "/lineage", "/compare", "/failures", "/costs", f"/c/{table['rows'][0]['id']}"]
    for view in views:
        text = served.ask(here + view)[2].lower()
        assert "elite" not in text.replace('data-live="elites"', "") and "fresh documents" not in text, view
    with Archive.open(runs / "20260101-plain") as archive:
        facts = report.facts(archive, "r")
    assert "elite" not in report.markdown(facts).lower() and "elite" not in report.html(facts).lower()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_label_of_a_claim_stays_text(tmp_path: Path, serve: Serve, text: str) -> None:
    with Archive.create(tmp_path / "r", started()) as archive:
        begun(archive, 2, label=text)
        archive.append(compared(1, name(0), 0.1, 0.2, elite=True, claims=(text,)))
        facts = report.facts(archive, "r")
    served = serve(tmp_path / "r")
    pages = [served.ask(f"/run/r{view}")[2] for view in ("", "/table", "/lineage", f"/c/{name(1)}")]
    for page in [*pages, report.html(facts)]:
        for mark in ("<script>window", "<img", "<svg onload", "<iframe", "</textarea>", 'href="javascript', "49{%"):
            assert mark not in page
    assert all("\u202e" not in page and "\x1b" not in page for page in pages)


def test_an_elite_is_a_star_and_a_certified_point_a_ring(run: Path, serve: Serve, page: Any) -> None:
    served = serve(run)
    page.goto(f"{served.url}/run/r/scatter")
    page.wait_for_function("() => document.querySelector('[data-plot]').dataset.drawn")
    star = page.locator("a.elite")
    assert star.count() == 1 and ", elite" in star.get_attribute("aria-label")
    assert star.locator("path.dot").get_attribute("d").count("L") == 9
    assert page.locator(".ring").count() == 0
    page.get_by_role("button", name="elite").click()
    assert page.locator("a.elite").count() == 0 and "off=elite" in page.url
    page.reload()
    page.wait_for_function("() => document.querySelector('[data-plot]').dataset.drawn")
    assert page.locator("a.elite").count() == 0 and not page.faults


def test_an_elite_that_is_told_while_a_reader_looks_appears(tmp_path: Path, serve: Serve, page: Any) -> None:
    with Archive.create(tmp_path / "r", started()) as archive:
        begun(archive, 3)
        served = serve(tmp_path / "r")
        page.goto(f"{served.url}/run/r")
        page.wait_for_function("() => document.querySelector('[data-plot]').dataset.drawn")
        assert page.locator("#elites-h").count() == 0
        archive.append(compared(1, name(0), *(0.1,) * 12, elite=True))
        page.wait_for_selector("#elites-h")
        page.wait_for_function("() => document.querySelector('#feed li.new .status.elite')")
        page.wait_for_function("() => document.querySelector('[data-plot=scatter] a.elite')")
    assert page.locator("[data-live=elites] tr[data-row]").count() == 1 and not page.faults


def test_pages_with_elites_are_accessible(run: Path, serve: Serve, page: Any) -> None:
    served = serve(run)
    paths = [f"/run/r{path}" for path in ("", "/table", "/lineage", f"/c/{name(2)}")]
    assert not flaws(page, served, paths, unfolded=True) and not page.faults
